/*
 * Runs a command inside a lab host: joins the host's cgroups and namespaces, with a clean environment, and
 * passes stdin, stdout, stderr and the exit status through. `lab exec` turns into this program, so that
 * nothing stands between.
 *
 *     enter PID START [-c FILE]... [-e NAME=VALUE]... -- COMMAND [ARGUMENT]...
 *
 * PID and START (its start time in clock ticks, field 22 of /proc/PID/stat) name the host's process 1
 * together: a pid given to somebody else in the meantime is refused. Each -c names a cgroup.procs file to
 * join. Status: that of the command, 128 + signal when one ended it, 126/127 when it could not be run, 125
 * for our own faults.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OWN_FAULT = 125, NOT_RUN = 126, NOT_FOUND = 127 };

static pid_t command_pid;

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "lab: exec: %s: %s\n", what, strerror(errno));
    exit(OWN_FAULT);
}

/* The start time of the process behind an open /proc/PID folder, or 0 when it is gone or a zombie. */
static unsigned long long start_time(int process)
{
    char text[1024];
    int fd = openat(process, "stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    char *field = strrchr(text, ')');
    if (!field || field[1] == '\0' || field[2] == 'Z' || field[2] == 'X')
        return 0;
    for (int number = 2; field && number < 22; number++)
        field = strchr(field + 1, ' ');
    return field ? strtoull(field, NULL, 10) : 0;
}

static void join_namespaces(const char *pid, const char *start)
{
    static const char *const names[] = {"ns/cgroup", "ns/ipc", "ns/uts", "ns/net", "ns/pid", "ns/mnt"};
    enum { COUNT = sizeof(names) / sizeof(names[0]) };
    char path[64];
    int fds[COUNT];
    snprintf(path, sizeof(path), "/proc/%s", pid);
    int process = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (process < 0 || start_time(process) != strtoull(start, NULL, 10)) {
        errno = ESRCH;
        die("the host is not running");
    }
    for (int i = 0; i < COUNT; i++) {
        fds[i] = openat(process, names[i], O_RDONLY | O_CLOEXEC);
        if (fds[i] < 0)
            die(names[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        if (setns(fds[i], 0) < 0)
            die(names[i]);
        close(fds[i]);
    }
    close(process);
}

static void join_cgroup(const char *file)
{
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1)
        die(file);
    close(fd);
}

/* A signal sent to us by a process is meant for the command; one from the terminal has reached the command
 * already. */
static void forward(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code != SI_KERNEL && command_pid > 0)
        kill(command_pid, number);
}

static void forward_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
    struct sigaction action = {.sa_sigaction = forward, .sa_flags = SA_SIGINFO | SA_RESTART};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaction(numbers[i], &action, NULL);
}

_Noreturn static void run_command(char **command, const sigset_t *mask)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    if (chdir("/root") < 0 && chdir("/") < 0)
        die("folder");
    execvp(command[0], command);
    int error = errno;
    fprintf(stderr, "lab: exec: %s: %s\n", command[0], strerror(error));
    _exit(error == ENOENT ? NOT_FOUND : NOT_RUN);
}

static int await_command(void)
{
    int status;
    while (waitpid(command_pid, &status, 0) < 0)
        if (errno != EINTR)
            die("wait");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void set_environment(void)
{
    const char *terminal = getenv("TERM");
    char term[128];
    snprintf(term, sizeof(term), "%s", terminal ? terminal : "dumb");
    clearenv();
    setenv("HOME", "/root", 1);
    setenv("USER", "root", 1);
    setenv("LANG", "C.UTF-8", 1);
    setenv("TERM", term, 1);
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(
            stderr,
            "usage: enter PID START [-c FILE]... [-e NAME=VALUE]... -- COMMAND... (started by lab exec)\n");
        return OWN_FAULT;
    }
    set_environment();
    int at = 3;
    for (; at + 1 < argc && strcmp(argv[at], "--") != 0; at += 2) {
        if (strcmp(argv[at], "-c") == 0)
            join_cgroup(argv[at + 1]);
        else if (putenv(argv[at + 1]) != 0)
            die("environment");
    }
    if (at + 1 >= argc) {
        errno = EINVAL;
        die("no command");
    }
    join_namespaces(argv[1], argv[2]);
    signal(SIGCHLD, SIG_DFL);
    sigset_t all, mask;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &mask);
    command_pid = fork();
    if (command_pid < 0)
        die("fork");
    if (command_pid == 0)
        run_command(argv + at + 1, &mask);
    forward_signals();
    sigprocmask(SIG_SETMASK, &mask, NULL);
    return await_command();
}
