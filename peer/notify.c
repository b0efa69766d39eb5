#include "peer/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* What goes through the pipe of `kpeer up`: the error as it is; code 0 is readiness. Both ends are one
 * program on one host, so the struct itself will do. */
static int pipe_fd = -1;

void notify_use_pipe(int fd)
{
    pipe_fd = fd;
    if (fd >= 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void tell_pipe(const struct err *e)
{
    if (pipe_fd < 0)
        return;
    /* Smaller than PIPE_BUF, so it goes whole or not at all; without a reader there is nobody to tell. */
    if (write(pipe_fd, e, sizeof *e) < 0)
        errno = 0;
    close(pipe_fd);
    pipe_fd = -1;
}

static int systemd_fd = -1;

void notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n;

    if (systemd_fd >= 0 || !path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof to.sun_path)
        return;
    n = strlen(path);
    memcpy(to.sun_path, path, n);
    if (to.sun_path[0] == '@')
        to.sun_path[0] = '\0';
    systemd_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (systemd_fd >= 0 && connect(systemd_fd, (struct sockaddr *)&to,
                                   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n))) {
        close(systemd_fd);
        systemd_fd = -1;
    }
}

static void tell_systemd(const char *state)
{
    notify_open();
    if (systemd_fd >= 0 && send(systemd_fd, state, strlen(state), MSG_NOSIGNAL) < 0)
        errno = 0; /* systemd will tell by its own time limit */
}

void notify_ready(void)
{
    static const struct err ready;

    tell_systemd("READY=1");
    tell_pipe(&ready);
}

void notify_stopping(void)
{
    tell_systemd("STOPPING=1");
}

void notify_failed(const struct err *e)
{
    struct err copy;

    /* No bytes of the stack behind the text's end. */
    memset(&copy, 0, sizeof copy);
    copy.code = e->code ? e->code : KPEER_EIO;
    snprintf(copy.text, sizeof copy.text, "%s", e->text);
    snprintf(copy.hint, sizeof copy.hint, "%s", e->hint);
    tell_pipe(&copy);
}

static int wait_readable(int fd, int timeout_ms, struct err *err)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct timespec now;
    long long end;

    clock_gettime(CLOCK_MONOTONIC, &now);
    end = now.tv_sec * 1000LL + now.tv_nsec / 1000000 + timeout_ms;
    for (;;) {
        long long left;
        int n;

        clock_gettime(CLOCK_MONOTONIC, &now);
        left = end - (now.tv_sec * 1000LL + now.tv_nsec / 1000000);
        n = poll(&p, 1, left > 0 ? (int)left : 0);
        if (n > 0)
            return 0;
        if (n == 0)
            return err_set(err, KPEER_ETIMEOUT, "the agent did not start within %d s", timeout_ms / 1000);
        if (errno != EINTR)
            return err_errno(err, errno, "waiting for the agent");
    }
}

int notify_wait(int fd, int timeout_ms, struct err *err)
{
    struct err told;
    ssize_t n;
    int code = wait_readable(fd, timeout_ms, err);

    if (code)
        return code;
    do
        n = read(fd, &told, sizeof told);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof told)
        return err_set(err, KPEER_EIO, "the agent ended while it started, without a word");
    told.text[sizeof told.text - 1] = '\0';
    told.hint[sizeof told.hint - 1] = '\0';
    if (told.code && err)
        *err = told;
    return told.code;
}
