/*
 * The images that Kubernetes and Flannel need on this host: which they are, having them, and comparing them
 * with a second source. The executor calls the steps, kube/prepare.c images_prepare; nobody else.
 *
 * An image gets the name that kubeadm and the manifests use only when it is whole and, where the user says
 * which it has to be, the right one; so what was interrupted is simply done again. Answers are JSON texts in
 * result->blob; their forms stand in docs/operations.md.
 */
#ifndef KPEER_IMAGES_H
#define KPEER_IMAGES_H

#include "peer/executor/context.h"
#include "protocol/err.h"
#include "protocol/step.h"

/* Which images a host of step->role needs, and which of them are here. Without a runtime the list alone. */
int images_list(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);

/* Gets what is not here: under another of its names, from the archives, from the mirror, from its own
 * registry. A failure names the images, where they were looked for, the cause and the next step; the others
 * are got all the same.
 */
int images_pull(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);

/* Compares what is here with the second source: a registry, a folder of archives or a file of digests. That
 * some differ or miss is no error, but told in the answer. KPEER_EINVAL: no second source is set. */
int images_verify(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);

/* As images_pull, before init and join. A host where neither the list nor the runtime can be had is no
 * failure: it is told, and left to kubeadm and the kubelet. */
int images_prepare(struct exec_ctx *ctx, enum step_role role, struct err *err);

#endif
