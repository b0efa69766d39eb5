/*
 * What kubelet wants of containerd's config.toml, versions 2 and 3 (and a version 1 that says nothing but
 * that CRI is off, as Docker's packages bring it). Pure: text in, text out. Used by this folder and its
 * tests.
 */
#ifndef KPEER_HOST_CONTAINERD_H
#define KPEER_HOST_CONTAINERD_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/err.h"

struct containerd_wish {
    bool systemd;         /* kubelet's cgroup driver is systemd's; false: as the file has it */
    const char *pause;    /* kubeadm's pause image; NULL: not known */
    const char *cni_bins; /* where CNI plugins are, if the file says another folder; NULL: as it is */
};

struct containerd_faults {
    bool disabled; /* the CRI plugin is off */
    bool cgroups;  /* another cgroup driver than kubelet's */
    bool pause;    /* another pause image than kubeadm's */
    bool cni;      /* looks for CNI plugins elsewhere */
};

/* `text` may be empty: containerd's defaults. KPEER_EINVAL: not understood. */
int containerd_look(const char *text, size_t n, const struct containerd_wish *wish,
                    struct containerd_faults *out, struct err *err);

/* The text without the faults, all else as it was; *out is the caller's to free. */
int containerd_mend(const char *text, size_t n, const struct containerd_wish *wish, char **out,
                    size_t *out_bytes, struct err *err);

#endif
