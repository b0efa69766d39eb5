/*
 * Taking Kubernetes' and Flannel's packet filter rules out again, and no others. Pure: the output of
 * iptables-save in, the input for `iptables-restore --noflush` out. Used by this folder and its tests.
 */
#ifndef KPEER_RULES_H
#define KPEER_RULES_H

#include <stddef.h>

#include "protocol/err.h"

#define RULES_MAX_BYTES (4 * 1024 * 1024)

/* What removes every chain that is theirs (KUBE-*, CNI-*, FLANNEL-*) and every rule elsewhere that leads to
 * one or bears Flannel's comment. *count is how many there are; with none, *out is NULL. The caller frees
 * *out. */
int rules_removal(const char *saved, size_t n, char **out, size_t *out_bytes, size_t *count, struct err *err);

#endif
