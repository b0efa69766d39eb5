#include "peer/executor/packages/repair.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "peer/executor/packages/apt_parse.h"
#include "peer/executor/packages/query.h"
#include "peer/executor/packages/work.h"
#include "protocol/mem.h"

#define AUDIT_MS     20000
#define CONFIGURE_MS 600000
#define UNPACK_MS    330000
#define LOCK_WAIT_MS 300000
#define LOCK_LOOK_MS 2000

/* What dpkg leaves of a run that did not end: its journal, or the file that it writes the next entry to. */
static bool has_updates(const struct exec_ctx *ctx)
{
    char path[PATH_MAX];
    struct dirent *entry;
    bool found = false;
    DIR *d = exec_path(ctx, "/var/lib/dpkg/updates", path, sizeof(path), NULL) ? NULL : opendir(path);

    while (d && !found && (entry = readdir(d)) != NULL)
        found = entry->d_name[0] != '.';
    if (d)
        closedir(d);
    return found;
}

static bool needs_repair(struct exec_ctx *ctx)
{
    const struct exec_run run = {.tool = TOOL_DPKG,
                                 .argv = (const char *const[]){"", "--audit", NULL},
                                 .timeout_ms = AUDIT_MS,
                                 .quiet = true,
                                 .read_only = true};
    struct spawn_result res;
    bool found = has_updates(ctx);

    if (!found) {
        exec_run(ctx, &run, &res, NULL);
        found = res.out && res.out[0];
        spawn_result_fini(&res);
    }
    return found;
}

static int configure(struct exec_ctx *ctx, bool *locked, struct err *err)
{
    static const char *const env[] = {"DEBIAN_FRONTEND=noninteractive", NULL};
    const struct exec_run run = {
        .tool = TOOL_DPKG,
        .argv = (const char *const[]){"", "--force-confdef", "--force-confold", "--configure", "-a", NULL},
        .env = env,
        .timeout_ms = CONFIGURE_MS,
        .quiet = true,
    };
    struct spawn_result res;
    struct err own = {0};
    int code = exec_run(ctx, &run, &res, &own);

    *locked = code && res.errout && strstr(res.errout, "lock");
    if (code == KPEER_EIO && res.exit_status > 0)
        code = apt_parse_failure(res.errout, "finishing what dpkg was interrupted in", &own);
    spawn_result_fini(&res);
    if (code && err)
        *err = own;
    return code;
}

int repair_dpkg(struct exec_ctx *ctx, struct err *err)
{
    uint64_t until = clock_ms() + LOCK_WAIT_MS;
    static bool told; /* a worker says so once */
    bool locked = false;
    int code;

    while (needs_repair(ctx)) {
        if (!told)
            exec_say(ctx, "packages", -1, "dpkg was interrupted or is at work: finishing that first");
        told = true;
        code = configure(ctx, &locked, err);
        if (code == 0)
            return 0;
        if (!locked || clock_ms() > until)
            /* What cannot be configured now may be by what is installed next; apt says if not. */
            return locked || code == KPEER_ECANCELED ? code : 0;
        code = exec_pause(ctx, LOCK_LOOK_MS, err);
        if (code)
            return code;
    }
    return 0;
}

/* The archive of a package in the work folder, which outlives an installation that was cut. */
static bool find_archive(const struct exec_ctx *ctx, const char *name, char *out, size_t out_bytes)
{
    char dir[PATH_MAX];
    struct dirent *entry;
    size_t n = strlen(name);
    bool found = false;
    DIR *d = exec_path(ctx, WORK_DIR "/archives", dir, sizeof(dir), NULL) ? NULL : opendir(dir);

    while (d && !found && (entry = readdir(d)) != NULL) {
        if (strncmp(entry->d_name, name, n) != 0 || entry->d_name[n] != '_')
            continue;
        found = snprintf(out, out_bytes, "%s/%s", dir, entry->d_name) < (int)out_bytes;
    }
    if (d)
        closedir(d);
    return found;
}

/* dpkg takes away what it had begun to unpack only when it unpacks the same again. */
static void unpack_again(struct exec_ctx *ctx, const char *name)
{
    char archive[PATH_MAX + NAME_MAX];
    const struct exec_run run = {
        .tool = TOOL_DPKG,
        .argv = (const char *const[]){"", "--force-depends", "--unpack", archive, NULL},
        .timeout_ms = UNPACK_MS,
        .quiet = true,
    };
    struct spawn_result res = {0};
    struct err e = {0};

    if (!find_archive(ctx, name, archive, sizeof(archive))) {
        exec_say(ctx, "packages", -1, "%s was being unpacked, and its archive is gone", name);
        return;
    }
    if (exec_run(ctx, &run, &res, &e))
        exec_say(ctx, "packages", -1, "cannot unpack %s again: %s", name, e.text);
    spawn_result_fini(&res);
}

static void remove_in_full(struct exec_ctx *ctx, const struct apt_package *p)
{
    const struct exec_run run = {
        .tool = TOOL_DPKG,
        .argv =
            (const char *const[]){"", "--force-depends", p->purging ? "--purge" : "--remove", p->name, NULL},
        .timeout_ms = UNPACK_MS,
        .quiet = true,
    };
    struct spawn_result res = {0};
    struct err e = {0};

    if (exec_run(ctx, &run, &res, &e))
        exec_say(ctx, "packages", -1, "cannot end the removal of %s: %s", p->name, e.text);
    spawn_result_fini(&res);
}

int repair_cut(struct exec_ctx *ctx, struct err *err)
{
    cleanup_free char *all = NULL;
    int code = query_all(ctx, &all, err);

    for (const char *at = all ? all : ""; *at; at += strcspn(at, "\n"), at += *at == '\n') {
        struct apt_package p;

        if (!apt_parse_package(at, strcspn(at, "\n"), &p))
            continue;
        if (p.cut)
            unpack_again(ctx, p.name);
        else if (p.leaving)
            remove_in_full(ctx, &p);
    }
    return code;
}
