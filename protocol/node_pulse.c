/* Neighbours that tell each other at each beat that they are there. */
#include <string.h>

#include "protocol/fault.h"
#include "protocol/node_state.h"

#define CHANGE_MS 200 /* many come or go at once: the neighbours are chosen so long after the first */

/* It goes to one alone: sent on to others by somebody else it says nothing. */
static uint32_t address_of(const struct peer_id *id)
{
    return (uint32_t)id->b[0] << 24 | (uint32_t)id->b[1] << 16 | (uint32_t)id->b[2] << 8 | id->b[3];
}

void pulse_send(struct node *n, const struct member *to, enum pulse_wish wish)
{
    uint64_t beat = n->cfg.beat_ms, until_beacon = n->beacon_ms > n->now_ms ? n->beacon_ms - n->now_ms : 0;
    if (n->keys.evicted)
        return;
    struct action *a = out_action(n, ACT_PULSE);
    a->peer = to->id;
    a->port = to->port;
    memcpy(a->address, to->address, sizeof a->address);
    a->pulse = (struct pulse){.id = n->me->id,
                              .boot = n->boot,
                              .instance = n->instance,
                              .to = address_of(&to->id),
                              .counter = ++n->hello_counter,
                              .digest = net_digest(n),
                              .every_ms = to->near ? (uint32_t)beat : 0,
                              .next_ms = (uint32_t)(until_beacon > beat ? until_beacon : beat),
                              .wish = wish,
                              .epoch = key_for(n, to)};
}

/* The next one who lives, in steps of one to this side; NULL: nobody else does. */
static struct member *next_alive(struct node *n, size_t me, size_t step)
{
    for (size_t i = (me + step) % n->member_count; i != me; i = (i + step) % n->member_count)
        if (node_lives(n->member[i]) && n->member[i]->linked)
            return n->member[i];
    return NULL;
}

/* The members are a ring by their ids, and whoever is next on either side is a neighbour. */
static void choose(struct node *n)
{
    size_t me = 0;
    while (n->member[me] != n->self)
        me++;
    bool close = node_alive_count(n) <= CLOSE_GROUP;
    const struct member *before = close ? NULL : next_alive(n, me, n->member_count - 1);
    const struct member *after = close ? NULL : next_alive(n, me, 1);
    for (size_t i = 0; i < n->member_count; i++) {
        struct member *m = n->member[i];
        bool was = m->near;
        m->near = m == before || m == after;
        if (m->near && !was && !m->every_ms)
            m->since_ms = n->now_ms; /* from now on it is to be heard at each beat */
        if (was && !m->near && m->linked)
            pulse_send(n, m, PULSE_NOTHING); /* it is to miss us no more */
    }
}

void pulse_soon(struct node *n)
{
    if (n->pulse_ms > n->now_ms + CHANGE_MS)
        n->pulse_ms = n->now_ms + CHANGE_MS;
}

void pulse_tick(struct node *n)
{
    uint64_t beat = n->cfg.beat_ms;
    if (n->stopped || n->keys.evicted || n->now_ms < n->pulse_ms)
        return;
    choose(n);
    n->pulse_ms = UINT64_MAX;
    for (size_t i = 0; i < n->member_count; i++)
        if (n->member[i]->near) {
            pulse_send(n, n->member[i], PULSE_NOTHING);
            n->pulse_ms = n->now_ms + beat - beat / 10 + node_random(n) % (beat / 5 + 1);
        }
}

uint64_t pulse_wake(const struct node *n)
{
    return n->stopped || n->keys.evicted ? UINT64_MAX : n->pulse_ms;
}

/* The member that said it, if it is one that may; counted as dropped otherwise. */
static struct member *sender_of(struct node *n, const struct pulse *p)
{
    struct member *m = node_member(n, &p->id);
    if (p->to != address_of(&n->me->id)) {
        net_drop(n, DROP_FORGED);
        return NULL;
    }
    if (!m || m->self || !m->keyed || !key_accepts(n, p->epoch, m)) {
        net_drop(n, DROP_UNKNOWN);
        return NULL;
    }
    if (p->boot != m->boot || p->instance != m->instance) {
        net_drop(n, DROP_STALE);
        return NULL;
    }
    /* A beacon that it overtook is still heard (on a wireless network all multicast waits), an older pulse is
     * not. */
    if ((p->counter <= m->hello_counter || p->counter <= m->pulse_counter) && !FAULT(BEACON_REPLAY_TAKEN)) {
        net_drop(n, DROP_REPLAYED);
        return NULL;
    }
    m->pulse_counter = p->counter;
    return m;
}

void pulse_heard(struct node *n, const struct node_event *ev)
{
    const struct pulse *p = ev->pulse;
    struct member *m = sender_of(n, p);
    if (!m)
        return;
    key_heard(m, p->epoch);
    if (!m->heard) { /* it was held for failed, and its link is gone: its beacon makes a new one */
        if (p->wish != PULSE_BEACON)
            pulse_send(n, m, PULSE_BEACON);
        return;
    }
    m->every_ms = p->every_ms;
    m->next_ms = p->next_ms;
    net_digest_heard(n, m, p->digest);
    alive_heard(n, m);
    if (p->wish == PULSE_BEACON)
        net_answer(n);
    else if (p->wish == PULSE_ANSWER)
        pulse_send(n, m, PULSE_NOTHING);
}
