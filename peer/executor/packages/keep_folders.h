/*
 * The folders' half of keep.h: empty ones that vanish with a package, and data that a package leaves behind.
 * Used by keep.c alone.
 */
#ifndef KPEER_PACKAGES_KEEP_FOLDERS_H
#define KPEER_PACKAGES_KEEP_FOLDERS_H

#include <jansson.h>

#include "peer/executor/context.h"

/* What there is now, for the record. */
int keep_folders(const struct exec_ctx *ctx, json_t **out, struct err *err);

/* Just before the removal: forgets the empty folders that somebody has removed since. */
void keep_folders_removing(const struct exec_ctx *ctx, json_t *folders);

/* Makes empty folders anew that are gone, and removes what was not there and is a package's leavings. What
 * cannot be removed is told. */
void keep_folders_restore(struct exec_ctx *ctx, const json_t *folders);

#endif
