/* Whom to connect with, and with whom always. */
#include <stdlib.h>
#include <string.h>

#include "protocol/node_state.h"

/* For one who comes alone the links are chosen at once; where many do, when no more come. */
#define KEEP_WAIT_MS     4
#define KEEP_WAIT_MAX_MS 200
#define KEEP_ALONE_MS    500 /* nobody came or went for so long before */

static void put_link(struct node *n, const struct member *m)
{
    struct action *a = out_action(n, ACT_LINK);
    a->peer = m->id;
    a->port = m->port;
    a->keep = m->kept;
    memcpy(a->address, m->address, sizeof a->address);
    memcpy(a->box_pk, m->box_pk, sizeof a->box_pk);
}

void net_link(struct node *n, struct member *m, const struct node_event *ev)
{
    const struct hello *h = ev->hello;
    bool same = m->linked && m->port == h->port && strcmp(m->address, ev->address) == 0 &&
                memcmp(m->box_pk, h->box_pk, BOX_PK_BYTES) == 0;
    memcpy(m->box_pk, h->box_pk, sizeof m->box_pk);
    if (same)
        return;
    m->port = h->port;
    memcpy(m->address, ev->address, sizeof m->address);
    m->linked = true;
    if (m->state == STATE_LEFT)
        n->alive_ms = 0;
    put_link(n, m);
    net_keep_soon(n);
}

/* Those who live, on a ring by the first bytes of their ids. */
struct ring {
    size_t count, me;
    uint64_t at[MEMBERS_MAX]; /* ascending */
    bool near[MEMBERS_MAX];   /* to me */
};

static uint64_t place_of(const struct peer_id *id)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | id->b[i];
    return v;
}

/* The first one at this place or after it. */
static size_t ring_find(const struct ring *r, uint64_t place)
{
    size_t lo = 0, hi = r->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (r->at[mid] < place)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo % r->count;
}

/* One chooses those whom it finds half of the ring ahead, a quarter, an eighth … and the next one: few are
 * enough for everybody to be near everybody, and few change when somebody comes or goes (Chord's fingers). */
static void ring_choose(struct ring *r, size_t who)
{
    size_t next = (who + 1) % r->count, found = r->count;
    for (uint64_t ahead = (uint64_t)1 << 63; ahead && found != next; ahead >>= 1) {
        found = ring_find(r, r->at[who] + ahead);
        if (who == r->me && found != who)
            r->near[found] = true;
        else if (found == r->me)
            r->near[who] = true;
    }
}

/* A connection that closes tells at once of a process that died, costs nothing until then, and news goes by
 * it. In a small group everybody keeps one to everybody, in a larger one to those whom it chose and who chose
 * it. */
void net_keep(struct node *n)
{
    struct ring *r;
    bool all = node_alive_count(n) <= SMALL_GROUP;
    if (!n->keep_ms || n->now_ms < n->keep_ms)
        return;
    n->keep_ms = 0;
    n->kept_ms = n->now_ms;
    r = calloc(1, sizeof *r);
    if (!r) {
        n->no_memory = true;
        return;
    }
    for (size_t i = 0; i < n->member_count; i++) {
        if (!node_lives(n->member[i]))
            continue;
        r->me = n->member[i]->self ? r->count : r->me;
        r->at[r->count++] = place_of(&n->member[i]->id);
    }
    for (size_t i = 0; i < r->count && !all; i++)
        ring_choose(r, i);
    for (size_t i = 0, place = 0; i < n->member_count; i++) {
        struct member *m = n->member[i];
        bool keep = node_lives(m) && (all || r->near[place]);
        place += node_lives(m);
        if (!m->linked || keep == m->kept)
            continue;
        m->kept = keep;
        put_link(n, m);
        if (keep)
            net_introduce(n, m);
    }
    free(r);
}

void net_keep_soon(struct node *n)
{
    uint64_t wait_ms = KEEP_WAIT_MS + 2 * (uint64_t)node_alive_count(n);
    if (n->keep_ms && n->keep_alone)
        return;
    n->keep_alone = !n->keep_ms && n->now_ms >= n->kept_ms + KEEP_ALONE_MS;
    if (!n->keep_ms)
        n->keep_since_ms = n->now_ms;
    n->keep_ms = n->now_ms + (n->keep_alone ? KEEP_WAIT_MS : wait_ms);
    if (n->keep_ms > n->keep_since_ms + KEEP_WAIT_MAX_MS)
        n->keep_ms = n->keep_since_ms + KEEP_WAIT_MAX_MS;
}
