#include "peer/executor/executor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/executor/answers.h"
#include "peer/executor/context.h"
#include "peer/executor/jobs.h"
#include "protocol/step.h"

#define SEND_BYTES  (8 * STEP_FRAME_MAX)
#define LOG_REFUSED 16 /* so many refused frames are logged one by one, further ones are counted */

struct executor {
    int fd; /* to the agent; -1 once it is gone */
    int signal_fd;
    bool closing;
    struct jobs jobs;
};

/* Progress that the agent does not take at once is lost; results are not told this way. */
static void tell_agent(void *ctx, const uint8_t *bytes, size_t n)
{
    struct executor *x = ctx;

    if (x->fd >= 0)
        send(x->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Tells results for as long as the agent takes them; true when one must wait. */
static bool tell_results(struct executor *x)
{
    struct job *job;

    while ((job = jobs_done(&x->jobs)) != NULL) {
        if (x->fd >= 0 && job->result &&
            send(x->fd, job->result, job->result_bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
            (errno == EAGAIN || errno == EINTR || errno == ENOBUFS))
            return true;
        jobs_told(job);
    }
    return false;
}

static void refuse(struct executor *x, const struct err *e)
{
    x->jobs.refused++;
    if (x->jobs.refused <= LOG_REFUSED)
        fprintf(stderr, "kpeer executor: dropped a frame of the agent: %s\n", e->text);
    if (x->jobs.refused == LOG_REFUSED)
        fprintf(stderr, "kpeer executor: further ones are dropped without a word\n");
}

static void take_frame(struct executor *x, const uint8_t *bytes, size_t n)
{
    enum step_frame type = 0;
    struct err e = {0};
    uint32_t id = 0;
    int code = step_frame_type(bytes, n, &type, &e);

    if (code == 0 && type == STEP_FRAME_STEP)
        code = jobs_add(&x->jobs, bytes, n, &e);
    else if (code == 0 && type == STEP_FRAME_CANCEL)
        code = step_cancel_decode(bytes, n, &id, &e);
    else if (code == 0)
        code = err_set(&e, KPEER_EINVAL, "a frame of a type that the agent does not send");
    if (code)
        refuse(x, &e);
    else if (type == STEP_FRAME_CANCEL)
        jobs_cancel(&x->jobs, id);
}

/* The agent is gone, or somebody ends us: end the workers in order. */
static void begin_closing(struct executor *x)
{
    x->closing = true;
    jobs_cancel_all(&x->jobs);
}

static void read_agent(struct executor *x)
{
    static uint8_t bytes[STEP_FRAME_MAX];
    struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t n = recvmsg(x->fd, &msg, MSG_DONTWAIT);
    struct err e = {0};

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close(x->fd);
        x->fd = -1;
        begin_closing(x);
        return;
    }
    if (msg.msg_flags & MSG_TRUNC) {
        err_set(&e, KPEER_ELIMIT, "it is larger than %d bytes", STEP_FRAME_MAX);
        refuse(x, &e);
    } else if (!x->closing) {
        take_frame(x, bytes, (size_t)n);
    }
    sodium_memzero(bytes, (size_t)n); /* no more, or all of it were memory that no frame has ever used */
}

static void read_signals(struct executor *x)
{
    struct signalfd_siginfo info;

    while (read(x->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo != SIGCHLD)
            begin_closing(x);
    }
}

static void loop(struct executor *x)
{
    struct pollfd fds[2 + JOBS_MAX];

    for (;;) {
        bool waiting;
        size_t count;
        int wait;

        jobs_reap(&x->jobs);
        jobs_start(&x->jobs);
        waiting = tell_results(x);
        if (x->closing && !jobs_running(&x->jobs))
            return;
        wait = jobs_tick(&x->jobs);
        fds[0] = (struct pollfd){.fd = x->fd,
                                 .events = (short)((x->closing ? 0 : POLLIN) | (waiting ? POLLOUT : 0))};
        fds[1] = (struct pollfd){.fd = x->signal_fd, .events = POLLIN};
        count = jobs_poll(&x->jobs, fds + 2);
        if (poll(fds, 2 + count, wait) <= 0)
            continue;
        if (fds[1].revents)
            read_signals(x);
        jobs_read(&x->jobs, fds + 2, count);
        if (fds[0].revents & (POLLIN | POLLHUP | POLLERR) && x->fd >= 0)
            read_agent(x);
    }
}

static int open_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_SETMASK, &set, NULL))
        return -1;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Leaves behind what the agent's process had: its descriptors, its terminal, its signals. */
static int settle(struct executor *x, int fd)
{
    struct rlimit no_core = {0, 0};
    int null;

    setsid();
    prctl(PR_SET_NAME, "kpeer-executor");
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_DUMPABLE, 0);
    setrlimit(RLIMIT_CORE, &no_core);
    umask(022);
    if (chdir("/"))
        return -1;
    if (fd != 3 && dup2(fd, 3) < 0)
        return -1;
    close_range(4, UINT_MAX, 0);
    fcntl(3, F_SETFD, FD_CLOEXEC);
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
        return -1;
    close(null);
    x->fd = 3;
    x->signal_fd = open_signals();
    return x->signal_fd < 0 ? -1 : 0;
}

static void __attribute__((noreturn)) executor_main(const struct executor_config *cfg, int fd, pid_t agent)
{
    static struct executor x;
    int size = SEND_BYTES;

    if (settle(&x, fd) || sodium_init() < 0) {
        fprintf(stderr, "kpeer executor: cannot set itself up: %s\n", strerror(errno));
        _exit(1);
    }
    if (getppid() != agent)
        _exit(0); /* it died before it could have been noticed */
    setsockopt(x.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    answers_open();
    jobs_init(&x.jobs, cfg, tell_agent, &x);
    loop(&x);
    if (x.jobs.refused)
        fprintf(stderr, "kpeer executor: dropped %llu frames of the agent in all\n",
                (unsigned long long)x.jobs.refused);
    jobs_fini(&x.jobs);
    _exit(0);
}

static int check_config(const struct executor_config *cfg, struct err *err)
{
    if (cfg->state_dir[0] != '/')
        return err_set(err, KPEER_EINVAL, "the state folder %s is not an absolute path", cfg->state_dir);
    if (cfg->ignore_count > EXECUTOR_IGNORE_MAX)
        return err_set(err, KPEER_EINVAL, "more than %d preflight errors to ignore", EXECUTOR_IGNORE_MAX);
    for (size_t i = 0; i < TOOL_COUNT; i++) {
        if (cfg->tools[i][0] && cfg->tools[i][0] != '/')
            return err_set(err, KPEER_EINVAL, "the path %s of %s is not absolute", cfg->tools[i],
                           executor_tool_name((enum executor_tool)i));
    }
    return 0;
}

int executor_start(const struct executor_config *cfg, int *agent_fd, pid_t *pid, struct err *err)
{
    int pair[2], size = SEND_BYTES, code = check_config(cfg, err);
    pid_t agent = getpid(), child;

    if (code)
        return code;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return err_errno(err, errno, "cannot make a socket pair for the executor");
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    child = fork();
    if (child == 0)
        executor_main(cfg, pair[1], agent);
    close(pair[1]);
    if (child < 0) {
        close(pair[0]);
        return err_errno(err, errno, "cannot start the executor");
    }
    *agent_fd = pair[0];
    *pid = child;
    return 0;
}
