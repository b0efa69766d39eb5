/*
 * What this host is, and whether it is fit: facts and checks. Reads alone, changes nothing.
 *
 * All is read below the configured root, so that tests need neither root nor a host of their own. The
 * executor's workers call this folder, nobody else.
 */
#ifndef KPEER_HOST_H
#define KPEER_HOST_H

#include "peer/executor/context.h"
#include "protocol/err.h"
#include "protocol/step.h"

/* Reads the host's facts. What a host has not got is left empty or 0; an unreadable host is no error but an
 * empty fact. Fails on cancelling and on lack of memory alone. */
int host_facts(struct exec_ctx *ctx, struct facts *facts, struct err *err);

/* Looks at everything that kubeadm and kubelet will want of a host in this role. Findings are set in full,
 * green ones included; *red is how many are red. */
int host_checks(struct exec_ctx *ctx, enum step_role role, const struct facts *facts,
                struct finding findings[static STEP_FINDINGS_MAX], size_t *count, size_t *red,
                struct err *err);

#endif
