/*
 * What one identity may promise after what it has promised before (docs/formation.md), looked at each time
 * that its disk takes a new ballot; and that nothing is told which the disk has not got.
 */
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"
#include "protocol/node_state.h"
#include "tests/sim/promises.h"

static uint64_t set_hash(const struct electorate *set)
{
    uint8_t id[SET_ID_BYTES];
    uint64_t h;
    electorate_id(set, id);
    memcpy(&h, id, sizeof h);
    return h;
}

bool ballot_same(const struct ballot *a, const struct ballot *b)
{
    if (a->bound != b->bound || a->floor != b->floor || a->accepted != b->accepted)
        return false;
    if (a->bound &&
        (!electorate_equal(&a->set, &b->set) || a->term != b->term || !peer_id_equal(&a->vote, &b->vote)))
        return false;
    return !a->accepted || (a->accepted_term == b->accepted_term && record_equal(&a->record, &b->record));
}

struct voter *promises_voter(const struct world *w, const struct peer_id *id)
{
    for (size_t i = 0; i < w->voter_count; i++)
        if (peer_id_equal(&w->voter[i]->id, id))
            return w->voter[i];
    return NULL;
}

static bool was_bound(const struct voter *v, uint64_t set)
{
    for (uint32_t i = 0; i < v->bound_count && i < COUNT_OF(v->bound); i++)
        if (v->bound[i] == set)
            return true;
    return v->bound_count > COUNT_OF(v->bound);
}

/* Whether all who hold this set up keep the rules: one that lies can break them for its own set. */
bool promises_honest(const struct world *w, const struct electorate *set)
{
    for (size_t i = 0; i < w->voter_count; i++)
        if ((w->voter[i]->lies || w->voter[i]->shared) && electorate_index(set, &w->voter[i]->id) >= 0)
            return false;
    return true;
}

/* Bound, constituted, signed off, released. */
static void check_set(struct world *w, const struct host *h, const struct ballot *was,
                      const struct ballot *is)
{
    if (is->floor < was->floor)
        broken(w, 1, "%s takes back a set that it signed off", h->name);
    if (is->bound && is->floor < is->set.number && electorate_index(&is->set, &h->identity->id) < 0)
        broken(w, 1, "%s is bound to a set without itself", h->name);
    if (!was->bound)
        return;
    bool same = is->bound && electorate_equal(&is->set, &was->set);
    if (same && was->accepted && is->floor >= is->set.number && was->floor < was->set.number)
        broken(w, 1, "%s signs its set off after it accepted a record", h->name);
    if (same)
        return;
    /* It counts itself, too, if it signs off in the same moment, which it may not once it has accepted. */
    size_t off = 0;
    for (size_t i = 0; i < was->set.count; i++) {
        const struct voter *v = promises_voter(w, &was->set.member[i]);
        uint32_t floor = !v ? 0 : v != h->voter ? v->ballot.floor : was->accepted ? was->floor : is->floor;
        off += floor >= was->set.number;
    }
    if (was->set.count - off > was->set.count / 2 && promises_honest(w, &was->set))
        broken(w, 1, "%s leaves its set, of which %zu of %u signed off", h->name, off, was->set.count);
}

/* Terms, votes, acceptances: only under a constituted set that is not signed off, and never back. */
static void check_vote(struct world *w, const struct host *h, const struct ballot *was,
                       const struct ballot *is, bool constituted)
{
    bool same = was->bound && is->bound && electorate_equal(&is->set, &was->set);
    bool acts = is->bound && (is->term > 0 || !peer_id_is_zero(&is->vote) || is->accepted);
    if (acts && !constituted)
        broken(w, 1, "%s votes under a set that is not constituted", h->name);
    bool revotes = is->bound && !peer_id_is_zero(&is->vote) &&
                   (!same || is->term != was->term || !peer_id_equal(&is->vote, &was->vote));
    if (revotes && w->now_ms < h->voter->leased_until_ms && !peer_id_equal(&is->vote, &h->voter->leased_to))
        broken(w, 3, "%s votes for another while a lease runs that it granted", h->name);
    if (!same)
        return;
    bool changed = is->term != was->term || !peer_id_equal(&is->vote, &was->vote) ||
                   is->accepted != was->accepted || is->accepted_term != was->accepted_term;
    if (changed && was->floor >= was->set.number)
        broken(w, 1, "%s acts under a set that it signed off", h->name);
    if (is->term < was->term)
        broken(w, 1, "%s goes back from term %" PRIu64 " to %" PRIu64, h->name, was->term, is->term);
    if (is->term == was->term && !peer_id_is_zero(&was->vote) && !peer_id_equal(&is->vote, &was->vote))
        broken(w, 1, "%s votes twice in term %" PRIu64, h->name, is->term);
    if (was->accepted &&
        (!is->accepted || is->accepted_term < was->accepted_term ||
         (is->accepted_term == was->accepted_term && !record_equal(&is->record, &was->record))))
        broken(w, 1, "%s takes back what it accepted", h->name);
    if (h->voter->committed && changed)
        broken(w, 5, "%s votes after the commit", h->name);
}

/* A set that nobody else is bound to is a proposal: as many as were expected, or all who are here after a
 * look round. */
static void check_bound(struct world *w, const struct host *h, const struct electorate *set)
{
    struct node_config cfg;
    uint32_t expect = h->group == 0 ? w->s->expect : 0;
    node_config_default(&cfg);
    if (expect && set->count != expect)
        broken(w, 1, "%s is bound to %u hosts where %u are expected", h->name, set->count, expect);
    for (size_t i = 0; i < w->voter_count; i++)
        if (was_bound(w->voter[i], set_hash(set)))
            return;
    if (!expect && w->now_ms < h->started_ms + cfg.settle_ms)
        broken(w, 1, "%s proposes a set before it has settled", h->name);
}

static void check_constituted(struct world *w, const struct host *h, const struct ballot *is)
{
    uint64_t set = set_hash(&is->set);
    for (size_t i = 0; i < is->set.count && promises_honest(w, &is->set); i++) {
        const struct voter *v = promises_voter(w, &is->set.member[i]);
        if (v != h->voter && (!v || !was_bound(v, set)))
            broken(w, 1, "%s takes its set for constituted, to which not all of it were bound", h->name);
    }
}

/* What node_store.c writes: [version, start, constituted, ballot, founding, proposed, joined, leaving]. */
static bool read_promises(const uint8_t *bytes, size_t n, struct promises *out)
{
    struct pack_reader r;
    if (pack_open(&r, bytes, n, 4, NULL) != 0)
        return false;
    pack_array(&r, 8, 8);
    pack_uint(&r, UINT32_MAX);
    pack_uint(&r, UINT32_MAX);
    out->constituted = pack_bool(&r);
    ballot_unpack(&r, &out->ballot);
    pack_str(&r, out->founding, sizeof out->founding);
    pack_bool(&r);
    pack_str(&r, out->joined, sizeof out->joined);
    pack_uint(&r, 2);
    return pack_close(&r, NULL) == 0;
}

bool promises_voted(const struct voter *v, const struct ballot *ballot, const struct peer_id *peer)
{
    uint64_t set = set_hash(&ballot->set);
    for (uint32_t i = 0; i < v->vote_count && i < COUNT_OF(v->vote); i++)
        if (v->vote[i].set == set && v->vote[i].term == ballot->term && peer_id_equal(&v->vote[i].peer, peer))
            return true;
    return false;
}

static void note_vote(struct voter *v, const struct ballot *b)
{
    if (b->bound && !peer_id_is_zero(&b->vote) && !promises_voted(v, b, &b->vote))
        v->vote[v->vote_count++ % COUNT_OF(v->vote)] = (struct vote){set_hash(&b->set), b->term, b->vote};
}

void promises_stored(struct world *w, struct host *h, const uint8_t *bytes, size_t n)
{
    static struct promises now; /* large */
    struct voter *v = h->voter;
    memset(&now, 0, sizeof now);
    if (!read_promises(bytes, n, &now)) {
        broken(w, 4, "%s stored promises that cannot be read", h->name);
        return;
    }
    memcpy(h->joined, now.joined, sizeof h->joined);
    if (!v->shared && !v->lies) {
        check_set(w, h, &v->ballot, &now.ballot);
        check_vote(w, h, &v->ballot, &now.ballot, now.constituted);
        if (now.constituted && !v->constituted && now.ballot.bound)
            check_constituted(w, h, &now.ballot);
    }
    if (!v->shared && !v->lies && now.ballot.bound && !was_bound(v, set_hash(&now.ballot.set)))
        check_bound(w, h, &now.ballot.set);
    if (now.ballot.bound && !was_bound(v, set_hash(&now.ballot.set)))
        v->bound[v->bound_count++ % COUNT_OF(v->bound)] = set_hash(&now.ballot.set);
    note_vote(v, &now.ballot);
    v->ballot = now.ballot;
    v->constituted = now.constituted;
}

void promises_loaded(struct world *w, struct host *h)
{
    const struct formation *f = &h->node->formation;
    struct voter *v = h->voter;
    if (v->shared || !h->disk.file[STORE_PROMISES].bytes)
        return;
    if (!ballot_same(&f->mine, &v->ballot) || f->constituted != v->constituted)
        broken(w, 4, "%s has forgotten what it promised", h->name);
    if (h->node->committed != v->committed)
        broken(w, 5, "%s has forgotten that there is a cluster", h->name);
}

void promises_leased(struct world *w, struct host *h)
{
    const struct formation *f = &h->node->formation;
    struct voter *v = h->voter;
    if (f->grant_until_ms <= w->now_ms || peer_id_equal(&f->granted_to, &h->identity->id))
        return;
    v->leased_to = f->granted_to;
    v->leased_until_ms = f->grant_until_ms;
}

/* ---- telling ---- */

/* The sender's own ballot in a push, if there is one. */
static bool read_told(const struct host *h, const uint8_t *bytes, size_t n, struct ballot *told)
{
    uint8_t *plain = malloc(n);
    struct pack_reader r;
    struct statement s;
    struct peer_id id;
    size_t plain_n = 0;
    uint32_t epoch;
    bool found = false;
    if (!plain)
        abort();
    if (key_open(h->node, bytes, n, plain, &plain_n, &epoch) == 0 &&
        pack_open(&r, plain, plain_n, 5, NULL) == 0) {
        pack_array(&r, 5, 16);
        bool push = pack_uint(&r, MSG_COUNT) == MSG_PUSH;
        pack_bin_copy(&r, id.b, sizeof id.b);
        for (int i = 0; i < 3; i++)
            pack_uint(&r, UINT64_MAX);
        uint32_t count = push ? pack_array(&r, 0, NET_ITEMS_MAX) : 0;
        for (uint32_t i = 0; i < count && !pack_bad(&r) && !found; i++) {
            size_t wire_n = 0;
            const uint8_t *wire = pack_raw(&r, &wire_n);
            found = !pack_bad(&r) &&
                    statement_decode(wire, wire_n, h->node->group_id, false, &s, NULL) == 0 &&
                    s.kind == STATEMENT_BALLOT && peer_id_equal(&s.owner, &h->identity->id) &&
                    ballot_decode(s.payload, s.payload_bytes, told) == 0;
        }
    }
    free(plain);
    return found;
}

void promises_told(struct world *w, struct host *h, const uint8_t *bytes, size_t n)
{
    static struct ballot told;
    const struct ballot *mine = &h->node->formation.mine;
    if (h->voter->shared || ballot_same(mine, &h->voter->ballot))
        return; /* all that it could tell is on its disk */
    if (read_told(h, bytes, n, &told) && ballot_same(&told, mine))
        broken(w, 4, "%s tells a promise that is not on its disk", h->name);
}
