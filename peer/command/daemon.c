#include "peer/command/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer/executor/spawn.h"
#include "peer/notify.h"
#include "protocol/mem.h"

#define START_MS    30000
#define UNIT_PATH   "/etc/systemd/system/" DAEMON_UNIT
#define DROPIN_PATH UNIT_PATH ".d/up.conf"
#define MARK        "# Written by `kpeer up`, removed by `kpeer leave`.\n"
#define ARGS_MAX    (COMMAND_SETTINGS_MAX + 8)

static void free_strings(char ***list)
{
    for (char **p = *list; p && *p; p++)
        free(*p);
    free(*list);
}
#define cleanup_strings __attribute__((cleanup(free_strings)))

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define cleanup_fd __attribute__((cleanup(close_fd)))

static const char *config_file(const struct call *call)
{
    return call->config_file ? call->config_file : getenv("KPEER_CONFIG");
}

/* A relative --config would mean another file to a daemon. */
static char *config_argument(const char *file)
{
    cleanup_free char *full = realpath(file, NULL);
    char *arg;

    return asprintf(&arg, "--config=%s", full ? full : file) < 0 ? NULL : arg;
}

/* kpeer agent and what `up` was given, as one argument each; NULL-ended. */
static char **agent_arguments(const struct call *call, const char *program)
{
    char **argv = calloc(ARGS_MAX, sizeof *argv);
    size_t n = 0;
    bool ok = argv != NULL;

    if (!ok)
        return NULL;
    ok = (argv[n++] = strdup(program)) && (argv[n++] = strdup("agent"));
    if (ok && config_file(call))
        ok = (argv[n++] = config_argument(config_file(call))) != NULL;
    for (size_t i = 0; ok && i < call->setting_count; i++) {
        const struct config_setting *s = &call->setting[i];

        if (s->key->arg || s->key->type == CONFIG_BOOL)
            ok = asprintf(&argv[n], "--%s=%s", s->key->flag, s->value) > 0;
        else
            ok = asprintf(&argv[n], "--%s", s->key->flag) > 0;
        n += ok;
    }
    if (ok)
        return argv;
    free_strings(&argv);
    return NULL;
}

int daemon_own_path(char out[static PATH_MAX], struct err *err)
{
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);

    if (n <= 0)
        return err_errno(err, errno, "finding kpeer's own path");
    out[n] = '\0';
    return 0;
}

/* ---- a background process ---- */

static int open_log(const struct config *cfg, char *path, size_t room, struct err *err)
{
    int fd;

    if (mkdir(cfg->state_dir, 0700) && errno != EEXIST)
        return err_errno(err, errno, "state folder %s", cfg->state_dir);
    if (snprintf(path, room, "%s/agent.log", cfg->state_dir) >= (int)room)
        return err_set(err, KPEER_EINVAL, "state folder %s: the path is too long", cfg->state_dir);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    return fd < 0 ? err_errno(err, errno, "log %s", path) : fd;
}

/* In the child, where only async-signal-safe calls belong: away from the terminal, then the agent. */
static void become_agent(char **argv, const char *program, int log_fd, int ready_fd)
{
    int null_fd = open("/dev/null", O_RDWR);

    if (setsid() < 0 || null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(log_fd, 1) < 0 || dup2(log_fd, 2) < 0 ||
        fcntl(ready_fd, F_SETFD, 0) || chdir("/"))
        _exit(127);
    execv(program, argv);
    _exit(127);
}

static int spawn_agent(char **argv, const char *program, int log_fd, int pipe_fd[static 2], struct err *err)
{
    pid_t pid = fork();

    if (pid < 0)
        return err_errno(err, errno, "starting the agent");
    if (pid == 0)
        become_agent(argv, program, log_fd, pipe_fd[1]);
    close(pipe_fd[1]);
    pipe_fd[1] = -1;
    return 0;
}

static int start_background(const struct call *call, char *how, size_t how_bytes, struct err *err)
{
    char program[PATH_MAX], log_path[CONFIG_PATH_BYTES + 16], fd_text[32];
    cleanup_fd int log_fd = -1;
    cleanup_fd int read_fd = -1;
    cleanup_strings char **argv = NULL;
    int pipe_fd[2];
    size_t n = 0;
    int code = daemon_own_path(program, err);

    if (code)
        return code;
    log_fd = open_log(&call->cfg, log_path, sizeof log_path, err);
    if (log_fd < 0)
        return log_fd;
    argv = agent_arguments(call, program);
    if (!argv || pipe2(pipe_fd, O_CLOEXEC))
        return err_set(err, KPEER_EIO, "starting the agent: no memory or descriptors");
    read_fd = pipe_fd[0];
    snprintf(fd_text, sizeof fd_text, "--ready-fd=%d", pipe_fd[1]);
    while (argv[n])
        n++;
    argv[n] = strdup(fd_text);
    code = spawn_agent(argv, program, log_fd, pipe_fd, err);
    if (!code)
        code = notify_wait(read_fd, START_MS, err);
    if (pipe_fd[1] >= 0)
        close(pipe_fd[1]);
    snprintf(how, how_bytes, "background process, log in %s", log_path);
    if (code && err && !err->hint[0])
        err_hint(err, "its log is %s", log_path);
    return code;
}

/* ---- a systemd unit ---- */

bool daemon_has_systemd(const struct config *cfg)
{
    struct stat st;

    return !cfg->dry_run && geteuid() == 0 && stat("/run/systemd/system", &st) == 0 && S_ISDIR(st.st_mode);
}

/* Runs systemctl or journalctl with its output on our standard error. Returns its exit status, or -1. */
static int run_tool(const char *tool, const char *const *args)
{
    static char path_env[] = "PATH=" SPAWN_PATH, lang_env[] = "LANG=C.UTF-8";
    char *env[] = {path_env, lang_env, NULL};
    posix_spawn_file_actions_t actions;
    char program[CONFIG_PATH_BYTES];
    int status = -1, failed;
    pid_t pid;

    if (spawn_find(tool, program, sizeof program, NULL))
        return -1;
    if (posix_spawn_file_actions_init(&actions))
        return -1;
    failed = posix_spawn_file_actions_adddup2(&actions, 2, 1) ||
             posix_spawn(&pid, program, &actions, NULL, (char *const *)(uintptr_t)args, env);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        return -1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int systemctl(const struct config *cfg, struct err *err, const char *verb, const char *option,
                     const char *unit)
{
    const char *tool = cfg->tools[TOOL_SYSTEMCTL][0] ? cfg->tools[TOOL_SYSTEMCTL] : "systemctl";
    const char *args[5] = {"systemctl", verb, NULL, NULL, NULL};
    size_t n = 2;
    int status;

    if (option)
        args[n++] = option;
    if (unit)
        args[n++] = unit;
    status = run_tool(tool, args);
    if (status == 0)
        return 0;
    return err_set(err, KPEER_EIO, "systemctl %s %s failed (status %d)", verb, unit ? unit : "", status);
}

/* One argument in systemd's quoting. */
static void put_quoted(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', to);
        if (*text == '%' || *text == '$')
            fputc(*text, to);
        fputc(*text, to);
    }
    fputc('"', to);
}

/* What the environment says of a key, as NAME=VALUE; NULL: nothing. */
static const char *env_entry(char *const *env, const struct config_key *key)
{
    char name[64];
    size_t n;

    config_env_name(key, name);
    n = strlen(name);
    for (; *env; env++)
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=' && !strpbrk(*env, "\n\r\"\\"))
            return *env;
    return NULL;
}

/* Environment= lines take no $ doubling. */
static void put_environment(FILE *to, char *const *env)
{
    for (size_t i = 0; i < config_schema_count; i++) {
        const char *entry = env_entry(env, &config_schema[i]);

        if (!entry)
            continue;
        fputs("Environment=\"", to);
        for (; *entry; entry++)
            fprintf(to, "%s%c", *entry == '%' ? "%" : "", *entry);
        fputs("\"\n", to);
    }
}

static void put_start(FILE *to, char *const *argv)
{
    fputs("ExecStart=", to);
    for (char *const *a = argv; *a; a++) {
        if (a != argv)
            fputc(' ', to);
        put_quoted(to, *a);
    }
    fputc('\n', to);
}

int daemon_unit_text(const struct call *call, const char *program, char *const *env, bool dropin, char **out,
                     struct err *err)
{
    const char *start = strstr(daemon_unit, "ExecStart=");
    cleanup_strings char **argv = agent_arguments(call, program);
    char *text = NULL;
    size_t n;
    FILE *to = argv ? open_memstream(&text, &n) : NULL;

    if (!to)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    fputs(MARK, to);
    if (dropin)
        fputs("[Service]\nExecStart=\n", to);
    else
        fprintf(to, "%.*s", (int)(start - daemon_unit), daemon_unit);
    put_environment(to, env);
    put_start(to, argv);
    if (!dropin)
        fputs(strchr(start, '\n') + 1, to);
    if (fclose(to)) {
        free(text);
        return err_set(err, KPEER_ENOMEM, "out of memory");
    }
    *out = text;
    return 0;
}

/* Whether `up` was told anything that a unit which runs `kpeer agent` does not say. */
static bool was_told(const struct call *call, char *const *env)
{
    bool told = call->setting_count > 0 || config_file(call);

    for (size_t i = 0; !told && i < config_schema_count; i++)
        told = env_entry(env, &config_schema[i]) != NULL;
    return told;
}

static bool packaged_unit(void)
{
    return access("/usr/lib/systemd/system/" DAEMON_UNIT, F_OK) == 0 ||
           access("/lib/systemd/system/" DAEMON_UNIT, F_OK) == 0 ||
           access("/usr/local/lib/systemd/system/" DAEMON_UNIT, F_OK) == 0;
}

/* Whether a file of a unit is one that `up` wrote. */
static bool is_ours(const char *path)
{
    char head[sizeof MARK];
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    return fd >= 0 && read(fd, head, sizeof head - 1) == (ssize_t)(sizeof head - 1) &&
           memcmp(head, MARK, sizeof head - 1) == 0;
}

static int write_file(const char *path, const char *text, struct err *err)
{
    char tmp[64];
    size_t n = strlen(text);

    snprintf(tmp, sizeof tmp, "%s.new", path);
    cleanup_fd int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return err_errno(err, errno, "unit %s", tmp);
    if (write(fd, text, n) != (ssize_t)n || fsync(fd) || rename(tmp, path)) {
        err_errno(err, errno, "unit %s", path);
        unlink(tmp);
        return KPEER_EIO;
    }
    return 0;
}

static int remove_ours(const char *path, struct err *err)
{
    if (is_ours(path) && unlink(path))
        return err_errno(err, errno, "unit %s", path);
    return 0;
}

static int remove_dropin(struct err *err)
{
    int code = remove_ours(DROPIN_PATH, err);

    rmdir(UNIT_PATH ".d"); /* others may have theirs in it */
    return code;
}

/* A unit that is there, a package's or the administrator's, is used as it is; what `up` was told is put
 * beside it. Where there is none we write all of it. What an earlier `up` was told is over. */
static int make_unit(const struct call *call, struct err *err)
{
    bool packaged = packaged_unit(),
         theirs = packaged || (access(UNIT_PATH, F_OK) == 0 && !is_ours(UNIT_PATH));
    bool dropin = theirs && was_told(call, environ);
    cleanup_free char *text = NULL;
    char program[PATH_MAX];
    int code = daemon_own_path(program, err);

    if (!code)
        code = daemon_unit_text(call, program, environ, theirs, &text, err);
    if (!code && dropin && mkdir(UNIT_PATH ".d", 0755) && errno != EEXIST)
        code = err_errno(err, errno, "unit %s", UNIT_PATH ".d");
    if (!code)
        code = dropin ? write_file(DROPIN_PATH, text, err) : remove_dropin(err);
    if (!code && !theirs)
        code = write_file(UNIT_PATH, text, err);
    if (!code && packaged)
        code = remove_ours(UNIT_PATH, err);
    return code ? code : systemctl(&call->cfg, err, "daemon-reload", NULL, NULL);
}

static int start_unit(const struct call *call, char *how, size_t how_bytes, struct err *err)
{
    static const char *const journal[] = {"journalctl", "-u",  DAEMON_UNIT,  "-n", "5",
                                          "-o",         "cat", "--no-pager", NULL};
    bool stood = daemon_is_set_up(&call->cfg);
    int code = make_unit(call, err);

    if (!code)
        code = systemctl(&call->cfg, err, "enable", "--quiet", DAEMON_UNIT);
    if (code)
        return code;
    code = systemctl(&call->cfg, err, "start", NULL, DAEMON_UNIT);
    /* ^C reached systemctl as well, which only waited: systemd goes on. */
    if (code && !command_stopped()) {
        run_tool("journalctl", journal);
        /* It would be started again and again, at boot too, by nobody's wish, unless it was set up before: a
         * member whose disk is full comes back by itself once there is room. */
        if (!stood)
            daemon_remove(&call->cfg, NULL);
        return err_hint(err, "journalctl -u kpeer");
    }
    snprintf(how, how_bytes, "systemd unit %s", DAEMON_UNIT);
    return 0;
}

int daemon_start(const struct call *call, char *how, size_t how_bytes, struct err *err)
{
    if (daemon_has_systemd(&call->cfg))
        return start_unit(call, how, how_bytes, err);
    return start_background(call, how, how_bytes, err);
}

static bool has_unit(const struct config *cfg)
{
    return daemon_has_systemd(cfg) && (access(UNIT_PATH, F_OK) == 0 || packaged_unit());
}

bool daemon_is_set_up(const struct config *cfg)
{
    return has_unit(cfg) && (is_ours(UNIT_PATH) || is_ours(DROPIN_PATH) ||
                             systemctl(cfg, NULL, "is-enabled", "--quiet", DAEMON_UNIT) == 0);
}

bool daemon_runs(const struct config *cfg)
{
    return has_unit(cfg) && systemctl(cfg, NULL, "is-active", "--quiet", DAEMON_UNIT) == 0;
}

int daemon_remove(const struct config *cfg, struct err *err)
{
    int code;

    if (!has_unit(cfg))
        return 0;
    code = systemctl(cfg, err, "disable", "--now", DAEMON_UNIT);
    if (code || (!is_ours(UNIT_PATH) && !is_ours(DROPIN_PATH)))
        return code;
    code = remove_ours(UNIT_PATH, err);
    if (!code)
        code = remove_dropin(err);
    return code ? code : systemctl(cfg, err, "daemon-reload", NULL, NULL);
}
