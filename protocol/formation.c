#include "protocol/formation.h"

#include <string.h>

#include "protocol/fault.h"
#include "protocol/settle.h"

#define STAND_TIMEOUT_MS 1500

static const struct peer_id *self(const struct formation_input *in)
{
    return &in->me->id;
}

/* True if this ballot was cast under the set that we are bound to. */
static bool same_set(const struct formation *f, const struct ballot *b)
{
    return b && b->bound && electorate_equal(&b->set, &f->mine.set);
}

void formation_start(struct formation *f, const struct identity *me, uint64_t now_ms, uint64_t lease_ms)
{
    f->view_since_ms = now_ms;
    f->bound_ms = f->constituted_ms = now_ms;
    f->not_before_ms = now_ms;
    /* We may have granted a lease just before we went down: it is honoured in full. */
    if (!peer_id_is_zero(&f->mine.vote) && !FAULT(LEASE_FORGOTTEN)) {
        f->granted_to = f->mine.vote;
        f->grant_until_ms = now_ms + lease_ms;
        if (peer_id_equal(&f->mine.vote, &me->id))
            f->not_before_ms = now_ms + lease_ms;
    }
}

/* ---- vote, lease, accept ---- */

/* A lease that we granted to somebody else still runs. */
static bool leased_to_other(const struct formation *f, const struct peer_id *id, uint64_t now_ms)
{
    return now_ms < f->grant_until_ms && !peer_id_equal(&f->granted_to, id) && !FAULT(LEASE_NOT_HONOURED);
}

static void grant(struct formation *f, const struct peer_id *id, uint64_t until_ms)
{
    f->granted_to = *id;
    f->grant_until_ms = until_ms;
}

static uint32_t vote_for(struct formation *f, const struct formation_input *in, const struct peer_id *id,
                         const struct ballot *b)
{
    bool again = FAULT(VOTES_TWICE) && !peer_id_equal(&f->mine.vote, id);
    if (b->term + again <= f->mine.term || leased_to_other(f, id, in->now_ms))
        return 0;
    uint32_t lost = f->leading ? FORMATION_LEASE_LOST : 0;
    f->standing = f->leading = false;
    f->mine.term = b->term;
    f->mine.vote = *id;
    grant(f, id, in->now_ms + in->lease_ms);
    return FORMATION_PROMISED | FORMATION_VOTED | lost;
}

static void sign_accept(struct formation *f, const struct formation_input *in)
{
    uint8_t set_id[SET_ID_BYTES], text[ACCEPT_TEXT_BYTES];
    electorate_id(&f->mine.set, set_id);
    record_accept_text(in->group_id, set_id, f->mine.accepted_term, &f->mine.record, text);
    identity_sign(in->me, ACCEPT_DOMAIN, text, sizeof text, f->mine.accept_sig);
}

/* What a leader proposed in its own term; accepting it is also promising that term. */
static uint32_t accept_from(struct formation *f, const struct formation_input *in, const struct peer_id *id,
                            const struct ballot *b)
{
    if (!b->accepted || b->accepted_term != b->term ||
        (b->term < f->mine.term && !FAULT(OLDER_TERM_ACCEPTED)))
        return 0;
    if (b->term == f->mine.term && !peer_id_equal(&f->mine.vote, id))
        return 0;
    if (f->mine.accepted && f->mine.accepted_term >= b->term)
        return 0;
    if (b->term > f->mine.term && leased_to_other(f, id, in->now_ms))
        return 0;
    uint32_t done = f->leading ? FORMATION_LEASE_LOST : 0;
    /* Its call for votes did not come through, or another's won before: we learn here who leads. */
    if (!peer_id_equal(&f->mine.vote, id))
        done |= FORMATION_VOTED;
    f->standing = f->leading = false;
    f->mine.term = b->term;
    f->mine.vote = *id;
    f->mine.accepted = true;
    f->mine.accepted_term = b->term;
    f->mine.record = b->record;
    sign_accept(f, in);
    return FORMATION_PROMISED | FORMATION_ACCEPTED | done;
}

/* May act under our set at all. */
static bool active(const struct formation *f)
{
    return f->mine.bound && f->constituted && (f->mine.floor < f->mine.set.number || FAULT(SIGNED_OFF_ACTS));
}

static uint32_t answer_candidates(struct formation *f, const struct formation_input *in)
{
    uint32_t done = 0;
    for (size_t i = 0, at = 0; i < f->mine.set.count; i++) {
        const struct peer_id *id = &f->mine.set.member[i];
        const struct ballot *b = settle_next_ballot(f, in, &at, id);
        if (peer_id_equal(id, self(in)) || !same_set(f, b) || !peer_id_equal(&b->vote, id))
            continue;
        done |= accept_from(f, in, id, b);
        done |= vote_for(f, in, id, b);
    }
    return done;
}

static bool ranks_before(const struct formation_peer *a, const struct formation_peer *b)
{
    if (a->rank != b->rank)
        return a->rank < b->rank;
    return peer_id_compare(&a->id, &b->id) < 0;
}

/* How many living members of our set should stand before us. */
static uint32_t my_place(const struct formation *f, const struct formation_input *in)
{
    const struct formation_peer *me = settle_peer(in, self(in));
    uint32_t place = 0;
    for (size_t i = 0; i < in->peer_count; i++) {
        const struct formation_peer *p = &in->peer[i];
        if (p->alive && (p->eligible || p->hopeful) && p != me &&
            electorate_index(&f->mine.set, &p->id) >= 0 && (!me->eligible || ranks_before(p, me)))
            place++;
    }
    return place;
}

static bool is_awaited(const struct formation *f, const struct formation_peer *p)
{
    return p->alive && p->awaited && electorate_index(&f->mine.set, &p->id) >= 0;
}

/* Until when whoever was told to be the master is waited for, while it lives and nothing went wrong there.
 * Making a host ready takes minutes where packages are installed; one that is ready has two leases to come
 * forward. */
static uint64_t patience(const struct formation *f, const struct formation_input *in)
{
    uint32_t mine = settle_peer(in, self(in))->rank;
    uint64_t until = 0;
    for (size_t i = 0; i < in->peer_count && !f->mine.accepted; i++) {
        const struct formation_peer *p = &in->peer[i];
        uint64_t to = p->eligible ? f->unready_ms + 2 * in->lease_ms : f->constituted_ms + FORMATION_AWAIT_MS;
        if (is_awaited(f, p) && p->rank < mine && to > until)
            until = to;
    }
    return until;
}

/* Notes when somebody who is waited for was not ready: that one's two leases begin when it is. */
static void note_unready(struct formation *f, const struct formation_input *in)
{
    if (f->unready_ms < f->constituted_ms)
        f->unready_ms = f->constituted_ms;
    for (size_t i = 0; i < in->peer_count; i++)
        if (is_awaited(f, &in->peer[i]) && !in->peer[i].eligible)
            f->unready_ms = in->now_ms;
}

static uint64_t stand_time(const struct formation *f, const struct formation_input *in)
{
    uint64_t t = f->constituted_ms;
    if (f->grant_until_ms > t && !peer_id_equal(&f->granted_to, self(in)))
        t = f->grant_until_ms;
    if (f->not_before_ms > t)
        t = f->not_before_ms;
    t += my_place(f, in) * (in->lease_ms / 2);
    uint64_t until = patience(f, in);
    return t > until ? t : until;
}

static uint64_t highest_term(const struct formation *f, const struct formation_input *in)
{
    uint64_t term = f->mine.term;
    for (size_t i = 0, at = 0; i < f->mine.set.count; i++) {
        const struct ballot *b = settle_next_ballot(f, in, &at, &f->mine.set.member[i]);
        if (same_set(f, b) && b->term > term)
            term = b->term;
    }
    return term;
}

/* Who cannot found stands only to carry forward what it has accepted. */
static bool may_stand(const struct formation *f, const struct formation_input *in)
{
    const struct formation_peer *me = settle_peer(in, self(in));
    return me && (f->mine.accepted || (me->eligible && in->checks_green));
}

static uint32_t stand(struct formation *f, const struct formation_input *in)
{
    note_unready(f, in);
    if (f->standing || f->leading || !may_stand(f, in) || in->now_ms < stand_time(f, in))
        return 0;
    uint64_t term = highest_term(f, in);
    if (term == UINT64_MAX)
        return 0;
    f->mine.term = FAULT(TERM_NOT_RAISED) && term > 0 ? term : term + 1;
    f->mine.vote = *self(in);
    f->standing = true;
    f->stand_ms = in->now_ms;
    grant(f, self(in), in->now_ms + in->lease_ms);
    return FORMATION_PROMISED | FORMATION_STANDS;
}

/* Votes for us in our term; *best is the ballot among them with the latest accepted record, or NULL. */
static size_t count_votes(const struct formation *f, const struct formation_input *in,
                          const struct ballot **best)
{
    size_t votes = 0;
    *best = NULL;
    for (size_t i = 0, at = 0; i < f->mine.set.count; i++) {
        const struct ballot *b = settle_next_ballot(f, in, &at, &f->mine.set.member[i]);
        if (!same_set(f, b) || b->term != f->mine.term || !peer_id_equal(&b->vote, self(in)))
            continue;
        votes++;
        if (b->accepted && (!*best || b->accepted_term > (*best)->accepted_term))
            *best = b;
    }
    return votes;
}

/* The lease that voters granted is counted from before we asked, and a little short, for clocks that drift.
 */
static uint64_t lease_end(uint64_t asked_ms, uint64_t lease_ms)
{
    return asked_ms + lease_ms - lease_ms / 10;
}

/* So that those who stood at once do not do so again (splitmix64; Steele, Lea, Flood 2014). */
static uint64_t jitter_ms(struct formation *f, uint64_t below_ms)
{
    uint64_t z = (f->rng += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return below_ms ? (z ^ (z >> 31)) % below_ms : 0;
}

static uint32_t take_votes(struct formation *f, const struct formation_input *in)
{
    const struct ballot *best = NULL;
    if (!f->standing || f->leading)
        return 0;
    if (count_votes(f, in, &best) < electorate_majority(&f->mine.set) - FAULT(HALF_ELECTS)) {
        if (in->now_ms < f->stand_ms + STAND_TIMEOUT_MS || FAULT(NEVER_YIELDS))
            return 0;
        f->standing = false;
        f->not_before_ms = in->now_ms + jitter_ms(f, in->lease_ms / 2);
        f->grant_until_ms = in->now_ms; /* only our own vote hangs on it: another may have it now */
        return FORMATION_STOOD_DOWN;
    }
    f->leading = true;
    f->lease_until_ms = lease_end(f->stand_ms, in->lease_ms);
    f->round = 0;
    f->ask_ms = in->now_ms;
    memset(f->granted, 0, sizeof f->granted);
    if (!best || FAULT(RECORD_NOT_CARRIED))
        return FORMATION_ELECTED;
    f->mine.record = best->record;
    f->mine.accepted = true;
    f->mine.accepted_term = f->mine.term;
    sign_accept(f, in);
    return FORMATION_ELECTED | FORMATION_PROMISED | FORMATION_ACCEPTED;
}

static bool proposed(const struct formation *f)
{
    return f->mine.accepted && f->mine.accepted_term == f->mine.term;
}

/* A member, ourselves included, granted us this round. */
static void count_grant(struct formation *f, size_t who, uint64_t round, uint64_t lease_ms)
{
    if (f->granted[who].round < round)
        f->granted[who].round = round;
    size_t n = 0;
    for (size_t i = 0; i < f->mine.set.count; i++)
        if (f->granted[i].round >= round)
            n++;
    uint64_t until = lease_end(f->round_sent_ms[round % FORMATION_ROUNDS], lease_ms);
    if (n >= electorate_majority(&f->mine.set) - FAULT(HALF_RENEWS) && until > f->lease_until_ms)
        f->lease_until_ms = until;
}

static uint32_t keep_lease(struct formation *f, const struct formation_input *in)
{
    if (!f->leading)
        return 0;
    if (in->now_ms >= f->lease_until_ms && !FAULT(LEASE_IGNORED)) {
        f->leading = f->standing = false;
        f->not_before_ms = in->now_ms + in->lease_ms / 2 + jitter_ms(f, 1000);
        return FORMATION_LEASE_LOST;
    }
    if (in->now_ms < f->ask_ms)
        return 0;
    f->round++;
    f->round_sent_ms[f->round % FORMATION_ROUNDS] = in->now_ms;
    f->ask_ms = in->now_ms + in->lease_ms / 5;
    grant(f, self(in), in->now_ms + in->lease_ms);
    count_grant(f, (size_t)electorate_index(&f->mine.set, self(in)), f->round, in->lease_ms);
    return FORMATION_ASK_LEASE;
}

uint32_t formation_tick(struct formation *f, const struct formation_input *in)
{
    uint32_t done = settle_tick(f, in);
    if (!active(f))
        return done;
    done |= keep_lease(f, in);
    done |= answer_candidates(f, in);
    done |= stand(f, in);
    done |= take_votes(f, in);
    return done;
}

static void earlier(uint64_t *at, uint64_t t, uint64_t now_ms)
{
    if (t > now_ms && t < *at)
        *at = t;
}

uint64_t formation_wake(const struct formation *f, const struct formation_input *in)
{
    uint64_t now = in->now_ms, at = settle_wake(f, in);
    earlier(&at, f->grant_until_ms, now);
    if (!active(f))
        return at;
    if (f->leading) {
        earlier(&at, f->ask_ms, now);
        earlier(&at, f->lease_until_ms, now);
    } else if (f->standing) {
        earlier(&at, f->stand_ms + STAND_TIMEOUT_MS, now);
    } else if (may_stand(f, in)) {
        earlier(&at, stand_time(f, in), now);
    }
    return at;
}

/* Terms and rounds begin anew with each set: without its set, neither an ask nor a grant means anything. */
static bool is_our_set(const struct formation *f, const uint8_t set_id[static SET_ID_BYTES])
{
    uint8_t mine[SET_ID_BYTES];
    electorate_id(&f->mine.set, mine);
    return memcmp(mine, set_id, sizeof mine) == 0;
}

bool formation_lease_asked(struct formation *f, const struct peer_id *from,
                           const uint8_t set_id[static SET_ID_BYTES], uint64_t term, uint64_t now_ms,
                           uint64_t lease_ms)
{
    if (!active(f) || term != f->mine.term || !peer_id_equal(&f->mine.vote, from) || !is_our_set(f, set_id) ||
        leased_to_other(f, from, now_ms))
        return false;
    grant(f, from, now_ms + lease_ms);
    return true;
}

void formation_lease_granted(struct formation *f, const struct peer_id *from,
                             const uint8_t set_id[static SET_ID_BYTES], uint64_t term, uint64_t round,
                             uint64_t lease_ms)
{
    int who = f->mine.bound ? electorate_index(&f->mine.set, from) : -1;
    if (who >= 0 && f->leading && term == f->mine.term && round <= f->round &&
        round + FORMATION_ROUNDS > f->round && is_our_set(f, set_id))
        count_grant(f, (size_t)who, round, lease_ms);
}

bool formation_may_found(const struct formation *f, uint64_t now_ms)
{
    return active(f) && f->leading && now_ms < f->lease_until_ms;
}

int formation_propose(struct formation *f, const struct formation_input *in, const struct record *record)
{
    if (!formation_may_found(f, in->now_ms) || f->mine.accepted)
        return KPEER_ESTATE;
    f->mine.record = *record;
    f->mine.accepted = true;
    f->mine.accepted_term = f->mine.term;
    sign_accept(f, in);
    return 0;
}

bool formation_carries(const struct formation *f)
{
    return f->leading && proposed(f);
}

void formation_resign(struct formation *f, uint64_t until_ms)
{
    f->leading = f->standing = false;
    f->not_before_ms = until_ms;
}

bool formation_leave(struct formation *f)
{
    if (!f->mine.bound || (f->mine.accepted && !FAULT(ACCEPTED_SIGNS_OFF)) ||
        f->mine.floor >= f->mine.set.number)
        return false;
    f->mine.floor = f->mine.set.number;
    f->standing = f->leading = false;
    return true;
}

/* ---- commit ---- */

static bool accepts_same(const struct formation *f, const struct ballot *b, const struct ballot *ref)
{
    return same_set(f, b) && b->accepted && b->accepted_term == ref->accepted_term &&
           record_equal(&b->record, &ref->record);
}

static void add_signature(const struct formation_input *in, size_t i, const struct ballot *b,
                          const uint8_t *text, struct committed *out)
{
    const struct formation_peer *p = settle_peer(in, &out->set.member[i]);
    struct commit_signature *s = &out->signature[out->signature_count];
    if (!p || !p->sign_pk ||
        !identity_verify(p->sign_pk, ACCEPT_DOMAIN, text, ACCEPT_TEXT_BYTES, b->accept_sig))
        return;
    s->member = (uint16_t)i;
    memcpy(s->sign_pk, p->sign_pk, sizeof s->sign_pk);
    memcpy(s->sig, b->accept_sig, sizeof s->sig);
    out->signature_count++;
}

static bool gather(const struct formation *f, const struct formation_input *in, const struct ballot *ref,
                   struct committed *out)
{
    uint8_t set_id[SET_ID_BYTES], text[ACCEPT_TEXT_BYTES];
    memset(out, 0, sizeof *out);
    memcpy(out->group_id, in->group_id, sizeof out->group_id);
    out->term = ref->accepted_term;
    out->record = ref->record;
    out->set = f->mine.set;
    electorate_id(&out->set, set_id);
    record_accept_text(in->group_id, set_id, out->term, &out->record, text);
    for (size_t i = 0, at = 0; i < out->set.count; i++) {
        const struct ballot *b = settle_next_ballot(f, in, &at, &out->set.member[i]);
        if (accepts_same(f, b, ref))
            add_signature(in, i, b, text, out);
    }
    return out->signature_count >= electorate_majority(&out->set) - FAULT(HALF_COMMITS);
}

static bool majority_accepts(const struct formation *f, const struct formation_input *in,
                             const struct ballot *ref)
{
    size_t n = 0;
    for (size_t i = 0, at = 0; i < f->mine.set.count; i++)
        n += accepts_same(f, settle_next_ballot(f, in, &at, &f->mine.set.member[i]), ref);
    return n >= electorate_majority(&f->mine.set) - FAULT(HALF_COMMITS);
}

/* The first ballot from the *i-th member on whose record a majority says to have accepted; NULL: none. */
static const struct ballot *next_accepted(const struct formation *f, const struct formation_input *in,
                                          size_t *i)
{
    uint64_t tried = 0;
    for (size_t at = 0; *i < f->mine.set.count; ++*i) {
        const struct ballot *ref = settle_next_ballot(f, in, &at, &f->mine.set.member[*i]);
        if (!same_set(f, ref) || !ref->accepted || ref->accepted_term == tried)
            continue;
        tried = ref->accepted_term;
        if (majority_accepts(f, in, ref))
            return ref;
    }
    return NULL;
}

bool formation_accepted(const struct formation *f, const struct formation_input *in)
{
    size_t i = 0;
    return f->mine.bound && f->constituted && next_accepted(f, in, &i) != NULL;
}

bool formation_committed(const struct formation *f, const struct formation_input *in, struct committed *out)
{
    const struct ballot *ref;
    if (!f->mine.bound || !f->constituted)
        return false;
    for (size_t i = 0; (ref = next_accepted(f, in, &i)) != NULL; i++)
        if (gather(f, in, ref, out))
            return true;
    return false;
}
