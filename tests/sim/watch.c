#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/node_state.h"
#include "tests/sim/promises.h"

#define CANDIDACY_MS 1500

void watch_identity(struct world *w, struct host *h)
{
    struct voter *v = calloc(1, sizeof *v);
    w->voter = realloc(w->voter, (w->voter_count + 1) * sizeof(struct voter *));
    if (!v || !w->voter)
        abort();
    v->id = h->identity->id;
    w->likely[likely_place(&v->id)] = h->slot;
    v->lies = liar_is(w, h);
    h->voter = w->voter[w->voter_count++] = v;
    h->joined[0] = '\0';
}

int64_t watch_holder(const struct world *w, const struct peer_id *id)
{
    for (uint32_t i = 0; i < w->slots; i++)
        if (w->host[i].exists && w->host[i].fate == FATE_COMES && peer_id_equal(&w->host[i].identity->id, id))
            return i;
    return -1;
}

void watch_start(struct world *w, struct host *h)
{
    promises_loaded(w, h);
}

/* ---- committed records ---- */

/* The signatures are counted and checked here without the core's help. */
static bool proven(const struct committed *c)
{
    uint8_t set_id[SET_ID_BYTES], text[ACCEPT_TEXT_BYTES];
    bool signed_by[ELECTORATE_MAX] = {false};
    size_t good = 0;
    electorate_id(&c->set, set_id);
    record_accept_text(c->group_id, set_id, c->term, &c->record, text);
    for (size_t i = 0; i < c->signature_count; i++) {
        const struct commit_signature *s = &c->signature[i];
        struct peer_id id;
        identity_id_of(s->sign_pk, &id);
        if (s->member >= c->set.count || signed_by[s->member] ||
            !peer_id_equal(&id, &c->set.member[s->member]) ||
            !identity_verify(s->sign_pk, ACCEPT_DOMAIN, text, sizeof text, s->sig))
            continue;
        signed_by[s->member] = true;
        good++;
    }
    return good > c->set.count / 2u;
}

static bool read_proven(const uint8_t *bytes, size_t n, struct committed *c)
{
    return committed_read(bytes, n, c, NULL) == 0 && proven(c);
}

static bool share_member(const struct electorate *a, const struct electorate *b)
{
    for (size_t i = 0; i < a->count; i++)
        if (electorate_index(b, &a->member[i]) >= 0)
            return true;
    return false;
}

/* Among fewer than 2N identities any two sets of N share a member. */
static bool too_few_for_two(const struct world *w, uint32_t group)
{
    return group == 0 && w->s->expect && w->voter_count < 2 * (size_t)w->s->expect;
}

/* Invariant 1: electorates that share a member commit at most one record among them. */
static void check_record(struct world *w, const struct host *h, struct committed *c)
{
    for (size_t i = 0; i < w->record_count; i++) {
        const struct committed *o = w->record[i];
        bool same = record_equal(&c->record, &o->record);
        bool honest = promises_honest(w, &c->set) && promises_honest(w, &o->set);
        if (!same && honest && w->record_group[i] == h->group &&
            (share_member(&c->set, &o->set) || too_few_for_two(w, h->group)))
            broken(w, 1, "two records were committed: %s and %s", c->record.cluster_id, o->record.cluster_id);
        if (same) {
            free(c);
            return;
        }
    }
    if (w->record_count == RECORDS_MAX) {
        free(c);
        return;
    }
    w->record_group[w->record_count] = h->group;
    w->record[w->record_count++] = c;
}

void watch_store(struct world *w, struct host *h, enum store_key key, const uint8_t *bytes, size_t n)
{
    if (key == STORE_PROMISES)
        promises_stored(w, h, bytes, n);
    if (key != STORE_CLUSTER)
        return;
    struct committed *c = malloc(sizeof *c);
    if (!c)
        abort();
    if (h->voter->committed && !h->voter->shared)
        broken(w, 2, "%s stores a second record", h->name);
    h->voter->committed = true;
    if (read_proven(bytes, n, c)) {
        check_record(w, h, c);
        return;
    }
    broken(w, 2, "%s stored a record that no majority signed", h->name);
    free(c);
}

void watch_send(struct world *w, struct host *h, const uint8_t *bytes, size_t n)
{
    promises_told(w, h, bytes, n);
}

/* ---- steps ---- */

static void check_join(struct world *w, struct host *h, const struct step *s)
{
    struct committed *c = malloc(sizeof *c);
    if (!c)
        abort();
    if (!read_proven(s->record, s->record_bytes, c))
        broken(w, 2, "%s begins join without a committed record", h->name);
    else if (h->kube.leftover)
        tell(w, h, "joins over what its leaving has left behind");
    else if (h->kube.joined[0] && strcmp(h->kube.joined, c->record.cluster_id) != 0)
        broken(w, 2, "%s begins join to %s while part of %s", h->name, c->record.cluster_id, h->kube.joined);
    else if (h->kube.built[0])
        broken(w, 2, "%s begins join over a control plane of its own", h->name);
    free(c);
}

static bool leads(const struct world *w, const struct host *h)
{
    return h->node && formation_may_found(&h->node->formation, w->now_ms);
}

void watch_step(struct world *w, struct host *h, const struct step *s)
{
    struct err err;
    bool founds = s->kind == STEP_CA || s->kind == STEP_INIT || s->kind == STEP_APPLY;
    if (step_check(s, &err) != 0)
        broken(w, 0, "%s asks for a step that does not check: %s", h->name, err.text);
    if (founds && !leads(w, h))
        broken(w, 3, "%s begins %s without a live lease", h->name, step_word(s->kind));
    if (s->kind == STEP_INIT && !h->kube.leftover && (h->kube.joined[0] || h->kube.built[0]))
        broken(w, 3, "%s begins init over what is left of another", h->name);
    if (s->kind == STEP_JOIN && h->kube.told)
        broken(w, 2, "%s begins join again, having joined %s", h->name, h->kube.joined);
    if ((founds || s->kind == STEP_JOIN) && h->joined[0])
        broken(w, 5, "%s runs %s again, being part of %s", h->name, step_word(s->kind), h->joined);
    if (s->kind == STEP_JOIN)
        check_join(w, h, s);
}

/* ---- elections ---- */

/* One leader a term, and a majority behind it. Who voted may have left the set since: then it had accepted
 * nothing in it. */
static void check_leader(struct world *w, const struct host *h)
{
    const struct ballot *mine = &h->node->formation.mine;
    size_t votes = 0, free_votes = 0;
    if (!promises_honest(w, &mine->set))
        return;
    for (size_t i = 0; i < mine->set.count; i++) {
        const struct voter *v = promises_voter(w, &mine->set.member[i]);
        if (!v)
            continue;
        bool still = v->ballot.bound && electorate_equal(&v->ballot.set, &mine->set);
        bool for_us = still && v->ballot.term == mine->term;
        votes += promises_voted(v, mine, &h->identity->id);
        free_votes += !(for_us && v->ballot.accepted);
    }
    if (votes <= mine->set.count / 2u)
        broken(w, 1, "%s is elected by %zu of %u", h->name, votes, mine->set.count);
    /* Whichever majority it was, somebody in it had accepted a record. */
    bool carries = mine->accepted && mine->accepted_term == mine->term;
    if (!carries && free_votes <= mine->set.count / 2u)
        broken(w, 1, "%s ignores a record that its voters have accepted", h->name);
}

/* Its users hear of an election before they hear what it led to, however little of it came through. */
static bool elected_first(const struct host *h)
{
    const struct node *n = h->node;
    struct committed *c = malloc(sizeof *c);
    if (!c)
        abort();
    bool own = committed_read(n->cluster_blob, n->cluster_bytes, c, NULL) == 0 &&
               electorate_equal(&c->set, &n->formation.mine.set);
    free(c);
    /* Or it was told to nobody, when the power went; or by the host whose disk was copied. */
    return !own || h->told_elected || h->starts > 1 || h->voter->shared;
}

static void pass(const struct world *w, struct milestone *m, uint64_t wanted)
{
    if (++m->events == wanted)
        m->ms = w->now_ms;
}

static void note_milestones(struct world *w, const struct action *a)
{
    struct outcome *o = w->out;
    uint64_t hosts = w->s->hosts;
    if (a->event == EVENT_MEMBER_DISCOVERED)
        pass(w, &o->known, hosts * (hosts - 1));
    if (a->event == EVENT_ELECTED)
        pass(w, &o->elected, 1);
    if (a->event == EVENT_RECORD_COMMITTED) {
        pass(w, &o->recorded, 1);
        pass(w, &o->held, hosts);
    }
    if (a->event == EVENT_NODE_READY)
        pass(w, &o->ready, hosts);
}

void watch_event(struct world *w, struct host *h, const struct action *a)
{
    note_milestones(w, a);
    h->told_elected |= a->event == EVENT_ELECTED;
    if (a->event == EVENT_RECORD_COMMITTED && !elected_first(h))
        broken(w, 0, "%s tells of a cluster and of no election", h->name);
    if (a->event == EVENT_ELECTION_STARTED && h->voter->committed && !h->voter->shared)
        broken(w, 5, "%s stands for election after the commit", h->name);
    if (a->event == EVENT_RECORD_COMMITTED && !h->voter->committed)
        broken(w, 5, "%s goes by a record that is not on its disk", h->name);
    if (a->event == EVENT_TICKET_ISSUED)
        ticket_issued(w, h, &a->peer);
    if (a->event == EVENT_ELECTED && peer_id_equal(&a->peer, &h->identity->id) && h->node->formation.leading)
        check_leader(w, h);
}

/* Invariant 3, the other half: who holds no lease builds nothing, and no two hold one at once. */
static void check_leases(struct world *w, const struct host *h)
{
    if (leads(w, h)) {
        const struct electorate *set = &h->node->formation.mine.set;
        for (uint32_t i = 0; i < w->slots; i++) {
            const struct host *o = &w->host[i];
            if (o != h && leads(w, o) && electorate_equal(&o->node->formation.mine.set, set) &&
                promises_honest(w, set))
                broken(w, 3, "%s and %s both hold a live lease", h->name, o->name);
        }
        return;
    }
    for (size_t i = 0; i < TASKS_MAX; i++) {
        const struct task *t = &h->kube.task[i];
        if (t->id && !t->canceled && (t->kind == STEP_INIT || t->kind == STEP_APPLY || t->kind == STEP_CA))
            broken(w, 3, "%s goes on with %s without a lease", h->name, step_word(t->kind));
    }
}

/* Invariant 8: who stands makes room for others in time. */
static void check_candidacy(struct world *w, const struct host *h)
{
    const struct formation *f = &h->node->formation;
    if (f->standing && !f->leading && !h->node->committed && !h->node->work.leaving &&
        w->now_ms > f->stand_ms + CANDIDACY_MS)
        broken(w, 8, "%s stands for election for %" PRIu64 " ms", h->name, w->now_ms - f->stand_ms);
}

void watch_after(struct world *w, struct host *h)
{
    check_leases(w, h);
    check_candidacy(w, h);
    promises_leased(w, h);
    heard_after(w, h);
    bool ready = h->node->work.phase == PHASE_READY;
    if (ready && !h->ready)
        h->ready_ms = w->now_ms;
    w->ready += ready;
    w->ready -= h->ready;
    h->ready = ready;
}
