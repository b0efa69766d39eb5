/* Packages as they were: what kpeer installed is purged in one transaction, what it held is free again. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "peer/executor/packages/keep.h"
#include "peer/executor/packages/packages.h"
#include "peer/executor/packages/query.h"
#include "peer/executor/packages/repair.h"
#include "peer/executor/packages/work.h"
#include "protocol/mem.h"

#define UNHOLD_MS 330000

struct names {
    char of[KEEP_NEW_MAX][APT_NAME_BYTES];
    size_t count;
};

static bool has(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->of[i], name) == 0)
            return true;
    return false;
}

static void drop(struct names *names, size_t i)
{
    names->count--;
    memmove(names->of[i], names->of[i + 1], (names->count - i) * sizeof(names->of[0]));
}

static int run_purge(struct work *w, const struct names *names, bool simulate, struct spawn_result *res,
                     struct err *err)
{
    cleanup_free const char **args = calloc(names->count + 8, sizeof(*args));
    size_t n = 0;
    const struct work_run run = {.tool = TOOL_APT_GET,
                                 .sources = WORK_ALL,
                                 .args = args,
                                 .what = "removing packages",
                                 .quiet = simulate};

    memset(res, 0, sizeof(*res));
    if (!args)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    args[n++] = "-q";
    args[n++] = "-o";
    args[n++] = "APT::Status-Fd=1";
    args[n++] = "purge";
    args[n++] = simulate ? "--simulate" : "--allow-change-held-packages";
    if (simulate)
        args[n++] = "--allow-change-held-packages";
    for (size_t i = 0; i < names->count; i++)
        args[n++] = names->of[i];
    return work_apt(w, &run, res, err);
}

/* Whether the removal would take something that is not among `names`; its name goes into `other`. */
static int takes_others(struct work *w, const struct names *asked, const struct names *names,
                        char other[static APT_NAME_BYTES], bool *takes, struct err *err)
{
    struct apt_plan *plan = calloc(1, sizeof(*plan));
    struct spawn_result res = {0};
    int code = plan ? run_purge(w, asked, true, &res, err) : err_set(err, KPEER_ENOMEM, "out of memory");

    code = code ? code : apt_parse_plan(res.out, plan, err);
    *takes = false;
    for (size_t i = 0; code == 0 && i < plan->count && !*takes; i++) {
        const struct apt_change *c = &plan->changes[i];

        *takes = !c->after[0] && !has(names, c->name);
        if (*takes)
            mem_copy_text(other, APT_NAME_BYTES, c->name);
    }
    spawn_result_fini(&res);
    free(plan);
    return code;
}

/* Takes out of `names` what somebody else's packages need by now, and what those need in turn. */
static int spare_needed(struct work *w, struct names *names, struct err *err)
{
    struct names *one = calloc(1, sizeof(*one));
    char other[APT_NAME_BYTES] = "";
    bool takes = false, again = true;
    int code =
        one ? takes_others(w, names, names, other, &takes, err) : err_set(err, KPEER_ENOMEM, "out of memory");

    while (code == 0 && takes && again) {
        again = false;
        for (size_t i = names->count; i-- > 0 && code == 0;) {
            bool needed = false;

            one->count = 1;
            memcpy(one->of[0], names->of[i], sizeof(one->of[0]));
            code = takes_others(w, one, names, other, &needed, err);
            if (code || !needed)
                continue;
            exec_say(w->ctx, "undo", -1, "left alone package %s: %s needs it", names->of[i], other);
            drop(names, i);
            again = true;
        }
    }
    free(one);
    return code;
}

/* Those that are still there in any form: removed ones may have left their settings. */
static void keep_present(struct exec_ctx *ctx, struct names *names)
{
    for (size_t i = names->count; i-- > 0;) {
        struct apt_package p = {0};

        if (!query_package(ctx, names->of[i], &p) || !p.there)
            drop(names, i);
    }
}

static int purge(struct work *w, struct names *names, bool *all, struct err *err)
{
    struct spawn_result res = {0};
    size_t before = names->count;
    int code = spare_needed(w, names, err);

    *all = names->count == before;
    if (code || names->count == 0)
        return code;
    exec_say(w->ctx, "undo", -1, "removing %zu packages", names->count);
    code = run_purge(w, names, false, &res, err);
    spawn_result_fini(&res);
    /* One whose removal was cut short is only removed at first: its settings go the second time. */
    keep_present(w->ctx, names);
    if (code || names->count == 0)
        return code;
    code = run_purge(w, names, false, &res, err);
    spawn_result_fini(&res);
    return code;
}

/* apt refuses all work over a package that dpkg was unpacking when the power went. Where it could not be
 * unpacked again, it is forced away as it is, and may leave what it had unpacked. */
static int purge_cut(struct exec_ctx *ctx, struct names *names, struct err *err)
{
    int code = 0;

    for (size_t i = names->count; i-- > 0 && code == 0;) {
        const struct exec_run run = {.tool = TOOL_DPKG,
                                     .argv = (const char *const[]){"", "--force-remove-reinstreq",
                                                                   "--force-depends", "--purge", names->of[i],
                                                                   NULL},
                                     .quiet = true};
        struct spawn_result res = {0};
        struct apt_package p = {0};

        if (!query_package(ctx, names->of[i], &p) || !p.cut)
            continue;
        code = exec_run(ctx, &run, &res, err);
        spawn_result_fini(&res);
        if (code == 0)
            drop(names, i);
    }
    return code;
}

static int purge_new(struct exec_ctx *ctx, struct names *names, bool *all, struct err *err)
{
    struct work w;
    int code = repair_dpkg(ctx, err);

    code = code ? code : keep_removing(ctx, err);
    code = code ? code : repair_cut(ctx, err);
    code = code ? code : purge_cut(ctx, names, err);
    if (code || names->count == 0)
        return code;
    code = work_open(ctx, &w, err);
    code = code ? code : purge(&w, names, all, err);
    work_close(&w);
    return code;
}

static int undo_all(struct exec_ctx *ctx, struct err *err)
{
    struct names *names = calloc(1, sizeof(*names));
    bool all = true;
    int code =
        names ? keep_new(ctx, names->of, &names->count, err) : err_set(err, KPEER_ENOMEM, "out of memory");

    if (code || names->count == 0) {
        free(names);
        return code;
    }
    keep_present(ctx, names);
    code = purge_new(ctx, names, &all, err); /* where none is left, dpkg may still be tidied up after */
    if (code == 0 && all)
        code = keep_restore(ctx, err);
    free(names);
    return code ? code : keep_forget(ctx, err);
}

static int undo_work(struct exec_ctx *ctx, enum journal_undone *how, struct err *err)
{
    char path[PATH_MAX];
    struct stat st;
    int code = exec_path(ctx, WORK_DIR, path, sizeof(path), err);

    *how = JOURNAL_SAME;
    if (code || lstat(path, &st))
        return code;
    *how = JOURNAL_BACK;
    return work_remove(ctx, err);
}

/* Another version of a package is a matter for whoever had it: where it came from is not known. */
static int undo_package(struct exec_ctx *ctx, const struct journal_deed *d, enum journal_undone *how,
                        struct err *err)
{
    struct apt_package p = {0};
    bool was = query_package(ctx, d->name, &p) && p.there;
    int code;

    if (strcmp(d->before, "absent") != 0) {
        *how = was && strcmp(p.version, d->before) == 0 ? JOURNAL_SAME : JOURNAL_LEFT;
        if (*how == JOURNAL_LEFT)
            exec_say(ctx, "undo", -1, "package %s was %s before: apt-get install %s=%s", d->name, d->before,
                     d->name, d->before);
        return 0;
    }
    code = undo_all(ctx, err);
    if (code)
        return code;
    memset(&p, 0, sizeof(p));
    *how = query_package(ctx, d->name, &p) && p.there ? JOURNAL_LEFT : was ? JOURNAL_BACK : JOURNAL_SAME;
    return 0;
}

static int undo_hold(struct exec_ctx *ctx, const struct journal_deed *d, enum journal_undone *how,
                     struct err *err)
{
    const struct exec_run run = {.tool = TOOL_APT_MARK,
                                 .argv = (const char *const[]){"", WORK_NO_TRACE, "unhold", d->name, NULL},
                                 .timeout_ms = UNHOLD_MS,
                                 .quiet = true};
    struct apt_package p = {0};
    struct spawn_result res;
    int code;

    *how = JOURNAL_SAME;
    if (!query_package(ctx, d->name, &p) || !p.held || strcmp(d->before, "install") != 0)
        return 0;
    code = repair_dpkg(ctx, err);
    if (code)
        return code;
    code = exec_run(ctx, &run, &res, err);
    spawn_result_fini(&res);
    *how = JOURNAL_BACK;
    return code;
}

int packages_undo(void *arg, const struct journal_deed *d, enum journal_undone *how, struct err *err)
{
    struct exec_ctx *ctx = arg;

    if (d->kind == DEED_HOLD)
        return undo_hold(ctx, d, how, err);
    if (d->kind != DEED_PACKAGE)
        return err_set(err, KPEER_EINVAL, "%s is no package", d->name);
    return strcmp(d->name, WORK_DIR) == 0 ? undo_work(ctx, how, err) : undo_package(ctx, d, how, err);
}
