/*
 * What a report of a fault is made of: the answers of kpeer's own commands and of the host's programs, one
 * file each, without secrets (redact.h).
 *
 * Nothing that fails stops it: what could not be had is told in `contents.txt`, with the command and why.
 * Each command has a time limit, and all of them together have one. No file of the host is copied that holds
 * a secret by its nature: no key, no kubeconfig, none of the agent's state, no environment. Only `kpeer
 * report` uses this module.
 */
#ifndef KPEER_COLLECT_H
#define KPEER_COLLECT_H

#include <stddef.h>
#include <stdint.h>

#include "peer/config/config.h"
#include "protocol/err.h"

#define COLLECT_TIME_MS 180000 /* of all commands together */

struct collect_order {
    const struct config *cfg;
    const char *config_file;                   /* absolute; NULL: the default */
    const char *program;                       /* kpeer itself */
    const char *dir;                           /* an empty folder, which is filled */
    void (*told)(void *ctx, const char *file); /* what comes next; may be NULL */
    void *ctx;
};

struct collect_sum {
    size_t files, missing; /* what is there, and what could not be had */
    size_t removed;        /* secrets taken out */
};

/* KPEER_ECANCELED after spawn_cancel; KPEER_EIO and the like where the folder cannot be written. */
int collect_run(const struct collect_order *order, struct collect_sum *sum, struct err *err);

#endif
