#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "peer/agent/agent.h"
#include "peer/command/command.h"
#include "peer/log.h"
#include "peer/notify.h"

int cmd_agent(struct call *call, struct err *err)
{
    const char *fd = command_flag(call, "ready-fd");
    int code;

    if (fd) {
        char *end;
        long n = strtol(fd, &end, 10);

        if (*end || n < 3 || n > 1023)
            return err_set(err, KPEER_EINVAL, "--ready-fd: \"%.20s\" is no descriptor", fd);
        notify_use_pipe((int)n);
    }
    if (call->cfg.trust == TRUST_SUBNET)
        log_warn("trust: subnet: whoever is on this subnet may join this group and get its cluster");
    code = agent_run(&call->cfg, err);
    if (code < 0)
        notify_failed(err);
    return code;
}
