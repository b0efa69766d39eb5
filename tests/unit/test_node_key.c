/* The group's key is rotated while the group lives: nobody is lost, and nobody is in by the old key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "protocol/node_state.h"
#include "tests/unit/node_world.h"

#define READY_MS 60000
#define DAY_MS   86400000

static struct world *ready_group(size_t count)
{
    struct world *w = world_new(count, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        world_start(w, i);
    assert_true(world_run_ready(w, READY_MS));
    return w;
}

static size_t master(const struct world *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->peer[i].node && node_is_founder(w->peer[i].node))
            return i;
    fail();
    return 0;
}

static size_t worker(const struct world *w)
{
    return (master(w) + 1) % w->count;
}

static struct member *seen(const struct world *w, size_t by, size_t who)
{
    return node_member(w->peer[by].node, &w->peer[who].me->id);
}

static void ask(struct world *w, size_t who, enum node_event_kind kind, const char *name)
{
    static uint64_t request;
    world_feed(w, who, &(struct node_event){.kind = kind, .request = ++request, .who = name});
}

static uint32_t newest(const struct world *w, size_t who)
{
    return keyring_newest(&w->peer[who].node->keys.ring);
}

static void all_settled(const struct world *w, uint32_t epoch)
{
    for (size_t i = 0; i < w->count; i++) {
        if (!w->peer[i].node)
            continue;
        assert_int_equal(newest(w, i), epoch);
        assert_true(keyring_settled(&w->peer[i].node->keys.ring));
        for (size_t k = 0; k < w->count; k++)
            if (w->peer[k].node)
                assert_int_equal(seen(w, i, k)->state, STATE_ALIVE);
    }
}

static unsigned lost;

static void count_lost(struct world *w, size_t who, const struct action *a)
{
    (void)w;
    (void)who;
    lost += a->kind == ACT_EVENT && (a->event == EVENT_MEMBER_SUSPECT || a->event == EVENT_MEMBER_FAILED ||
                                     a->event == EVENT_CONFLICT || a->event == EVENT_STEP_FAILED);
}

static void test_nobody_is_lost(void **state)
{
    struct world *w = ready_group(4);
    uint64_t before[8];
    (void)state;
    lost = 0;
    w->on_action = count_lost;
    memcpy(before, w->peer[0].node->dropped, sizeof before);
    for (uint32_t epoch = 1; epoch <= 12; epoch++) { /* more than a ring holds */
        ask(w, master(w), EV_ROTATE, NULL);
        world_run(w, 10000);
        assert_int_equal(w->peer[master(w)].replies, epoch);
        assert_int_equal(w->peer[master(w)].reply_code, 0);
        all_settled(w, epoch);
        for (size_t i = 0; i < w->count; i++)
            assert_int_equal(w->peer[i].rekeyed, epoch);
    }
    assert_int_equal(lost, 0);
    assert_memory_equal(before, w->peer[0].node->dropped, sizeof before); /* no message was refused */
    /* The record that was signed before is good after a start with nothing but what is stored. */
    for (size_t i = 0; i < w->count; i++)
        world_stop(w, i);
    for (size_t i = 0; i < w->count; i++)
        world_start(w, i);
    assert_true(world_run_ready(w, READY_MS));
    world_run(w, 5000);
    all_settled(w, 12);
    world_free(w);
}

static void test_only_the_master_rotates(void **state)
{
    struct world *w = ready_group(3);
    size_t other = worker(w);
    (void)state;
    ask(w, other, EV_ROTATE, NULL);
    assert_int_equal(w->peer[other].reply_code, KPEER_EREFUSED);
    ask(w, master(w), EV_ROTATE, NULL);
    ask(w, master(w), EV_ROTATE, NULL); /* one after the other */
    assert_int_equal(w->peer[master(w)].reply_code, KPEER_ESTATE);
    w->peer[master(w)].node->cfg.key_fixed = true;
    ask(w, master(w), EV_ROTATE, NULL);
    assert_int_equal(w->peer[master(w)].reply_code, KPEER_EREFUSED);
    world_run(w, 10000);
    all_settled(w, 1);
    world_free(w);
}

/* One was away for two rotations and a day: whoever it meets hands it the newest, the master is not needed.
 */
static void test_who_was_away_gets_the_new_key(void **state)
{
    struct world *w = ready_group(4);
    size_t away = worker(w), m = master(w);
    (void)state;
    world_stop(w, away);
    world_run(w, 10000);
    for (int i = 0; i < 2; i++) {
        ask(w, m, EV_ROTATE, NULL);
        world_run(w, 10000);
        assert_int_equal(w->peer[m].reply_code, 0);
        assert_non_null(strstr(w->peer[m].reply, "1 are away"));
    }
    world_stop(w, m);
    w->now_ms += DAY_MS;
    world_start(w, away);
    assert_int_equal(newest(w, away), 0);
    world_run(w, 20000);
    assert_int_equal(newest(w, away), 2);
    world_start(w, m);
    assert_true(world_run_ready(w, READY_MS));
    world_run(w, 5000);
    all_settled(w, 2);
    world_free(w);
}

/* After the overlap the old key is nothing at all any more. */
static void test_the_overlap_ends(void **state)
{
    struct world *w = ready_group(3);
    size_t away = worker(w), m = master(w);
    (void)state;
    world_stop(w, away);
    world_run(w, 10000);
    ask(w, m, EV_ROTATE, NULL);
    world_run(w, 10000);
    assert_int_equal(w->peer[m].node->keys.ring.count, 2);
    w->now_ms += 7ull * DAY_MS + 60000;
    world_run(w, 120000);
    assert_int_equal(w->peer[m].node->keys.ring.count, 1);
    world_start(w, away);
    world_run(w, 20000);
    assert_int_equal(newest(w, away), 0);
    assert_int_not_equal(seen(w, m, away)->state, STATE_ALIVE);
    world_free(w);
}

static unsigned handed;

static void count_handed(struct world *w, size_t who, const struct action *a)
{
    (void)w;
    (void)who;
    handed += a->kind == ACT_HAND;
}

/* Whoever has the old key alone: its identity was never a member, so it gets nothing and is heard by nobody.
 */
static void test_a_stranger_with_the_old_key(void **state)
{
    struct world *w = ready_group(4);
    size_t m = master(w), thief = worker(w);
    struct identity *was = w->peer[thief].me;
    (void)state;
    world_stop(w, thief);
    ask(w, m, EV_ROTATE, NULL);
    world_run(w, 70000);
    static const uint8_t seed[32] = {99};
    assert_int_equal(identity_new(&w->peer[thief].me, seed, NULL), 0);
    for (int k = 0; k < STORE_KEY_COUNT; k++) {
        free(w->peer[thief].disk[k]);
        w->peer[thief].disk[k] = NULL;
        w->peer[thief].disk_bytes[k] = 0;
    }
    handed = 0;
    w->on_action = count_handed;
    world_start(w, thief);
    world_run(w, 20000);
    assert_int_equal(handed, 0);
    assert_int_equal(newest(w, thief), 0);
    assert_null(seen(w, m, thief));
    identity_free(was);
    world_free(w);
}

static unsigned renewed;

static void count_renewed(struct world *w, size_t who, const struct action *a)
{
    (void)w;
    (void)who;
    renewed += a->kind == ACT_RENEW;
}

/* A beacon in a member's own name, from another start: under a closed key it says nothing of that member. */
static void test_the_old_key_makes_nobody_renew(void **state)
{
    struct world *w = ready_group(3);
    size_t m = master(w);
    struct node *n = w->peer[m].node;
    (void)state;
    ask(w, m, EV_ROTATE, NULL);
    world_run(w, 70000);
    struct hello h = {
        .id = n->me->id, .boot = n->boot + 1, .instance = n->instance + 1, .age_ms = UINT32_MAX};
    memcpy(h.sign_pk, n->me->sign_pk, sizeof h.sign_pk);
    struct node_event ev = {.kind = EV_HELLO, .hello = &h, .address = "192.168.56.99"};
    w->on_action = count_renewed;
    w->hold = true;
    renewed = 0;
    world_feed(w, m, &ev);
    assert_int_equal(renewed, 0);
    h.epoch = 1;
    world_feed(w, m, &ev);
    assert_int_equal(renewed, 1);
    world_free(w);
}

static void test_an_evicted_host(void **state)
{
    struct world *w = ready_group(4);
    size_t m = master(w), bad = worker(w);
    char name[STEP_NAME_BYTES];
    struct node_status st;
    (void)state;
    memcpy(name, w->peer[bad].cfg.name, sizeof name);
    ask(w, m, EV_EVICT, "nobody");
    assert_int_equal(w->peer[m].reply_code, KPEER_ENOTFOUND);
    ask(w, m, EV_EVICT, w->peer[m].cfg.name);
    assert_int_equal(w->peer[m].reply_code, KPEER_EREFUSED);
    ask(w, m, EV_EVICT, name);
    world_run(w, 20000);
    assert_int_equal(w->peer[m].reply_code, 0);
    assert_true(seen(w, m, bad)->job.gone);
    node_status_view(w->peer[bad].node, w->now_ms, &st);
    assert_non_null(strstr(st.error, "was evicted"));
    assert_false(st.healthy);
    assert_int_equal(newest(w, bad), 0);
    assert_true(w->peer[bad].wake_ms >
                w->now_ms + 20); /* it has nothing to do, and does not look all the time */
    for (size_t i = 0; i < w->count; i++)
        if (i != bad) {
            assert_true(seen(w, i, bad)->evicted);
            assert_int_equal(seen(w, i, bad)->state, STATE_LEFT);
        }
    /* Neither its start, nor theirs, nor the next rotation changes that. */
    for (size_t i = 0; i < w->count; i++) {
        world_stop(w, i);
        world_start(w, i);
    }
    world_run(w, 30000);
    ask(w, m, EV_ROTATE, NULL);
    world_run(w, 20000);
    assert_int_equal(newest(w, m), 2);
    assert_int_equal(newest(w, bad), 0);
    for (size_t i = 0; i < w->count; i++)
        assert_true(i == bad || seen(w, i, bad)->evicted);
    world_free(w);
}

/* The power fails everywhere at any moment of a rotation: what is stored is enough to go on. */
static void test_power_cuts(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < 3000; at += 150) {
        struct world *w = ready_group(3);
        size_t m = master(w);
        ask(w, m, EV_ROTATE, NULL);
        world_run(w, at);
        for (size_t i = 0; i < w->count; i++)
            world_stop(w, i);
        w->mail_next = w->mail_count; /* the little that leaks is a test's */
        w->now_ms += 5000;
        for (size_t i = 0; i < w->count; i++)
            world_start(w, i);
        assert_true(world_run_ready(w, READY_MS));
        world_run(w, 70000);
        all_settled(w, 1);
        world_free(w);
    }
}

static uint8_t *recorded;
static size_t recorded_bytes;

static void record_handing(struct world *w, size_t who, const struct action *a)
{
    (void)w;
    (void)who;
    if (a->kind != ACT_HAND || recorded)
        return;
    recorded = malloc(a->n);
    assert_non_null(recorded);
    memcpy(recorded, a->bytes, a->n);
    recorded_bytes = a->n;
}

/* What hands a key over, altered by any bit, cut, or sent to another, changes nothing. */
static void test_handing_is_for_one_and_whole(void **state)
{
    struct world *w = ready_group(3);
    size_t away = worker(w), m = master(w), third = 3 - away - m;
    (void)state;
    world_stop(w, away);
    world_run(w, 10000);
    ask(w, m, EV_ROTATE, NULL);
    world_run(w, 10000);
    w->on_action = record_handing;
    w->hold = false;
    world_start(w, away);
    for (int i = 0; i < 100 && !recorded; i++)
        world_run(w, 100);
    assert_non_null(recorded);
    world_stop(w, away);
    free(w->peer[away].disk[STORE_KEYS]);
    w->peer[away].disk[STORE_KEYS] = NULL;
    w->peer[away].disk_bytes[STORE_KEYS] = 0;
    world_start(w, away);
    struct node_event ev = {.kind = EV_HANDED, .bytes = recorded, .n = recorded_bytes};
    for (size_t i = 0; i < 8 * recorded_bytes; i++) {
        recorded[i / 8] ^= (uint8_t)(1 << i % 8);
        world_feed(w, away, &ev);
        recorded[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(newest(w, away), 0);
    }
    for (ev.n = 0; ev.n < recorded_bytes; ev.n++)
        world_feed(w, away, &ev);
    assert_int_equal(newest(w, away), 0);
    world_feed(w, third, &ev);
    world_feed(w, m, &ev);
    assert_int_equal(newest(w, third), 1);
    world_feed(w, away, &ev);
    assert_int_equal(newest(w, away), 1);
    world_feed(w, away, &ev); /* once more */
    assert_int_equal(newest(w, away), 1);
    free(recorded);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_is_lost),
        cmocka_unit_test(test_only_the_master_rotates),
        cmocka_unit_test(test_who_was_away_gets_the_new_key),
        cmocka_unit_test(test_the_overlap_ends),
        cmocka_unit_test(test_a_stranger_with_the_old_key),
        cmocka_unit_test(test_the_old_key_makes_nobody_renew),
        cmocka_unit_test(test_an_evicted_host),
        cmocka_unit_test(test_power_cuts),
        cmocka_unit_test(test_handing_is_for_one_and_whole),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
