/*
 * Running kubeadm and kubectl: which version is at hand, where the runtime is, output told as phases,
 * failures condensed to a cause and a hint. Used by the steps of this folder.
 */
#ifndef KPEER_KUBEADM_H
#define KPEER_KUBEADM_H

#include "peer/executor/context.h"
#include "peer/executor/kube/documents.h"
#include "peer/executor/kube/files.h"
#include "peer/executor/kube/parse.h"
#include "protocol/err.h"

#define KUBE_PKI        "/etc/kubernetes/pki"
#define KUBE_CA_CERT    KUBE_PKI "/ca.crt"
#define KUBE_CA_KEY     KUBE_PKI "/ca.key"
#define KUBE_ADMIN      "/etc/kubernetes/admin.conf"
#define KUBE_KUBELET    "/etc/kubernetes/kubelet.conf"
#define KUBECTL_CACHE   "/run/kpeer-kubectl"
#define KUBEADM_ARG_MAX 1024

struct kubeadm {
    char version[STEP_VERSION_BYTES];
    enum kubeadm_api api;
};

/* Asks the kubeadm at hand. KPEER_ENOTFOUND: none. In a rehearsal without kubeadm: the configured version, or
 * v1.20.2. */
int kubeadm_at_hand(struct exec_ctx *ctx, struct kubeadm *k, struct err *err);

/* The images that this version needs. */
int kubeadm_images(struct exec_ctx *ctx, const char *version, struct parse_images *images, struct err *err);

/* The image of a pod that does nothing: pause, which is on every Node already, since every pod needs it. */
void kube_probe_image(struct exec_ctx *ctx, char *image, size_t room);

/* The socket of the runtime as kubeadm wants it; "" where kubeadm should look for itself. */
const char *kubeadm_cri_socket(const struct exec_ctx *ctx);

/* The runtime's cgroup driver, "systemd" or "cgroupfs"; "" where that cannot be told. */
const char *kubeadm_cgroup_driver(struct exec_ctx *ctx);

/* Runs kubeadm with its phases as progress. argv as in struct exec_run. A failure is KPEER_EIO with kubeadm's
 * own cause and what to do about it. `timeout_ms` 0: what is left of the step's time. */
int kubeadm_run(struct exec_ctx *ctx, const char *const *argv, uint32_t timeout_ms, struct err *err);

/* Writes a document, runs "kubeadm VERB… --config DOCUMENT EXTRA…" and removes the document again. In a
 * rehearsal the document is told instead. */
int kubeadm_run_document(struct exec_ctx *ctx, const char *const *verbs, const char *name,
                         const char *document, size_t document_bytes, const char *const *extra,
                         struct err *err);

/* "--ignore-preflight-errors=A,B" as the configuration has them; use it only where there are any. */
int kubeadm_ignore(const struct exec_ctx *ctx, char out[static KUBEADM_ARG_MAX], struct err *err);

/* Runs kubectl with a kubeconfig of this host's ("/etc/kubernetes/admin.conf"); `res` as from exec_run. argv
 * begins after the name. quiet: a query. */
struct kubectl_call {
    const char *kubeconfig;
    const char *const *argv; /* NULL-ended, at most 24 */
    const void *input;
    size_t input_bytes;
    uint32_t timeout_ms;
    bool quiet;
};
int kubectl_run(struct exec_ctx *ctx, const struct kubectl_call *call, struct spawn_result *res,
                struct err *err);

/* KPEER_ESTATE where this host is no control plane; not in a rehearsal. */
int kube_need_admin(const struct exec_ctx *ctx, struct err *err);

#endif
