#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "peer/command/command.h"
#include "peer/command/daemon.h"
#include "peer/command/progress.h"

#define DEFAULT_MS 600000
#define STOP_MS    15000
#define DRAW_MS    100

struct leaving {
    struct control_client *asks, *events;
    struct progress progress;
    long long until_ms;
};

/* Shows what happens for a moment. The stream may end before the answer comes: that is no error. */
static void show_events(struct leaving *l)
{
    enum control_kind kind;
    json_t *event = NULL;
    int wait_ms = DRAW_MS;

    while (l->events && wait_ms >= 0) {
        int code = control_next(l->events, wait_ms, &kind, &event, NULL);

        if (code == 0 && kind == CONTROL_EVENT)
            progress_event(&l->progress, event, false, NULL);
        if (code) {
            control_close(l->events);
            l->events = NULL;
        }
        json_decref(event);
        event = NULL;
        wait_ms = code || kind == CONTROL_NOTHING ? -1 : 0;
    }
    progress_draw(&l->progress, NULL);
}

/* The answer to `leave` comes when all is done, or cannot be. */
static int await_answer(struct leaving *l, struct err *err)
{
    enum control_kind kind = CONTROL_DATA;

    for (;;) {
        json_t *data = NULL;
        int code = control_next(l->asks, l->events ? 0 : DRAW_MS, &kind, &data, err);

        json_decref(data);
        if (command_stopped())
            return KPEER_ECANCELED;
        if (code == 0 && kind == CONTROL_DONE)
            return 0;
        if (code)
            return code;
        if (progress_now_ms() >= l->until_ms) {
            err_set(err, KPEER_ETIMEOUT, "leaving did not end in time; the agent goes on with it");
            return err_hint(err,
                            "come back with: sudo kpeer leave; or this host alone: sudo kpeer leave --force");
        }
        show_events(l);
    }
}

/* The agent stops by itself after it said goodbye. */
static int await_end(struct leaving *l, struct err *err)
{
    long long until = progress_now_ms() + STOP_MS;
    enum control_kind kind;

    for (;;) {
        json_t *data = NULL;
        int code = control_next(l->asks, DRAW_MS, &kind, &data, NULL);

        json_decref(data);
        if (command_stopped())
            return KPEER_ECANCELED;
        if (code)
            return 0;
        if (progress_now_ms() >= until)
            return err_set(err, KPEER_ETIMEOUT, "this host has left, but its agent does not stop");
        show_events(l);
    }
}

static int ask_leave(struct call *call, struct leaving *l, struct err *err)
{
    int code = command_connect(call, &l->asks, err);

    if (!code)
        code = command_connect(call, &l->events, err);
    if (!code)
        code = control_request(l->events, "events", json_pack("{s:n, s:b}", "since_ms", "follow", 1), err);
    if (!code)
        code = control_request(l->asks, "leave",
                               json_pack("{s:b}", "force", command_flag(call, "force") != NULL), err);
    progress_set(&l->progress, "leaving", "", 0);
    return code;
}

/* Its folder stays: where there is none, no agent of this state folder has ever been. */
static bool has_left(const struct config *cfg)
{
    char folder[CONFIG_PATH_BYTES + 16], identity[CONFIG_PATH_BYTES + 32];

    snprintf(folder, sizeof folder, "%s/agent", cfg->state_dir);
    snprintf(identity, sizeof identity, "%s/identity", folder);
    return access(folder, F_OK) == 0 && access(identity, F_OK) != 0 && errno == ENOENT;
}

static int leave(struct call *call, struct leaving *l, struct err *err)
{
    int code = ask_leave(call, l, err);

    /* A `leave` before this one did not see its end: the agent has left and stopped, and its unit would start
     * another one, as a new member, at the next boot. */
    if (code == KPEER_ENOAGENT && daemon_is_set_up(&call->cfg)) {
        if (has_left(&call->cfg) && !daemon_runs(&call->cfg))
            return 0;
        err_hint(err, "was `kpeer up` given a --state-dir or --run-dir? Repeat them; else: sudo kpeer up");
    }
    command_stop_by_signals();
    if (!code)
        code = await_answer(l, err);
    if (!code)
        code = await_end(l, err);
    progress_end(&l->progress);
    if (!command_stopped())
        return code == KPEER_EIO && has_left(&call->cfg) ? 0 : code; /* it stopped before it could answer */
    progress_say(&l->progress, TINT_WARN,
                 "detached: the agent goes on leaving. Come back with: sudo kpeer leave, which also takes "
                 "its unit away");
    return COMMAND_DETACHED;
}

static void tell_left(struct leaving *l)
{
    if (writer_is_data(l->progress.out)) {
        json_t *line = json_pack("{s:b}", "left", 1);

        writer_line(l->progress.out, line, NULL);
        json_decref(line);
    }
    progress_say(&l->progress, TINT_GOOD, "this host has left the group, and what kpeer changed is put back");
}

int cmd_leave(struct call *call, struct err *err)
{
    const char *timeout = command_flag(call, "timeout");
    uint32_t timeout_ms = DEFAULT_MS;
    struct leaving l = {0};
    int code = timeout ? config_duration(timeout, &timeout_ms, err) : 0;

    if (code)
        return err_wrap(err, "--timeout");
    l.until_ms = progress_now_ms() + timeout_ms;
    progress_init(&l.progress, &call->out);
    code = leave(call, &l, err);
    if (!code)
        code = daemon_remove(&call->cfg, err);
    if (!code)
        tell_left(&l);
    control_close(l.asks);
    control_close(l.events);
    return code;
}
