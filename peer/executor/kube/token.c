#include "peer/executor/kube/token.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "peer/executor/kube/documents.h"
#include "peer/executor/kube/kube.h"
#include "peer/executor/kube/kubeadm.h"
#include "peer/executor/kube/yamlout.h"

void token_random(char token[static STEP_TOKEN_BYTES])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (size_t i = 0; i < STEP_TOKEN_BYTES - 1; i++)
        token[i] = letters[randombytes_uniform(sizeof letters - 1)];
    token[6] = '.';
    token[STEP_TOKEN_BYTES - 1] = '\0';
}

void token_id(const char *token, char id[static TOKEN_ID_BYTES])
{
    snprintf(id, TOKEN_ID_BYTES, "%.6s", token);
}

/* kubeadm prints the token that it made: its output is a secret. */
static int create(struct exec_ctx *ctx, const char *document, size_t n, struct err *err)
{
    cleanup_private struct files_private doc = {0};
    if (ctx->dry_run)
        exec_say_document(ctx, "token", document);
    else if (files_private_write(ctx, "token", document, n, &doc, err) != 0)
        return err ? err->code : KPEER_EIO;
    const struct exec_run run = {
        .tool = TOOL_KUBEADM,
        .argv =
            (const char *const[]){"", "token", "create", "--config", ctx->dry_run ? "token" : doc.path, NULL},
        .secret_output = true,
        .quiet = true,
    };
    struct spawn_result res;
    int rc = exec_run(ctx, &run, &res, err);
    spawn_result_fini(&res);
    return rc;
}

int kube_token_mint(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                    struct err *err)
{
    struct kubeadm k;
    char token[STEP_TOKEN_BYTES];
    char purpose[STEP_NAME_BYTES + 32];
    char *document = NULL;
    size_t n = 0;
    int rc = kube_need_admin(ctx, err);
    if (rc == 0)
        rc = kubeadm_at_hand(ctx, &k, err);
    if (rc != 0)
        return rc;
    token_random(token);
    snprintf(purpose, sizeof purpose, "made by kpeer for %s", step->node_name);
    const struct document_token d = {
        .token = ctx->dry_run ? DOCUMENTS_MASKED_TOKEN : token, .ttl_s = step->ttl_s, .description = purpose};
    rc = documents_token(k.api, &d, k.version, kubeadm_cri_socket(ctx), &document, &n, err);
    if (rc == 0)
        rc = create(ctx, document, n, err);
    yamlout_free(document, n);
    if (rc == 0)
        memcpy(result->token, token, sizeof token);
    sodium_memzero(token, sizeof token);
    return rc;
}

int kube_token_revoke(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                      struct err *err)
{
    (void)result;
    char id[TOKEN_ID_BYTES];
    token_id(step->token, id);
    int rc = kube_need_admin(ctx, err);
    if (rc != 0)
        return rc;
    const struct exec_run run = {
        .tool = TOOL_KUBEADM,
        .argv = (const char *const[]){"", "token", "delete", id, NULL},
        .quiet = true,
    };
    struct spawn_result res;
    rc = exec_run(ctx, &run, &res, err);
    bool gone = rc == KPEER_EIO && res.errout && strstr(res.errout, "not found");
    spawn_result_fini(&res);
    return gone ? 0 : rc;
}
