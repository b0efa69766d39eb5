#include "protocol/mem.h"
#include "protocol/node_state.h"

#define MISSED_BEATS 3
#define CONFIRM_MS   1500 /* how long direct and indirect probes have to bring an answer */
#define HELPERS      3    /* members asked to probe for us */
#define BEAT_MEMBERS                                                                                         \
    32 /* up to this many members the beat is as configured; beyond it slows in proportion                   \
        */

uint64_t alive_beat_ms(const struct node *n)
{
    uint64_t members = node_alive_count(n);
    return n->cfg.beat_ms * (members > BEAT_MEMBERS ? members : BEAT_MEMBERS) / BEAT_MEMBERS;
}

static uint64_t patience_ms(const struct node *n)
{
    uint64_t beat = alive_beat_ms(n);
    return MISSED_BEATS * beat + beat / 2;
}

void alive_heard(struct node *n, struct member *m)
{
    enum member_state was = m->state;
    m->heard_ms = n->now_ms;
    if (m->has_profile && m->profile.phase == PHASE_LEFT)
        return; /* its goodbye stands until it says something newer */
    node_set_state(n, m, STATE_ALIVE);
    if (was != STATE_ALIVE && n->now_ms + patience_ms(n) < n->alive_ms)
        n->alive_ms = n->now_ms + patience_ms(n);
    if (was != STATE_ALIVE && m->has_profile && n->started)
        out_event(n, EVENT_MEMBER_ALIVE, &m->id);
}

/* Asks the peer itself and a few others whether it is there. */
static void probe(struct node *n, struct member *m)
{
    net_probe(n, m, &m->id, &n->me->id);
    uint64_t from = n->member_count ? node_random(n) % n->member_count : 0;
    size_t asked = 0;
    for (size_t i = 0; i < n->member_count && asked < HELPERS; i++) {
        const struct member *h = n->member[(from + i) % n->member_count];
        if (h == m || h->self || h->state != STATE_ALIVE || !h->linked)
            continue;
        net_probe(n, h, &m->id, &n->me->id);
        asked++;
    }
}

static void suspect(struct node *n, struct member *m)
{
    node_set_state(n, m, STATE_SUSPECT);
    m->suspect_ms = n->now_ms;
    out_event(n, EVENT_MEMBER_SUSPECT, &m->id);
    probe(n, m);
}

static void unlink_member(struct node *n, struct member *m)
{
    if (!m->linked)
        return;
    m->linked = false;
    out_action(n, ACT_UNLINK)->peer = m->id;
}

static void fail(struct node *n, struct member *m)
{
    node_set_state(n, m, STATE_FAILED);
    m->heard = false; /* its next beacon is answered at once, like a newcomer's */
    out_event(n, EVENT_MEMBER_FAILED, &m->id);
    unlink_member(n, m);
}

void alive_link_down(struct node *n, struct member *m)
{
    if (!m->self && m->state == STATE_ALIVE)
        suspect(n, m);
}

void alive_left(struct node *n, struct member *m)
{
    if (m->state == STATE_LEFT)
        return;
    node_set_state(n, m, STATE_LEFT);
    if (n->started)
        out_event(n, EVENT_MEMBER_LEFT, &m->id);
}

void alive_evicted(struct node *n, struct member *m)
{
    node_set_state(n, m, STATE_LEFT);
    m->heard = false;
    unlink_member(n, m);
    if (n->started)
        out_event(n, EVENT_EVICTED, &m->id);
}

void alive_tick(struct node *n)
{
    if (n->now_ms < n->alive_ms)
        return;
    uint64_t patience = patience_ms(n);
    for (size_t i = 0; i < n->member_count; i++) {
        struct member *m = n->member[i];
        if (m->self)
            continue;
        if (m->state == STATE_ALIVE && n->now_ms >= m->heard_ms + patience)
            suspect(n, m);
        else if (m->state == STATE_SUSPECT && n->now_ms >= m->suspect_ms + CONFIRM_MS)
            fail(n, m);
        else if (m->state == STATE_LEFT && m->linked && n->now_ms >= m->heard_ms + patience)
            unlink_member(n, m);
    }
}

/* Whatever was heard since only moved it further away, so it is looked for anew when it has come. */
uint64_t alive_wake(struct node *n)
{
    if (n->now_ms < n->alive_ms)
        return n->alive_ms;
    uint64_t at = UINT64_MAX, patience = patience_ms(n);
    for (size_t i = 0; i < n->member_count; i++) {
        const struct member *m = n->member[i];
        uint64_t t = UINT64_MAX;
        if (m->self)
            continue;
        if (m->state == STATE_ALIVE || (m->state == STATE_LEFT && m->linked))
            t = m->heard_ms + patience;
        else if (m->state == STATE_SUSPECT)
            t = m->suspect_ms + CONFIRM_MS;
        if (t < at)
            at = t;
    }
    n->alive_ms = at;
    return at;
}
