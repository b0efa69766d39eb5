#include <string.h>

#include "protocol/fault.h"
#include "protocol/mem.h"
#include "protocol/node_state.h"

#define CLOCK_MOVED_MS  250
#define MISSED_TOLD_MS  2000
#define MISSED_AGAIN_MS 250
#define REST_BEATS      10  /* after so many without a change the group is at rest: then */
#define REST_GAP        2   /* … one goes out in so many beats in all, */
#define SEARCH_RATE     8   /* … and so many in one beat while somebody was lost lately, who may be back */
#define SEARCH_BEATS    600 /* that is so long ago at most */
#define CROWD           8 /* each so many members more, the first beacons of a start are as much further apart */
#define CROWD_MOST      64 /* above so many the spread of answers grows in proportion, no more in the square */
#define PULL_GAP_MS     4 /* and member: news are pushed, so most of what differs at a beacon is on its way */

/* Whoever hears a new peer answers at once, spread a little, so that a newcomer knows everybody within
 * milliseconds. Where many come at once everybody's answers are answers to all of them: they are spread so
 * that the subnet carries a few hundred in a second.
 */
void net_answer(struct node *n)
{
    uint64_t alive = node_alive_count(n), last = n->beacon_sent_ms, spread = 5 + alive;
    if (last && n->now_ms < last + n->cfg.beat_ms) /* they are many at once */
        spread = 1 + alive * (alive < CROWD_MOST ? alive : CROWD_MOST) / 4;
    uint64_t at = n->now_ms + 1 + node_random(n) % spread;
    if (at < n->beacon_ms)
        n->beacon_ms = at;
}

/* Nothing that was begun under this identity goes on under the next. */
static void renew(struct node *n)
{
    for (size_t i = 0; i < RUNNING_MAX; i++)
        if (n->running[i].id)
            out_cancel(n, n->running[i].id);
    out_action(n, ACT_RENEW);
    n->stopped = true;
}

void net_outbid(struct node *n, uint64_t boot)
{
    if (boot < n->boot || boot >= UINT32_MAX)
        return;
    n->boot = boot + 1;
    node_self(n)->boot = n->boot;
    n->profile_told_bytes = 0; /* told anew, under the new number */
    node_persist_promises(n);
    net_publish_ballot(n);
    net_answer(n);
}

/* Our own identity, alive on another host: the later of the two renews itself. */
static void meet_clone(struct node *n, const struct hello *h)
{
    if (h->instance == n->instance || FAULT(CLONE_UNNOTICED))
        return; /* our own beacon came back */
    uint64_t age = n->now_ms - n->start_ms;
    /* From before we started it is most likely our own, kept and sent again by somebody. A clone that lives
     * goes on speaking, so it is found all the same. */
    if (h->boot < n->boot && (h->age_ms < age || h->wall_ms < n->start_wall_ms))
        return;
    struct action *a = out_event(n, EVENT_CONFLICT, &n->me->id);
    out_text(a, "another host uses this host's identity: it was cloned from the same disk");
    if (age < h->age_ms || (age == h->age_ms && n->instance > h->instance)) {
        renew(n);
        return;
    }
    net_outbid(n, h->boot);
}

/* Smaller differences than this are the network's. */
static void take_clock(struct node *n, struct member *m, int64_t offset_ms)
{
    int64_t moved = offset_ms - m->clock_offset_ms;
    if (m->heard && moved < CLOCK_MOVED_MS && moved > -CLOCK_MOVED_MS)
        return;
    m->clock_offset_ms = offset_ms;
    n->group_checked = false;
}

/* The id is the hash of the key. That of a key which we hold already needs no second look. */
static bool id_fits(struct node *n, const struct hello *h)
{
    const struct member *m = node_member(n, &h->id);
    struct peer_id id;
    if (m && m->keyed && memcmp(m->sign_pk, h->sign_pk, SIGN_PK_BYTES) == 0)
        return true;
    identity_id_of(h->sign_pk, &id);
    return peer_id_equal(&id, &h->id);
}

void net_hello(struct node *n, const struct node_event *ev)
{
    const struct hello *h = ev->hello;
    if (!id_fits(n, h)) {
        net_drop(n, DROP_FORGED);
        return;
    }
    if (peer_id_equal(&h->id, &n->me->id)) {
        if (key_lives(n, h->epoch)) /* whoever holds a closed key alone has no say in who we are */
            meet_clone(n, h);
        else
            net_drop(n, DROP_UNKNOWN);
        return;
    }
    if (!key_accepts(n, h->epoch, node_member(n, &h->id))) {
        key_stray(n, ev);
        return;
    }
    struct member *m = node_member_add(n, &h->id);
    if (!m) {
        net_drop(n, DROP_LIMIT);
        return;
    }
    bool first = !m->heard, starts = first || h->boot > m->boot;
    if (!net_of_this_start(m, h->boot, h->instance)) {
        n->hello.outbid = m->id; /* if it lives, it should know */
        n->hello.outbid_boot = m->boot;
        n->hello.outbid_instance = m->instance;
        net_drop(n, DROP_STALE);
        return;
    }
    if (h->counter <= m->hello_counter && !FAULT(BEACON_REPLAY_TAKEN)) {
        net_drop(n, DROP_REPLAYED);
        return;
    }
    bool was_gone = m->state == STATE_FAILED || m->state == STATE_LEFT;
    m->hello_counter = h->counter;
    m->heard_epoch = h->epoch;
    key_heard(m, h->epoch);
    memcpy(m->sign_pk, h->sign_pk, sizeof m->sign_pk);
    if (peer_id_equal(&h->outbid, &n->me->id) && h->outbid_instance != n->instance)
        net_outbid(n, h->outbid_boot);
    take_clock(n, m, h->wall_ms - n->wall_ms);
    alive_stopping(n, m, peer_id_equal(&h->failed, &h->id));
    alive_doubted(n, h);
    n->formation_stale |= !m->keyed;
    m->keyed = m->heard = true;
    m->next_ms = h->next_ms;
    net_digest_heard(n, m, h->digest);
    if (starts || was_gone)
        net_answer(n);
    if (first && m->has_profile)
        out_event(n, EVENT_MEMBER_DISCOVERED, &m->id);
    net_link(n, m, ev);
    alive_heard(n, m);
}

uint64_t net_digest(const struct node *n)
{
    return n->gossip.digest ^ n->record_digest;
}

void net_digest_heard(struct node *n, struct member *m, uint64_t digest)
{
    m->digest = digest;
    if (digest != n->agreed)
        n->agreed = 0;
}

/* Between two beacons. All listen to all at each beat while something moves, and where they are few; at rest
 * neighbours alone do, and the subnet carries the same however many there are. */
static uint64_t interval_ms(const struct node *n)
{
    uint64_t beat = n->cfg.beat_ms, alive = node_alive_count(n), busy = alive_beat_ms(n);
    if (alive <= CLOSE_GROUP || n->now_ms < n->moved_ms + REST_BEATS * beat)
        return busy;
    bool searching = n->lost_ms && n->now_ms < n->lost_ms + SEARCH_BEATS * beat;
    uint64_t rest = searching ? alive * beat / SEARCH_RATE : alive * beat * REST_GAP;
    rest = rest < NODE_REST_MS ? rest : NODE_REST_MS;
    return rest < busy ? busy : rest;
}

void net_stir(struct node *n)
{
    uint64_t busy = alive_beat_ms(n);
    n->moved_ms = n->now_ms;
    if (n->beacon_ms > n->now_ms + busy)
        n->beacon_ms = n->now_ms + 1 + node_random(n) % busy;
}

static void beacon(struct node *n)
{
    static const uint32_t early_ms[] = {50, 150, 300, 500}; /* after the first, second, … of a start */
    struct hello *h = &n->hello;
    static const struct peer_id nobody;
    bool told = n->missed_ms && n->now_ms < n->missed_ms + MISSED_TOLD_MS;
    uint64_t steady = interval_ms(n);
    *h = (struct hello){.id = n->me->id,
                        .boot = n->boot,
                        .instance = n->instance,
                        .counter = ++n->hello_counter,
                        .age_ms = n->now_ms - n->start_ms,
                        .wall_ms = n->wall_ms,
                        .digest = net_digest(n),
                        .members = node_alive_count(n),
                        .next_ms = (uint32_t)steady,
                        .port = n->cfg.port,
                        .epoch = key_beacon(n),
                        .outbid = h->outbid,
                        .outbid_boot = h->outbid_boot,
                        .outbid_instance = h->outbid_instance,
                        .failed = told ? h->failed : nobody,
                        .failed_instance = told ? h->failed_instance : 0};
    memcpy(h->sign_pk, n->me->sign_pk, sizeof h->sign_pk);
    memcpy(h->box_pk, n->me->box_pk, sizeof h->box_pk);
    out_action(n, ACT_BEACON)->hello = h;
    uint64_t wait = n->beacons_sent < COUNT_OF(early_ms)
                        ? early_ms[n->beacons_sent] * (1 + node_alive_count(n) / CROWD)
                        : steady;
    if (told && n->now_ms < n->missed_ms + MISSED_AGAIN_MS && wait > MISSED_AGAIN_MS)
        wait = MISSED_AGAIN_MS; /* the first one that tells of it may be lost */
    if (wait >= steady)
        wait = steady - steady / 10 + node_random(n) % (steady / 5 + 1);
    n->beacons_sent++;
    n->beacon_sent_ms = n->now_ms;
    n->beacon_ms = n->now_ms + wait;
}

/* Once, in the last beacon of this start: with it lost, this host has failed until it is back. */
void net_say_stopping(struct node *n)
{
    if (n->keys.evicted || n->work.leaving != LEAVE_NONE)
        return;
    n->hello.failed = n->me->id;
    n->hello.failed_instance = n->instance;
    n->missed_ms = n->moved_ms = n->now_ms;
    beacon(n);
}

/* False if it has nothing that we lack, as far as we know. */
static bool pull_news(struct node *n, struct member *m, uint64_t mine)
{
    if (m->self || m->digest == 0 || m->digest == mine)
        return false;
    if (!net_reachable(m) || !m->kept)
        return true;
    if (n->now_ms < n->pull_ms || (m->pulled_ms && n->now_ms < m->pulled_ms + NET_PULL_AGAIN_MS))
        return true;
    net_pull(n, m);
    n->pull_ms = n->now_ms + PULL_GAP_MS * node_alive_count(n);
    m->digest = 0; /* until its next beacon */
    return true;
}

static void pull_all(struct node *n)
{
    uint64_t mine = net_digest(n);
    bool differ = false;
    if (n->now_ms < n->pull_ms || mine == n->agreed)
        return;
    for (size_t i = 0; i < n->member_count && n->now_ms >= n->pull_ms; i++)
        differ |= pull_news(n, n->member[i], mine);
    n->agreed = differ ? 0 : mine;
}

void net_tick(struct node *n)
{
    if (n->stopped || n->keys.evicted)
        return;
    if (n->now_ms >= n->beacon_ms)
        beacon(n);
    pulse_tick(n);
    pull_all(n);
    net_news_tick(n);
}
