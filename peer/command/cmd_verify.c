#include <string.h>

#include "peer/command/command.h"
#include "peer/command/progress.h"
#include "peer/report_checks.h"

#define DEFAULT_MS 120000
#define BEYOND_MS  45000 /* that the agents may take longer than the trial */
#define DRAW_MS    100
#define FAILED     1
#define BY_SIGNAL  130

struct trying {
    struct call *call;
    struct control_client *asks, *events;
    struct progress progress;
    long long begun_ms;
};

/* What the step tells, here or from the master, becomes the live line; other events are for `kpeer events`.
 */
static void watch_events(struct trying *t)
{
    enum control_kind kind;
    json_t *event = NULL;

    while (t->events) {
        int code = control_next(t->events, 0, &kind, &event, NULL);

        if (code == 0 && kind == CONTROL_EVENT && strcmp(writer_text(event, "step"), "verify") == 0 &&
            strcmp(writer_text(event, "event"), "step-progress") == 0)
            progress_set(&t->progress, "verify", writer_text(event, "text"), progress_now_ms() - t->begun_ms);
        json_decref(event);
        event = NULL;
        if (!code && kind == CONTROL_NOTHING)
            return;
        if (code) {
            control_close(t->events);
            t->events = NULL;
        }
    }
}

static int await_answer(struct trying *t, uint32_t timeout_ms, json_t **out, struct err *err)
{
    enum control_kind kind = CONTROL_DATA;
    int code;

    for (;;) {
        watch_events(t);
        progress_draw(&t->progress, NULL);
        code = control_next(t->asks, DRAW_MS, &kind, out, err);
        if (command_stopped() || code || kind != CONTROL_NOTHING)
            break;
        if (progress_now_ms() - t->begun_ms > timeout_ms + BEYOND_MS)
            return err_set(err, KPEER_ETIMEOUT, "the agent does not say how the trial went");
    }
    if (!command_stopped() && !code && kind != CONTROL_DATA)
        code = err_set(err, KPEER_EINVAL, "the agent's answer is malformed");
    return code;
}

static int ask(struct trying *t, uint32_t timeout_ms, struct err *err)
{
    int code = command_connect(t->call, &t->asks, err);

    if (!code)
        code = command_connect(t->call, &t->events, err);
    if (!code)
        code = control_request(t->events, "events", json_pack("{s:n, s:b}", "since_ms", "follow", 1), err);
    if (!code)
        code =
            control_request(t->asks, "verify", json_pack("{s:I}", "timeout_ms", (json_int_t)timeout_ms), err);
    t->begun_ms = progress_now_ms();
    progress_set(&t->progress, "verify", "asking the master", 0);
    return code;
}

static int show(struct trying *t, const json_t *answer, struct err *err)
{
    const struct writer *out = &t->call->out;
    const json_t *checks = json_object_get(answer, "checks");
    bool passed = json_is_true(json_object_get(answer, "passed"));
    int code;

    if (!json_is_array(checks))
        return err_set(err, KPEER_EINVAL, "the agent's answer is malformed");
    code = writer_is_data(out) ? writer_value(out, answer, err) : report_checks_show(out, checks, err);
    if (!code && !writer_is_data(out))
        fprintf(out->to, "\n%s%s%s\n", writer_tint_on(out, passed ? TINT_GOOD : TINT_BAD),
                passed ? "the cluster runs a pod, and its hosts reach it"
                       : "the cluster does not do what it should",
                writer_tint_off(out, TINT_NONE));
    return code ? code : passed ? 0 : FAILED;
}

int cmd_verify(struct call *call, struct err *err)
{
    const char *timeout = command_flag(call, "timeout");
    uint32_t timeout_ms = DEFAULT_MS;
    struct trying t = {.call = call};
    json_t *answer = NULL;
    int code = timeout ? config_duration(timeout, &timeout_ms, err) : 0;

    if (code)
        return err_wrap(err, "--timeout");
    if (timeout_ms < NODE_VERIFY_MIN_MS || timeout_ms > NODE_VERIFY_MAX_MS)
        return err_set(err, KPEER_EINVAL, "--timeout: it is from 20s to 10m");
    progress_init(&t.progress, &call->out);
    command_stop_by_signals();
    code = ask(&t, timeout_ms, err);
    if (!code)
        code = await_answer(&t, timeout_ms, &answer, err);
    progress_end(&t.progress);
    if (command_stopped()) {
        /* That nobody waits any more is what the agent sees, and the test pod is taken away. */
        progress_say(&t.progress, TINT_WARN, "stopped: the test pod is taken away");
        code = BY_SIGNAL;
    } else if (!code) {
        code = show(&t, answer, err);
    }
    json_decref(answer);
    control_close(t.asks);
    control_close(t.events);
    return code;
}
