#include "peer/executor/images/need.h"

#include <stdlib.h>
#include <string.h>

#include "peer/executor/file.h"
#include "peer/executor/images/parse_images.h"
#include "peer/executor/kube/flannel.h"
#include "peer/executor/kube/kubeadm.h"
#include "peer/executor/kube/yamlout.h"
#include "protocol/mem.h"
#include "protocol/wanted.h"

#define QUERY_MS     15000
#define MANIFEST_MAX (1024 * 1024)

static void add(struct need *need, enum step_role role, const char *name, const char *of, bool worker)
{
    struct need_image *image = &need->image[need->count];
    if ((role == STEP_ROLE_WORKER && !worker) || need->count == NEED_MAX ||
        !reference_full(name, image->name))
        return;
    for (size_t i = 0; i < need->count; i++)
        if (strcmp(need->image[i].name, image->name) == 0)
            return;
    image->of = of;
    image->worker = worker;
    need->count++;
}

/* What may run on a worker: kube-proxy and pause do, CoreDNS can be put on any Node. */
static bool is_workers(const char *name)
{
    return strstr(name, "/kube-proxy:") || strstr(name, "/pause:") || strstr(name, "/coredns:");
}

static int add_kubernetes(struct exec_ctx *ctx, enum step_role role, struct need *need, struct err *err)
{
    struct kubeadm k;
    struct parse_images images = {0};
    int rc = kubeadm_at_hand(ctx, &k, err);
    if (rc != 0)
        return rc;
    const char *wanted = ctx->cfg->kubernetes_version;
    mem_copy_text(need->version, sizeof need->version, wanted_is_exact(wanted) ? wanted : k.version);
    rc = kubeadm_images(ctx, need->version, &images, err);
    if (rc != 0)
        return err_wrap(err, "kubeadm does not list its images");
    for (size_t i = 0; i < images.count; i++)
        add(need, role, images.names[i], "kubernetes", is_workers(images.names[i]));
    return 0;
}

static int add_flannel(struct exec_ctx *ctx, enum step_role role, struct need *need, struct err *err)
{
    char names[8][FLANNEL_IMAGE_BYTES], *text = NULL;
    size_t n = 0, count = 0;
    const char *path = ctx->cfg->flannel_manifest;
    int rc = path[0] ? file_read(path, MANIFEST_MAX, &text, &n, err)
                     : flannel_own(ctx->cfg->flannel_images, ctx->cfg->flannel_version, &text, &n, err);
    if (rc == 0)
        rc = flannel_images(text, n, names, COUNT_OF(names), &count, err);
    yamlout_free(text, n);
    for (size_t i = 0; i < count; i++)
        add(need, role, names[i], "flannel", true);
    return rc;
}

/* containerd starts each pod with an image of its own configuration, which is not always kubeadm's. */
static void add_runtimes(struct exec_ctx *ctx, enum step_role role, struct need *need)
{
    char name[REFERENCE_BYTES];
    const char *socket = kubeadm_cri_socket(ctx);
    const struct exec_run run = {
        .tool = TOOL_CRICTL,
        .argv = (const char *const[]){"", "--runtime-endpoint", socket, "info", NULL},
        .timeout_ms = QUERY_MS,
        .quiet = true,
        .read_only = true,
    };
    struct spawn_result res = {0};
    if (socket[0] && exec_run(ctx, &run, &res, NULL) == 0 &&
        parse_images_sandbox(res.out, res.out_bytes, name))
        add(need, role, name, "runtime", true);
    spawn_result_fini(&res);
}

int need_list(struct exec_ctx *ctx, enum step_role role, struct need *need, struct err *err)
{
    memset(need, 0, sizeof *need);
    int rc = add_kubernetes(ctx, role, need, err);
    if (rc == 0)
        rc = add_flannel(ctx, role, need, err);
    if (rc != 0)
        return rc;
    if (ctx->cfg->probe_image[0])
        add(need, role, ctx->cfg->probe_image, "probe", true);
    add_runtimes(ctx, role, need);
    return 0;
}
