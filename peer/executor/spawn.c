#include "peer/executor/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "peer/executor/answers.h"
#include "protocol/clock.h"
#include "protocol/mem.h"
#include "protocol/pack.h"

#define ENV_FIXED      3    /* PATH, HOME, LANG */
#define LINE_RAW_BYTES 1024 /* what is kept of a line before it is escaped and cut */
#define LOOK_MS        20   /* between two looks whether a program has ended, without pidfd */

static volatile sig_atomic_t canceled;
static volatile sig_atomic_t cancel_fd = -1;

struct stream {
    int fd; /* -1 once it is at its end */
    bool is_stderr;
    char *kept;
    size_t used, room;
    char line[LINE_RAW_BYTES];
    size_t line_used;
};

struct run {
    const struct spawn_request *req;
    struct spawn_result *res;
    struct stream out, err;
    pid_t pid;
    int pidfd; /* -1 where what stands before the kernel does not know it: a container's filter, valgrind */
    bool reaped;
    int why;            /* 0, or the code for which it is being ended */
    uint64_t end_ms;    /* when it is told to end; 0: never */
    uint64_t kill_ms;   /* when it is killed; 0: not yet told */
    uint64_t linger_ms; /* after the reaping: how long the pipes may stay open */
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void spawn_cancel(void)
{
    uint64_t one = 1;
    int saved = errno;

    canceled = 1;
    if (cancel_fd >= 0 && write(cancel_fd, &one, sizeof(one)) < 0) {
        /* The counter is full only when it was told before. */
    }
    errno = saved;
}

bool spawn_canceled(void)
{
    return canceled;
}

void spawn_uncancel(void)
{
    uint64_t times;

    canceled = 0;
    if (cancel_fd >= 0 && read(cancel_fd, &times, sizeof(times)) < 0) {
        /* Nobody was woken yet. */
    }
}

/* The descriptor that wakes a wait when spawn_cancel is called; it stays readable from then on. */
static int cancel_open(struct err *err)
{
    if (cancel_fd >= 0)
        return 0;
    cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (cancel_fd < 0)
        return err_errno(err, errno, "cannot make an event descriptor");
    return 0;
}

int spawn_pause(uint32_t ms, struct err *err)
{
    uint64_t end = clock_ms() + ms;
    int code = cancel_open(err);

    if (code)
        return code;
    while (!canceled) {
        struct pollfd p = {.fd = cancel_fd, .events = POLLIN};
        uint64_t now = clock_ms();

        if (now >= end)
            return 0;
        poll(&p, 1, (int)(end - now < INT_MAX ? end - now : INT_MAX));
    }
    return err_set(err, KPEER_ECANCELED, "stopped on request");
}

void spawn_escape(char *dst, size_t dst_bytes, const char *src, size_t n)
{
    const uint8_t *s = (const uint8_t *)src;
    size_t used = 0;

    for (size_t i = 0; i < n;) {
        size_t unit = pack_text_unit(s + i, n - i);
        char escaped[5];
        const char *from = src + i;
        size_t bytes = unit ? unit : 4;

        if (!unit && s[i] == '\t') {
            from = " ";
            bytes = 1;
        } else if (!unit) {
            snprintf(escaped, sizeof(escaped), "\\x%02x", s[i]);
            from = escaped;
        }
        if (used + bytes + 1 > dst_bytes)
            break;
        memcpy(dst + used, from, bytes);
        used += bytes;
        i += unit ? unit : 1;
    }
    if (dst_bytes)
        dst[used] = 0;
}

static bool is_program(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

int spawn_find(const char *program, char *path, size_t path_bytes, struct err *err)
{
    const char *at = SPAWN_PATH;

    if (program[0] == '/') {
        if (!is_program(program) || mem_copy_text(path, path_bytes, program))
            return err_set(err, KPEER_ENOTFOUND, "there is no program %s", program);
        return 0;
    }
    while (*program && !strchr(program, '/')) {
        size_t n = strcspn(at, ":");
        int used = snprintf(path, path_bytes, "%.*s/%s", (int)n, at, program);

        if (used > 0 && (size_t)used < path_bytes && is_program(path))
            return 0;
        at += n;
        if (!*at++)
            break;
    }
    return err_set(err, KPEER_ENOTFOUND, "there is no program %s on %s", program, SPAWN_PATH);
}

static void tell_line(struct run *run, struct stream *s)
{
    char line[SPAWN_LINE_BYTES];

    if (s->line_used && s->line[s->line_used - 1] == '\r')
        s->line_used--;
    if (run->req->on_line && !run->req->secret_output) {
        spawn_escape(line, sizeof(line), s->line, s->line_used);
        run->req->on_line(run->req->ctx, s->is_stderr, line);
    }
    s->line_used = 0;
}

static void feed_lines(struct run *run, struct stream *s, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '\n')
            tell_line(run, s);
        else if (s->line_used < sizeof(s->line))
            s->line[s->line_used++] = bytes[i];
    }
}

/* Keeps what came, with room for a NUL; a buffer that is left behind is wiped, as it may hold a secret. */
static int keep(struct run *run, struct stream *s, const char *bytes, size_t n)
{
    size_t room = s->room ? s->room : 4096;
    char *grown;

    if (n > SPAWN_KEEP_BYTES - s->used) {
        run->res->truncated = true;
        n = SPAWN_KEEP_BYTES - s->used;
    }
    while (room < s->used + n + 1)
        room *= 2;
    if (room != s->room) {
        grown = malloc(room);
        if (!grown)
            return KPEER_ENOMEM;
        if (s->used)
            memcpy(grown, s->kept, s->used);
        if (s->kept)
            sodium_memzero(s->kept, s->room);
        free(s->kept);
        s->kept = grown;
        s->room = room;
    }
    memcpy(s->kept + s->used, bytes, n);
    s->used += n;
    s->kept[s->used] = 0;
    return 0;
}

/* Reads what is there now; at the end of the stream its last line is told. */
static int drain(struct run *run, struct stream *s)
{
    char bytes[16384];
    int code = 0;
    ssize_t n = read(s->fd, bytes, sizeof(bytes));

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0) {
        if (s->line_used)
            tell_line(run, s);
        close_fd(&s->fd);
        return 0;
    }
    feed_lines(run, s, bytes, (size_t)n);
    code = keep(run, s, bytes, (size_t)n);
    if (run->req->secret_output)
        sodium_memzero(bytes, sizeof(bytes));
    return code;
}

/* stdin as a file in memory: a program may read it at any pace, or not at all. */
static int open_input(const struct spawn_request *req, int *fd, struct err *err)
{
    size_t done = 0;

    *fd = memfd_create("input", MFD_CLOEXEC);
    if (*fd < 0)
        return err_errno(err, errno, "cannot make an input for %s", req->program);
    while (done < req->input_bytes) {
        ssize_t n = write(*fd, (const char *)req->input + done, req->input_bytes - done);

        if (n < 0 && errno != EINTR)
            return err_errno(err, errno, "cannot write the input for %s", req->program);
        done += n > 0 ? (size_t)n : 0;
    }
    if (lseek(*fd, 0, SEEK_SET) < 0)
        return err_errno(err, errno, "cannot rewind the input for %s", req->program);
    return 0;
}

#define FAULT_FD 3 /* in the child, until the program takes its place */

/* The descriptors become 0, 1 and 2, wherever they were, and nothing else stays but the one for faults. */
static int take_descriptors(const int fds[static 3], int fault)
{
    int high[3];

    fault = fcntl(fault, F_DUPFD_CLOEXEC, FAULT_FD);
    for (int i = 0; i < 3; i++) {
        high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FAULT_FD);
        if (fault < 0 || high[i] < 0)
            return -1;
    }
    for (int i = 0; i < 3; i++)
        if (dup2(high[i], i) < 0)
            return -1;
    if (fault != FAULT_FD && dup3(fault, FAULT_FD, O_CLOEXEC) < 0)
        return -1;
    return close_range(FAULT_FD + 1, UINT_MAX, 0);
}

/* In the child, where only async-signal-safe calls belong: there may be threads. It dies with whoever started
 * it, since nobody else would end a kubeadm whose executor was killed. */
static void become(const char *path, char *const *argv, char *const *envp, const int fds[static 3], int fault,
                   pid_t parent)
{
    const struct sigaction usual = {.sa_handler = SIG_DFL};
    sigset_t none;
    int e;

    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &usual, NULL);
    if (setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent &&
        sigprocmask(SIG_SETMASK, &none, NULL) == 0 && chdir("/") == 0 && take_descriptors(fds, fault) == 0) {
        fault = FAULT_FD;
        execve(path, argv, envp);
    }
    e = errno;
    if (write(fault, &e, sizeof(e)) != (ssize_t)sizeof(e))
        _exit(126);
    _exit(127);
}

/* What the child says of its start: an errno, or 0 when the program runs. */
static int await_exec(int fd, pid_t pid)
{
    int e = 0;
    ssize_t n;

    do
        n = read(fd, &e, sizeof(e));
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return 0;
    waitpid(pid, NULL, 0);
    return n == (ssize_t)sizeof(e) && e ? e : EIO;
}

/* Starts the program with the three descriptors as its own; returns an errno. */
static int launch(const struct spawn_request *req, const char *path, const int fds[static 3], pid_t *pid)
{
    char kubeconfig[PATH_MAX + 16];
    char *envp[] = {(char[]){"PATH=" SPAWN_PATH}, (char[]){"HOME=/root"}, (char[]){"LANG=C.UTF-8"},
                    [ENV_FIXED + SPAWN_ENV_MAX + 1] = NULL};
    int fault[2], e, used;
    pid_t parent = getpid();
    sigset_t all, before;

    used = snprintf(kubeconfig, sizeof(kubeconfig), "KUBECONFIG=%s", req->kubeconfig ? req->kubeconfig : "");
    if (used < 0 || (size_t)used >= sizeof(kubeconfig))
        return ENAMETOOLONG;
    used = ENV_FIXED;
    if (req->kubeconfig)
        envp[used++] = kubeconfig;
    for (size_t i = 0; req->env && req->env[i]; i++) {
        if (i == SPAWN_ENV_MAX)
            return E2BIG;
        envp[used++] = (char *)(uintptr_t)req->env[i];
    }
    if (pipe2(fault, O_CLOEXEC))
        return errno;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before); /* the child must not run our handlers */
    *pid = fork();
    if (*pid == 0)
        become(path, (char *const *)(uintptr_t)req->argv, envp, fds, fault[1], parent);
    e = *pid < 0 ? errno : 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(fault[1]);
    if (e == 0)
        e = await_exec(fault[0], *pid);
    close(fault[0]);
    return e;
}

static int start(struct run *run, const char *path, struct err *err)
{
    int in = -1, out[2] = {-1, -1}, errp[2] = {-1, -1}, e;
    int code = open_input(run->req, &in, err);

    if (code == 0 && (pipe2(out, O_CLOEXEC) || pipe2(errp, O_CLOEXEC)))
        code = err_errno(err, errno, "cannot make pipes for %s", run->req->program);
    if (code == 0) {
        e = launch(run->req, path, (const int[]){in, out[1], errp[1]}, &run->pid);
        if (e)
            code = err_errno(err, e, "cannot start %s", path);
    }
    close_fd(&in);
    close_fd(&out[1]);
    close_fd(&errp[1]);
    run->out.fd = out[0];
    run->err.fd = errp[0];
    if (code == 0)
        run->pidfd = (int)syscall(SYS_pidfd_open, run->pid, 0); /* glibc has a name for it only since 2.36 */
    return code;
}

/* Tells the program's group to end, and when it is to be killed. */
static void end_group(struct run *run, int why)
{
    if (run->why)
        return;
    run->why = why;
    run->kill_ms = clock_ms() + (run->req->grace_ms ? run->req->grace_ms : SPAWN_GRACE_MS);
    if (!run->reaped)
        kill(-run->pid, SIGTERM);
}

static void reap(struct run *run)
{
    int status = 0;

    /* While it is a zombie its number, and so its group's, is not given to another. */
    if (run->why)
        kill(-run->pid, SIGKILL);
    while (waitpid(run->pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status))
        run->res->exit_status = WEXITSTATUS(status);
    else
        run->res->signal = WTERMSIG(status);
    run->reaped = true;
    run->linger_ms = clock_ms() + SPAWN_LINGER_MS;
    close_fd(&run->pidfd);
}

/* Whether the program is a zombie; told: the kernel says so of its descriptor. */
static bool ended(const struct run *run, bool told)
{
    siginfo_t info = {0};

    if (run->reaped || run->pidfd >= 0)
        return !run->reaped && told;
    return waitid(P_PID, (id_t)run->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == run->pid;
}

/* Milliseconds until the next thing that time brings, -1 for never. */
static int next_wait(const struct run *run, uint64_t now)
{
    uint64_t at = run->reaped ? run->linger_ms : run->why ? run->kill_ms : run->end_ms;
    int most = run->reaped || run->pidfd >= 0 ? -1 : LOOK_MS;
    int left;

    if (at == 0)
        return most;
    left = at <= now ? 0 : at - now < INT_MAX ? (int)(at - now) : INT_MAX;
    return most >= 0 && most < left ? most : left;
}

static void act_on_time(struct run *run, uint64_t now)
{
    if (run->reaped) {
        if (now >= run->linger_ms) {
            close_fd(&run->out.fd);
            close_fd(&run->err.fd);
        }
    } else if (run->why) {
        if (now >= run->kill_ms) {
            kill(-run->pid, SIGKILL);
            run->kill_ms = now + SPAWN_GRACE_MS;
        }
    } else if (canceled) {
        end_group(run, KPEER_ECANCELED);
    } else if (run->end_ms && now >= run->end_ms) {
        end_group(run, KPEER_ETIMEOUT);
    }
}

/* Follows the program until it is reaped and its pipes are done with. */
static void follow(struct run *run)
{
    while (!run->reaped || run->out.fd >= 0 || run->err.fd >= 0) {
        /* Once it is being ended for it, the request to end is no news any more. */
        struct pollfd p[] = {{.fd = run->out.fd, .events = POLLIN},
                             {.fd = run->err.fd, .events = POLLIN},
                             {.fd = run->pidfd, .events = POLLIN},
                             {.fd = run->why || run->reaped ? -1 : cancel_fd, .events = POLLIN}};

        act_on_time(run, clock_ms());
        if (poll(p, COUNT_OF(p), next_wait(run, clock_ms())) < 0)
            continue;
        if (p[0].revents && run->out.fd >= 0 && drain(run, &run->out))
            end_group(run, KPEER_ENOMEM);
        if (p[1].revents && run->err.fd >= 0 && drain(run, &run->err))
            end_group(run, KPEER_ENOMEM);
        if (ended(run, p[2].revents))
            reap(run);
    }
}

static int outcome(const struct run *run, struct err *err)
{
    const char *program = run->req->program;

    switch (run->why) {
    case 0:
        break;
    case KPEER_ETIMEOUT:
        return err_set(err, run->why, "%s did not end within %u ms", program, run->req->timeout_ms);
    case KPEER_ECANCELED:
        return err_set(err, run->why, "%s was stopped on request", program);
    default:
        return err_set(err, run->why, "out of memory for the output of %s", program);
    }
    if (run->res->signal)
        return err_set(err, KPEER_EIO, "%s was ended by signal %d (%s)", program, run->res->signal,
                       strsignal(run->res->signal));
    return 0;
}

/* Hands a stream over to the result: never NULL, whatever went wrong. */
static int hand_over(struct stream *s, char **text, size_t *n)
{
    close_fd(&s->fd);
    *text = s->kept ? s->kept : calloc(1, 1);
    *n = s->used;
    return *text ? 0 : KPEER_ENOMEM;
}

/* The answer of a moment ago, as if the program had given it now. */
static bool answer_again(const struct spawn_request *req, const char *path, struct spawn_result *res)
{
    char out[ANSWERS_BYTES];
    size_t n;

    if (!req->constant || !answers_find(path, req->argv, out, &n))
        return false;
    res->out = malloc(n + 1);
    res->errout = calloc(1, 1);
    if (!res->out || !res->errout) {
        spawn_result_fini(res);
        return false; /* whoever runs the program will say so */
    }
    memcpy(res->out, out, n);
    res->out[n] = 0;
    res->out_bytes = n;
    res->exit_status = 0;
    return true;
}

int spawn_run(const struct spawn_request *req, struct spawn_result *res, struct err *err)
{
    struct run run = {.req = req, .res = res, .pid = -1, .pidfd = -1, .out.fd = -1, .err.fd = -1};
    char path[PATH_MAX];
    int code;

    memset(res, 0, sizeof(*res));
    res->exit_status = -1;
    res->secret = req->secret_output;
    run.err.is_stderr = true;
    code = cancel_open(err);
    code = code ? code : spawn_find(req->program, path, sizeof(path), err);
    if (code == 0 && canceled)
        code = err_set(err, KPEER_ECANCELED, "%s was not started: stopped on request", req->program);
    if (code == 0 && answer_again(req, path, res))
        return 0;
    if (code == 0)
        code = start(&run, path, err);
    if (code == 0) {
        run.end_ms = req->timeout_ms ? clock_ms() + req->timeout_ms : 0;
        follow(&run);
        code = outcome(&run, err);
    }
    close_fd(&run.pidfd);
    if (hand_over(&run.out, &res->out, &res->out_bytes) +
        hand_over(&run.err, &res->errout, &res->errout_bytes))
        code = code ? code : err_set(err, KPEER_ENOMEM, "out of memory");
    if (req->constant && code == 0 && res->exit_status == 0 && !res->truncated)
        answers_keep(path, req->argv, res->out, res->out_bytes);
    sodium_memzero(&run, sizeof(run));
    return code;
}

/* The last line of the text that is not blank, escaped. */
static void last_line(const char *text, size_t n, char *line, size_t line_bytes)
{
    size_t start_at;

    while (n && strchr(" \t\r\n", text[n - 1]))
        n--;
    for (start_at = n; start_at && text[start_at - 1] != '\n'; start_at--) {
    }
    spawn_escape(line, line_bytes, text + start_at, n - start_at);
}

int spawn_check(const struct spawn_request *req, struct spawn_result *res, struct err *err)
{
    char line[SPAWN_LINE_BYTES];
    int code = spawn_run(req, res, err);

    if (code || res->exit_status == 0)
        return code;
    if (req->secret_output || res->errout_bytes == 0)
        return err_set(err, KPEER_EIO, "%s ended with status %d", req->program, res->exit_status);
    last_line(res->errout, res->errout_bytes, line, sizeof(line));
    return err_set(err, KPEER_EIO, "%s ended with status %d: %s", req->program, res->exit_status, line);
}

void spawn_result_fini(struct spawn_result *res)
{
    if (res->secret && res->out)
        sodium_memzero(res->out, res->out_bytes);
    if (res->secret && res->errout)
        sodium_memzero(res->errout, res->errout_bytes);
    free(res->out);
    free(res->errout);
    memset(res, 0, sizeof(*res));
}
