#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "peer/command/collect.h"
#include "peer/command/command.h"
#include "peer/command/daemon.h"
#include "peer/executor/spawn.h"
#include "protocol/mem.h"

#define PACK_MS 60000

struct place {
    char temp[PATH_MAX];      /* ours, removed at the end */
    char name[128];           /* of the folder in it and in the archive: kpeer-report-HOST-TIME */
    char dir[PATH_MAX + 130]; /* temp/name */
    char packed[PATH_MAX + 16];
    char to[PATH_MAX]; /* where the archive goes; "-": standard output */
};

static void on_signal(int number)
{
    (void)number;
    spawn_cancel();
}

/* kpeer-report-HOST-20260102T030405Z; a host's name is what anybody may have set. */
static void make_name(char out[static 128])
{
    char host[65] = "", stamp[32];
    time_t now = time(NULL);
    struct tm tm;

    gethostname(host, sizeof host - 1);
    host[strspn(host, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")] = '\0';
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
    snprintf(out, 128, "kpeer-report-%s-%s", host[0] ? host : "host", stamp);
}

/* The absolute path of the archive: programs are run in another folder than ours. */
static int find_target(struct place *p, const char *wanted, struct err *err)
{
    char cwd[PATH_MAX];
    int n;

    if (wanted && (wanted[0] == '/' || strcmp(wanted, "-") == 0))
        n = snprintf(p->to, sizeof p->to, "%s", wanted);
    else if (!getcwd(cwd, sizeof cwd))
        return err_errno(err, errno, "the current folder");
    else if (wanted)
        n = snprintf(p->to, sizeof p->to, "%s/%s", cwd, wanted);
    else
        n = snprintf(p->to, sizeof p->to, "%s/%s.tar.gz", cwd, p->name);
    if (n < 0 || (size_t)n >= sizeof p->to)
        return err_set(err, KPEER_EINVAL, "the path is too long");
    if (p->to[0] != '-' && access(p->to, F_OK) == 0)
        return err_set(err, KPEER_EREFUSED, "%s is there already", p->to);
    return 0;
}

static int open_place(struct place *p, const char *wanted, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    int code;

    make_name(p->name);
    code = find_target(p, wanted, err);
    if (code)
        return code;
    if (snprintf(p->temp, sizeof p->temp, "%s/kpeer-report-XXXXXX", tmp && *tmp == '/' ? tmp : "/tmp") >=
        (int)sizeof p->temp)
        return err_set(err, KPEER_EINVAL, "the path of TMPDIR is too long");
    if (!mkdtemp(p->temp)) {
        err_errno(err, errno, "making a folder %s", p->temp);
        p->temp[0] = '\0';
        return KPEER_EIO;
    }
    snprintf(p->dir, sizeof p->dir, "%s/%s", p->temp, p->name);
    snprintf(p->packed, sizeof p->packed, "%s/packed", p->temp);
    return mkdir(p->dir, 0755) ? err_errno(err, errno, "making a folder %s", p->dir) : 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static void close_place(const struct place *p)
{
    if (p->temp[0])
        nftw(p->temp, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int pack(const struct call *call, const struct place *p, struct err *err)
{
    const char *tar = call->cfg.tools[TOOL_TAR];
    const char *const argv[] = {"tar", "-C", p->temp, "-czf", p->packed, p->name, NULL};
    const struct spawn_request req = {.program = *tar ? tar : "tar", .argv = argv, .timeout_ms = PACK_MS};
    struct spawn_result res;
    int code = spawn_check(&req, &res, err);

    spawn_result_fini(&res);
    return code ? err_wrap(err, "packing the report") : 0;
}

static int copy(int from, int to, struct err *err)
{
    char bytes[65536];
    ssize_t n;

    while ((n = read(from, bytes, sizeof bytes)) > 0)
        for (ssize_t at = 0; at < n;) {
            ssize_t put = write(to, bytes + at, (size_t)(n - at));

            if (put < 0 && errno != EINTR)
                return err_errno(err, errno, "writing the report");
            at += put > 0 ? put : 0;
        }
    return n < 0 ? err_errno(err, errno, "reading what was packed") : 0;
}

/* To whoever called, also through sudo: the report is theirs to hand on. */
static void give_away(int fd)
{
    const char *uid = getenv("SUDO_UID"), *gid = getenv("SUDO_GID");

    if (geteuid() == 0 && uid && gid &&
        fchown(fd, (uid_t)strtoul(uid, NULL, 10), (gid_t)strtoul(gid, NULL, 10)))
        return; /* root's then */
}

static int deliver(const struct place *p, struct err *err)
{
    bool out = p->to[0] == '-';
    int from = open(p->packed, O_RDONLY | O_CLOEXEC), code;
    int to = out ? STDOUT_FILENO : open(p->to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (from < 0 || to < 0) {
        code = err_errno(err, errno, "%s", from < 0 ? p->packed : p->to);
    } else {
        code = copy(from, to, err);
        if (!out)
            give_away(to);
    }
    if (from >= 0)
        close(from);
    if (!out && to >= 0 && close(to) && !code)
        code = err_errno(err, errno, "%s", p->to);
    if (!out && to >= 0 && code)
        unlink(p->to);
    return code;
}

static void show_next(void *ctx, const char *file)
{
    fprintf(stderr, "\r\033[K%s", file);
    (void)ctx;
}

static int tell(struct call *call, const struct place *p, const struct collect_sum *sum, struct err *err)
{
    json_t *told;
    int code;

    if (p->to[0] == '-')
        return 0; /* standard output is the archive */
    if (!writer_is_data(&call->out)) {
        fprintf(call->out.to,
                "%s\n%zu files, %zu secrets taken out; contents.txt in it says what could not be had.\n"
                "Look at it before you hand it on: names and addresses are in it.\n",
                p->to, sum->files, sum->removed);
        return 0;
    }
    told = json_pack("{s:s, s:I, s:I, s:I}", "report", p->to, "files", (json_int_t)sum->files, "missing",
                     (json_int_t)sum->missing, "removed", (json_int_t)sum->removed);
    code = told ? writer_value(&call->out, told, err) : err_set(err, KPEER_ENOMEM, "out of memory");
    json_decref(told);
    return code;
}

int cmd_report(struct call *call, struct err *err)
{
    const struct sigaction stop = {.sa_handler = on_signal};
    struct place p = {.temp = ""};
    struct collect_sum sum = {.files = 0};
    char program[PATH_MAX];
    const char *file = call->config_file ? call->config_file : getenv("KPEER_CONFIG");
    cleanup_free char *config = file && *file ? realpath(file, NULL) : NULL;
    bool live = writer_is_live(&call->out) && isatty(STDERR_FILENO);
    struct collect_order order = {.cfg = &call->cfg,
                                  .config_file = config,
                                  .program = program,
                                  .dir = p.dir,
                                  .told = live ? show_next : NULL};
    int code = daemon_own_path(program, err);

    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    if (!code)
        code = open_place(&p, call->arg_count ? call->args[0] : NULL, err);
    if (!code)
        code = collect_run(&order, &sum, err);
    if (live)
        fputs("\r\033[K", stderr);
    if (!code)
        code = pack(call, &p, err);
    if (!code)
        code = deliver(&p, err);
    if (!code)
        code = tell(call, &p, &sum, err);
    close_place(&p);
    return code;
}
