/*
 * The configuration documents for kubeadm: values in, YAML out. Pure.
 *
 * kubeadm's configuration API changed over the years; which one the kubeadm at hand speaks follows from its
 * version. Every value is checked before by step_check or comes from the configuration; libyaml does the
 * quoting. Used by this folder and its tests.
 */
#ifndef KPEER_DOCUMENTS_H
#define KPEER_DOCUMENTS_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"

enum kubeadm_api {
    KUBEADM_V1BETA2, /* the oldest we speak: up to 1.21 */
    KUBEADM_V1BETA3, /* 1.22 to 1.30 */
    KUBEADM_V1BETA4, /* from 1.31: extra arguments are lists, time-outs have a place of their own */
};

/* What stands where a rehearsal shows a document that would hold a token. */
#define DOCUMENTS_MASKED_TOKEN "******.****************"

struct document_node {
    enum kubeadm_api api;
    const char *name;    /* of the Node */
    const char *address; /* the proven address: node-ip, and advertise address where it is a control plane */
    const char
        *cri_socket; /* "unix:///run/containerd/containerd.sock"; NULL or empty: kubeadm looks for it */
};

struct document_token {
    const char *token; /* "abcdef.0123456789abcdef" */
    uint32_t ttl_s;
    const char *description;
};

struct document_init {
    struct document_node node;
    struct document_token token;    /* init makes one in any case, for 24 h, unless it is told of one */
    const char *kubernetes_version; /* "v1.20.2": without it kubeadm asks the internet */
    const char *endpoint; /* ADDRESS:PORT: can not be added after init, which further control planes need */
    const char *pod_cidr;
    const char *service_cidr;
    const char *image_repository; /* NULL or empty: kubeadm's own */
    const char *cgroup_driver;    /* "systemd", "cgroupfs"; NULL or empty: kubeadm's default */
    uint16_t bind_port;
};

struct document_join {
    struct document_node node;
    const char *token;
    const char *endpoint;
    const char *ca_hash; /* "sha256:…" */
    uint32_t discovery_timeout_s;
};

/* "v1.20.2" or "1.20.2" → which API. KPEER_EINVAL: not a version; KPEER_EVERSION: older than 1.15. */
int documents_api(const char *version, enum kubeadm_api *api, struct err *err);

/* InitConfiguration, ClusterConfiguration and KubeletConfiguration. As
 * documents_join and documents_token: *out holds *n bytes and a NUL, freed by yamlout_free (it holds a
 * token). */
int documents_init(const struct document_init *d, char **out, size_t *n, struct err *err);

/* JoinConfiguration of a worker. */
int documents_join(const struct document_join *d, char **out, size_t *n, struct err *err);

/* What `kubeadm token create --config` reads: an InitConfiguration with one token, the socket (may be empty)
 * so that kubeadm does not stumble over two runtimes, and a ClusterConfiguration with the version alone, so
 * that it does not look one up. */
int documents_token(enum kubeadm_api api, const struct document_token *token, const char *kubernetes_version,
                    const char *cri_socket, char **out, size_t *n, struct err *err);

#endif
