/* A survey among a few nodes: who is asked, when, what is answered, and what it must not get in the way of.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "tests/unit/node_world.h"

#define READY_MS 60000

struct seen {
    size_t answers[WORLD_PEERS];
    size_t hosts;
    size_t faults;
    char text[256]; /* of the first */
    uint32_t took_ms;
    size_t opened[WORLD_PEERS];
    bool open[WORLD_PEERS];
    bool step_while_open;
};

static void watch(struct world *w, size_t who, const struct action *a)
{
    struct seen *s = w->ctx;
    if (a->kind == ACT_REACH) {
        s->open[who] = a->reach->what != REACH_CLOSE;
        s->opened[who] += a->reach->what == REACH_OPEN;
    }
    if (a->kind == ACT_RUN && a->step->kind != STEP_PROVE)
        s->step_while_open |= s->open[who];
    if (a->kind != ACT_REPLY || !a->survey)
        return;
    s->answers[who]++;
    s->hosts = a->survey->count;
    s->faults = a->survey->fault_count;
    s->took_ms = a->survey->took_ms;
    snprintf(s->text, sizeof s->text, "%s", s->faults ? a->survey->fault[0].text : "");
}

/* Three who wait for one more. */
static struct world *waiting(struct seen *s)
{
    struct world *w = world_new(3, 4);
    memset(s, 0, sizeof *s);
    w->ctx = s;
    w->on_action = watch;
    for (size_t i = 0; i < 3; i++)
        world_start(w, i);
    world_run(w, 5000);
    return w;
}

static void ask(struct world *w, size_t who)
{
    world_feed(w, who, &(struct node_event){.kind = EV_SURVEY, .request = 100 + who});
}

static void test_all_is_well(void **state)
{
    struct seen s;
    struct world *w = waiting(&s);
    (void)state;
    ask(w, 1);
    world_run(w, 100);
    assert_int_equal(s.answers[1], 1);
    assert_int_equal(s.hosts, 3);
    assert_string_equal(s.text, "");
    for (size_t i = 0; i < 3; i++)
        assert_true(s.opened[i] == 1 && !s.open[i]);
    world_free(w);
}

static void block(struct world *w, size_t who, const struct reach_order *o, struct reach_report *r)
{
    for (size_t d = 0; d < o->count; d++)
        if (strcmp(o->next[d].address, w->peer[2].address) == 0)
            r->seen.tcp[d][1] = REACH_FILTERED;
    (void)who;
}

static void test_a_fault_is_found(void **state)
{
    struct seen s;
    struct world *w = waiting(&s);
    (void)state;
    w->on_reach = block;
    ask(w, 0);
    world_run(w, 100);
    assert_int_equal(s.faults, 1);
    assert_string_equal(s.text, "nobody reaches TCP 10250 of node3 (192.168.56.13): no answer");
    world_free(w);
}

static void test_who_does_not_answer(void **state)
{
    struct seen s;
    struct world *w = waiting(&s);
    (void)state;
    world_stop(w, 2);
    ask(w, 0);
    world_run(w, 10000);
    assert_int_equal(s.answers[0], 1);
    assert_int_equal(s.hosts, 3);
    assert_string_equal(s.text, "no answer in time from node3 (192.168.56.13)");
    assert_true(s.took_ms < 10000);
    assert_false(s.open[0] || s.open[1]);
    world_free(w);
}

static void test_all_ask_at_once(void **state)
{
    struct seen s;
    struct world *w = waiting(&s);
    (void)state;
    for (size_t i = 0; i < 3; i++)
        ask(w, i);
    world_run(w, 20000);
    for (size_t i = 0; i < 3; i++)
        assert_true(s.answers[i] == 1 && w->peer[i].replies == 1 && w->peer[i].reply_code == 0);
    assert_string_equal(s.text, "");
    world_free(w);
}

static void test_not_too_often(void **state)
{
    struct seen s;
    struct world *w = waiting(&s);
    (void)state;
    ask(w, 0);
    world_run(w, 100);
    ask(w, 0);
    ask(w, 0); /* a second one at once is refused */
    assert_int_equal(w->peer[0].reply_code, KPEER_ESTATE);
    world_run(w, 5000);
    assert_int_equal(s.opened[1], 1);
    world_run(w, 6000);
    assert_int_equal(s.opened[1], 2);
    assert_int_equal(s.answers[0], 2);
    assert_string_equal(s.text, "");
    world_free(w);
}

static void leave(struct world *w, size_t who, const struct reach_order *o, struct reach_report *r)
{
    (void)r;
    if (who == 1 && o->what == REACH_TRY)
        world_feed(w, 1, &(struct node_event){.kind = EV_LEAVE, .force = true, .request = 7});
}

/* A step that is due gets the ports at once, and nobody is blamed for that. */
static void test_steps_go_first(void **state)
{
    struct seen s;
    struct world *w = waiting(&s);
    (void)state;
    w->on_reach = leave;
    ask(w, 0);
    world_run(w, 10000);
    assert_false(s.step_while_open);
    assert_int_equal(s.answers[0], 1);
    assert_string_equal(s.text, "not looked at, a step runs there: node2 (192.168.56.12)");
    world_free(w);
}

/* Somebody who is surveyed all the time founds a cluster as fast as others. */
static void test_formation_goes_on(void **state)
{
    struct seen s;
    struct world *w = world_new(3, 3);
    (void)state;
    memset(&s, 0, sizeof s);
    w->ctx = &s;
    w->on_action = watch;
    for (size_t i = 0; i < 3; i++)
        world_start(w, i);
    for (int k = 0; k < 100; k++) {
        ask(w, (size_t)k % 3);
        world_run(w, 100);
    }
    assert_true(world_run_ready(w, READY_MS));
    world_run(w, 20000);
    assert_false(s.step_while_open);
    assert_true(s.answers[0] && s.answers[1] && s.answers[2]);
    assert_string_equal(s.text, "");
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_well),         cmocka_unit_test(test_a_fault_is_found),
        cmocka_unit_test(test_who_does_not_answer), cmocka_unit_test(test_all_ask_at_once),
        cmocka_unit_test(test_not_too_often),       cmocka_unit_test(test_steps_go_first),
        cmocka_unit_test(test_formation_goes_on),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
