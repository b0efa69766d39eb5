/* Who is found to be gone, when and by what; and which links are kept for that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "protocol/node_state.h"
#include "tests/unit/node_world.h"

#define SMALL 3
#define LARGE WORLD_PEERS
#define ALONE 99 /* more than there are, so that nobody founds */

/* What the nodes wanted done and told. */
struct seen {
    bool knocked[WORLD_PEERS][WORLD_PEERS]; /* [at whom][who] */
    unsigned suspected[WORLD_PEERS], failed[WORLD_PEERS];
    uint64_t failed_ms;
    unsigned beacons, pulses;
    bool kept[WORLD_PEERS][WORLD_PEERS];
};

static size_t index_of(const struct world *w, const struct peer_id *id)
{
    for (size_t i = 0; i < w->count; i++)
        if (peer_id_equal(&w->peer[i].me->id, id))
            return i;
    fail_msg("nobody");
    return 0;
}

static void note(struct world *w, size_t who, const struct action *a)
{
    struct seen *s = w->ctx;
    s->beacons += a->kind == ACT_BEACON;
    s->pulses += a->kind == ACT_PULSE;
    if (a->kind == ACT_KNOCK)
        s->knocked[index_of(w, &a->peer)][who] = true;
    if (a->kind == ACT_LINK)
        s->kept[who][index_of(w, &a->peer)] = a->keep;
    if (a->kind != ACT_EVENT)
        return;
    s->suspected[who] += a->event == EVENT_MEMBER_SUSPECT;
    s->failed[who] += a->event == EVENT_MEMBER_FAILED;
    if (a->event == EVENT_MEMBER_FAILED)
        s->failed_ms = w->now_ms;
}

static struct world *group(size_t count, struct seen *s)
{
    struct world *w = world_new(count, ALONE);
    *s = (struct seen){0};
    w->ctx = s;
    w->on_action = note;
    for (size_t i = 0; i < count; i++)
        world_start(w, i);
    world_run(w, 20000);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(node_alive_count(w->peer[i].node), count);
        assert_int_equal(s->suspected[i], 0);
    }
    return w;
}

static void feed(struct world *w, size_t who, enum node_event_kind kind, size_t about)
{
    struct node_event ev = {.kind = kind, .peer = w->peer[about].me->id};
    world_feed(w, who, &ev);
}

static void test_a_process_that_dies(void **state)
{
    struct seen s;
    struct world *w = group(SMALL, &s);
    (void)state;
    world_stop(w, 2);
    for (size_t i = 0; i < 2; i++) {
        feed(w, i, EV_LINK_DOWN, 2);
        assert_true(s.knocked[2][i]);
        assert_int_equal(s.failed[i], 0);
        feed(w, i, EV_REFUSED, 2);
        assert_int_equal(s.failed[i], 1);
    }
    world_free(w);
}

/* Number 2 is told to stop, and does once that has been heard. */
static void stop_in_order(struct world *w)
{
    feed(w, 2, EV_STOPPING, 2);
    world_run(w, 1);
    world_stop(w, 2);
}

/* An agent that stops in order says so: it has time to come back, and is asked when that is over. */
static void test_an_agent_that_is_stopped(void **state)
{
    struct seen s;
    struct world *w = group(SMALL, &s);
    uint64_t beat = w->peer[0].cfg.beat_ms;
    (void)state;
    stop_in_order(w);
    feed(w, 0, EV_LINK_DOWN, 2);
    assert_false(s.knocked[2][0]);
    world_run(w, 5 * beat);
    assert_false(s.knocked[2][0]);
    assert_int_equal(s.failed[0] + s.suspected[0], 0);

    world_start(w, 2); /* that was an upgrade */
    world_run(w, 3 * beat);
    assert_int_equal(s.failed[0] + s.suspected[0], 0);
    world_stop(w, 2); /* and now it dies */
    feed(w, 0, EV_LINK_DOWN, 2);
    assert_true(s.knocked[2][0]);
    world_run(w, 2 * beat);
    assert_int_equal(s.failed[0], 1);
    world_free(w);
}

static void test_an_agent_that_stays_away(void **state)
{
    struct seen s;
    struct world *w = group(SMALL, &s);
    uint64_t beat = w->peer[0].cfg.beat_ms;
    (void)state;
    stop_in_order(w);
    world_run(w, 7 * beat);
    assert_true(s.knocked[2][0]);
    feed(w, 0, EV_REFUSED, 2);
    assert_int_equal(s.failed[0], 1);
    world_run(w, 4 * beat);
    assert_int_equal(s.failed[1], 1); /* without its host's word too */
    world_free(w);
}

/* A connection that broke is none. */
static void test_a_link_that_breaks(void **state)
{
    struct seen s;
    struct world *w = group(SMALL, &s);
    (void)state;
    feed(w, 0, EV_LINK_DOWN, 2);
    assert_true(s.knocked[2][0]);
    world_run(w, 10000);
    assert_int_equal(s.failed[0] + s.suspected[0], 0);
    assert_int_equal(node_member(w->peer[0].node, &w->peer[2].me->id)->state, STATE_ALIVE);
    /* … and what its host says now was not asked for. */
    feed(w, 0, EV_REFUSED, 2);
    assert_int_equal(s.failed[0], 0);
    world_free(w);
}

/* Silence: asked before it is suspect, and failed within two beats. */
static void test_a_host_that_is_silent(void **state)
{
    struct seen s;
    struct world *w = group(SMALL, &s);
    (void)state;
    uint64_t beat = w->peer[0].cfg.beat_ms;
    uint64_t heard = node_member(w->peer[0].node, &w->peer[2].me->id)->heard_ms;
    world_stop(w, 2);
    world_run(w, heard + beat * 14 / 10 - w->now_ms);
    assert_true(s.knocked[2][0]);
    assert_int_equal(s.suspected[0], 0);
    world_run(w, heard + beat * 18 / 10 - w->now_ms);
    assert_int_equal(s.suspected[0], 1);
    assert_int_equal(s.failed[0] + s.failed[1], 0);
    world_run(w, beat * 3 / 10);
    assert_int_equal(s.failed[0], 1);
    assert_int_equal(s.failed[1], 1);
    assert_in_range(s.failed_ms - heard, 19 * beat / 10, 2 * beat);
    world_free(w);
}

/* Whoever was itself held up gives the others the time that it missed, and a little more. */
static void test_a_host_that_was_held_up(void **state)
{
    struct seen s;
    struct world *w = group(SMALL, &s);
    (void)state;
    w->hold = true; /* what it wants done is lost, as what the others sent meanwhile */
    w->now_ms += 10 * (uint64_t)w->peer[0].cfg.beat_ms;
    for (int i = 0; i < 8; i++) {
        world_feed(w, 0, &(struct node_event){.kind = EV_TICK});
        w->now_ms += 20;
    }
    w->hold = false;
    world_run(w, 5000);
    for (size_t i = 0; i < SMALL; i++)
        assert_int_equal(s.failed[i] + s.suspected[i], 0);
    world_free(w);
}

static size_t kept(const struct world *w, const struct seen *s, size_t who)
{
    size_t n = 0;
    for (size_t i = 0; i < w->count; i++)
        n += s->kept[who][i];
    return n;
}

static void test_a_small_group_keeps_all_links(void **state)
{
    struct seen s;
    struct world *w = group(SMALL, &s);
    (void)state;
    for (size_t i = 0; i < SMALL; i++)
        assert_int_equal(kept(w, &s, i), SMALL - 1);
    world_free(w);
}

/* The same on both sides, few, and enough of them for everybody to be reached by few steps. */
static void assert_ring(const struct world *w, const struct seen *s)
{
    size_t links = 0;
    for (size_t from = 0; from < w->count; from++) {
        bool reached[WORLD_PEERS] = {false};
        size_t count = 1;
        if (!w->peer[from].node)
            continue;
        assert_true(kept(w, s, from) >= 2);
        links += kept(w, s, from);
        reached[from] = true;
        for (size_t steps = 0; count < node_alive_count(w->peer[from].node); steps++) {
            bool next[WORLD_PEERS];
            memcpy(next, reached, sizeof next);
            for (size_t i = 0; i < w->count; i++)
                for (size_t k = 0; k < w->count && reached[i]; k++)
                    next[k] |= w->peer[k].node && s->kept[i][k];
            count = 0;
            for (size_t k = 0; k < w->count; k++)
                count += next[k];
            memcpy(reached, next, sizeof next);
            assert_true(steps < 4);
        }
        for (size_t k = 0; k < w->count; k++)
            if (w->peer[k].node)
                assert_int_equal(s->kept[from][k], s->kept[k][from]);
    }
    assert_true(links < 11 * w->count);
}

/* When one of them dies its neighbours tell, and everybody looks for itself. */
static void test_a_large_group_keeps_a_ring(void **state)
{
    struct seen s;
    struct world *w = group(LARGE, &s);
    size_t dead = 5, near = LARGE;
    (void)state;
    assert_ring(w, &s);
    for (size_t i = 0; i < LARGE; i++)
        near = s.kept[i][dead] ? i : near;
    world_stop(w, dead);
    size_t far = (near + 1) % LARGE;
    while (s.kept[far][dead] || far == dead)
        far = (far + 1) % LARGE;
    feed(w, far, EV_LINK_DOWN, dead); /* one that was idle */
    assert_false(s.knocked[dead][far]);
    feed(w, near, EV_LINK_DOWN, dead);
    feed(w, near, EV_REFUSED, dead);
    assert_int_equal(s.failed[near], 1);
    world_run(w, 10);
    for (size_t i = 0; i < LARGE; i++) {
        if (i == dead)
            continue;
        assert_true(s.knocked[dead][i]);
        assert_int_equal(s.failed[i], i == near);
        feed(w, i, EV_REFUSED, dead);
        assert_int_equal(s.failed[i], 1);
    }
    world_run(w, 500); /* the ring closes */
    assert_ring(w, &s);
    world_free(w);
}

/* A member that says of a living one that it has failed has everybody look, and nothing else. */
static void test_a_word_fails_nobody(void **state)
{
    struct seen s;
    struct world *w = group(LARGE, &s);
    struct node *liar = w->peer[1].node;
    (void)state;
    liar->hello.failed = w->peer[2].me->id;
    liar->hello.failed_instance = w->peer[2].node->instance;
    liar->missed_ms = w->now_ms;
    liar->beacon_ms = w->now_ms;
    world_feed(w, 1, &(struct node_event){.kind = EV_TICK});
    world_run(w, 50);
    assert_true(s.knocked[2][0]);
    world_run(w, 10000);
    for (size_t i = 0; i < LARGE; i++)
        assert_int_equal(s.failed[i] + s.suspected[i], 0);
    world_free(w);
}

/* Where nothing happens, everybody is heard by two neighbours at each beat, and by all now and then. */
static void test_a_large_group_at_rest(void **state)
{
    struct seen s;
    struct world *w = group(LARGE, &s);
    (void)state;
    s.beacons = s.pulses = 0;
    world_run(w, 60000);
    assert_in_range(s.beacons, 20, 45); /* one in two seconds in all */
    assert_in_range(s.pulses, 2 * 60 * LARGE * 9 / 10, 2 * 60 * LARGE * 11 / 10);
    for (size_t i = 0; i < LARGE; i++)
        assert_int_equal(s.failed[i] + s.suspected[i], 0);

    world_stop(w, 3);
    world_start(w, 3); /* whatever happens is told at once, to all by all */
    s.beacons = 0;
    world_run(w, 5000);
    assert_true(s.beacons > 4 * LARGE);
    world_free(w);
}

static struct member *as_seen(const struct world *w, size_t by, size_t who)
{
    return node_member(w->peer[by].node, &w->peer[who].me->id);
}

static void test_a_silent_host_of_a_large_group(void **state)
{
    struct seen s;
    struct world *w = group(LARGE, &s);
    uint64_t beat = w->peer[0].cfg.beat_ms, heard = w->now_ms;
    size_t dead = 5;
    (void)state;
    world_stop(w, dead);
    world_run(w, 2 * beat);
    for (size_t i = 0; i < LARGE; i++)
        if (i != dead)
            assert_int_equal(s.failed[i], 1);
    assert_true(s.failed_ms - heard < 2 * beat);
    assert_true(s.failed_ms - heard > beat / 2);
    world_free(w);
}

/* Somebody records a pulse and sends it to others than the one whom it was for. */
static void test_a_pulse_is_for_one(void **state)
{
    struct seen s;
    struct world *w = group(LARGE, &s);
    const struct node *from = w->peer[3].node;
    struct member *m = as_seen(w, 0, 3);
    uint64_t heard = m->heard_ms;
    struct pulse p = {.id = w->peer[3].me->id,
                      .boot = from->boot,
                      .instance = from->instance,
                      .counter = from->hello_counter + 2,
                      .every_ms = 1000};
    struct node_event ev = {.kind = EV_PULSE, .pulse = &p};
    (void)state;
    w->now_ms += 10;
    for (int i = 0; i < 4; i++)
        p.to = p.to << 8 | w->peer[1].me->id.b[i];
    world_feed(w, 0, &ev);
    assert_int_equal(m->heard_ms, heard);
    for (int i = 0; i < 4; i++)
        p.to = p.to << 8 | w->peer[0].me->id.b[i];
    world_feed(w, 0, &ev);
    assert_int_equal(m->heard_ms, w->now_ms);
    assert_int_equal(m->every_ms, 1000);
    w->now_ms += 10;
    world_feed(w, 0, &ev);
    assert_int_equal(m->heard_ms, w->now_ms - 10);
    world_free(w);
}

/* Four in a row of the ring die together: nobody watches the two in the middle. */
static void test_silent_neighbours(void **state)
{
    struct seen s;
    struct world *w = group(LARGE, &s);
    const struct node *one = w->peer[0].node;
    uint64_t beat = w->peer[0].cfg.beat_ms;
    (void)state;
    size_t self = 0, up = 0;
    while (one->member[self] != one->self)
        self++;
    for (size_t i = 1; i <= 4; i++)
        world_stop(w, index_of(w, &one->member[(self + i) % LARGE]->id));
    world_run(w, 9 * beat / 2);
    for (size_t i = 0; i < LARGE; i++) {
        up += w->peer[i].node != NULL;
        if (w->peer[i].node)
            assert_int_equal(node_alive_count(w->peer[i].node), LARGE - 4);
    }
    assert_int_equal(up, LARGE - 4);
    world_free(w);
}

/* Whoever was held for failed and is not, says so as soon as it is heard by the one that did. */
static void test_a_wrong_word_of_a_host(void **state)
{
    struct seen s;
    struct world *w = group(LARGE, &s);
    size_t near = LARGE;
    (void)state;
    for (size_t i = 1; i < LARGE; i++)
        near = as_seen(w, i, 0)->near ? i : near;
    assert_true(near < LARGE);
    feed(w, 0, EV_LINK_DOWN, near);
    feed(w, 0, EV_REFUSED, near);
    assert_int_equal(as_seen(w, 0, near)->state, STATE_FAILED);
    world_run(w, 1200);
    assert_int_equal(as_seen(w, 0, near)->state, STATE_ALIVE);
    assert_true(as_seen(w, 0, near)->linked);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_process_that_dies),
        cmocka_unit_test(test_an_agent_that_is_stopped),
        cmocka_unit_test(test_an_agent_that_stays_away),
        cmocka_unit_test(test_a_link_that_breaks),
        cmocka_unit_test(test_a_host_that_is_silent),
        cmocka_unit_test(test_a_host_that_was_held_up),
        cmocka_unit_test(test_a_small_group_keeps_all_links),
        cmocka_unit_test(test_a_large_group_keeps_a_ring),
        cmocka_unit_test(test_a_word_fails_nobody),
        cmocka_unit_test(test_a_large_group_at_rest),
        cmocka_unit_test(test_a_silent_host_of_a_large_group),
        cmocka_unit_test(test_a_pulse_is_for_one),
        cmocka_unit_test(test_silent_neighbours),
        cmocka_unit_test(test_a_wrong_word_of_a_host),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
