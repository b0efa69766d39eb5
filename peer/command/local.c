#include "peer/command/local.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/mem.h"

#define IDLE_MS    100
#define END_MS     20000 /* more than a child's grace time */
#define STEP_ID    1
#define SEND_FLAGS MSG_NOSIGNAL

struct local {
    int fd;
    pid_t pid;
    uint8_t *buf; /* a frame */
    const struct local_watch *watch;
    struct step_result *res;
    bool answered;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

static int send_frame(struct local *l, int code, uint8_t *bytes, size_t n, struct err *err)
{
    if (code == 0 && send(l->fd, bytes, n, SEND_FLAGS) != (ssize_t)n)
        code = err_errno(err, errno, "cannot reach the executor");
    if (bytes)
        sodium_memzero(bytes, n);
    free(bytes);
    return code;
}

static int send_step(struct local *l, const struct step *step, struct err *err)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    int code = step_encode(step, &bytes, &n, err);

    return send_frame(l, code, bytes, n, err);
}

static int send_cancel(struct local *l, struct err *err)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    int code = step_cancel_encode(STEP_ID, &bytes, &n, err);

    return send_frame(l, code, bytes, n, err);
}

static int take_frame(struct local *l, size_t n, struct err *err)
{
    struct step_progress p;
    enum step_frame type;
    int code = step_frame_type(l->buf, n, &type, err);

    if (code == 0 && type == STEP_FRAME_PROGRESS) {
        code = step_progress_decode(l->buf, n, &p, err);
        if (code == 0 && l->watch && l->watch->progress)
            l->watch->progress(l->watch->ctx, &p);
    } else if (code == 0) {
        code = step_result_decode(l->buf, n, l->res, err);
        l->answered = code == 0;
    }
    return code ? err_wrap(err, "the executor's answer is unreadable") : 0;
}

static int take_frames(struct local *l, struct err *err)
{
    int code = 0;

    while (code == 0 && !l->answered) {
        ssize_t n = recv(l->fd, l->buf, STEP_FRAME_MAX + 1, MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n <= 0)
            return err_set(err, KPEER_EIO, "the executor (the root side) ended without an answer");
        code = take_frame(l, (size_t)n, err);
        sodium_memzero(l->buf, (size_t)n);
    }
    return code;
}

static int await_answer(struct local *l, struct err *err)
{
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    bool canceled = false;
    int code = 0;

    while (code == 0 && !l->answered) {
        if (interrupted && !canceled) {
            canceled = true;
            code = send_cancel(l, err);
        }
        if (l->watch && l->watch->idle)
            l->watch->idle(l->watch->ctx);
        if (code == 0 && poll(&p, 1, IDLE_MS) > 0)
            code = take_frames(l, err);
    }
    return code;
}

/* The executor ends its workers in order once its socket is closed. */
static void end(struct local *l)
{
    struct pollfd none = {.fd = -1};

    close(l->fd);
    for (int waited = 0; waited < END_MS; waited += IDLE_MS / 5) {
        pid_t got = waitpid(l->pid, NULL, WNOHANG);

        if (got == l->pid || (got < 0 && errno == ECHILD))
            return;
        poll(&none, 1, IDLE_MS / 5);
    }
    kill(l->pid, SIGKILL);
    waitpid(l->pid, NULL, 0);
}

static int carry_out(struct local *l, const struct step *step, struct err *err)
{
    struct sigaction act = {.sa_handler = on_signal}, on_int, on_term;
    struct step own = *step;
    int code;

    own.id = STEP_ID;
    interrupted = 0;
    sigaction(SIGINT, &act, &on_int);
    sigaction(SIGTERM, &act, &on_term);
    code = send_step(l, &own, err);
    code = code ? code : await_answer(l, err);
    sigaction(SIGINT, &on_int, NULL);
    sigaction(SIGTERM, &on_term, NULL);
    sodium_memzero(&own, sizeof own);
    return code;
}

int local_step(const struct config *cfg, const struct step *step, const struct local_watch *watch,
               struct step_result *res, struct err *err)
{
    struct local l = {.watch = watch, .res = res};
    struct executor_config *own = calloc(1, sizeof *own);
    int code;

    l.buf = malloc(STEP_FRAME_MAX + 1);
    memset(res, 0, sizeof *res);
    if (!own || !l.buf) {
        code = err_set(err, KPEER_ENOMEM, "out of memory");
    } else {
        config_for_executor(cfg, own);
        code = executor_start(own, &l.fd, &l.pid, err);
        if (code == 0) {
            code = carry_out(&l, step, err);
            end(&l);
        }
    }
    free(l.buf);
    free(own);
    return code;
}

int local_outcome(const struct step_result *res, struct err *err)
{
    if (res->code == 0)
        return 0;
    err_set(err, res->code, "%s", res->text);
    return err_hint(err, "%s", res->hint);
}
