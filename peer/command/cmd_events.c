#include "peer/command/command.h"
#include "peer/command/progress.h"

static int follow(struct control_client *client, struct progress *p, struct err *err)
{
    while (!command_stopped()) {
        enum control_kind kind = CONTROL_DONE;
        json_t *event = NULL;
        int code = control_next(client, -1, &kind, &event, err);

        if (code == KPEER_ECANCELED)
            break;
        if (!code && kind == CONTROL_EVENT)
            code = progress_event(p, event, true, err);
        json_decref(event);
        if (code || kind == CONTROL_DONE)
            return code;
    }
    return 0;
}

int cmd_events(struct call *call, struct err *err)
{
    const char *since = command_flag(call, "since");
    bool follows = !command_flag(call, "no-follow");
    struct control_client *client = NULL;
    struct progress p;
    uint32_t since_ms = 0;
    int code = since ? config_duration(since, &since_ms, err) : 0;

    if (code)
        return err_wrap(err, "--since");
    /* Without --since, --no-follow would show nothing at all: then everything that is held is meant. */
    if (!since && !follows)
        since_ms = UINT32_MAX;
    progress_init(&p, &call->out);
    p.live = false;
    command_stop_by_signals(); /* ^C is the ordinary end of following */
    code = command_connect(call, &client, err);
    if (!code)
        code = control_request(client, "events",
                               json_pack("{s:o, s:b}", "since_ms",
                                         since_ms ? json_integer(since_ms) : json_null(), "follow", follows),
                               err);
    if (!code)
        code = follow(client, &p, err);
    control_close(client);
    return code;
}
