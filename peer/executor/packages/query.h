/*
 * What dpkg says of packages, and which of those that Kubernetes needs are there. Used by this folder alone.
 */
#ifndef KPEER_PACKAGES_QUERY_H
#define KPEER_PACKAGES_QUERY_H

#include <stdbool.h>
#include <stddef.h>

#include "peer/executor/context.h"
#include "peer/executor/packages/apt_parse.h"

enum kube_package { PKG_KUBEADM, PKG_KUBELET, PKG_KUBECTL, PKG_CRI_TOOLS, PKG_CNI, KUBE_PACKAGES };

#define NEEDED_MAX 12 /* those, a runtime, and programs that kubeadm asks for */

/* How one of the packages stands. */
enum package_need {
    NEED_NOTHING, /* there, or its program is there without a package */
    NEED_INSTALL,
    NEED_OTHER,  /* another version is there */
    NEED_REPAIR, /* left half done */
};

struct needed {
    const char *name;
    enum package_need need;
    bool is_kube;               /* of the repository for Kubernetes; held */
    struct apt_package package; /* as dpkg has it; name empty: it has not */
};

struct packages_need {
    struct needed of[NEEDED_MAX];
    size_t count;
    const struct needed *runtime;     /* among them; NULL: none is to be installed */
    char version[STEP_VERSION_BYTES]; /* of the kubeadm at hand; empty: none */
};

/* The names of the Kubernetes packages, in the order of enum kube_package. */
extern const char *const kube_packages[KUBE_PACKAGES];

/* Asks dpkg for one package; false: it knows none of that name, or there is no dpkg. */
bool query_package(struct exec_ctx *ctx, const char *name, struct apt_package *out);

/* All packages of the host, a line each as apt_parse_package takes them. The caller frees *out. */
int query_all(struct exec_ctx *ctx, char **out, struct err *err);

/* Whether dpkg was cut off while it unpacked one; true also where that cannot be told. */
bool query_any_cut(struct exec_ctx *ctx);

/* What this host needs of all that Kubernetes needs. Changes nothing. */
int query_needs(struct exec_ctx *ctx, struct packages_need *out, struct err *err);

#endif
