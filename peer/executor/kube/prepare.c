/* What can be done before there is a cluster to found or to join. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/executor/images/images.h"
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
    return images_prepare(ctx, step->role, err);
}
