#include "peer/executor/turn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#define LOOK_MS 50

/* Not a blocking lock: the wait is to end with the step's time, and at once when the step is stopped. */
static int await(struct exec_ctx *ctx, int fd, const char *path, struct err *err)
{
    bool told = false;

    for (;;) {
        int code;

        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_errno(err, errno, "cannot lock %s", path);
        if (!told)
            exec_say(ctx, "turn", -1, "waiting for the step of an earlier agent to end");
        told = true;
        code = exec_pause(ctx, LOOK_MS, err);
        if (code)
            return err_wrap(err, "waiting for the step of an earlier agent to end");
    }
}

int turn_take(struct exec_ctx *ctx, int *fd, struct err *err)
{
    char path[PATH_MAX];
    int own, code;

    snprintf(path, sizeof(path), "%s/executor/turn", ctx->cfg->state_dir);
    own = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (own < 0)
        return err_errno(err, errno, "cannot open %s", path);
    code = await(ctx, own, path, err);
    if (code)
        close(own);
    else
        *fd = own;
    return code;
}
