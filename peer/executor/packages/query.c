#include "peer/executor/packages/query.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "peer/executor/packages/packages.h"
#include "peer/executor/packages/work.h"
#include "protocol/mem.h"
#include "protocol/wanted.h"

#define QUERY_MS 20000
#define FORMAT   "${Package}\t${Version}\t${Status}\n"

const char *const kube_packages[KUBE_PACKAGES] = {
    [PKG_KUBEADM] = "kubeadm",     [PKG_KUBELET] = "kubelet",    [PKG_KUBECTL] = "kubectl",
    [PKG_CRI_TOOLS] = "cri-tools", [PKG_CNI] = "kubernetes-cni",
};

bool query_package(struct exec_ctx *ctx, const char *name, struct apt_package *out)
{
    const struct exec_run run = {
        .tool = TOOL_DPKG_QUERY,
        .argv = (const char *const[]){"", "--show", "--showformat", FORMAT, name, NULL},
        .timeout_ms = QUERY_MS,
        .quiet = true,
        .read_only = true,
    };
    struct spawn_result res;
    bool found;

    found = exec_run(ctx, &run, &res, NULL) == 0 && res.out[0] &&
            apt_parse_package(res.out, strcspn(res.out, "\n"), out);
    spawn_result_fini(&res);
    return found;
}

int query_all(struct exec_ctx *ctx, char **out, struct err *err)
{
    const struct exec_run run = {
        .tool = TOOL_DPKG_QUERY,
        .argv = (const char *const[]){"", "--show", "--showformat", FORMAT, NULL},
        .timeout_ms = QUERY_MS,
        .quiet = true,
        .read_only = true,
    };
    struct spawn_result res;
    int code = exec_run(ctx, &run, &res, err);

    if (code == 0) {
        *out = strdup(res.out);
        code = *out ? 0 : err_set(err, KPEER_ENOMEM, "out of memory");
    }
    spawn_result_fini(&res);
    return code;
}

bool query_any_cut(struct exec_ctx *ctx)
{
    cleanup_free char *all = NULL;
    struct apt_package p;

    if (query_all(ctx, &all, NULL))
        return true;
    for (const char *at = all; *at; at += strcspn(at, "\n"), at += *at == '\n')
        if (apt_parse_package(at, strcspn(at, "\n"), &p) && p.cut)
            return true;
    return false;
}

static bool is_program(const char *name)
{
    char path[PATH_MAX];

    return spawn_find(name, path, sizeof(path), NULL) == 0;
}

static bool is_there(const struct exec_ctx *ctx, const char *path)
{
    char full[PATH_MAX];
    struct stat st;

    return exec_path(ctx, path, full, sizeof(full), NULL) == 0 && stat(full, &st) == 0;
}

/* What stands in for a package that did not bring it: Kubernetes from an archive, or built. */
static bool is_present_without(const struct exec_ctx *ctx, const char *name)
{
    static const struct {
        const char *package;
        enum executor_tool tool;
    } tools[] = {{"kubeadm", TOOL_KUBEADM},
                 {"kubelet", TOOL_KUBELET},
                 {"kubectl", TOOL_KUBECTL},
                 {"cri-tools", TOOL_CRICTL}};

    for (size_t i = 0; i < COUNT_OF(tools); i++)
        if (strcmp(tools[i].package, name) == 0)
            return is_program(exec_tool(ctx, tools[i].tool));
    if (strcmp(name, "kubernetes-cni") == 0)
        return is_there(ctx, "/opt/cni/bin/loopback") || is_there(ctx, "/usr/lib/cni/loopback");
    return is_program(name);
}

static bool is_runtime_there(const struct exec_ctx *ctx)
{
    static const char *const sockets[] = {"/run/containerd/containerd.sock", "/run/crio/crio.sock",
                                          "/run/cri-dockerd.sock", "/run/docker.sock"};
    static const char *const programs[] = {"containerd", "dockerd", "crio"};

    for (size_t i = 0; i < COUNT_OF(sockets); i++)
        if (is_there(ctx, sockets[i]))
            return true;
    for (size_t i = 0; i < COUNT_OF(programs); i++)
        if (is_program(programs[i]))
            return true;
    return false;
}

static void add_name(struct packages_need *all, const char *name, bool is_kube)
{
    all->of[all->count++] = (struct needed){.name = name, .is_kube = is_kube};
}

/* What dpkg knows of them, asked at once: this is looked at often. */
static void ask_dpkg(struct exec_ctx *ctx, struct packages_need *all)
{
    const char *argv[NEEDED_MAX + 5] = {"", "--show", "--showformat", FORMAT};
    const struct exec_run run = {
        .tool = TOOL_DPKG_QUERY, .argv = argv, .timeout_ms = QUERY_MS, .quiet = true, .read_only = true};
    struct spawn_result res;
    struct apt_package p;

    for (size_t i = 0; i < all->count; i++)
        argv[4 + i] = all->of[i].name;
    exec_run(ctx, &run, &res, NULL); /* it fails where it does not know one of them, and tells the others */
    for (const char *at = res.out ? res.out : ""; *at; at += strcspn(at, "\n"), at += *at == '\n') {
        for (size_t i = 0; i < all->count; i++)
            if (apt_parse_package(at, strcspn(at, "\n"), &p) && strcmp(p.name, all->of[i].name) == 0)
                all->of[i].package = p;
    }
    spawn_result_fini(&res);
}

static void judge(struct exec_ctx *ctx, struct needed *n)
{
    if (n->package.broken)
        n->need = NEED_REPAIR;
    else if (!n->package.installed && !is_present_without(ctx, n->name))
        n->need = NEED_INSTALL;
}

/* "v1.23.3" of a kubeadm that no package brought. */
static void ask_kubeadm(struct exec_ctx *ctx, char out[static STEP_VERSION_BYTES])
{
    const struct exec_run run = {
        .tool = TOOL_KUBEADM,
        .argv = (const char *const[]){"", "version", "-o", "short", NULL},
        .timeout_ms = QUERY_MS,
        .quiet = true,
        .constant = true,
        .read_only = true,
    };
    struct spawn_result res;
    struct version v;

    if (exec_run(ctx, &run, &res, NULL) == 0) {
        res.out[strcspn(res.out, "\n")] = '\0';
        if (!version_parse(res.out, &v) || mem_copy_text(out, STEP_VERSION_BYTES, res.out))
            out[0] = '\0';
    }
    spawn_result_fini(&res);
}

static bool fits(const char *wanted, const char *package_version)
{
    const char *colon = strchr(package_version, ':');

    return wanted_fits(wanted, colon ? colon + 1 : package_version);
}

static void judge_kube(struct exec_ctx *ctx, struct packages_need *all)
{
    const struct needed *first = &all->of[PKG_KUBEADM];
    struct version v;

    for (size_t i = 0; i < KUBE_PACKAGES; i++) {
        struct needed *n = &all->of[i];

        /* Who brought kubeadm without a package brought what goes with it as well. */
        if (i > PKG_KUBECTL && n->need == NEED_INSTALL && first->need == NEED_NOTHING &&
            !first->package.installed)
            n->need = NEED_NOTHING;
        if (i <= PKG_KUBECTL && n->package.installed &&
            !fits(ctx->cfg->kubernetes_version, n->package.version))
            n->need = NEED_OTHER;
    }
    if (first->package.installed && apt_upstream_version(first->package.version, &v))
        snprintf(all->version, sizeof(all->version), "v%u.%u.%u", v.major, v.minor, v.patch);
    else if (first->need == NEED_NOTHING)
        ask_kubeadm(ctx, all->version);
}

static const char *runtime_package(const struct exec_ctx *ctx)
{
    static const char *const names[] = {
        [RUNTIME_CONTAINERD] = "containerd",
        [RUNTIME_DOCKER] = "docker.io",
        [RUNTIME_CRIO] = "cri-o",
    };

    return ctx->cfg->packages.runtime < RUNTIME_NONE ? names[ctx->cfg->packages.runtime] : NULL;
}

int query_needs(struct exec_ctx *ctx, struct packages_need *out, struct err *err)
{
    const char *runtime = runtime_package(ctx);

    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < KUBE_PACKAGES; i++)
        add_name(out, kube_packages[i], true);
    add_name(out, "conntrack", false);
    add_name(out, "iptables", false);
    if (runtime)
        add_name(out, runtime, false);
    ask_dpkg(ctx, out);
    for (size_t i = 0; i < out->count; i++)
        judge(ctx, &out->of[i]);
    judge_kube(ctx, out);
    out->runtime = runtime ? &out->of[out->count - 1] : NULL;
    if (runtime && out->runtime->need == NEED_INSTALL && is_runtime_there(ctx))
        out->of[out->count - 1].need = NEED_NOTHING;
    return spawn_canceled() ? err_set(err, KPEER_ECANCELED, "stopped on request") : 0;
}

/* ---- for the table of checks ---- */

static void list(char out[static PACKAGES_LIST_BYTES], const char *name, const char *version)
{
    size_t used = strlen(out);

    snprintf(out + used, PACKAGES_LIST_BYTES - used, "%s%s%s%s", used ? ", " : "", name,
             version[0] ? " " : "", version);
}

static bool is_ours(const struct exec_ctx *ctx)
{
    char path[PATH_MAX];

    return spawn_find(exec_tool(ctx, TOOL_APT_GET), path, sizeof(path), NULL) == 0 &&
           ctx->cfg->packages.install;
}

int packages_look(struct exec_ctx *ctx, enum step_role role, struct packages_state *out, struct err *err)
{
    struct packages_need need;
    int code = query_needs(ctx, &need, err);

    (void)role; /* a worker needs kubectl as well: kubeadm's package wants it */
    memset(out, 0, sizeof(*out));
    if (code)
        return code;
    for (size_t i = 0; i < need.count; i++) {
        const struct needed *n = &need.of[i];

        if (n->need == NEED_REPAIR)
            list(out->broken, n->name, "");
        else if (n->need == NEED_OTHER)
            list(out->wrong, n->name, n->package.version);
        else if (n->need == NEED_INSTALL)
            list(out->missing, n->name, "");
        else if (n->is_kube && n->package.installed && !n->package.held)
            list(out->unheld, n->name, "");
    }
    mem_copy_text(out->version, sizeof(out->version), need.version);
    out->can_install = is_ours(ctx);
    out->cut_short = work_is_there(ctx);
    return 0;
}
