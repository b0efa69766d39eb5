#include "peer/executor/kube/kubeadm.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "protocol/mem.h"
#include "protocol/wanted.h"

#define QUERY_MS        15000
#define KUBECTL_ARG_MAX 28
#define REHEARSED       "v1.20.2" /* shown in a rehearsal on a host that has no kubeadm */

static int rehearsed_version(struct exec_ctx *ctx, struct kubeadm *k)
{
    const char *version =
        wanted_is_exact(ctx->cfg->kubernetes_version) ? ctx->cfg->kubernetes_version : REHEARSED;
    exec_say(ctx, NULL, -1, "no kubeadm on this host: rehearsing with %s", version);
    snprintf(k->version, sizeof k->version, "%s", version);
    return documents_api(k->version, &k->api, NULL);
}

int kubeadm_at_hand(struct exec_ctx *ctx, struct kubeadm *k, struct err *err)
{
    struct spawn_result res;
    const struct exec_run run = {
        .tool = TOOL_KUBEADM,
        .argv = (const char *const[]){"", "version", "-o", "json", NULL},
        .timeout_ms = QUERY_MS,
        .quiet = true,
        .constant = true,
        .read_only = true,
    };
    struct kubeadm found = {0};
    int rc = exec_run(ctx, &run, &res, err);
    if (rc == 0)
        rc = parse_kubeadm_version(res.out, res.out_bytes, found.version, err);
    if (rc == 0)
        rc = documents_api(found.version, &found.api, err);
    spawn_result_fini(&res);
    if (rc == KPEER_ENOTFOUND && ctx->dry_run)
        return rehearsed_version(ctx, k);
    if (rc == KPEER_ENOTFOUND)
        err_hint(err, "install kubeadm, kubelet and kubectl, all of one version");
    if (rc == 0)
        *k = found;
    return rc;
}

int kubeadm_images(struct exec_ctx *ctx, const char *version, struct parse_images *images, struct err *err)
{
    char wanted[STEP_VERSION_BYTES + 24];
    char repository[sizeof ctx->cfg->image_repository + 24];
    snprintf(wanted, sizeof wanted, "--kubernetes-version=%s", version);
    snprintf(repository, sizeof repository, "--image-repository=%s", ctx->cfg->image_repository);
    const struct exec_run run = {
        .tool = TOOL_KUBEADM,
        .argv = (const char *const[]){"", "config", "images", "list", wanted,
                                      ctx->cfg->image_repository[0] ? repository : NULL, NULL},
        .timeout_ms = QUERY_MS,
        .quiet = true,
        .constant = true,
        .read_only = true,
    };
    struct spawn_result res;
    int rc = exec_run(ctx, &run, &res, err);
    if (rc == 0)
        parse_images(res.out, res.out_bytes, images);
    spawn_result_fini(&res);
    return rc;
}

/* Where Docker is, kubeadm up to 1.23 uses it through its own shim: which of the two is meant kubeadm knows
 * best. */
const char *kubeadm_cri_socket(const struct exec_ctx *ctx)
{
    static const char *const sockets[] = {"/run/crio/crio.sock", "/run/cri-dockerd.sock",
                                          "/run/containerd/containerd.sock"};
    static const char *const urls[] = {"unix:///run/crio/crio.sock", "unix:///run/cri-dockerd.sock",
                                       "unix:///run/containerd/containerd.sock"};
    bool docker = files_exists(ctx, "/run/docker.sock");
    for (size_t i = 0; i < COUNT_OF(sockets); i++)
        if (files_exists(ctx, sockets[i]))
            return docker && i == 2 ? "" : urls[i];
    return "";
}

/* crictl info: config.containerd.runtimes.<default>.options.SystemdCgroup, as containerd tells it. */
static const char *driver_in(const char *text, size_t n)
{
    json_t *root = json_loadb(text, n, 0, NULL);
    json_t *containerd = json_object_get(json_object_get(root, "config"), "containerd");
    const char *name = json_string_value(json_object_get(containerd, "defaultRuntimeName"));
    json_t *runtime = json_object_get(json_object_get(containerd, "runtimes"), name ? name : "runc");
    json_t *flag = json_object_get(json_object_get(runtime, "options"), "SystemdCgroup");
    const char *driver = json_is_true(flag) ? "systemd" : json_is_false(flag) ? "cgroupfs" : "";
    json_decref(root);
    return driver;
}

const char *kubeadm_cgroup_driver(struct exec_ctx *ctx)
{
    const char *socket = kubeadm_cri_socket(ctx);
    if (!socket[0])
        return "";
    const struct exec_run run = {
        .tool = TOOL_CRICTL,
        .argv = (const char *const[]){"", "--runtime-endpoint", socket, "info", NULL},
        .timeout_ms = QUERY_MS,
        .quiet = true,
        .read_only = true,
    };
    struct spawn_result res;
    const char *driver = "";
    if (exec_run(ctx, &run, &res, NULL) == 0)
        driver = driver_in(res.out, res.out_bytes);
    spawn_result_fini(&res);
    return driver;
}

/* How far along each phase of init and join is, by the times measured on two processors. */
static int32_t percent_of(const char *phase)
{
    static const struct {
        const char *phase;
        int32_t percent;
    } known[] = {
        {"preflight", 2},           {"certs", 8},
        {"kubeconfig", 14},         {"kubelet-start", 18},
        {"control-plane", 22},      {"etcd", 24},
        {"wait-control-plane", 26}, {"apiclient", 85},
        {"upload-config", 88},      {"mark-control-plane", 92},
        {"bootstrap-token", 94},    {"addons", 97},
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strcmp(known[i].phase, phase) == 0)
            return known[i].percent;
    return -1;
}

struct phases {
    struct exec_ctx *ctx;
    char phase[32];
    int32_t percent;
};

static void tell_phase(void *arg, bool is_stderr, const char *line)
{
    struct phases *p = arg;
    char masked[SPAWN_LINE_BYTES];
    /* What it reports bears a phase; the rest is advice to a person who typed the command. */
    if (!line[0] || (!is_stderr && line[0] != '[') || strncmp(line, "To see the stack trace", 22) == 0)
        return;
    snprintf(masked, sizeof masked, "%s", line);
    parse_mask(masked);
    if (parse_phase(masked, p->phase, sizeof p->phase)) {
        int32_t percent = percent_of(p->phase);
        if (percent > p->percent)
            p->percent = percent;
    }
    exec_say(p->ctx, p->phase, p->percent, "%s", masked);
}

static int explain(const struct spawn_result *res, const char *what, struct err *err)
{
    char raw[400];
    char cause[ERR_TEXT_BYTES - 64];
    parse_cause(res->errout, res->out, raw, sizeof raw);
    spawn_escape(cause, sizeof cause, raw, strlen(raw));
    err_set(err, KPEER_EIO, "kubeadm %s ended with status %d: %s", what, res->exit_status,
            cause[0] ? cause : "without a word");
    return err_hint(err, "%s", parse_hint(cause));
}

int kubeadm_run(struct exec_ctx *ctx, const char *const *argv, uint32_t timeout_ms, struct err *err)
{
    struct spawn_result res = {0};
    if (ctx->dry_run) {
        const struct exec_run run = {.tool = TOOL_KUBEADM, .argv = argv};
        int told = exec_run(ctx, &run, &res, err);
        spawn_result_fini(&res);
        return told;
    }
    struct phases phases = {.ctx = ctx, .percent = -1};
    uint32_t left = exec_left_ms(ctx);
    const struct spawn_request request = {
        .program = exec_tool(ctx, TOOL_KUBEADM),
        .argv = argv,
        .timeout_ms = timeout_ms && timeout_ms < left ? timeout_ms : left,
        .on_line = tell_phase,
        .ctx = &phases,
    };
    int rc = spawn_run(&request, &res, err);
    if (rc == 0 && res.exit_status != 0)
        rc = explain(&res, argv[1], err);
    else if (rc == KPEER_ETIMEOUT && phases.phase[0]) {
        err_wrap(err, "kubeadm %s, in phase %s", argv[1], phases.phase);
        err_hint(err,
                 "look at the kubelet (journalctl -u kubelet -n 50) and at the way to the control plane");
    }
    spawn_result_fini(&res);
    return rc;
}

static int put(const char **argv, size_t room, size_t *n, const char *const *words, struct err *err)
{
    for (; words && *words; words++) {
        if (*n + 1 >= room)
            return err_set(err, KPEER_ELIMIT, "too many arguments");
        argv[(*n)++] = *words;
    }
    argv[*n] = NULL;
    return 0;
}

int kubeadm_run_document(struct exec_ctx *ctx, const char *const *verbs, const char *name,
                         const char *document, size_t document_bytes, const char *const *extra,
                         struct err *err)
{
    cleanup_private struct files_private doc = {0};
    const char *argv[24] = {"kubeadm"};
    size_t n = 1;
    int rc = 0;
    if (ctx->dry_run)
        exec_say_document(ctx, name, document);
    else
        rc = files_private_write(ctx, name, document, document_bytes, &doc, err);
    const char *config[] = {"--config", ctx->dry_run ? name : doc.path, NULL};
    if (rc == 0)
        rc = put(argv, COUNT_OF(argv), &n, verbs, err);
    if (rc == 0)
        rc = put(argv, COUNT_OF(argv), &n, config, err);
    if (rc == 0)
        rc = put(argv, COUNT_OF(argv), &n, extra, err);
    return rc == 0 ? kubeadm_run(ctx, argv, 0, err) : rc;
}

int kubeadm_ignore(const struct exec_ctx *ctx, char out[static KUBEADM_ARG_MAX], struct err *err)
{
    size_t n = (size_t)snprintf(out, KUBEADM_ARG_MAX, "--ignore-preflight-errors=");
    for (size_t i = 0; i < ctx->cfg->ignore_count; i++) {
        int put_n = snprintf(out + n, KUBEADM_ARG_MAX - n, "%s%s", i ? "," : "", ctx->cfg->ignore[i]);
        if (put_n < 0 || (size_t)put_n >= KUBEADM_ARG_MAX - n)
            return err_set(err, KPEER_ELIMIT, "too many preflight errors to ignore");
        n += (size_t)put_n;
    }
    return 0;
}

int kubectl_run(struct exec_ctx *ctx, const struct kubectl_call *call, struct spawn_result *res,
                struct err *err)
{
    char kubeconfig[FILES_PATH_BYTES];
    char cache[FILES_PATH_BYTES];
    memset(res, 0, sizeof *res);
    int rc = exec_path(ctx, call->kubeconfig, kubeconfig, sizeof kubeconfig, err);
    if (rc == 0)
        rc = exec_path(ctx, KUBECTL_CACHE, cache, sizeof cache, err);
    const char *argv[KUBECTL_ARG_MAX] = {""};
    size_t n = 1;
    if (rc == 0)
        rc = put(argv, COUNT_OF(argv), &n, call->argv, err);
    const char *common[] = {"--cache-dir", cache, NULL};
    if (rc == 0)
        rc = put(argv, COUNT_OF(argv), &n, common, err);
    if (rc != 0)
        return rc;
    const struct exec_run run = {
        .tool = TOOL_KUBECTL,
        .argv = argv,
        .input = call->input,
        .input_bytes = call->input_bytes,
        .kubeconfig = kubeconfig,
        .timeout_ms = call->timeout_ms,
        .quiet = call->quiet,
    };
    return exec_run(ctx, &run, res, err);
}

int kube_need_admin(const struct exec_ctx *ctx, struct err *err)
{
    if (ctx->dry_run || files_exists(ctx, KUBE_ADMIN))
        return 0;
    return err_set(err, KPEER_ESTATE, "this host is no control plane: there is no " KUBE_ADMIN);
}
