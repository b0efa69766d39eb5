/* What can be done before there is a cluster to found or to join. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/executor/kube/flannel.h"
#include "peer/executor/kube/kube.h"
#include "peer/executor/kube/kubeadm.h"
#include "protocol/mem.h"
#include "protocol/wanted.h"

#define SERVICE_MS 60000
#define QUERY_MS   20000

/* Starts a service that is there and not running. Many hosts have no systemd (containers, rehearsals): told,
 * not fatal. */
static void start_service(struct exec_ctx *ctx, const char *unit, bool start, struct err *err)
{
    const struct exec_run run = {
        .tool = TOOL_SYSTEMCTL,
        .argv = (const char *const[]){"", start ? "start" : "enable", unit, NULL},
        .timeout_ms = SERVICE_MS,
        .quiet = true,
    };
    struct spawn_result res;
    int rc = exec_run(ctx, &run, &res, err);
    spawn_result_fini(&res);
    if (rc == KPEER_ENOTFOUND)
        exec_say(ctx, "services", -1, "no systemctl here: %s is taken to be run by something else", unit);
    else if (rc != 0)
        exec_say(ctx, "services", -1, "%s", err->text);
}

static bool is_active(struct exec_ctx *ctx, const char *unit)
{
    const struct exec_run run = {
        .tool = TOOL_SYSTEMCTL,
        .argv = (const char *const[]){"", "is-active", "--quiet", unit, NULL},
        .timeout_ms = QUERY_MS,
        .quiet = true,
        .read_only = true,
    };
    struct spawn_result res;
    int rc = exec_run(ctx, &run, &res, NULL);
    spawn_result_fini(&res);
    return rc == 0;
}

/* A kubelet without a configuration only starts over and over: init and join start it. */
static void start_services(struct exec_ctx *ctx)
{
    struct err ignored = {0};
    if (!is_active(ctx, "containerd") && !files_exists(ctx, "/run/crio/crio.sock") &&
        !files_exists(ctx, "/run/cri-dockerd.sock") && !files_exists(ctx, "/run/docker.sock"))
        start_service(ctx, "containerd", true, &ignored);
    start_service(ctx, "kubelet", false, &ignored);
}

/* The listing of the runtime's images: crictl's, else ctr's. */
static int list_images(struct exec_ctx *ctx, struct spawn_result *res, struct err *err)
{
    const char *socket = kubeadm_cri_socket(ctx);
    const struct exec_run by_crictl = {
        .tool = TOOL_CRICTL,
        .argv = (const char *const[]){"", "--runtime-endpoint", socket, "images", NULL},
        .timeout_ms = QUERY_MS,
        .quiet = true,
        .read_only = true,
    };
    const struct exec_run by_ctr = {
        .tool = TOOL_CTR,
        .argv = (const char *const[]){"", "-n", "k8s.io", "images", "ls", "-q", NULL},
        .timeout_ms = QUERY_MS,
        .quiet = true,
        .read_only = true,
    };
    if (socket[0] && exec_run(ctx, &by_crictl, res, NULL) == 0)
        return 0;
    if (socket[0])
        spawn_result_fini(res);
    return exec_run(ctx, &by_ctr, res, err);
}

/* A worker needs kube-proxy, pause and perhaps CoreDNS; the rest is the control plane's. */
static bool is_needed(const char *image, enum step_role role)
{
    return role == STEP_ROLE_MASTER || strstr(image, "/kube-proxy:") || strstr(image, "/pause:");
}

static void tell_missing(struct exec_ctx *ctx, const struct parse_images *images, const char *listing,
                         enum step_role role)
{
    size_t there = 0;
    size_t needed = 0;
    for (size_t i = 0; i < images->count; i++) {
        if (!is_needed(images->names[i], role))
            continue;
        needed++;
        if (parse_lists_image(listing, images->names[i]))
            there++;
        else
            exec_say(ctx, "images", -1, "%s is not here yet: it will be pulled", images->names[i]);
    }
    exec_say(ctx, "images", -1, "%zu of %zu images are here", there, needed);
}

static void check_images(struct exec_ctx *ctx, const struct kubeadm *k, enum step_role role)
{
    struct parse_images images = {0};
    struct spawn_result res;
    const char *version =
        wanted_is_exact(ctx->cfg->kubernetes_version) ? ctx->cfg->kubernetes_version : k->version;
    struct err err = {0};
    if (kubeadm_images(ctx, version, &images, &err) != 0) {
        exec_say(ctx, "images", -1, "kubeadm does not list its images: %s", err.text);
        return;
    }
    if (list_images(ctx, &res, &err) == 0)
        tell_missing(ctx, &images, res.out, role);
    else
        exec_say(ctx, "images", -1, "which images are here cannot be told: %s", err.text);
    spawn_result_fini(&res);
}

/* Half an init or join: nothing can be built on it. A whole one is left as it is. */
static int undo_leftovers(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                          struct err *err)
{
    const struct journal_state *s = ctx->journal ? journal_state(ctx->journal) : NULL;
    if (!s || !((s->init_begun && !s->init_done) || (s->join_begun && !s->join_done)))
        return 0;
    exec_say(ctx, "leftovers", -1, "kubeadm %s was begun here and not ended: resetting",
             s->init_begun ? "init" : "join");
    if (ctx->dry_run)
        return kube_reset(ctx, step, result, err);
    int rc = journal_begin(ctx->journal, STEP_RESET, NULL, err);
    if (rc != 0)
        return rc;
    rc = kube_reset(ctx, step, result, err);
    int ended = journal_end(ctx->journal, STEP_RESET, rc, rc == 0 ? err : NULL);
    return rc != 0 ? rc : ended;
}

int kube_prepare(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    struct kubeadm k;
    files_private_sweep(ctx);
    int rc = kubeadm_at_hand(ctx, &k, err);
    if (rc == 0)
        rc = undo_leftovers(ctx, step, result, err);
    if (rc != 0)
        return rc;
    start_services(ctx);
    check_images(ctx, &k, step->role);
    return 0;
}
