/*
 * dpkg, left half way by a power cut, brought to an end. Used by this folder alone.
 */
#ifndef KPEER_PACKAGES_REPAIR_H
#define KPEER_PACKAGES_REPAIR_H

#include "peer/executor/context.h"
#include "protocol/err.h"

/* Finishes what dpkg was interrupted in, and waits, bounded, while somebody else's dpkg is at work. Nothing
 * to finish is success. */
int repair_dpkg(struct exec_ctx *ctx, struct err *err);

/* Unpacks again what dpkg was unpacking when it was cut off, from the downloads in the work folder: nothing
 * else takes away what it had unpacked by then. Takes away in full what it was removing: apt takes what is
 * left of such a package for the package, and does not unpack it again. What fails is told and stays as it
 * is; an error: dpkg does not answer. */
int repair_cut(struct exec_ctx *ctx, struct err *err);

#endif
