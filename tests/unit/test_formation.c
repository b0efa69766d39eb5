/* Formation: the rules one by one, on a group whose links are cut and mended by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "protocol/formation.h"

#define PEERS     6
#define SETTLE_MS 5000
#define LEASE_MS  5000

struct peer {
    struct identity *me;
    struct formation f;
    struct ballot told;
    struct ballot seen[PEERS]; /* the others' ballots, as they reached this one */
    bool heard[PEERS];
    uint32_t changes; /* since last asked for */
};

struct group {
    struct peer peer[PEERS]; /* ascending by id */
    size_t count;
    uint64_t now_ms;
    uint32_t expect;
    bool lone;
    uint64_t unknown_until_ms, discovered_ms;
    bool cut[PEERS][PEERS];   /* from, to */
    bool blind[PEERS][PEERS]; /* from, to: ballots come through, and yet the one does not see the other */
    bool dead[PEERS];
    bool left[PEERS]; /* dead, and said so */
    bool unfit[PEERS];
    bool awaited[PEERS]; /* told to be the master, and being made ready */
    uint8_t group_id[GROUP_ID_BYTES];
    struct formation_peer view[PEERS];
};

static int by_id(const void *a, const void *b)
{
    const struct peer *x = a, *y = b;
    return peer_id_compare(&x->me->id, &y->me->id);
}

static struct group *group_new(size_t count, uint32_t expect)
{
    struct group *g = calloc(1, sizeof *g);
    assert_non_null(g);
    g->count = count;
    g->expect = expect;
    g->now_ms = 1000000;
    for (size_t i = 0; i < count; i++) {
        uint8_t seed[32] = {(uint8_t)(i + 1)};
        assert_int_equal(identity_new(&g->peer[i].me, seed, NULL), 0);
    }
    qsort(g->peer, count, sizeof g->peer[0], by_id);
    for (size_t i = 0; i < count; i++) {
        g->peer[i].f.rng = i + 1;
        formation_start(&g->peer[i].f, g->peer[i].me, g->now_ms, LEASE_MS);
    }
    return g;
}

static void group_free(struct group *g)
{
    for (size_t i = 0; i < g->count; i++)
        identity_free(g->peer[i].me);
    free(g);
}

static struct formation_input input(struct group *g, size_t who)
{
    for (size_t i = 0; i < g->count; i++) {
        bool there = !g->dead[i] && (i == who || (!g->cut[i][who] && !g->blind[i][who]));
        g->view[i] = (struct formation_peer){.id = g->peer[i].me->id,
                                             .in_view = there,
                                             .alive = there,
                                             .left = g->left[i],
                                             .eligible = !g->unfit[i],
                                             .awaited = g->awaited[i],
                                             .rank = !g->awaited[i],
                                             .discovered_ms = g->discovered_ms,
                                             .sign_pk = g->peer[i].me->sign_pk,
                                             .ballot = g->peer[who].heard[i] ? &g->peer[who].seen[i] : NULL};
    }
    return (struct formation_input){.now_ms = g->now_ms,
                                    .me = g->peer[who].me,
                                    .group_id = g->group_id,
                                    .peer = g->view,
                                    .peer_count = g->count,
                                    .expect = g->expect,
                                    .lone = g->lone,
                                    .checks_green = true,
                                    .unknown_until_ms = g->unknown_until_ms,
                                    .settle_ms = SETTLE_MS,
                                    .lease_ms = LEASE_MS};
}

static void tell(struct group *g, size_t from)
{
    for (size_t to = 0; to < g->count; to++) {
        if (to == from || g->cut[from][to] || g->dead[to])
            continue;
        g->peer[to].seen[from] = g->peer[from].f.mine;
        g->peer[to].heard[from] = true;
    }
}

static void ask_lease(struct group *g, size_t leader)
{
    struct formation *f = &g->peer[leader].f;
    uint8_t set_id[SET_ID_BYTES];
    electorate_id(&f->mine.set, set_id);
    for (size_t i = 0; i < g->count; i++)
        if (i != leader && !g->dead[i] && !g->cut[leader][i] && !g->cut[i][leader] &&
            formation_lease_asked(&g->peer[i].f, &g->peer[leader].me->id, set_id, f->mine.term, g->now_ms,
                                  LEASE_MS))
            formation_lease_granted(f, &g->peer[i].me->id, set_id, f->mine.term, f->round, LEASE_MS);
}

static uint32_t tick(struct group *g, size_t who)
{
    uint32_t all = 0;
    for (int i = 0; i < 4; i++) {
        struct formation_input in = input(g, who);
        uint32_t done = formation_tick(&g->peer[who].f, &in);
        all |= done;
        if (done & FORMATION_ASK_LEASE)
            ask_lease(g, who);
        if (!(done & ~(uint32_t)FORMATION_ASK_LEASE))
            break;
    }
    g->peer[who].changes |= all;
    tell(g, who);
    return all;
}

/* Lets time go by in steps of 50 ms, everybody ticking at each. */
static void run(struct group *g, uint64_t for_ms)
{
    for (uint64_t end = g->now_ms + for_ms; g->now_ms < end; g->now_ms += 50)
        for (size_t i = 0; i < g->count; i++)
            if (!g->dead[i])
                tick(g, i);
}

static int leader_of(const struct group *g)
{
    int found = -1;
    for (size_t i = 0; i < g->count; i++) {
        if (g->dead[i] || !formation_may_found(&g->peer[i].f, g->now_ms))
            continue;
        assert_int_equal(found, -1); /* never two at once */
        found = (int)i;
    }
    return found;
}

static size_t bound(const struct group *g)
{
    size_t n = 0;
    for (size_t i = 0; i < g->count; i++)
        n += g->peer[i].f.mine.bound;
    return n;
}

static void cut_off(struct group *g, size_t who, bool cut)
{
    for (size_t i = 0; i < g->count; i++)
        g->cut[i][who] = g->cut[who][i] = cut && i != who;
}

static struct record record_of(const struct group *g, size_t founder, const char *cluster)
{
    struct record r = {.founder = g->peer[founder].me->id, .term = g->peer[founder].f.mine.term};
    strcpy(r.cluster_id, cluster);
    strcpy(r.endpoint, "192.168.56.11:6443");
    return r;
}

static void propose(struct group *g, size_t who, const char *cluster)
{
    struct record r = record_of(g, who, cluster);
    struct formation_input in = input(g, who);
    assert_int_equal(formation_propose(&g->peer[who].f, &in, &r), 0);
    tell(g, who);
}

static bool committed(struct group *g, size_t who, struct committed *c)
{
    struct formation_input in = input(g, who);
    return formation_committed(&g->peer[who].f, &in, c);
}

#define A_CLUSTER       "0123456789abcdef0123456789abcdef"
#define ANOTHER_CLUSTER "fedcba9876543210fedcba9876543210"

/* ---- settling ---- */

static void test_expect_starts_at_once_and_never_before(void **state)
{
    (void)state;
    struct group *g = group_new(3, 3);
    g->dead[2] = true;
    run(g, 60000);
    assert_int_equal(bound(g), 0);
    g->dead[2] = false;
    run(g, 200);
    assert_int_equal(bound(g), 3);
    assert_true(g->peer[0].f.constituted && g->peer[1].f.constituted && g->peer[2].f.constituted);
    group_free(g);
}

/* One proposes, and the other, who does not see it, objects each time: they do not do so as fast as they can.
 */
static void test_proposals_are_spaced_out(void **state)
{
    (void)state;
    struct group *g = group_new(2, 2);
    g->blind[0][1] = true;
    run(g, 20000);
    assert_in_range(g->peer[0].f.mine.set.number, 5, 40);
    g->blind[0][1] = false;
    run(g, 1500);
    assert_true(g->peer[0].f.constituted && g->peer[1].f.constituted);
    group_free(g);
}

static void test_settling_starts_again_with_each_newcomer(void **state)
{
    (void)state;
    struct group *g = group_new(3, 0);
    g->dead[2] = true;
    run(g, SETTLE_MS - 1000);
    g->dead[2] = false;
    run(g, SETTLE_MS - 1000);
    assert_int_equal(bound(g), 0);
    run(g, 1500);
    assert_int_equal(bound(g), 3);
    group_free(g);
}

/* Whoever is heard and not known yet may be in a cluster: settling waits for that, but not for ever. */
static void test_settling_waits_for_one_of_whom_nothing_is_known(void **state)
{
    (void)state;
    struct group *g = group_new(2, 0);
    g->unknown_until_ms = g->now_ms + 3 * SETTLE_MS;
    run(g, 3 * SETTLE_MS - 500);
    assert_int_equal(bound(g), 0);
    run(g, 1500);
    assert_int_equal(bound(g), 2);
    group_free(g);
}

static void test_a_lone_host_binds_only_when_told_that_it_may(void **state)
{
    (void)state;
    struct group *g = group_new(1, 0);
    run(g, 120000);
    assert_int_equal(bound(g), 0);
    g->lone = true;
    run(g, 60000);
    assert_int_equal(leader_of(g), 0);
    group_free(g);
}

static void test_nobody_acts_before_all_are_bound(void **state)
{
    (void)state;
    struct group *g = group_new(3, 3);
    tick(g, 0);
    assert_true(g->peer[0].f.mine.bound);
    for (int i = 0; i < 10; i++, g->now_ms += 50)
        assert_false(tick(g, 0) & (FORMATION_CONSTITUTED | FORMATION_STANDS | FORMATION_VOTED));
    assert_int_equal(g->peer[0].f.mine.term, 0);
    group_free(g);
}

static void test_an_unconstituted_set_is_signed_off_and_settled_anew(void **state)
{
    (void)state;
    struct group *g = group_new(4, 0);
    run(g, SETTLE_MS - 50);
    g->cut[3][0] = g->cut[3][1] = g->cut[3][2] = true; /* its binding never arrives */
    g->dead[3] = true;
    run(g, 200);
    run(g, 30000);
    for (size_t i = 0; i < 3; i++) {
        assert_true(g->peer[i].f.constituted);
        assert_int_equal(g->peer[i].f.mine.set.count, 3);
    }
    assert_true(leader_of(g) >= 0);
    group_free(g);
}

/* ---- vote and lease ---- */

static void test_one_leads_and_keeps_its_lease(void **state)
{
    (void)state;
    struct group *g = group_new(5, 5);
    run(g, 1000);
    int leader = leader_of(g);
    assert_true(leader >= 0);
    for (int i = 0; i < 20; i++) {
        run(g, 1000);
        assert_int_equal(leader_of(g), leader);
    }
    group_free(g);
}

static void test_a_leader_cut_off_stops_before_another_begins(void **state)
{
    (void)state;
    struct group *g = group_new(5, 5);
    run(g, 1000);
    int first = leader_of(g), second = -1;
    assert_true(first >= 0);
    cut_off(g, (size_t)first, true);
    uint64_t cut_ms = g->now_ms;
    for (int i = 0; i < 400 && (second < 0 || second == first); i++) {
        run(g, 50);
        second = leader_of(g); /* asserts that there are never two */
        if (second == first)
            assert_true(g->now_ms <= cut_ms + LEASE_MS);
    }
    assert_true(second >= 0 && second != first);
    assert_true(g->peer[first].changes & FORMATION_LEASE_LOST);
    group_free(g);
}

static void test_only_the_fit_stand(void **state)
{
    (void)state;
    struct group *g = group_new(3, 3);
    g->unfit[0] = g->unfit[2] = true;
    run(g, 20000);
    assert_int_equal(leader_of(g), 1);
    assert_false((g->peer[0].changes | g->peer[2].changes) & FORMATION_STANDS);
    group_free(g);
}

/* Installing packages takes minutes, and the others are not to take a pinned master's place meanwhile. */
static void test_a_pinned_master_is_waited_for_while_it_is_made_ready(void **state)
{
    (void)state;
    struct group *g = group_new(3, 3);
    g->unfit[2] = g->awaited[2] = true;
    run(g, 300000);
    assert_int_equal(leader_of(g), -1);
    g->unfit[2] = false; /* green now */
    run(g, 5000);
    assert_int_equal(leader_of(g), 2);
    group_free(g);
    g = group_new(3, 3);
    g->unfit[2] = g->awaited[2] = true;
    run(g, 5000);
    g->awaited[2] = false; /* it failed there */
    run(g, 10000);
    assert_true(leader_of(g) == 0 || leader_of(g) == 1);
    group_free(g);
    g = group_new(3, 3);
    g->unfit[2] = g->awaited[2] = true;
    run(g, 5000);
    g->dead[2] = true;
    run(g, 10000);
    assert_true(leader_of(g) == 0 || leader_of(g) == 1);
    group_free(g);
}

static void test_who_resigned_stands_back(void **state)
{
    (void)state;
    struct group *g = group_new(3, 3);
    run(g, 1000);
    int first = leader_of(g);
    assert_true(first >= 0);
    uint64_t until = g->now_ms + 60000;
    formation_resign(&g->peer[first].f, until);
    assert_false(formation_may_found(&g->peer[first].f, g->now_ms));
    g->peer[first].changes = 0;
    run(g, 30000);
    assert_false(g->peer[first].changes & FORMATION_STANDS);
    assert_true(leader_of(g) >= 0 && leader_of(g) != first);
    group_free(g);
}

static void test_a_granted_lease_outlives_a_restart(void **state)
{
    (void)state;
    struct group *g = group_new(3, 3);
    run(g, 1000);
    int leader = leader_of(g);
    assert_true(leader >= 0);
    size_t voter = leader == 0 ? 1 : 0, other = 3 - voter - (size_t)leader;
    struct formation *f = &g->peer[voter].f;
    struct formation again = {.mine = f->mine, .constituted = true, .rng = 9};
    formation_start(&again, g->peer[voter].me, g->now_ms, LEASE_MS);
    *f = again;
    struct ballot *rival = &g->peer[voter].seen[other];
    *rival = f->mine;
    rival->vote = g->peer[other].me->id;
    rival->term = f->mine.term + 1;
    struct formation_input in = input(g, voter);
    assert_false(formation_tick(f, &in) & FORMATION_VOTED);
    g->now_ms += LEASE_MS;
    in = input(g, voter);
    assert_true(formation_tick(f, &in) & FORMATION_VOTED);
    assert_memory_equal(&f->mine.vote, &g->peer[other].me->id, sizeof f->mine.vote);
    group_free(g);
}

/* Two stand in the same instant and get half of the votes each. Both give up, and one gets through. */
static void test_a_split_vote_ends(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct group *g = group_new(6, 6);
        for (size_t i = 0; i < 6; i++)
            g->peer[i].f.rng = seed * 100 + i;
        for (size_t i = 0; i < 6; i++) {
            g->unfit[i] = i != 0 && i != 3;
            g->peer[i].f.not_before_ms = g->now_ms + 1;
        }
        while (!g->peer[0].f.constituted || !g->peer[3].f.constituted)
            for (size_t i = 0; i < 6; i++)
                tick(g, i);
        for (size_t i = 0; i < 3; i++)
            for (size_t k = 3; k < 6; k++)
                g->cut[i][k] = g->cut[k][i] = true;
        g->now_ms += 3000; /* each half sees its own candidate only */
        for (int pass = 0; pass < 2; pass++)
            for (size_t i = 0; i < 6; i++)
                tick(g, i);
        assert_true(g->peer[0].f.standing && g->peer[3].f.standing);
        assert_memory_equal(&g->peer[5].f.mine.vote, &g->peer[3].me->id, sizeof(struct peer_id));
        memset(g->cut, 0, sizeof g->cut);
        int leader = -1;
        for (int i = 0; i < 60 && leader < 0; i++) {
            run(g, 1000);
            leader = leader_of(g);
        }
        assert_true(leader >= 0);
        group_free(g);
    }
}

static void test_stale_grants_do_not_count(void **state)
{
    (void)state;
    struct group *g = group_new(3, 3);
    run(g, 1000);
    int leader = leader_of(g);
    assert_true(leader >= 0);
    struct formation *f = &g->peer[leader].f;
    const struct peer_id *other = &g->peer[leader == 0 ? 1 : 0].me->id;
    struct peer_id stranger = {{7}};
    uint64_t until = f->lease_until_ms, term = f->mine.term;
    uint8_t set_id[SET_ID_BYTES], other_set[SET_ID_BYTES];
    electorate_id(&f->mine.set, set_id);
    struct electorate *renumbered = malloc(sizeof *renumbered);
    assert_non_null(renumbered);
    *renumbered = f->mine.set;
    renumbered->number++;
    electorate_id(renumbered, other_set);
    free(renumbered);
    formation_lease_granted(f, other, set_id, term - 1, f->round, LEASE_MS);
    formation_lease_granted(f, other, set_id, term, f->round + 1, LEASE_MS);
    formation_lease_granted(f, &stranger, set_id, term, f->round, LEASE_MS);
    formation_lease_granted(f, other, set_id, term, UINT64_MAX, LEASE_MS);
    f->round_sent_ms[f->round % FORMATION_ROUNDS] += 100; /* a grant that counted would be seen */
    formation_lease_granted(f, other, other_set, term, f->round, LEASE_MS);
    assert_int_equal(f->lease_until_ms, until);
    assert_true(until <= f->round_sent_ms[f->round % FORMATION_ROUNDS] + LEASE_MS);
    group_free(g);
}

/* ---- accept and commit ---- */

static void test_a_proposal_is_accepted_and_committed(void **state)
{
    (void)state;
    struct group *g = group_new(5, 5);
    struct committed *c = calloc(1, sizeof *c);
    uint8_t *blob = NULL;
    size_t bytes = 0;
    struct record r;
    run(g, 1000);
    int leader = leader_of(g);
    assert_true(leader >= 0);
    propose(g, (size_t)leader, A_CLUSTER);
    assert_false(committed(g, (size_t)leader, c));
    run(g, 100);
    for (size_t i = 0; i < 5; i++) {
        assert_true(committed(g, i, c));
        assert_int_equal(committed_encode(c, &blob, &bytes, NULL), 0);
        assert_int_equal(record_verify(blob, bytes, &r, NULL), 0);
        assert_string_equal(r.cluster_id, A_CLUSTER);
        free(blob);
    }
    free(c);
    group_free(g);
}

/* The call for votes did not reach it: with the proposal it learns who leads, and says so. */
static void test_who_accepts_unasked_tells_who_leads(void **state)
{
    (void)state;
    struct group *g = group_new(3, 3);
    for (int i = 0; i < 100 && !g->peer[2].f.constituted; i++)
        run(g, 50);
    g->dead[2] = true;
    assert_true(peer_id_is_zero(&g->peer[2].f.mine.vote));
    run(g, 1000);
    int leader = leader_of(g);
    assert_true(leader >= 0);
    g->dead[2] = false;
    propose(g, (size_t)leader, A_CLUSTER);
    uint32_t done = tick(g, 2);
    assert_true(done & FORMATION_ACCEPTED);
    assert_true(done & FORMATION_VOTED);
    assert_memory_equal(&g->peer[2].f.mine.vote, &g->peer[leader].me->id, sizeof(struct peer_id));
    group_free(g);
}

static void test_no_proposal_without_a_live_lease(void **state)
{
    (void)state;
    struct group *g = group_new(3, 3);
    run(g, 1000);
    int leader = leader_of(g);
    assert_true(leader >= 0);
    struct record r = record_of(g, (size_t)leader, A_CLUSTER);
    size_t other = leader == 0 ? 1 : 0;
    struct formation_input in = input(g, other);
    assert_int_equal(formation_propose(&g->peer[other].f, &in, &r), KPEER_ESTATE);
    g->now_ms = g->peer[leader].f.lease_until_ms;
    in = input(g, (size_t)leader);
    assert_int_equal(formation_propose(&g->peer[leader].f, &in, &r), KPEER_ESTATE);
    group_free(g);
}

/* A proposal that one member accepted is carried on by the next leader, who hears of it with the votes. */
/* Two hosts that were installed anew meet the third, which decides with who they were before: they do not
 * bind it to a set of theirs, which it could never join, before they have heard of that. */
static void test_whose_set_may_decide_is_waited_for(void **state)
{
    struct group *g = group_new(3, 3);
    struct ballot *old = &g->peer[2].f.mine;
    (void)state;
    g->discovered_ms = g->now_ms;
    old->bound = true;
    old->set = (struct electorate){.number = 1, .count = 3, .member = {[2] = g->peer[2].me->id}};
    old->set.member[1].b[0] = 1; /* it and the first, all zeros, are nobody here */
    tell(g, 2);
    for (uint64_t end = g->now_ms + 14000; g->now_ms < end; g->now_ms += 50)
        for (size_t i = 0; i < 2; i++)
            tick(g, i); /* and not the third, whose ballot stands */
    assert_false(g->peer[0].f.mine.bound || g->peer[1].f.mine.bound);
    g->now_ms += 2000; /* what has not come by now may never come */
    tick(g, 0);
    assert_true(g->peer[0].f.mine.bound);
    group_free(g);
}

static void test_a_later_leader_carries_what_was_accepted(void **state)
{
    (void)state;
    struct group *g = group_new(3, 3);
    struct committed *c = calloc(1, sizeof *c);
    run(g, 1000);
    int first = leader_of(g);
    assert_true(first >= 0);
    size_t witness = first == 0 ? 1 : 0, last = 3 - witness - (size_t)first;
    cut_off(g, last, true);
    propose(g, (size_t)first, A_CLUSTER);
    tick(g, witness);
    assert_true(g->peer[witness].f.mine.accepted);
    cut_off(g, last, false);
    g->dead[first] = true;
    g->unfit[witness] = true; /* the one that leads must be the one that has accepted nothing */
    g->peer[last].seen[first].accepted = false;
    for (int i = 0; i < 60 && leader_of(g) < 0; i++)
        run(g, 1000);
    int second = leader_of(g);
    assert_true(second >= 0 && second != first);
    assert_true(formation_carries(&g->peer[second].f));
    struct record other = record_of(g, (size_t)second, ANOTHER_CLUSTER);
    struct formation_input in = input(g, (size_t)second);
    assert_int_equal(formation_propose(&g->peer[second].f, &in, &other), KPEER_ESTATE);
    run(g, 500);
    assert_true(committed(g, last, c));
    assert_string_equal(c->record.cluster_id, A_CLUSTER);
    free(c);
    group_free(g);
}

/* Signing off is for those who accepted nothing; who accepted stays until a majority has gone. */
static void test_who_accepted_never_signs_off(void **state)
{
    (void)state;
    struct group *g = group_new(3, 0);
    run(g, SETTLE_MS + 1000);
    int leader = leader_of(g);
    assert_true(leader >= 0);
    cut_off(g, (size_t)leader, true);
    propose(g, (size_t)leader, A_CLUSTER);
    uint32_t number = g->peer[leader].f.mine.set.number;
    g->unfit[leader] = true;
    run(g, 60000);
    assert_true(g->peer[leader].f.mine.bound);
    assert_true(g->peer[leader].f.mine.floor < number);
    assert_true(g->peer[leader].f.mine.accepted);
    group_free(g);
}

/* Two of two are a majority: when one of them left for good, the other begins anew with whoever comes. */
static void test_a_pair_is_left_by_the_other_too(void **state)
{
    (void)state;
    struct group *g = group_new(3, 2);
    g->dead[2] = true;
    run(g, 1000);
    int leader = leader_of(g);
    assert_true(leader >= 0);
    size_t stays = 1 - (size_t)leader;
    propose(g, (size_t)leader, A_CLUSTER);
    g->peer[stays].heard[leader] = false; /* it left before anybody heard of its proposal */
    g->dead[leader] = g->left[leader] = true;
    g->dead[2] = false;
    run(g, 30000);
    assert_true(g->peer[stays].f.constituted && g->peer[2].f.constituted);
    assert_true(leader_of(g) >= 0);
    group_free(g);
}

static void test_who_leaves_signs_off(void **state)
{
    (void)state;
    struct group *g = group_new(3, 2);
    g->dead[2] = true;
    run(g, 1000);
    assert_true(formation_leave(&g->peer[1].f));
    assert_false(formation_leave(&g->peer[1].f));
    tell(g, 1);
    g->dead[1] = true;
    g->dead[2] = false;
    run(g, 30000);
    assert_true(g->peer[0].f.constituted && g->peer[2].f.constituted);
    group_free(g);
}

/* One signed off while the set was young, another died: those who are here could decide under another set. */
static void test_a_majority_that_cannot_decide_settles_anew(void **state)
{
    (void)state;
    struct group *g = group_new(4, 3);
    g->dead[3] = true;
    for (size_t i = 0; i < 3; i++)
        g->unfit[i] = true; /* nobody leads yet */
    run(g, 1000);
    assert_int_equal(bound(g), 3);
    g->peer[1].f.mine.floor = g->peer[1].f.mine.set.number;
    tell(g, 1);
    g->dead[2] = true;
    g->dead[3] = false;
    for (size_t i = 0; i < 3; i++)
        g->unfit[i] = false;
    run(g, 60000);
    assert_true(g->peer[0].f.constituted && g->peer[1].f.constituted && g->peer[3].f.constituted);
    assert_true(leader_of(g) >= 0);
    group_free(g);
}

/* The only one who could found signed the set off before it was constituted for itself: it is no reason to
 * wait any more. */
static void test_nobody_waits_for_who_signed_off(void **state)
{
    (void)state;
    struct group *g = group_new(3, 3);
    g->unfit[1] = g->unfit[2] = true;
    g->unfit[0] = true; /* nobody leads yet */
    run(g, 1000);
    assert_int_equal(bound(g), 3);
    g->peer[0].f.mine.floor = g->peer[0].f.mine.set.number;
    tell(g, 0);
    g->unfit[0] = false;
    run(g, 60000);
    assert_int_equal(leader_of(g), 0);
    group_free(g);
}

static void test_a_forged_acceptance_is_not_counted(void **state)
{
    (void)state;
    struct group *g = group_new(3, 3);
    struct committed *c = calloc(1, sizeof *c);
    run(g, 1000);
    int leader = leader_of(g);
    assert_true(leader >= 0);
    propose(g, (size_t)leader, A_CLUSTER);
    for (size_t i = 0; i < 3; i++) {
        struct ballot *b = &g->peer[leader].seen[i];
        if ((int)i == leader)
            continue;
        *b = g->peer[leader].f.mine; /* says that it accepted; the signature is somebody else's */
        g->peer[leader].heard[i] = true;
    }
    assert_false(committed(g, (size_t)leader, c));
    free(c);
    group_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expect_starts_at_once_and_never_before),
        cmocka_unit_test(test_proposals_are_spaced_out),
        cmocka_unit_test(test_settling_starts_again_with_each_newcomer),
        cmocka_unit_test(test_settling_waits_for_one_of_whom_nothing_is_known),
        cmocka_unit_test(test_a_lone_host_binds_only_when_told_that_it_may),
        cmocka_unit_test(test_nobody_acts_before_all_are_bound),
        cmocka_unit_test(test_an_unconstituted_set_is_signed_off_and_settled_anew),
        cmocka_unit_test(test_one_leads_and_keeps_its_lease),
        cmocka_unit_test(test_a_leader_cut_off_stops_before_another_begins),
        cmocka_unit_test(test_only_the_fit_stand),
        cmocka_unit_test(test_a_pinned_master_is_waited_for_while_it_is_made_ready),
        cmocka_unit_test(test_who_resigned_stands_back),
        cmocka_unit_test(test_a_granted_lease_outlives_a_restart),
        cmocka_unit_test(test_a_split_vote_ends),
        cmocka_unit_test(test_stale_grants_do_not_count),
        cmocka_unit_test(test_a_proposal_is_accepted_and_committed),
        cmocka_unit_test(test_who_accepts_unasked_tells_who_leads),
        cmocka_unit_test(test_no_proposal_without_a_live_lease),
        cmocka_unit_test(test_whose_set_may_decide_is_waited_for),
        cmocka_unit_test(test_a_later_leader_carries_what_was_accepted),
        cmocka_unit_test(test_who_accepted_never_signs_off),
        cmocka_unit_test(test_a_pair_is_left_by_the_other_too),
        cmocka_unit_test(test_who_leaves_signs_off),
        cmocka_unit_test(test_a_majority_that_cannot_decide_settles_anew),
        cmocka_unit_test(test_nobody_waits_for_who_signed_off),
        cmocka_unit_test(test_a_forged_acceptance_is_not_counted),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
