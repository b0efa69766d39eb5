/*
 * The first process of a lab host. It is started in the machine's namespaces with the name of a plan: a text
 * file of one step a line, fields parted by tabs, made by kpeerlab/root.py. Steps before `spawn` run in the
 * machine (join the host's cgroups and network namespace); `spawn` makes the host's own namespaces and its
 * process 1, which carries out the rest and then either becomes a small reaper (light hosts) or turns into
 * systemd (full hosts).
 *
 * Talk with the lab: on stdout "<pid>\n" once process 1 exists, then "ready\n" or "error: <text>\n". Process
 * 1 goes on only after it has read one byte from stdin, so that the lab has written down whom it started
 * before anything happens: when the lab dies, stdin ends, and so does the host.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIELDS_MAX = 32, STATUS_FD = 20 };

#define RC_LOCAL "/etc/rc.local"

static const char *plan_path;
static int plan_line;

_Noreturn static void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

_Noreturn static void die(const char *format, ...)
{
    int error = errno;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    dprintf(STATUS_FD, "error: %s:%d: %s: %s\n", plan_path, plan_line, text, strerror(error));
    _exit(1);
}

static void write_file(const char *path, int flags, mode_t mode, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags, mode);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        die("write %s", path);
    close(fd);
}

/* Makes a folder and those above it; what exists is left as it is. */
static void make_folders(const char *path, mode_t mode)
{
    char part[4096];
    if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part)) {
        errno = ENAMETOOLONG;
        die("mkdir %s", path);
    }
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            die("mkdir %s", part);
        *slash = '/';
    }
    if (mkdir(part, mode) < 0 && errno != EEXIST)
        die("mkdir %s", part);
}

static unsigned long mount_flags(char *names)
{
    static const struct {
        const char *name;
        unsigned long flag;
    } known[] = {
        {"-", 0},
        {"bind", MS_BIND},
        {"rbind", MS_BIND | MS_REC},
        {"move", MS_MOVE},
        {"remount", MS_REMOUNT},
        {"ro", MS_RDONLY},
        {"nosuid", MS_NOSUID},
        {"nodev", MS_NODEV},
        {"noexec", MS_NOEXEC},
        {"rprivate", MS_PRIVATE | MS_REC},
        {"rshared", MS_SHARED | MS_REC},
    };
    unsigned long flags = 0;
    char *rest = names;
    for (char *name; (name = strsep(&rest, ",")) != NULL;) {
        size_t i = 0;
        while (i < sizeof(known) / sizeof(known[0]) && strcmp(known[i].name, name) != 0)
            i++;
        if (i == sizeof(known) / sizeof(known[0])) {
            errno = EINVAL;
            die("mount flag %s", name);
        }
        flags |= known[i].flag;
    }
    return flags;
}

static void do_mount(char **field)
{
    unsigned long flags = mount_flags(field[4]);
    const char *data = strcmp(field[5], "-") == 0 ? NULL : field[5];
    if (mount(field[2], field[3], field[1], flags, data) < 0)
        die("mount %s on %s", field[2], field[3]);
}

/* Makes what a bind mount needs at its target: a folder or an empty file, like the source. */
static void do_mountpoint(char **field)
{
    struct stat source;
    if (stat(field[1], &source) < 0)
        die("%s", field[1]);
    if (S_ISDIR(source.st_mode)) {
        make_folders(field[2], 0755);
        return;
    }
    if (access(field[2], F_OK) == 0)
        return;
    char parent[4096];
    snprintf(parent, sizeof(parent), "%s", field[2]);
    char *slash = strrchr(parent, '/');
    if (slash && slash != parent) {
        *slash = '\0';
        make_folders(parent, 0755);
    }
    int fd = open(field[2], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        die("create %s", field[2]);
    close(fd);
}

static void do_node(char **field)
{
    unsigned major_number = (unsigned)strtoul(field[3], NULL, 10);
    unsigned minor_number = (unsigned)strtoul(field[4], NULL, 10);
    mode_t mode = (mode_t)strtoul(field[1], NULL, 8);
    if (mknod(field[2], S_IFCHR | mode, makedev(major_number, minor_number)) < 0 || chmod(field[2], mode) < 0)
        die("mknod %s", field[2]);
}

static void do_root(char **field)
{
    if (chdir(field[1]) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        die("pivot_root %s", field[1]);
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        die("leave the machine's root");
}

static void do_console(char **field)
{
    int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int output = open(field[1], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (input < 0 || output < 0 || dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        die("console %s", field[1]);
}

static void do_netns(char **field)
{
    int fd = open(field[1], O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
        die("network namespace %s", field[1]);
    close(fd);
}

/* Process 1 and its pid: the parent tells it and ends; only process 1 returns, once the lab has allowed it.
 */
static void do_spawn(char **field)
{
    (void)field;
    if (unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP) < 0)
        die("new namespaces");
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child > 0) {
        dprintf(STATUS_FD, "%d\n", (int)child);
        _exit(0);
    }
    char go;
    ssize_t got;
    do
        got = read(0, &go, 1);
    while (got < 0 && errno == EINTR);
    if (got != 1)
        _exit(1);
    setsid();
}

static void tell_ready(void)
{
    dprintf(STATUS_FD, "ready\n");
    close(STATUS_FD);
}

static void do_exec(char **field)
{
    tell_ready();
    execv(field[1], field + 1);
    dprintf(2, "%s: %s\n", field[1], strerror(errno));
    _exit(127);
}

/* What the host's owner wants started at every boot, the old way. */
static void start_rc_local(void)
{
    if (access(RC_LOCAL, X_OK) < 0)
        return;
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child > 0)
        return;
    setsid();
    execl(RC_LOCAL, RC_LOCAL, "start", NULL);
    dprintf(2, "%s: %s\n", RC_LOCAL, strerror(errno));
    _exit(127);
}

/* The whole work of a light host's init: start rc.local and reap whatever ends. */
static void do_reap(char **field)
{
    (void)field;
    start_rc_local();
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    tell_ready();
    for (;;) {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        sigwaitinfo(&wanted, NULL);
    }
}

static void do_cgroup(char **field)
{
    write_file(field[1], 0, 0, "0");
}

static void do_mkdir(char **field)
{
    make_folders(field[2], (mode_t)strtoul(field[1], NULL, 8));
}

static void do_link(char **field)
{
    if (symlink(field[1], field[2]) < 0)
        die("symlink %s", field[2]);
}

static void do_hostname(char **field)
{
    if (sethostname(field[1], strlen(field[1])) < 0)
        die("hostname %s", field[1]);
}

static void do_env(char **field)
{
    if (putenv(strdup(field[1])) != 0)
        die("environment");
}

static const struct step {
    const char *name;
    int fields; /* how many follow the name; -1: one or more */
    void (*run)(char **field);
} steps[] = {
    {"cgroup", 1, do_cgroup},
    {"netns", 1, do_netns},
    {"spawn", 0, do_spawn},
    {"mount", 5, do_mount},
    {"mountpoint", 2, do_mountpoint},
    {"mkdir", 2, do_mkdir},
    {"node", 4, do_node},
    {"link", 2, do_link},
    {"hostname", 1, do_hostname},
    {"root", 1, do_root},
    {"console", 1, do_console},
    {"env", 1, do_env},
    {"exec", -1, do_exec},
    {"reap", 0, do_reap},
};

static void run_line(char *line)
{
    char *field[FIELDS_MAX + 1] = {0};
    int count = 0;
    char *rest = line;
    for (char *part; (part = strsep(&rest, "\t")) != NULL && count < FIELDS_MAX;)
        field[count++] = part;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (strcmp(steps[i].name, field[0]) != 0)
            continue;
        if (rest || (steps[i].fields >= 0 ? count - 1 != steps[i].fields : count < 2))
            break;
        steps[i].run(field);
        return;
    }
    errno = EINVAL;
    die("step %s", field[0]);
}

static void reset_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: init PLAN (started by the lab)\n");
        return 2;
    }
    plan_path = argv[1];
    if (dup3(1, STATUS_FD, O_CLOEXEC) < 0)
        return 1;
    close_range(3, STATUS_FD - 1, 0);
    close_range(STATUS_FD + 1, ~0U, 0);
    FILE *plan = fopen(plan_path, "re");
    if (!plan)
        die("open");
    reset_signals();
    umask(022);
    char *line = NULL;
    size_t room = 0;
    clearenv();
    for (ssize_t length; (length = getline(&line, &room, plan)) > 0;) {
        plan_line++;
        if (line[length - 1] == '\n')
            line[length - 1] = '\0';
        run_line(line);
    }
    errno = EINVAL;
    die("the plan ends without exec or reap");
}
