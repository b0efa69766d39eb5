/*
 * What this host is, whether it is fit, and making it so: facts, checks, fixes and undoing them. Facts and
 * checks change nothing.
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

/* Mends what the checks find and can mend, in their order, each thing noted in the journal first, and tells
 * how; `result` then has facts and findings as they are now. What cannot be mended is a finding and no error:
 * errors are cancelling, the time limit, lack of memory. What the user ignores is not mended. A rehearsal
 * tells what would be done. */
int host_fix(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);

/* Renames this host, now and for good, so that journal_undo gives it its old name back. */
int host_rename(struct exec_ctx *ctx, const char *name, struct err *err);

/* Writes the name into /etc/hosts, where it is not there yet. */
int host_learn_name(struct exec_ctx *ctx, const char *name, struct err *err);

/* Gives this host another machine-id. */
int host_new_machine_id(struct exec_ctx *ctx, struct err *err);

/* For journal_undo, whose ctx must then be the struct exec_ctx. */
extern journal_undoer *const host_undoers[DEED_KIND_COUNT];

#endif
