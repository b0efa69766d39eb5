/*
 * Which images this host needs: those of kubeadm, Flannel's, the probe's, and the pause image as the runtime
 * starts pods with. Used by this folder.
 */
#ifndef KPEER_NEED_H
#define KPEER_NEED_H

#include "peer/executor/context.h"
#include "peer/executor/images/reference.h"
#include "protocol/err.h"

#define NEED_MAX 28

struct need_image {
    char name[REFERENCE_BYTES];
    const char *of; /* "kubernetes", "flannel", "probe", "runtime" */
    bool worker;    /* a worker needs it too */
};

struct need {
    struct need_image image[NEED_MAX];
    size_t count;
    char version[STEP_VERSION_BYTES]; /* of Kubernetes, that they are for */
};

/* Fills `need` with what a host of this role needs: a control plane all, a worker what can run there, which
 * is kube-proxy, pause, CoreDNS, Flannel and the probe. KPEER_ENOTFOUND: there is no kubeadm to ask. */
int need_list(struct exec_ctx *ctx, enum step_role role, struct need *need, struct err *err);

#endif
