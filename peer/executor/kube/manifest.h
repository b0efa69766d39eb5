/*
 * Parts that kpeer's own manifests share, and the probe: the small DaemonSet whose pods prove that the pod
 * network works across hosts. Pure. Used by this folder and its tests.
 */
#ifndef KPEER_MANIFEST_H
#define KPEER_MANIFEST_H

#include <stddef.h>

#include "peer/executor/kube/yamlout.h"
#include "protocol/err.h"
#include "protocol/step.h"

#define PROBE_NAMESPACE "kpeer-system"
#define PROBE_NAME      "kpeer-probe"
#define PROBE_IMAGE     "k8s.gcr.io/pause:3.2" /* where neither the configuration nor kubeadm names one */

#define TRIAL_NAME "kpeer-verify"
#define TRIAL_FROM TRIAL_NAME "-from-" /* and the name of a Node */
#define TRIAL_PORT 8080

/* apiVersion, kind and metadata of an object; `space` NULL: it is in no namespace. `app` NULL: no label. */
void manifest_object(struct yamlout *y, const char *api, const char *kind, const char *space,
                     const char *name, const char *app);

/* A sequence of texts, ended by NULL. */
void manifest_list(struct yamlout *y, const char *key, const char *const *texts);

/* From "spec:" of a DaemonSet down to the pod's own "spec:", open; its label is app=APP. */
void manifest_daemon_begin(struct yamlout *y, const char *app);
void manifest_daemon_end(struct yamlout *y);

/* Namespace and DaemonSet of the probe: one container of `image` that does nothing, on every Node. Freed by
 * yamlout_free. */
int manifest_probe(const char *image, char **out, size_t *n, struct err *err);

/* The pod that is tried, TRIAL_NAME, and its Corefile: CoreDNS of `image`, which answers GET /health on
 * TRIAL_PORT and is Ready when it does. `avoid`: a Node that it must not be on; NULL: any will do, and a
 * master's taint is borne. All that is made for a trial has the label app=TRIAL_NAME. Freed by yamlout_free.
 */
int manifest_trial(const char *image, const char *avoid, char **out, size_t *n, struct err *err);

/* A pod of `image`, which does nothing, on each of these Nodes; it is Ready once the kubelet of its Node,
 * from the host's own network, had an answer of the pod that is tried at `address`. */
int manifest_callers(const char *image, const char *address, const char (*nodes)[STEP_NAME_BYTES],
                     size_t count, char **out, size_t *n, struct err *err);

#endif
