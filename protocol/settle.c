#include "protocol/settle.h"

#include <string.h>

#include "protocol/fault.h"

#define BIND_TIMEOUT_MS                                                                                      \
    2000                  /* a set that is not constituted by then, and is not what we see, is signed off */
#define DISAGREE_MS 1000  /* how long we look on while somebody is bound to a set that we do not see */
#define PROPOSE_MS  500   /* from giving a set up to proposing the next, expected or not */
#define UNHEARD_MS  15000 /* how long, since we met a peer, we wait for the ballots of its set */
#define HOPELESS_MS 10000 /* how long a constituted set may be without anybody alive who could found */

static const struct peer_id *self(const struct formation_input *in)
{
    return &in->me->id;
}

const struct formation_peer *settle_peer(const struct formation_input *in, const struct peer_id *id)
{
    size_t lo = 0, hi = in->peer_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = peer_id_compare(&in->peer[mid].id, id);
        if (c == 0)
            return &in->peer[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const struct formation_peer *settle_next(const struct formation_input *in, size_t *at,
                                         const struct peer_id *id)
{
    while (*at < in->peer_count && peer_id_compare(&in->peer[*at].id, id) < 0)
        ++*at;
    return *at < in->peer_count && peer_id_equal(&in->peer[*at].id, id) ? &in->peer[*at] : NULL;
}

/* The latest ballot of a peer, our own included; NULL when unknown. */
static const struct ballot *ballot_of(const struct formation *f, const struct formation_input *in,
                                      const struct formation_peer *p)
{
    if (!p)
        return NULL;
    return peer_id_equal(&p->id, self(in)) ? &f->mine : p->ballot;
}

const struct ballot *settle_next_ballot(const struct formation *f, const struct formation_input *in,
                                        size_t *at, const struct peer_id *id)
{
    return ballot_of(f, in, settle_next(in, at, id));
}

/* ---- look, settle, bind ---- */

static void look(struct formation *f, const struct formation_input *in)
{
    size_t seen = 0;
    bool changed = false;
    for (size_t i = 0; i < in->peer_count && seen < ELECTORATE_MAX; i++) {
        if (!in->peer[i].in_view)
            continue;
        if (seen >= f->view_count || !peer_id_equal(&f->view[seen], &in->peer[i].id)) {
            f->view[seen] = in->peer[i].id;
            changed = true;
        }
        seen++;
    }
    if (changed || seen != f->view_count)
        f->view_since_ms = in->now_ms;
    f->view_count = seen;
}

/* The set that would be proposed now. With `expect` it has exactly that many members: the first by id, so
 * that all who see the same peers choose alike. Returns false when there are too few. */
static bool choose(const struct formation_input *in, struct electorate *set)
{
    size_t want = in->expect ? in->expect : ELECTORATE_MAX;
    set->count = 0;
    for (size_t i = 0; i < in->peer_count && set->count < want; i++)
        if (in->peer[i].in_view)
            set->member[set->count++] = in->peer[i].id;
    if (in->expect && !FAULT(EXPECT_IGNORED))
        return set->count == in->expect;
    return set->count >= 2 || (set->count == 1 && in->lone);
}

static bool same_members(const struct electorate *a, const struct electorate *b)
{
    return a->count == b->count && memcmp(a->member, b->member, a->count * sizeof a->member[0]) == 0;
}

static bool settled(const struct formation *f, const struct formation_input *in, const struct electorate *set)
{
    if (in->now_ms < f->propose_ms)
        return false;
    if (in->expect || FAULT(SETTLE_IGNORED))
        return true;
    if (in->now_ms < in->unknown_until_ms)
        return false;
    uint64_t wait = set->count == 1 ? FORMATION_LONE_SETTLES * in->settle_ms : in->settle_ms;
    return in->now_ms >= f->view_since_ms + wait;
}

/* Every member of the set is bound to the set, as far as we know. `unheard`: those of whom we know nothing
 * may be. */
static bool all_bound(const struct formation *f, const struct formation_input *in,
                      const struct electorate *set, bool unheard)
{
    for (size_t i = 0, at = 0; i < set->count; i++) {
        const struct ballot *b = settle_next_ballot(f, in, &at, &set->member[i]);
        if (!b && (unheard || FAULT(CONSTITUTED_UNHEARD)))
            continue;
        if (!b || !b->bound || (b->floor >= set->number && !FAULT(SIGNED_OFF_ACTS)) ||
            !electorate_equal(&b->set, set))
            return false;
    }
    return true;
}

/* A living peer belongs to a constituted set without us: we come late, and wait for its record. Whom it is
 * bound with may be gone, and their ballots are on their way to us then. */
static bool comes_late(const struct formation *f, const struct formation_input *in)
{
    for (size_t i = 0; i < in->peer_count; i++) {
        const struct formation_peer *p = &in->peer[i];
        if (!p->alive || !p->ballot || !p->ballot->bound || peer_id_equal(&p->id, self(in)))
            continue;
        bool unheard = in->now_ms < p->discovered_ms + UNHEARD_MS;
        if (p->ballot->floor < p->ballot->set.number && electorate_index(&p->ballot->set, self(in)) < 0 &&
            all_bound(f, in, &p->ballot->set, unheard))
            return true;
    }
    return false;
}

static uint32_t highest_number(const struct formation *f, const struct formation_input *in)
{
    uint32_t n = f->mine.floor;
    for (size_t i = 0; i < in->peer_count; i++) {
        const struct ballot *b = in->peer[i].ballot;
        if (!b || peer_id_equal(&in->peer[i].id, self(in)))
            continue;
        if (b->floor > n)
            n = b->floor;
        if (b->bound && b->set.number > n)
            n = b->set.number;
    }
    return n;
}

/* The number under which somebody of this very set is bound to it already; 0: nobody. */
static uint32_t proposed_number(const struct formation *f, const struct formation_input *in,
                                const struct electorate *set)
{
    uint32_t best = 0;
    for (size_t i = 0; i < in->peer_count; i++) {
        const struct formation_peer *p = &in->peer[i];
        if (peer_id_equal(&p->id, self(in)) || !p->alive || !p->ballot || !p->ballot->bound)
            continue;
        if (same_members(&p->ballot->set, set) && p->ballot->set.number > f->mine.floor &&
            p->ballot->floor < p->ballot->set.number && p->ballot->set.number > best)
            best = p->ballot->set.number;
    }
    return best;
}

static uint32_t bind_set(struct formation *f, const struct formation_input *in)
{
    struct electorate *set = &f->mine.set; /* unused while we are not bound */
    if (!choose(in, set) || electorate_index(set, self(in)) < 0 || comes_late(f, in))
        return 0;
    uint32_t number = proposed_number(f, in, set);
    if (number == 0) {
        if (!peer_id_equal(&set->member[0], self(in)) || !settled(f, in, set))
            return 0;
        number = highest_number(f, in);
        if (number == UINT32_MAX)
            return 0;
        number++;
    }
    set->number = number;
    f->mine.bound = true;
    f->mine.term = 0;
    memset(&f->mine.vote, 0, sizeof f->mine.vote);
    f->bound_ms = in->now_ms;
    return FORMATION_PROMISED | FORMATION_BOUND;
}

/* ---- sign off, release ---- */

static uint32_t sign_off(struct formation *f, uint32_t number)
{
    if ((f->mine.accepted && !FAULT(ACCEPTED_SIGNS_OFF)) || number <= f->mine.floor)
        return 0;
    uint32_t lost = f->leading ? FORMATION_LEASE_LOST : 0;
    f->mine.floor = number;
    f->standing = f->leading = false;
    return FORMATION_PROMISED | FORMATION_SIGNED_OFF | lost;
}

static bool view_is(const struct formation_input *in, const struct electorate *set)
{
    struct electorate now = {0};
    return choose(in, &now) && same_members(&now, set);
}

/* How many of its members have signed this set off, as far as we know. A set that one of them signed off can
 * never be constituted any more; see also release. */
static size_t signed_off(const struct formation *f, const struct formation_input *in,
                         const struct electorate *set)
{
    size_t off = 0;
    for (size_t i = 0, at = 0; i < set->count; i++) {
        const struct ballot *b = settle_next_ballot(f, in, &at, &set->member[i]);
        off += b && b->floor >= set->number;
    }
    return off;
}

/* Up to which number to sign off because of a set that counts on us and is not ours; 0: nothing. */
static uint32_t objection(const struct formation *f, const struct formation_input *in,
                          const struct electorate *set)
{
    const struct electorate *mine = &f->mine.set;
    bool dead = signed_off(f, in, set) > 0;
    if (!f->mine.bound) {
        bool odd = !view_is(in, set) && in->now_ms >= f->view_since_ms + DISAGREE_MS;
        return dead || odd ? set->number : 0;
    }
    if (dead)
        return set->number;
    /* The later of the two stays if it is what we see. Otherwise both go, and the group settles anew. */
    return set->number > mine->number && view_is(in, set) ? mine->number : set->number;
}

static uint32_t sign_off_others(struct formation *f, const struct formation_input *in)
{
    if (f->mine.bound && f->constituted)
        return 0; /* it cannot be constituted without us, and ours goes on */
    uint32_t done = 0;
    for (size_t i = 0; i < in->peer_count; i++) {
        const struct ballot *b = in->peer[i].ballot;
        if (!b || !b->bound || peer_id_equal(&in->peer[i].id, self(in)) || b->set.number <= f->mine.floor)
            continue;
        if (electorate_index(&b->set, self(in)) < 0 ||
            (f->mine.bound && electorate_equal(&b->set, &f->mine.set)))
            continue;
        done |= sign_off(f, objection(f, in, &b->set));
    }
    return done;
}

/* How many of our set signed it off or left for good: they take no part in it any more. */
static size_t gone(const struct formation *f, const struct formation_input *in, bool alive_only)
{
    size_t n = 0;
    for (size_t i = 0, at = 0; i < f->mine.set.count; i++) {
        const struct formation_peer *p = settle_next(in, &at, &f->mine.set.member[i]);
        const struct ballot *b = ballot_of(f, in, p);
        bool off = b && b->floor >= f->mine.set.number;
        if (alive_only)
            n += off && p->in_view;
        else
            n += off || (p && p->left);
    }
    return n;
}

static size_t in_view(const struct formation *f, const struct formation_input *in)
{
    size_t n = 0;
    for (size_t i = 0, at = 0; i < f->mine.set.count; i++) {
        const struct formation_peer *p = settle_next(in, &at, &f->mine.set.member[i]);
        n += p && p->in_view;
    }
    return n;
}

/* A majority of our set is here, but some of those signed it off and the rest is too few. */
static bool outvoted(const struct formation *f, const struct formation_input *in)
{
    size_t here = in_view(f, in), majority = electorate_majority(&f->mine.set);
    return here >= majority && here - gone(f, in, true) < majority;
}

/* Nobody alive in our set could found a cluster, and somebody outside of it could; or those who are here
 * could decide, had not some of them signed this set off. */
static bool hopeless(struct formation *f, const struct formation_input *in)
{
    bool over = outvoted(f, in), inside = false, outside = over;
    for (size_t i = 0; i < in->peer_count; i++) {
        const struct formation_peer *p = &in->peer[i];
        const struct ballot *b = ballot_of(f, in, p);
        if (!p->in_view || !p->eligible)
            continue;
        bool off = b && b->floor >= f->mine.set.number; /* it never founds under this set */
        if (!off && electorate_index(&f->mine.set, &p->id) >= 0)
            inside = true;
        else
            outside = true;
    }
    if ((inside && !over) || !outside) {
        f->hopeless_ms = 0;
        return false;
    }
    if (f->hopeless_ms == 0)
        f->hopeless_ms = in->now_ms;
    return in->now_ms >= f->hopeless_ms + HOPELESS_MS;
}

static uint32_t sign_off_own(struct formation *f, const struct formation_input *in)
{
    if (!f->mine.bound || f->mine.floor >= f->mine.set.number)
        return 0;
    if (f->mine.set.count - gone(f, in, false) < electorate_majority(&f->mine.set))
        return sign_off(f, f->mine.set.number); /* those who are left can never decide */
    if (f->constituted)
        return hopeless(f, in) ? sign_off(f, f->mine.set.number) : 0;
    if (signed_off(f, in, &f->mine.set) > 0) /* it can never be constituted any more */
        return sign_off(f, f->mine.set.number);
    if (in->now_ms < f->bound_ms + BIND_TIMEOUT_MS || view_is(in, &f->mine.set))
        return 0;
    return sign_off(f, f->mine.set.number);
}

/* When so many have signed the set off that no majority is left to accept anything, it has committed nothing
 * and never will, whatever the rest of it accepted: none of those had accepted, nor ever does under this set.
 * Leaving it is then safe for everybody. */
static uint32_t release(struct formation *f, const struct formation_input *in)
{
    size_t left = f->mine.bound ? f->mine.set.count - signed_off(f, in, &f->mine.set) : 0;
    if (!f->mine.bound || left >= electorate_majority(&f->mine.set) + FAULT(RELEASED_EARLY) ||
        FAULT(NEVER_RELEASED))
        return 0;
    if (f->mine.floor < f->mine.set.number)
        f->mine.floor = f->mine.set.number;
    f->mine.bound = f->mine.accepted = false;
    f->constituted = f->leading = f->standing = false;
    f->hopeless_ms = 0;
    f->view_since_ms = in->now_ms;
    f->propose_ms = in->now_ms + PROPOSE_MS;
    return FORMATION_PROMISED | FORMATION_RELEASED;
}

static uint32_t constitute(struct formation *f, const struct formation_input *in)
{
    if (!f->mine.bound || f->constituted || (f->mine.floor >= f->mine.set.number && !FAULT(SIGNED_OFF_ACTS)))
        return 0;
    if (!all_bound(f, in, &f->mine.set, false))
        return 0;
    f->constituted = true;
    f->constituted_ms = in->now_ms;
    return FORMATION_PROMISED | FORMATION_CONSTITUTED;
}

uint32_t settle_tick(struct formation *f, const struct formation_input *in)
{
    uint32_t done = 0;
    look(f, in);
    done |= sign_off_own(f, in);
    done |= sign_off_others(f, in);
    done |= release(f, in);
    if (!f->mine.bound)
        done |= bind_set(f, in);
    return done | constitute(f, in);
}

static void earlier(uint64_t *at, uint64_t t, uint64_t now_ms)
{
    if (t > now_ms && t < *at)
        *at = t;
}

uint64_t settle_wake(const struct formation *f, const struct formation_input *in)
{
    uint64_t now = in->now_ms, at = now + 1000;
    earlier(&at, f->view_since_ms + in->settle_ms, now);
    earlier(&at, f->view_since_ms + DISAGREE_MS, now);
    earlier(&at, f->bound_ms + BIND_TIMEOUT_MS, now);
    earlier(&at, f->propose_ms, now);
    return at;
}
