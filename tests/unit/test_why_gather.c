/* How `kpeer why` gathers its picture, with an agent and an executor that are made up (--wrap). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "peer/command/command.h"
#include "peer/command/local.h"

#define TEST(f) cmocka_unit_test_setup(f, set_up)

/* How a step of each kind ends, and how many were asked for. */
static struct step_result ends[STEP_KIND_COUNT];
static int asked;

/* What the agent answers; NULL: nothing in time. */
static const char *status, *members;
static bool agent_runs;

uid_t __wrap_geteuid(void);
uid_t __wrap_geteuid(void)
{
    return 0;
}

int __wrap_local_step(const struct config *cfg, const struct step *step, const struct local_watch *watch,
                      struct step_result *res, struct err *err);
int __wrap_local_step(const struct config *cfg, const struct step *step, const struct local_watch *watch,
                      struct step_result *res, struct err *err)
{
    (void)cfg, (void)watch, (void)err;
    asked++;
    *res = ends[step->kind];
    return 0;
}

int __wrap_command_connect(const struct call *call, struct control_client **out, struct err *err);
int __wrap_command_connect(const struct call *call, struct control_client **out, struct err *err)
{
    (void)call, (void)out;
    return agent_runs ? 0 : err_set(err, KPEER_ENOAGENT, "no agent is running on this host");
}

int __wrap_control_ask(struct control_client *c, const char *question, json_t *args, int timeout_ms,
                       json_t **out, struct err *err);
int __wrap_control_ask(struct control_client *c, const char *question, json_t *args, int timeout_ms,
                       json_t **out, struct err *err)
{
    const char *text = strcmp(question, "status") == 0 ? status : members;

    (void)c, (void)args, (void)timeout_ms;
    if (!text)
        return err_set(err, KPEER_ETIMEOUT, "the agent did not answer in time");
    *out = json_loads(text, 0, NULL);
    assert_non_null(*out);
    return 0;
}

void __wrap_control_close(struct control_client *c);
void __wrap_control_close(struct control_client *c)
{
    (void)c;
}

static int set_up(void **state)
{
    (void)state;
    memset(ends, 0, sizeof ends);
    asked = 0;
    agent_runs = false;
    status = members = NULL;
    return 0;
}

static void step_ends(enum step_kind kind, int code, const char *text)
{
    ends[kind].code = code;
    snprintf(ends[kind].text, sizeof ends[kind].text, "%s", text);
}

/* The answer of `kpeer why -o json`; NULL where it ends with an error. */
static json_t *why(enum role_pref role, int *code, struct err *err)
{
    struct call call = {.cfg = {.name = "node1", .role = role}, .out = {.format = WRITE_JSON}};
    char *text = NULL;
    size_t n = 0;
    json_t *answer;

    call.out.to = open_memstream(&text, &n);
    *code = cmd_why(&call, err);
    fclose(call.out.to);
    answer = json_loads(text, 0, NULL);
    free(text);
    return answer;
}

static void is(json_t *answer, const char *kind, const char *text)
{
    const json_t *cause = json_object_get(answer, "cause");

    assert_string_equal(writer_text(cause, "kind"), kind);
    if (!strstr(writer_text(cause, "text"), text))
        fail_msg("\"%s\" is not in \"%s\"", text, writer_text(cause, "text"));
    assert_string_not_equal(writer_text(cause, "next"), "");
    json_decref(answer);
}

/* ---- the checks of this host ---- */

/* Checks that did not come to an end are none that are green. */
static void test_preflight_fails(void **state)
{
    struct err err = {0};
    int code;

    (void)state;
    step_ends(STEP_PREFLIGHT, KPEER_ETIMEOUT, "step preflight did not end in its time");
    is(why(ROLE_WORKER, &code, &err), "executor", "did not end in its time");
    assert_int_equal(code, 1);
}

static void test_red_checks_are_shown(void **state)
{
    struct err err = {0};
    int code;

    (void)state;
    step_ends(STEP_PREFLIGHT, KPEER_EPREFLIGHT, "this host is not fit");
    ends[STEP_PREFLIGHT].finding_count = 1;
    ends[STEP_PREFLIGHT].findings[0] =
        (struct finding){.check = "swap", .level = FINDING_RED, .detail = "swap is on", .next = "swapoff -a"};
    is(why(ROLE_WORKER, &code, &err), "swap", "swap is on");
    assert_int_equal(code, 1);
}

/* Without facts there is no part to check for. */
static void test_inspect_fails(void **state)
{
    struct err err = {0};
    int code;

    (void)state;
    step_ends(STEP_INSPECT, KPEER_EIO, "the worker of step inspect was ended by signal 9");
    is(why(ROLE_AUTO, &code, &err), "executor", "ended by signal 9");
    assert_int_equal(asked, 1);
}

static void test_interrupt_ends_it(void **state)
{
    struct err err = {0};
    int code;

    (void)state;
    step_ends(STEP_INSPECT, KPEER_ECANCELED, "stopped on request");
    assert_null(why(ROLE_AUTO, &code, &err));
    assert_int_equal(code, KPEER_ECANCELED);
    assert_int_equal(err.code, KPEER_ECANCELED);
    assert_int_equal(asked, 1);
    step_ends(STEP_PREFLIGHT, KPEER_ECANCELED, "stopped on request");
    assert_null(why(ROLE_MASTER, &code, &err));
    assert_int_equal(code, KPEER_ECANCELED);
}

/* ---- the agent ---- */

static void test_silent_agent(void **state)
{
    struct err err = {0};
    json_t *answer;
    int code;

    (void)state;
    agent_runs = true;
    answer = why(ROLE_WORKER, &code, &err);
    assert_string_equal(writer_text(answer, "symptom"), "the agent of node1 does not answer");
    is(answer, "agent", "stopped or stuck");
    status = "{\"healthy\": false, \"signs\": {\"conflict\": \"192.168.56.12\"}}";
    is(why(ROLE_WORKER, &code, &err), "address", "192.168.56.12");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_preflight_fails),   TEST(test_red_checks_are_shown), TEST(test_inspect_fails),
        TEST(test_interrupt_ends_it), TEST(test_silent_agent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
