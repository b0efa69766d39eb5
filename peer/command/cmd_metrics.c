#include "peer/command/command.h"

#define ANSWER_MS 10000

int cmd_metrics(struct call *call, struct err *err)
{
    struct control_client *client = NULL;
    json_t *answer = NULL;
    const char *text;
    int code = command_connect(call, &client, err);

    if (!code)
        code = control_ask(client, "metrics", NULL, ANSWER_MS, &answer, err);
    text = json_string_value(json_object_get(answer, "metrics"));
    if (!code && !text)
        code = err_set(err, KPEER_EINVAL, "the agent's answer has no metrics");
    if (!code && (fputs(text, call->out.to) == EOF || fflush(call->out.to)))
        code = err_set(err, KPEER_EIO, "writing the output failed");
    json_decref(answer);
    control_close(client);
    return code;
}
