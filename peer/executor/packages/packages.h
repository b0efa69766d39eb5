/*
 * The packages that a host needs: container runtime, kubeadm, kubelet, kubectl, cri-tools, kubernetes-cni, of
 * the wanted version, from a repository or a folder of .deb files, by apt and dpkg.
 *
 * All that can fail for reasons outside of this host (repository, signature, versions, downloads, space) is
 * done in a work folder of kpeer's own, with lists, sources and archives beside apt's; what is the host's is
 * changed only once everything needed lies there. host/ and the executor's steps call this folder.
 */
#ifndef KPEER_PACKAGES_H
#define KPEER_PACKAGES_H

#include <stdbool.h>
#include <stddef.h>

#include "peer/executor/context.h"
#include "peer/executor/journal.h"
#include "protocol/err.h"
#include "protocol/step.h"

#define PACKAGES_LIST_BYTES 160

/* How the host stands: lists of names, joined by ", "; all empty: as it should be. */
struct packages_state {
    char missing[PACKAGES_LIST_BYTES]; /* "kubeadm, kubectl" */
    char wrong[PACKAGES_LIST_BYTES];   /* "kubelet 1.31.5-1.1" */
    char unheld[PACKAGES_LIST_BYTES];  /* installed as packages and free to be upgraded */
    char broken[PACKAGES_LIST_BYTES];  /* left half done by dpkg */
    char version[STEP_VERSION_BYTES];  /* of kubeadm, "v1.31.4"; empty: none */
    bool cut_short;                    /* an installation that was interrupted left its downloads behind */
    bool can_install;                  /* there is apt, and the configuration lets it be used */
};

/* Looks, and changes nothing. A program that is there though no package brought it (tools.*, /usr/local/bin)
 * counts as present. */
int packages_look(struct exec_ctx *ctx, enum step_role role, struct packages_state *out, struct err *err);

/* Makes it so; nothing to do, nothing done. Every package is noted in the journal before it is installed.
 * Errors name what was wrong with a next step: KPEER_ENOTFOUND no such version, KPEER_EAUTH signature or key,
 * KPEER_ELIMIT no space, KPEER_ESTATE a cluster is on this host or somebody holds another version,
 * KPEER_ETIMEOUT somebody else's dpkg did not end, KPEER_EIO the rest. */
int packages_install(struct exec_ctx *ctx, enum step_role role, struct err *err);

/* The undoer (journal_undoer) of DEED_PACKAGE and DEED_HOLD; `ctx` is the struct exec_ctx. The first deed of
 * a package undoes all packages in one transaction, the others find it done. */
int packages_undo(void *ctx, const struct journal_deed *d, enum journal_undone *how, struct err *err);

#endif
