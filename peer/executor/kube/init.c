/* The steps that run kubeadm init and join, and the CA before them. */
#include <stdio.h>
#include <stdlib.h>
#include <sodium.h>
#include <string.h>
#include <time.h>

#include "peer/executor/kube/ca.h"
#include "peer/executor/kube/documents.h"
#include "peer/executor/kube/files.h"
#include "peer/executor/kube/kube.h"
#include "peer/executor/kube/kubeadm.h"
#include "peer/executor/kube/token.h"
#include "peer/executor/kube/yamlout.h"
#include "protocol/mem.h"
#include "protocol/record.h"

#define API_PORT            6443
#define FLANNEL_PLUGIN      "/opt/cni/bin/flannel"
#define INIT_TOKEN_TTL_S    60 /* nobody is told of it: each joiner gets a token of its own */
#define DISCOVERY_TIMEOUT_S 60

static int read_ca(const struct exec_ctx *ctx, struct ca *ca, struct err *err)
{
    int rc = files_read(ctx, KUBE_CA_CERT, CA_FILE_MAX, &ca->cert, &ca->cert_bytes, err);
    if (rc == 0)
        rc = files_read(ctx, KUBE_CA_KEY, CA_FILE_MAX, &ca->key, &ca->key_bytes, err);
    return rc;
}

static int reuse_ca(struct exec_ctx *ctx, char *hash, struct err *err)
{
    struct ca ca = {0};
    int rc = read_ca(ctx, &ca, err);
    if (rc == KPEER_ENOTFOUND)
        rc = err_set(err, KPEER_ESTATE,
                     "half a cluster CA is left in " KUBE_PKI ": ca.crt or ca.key is missing");
    if (rc == 0)
        rc = ca_check(&ca, time(NULL), err);
    if (rc == 0)
        rc = ca_hash(ca.cert, ca.cert_bytes, hash, err);
    ca_fini(&ca);
    if (rc == 0)
        exec_say(ctx, "certs", -1, "the cluster CA that is in " KUBE_PKI " is used");
    else if (rc == KPEER_ESTATE || rc == KPEER_EINVAL)
        err_hint(err, "it was left by an earlier cluster: run 'kpeer leave', then 'kpeer up'");
    return rc;
}

static int place(struct exec_ctx *ctx, const char *path, const char *bytes, size_t n, mode_t mode,
                 struct err *err)
{
    char full[FILES_PATH_BYTES];
    int rc = exec_path(ctx, path, full, sizeof full, err);
    return rc == 0 ? journal_replace_file(ctx->journal, full, bytes, n, mode, err) : rc;
}

/* The key first: a certificate without a key would look like a joined host's. */
static int store_ca(struct exec_ctx *ctx, const struct ca *ca, struct err *err)
{
    if (ctx->dry_run) {
        exec_say(ctx, "certs", -1, "would write " KUBE_CA_KEY " (0600) and " KUBE_CA_CERT);
        return 0;
    }
    int rc = place(ctx, KUBE_CA_KEY, ca->key, ca->key_bytes, 0600, err);
    if (rc == 0)
        rc = place(ctx, KUBE_CA_CERT, ca->cert, ca->cert_bytes, 0644, err);
    return rc;
}

int kube_ca(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    (void)step;
    char hash[STEP_HASH_BYTES] = "";
    if (files_exists(ctx, KUBE_CA_CERT) || files_exists(ctx, KUBE_CA_KEY)) {
        int reused = reuse_ca(ctx, hash, err);
        if (reused == 0)
            memcpy(result->ca_hash, hash, sizeof hash);
        return reused;
    }
    struct ca ca = {0};
    int rc = ca_make(time(NULL), &ca, err);
    if (rc == 0)
        rc = ca_hash(ca.cert, ca.cert_bytes, hash, err);
    if (rc == 0)
        rc = store_ca(ctx, &ca, err);
    ca_fini(&ca);
    if (rc == 0) {
        exec_say(ctx, "certs", -1, "cluster CA made, %s", hash);
        memcpy(result->ca_hash, hash, sizeof hash);
    }
    return rc;
}

/* init must use the very CA whose hash the group is about to commit to. */
static int check_ca(const struct exec_ctx *ctx, const char *hash, struct err *err)
{
    if (ctx->dry_run)
        return 0;
    struct ca ca = {0};
    char found[STEP_HASH_BYTES] = "";
    int rc = read_ca(ctx, &ca, err);
    if (rc == 0)
        rc = ca_hash(ca.cert, ca.cert_bytes, found, err);
    ca_fini(&ca);
    if (rc == KPEER_ENOTFOUND || (rc == 0 && strcmp(found, hash) != 0))
        return err_set(err, KPEER_ESTATE, "the cluster CA on this host is not the one that was asked for");
    return rc;
}

/* Flannel's pod installs its plugin on the host itself: where there was none, leaving takes it away again. */
static int expect_plugin(struct exec_ctx *ctx, struct err *err)
{
    char path[FILES_PATH_BYTES];
    if (ctx->dry_run || !ctx->journal)
        return 0;
    int rc = exec_path(ctx, FLANNEL_PLUGIN, path, sizeof path, err);
    return rc == 0 ? journal_expect_file(ctx->journal, path, err) : rc;
}

static int run_init(struct exec_ctx *ctx, const struct document_init *d, struct err *err)
{
    char *document = NULL;
    size_t n = 0;
    char ignore[KUBEADM_ARG_MAX];
    int rc = kubeadm_ignore(ctx, ignore, err);
    if (rc == 0)
        rc = documents_init(d, &document, &n, err);
    if (rc == 0)
        rc = expect_plugin(ctx, err);
    if (rc == 0)
        rc = kubeadm_run_document(
            ctx, (const char *const[]){"init", NULL}, "init", document, n,
            (const char *const[]){"--skip-token-print", ctx->cfg->ignore_count ? ignore : NULL, NULL}, err);
    yamlout_free(document, n);
    return rc;
}

int kube_init(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    (void)result;
    struct kubeadm k;
    char token[STEP_TOKEN_BYTES] = DOCUMENTS_MASKED_TOKEN;
    int rc = kubeadm_at_hand(ctx, &k, err);
    if (rc == 0)
        rc = check_ca(ctx, step->ca_hash, err);
    if (rc != 0)
        return rc;
    if (!ctx->dry_run)
        token_random(token);
    const struct document_init d = {
        .node = {.api = k.api,
                 .name = step->node_name,
                 .address = step->address,
                 .cri_socket = kubeadm_cri_socket(ctx)},
        .token = {.token = token, .ttl_s = INIT_TOKEN_TTL_S, .description = "made by kpeer for init alone"},
        .kubernetes_version = step->kubernetes_version,
        .endpoint = step->endpoint,
        .pod_cidr = step->pod_cidr,
        .service_cidr = step->service_cidr,
        .image_repository = ctx->cfg->image_repository,
        .cgroup_driver = kubeadm_cgroup_driver(ctx),
        .bind_port = API_PORT,
    };
    rc = run_init(ctx, &d, err);
    sodium_memzero(token, sizeof token);
    return rc;
}

static int run_join(struct exec_ctx *ctx, const struct document_join *d, struct err *err)
{
    char *document = NULL;
    size_t n = 0;
    char ignore[KUBEADM_ARG_MAX];
    int rc = kubeadm_ignore(ctx, ignore, err);
    if (rc == 0)
        rc = documents_join(d, &document, &n, err);
    if (rc == 0)
        rc = expect_plugin(ctx, err);
    if (rc == 0)
        rc = kubeadm_run_document(ctx, (const char *const[]){"join", NULL}, "join", document, n,
                                  (const char *const[]){ctx->cfg->ignore_count ? ignore : NULL, NULL}, err);
    yamlout_free(document, n);
    return rc;
}

int kube_join(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    (void)result;
    struct record record;
    struct kubeadm k;
    int rc = record_verify(step->record, step->record_bytes, &record, err);
    if (rc != 0)
        return err_wrap(err, "the cluster record is not proven, so this host does not join");
    rc = kubeadm_at_hand(ctx, &k, err);
    if (rc != 0)
        return rc;
    const struct document_join d = {
        .node = {.api = k.api,
                 .name = step->node_name,
                 .address = step->address,
                 .cri_socket = kubeadm_cri_socket(ctx)},
        .token = ctx->dry_run ? DOCUMENTS_MASKED_TOKEN : step->token,
        .endpoint = record.endpoint,
        .ca_hash = record.ca_hash,
        .discovery_timeout_s = DISCOVERY_TIMEOUT_S,
    };
    return run_join(ctx, &d, err);
}
