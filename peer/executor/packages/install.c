/* Packages as they should be: what misses is found, fetched, noted, installed and held, in this order. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "peer/executor/packages/keep.h"
#include "peer/executor/packages/packages.h"
#include "peer/executor/packages/query.h"
#include "peer/executor/packages/repair.h"
#include "peer/executor/packages/sources.h"
#include "peer/executor/packages/work.h"
#include "protocol/mem.h"
#include "protocol/wanted.h"

#define ASK_BYTES     (APT_NAME_BYTES + APT_VERSION_BYTES + 1)
#define SPARE_BYTES   (64u * 1024 * 1024) /* what shall still be free afterwards */
#define NO_DOCKER     24                  /* the first version that has no way to Docker of its own */
#define CERTIFICATES  "/etc/ssl/certs/ca-certificates.crt"
#define KUBELET_STATE "/etc/kubernetes/kubelet.conf"
#define HOLD_MS       330000

/* What is asked of apt: "kubeadm=1.31.4-1.1", "containerd". */
struct ask {
    char of[NEEDED_MAX][ASK_BYTES];
    size_t count;
    bool over_hold; /* a package that kpeer itself holds changes its version */
};

static void ask_for(struct ask *a, const char *name, const char *version)
{
    if (a->count < NEEDED_MAX)
        snprintf(a->of[a->count++], ASK_BYTES, "%s%s%s", name, version[0] ? "=" : "", version);
}

static int run_install(struct work *w, const struct ask *a, const char *const *options, bool quiet,
                       struct spawn_result *res, struct err *err)
{
    const char *args[NEEDED_MAX + 24] = {"-q",      "-o",          "APT::Status-Fd=1",
                                         "install", "--no-remove", "--allow-downgrades"};
    size_t n = 6;
    const struct work_run run = {.tool = TOOL_APT_GET,
                                 .sources = WORK_ALL,
                                 .args = args,
                                 .what = "installing packages",
                                 .quiet = quiet};

    if (a->over_hold)
        args[n++] = "--allow-change-held-packages";
    for (; *options; options++)
        args[n++] = *options;
    for (size_t i = 0; i < a->count; i++)
        args[n++] = a->of[i];
    return work_apt(w, &run, res, err);
}

static int simulate(struct work *w, const struct ask *a, struct apt_plan *plan, struct err *err)
{
    static const char *const options[] = {"--simulate", NULL};
    struct spawn_result res;
    int code = run_install(w, a, options, true, &res, err);

    code = code ? code : apt_parse_plan(res.out, plan, err);
    spawn_result_fini(&res);
    return code;
}

/* The free space of the file system that `path` is on must hold what is unpacked. */
static int check_space(const struct exec_ctx *ctx, const char *path, uint64_t needed, struct err *err)
{
    char full[PATH_MAX];
    struct statvfs fs;
    uint64_t there;

    if (exec_path(ctx, path, full, sizeof(full), NULL) || statvfs(full, &fs))
        return 0;
    there = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (there >= needed + SPARE_BYTES)
        return 0;
    err_set(err, KPEER_ELIMIT, "%s has %llu MB free where the packages need %llu MB", path,
            (unsigned long long)(there >> 20), (unsigned long long)((needed + SPARE_BYTES) >> 20));
    return err ? err_hint(err, "make room on %s, then try again", path) : KPEER_ELIMIT;
}

static int download(struct work *w, const struct ask *a, struct err *err)
{
    static const char *const options[] = {"--download-only", NULL};
    struct spawn_result res;
    int code;

    exec_say(w->ctx, "download", -1, "fetching packages");
    code = run_install(w, a, options, false, &res, err);
    if (code == 0)
        code = check_space(w->ctx, "/usr", apt_parse_space(res.out), err);
    spawn_result_fini(&res);
    return code;
}

/* All packages of the plan, lying in the work folder. The host's own lists may be old or empty: then they are
 * fetched, into the work folder too. */
static int plan_and_fetch(struct work *w, const struct ask *a, struct apt_plan *plan, struct err *err)
{
    struct err own = {0};
    int code = simulate(w, a, plan, &own);

    code = code || plan->count == 0 ? code : download(w, a, &own);
    if (code == KPEER_ENOTFOUND && !w->offline && !w->all_fresh) {
        code = work_refresh(w, WORK_ALL, &own);
        code = code ? code : simulate(w, a, plan, &own);
        code = code || plan->count == 0 ? code : download(w, a, &own);
    }
    if (code && err)
        *err = own;
    return code;
}

static int note_plan(struct exec_ctx *ctx, const struct apt_plan *plan, struct err *err)
{
    int code = keep_before(ctx, plan, err);

    for (size_t i = 0; i < plan->count && code == 0; i++) {
        struct journal_deed deed = {.kind = DEED_PACKAGE};

        mem_copy_text(deed.name, sizeof(deed.name), plan->changes[i].name);
        mem_copy_text(deed.before, sizeof(deed.before),
                      plan->changes[i].before[0] ? plan->changes[i].before : "absent");
        mem_copy_text(deed.after, sizeof(deed.after), plan->changes[i].after);
        code = journal_note_deed(ctx->journal, &deed, err);
    }
    return code;
}

/* `version` of kubeadm where Kubernetes' repository is to stay on the host, else NULL. */
static int install_set(struct work *w, const struct ask *a, const char *version, struct err *err)
{
    /* What lies in a folder is not fetched, and apt wants to look at it there again. */
    const char *const options[] = {w->offline ? NULL : "--no-download", NULL};
    struct apt_plan *plan = calloc(1, sizeof(*plan));
    struct spawn_result res = {0};
    int code = plan ? plan_and_fetch(w, a, plan, err) : err_set(err, KPEER_ENOMEM, "out of memory");

    if (code == 0 && plan->count) {
        code = note_plan(w->ctx, plan, err);
        code = code || !version ? code : sources_install(w, version, err);
        if (code == 0) {
            exec_say(w->ctx, "packages", -1, "installing %zu packages", plan->count);
            code = run_install(w, a, options, false, &res, err);
        }
        spawn_result_fini(&res);
        code = code ? code : keep_after(w->ctx, err);
    }
    free(plan);
    return code;
}

/* apt itself knows no certificates: over HTTPS it needs those of a package that minimal hosts lack. */
static int install_certificates(struct work *w, struct err *err)
{
    const struct packages_config *cfg = &w->ctx->cfg->packages;
    struct ask a = {0};
    char path[PATH_MAX];
    struct stat st;
    bool https = strncmp(cfg->minor_url, "https:", 6) == 0 || strncmp(cfg->legacy_url, "https:", 6) == 0 ||
                 strncmp(cfg->keyring, "https:", 6) == 0;
    int code = exec_path(w->ctx, CERTIFICATES, path, sizeof(path), err);

    if (code || w->offline || !https || stat(path, &st) == 0)
        return code;
    ask_for(&a, "ca-certificates", "");
    code = install_set(w, &a, NULL, err);
    return code ? err_wrap(err, "the certificates that HTTPS needs") : 0;
}

/* cri-tools and kubernetes-cni have versions of their own. */
static int ask_companion(struct work *w, struct ask *a, const char *name, const char *version,
                         struct err *err)
{
    bool follows = strcmp(name, kube_packages[PKG_CRI_TOOLS]) == 0;
    cleanup_free char *text = NULL;
    char own[APT_VERSION_BYTES];
    int code = work_madison(w, WORK_OWN, name, &text, err);

    if (code)
        return code;
    if (apt_parse_companion(text, name, follows ? version : NULL, own, sizeof(own)))
        ask_for(a, name, own);
    else
        exec_say(w->ctx, "packages", -1, "the repository has no %s: it is left out", name);
    return 0;
}

static int ask_all(struct work *w, const struct packages_need *need, const char *version, struct ask *a,
                   struct err *err)
{
    int code = 0;

    for (size_t i = 0; i < need->count && code == 0; i++) {
        const struct needed *n = &need->of[i];

        if (n->need == NEED_NOTHING)
            continue;
        if (n->need == NEED_OTHER && n->package.held)
            a->over_hold = true;
        if (!n->is_kube)
            ask_for(a, n->name, "");
        else if (i <= PKG_KUBECTL)
            ask_for(a, n->name, version);
        else
            code = ask_companion(w, a, n->name, version, err);
    }
    return code;
}

/* The kubeadm that is there and fits decides; without any, what is configured. */
static const char *wanted_of(const struct exec_ctx *ctx, const struct packages_need *need)
{
    const char *wanted = ctx->cfg->kubernetes_version;

    if (need->version[0] && wanted_fits(wanted, need->version))
        return need->version;
    return wanted[0] ? wanted : WANTED_STABLE;
}

static bool needs_kube(const struct packages_need *need)
{
    for (size_t i = 0; i < need->count; i++)
        if (need->of[i].is_kube && need->of[i].need != NEED_NOTHING)
            return true;
    return false;
}

static int refuse_docker(const struct exec_ctx *ctx, const struct packages_need *need, const char *version,
                         struct err *err)
{
    struct version v;

    if (ctx->cfg->packages.runtime != RUNTIME_DOCKER || need->runtime->need == NEED_NOTHING ||
        !version_parse(version, &v) || v.minor < NO_DOCKER)
        return 0;
    err_set(err, KPEER_EINVAL,
            "Kubernetes %s needs cri-dockerd to work with Docker, and no repository has it", version);
    return err ? err_hint(err, "set packages.runtime: containerd, or install Docker and cri-dockerd yourself")
               : KPEER_EINVAL;
}

static int find_and_install(struct work *w, const struct packages_need *need, struct err *err)
{
    char version[APT_VERSION_BYTES] = "";
    bool kube = needs_kube(need);
    struct ask a = {0};
    int code = install_certificates(w, err);

    if (code == 0 && kube)
        code = sources_find(w, wanted_of(w->ctx, need), version, sizeof(version), err);
    else if (code == 0 && w->offline)
        code = sources_folder(w, err);
    if (code == 0 && kube)
        exec_say(w->ctx, "packages", -1, "Kubernetes %s", version);
    code = code ? code : refuse_docker(w->ctx, need, kube ? version : need->version, err);
    code = code || !kube ? code : sources_add(w, err);
    code = code ? code : ask_all(w, need, version, &a, err);
    return code ? code : install_set(w, &a, kube ? version : NULL, err);
}

/* ---- what forbids it ---- */

static bool in_cluster(const struct exec_ctx *ctx)
{
    const struct journal_state *s = journal_state(ctx->journal);
    char path[PATH_MAX];
    struct stat st;

    return s->init_begun || s->join_begun ||
           (exec_path(ctx, KUBELET_STATE, path, sizeof(path), NULL) == 0 && stat(path, &st) == 0);
}

static int refuse_change(const struct exec_ctx *ctx, const struct needed *n, struct err *err)
{
    if (n->need != NEED_OTHER)
        return 0;
    if (in_cluster(ctx)) {
        err_set(err, KPEER_ESTATE, "%s is %s on a host that is in a cluster", n->name, n->package.version);
        return err ? err_hint(err,
                              "change kubernetes in the configuration, or let this host leave: kpeer leave")
                   : KPEER_ESTATE;
    }
    if (n->package.held && !journal_find_deed(ctx->journal, DEED_HOLD, n->name, NULL)) {
        err_set(err, KPEER_ESTATE, "somebody holds %s at %s where %s is wanted", n->name, n->package.version,
                ctx->cfg->kubernetes_version);
        return err ? err_hint(err, "change kubernetes in the configuration, or: apt-mark unhold %s", n->name)
                   : KPEER_ESTATE;
    }
    return 0;
}

static int refuse_install(const struct exec_ctx *ctx, const struct packages_need *need, struct err *err)
{
    char path[PATH_MAX], names[PACKAGES_LIST_BYTES] = "";
    size_t used = 0;
    int code = 0;

    for (size_t i = 0; i < need->count && code == 0; i++) {
        code = refuse_change(ctx, &need->of[i], err);
        if (need->of[i].need != NEED_NOTHING && used < sizeof(names))
            used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "",
                                     need->of[i].name);
    }
    if (code)
        return code;
    if (!ctx->cfg->packages.install) {
        err_set(err, KPEER_EREFUSED, "packages.install is false, and this host lacks %s", names);
        return err ? err_hint(err, "install them, or set packages.install: true") : KPEER_EREFUSED;
    }
    if (spawn_find(exec_tool(ctx, TOOL_APT_GET), path, sizeof(path), NULL) == 0)
        return 0;
    err_set(err, KPEER_EREFUSED, "this host has no apt, and lacks %s", names);
    return err ? err_hint(err, "install them by the means of this host's distribution") : KPEER_EREFUSED;
}

/* ---- held ---- */

static int hold(struct exec_ctx *ctx, const char *name, struct err *err)
{
    const struct journal_deed deed = {.kind = DEED_HOLD, .before = "install", .after = "hold"};
    const struct exec_run run = {.tool = TOOL_APT_MARK,
                                 .argv = (const char *const[]){"", WORK_NO_TRACE, "hold", name, NULL},
                                 .timeout_ms = HOLD_MS,
                                 .quiet = true};
    struct journal_deed own = deed;
    struct spawn_result res = {0};
    int code;

    mem_copy_text(own.name, sizeof(own.name), name);
    code = journal_note_deed(ctx->journal, &own, err);
    code = code ? code : exec_run(ctx, &run, &res, err);
    spawn_result_fini(&res);
    return code;
}

static int hold_all(struct exec_ctx *ctx, struct err *err)
{
    int code = 0;

    for (size_t i = 0; i < KUBE_PACKAGES && code == 0; i++) {
        struct apt_package p;

        if (!query_package(ctx, kube_packages[i], &p) || !p.installed || p.held)
            continue;
        code = hold(ctx, p.name, err);
        if (code == 0)
            exec_say(ctx, "packages", -1, "%s %s is held", p.name, p.version);
    }
    return code;
}

/* ---- all of it ---- */

static size_t count_needs(const struct packages_need *need)
{
    size_t n = 0;

    for (size_t i = 0; i < need->count; i++)
        n += need->of[i].need != NEED_NOTHING;
    return n;
}

static void rehearse(struct exec_ctx *ctx, const struct packages_need *need)
{
    for (size_t i = 0; i < need->count; i++)
        if (need->of[i].need != NEED_NOTHING)
            exec_say(ctx, "packages", -1, "would install %s%s%s", need->of[i].name,
                     need->of[i].is_kube ? " " : "", need->of[i].is_kube ? wanted_of(ctx, need) : "");
}

static int check_done(struct exec_ctx *ctx, struct err *err)
{
    struct packages_need need;
    int code = query_needs(ctx, &need, err);

    for (size_t i = 0; i < need.count && code == 0; i++)
        if (need.of[i].need != NEED_NOTHING && strcmp(need.of[i].name, kube_packages[PKG_CRI_TOOLS]) != 0) {
            code = err_set(err, KPEER_EIO, "packages were installed, and %s is still not as it should be",
                           need.of[i].name);
            if (err)
                err_hint(err, "see /var/log/apt/term.log");
        }
    return code;
}

static int install_needed(struct exec_ctx *ctx, struct packages_need *need, struct err *err)
{
    struct work w;
    int code = refuse_install(ctx, need, err);

    code = code ? code : repair_dpkg(ctx, err);
    code = code ? code : repair_cut(ctx, err);
    code = code ? code : query_needs(ctx, need, err);
    if (code || count_needs(need) == 0) /* what a power cut left half done is whole now */
        return code ? code : work_remove(ctx, err);
    code = work_note(ctx, err);
    if (code)
        return code;
    code = work_open(ctx, &w, err);
    code = code ? code : find_and_install(&w, need, err);
    work_close(&w);
    return code ? code : check_done(ctx, err);
}

int packages_install(struct exec_ctx *ctx, enum step_role role, struct err *err)
{
    struct packages_need need;
    int code = query_needs(ctx, &need, err);

    (void)role;
    if (code)
        return code;
    if (ctx->dry_run) {
        rehearse(ctx, &need);
        return 0;
    }
    code = count_needs(&need) ? install_needed(ctx, &need, err) : work_remove(ctx, err);
    return code ? code : hold_all(ctx, err);
}
