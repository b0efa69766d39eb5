#include "peer/command/command.h"
#include "peer/command/rotation.h"

int cmd_evict(struct call *call, struct err *err)
{
    return rotation_ask(call, "evict", json_pack("{s:s}", "member", call->args[0]), err);
}
