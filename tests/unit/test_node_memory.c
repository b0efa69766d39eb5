/* Out of memory: each allocation of a node's life fails in its turn, and each time it says so and loses
 * nothing. The linker brings the core's allocations here (--wrap). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "tests/unit/node_world.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__real_sodium_malloc(size_t n);
void __real_sodium_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);
void *__wrap_sodium_malloc(size_t n);
void __wrap_sodium_free(void *p);

static bool counting;
static uint64_t asked, fails_at; /* 0: never */
static int64_t held;

static bool fails(void)
{
    return counting && ++asked == fails_at;
}

static void *took(void *p)
{
    held += counting && p;
    return p;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : took(__real_malloc(n));
}

void *__wrap_calloc(size_t count, size_t n)
{
    return fails() ? NULL : took(__real_calloc(count, n));
}

void *__wrap_realloc(void *p, size_t n)
{
    if (fails())
        return NULL;
    if (!p)
        return took(__real_realloc(p, n));
    return __real_realloc(p, n);
}

void __wrap_free(void *p)
{
    held -= counting && p;
    __real_free(p);
}

void *__wrap_sodium_malloc(size_t n)
{
    return fails() ? NULL : took(__real_sodium_malloc(n));
}

void __wrap_sodium_free(void *p)
{
    held -= counting && p;
    __real_sodium_free(p);
}

/* What the first peer of a group went through, to be gone through again. */
struct tape {
    struct {
        struct node_event ev;
        uint64_t at_ms;
        struct hello hello;
        struct step_result result;
        struct host_nets nets;
    } play[2000];
    size_t count;
};

static struct tape tape;

static void record_event(struct world *w, size_t who, const struct node_event *ev)
{
    if (who != 0 || tape.count == sizeof tape.play / sizeof tape.play[0])
        return;
    struct node_event *e = &tape.play[tape.count].ev;
    *e = *ev;
    tape.play[tape.count].at_ms = w->now_ms;
    if (ev->hello) {
        tape.play[tape.count].hello = *ev->hello;
        e->hello = &tape.play[tape.count].hello;
    }
    if (ev->result) {
        tape.play[tape.count].result = *ev->result;
        e->result = &tape.play[tape.count].result;
    }
    if (ev->nets) {
        tape.play[tape.count].nets = *ev->nets;
        e->nets = &tape.play[tape.count].nets;
    }
    if (ev->bytes) {
        uint8_t *copy = malloc(ev->n);
        assert_non_null(copy);
        memcpy(copy, ev->bytes, ev->n);
        e->bytes = copy;
    }
    tape.count++;
}

/* Plays the tape to a new node. 0, or the first error. */
static int play(struct world *w, const struct stored *stored)
{
    static const uint8_t seed[32] = {0, 0xe8}; /* as world_start draws it for the first peer at 1000 ms */
    const struct world_peer *p = &w->peer[0];
    struct node *n = NULL;
    struct actions acts;
    int rc = node_new(&n, &p->cfg, p->me, w->key, stored, 10000, seed, NULL);
    for (size_t i = 0; rc == 0 && i < tape.count; i++)
        rc = node_step(n, &tape.play[i].ev, tape.play[i].at_ms, &acts);
    if (rc == KPEER_ENOMEM && n)
        assert_int_equal(acts.count, 0);
    node_free(n);
    return rc;
}

static void sweep(struct world *w, const struct stored *stored)
{
    uint64_t total = 0;
    for (fails_at = 0; fails_at <= total; fails_at++) {
        asked = 0;
        held = 0;
        counting = true;
        int rc = play(w, stored);
        counting = false;
        if (fails_at == 0) {
            total = asked;
            assert_true(total > 10);
        }
        assert_int_equal(rc, fails_at == 0 ? 0 : KPEER_ENOMEM);
        assert_int_equal(held, 0);
    }
    print_message("%llu allocations failed in turn\n", (unsigned long long)total);
}

static void test_each_allocation_fails_once(void **state)
{
    (void)state;
    static const struct stored nothing[STORE_KEY_COUNT];
    struct stored stored[STORE_KEY_COUNT];
    struct world *w = world_new(2, 2);
    w->on_event = record_event;
    world_start(w, 0);
    world_start(w, 1);
    assert_true(world_run_ready(w, 60000));
    world_feed(w, 0, &(struct node_event){.kind = EV_KUBECONFIG, .request = 1});
    for (size_t i = 0; i < 2; i++) /* one of them is the master */
        world_feed(w, i, &(struct node_event){.kind = EV_ROTATE, .request = 1});
    for (size_t i = 0; i < 2; i++)
        world_feed(w, i, &(struct node_event){.kind = EV_VERIFY, .request = 2});
    world_run(w, 6000); /* until the members are stored */
    w->on_event = NULL;
    sweep(w, nothing);
    for (int i = 0; i < STORE_KEY_COUNT; i++) {
        stored[i] = (struct stored){w->peer[0].disk[i], w->peer[0].disk_bytes[i]};
        assert_non_null(stored[i].bytes);
    }
    for (size_t i = 0; i < tape.count; i++)
        free((uint8_t *)(uintptr_t)tape.play[i].ev.bytes);
    tape.count = 1; /* a start from what was stored */
    sweep(w, stored);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_fails_once),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
