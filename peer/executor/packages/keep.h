/*
 * How the host's packages stood before kpeer's first installation, so that undo gives back the same files and
 * not just the same packages.
 *
 * dpkg's, apt's, debconf's and ldconfig's own files change by an installation and a removal that cancel each
 * other out, empty folders vanish with the last package that shared them, and runtimes leave data behind. One
 * record in the executor's folder holds what is needed to mend that. Used by this folder alone.
 */
#ifndef KPEER_PACKAGES_KEEP_H
#define KPEER_PACKAGES_KEEP_H

#include <stdbool.h>

#include "peer/executor/context.h"
#include "peer/executor/packages/apt_parse.h"

#define KEEP_NEW_MAX APT_CHANGES_MAX

/* Notes durably how things are, where no record is there yet, and adds the plan's new packages to it. Call
 * before the plan is carried out. */
int keep_before(struct exec_ctx *ctx, const struct apt_plan *plan, struct err *err);

/* Notes how the installation left the files that others may change later. Call after it. */
int keep_after(struct exec_ctx *ctx, struct err *err);

/* The packages that were new, as names; *count is 0 where there is no record. */
int keep_new(struct exec_ctx *ctx, char (*names)[APT_NAME_BYTES], size_t *count, struct err *err);

/* Looks, before the removal, which files are still as keep_after saw them, and notes it durably: they change
 * now. */
int keep_removing(struct exec_ctx *ctx, struct err *err);

/* After the removal: gives back folders and files. Files that hold the state of packages only where the host
 * has the very packages, versions and holds of then. */
int keep_restore(struct exec_ctx *ctx, struct err *err);

/* Forgets the record. */
int keep_forget(struct exec_ctx *ctx, struct err *err);

#endif
