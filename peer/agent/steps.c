/* The agent's end of the socket pair to the executor. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer/agent/agent_state.h"
#include "peer/log.h"
#include "protocol/step.h"

#define SEND_WAIT_MS   5000  /* the executor's loop never blocks: longer than that means it hangs */
#define STOP_WAIT_MS   20000 /* more than a child's grace time */
#define FRAMES_AT_ONCE 64
#define REAP_LOOK_MS   20

static int send_frame(const struct agent *a, const uint8_t *bytes, size_t n, struct err *err)
{
    for (;;) {
        struct pollfd p = {.fd = a->executor_fd, .events = POLLOUT};
        if (send(a->executor_fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)n)
            return 0;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return err_errno(err, errno, "cannot reach the executor");
        if (poll(&p, 1, SEND_WAIT_MS) == 0)
            return err_set(err, KPEER_ETIMEOUT, "the executor takes no orders");
    }
}

int agent_step_run(struct agent *a, const struct step *step, struct err *err)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    int rc = step_encode(step, &bytes, &n, err);
    if (rc)
        return rc;
    rc = send_frame(a, bytes, n, err);
    sodium_memzero(bytes, n); /* it may hold a token */
    free(bytes);
    return rc;
}

int agent_step_cancel(struct agent *a, uint32_t id, struct err *err)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    int rc = step_cancel_encode(id, &bytes, &n, err);
    if (!rc)
        rc = send_frame(a, bytes, n, err);
    free(bytes);
    return rc;
}

static int take_progress(struct agent *a, const uint8_t *bytes, size_t n, struct err *err)
{
    struct step_progress p;
    int rc = step_progress_decode(bytes, n, &p, err);
    if (rc)
        return rc;
    log_debug("%s: %s%s%s", step_word(p.kind), p.phase, p.phase[0] && p.line[0] ? ": " : "", p.line);
    struct node_event ev = {.kind = EV_STEP_PROGRESS, .progress = &p};
    agent_feed(a, &ev);
    return 0;
}

static int take_result(struct agent *a, const uint8_t *bytes, size_t n, struct err *err)
{
    struct step_result *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, KPEER_ENOMEM, "no memory for a step's result");
    int rc = step_result_decode(bytes, n, r, err);
    if (!rc) {
        struct node_event ev = {.kind = EV_STEP_DONE, .result = r};
        agent_feed(a, &ev);
        step_result_fini(r);
    }
    sodium_memzero(r, sizeof *r);
    free(r);
    return rc;
}

static int take_frame(struct agent *a, const uint8_t *bytes, size_t n, struct err *err)
{
    enum step_frame type;
    int rc = step_frame_type(bytes, n, &type, err);
    if (!rc && type == STEP_FRAME_PROGRESS)
        return take_progress(a, bytes, n, err);
    if (!rc && type == STEP_FRAME_RESULT)
        return take_result(a, bytes, n, err);
    return rc ? rc : err_set(err, KPEER_EINVAL, "the executor sent what only the agent may send");
}

/* What became of the executor, in words. */
static void executor_ended(struct agent *a)
{
    struct err e = {0};
    int status = 0;
    struct pollfd none = {.fd = -1};
    for (int i = 0; i < 50 && a->executor > 0; i++) {
        if (waitpid(a->executor, &status, WNOHANG) == a->executor) {
            a->executor = -1;
            break;
        }
        poll(&none, 1, REAP_LOOK_MS);
    }
    if (a->executor > 0)
        err_set(&e, KPEER_EIO, "the executor (the root side) closed its socket");
    else if (WIFSIGNALED(status))
        err_set(&e, KPEER_EIO, "the executor (the root side) was ended by signal %d (%s)", WTERMSIG(status),
                strsignal(WTERMSIG(status)));
    else
        err_set(&e, KPEER_EIO, "the executor (the root side) ended by itself with status %d",
                WEXITSTATUS(status));
    err_hint(&e, "start the agent again; the journal tells it where it was");
    agent_fail(a, &e);
}

void agent_step_ready(void *ctx)
{
    struct agent *a = ctx;
    struct err e = {0};
    uint8_t *buf = malloc(STEP_FRAME_MAX + 1);
    if (!buf) {
        err_set(&e, KPEER_ENOMEM, "no memory for the executor's answer");
        agent_fail(a, &e);
        return;
    }
    for (int i = 0; i < FRAMES_AT_ONCE && !a->stop; i++) {
        ssize_t n = recv(a->executor_fd, buf, STEP_FRAME_MAX + 1, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n <= 0) {
            executor_ended(a);
            break;
        }
        if (take_frame(a, buf, (size_t)n, &e)) {
            err_wrap(&e, "the executor's answer is unreadable");
            agent_fail(a, &e);
        }
        sodium_memzero(buf, (size_t)n);
    }
    free(buf);
}

void agent_executor_stop(struct agent *a)
{
    struct pollfd none = {.fd = -1};
    if (a->executor_fd >= 0)
        close(a->executor_fd);
    a->executor_fd = -1;
    for (int waited = 0; a->executor > 0 && waited < STOP_WAIT_MS; waited += REAP_LOOK_MS) {
        pid_t got = waitpid(a->executor, NULL, WNOHANG);
        if (got == a->executor || (got < 0 && errno == ECHILD)) {
            a->executor = -1;
            return;
        }
        poll(&none, 1, REAP_LOOK_MS);
    }
    if (a->executor > 0) {
        /* Only possible without root to drop; otherwise the kernel refuses and init reaps it. */
        log_warn("the executor did not end within %d s", STOP_WAIT_MS / 1000);
        if (kill(a->executor, SIGKILL) == 0)
            waitpid(a->executor, NULL, 0);
        a->executor = -1;
    }
}
