/* A test pod for whoever asks for one: on the master, from another host, and when somebody goes away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "protocol/mem.h"
#include "protocol/node_state.h" /* its inside: who the master is */
#include "tests/unit/node_world.h"

#define READY_MS  60000
#define LIMIT_MS  60000
#define ANSWER_MS 15000
#define GAP_MS    1000

struct seen {
    size_t answers[WORLD_PEERS];
    int code[WORLD_PEERS];
    char text[WORLD_PEERS][256];
    struct finding finding[WORLD_PEERS][STEP_FINDINGS_MAX];
    size_t findings[WORLD_PEERS];
    size_t runs, cancels;
    uint64_t asked[WORLD_PEERS]; /* the request's number: each has one of its own */
    struct step step;            /* the last that ran */
    char asker[STEP_NAME_BYTES];
    char progress[WORLD_PEERS][256];
};

static void watch(struct world *w, size_t who, const struct action *a)
{
    struct seen *s = w->ctx;
    if (a->kind == ACT_RUN && a->step->kind == STEP_VERIFY) {
        s->runs++;
        s->step = *a->step;
    }
    s->cancels += a->kind == ACT_CANCEL;
    if (a->kind == ACT_EVENT && a->event == EVENT_VERIFY_STARTED)
        memcpy(s->asker, a->name, sizeof s->asker);
    if (a->kind == ACT_EVENT && a->event == EVENT_STEP_PROGRESS && strcmp(a->name, "verify") == 0)
        memcpy(s->progress[who], a->text, sizeof a->text);
    if (a->kind != ACT_REPLY)
        return;
    s->answers[who]++;
    s->code[who] = a->code;
    memcpy(s->text[who], a->text, sizeof a->text);
    s->findings[who] = a->verify ? a->verify->count : 0;
    for (size_t i = 0; a->verify && i < a->verify->count; i++)
        s->finding[who][i] = a->verify->finding[i];
}

static struct world *formed(struct seen *s, size_t count)
{
    struct world *w = world_new(count, (uint32_t)count);
    memset(s, 0, sizeof *s);
    w->ctx = s;
    w->on_action = watch;
    w->slow = STEP_VERIFY;
    for (size_t i = 0; i < count; i++)
        world_start(w, i);
    assert_true(world_run_ready(w, READY_MS));
    return w;
}

static size_t master_of(const struct world *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (node_is_founder(w->peer[i].node))
            return i;
    fail_msg("there is no master");
    return 0;
}

static void ask(struct world *w, size_t who)
{
    struct seen *s = w->ctx;
    s->asked[who] += 100;
    world_feed(w, who,
               &(struct node_event){.kind = EV_VERIFY, .request = s->asked[who], .timeout_ms = LIMIT_MS});
    world_run(w, 100);
}

static void go_away(struct world *w, size_t who)
{
    const struct seen *s = w->ctx;
    world_feed(w, who, &(struct node_event){.kind = EV_GONE, .request = s->asked[who]});
    world_run(w, 100);
}

static void end(struct world *w, int code, size_t findings)
{
    struct step_result r = {.id = w->slow_step, .kind = STEP_VERIFY, .code = code, .finding_count = findings};
    memcpy(r.text, "the pod never was", 18);
    for (size_t i = 0; i < findings; i++) {
        r.findings[i].level = i + 1 < findings || code == 0 ? FINDING_GREEN : FINDING_RED;
        snprintf(r.findings[i].check, sizeof r.findings[i].check, "check %zu", i);
    }
    w->slow_step = 0;
    world_feed(w, master_of(w), &(struct node_event){.kind = EV_STEP_DONE, .result = &r});
    world_run(w, 100);
}

static void say(struct world *w, const char *line)
{
    struct step_progress p = {.id = w->slow_step, .kind = STEP_VERIFY, .phase = "pod", .percent = -1};
    snprintf(p.line, sizeof p.line, "%s", line);
    world_feed(w, master_of(w), &(struct node_event){.kind = EV_STEP_PROGRESS, .progress = &p});
    world_run(w, 100);
}

static void test_on_the_master(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 2);
    size_t master = master_of(w);
    (void)state;
    ask(w, master);
    assert_int_equal(s.runs, 1);
    assert_int_equal(s.step.timeout_ms, LIMIT_MS);
    assert_string_equal(s.step.node_name, w->peer[master].cfg.name);
    assert_string_equal(s.step.pod_cidr, "10.244.0.0/16");
    assert_int_equal(step_check(&s.step, NULL), 0);
    assert_string_equal(s.asker, w->peer[master].cfg.name);
    end(w, 0, 3);
    assert_int_equal(s.answers[master], 1);
    assert_true(s.code[master] == 0 && s.findings[master] == 3);
    assert_string_equal(s.finding[master][2].check, "check 2");
    world_free(w);
}

static void test_on_another_host(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 3);
    size_t master = master_of(w), other = (master + 1) % 3;
    (void)state;
    ask(w, other);
    assert_int_equal(s.runs, 1);
    assert_string_equal(s.asker, w->peer[other].cfg.name);
    say(w, "waiting for the pod");
    assert_string_equal(s.progress[other], "pod: waiting for the pod");
    assert_string_equal(s.progress[(master + 2) % 3], ""); /* it did not ask */
    end(w, KPEER_EIO, 2);
    assert_int_equal(s.answers[other], 1);
    assert_true(s.code[other] == 0 && s.findings[other] == 2);
    assert_int_equal(s.finding[other][1].level, FINDING_RED);
    assert_int_equal(s.answers[master], 0);
    /* And again, with the largest answer that there is. */
    world_run(w, GAP_MS);
    ask(w, other);
    end(w, 0, STEP_FINDINGS_MAX);
    assert_true(s.answers[other] == 2 && s.findings[other] == STEP_FINDINGS_MAX);
    world_free(w);
}

static void test_what_fails_before_any_look(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 2);
    size_t master = master_of(w), other = 1 - master;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        size_t who = i ? other : master;
        ask(w, who);
        end(w, KPEER_EIO, 0);
        assert_int_equal(s.code[who], KPEER_EIO);
        assert_string_equal(s.text[who], "the pod never was");
    }
    world_free(w);
}

/* What never begins is no event. */
static void test_without_room_for_a_step(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 1);
    struct running *running = w->peer[0].node->running;
    (void)state;
    for (size_t i = 0; i < RUNNING_MAX; i++)
        if (running[i].id == 0)
            running[i].id = UINT32_MAX;
    ask(w, 0);
    assert_true(s.code[0] == KPEER_ELIMIT && s.runs == 0);
    assert_string_equal(s.asker, "");
    world_free(w);
}

static void test_a_long_answer_is_cut_between_characters(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 1);
    struct step_result r = {.kind = STEP_VERIFY, .code = KPEER_EIO};
    (void)state;
    ask(w, 0);
    r.id = w->slow_step;
    memset(r.text, 'a', sizeof s.text[0] - 2);
    strcat(r.text, "\u00e9");
    world_feed(w, 0, &(struct node_event){.kind = EV_STEP_DONE, .result = &r});
    assert_int_equal(strlen(s.text[0]), sizeof s.text[0] - 2);
    world_free(w);
}

static void test_one_at_a_time(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 3);
    size_t master = master_of(w), first = (master + 1) % 3, second = (master + 2) % 3;
    char words[128];
    (void)state;
    ask(w, first);
    ask(w, second);
    snprintf(words, sizeof words, "a test pod is being tried already, for %s", w->peer[first].cfg.name);
    assert_int_equal(s.code[second], KPEER_ESTATE);
    assert_string_equal(s.text[second], words);
    ask(w, master);
    assert_string_equal(s.text[master], words);
    world_feed(w, first, &(struct node_event){.kind = EV_VERIFY, .request = 7, .timeout_ms = LIMIT_MS});
    assert_true(s.answers[first] == 1 && s.code[first] == KPEER_ESTATE);
    assert_true(s.runs == 1 && s.cancels == 0);
    end(w, 0, 1);
    assert_true(s.answers[first] == 2 && s.findings[first] == 1);
    ask(w, second);
    assert_int_equal(s.runs, 2);
    world_free(w);
}

/* Else one host could keep all others from theirs. The master's own user is its root. */
static void test_a_gap_between_two(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 3);
    size_t master = master_of(w), first = (master + 1) % 3, second = (master + 2) % 3;
    (void)state;
    ask(w, first);
    end(w, 0, 1);
    ask(w, first);
    assert_true(s.runs == 1 && s.code[first] == KPEER_ESTATE);
    assert_string_equal(s.text[first], "a test pod was tried for this host just now");
    ask(w, second);
    end(w, 0, 1);
    for (size_t i = 0; i < 2; i++) {
        ask(w, master);
        end(w, 0, 1);
    }
    assert_int_equal(s.runs, 4);
    world_run(w, GAP_MS);
    ask(w, first);
    assert_int_equal(s.runs, 5);
    world_free(w);
}

/* It said goodbye, and asks for something all the same. */
static void test_who_has_left_gets_none(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 2);
    size_t master = master_of(w), other = 1 - master;
    struct member *m = node_member(w->peer[master].node, &w->peer[other].me->id);
    (void)state;
    m->profile.phase = PHASE_LEFT;
    node_set_state(w->peer[master].node, m, STATE_LEFT);
    ask(w, other);
    assert_int_equal(s.runs, 0);
    world_free(w);
}

/* Whoever goes away has the pod taken away with it; nobody else can. */
static void test_the_asker_goes_away(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 3);
    size_t master = master_of(w), other = (master + 1) % 3;
    (void)state;
    ask(w, other);
    go_away(w, master);
    go_away(w, (master + 2) % 3);
    assert_int_equal(s.cancels, 0);
    go_away(w, other);
    assert_int_equal(s.cancels, 1);
    assert_int_equal(s.answers[other], 0);
    ask(w, master); /* it has ended */
    assert_int_equal(s.runs, 2);
    go_away(w, master);
    assert_int_equal(s.cancels, 2);
    world_free(w);
}

static void test_the_asker_dies(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 3);
    size_t master = master_of(w), other = (master + 1) % 3;
    (void)state;
    ask(w, other);
    world_stop(w, other);
    world_run(w, 30000);
    assert_int_equal(s.cancels, 1);
    ask(w, master);
    assert_int_equal(s.runs, 2);
    world_free(w);
}

/* Its new start knows nothing of what it asked: the pod is taken away, and it may ask anew. */
static void test_the_asker_is_started_again(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 2);
    size_t other = 1 - master_of(w);
    (void)state;
    ask(w, other);
    world_stop(w, other);
    world_run(w, 1000);
    assert_int_equal(s.cancels, 0);
    world_start(w, other);
    world_run(w, 10000);
    assert_int_equal(s.cancels, 1);
    assert_int_equal(s.answers[other], 0);
    ask(w, other);
    assert_int_equal(s.runs, 2);
    world_free(w);
}

static void test_the_master_dies(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 3);
    size_t master = master_of(w), other = (master + 1) % 3;
    (void)state;
    ask(w, other);
    world_stop(w, master);
    world_run(w, 30000);
    assert_true(s.answers[other] == 1 && s.code[other] == KPEER_EIO);
    assert_string_equal(s.text[other], "the master went away meanwhile");
    ask(w, other);
    assert_string_equal(s.text[other], "the master cannot be reached from here");
    world_free(w);
}

/* It knows nothing of what was asked before: the asker sees that it is another start, and waits no longer. */
static void test_the_master_is_started_again(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 2);
    size_t master = master_of(w), other = 1 - master;
    (void)state;
    ask(w, other);
    world_stop(w, master);
    world_run(w, 1000);
    world_start(w, master);
    world_run(w, 3000);
    assert_int_equal(s.answers[other], 1);
    assert_string_equal(s.text[other], "the master went away meanwhile");
    world_free(w);
}

/* Just started, it knows its members from before they had joined, until they tell it more. */
static void test_a_master_that_does_not_know_us_yet(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 2);
    size_t master = master_of(w), other = 1 - master;
    struct member *m = node_member(w->peer[master].node, &w->peer[other].me->id);
    struct profile known = m->profile;
    (void)state;
    m->profile.cluster_id[0] = '\0';
    ask(w, other);
    world_feed(w, other, &(struct node_event){.kind = EV_KUBECONFIG, .request = 1});
    world_run(w, 100);
    assert_true(s.runs == 0 && s.answers[other] == 0);
    m->profile = known;
    world_run(w, 1000);
    assert_true(s.runs == 1 && s.answers[other] == 1 && s.code[other] == 0); /* the kubeconfig */
    world_run(w, 5000);
    end(w, 0, 1);
    assert_true(s.answers[other] == 2 && s.findings[other] == 1);
    assert_int_equal(s.runs, 1);
    world_free(w);
}

/* It begins once: the asker cannot tell whether its question was lost, or is late, or the word that it began.
 */
static void test_asked_more_than_once(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 2);
    size_t master = master_of(w), other = 1 - master;
    struct member *m = node_member(w->peer[master].node, &w->peer[other].me->id);
    (void)state;
    ask(w, other);
    w->peer[other].node->verify.again_ms = w->now_ms; /* as if it had not been told */
    world_run(w, 1000);
    assert_true(s.runs == 1 && s.answers[other] == 0 && s.cancels == 0);
    assert_int_equal(w->peer[other].node->verify.again_ms, 0);
    w->peer[other].node->verify.again_ms = w->now_ms;
    end(w, 0, 1);
    assert_true(s.runs == 1 && s.answers[other] == 1);
    m->verified_ms = 0; /* nor does one that comes when it is over begin it anew */
    w->peer[other].node->verify = (struct verify){.request = s.asked[other],
                                                  .instance = w->peer[other].node->verify.instance,
                                                  .timeout_ms = LIMIT_MS,
                                                  .again_ms = w->now_ms,
                                                  .until_ms = w->now_ms + 100,
                                                  .last_ms = w->now_ms + 100};
    world_run(w, 1000);
    assert_int_equal(s.runs, 1);
    world_free(w);
}

static void test_a_silent_master(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 2);
    size_t master = master_of(w), other = 1 - master;
    (void)state;
    ask(w, other);
    world_run(w, LIMIT_MS + 20000); /* it has begun, and may take its time */
    assert_int_equal(s.answers[other], 0);
    world_run(w, 20000);
    assert_true(s.answers[other] == 1 && s.code[other] == KPEER_ETIMEOUT);
    assert_int_equal(s.cancels, 1);
    world_free(w);
}

static void test_a_limit_has_its_limits(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 1);
    static const uint32_t cases[][2] = {
        {0, NODE_VERIFY_MIN_MS}, {1, NODE_VERIFY_MIN_MS}, {45000, 45000}, {UINT32_MAX, NODE_VERIFY_MAX_MS}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        world_feed(w, 0, &(struct node_event){.kind = EV_VERIFY, .request = 9, .timeout_ms = cases[i][0]});
        assert_int_equal(s.step.timeout_ms, cases[i][1]);
        end(w, 0, 1);
    }
    world_free(w);
}

static void test_before_there_is_a_cluster(void **state)
{
    struct seen s;
    struct world *w = world_new(2, 3); /* the third never comes */
    (void)state;
    memset(&s, 0, sizeof s);
    w->ctx = &s;
    w->on_action = watch;
    world_start(w, 0);
    world_start(w, 1);
    world_run(w, 3000);
    ask(w, 0);
    assert_true(s.code[0] == KPEER_ESTATE && s.runs == 0);
    assert_string_equal(s.text[0], "there is no cluster yet");
    world_free(w);
}

/* A master that leaves ends it, and a host that leaves asks no more. */
static void test_leaving(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 2);
    size_t master = master_of(w), other = 1 - master;
    (void)state;
    ask(w, other);
    world_feed(w, master, &(struct node_event){.kind = EV_LEAVE, .request = 1, .force = true});
    world_run(w, 100);
    assert_true(s.cancels >= 1);
    assert_true(s.answers[other] == 1 && s.code[other] != 0);
    world_free(w);
}

static void test_the_asker_leaves(void **state)
{
    struct seen s;
    struct world *w = formed(&s, 2);
    size_t other = 1 - master_of(w);
    (void)state;
    ask(w, other);
    world_feed(w, other, &(struct node_event){.kind = EV_LEAVE, .request = 1});
    assert_true(s.answers[other] == 1 && s.code[other] == KPEER_ESTATE);
    assert_string_equal(s.text[other], "this host is leaving the group");
    world_run(w, 100);
    assert_true(s.cancels >= 1);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_on_the_master),
        cmocka_unit_test(test_on_another_host),
        cmocka_unit_test(test_what_fails_before_any_look),
        cmocka_unit_test(test_without_room_for_a_step),
        cmocka_unit_test(test_a_long_answer_is_cut_between_characters),
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_a_gap_between_two),
        cmocka_unit_test(test_who_has_left_gets_none),
        cmocka_unit_test(test_the_asker_goes_away),
        cmocka_unit_test(test_the_asker_dies),
        cmocka_unit_test(test_the_asker_is_started_again),
        cmocka_unit_test(test_the_master_dies),
        cmocka_unit_test(test_the_master_is_started_again),
        cmocka_unit_test(test_a_master_that_does_not_know_us_yet),
        cmocka_unit_test(test_asked_more_than_once),
        cmocka_unit_test(test_a_silent_master),
        cmocka_unit_test(test_a_limit_has_its_limits),
        cmocka_unit_test(test_before_there_is_a_cluster),
        cmocka_unit_test(test_leaving),
        cmocka_unit_test(test_the_asker_leaves),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
