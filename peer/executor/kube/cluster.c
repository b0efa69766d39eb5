/* The steps that a control plane does through the API server: network and probe, drain, delete; and its
 * kubeconfig. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/executor/kube/flannel.h"
#include "peer/executor/kube/kube.h"
#include "peer/executor/kube/kubeadm.h"
#include "peer/executor/kube/manifest.h"
#include "protocol/mem.h"

#define QUERY_MS       15000
#define APPLY_MS       60000
#define APPLY_TRIES    3
#define APPLY_PAUSE_MS 1000
#define DRAIN_MS       90000
#define DELETE_MS      30000

struct text {
    char *bytes;
    size_t n;
};
#define cleanup_text __attribute__((cleanup(text_fini)))

static void text_fini(struct text *t)
{
    yamlout_free(t->bytes, t->n);
}

/* The manifest that a user gives, or kpeer's own. */
static int base_manifest(struct exec_ctx *ctx, struct text *out, struct err *err)
{
    const char *path = ctx->cfg->flannel_manifest;
    if (!path[0])
        return flannel_own(ctx->cfg->flannel_images, ctx->cfg->flannel_version, &out->bytes, &out->n, err);
    int rc = files_read_at(path, 1024 * 1024, &out->bytes, &out->n, err);
    return rc == 0 ? 0 : err_wrap(err, "Flannel's manifest");
}

static int network_manifest(struct exec_ctx *ctx, const struct step *step, struct text *out, struct err *err)
{
    cleanup_text struct text base = {0};
    int rc = base_manifest(ctx, &base, err);
    if (rc != 0)
        return rc;
    const struct flannel_wish wish = {
        .pod_cidr = step->pod_cidr,
        .backend = ctx->cfg->flannel_backend,
        .choice = FLANNEL_CAN_REACH,
        .address = step->address,
        .interface = step->interface,
    };
    return flannel_adapt(base.bytes, base.n, &wish, &out->bytes, &out->n, err);
}

void kube_probe_image(struct exec_ctx *ctx, char *image, size_t room)
{
    struct kubeadm k;
    struct parse_images images = {0};
    const char *pause = NULL;
    if (ctx->cfg->probe_image[0]) {
        snprintf(image, room, "%s", ctx->cfg->probe_image);
        return;
    }
    if (kubeadm_at_hand(ctx, &k, NULL) == 0 && kubeadm_images(ctx, k.version, &images, NULL) == 0)
        pause = parse_image_of(&images, "pause");
    snprintf(image, room, "%s", pause ? pause : PROBE_IMAGE);
}

/* Both in one stream: each begins with "---". */
static int join_texts(const struct text *a, const struct text *b, struct text *out, struct err *err)
{
    out->bytes = malloc(a->n + b->n + 2);
    if (!out->bytes)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    memcpy(out->bytes, a->bytes, a->n);
    out->bytes[a->n] = '\n';
    memcpy(out->bytes + a->n + 1, b->bytes, b->n + 1);
    out->n = a->n + 1 + b->n;
    return 0;
}

/* An API server that has just come up may refuse once or twice. A user's manifest is validated; kpeer's own
 * need not be, which spares every API server the telling of its whole schema. */
static int apply(struct exec_ctx *ctx, const struct text *manifest, struct err *err)
{
    bool own = !ctx->cfg->flannel_manifest[0];
    int rc = 0;
    for (int i = 0; i < APPLY_TRIES; i++) {
        struct spawn_result res;
        const struct kubectl_call call = {
            .kubeconfig = KUBE_ADMIN,
            .argv = (const char *const[]){"apply", "-f", "-", own ? "--validate=false" : NULL, NULL},
            .input = manifest->bytes,
            .input_bytes = manifest->n,
            .timeout_ms = APPLY_MS,
        };
        rc = kubectl_run(ctx, &call, &res, err);
        spawn_result_fini(&res);
        if (rc != KPEER_EIO || i + 1 == APPLY_TRIES)
            break;
        int paused = exec_pause(ctx, APPLY_PAUSE_MS, err);
        if (paused != 0)
            return paused;
    }
    return rc == 0 ? 0 : err_wrap(err, "cannot set up the pod network");
}

int kube_apply(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    (void)result;
    cleanup_text struct text network = {0};
    cleanup_text struct text probe = {0};
    cleanup_text struct text all = {0};
    char image[PARSE_IMAGE_BYTES];
    int rc = kube_need_admin(ctx, err);
    if (rc == 0)
        rc = network_manifest(ctx, step, &network, err);
    if (rc != 0)
        return rc;
    kube_probe_image(ctx, image, sizeof image);
    rc = manifest_probe(image, &probe.bytes, &probe.n, err);
    if (rc == 0)
        rc = join_texts(&network, &probe, &all, err);
    if (rc == 0 && ctx->dry_run)
        exec_say_document(ctx, "network and probe", all.bytes);
    if (rc == 0)
        rc = apply(ctx, &all, err);
    return rc;
}

/* Whether the Node is there: kubectl prints its name or nothing. */
static int node_is_there(struct exec_ctx *ctx, const char *name, bool *there, struct err *err)
{
    struct spawn_result res;
    const struct kubectl_call call = {
        .kubeconfig = KUBE_ADMIN,
        .argv = (const char *const[]){"get", "node", name, "--ignore-not-found", "-o", "name", NULL},
        .timeout_ms = QUERY_MS,
        .quiet = true,
    };
    int rc = kubectl_run(ctx, &call, &res, err);
    if (rc == 0)
        *there = ctx->dry_run || (res.out && strstr(res.out, name));
    spawn_result_fini(&res);
    return rc;
}

/* The option had another name before 1.20, which newer ones no longer know. */
static const char *drop_data_option(struct exec_ctx *ctx)
{
    struct kubeadm k;
    unsigned minor = 0;
    if (kubeadm_at_hand(ctx, &k, NULL) == 0 && sscanf(k.version, "v1.%4u", &minor) == 1 && minor < 20)
        return "--delete-local-data";
    return "--delete-emptydir-data";
}

int kube_drain(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    (void)result;
    bool there = false;
    int rc = kube_need_admin(ctx, err);
    if (rc == 0)
        rc = node_is_there(ctx, step->node_name, &there, err);
    if (rc != 0 || !there)
        return rc;
    struct spawn_result res;
    const struct kubectl_call call = {
        .kubeconfig = KUBE_ADMIN,
        .argv = (const char *const[]){"drain", step->node_name, "--ignore-daemonsets", drop_data_option(ctx),
                                      "--force", "--timeout=60s", NULL},
        .timeout_ms = DRAIN_MS,
    };
    rc = kubectl_run(ctx, &call, &res, err);
    spawn_result_fini(&res);
    if (rc != 0)
        err_hint(err, "a pod may not be moved (PodDisruptionBudget?): see kubectl get pods -A -o wide");
    return rc;
}

int kube_delete_node(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                     struct err *err)
{
    (void)result;
    int rc = kube_need_admin(ctx, err);
    if (rc != 0)
        return rc;
    struct spawn_result res;
    const struct kubectl_call call = {
        .kubeconfig = KUBE_ADMIN,
        .argv = (const char *const[]){"delete", "node", step->node_name, "--ignore-not-found", NULL},
        .timeout_ms = DELETE_MS,
    };
    rc = kubectl_run(ctx, &call, &res, err);
    spawn_result_fini(&res);
    return rc;
}

int kube_kubeconfig(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                    struct err *err)
{
    (void)step;
    char *bytes = NULL;
    size_t n = 0;
    if (ctx->dry_run)
        return err_set(err, KPEER_ESTATE, "a rehearsal has no cluster, so there is no kubeconfig");
    int rc = kube_need_admin(ctx, err);
    if (rc == 0)
        rc = files_read(ctx, KUBE_ADMIN, STEP_BLOB_MAX, &bytes, &n, err);
    if (rc == 0) {
        result->blob = (uint8_t *)bytes;
        result->blob_bytes = n;
    }
    return rc;
}
