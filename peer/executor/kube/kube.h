/*
 * The steps that make, prove and unmake a Kubernetes cluster on this host. The executor calls them, nobody
 * else.
 *
 * Each carries out one step of protocol/step.h which step_check has passed: 0, or a code with text and hint
 * in `err`; what a step answers is set in `result`, on success only. Progress goes through exec_say. In a
 * rehearsal (ctx->dry_run) each tells the commands and documents it would use, tokens masked, changes nothing
 * and answers what stands in for the outcome.
 */
#ifndef KPEER_KUBE_H
#define KPEER_KUBE_H

#include "peer/executor/context.h"
#include "protocol/err.h"
#include "protocol/step.h"

/* What needs no cluster: left-overs of a broken init or join undone, the runtime started, images looked for.
 */
int kube_prepare(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);

/* Makes the cluster CA, or finds the one that is there; answers ca_hash. A certificate without its key is
 * KPEER_ESTATE. */
int kube_ca(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);

/* kubeadm init. KPEER_ESTATE: the CA on this host is not the one of step->ca_hash. */
int kube_init(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);

/* Flannel and the probe. step->address is the control plane's, that is, this host's. */
int kube_apply(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);

/* Makes a bootstrap token of its own random bytes; answers token. */
int kube_token_mint(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                    struct err *err);

/* Deletes a token; one that is gone already is success. */
int kube_token_revoke(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                      struct err *err);

/* kubeadm join as a worker, on the committed record alone: KPEER_EAUTH where a majority has not signed it. */
int kube_join(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);

/* Waits until this host's Node is proven; answers pod_address. KPEER_ETIMEOUT says which proof is missing. */
int kube_prove(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);

/* Waits until a pod on another host answers from here. */
int kube_reach(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);

/* On a control plane: tries a test pod, has the other hosts call it, and takes all of it away again in any
 * ending, within the step's time. Answers findings: FINDING_WARN is what could not be tried. KPEER_EIO with
 * findings where one is red; any other failure has none. */
int kube_verify(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);

/* On a control plane. A Node that is not there is success. */
int kube_drain(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);
int kube_delete_node(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                     struct err *err);

/* Takes Kubernetes off this host, and checks that it is off: what is left is named. Nothing there is success.
 */
int kube_reset(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);

/* Answers the admin kubeconfig in blob. KPEER_ESTATE: this host is no control plane. */
int kube_kubeconfig(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                    struct err *err);

#endif
