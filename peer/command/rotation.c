#include "peer/command/rotation.h"

#define ANSWER_MS 90000 /* a rotation itself takes a minute at most */

int rotation_ask(struct call *call, const char *what, json_t *args, struct err *err)
{
    struct control_client *client = NULL;
    json_t *answer = NULL;
    int code = command_connect(call, &client, err);

    if (code)
        json_decref(args);
    else
        code = control_ask(client, what, args, ANSWER_MS, &answer, err);
    if (!code && writer_is_data(&call->out))
        code = writer_value(&call->out, answer, err);
    else if (!code)
        fprintf(call->out.to, "%s\n", writer_text(answer, "message"));
    json_decref(answer);
    control_close(client);
    return code;
}
