#include "peer/executor/packages/work.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/executor/file.h"
#include "peer/executor/packages/query.h"
#include "peer/executor/packages/sources.h"
#include "protocol/mem.h"

#define ARGS_MAX     60
#define QUERY_MS     60000
#define REFRESH_MS   600000
#define LOCK_WAIT_S  300
#define FOLDER_MODE  0755 /* apt drops to a user of its own, who must get here */
#define STEP_PERCENT 10   /* a line each */
#define REMOVE_FDS   16

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

int work_remove(const struct exec_ctx *ctx, struct err *err)
{
    char dir[PATH_MAX];
    int code = exec_path(ctx, WORK_DIR, dir, sizeof(dir), err);

    if (code)
        return code;
    if (nftw(dir, remove_one, REMOVE_FDS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) && errno != ENOENT)
        return err_errno(err, errno, "cannot remove %s", dir);
    return 0;
}

bool work_is_there(const struct exec_ctx *ctx)
{
    char dir[PATH_MAX];

    return exec_path(ctx, WORK_DIR, dir, sizeof(dir), NULL) == 0 && access(dir, F_OK) == 0;
}

int work_path(const struct work *w, const char *name, char *out, size_t out_bytes, struct err *err)
{
    int n = snprintf(out, out_bytes, "%s/%s", w->dir, name);

    if (n < 0 || (size_t)n >= out_bytes)
        return err_set(err, KPEER_ELIMIT, "the path %s/%s is too long", w->dir, name);
    return 0;
}

int work_put(const struct work *w, const char *name, const void *bytes, size_t n, struct err *err)
{
    char path[PATH_MAX];
    int code = work_path(w, name, path, sizeof(path), err);

    return code ? code : file_put(path, bytes, n, 0644, (uid_t)-1, (gid_t)-1, err);
}

static int make_dirs(const struct work *w, struct err *err)
{
    static const char *const names[] = {"lists/partial", "archives/partial", "cache", "sources.d", "repo"};
    char path[PATH_MAX];

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        int code = work_path(w, names[i], path, sizeof(path), err);

        code = code ? code : file_make_dirs(path, FOLDER_MODE, err);
        if (code)
            return code;
    }
    return 0;
}

/* What apt is told for every run. Hooks of the host's that follow an update belong to its own lists. */
static int write_conf(const struct work *w, const char *name, const char *list, const char *parts,
                      bool strict, struct err *err)
{
    char text[4096];
    int n = snprintf(text, sizeof(text),
                     "Dir::State::lists \"%s/lists\";\n"
                     "Dir::Cache \"%s/cache\";\n"
                     "Dir::Cache::archives \"%s/archives\";\n"
                     "Dir::Etc::sourcelist \"%s\";\n"
                     "Dir::Etc::sourceparts \"%s\";\n"
                     "APT::Get::List-Cleanup \"false\";\n"
                     "APT::Get::Assume-Yes \"true\";\n"
                     "APT::Install-Recommends \"false\";\n"
                     "APT::Install-Suggests \"false\";\n"
                     "APT::Color \"false\";\n"
                     "%s%s"
                     "Acquire::Languages \"none\";\n"
                     "Acquire::Retries \"1\";\n"
                     "Acquire::http::Timeout \"15\";\n"
                     "Acquire::https::Timeout \"15\";\n"
                     "DPkg::Lock::Timeout \"%d\";\n"
                     "DPkg::Options { \"--force-confdef\"; \"--force-confold\"; };\n"
                     "#clear APT::Update::Pre-Invoke;\n"
                     "#clear APT::Update::Post-Invoke;\n"
                     "#clear APT::Update::Post-Invoke-Success;\n",
                     w->dir, w->dir, w->dir, list, parts, strict ? "APT::Update::Error-Mode \"any\";\n" : "",
                     w->offline ? "APT::Sandbox::User \"root\";\n" : "", LOCK_WAIT_S);

    if (n < 0 || (size_t)n >= sizeof(text))
        return err_set(err, KPEER_ELIMIT, "the path %s is too long", w->dir);
    return work_put(w, name, text, (size_t)n, err);
}

static int write_confs(const struct work *w, struct err *err)
{
    char own[PATH_MAX], parts[PATH_MAX], host[PATH_MAX];
    int code = work_path(w, "own.list", own, sizeof(own), err);

    code = code ? code : work_path(w, "sources.d", parts, sizeof(parts), err);
    code = code ? code : exec_path(w->ctx, "/etc/apt/sources.list", host, sizeof(host), err);
    code = code ? code : work_put(w, "own.list", "", 0, err);
    code = code ? code : write_conf(w, "own.conf", own, "-", true, err);
    if (code)
        return code;
    return w->offline ? write_conf(w, "all.conf", own, "-", false, err)
                      : write_conf(w, "all.conf", host, parts, false, err);
}

static bool is_source_name(const char *name)
{
    size_t n = strlen(name);

    return (n > 5 && strcmp(name + n - 5, ".list") == 0) || (n > 8 && strcmp(name + n - 8, ".sources") == 0);
}

/* Links what lies in one of the host's folders into one of ours, so that apt reads it and writes beside it.
 */
static int link_all(const struct work *w, const char *from, const char *to, bool (*fits)(const char *name),
                    struct err *err)
{
    char dir[PATH_MAX], target[PATH_MAX], path[PATH_MAX];
    struct dirent *entry;
    DIR *d;
    int code = exec_path(w->ctx, from, dir, sizeof(dir), err);

    if (code)
        return code;
    d = opendir(dir);
    while (d && code == 0 && (entry = readdir(d)) != NULL) {
        int a = snprintf(target, sizeof(target), "%s/%s", dir, entry->d_name);
        int b = snprintf(path, sizeof(path), "%s/%s/%s", w->dir, to, entry->d_name);

        if (!fits(entry->d_name) || a < 0 || b < 0 || (size_t)a >= sizeof(target) ||
            (size_t)b >= sizeof(path))
            continue;
        if (symlink(target, path) && errno != EEXIST)
            code = err_errno(err, errno, "cannot make %s", path);
    }
    if (d)
        closedir(d);
    return code;
}

static bool is_foreign_source(const char *name)
{
    return is_source_name(name) && strcmp(name, SOURCES_NAME ".list") != 0;
}

static bool is_list(const char *name)
{
    return name[0] != '.' && strcmp(name, "lock") != 0 && strcmp(name, "partial") != 0 &&
           strcmp(name, "auxfiles") != 0;
}

int work_note(struct exec_ctx *ctx, struct err *err)
{
    const struct journal_deed deed = {
        .kind = DEED_PACKAGE, .name = WORK_DIR, .before = "absent", .after = "present"};

    return journal_note_deed(ctx->journal, &deed, err);
}

int work_open(struct exec_ctx *ctx, struct work *w, struct err *err)
{
    int code;

    memset(w, 0, sizeof(*w));
    w->ctx = ctx;
    w->offline = ctx->cfg->packages.folder[0] != '\0';
    code = exec_path(ctx, WORK_DIR, w->dir, sizeof(w->dir), err);
    code = code ? code : work_remove(ctx, err);
    code = code ? code : make_dirs(w, err);
    code = code ? code : write_confs(w, err);
    if (code || w->offline)
        return code;
    code = link_all(w, "/etc/apt/sources.list.d", "sources.d", is_foreign_source, err);
    return code ? code : link_all(w, "/var/lib/apt/lists", "lists", is_list, err);
}

/* Without its archive nothing takes away what dpkg had unpacked of a package when it was cut off. */
void work_close(struct work *w)
{
    struct err err = {0};

    if (query_any_cut(w->ctx))
        exec_say(w->ctx, "packages", -1, "dpkg was cut off: the downloads are kept for the next run or undo");
    else if (work_remove(w->ctx, &err))
        exec_say(w->ctx, "packages", -1, "%s", err.text);
    free(w->key);
    w->key = NULL;
}

/* What apt and dpkg say while they work: their progress, and for whom they wait. */
static void on_apt_line(void *ctx, bool is_stderr, const char *line)
{
    static int32_t last = -STEP_PERCENT; /* a worker carries out one step */
    char what[160];
    int32_t percent;
    bool is_download;

    (void)is_stderr;
    if (strstr(line, "Waiting for cache lock")) {
        exec_say(ctx, "packages", -1, "%s", line);
    } else if (apt_parse_status(line, &percent, &is_download, what, sizeof(what)) &&
               (percent < last || percent >= last + STEP_PERCENT)) {
        exec_say(ctx, is_download ? "download" : "packages", percent, "%s", what);
        last = percent;
    }
}

/* stdout and stderr together: what dpkg failed of stands in the former. */
static int tell_failure(const struct spawn_result *res, const char *what, struct err *err)
{
    size_t room = res->errout_bytes + res->out_bytes + 2;
    cleanup_free char *both = malloc(room);

    if (!both)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    snprintf(both, room, "%s\n%s", res->errout, res->out);
    return apt_parse_failure(both, what, err);
}

int work_apt(struct work *w, const struct work_run *run, struct spawn_result *res, struct err *err)
{
    char hooks[PATH_MAX]; /* for what apt's own hooks call, such as apt-extracttemplates */
    const char *const env[] = {"DEBIAN_FRONTEND=noninteractive", "APT_LISTCHANGES_FRONTEND=none",
                               "NEEDRESTART_SUSPEND=1", hooks, NULL};
    const char *argv[ARGS_MAX] = {"", "-c"};
    char conf[PATH_MAX - sizeof("APT_CONFIG=")];
    struct err own = {0};
    size_t n = 3;
    int code = work_path(w, run->sources == WORK_OWN ? "own.conf" : "all.conf", conf, sizeof(conf), err);
    const struct exec_run exec = {
        .tool = run->tool,
        .argv = argv,
        .env = env,
        .on_line = on_apt_line,
        .timeout_ms = run->timeout_ms,
        .quiet = run->quiet,
    };

    memset(res, 0, sizeof(*res));
    if (code)
        return code;
    argv[2] = conf;
    snprintf(hooks, sizeof(hooks), "APT_CONFIG=%s", conf);
    for (size_t i = 0; run->args[i]; i++) {
        if (n + 1 >= ARGS_MAX)
            return err_set(err, KPEER_ELIMIT, "too many packages at once");
        argv[n++] = run->args[i];
    }
    code = exec_run(w->ctx, &exec, res, &own);
    if (code == KPEER_EIO && res->exit_status > 0)
        return tell_failure(res, run->what, err);
    if (code && err)
        *err = own;
    return code;
}

int work_refresh(struct work *w, enum work_sources sources, struct err *err)
{
    const struct work_run run = {
        .tool = TOOL_APT_GET,
        .sources = sources,
        .args = (const char *const[]){"-q", "update", NULL},
        .what = sources == WORK_OWN ? "the repository for Kubernetes" : "this host's apt sources",
        .timeout_ms = REFRESH_MS,
        .quiet = true,
    };
    struct spawn_result res;
    int code;

    exec_say(w->ctx, "packages", -1, "asking %s which packages there are",
             sources == WORK_OWN ? "the repository for Kubernetes" : "this host's apt sources");
    code = work_apt(w, &run, &res, err);
    spawn_result_fini(&res);
    if (code == 0 && sources == WORK_ALL)
        w->all_fresh = true;
    return code;
}

int work_madison(struct work *w, enum work_sources sources, const char *name, char **out, struct err *err)
{
    const struct work_run run = {
        .tool = TOOL_APT_CACHE,
        .sources = sources,
        .args = (const char *const[]){"madison", name, NULL},
        .what = "apt-cache",
        .timeout_ms = QUERY_MS,
        .quiet = true,
    };
    struct spawn_result res;
    int code = work_apt(w, &run, &res, err);

    if (code == 0) {
        *out = strdup(res.out);
        code = *out ? 0 : err_set(err, KPEER_ENOMEM, "out of memory");
    }
    spawn_result_fini(&res);
    return code;
}
