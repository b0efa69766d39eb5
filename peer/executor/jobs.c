#include "peer/executor/jobs.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer/executor/context.h"
#include "peer/executor/session.h"
#include "peer/executor/worker.h"
#include "protocol/mem.h"

/* What a worker needs beyond its limit to end its program and say so. */
#define END_MS     (SPAWN_GRACE_MS + SPAWN_LINGER_MS + 2000)
#define SEND_BYTES (2 * STEP_FRAME_MAX)

void jobs_init(struct jobs *jobs, const struct executor_config *cfg,
               void (*tell)(void *ctx, const uint8_t *bytes, size_t n), void *ctx)
{
    memset(jobs, 0, sizeof(*jobs));
    jobs->cfg = cfg;
    jobs->tell = tell;
    jobs->ctx = ctx;
}

static void wipe(uint8_t **bytes, size_t *n)
{
    if (*bytes)
        sodium_memzero(*bytes, *n);
    free(*bytes);
    *bytes = NULL;
    *n = 0;
}

static void drop_step(struct job *job)
{
    wipe(&job->frame, &job->frame_bytes);
    sodium_memzero(&job->step, sizeof(job->step));
}

void jobs_told(struct job *job)
{
    drop_step(job);
    wipe(&job->result, &job->result_bytes);
    if (job->fd >= 0)
        close(job->fd);
    memset(job, 0, sizeof(*job));
}

void jobs_fini(struct jobs *jobs)
{
    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (jobs->job[i].state != JOB_FREE)
            jobs_told(&jobs->job[i]);
    }
}

/* Ends a job with a failure that the worker could not tell itself. */
static void fail(struct job *job, const struct err *e)
{
    struct step_result result;

    worker_fail(&result, job->id, job->kind, e);
    result.took_ms = job->begun_ms ? (uint32_t)(clock_ms() - job->begun_ms) : 0;
    wipe(&job->result, &job->result_bytes);
    if (step_result_encode(&result, &job->result, &job->result_bytes, NULL))
        fprintf(stderr, "kpeer executor: cannot tell how step %u ended\n", job->id);
    job->state = JOB_DONE;
    drop_step(job);
}

static struct job *find(struct jobs *jobs, uint32_t id)
{
    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (jobs->job[i].state != JOB_FREE && jobs->job[i].id == id)
            return &jobs->job[i];
    }
    return NULL;
}

static struct job *find_free(struct jobs *jobs)
{
    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (jobs->job[i].state == JOB_FREE)
            return &jobs->job[i];
    }
    return NULL;
}

int jobs_add(struct jobs *jobs, const uint8_t *bytes, size_t n, struct err *err)
{
    cleanup_free uint8_t *copy = malloc(n ? n : 1);
    struct job *job = find_free(jobs);
    struct err refusal = {0};
    struct step step;
    int code;

    if (!copy)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    memcpy(copy, bytes, n);
    code = step_decode(copy, n, &step, err);
    if (code == 0 && find(jobs, step.id))
        code = err_set(err, KPEER_EINVAL, "step number %u is in use", step.id);
    if (code == 0 && !job)
        code = err_set(err, KPEER_ELIMIT, "more than %d steps at once", JOBS_MAX);
    if (code) {
        sodium_memzero(copy, n);
        return code;
    }
    *job = (struct job){.state = JOB_QUEUED,
                        .order = jobs->next_order++,
                        .id = step.id,
                        .kind = step.kind,
                        .frame = copy,
                        .frame_bytes = n,
                        .step = step,
                        .fd = -1};
    copy = NULL;
    if (step_check(&job->step, &refusal))
        fail(job, &refusal);
    sodium_memzero(&step, sizeof(step));
    return 0;
}

static void tell_to_end(struct job *job, int why)
{
    if (job->kill_ms)
        return;
    job->why = why;
    job->kill_ms = clock_ms() + END_MS;
    if (!job->reaped)
        kill(job->pid, SIGTERM);
}

static void cancel(struct job *job)
{
    struct err e = {0};

    if (job->state == JOB_RUNNING) {
        tell_to_end(job, KPEER_ECANCELED);
    } else if (job->state == JOB_QUEUED) {
        err_set(&e, KPEER_ECANCELED, "step %s was stopped before it began", step_word(job->kind));
        fail(job, &e);
    }
}

void jobs_cancel(struct jobs *jobs, uint32_t id)
{
    struct job *job = find(jobs, id);

    if (job)
        cancel(job);
}

void jobs_cancel_all(struct jobs *jobs)
{
    for (size_t i = 0; i < JOBS_MAX; i++)
        cancel(&jobs->job[i]);
}

static void on_term(int signal_number)
{
    (void)signal_number;
    spawn_cancel();
}

/* A frame to the executor; the worker waits until it is taken. */
static void send_frame(int fd, const uint8_t *bytes, size_t n)
{
    while (send(fd, bytes, n, MSG_NOSIGNAL) < 0 && errno == EINTR) {
    }
}

static void send_progress(void *arg, const struct step_progress *p)
{
    uint8_t *bytes = NULL;
    size_t n;

    if (step_progress_encode(p, &bytes, &n, NULL) == 0)
        send_frame(*(int *)arg, bytes, n);
    free(bytes);
}

static void send_result(int fd, struct step_result *result)
{
    struct err err = {0};
    uint8_t *bytes = NULL;
    size_t n = 0;

    if (step_result_encode(result, &bytes, &n, &err)) {
        struct step_result failed;

        err_wrap(&err, "the answer of step %s", step_word(result->kind));
        worker_fail(&failed, result->id, result->kind, &err);
        step_result_encode(&failed, &bytes, &n, NULL);
    }
    if (bytes)
        send_frame(fd, bytes, n);
    wipe(&bytes, &n);
}

/* The worker: keeps its descriptor alone, and ends in order when it is told to or the executor is gone. */
static void worker_main(const struct jobs *jobs, const struct job *job, int fd, pid_t executor)
{
    struct sigaction on = {.sa_handler = on_term};
    struct step_result result;
    sigset_t none;

    setsid();
    sigaction(SIGTERM, &on, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_NAME, "kpeer-step");
    if (getppid() != executor)
        _exit(1);
    if (fd > 3)
        close_range(3, (unsigned)fd - 1, 0);
    close_range((unsigned)fd + 1, UINT_MAX, 0);
    worker_run(jobs->cfg, &job->step, send_progress, &fd, &result);
    send_result(fd, &result);
    step_result_fini(&result);
    _exit(0);
}

static void start(struct jobs *jobs, struct job *job)
{
    int size = SEND_BYTES, pair[2];
    pid_t executor = getpid();
    struct err e = {0};

    job->begun_ms = clock_ms();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
        err_errno(&e, errno, "cannot start step %s", step_word(job->kind));
        fail(job, &e);
        return;
    }
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    job->pid = fork();
    if (job->pid == 0)
        worker_main(jobs, job, pair[1], executor);
    close(pair[1]);
    if (job->pid < 0) {
        err_errno(&e, errno, "cannot start step %s", step_word(job->kind));
        close(pair[0]);
        fail(job, &e);
        return;
    }
    job->fd = pair[0];
    job->state = JOB_RUNNING;
    job->end_ms = job->begun_ms + worker_limit_ms(&job->step) + END_MS;
    drop_step(job);
}

/* A step that changes the host waits for each such step that came before it. */
static bool may_start(const struct jobs *jobs, const struct job *job)
{
    if (!worker_changes_host(job->kind))
        return true;
    for (size_t i = 0; i < JOBS_MAX; i++) {
        const struct job *other = &jobs->job[i];

        if ((other->state == JOB_RUNNING || other->state == JOB_QUEUED) && other->order < job->order &&
            worker_changes_host(other->kind))
            return false;
    }
    return true;
}

void jobs_start(struct jobs *jobs)
{
    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (jobs->job[i].state == JOB_QUEUED && may_start(jobs, &jobs->job[i]))
            start(jobs, &jobs->job[i]);
    }
}

/* Passes on what a worker says, if it is what a worker may say of its own step. */
static void take_frame(struct jobs *jobs, struct job *job, const uint8_t *bytes, size_t n)
{
    struct step_result result;
    struct step_progress p;
    enum step_frame type;

    if (step_frame_type(bytes, n, &type, NULL))
        return;
    if (type == STEP_FRAME_PROGRESS && step_progress_decode(bytes, n, &p, NULL) == 0 && p.id == job->id) {
        jobs->tell(jobs->ctx, bytes, n);
    } else if (type == STEP_FRAME_RESULT && !job->result &&
               step_result_decode(bytes, n, &result, NULL) == 0) {
        if (result.id == job->id && result.kind == job->kind && (job->result = malloc(n)) != NULL) {
            memcpy(job->result, bytes, n);
            job->result_bytes = n;
        }
        step_result_fini(&result);
    }
}

/* Reads one frame of a worker; false at its end or when there is none now. */
static bool read_frame(struct jobs *jobs, struct job *job)
{
    static uint8_t bytes[STEP_FRAME_MAX];
    ssize_t n = recv(job->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        close(job->fd);
        job->fd = -1;
        return false;
    }
    take_frame(jobs, job, bytes, (size_t)n);
    sodium_memzero(bytes, (size_t)n);
    return true;
}

/* The worker is gone: its own answer counts, else how it ended. */
static void conclude(struct jobs *jobs, struct job *job)
{
    const char *word = step_word(job->kind);
    struct err e = {0};

    while (job->fd >= 0 && read_frame(jobs, job)) {
    }
    if (job->why || !job->result)
        session_kill(job->pid);
    if (job->result) {
        job->state = JOB_DONE;
        return;
    }
    if (job->why == KPEER_ECANCELED)
        err_set(&e, job->why, "step %s was stopped by force", word);
    else if (job->why == KPEER_ETIMEOUT)
        err_set(&e, job->why, "step %s did not end in its time and was stopped by force", word);
    else if (WIFSIGNALED(job->status))
        err_set(&e, KPEER_EIO, "the worker of step %s was ended by signal %d (%s)", word,
                WTERMSIG(job->status), strsignal(WTERMSIG(job->status)));
    else
        err_set(&e, KPEER_EIO, "the worker of step %s ended with status %d and no answer", word,
                WEXITSTATUS(job->status));
    fail(job, &e);
}

void jobs_reap(struct jobs *jobs)
{
    for (size_t i = 0; i < JOBS_MAX; i++) {
        struct job *job = &jobs->job[i];

        if (job->state != JOB_RUNNING || waitpid(job->pid, &job->status, WNOHANG) != job->pid)
            continue;
        job->reaped = true;
        conclude(jobs, job);
    }
}

int jobs_tick(struct jobs *jobs)
{
    uint64_t now = clock_ms(), next = UINT64_MAX;

    for (size_t i = 0; i < JOBS_MAX; i++) {
        struct job *job = &jobs->job[i];

        if (job->state != JOB_RUNNING)
            continue;
        if (!job->kill_ms && now >= job->end_ms)
            tell_to_end(job, KPEER_ETIMEOUT);
        if (job->kill_ms && now >= job->kill_ms) {
            session_kill(job->pid);
            job->kill_ms = now + END_MS;
        }
        if (job->kill_ms && job->kill_ms < next)
            next = job->kill_ms;
        if (!job->kill_ms && job->end_ms < next)
            next = job->end_ms;
    }
    return next == UINT64_MAX ? -1 : next - now < INT_MAX ? (int)(next - now) : INT_MAX;
}

size_t jobs_poll(const struct jobs *jobs, struct pollfd fds[static JOBS_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (jobs->job[i].state == JOB_RUNNING && jobs->job[i].fd >= 0)
            fds[count++] = (struct pollfd){.fd = jobs->job[i].fd, .events = POLLIN};
    }
    return count;
}

void jobs_read(struct jobs *jobs, const struct pollfd *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; fds[i].revents && k < JOBS_MAX; k++) {
            struct job *job = &jobs->job[k];

            if (job->state == JOB_RUNNING && job->fd == fds[i].fd) {
                read_frame(jobs, job);
                break;
            }
        }
    }
}

struct job *jobs_done(struct jobs *jobs)
{
    struct job *first = NULL;

    for (size_t i = 0; i < JOBS_MAX; i++) {
        struct job *job = &jobs->job[i];

        if (job->state == JOB_DONE && (!first || job->order < first->order))
            first = job;
    }
    return first;
}

bool jobs_running(const struct jobs *jobs)
{
    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (jobs->job[i].state == JOB_RUNNING)
            return true;
    }
    return false;
}
