/*
 * The group key's file: one line of text (protocol/keytext.h). A file is judged on its open descriptor:
 * regular, owned by root or by us, readable by nobody else. Keys exist in guarded memory only.
 */
#ifndef KPEER_KEYFILE_H
#define KPEER_KEYFILE_H

#include <stdbool.h>

#include "protocol/err.h"
#include "protocol/keytext.h"
#include "protocol/secret.h"

/* Reads the key. KPEER_ENOTFOUND: no such file; KPEER_EREFUSED: others may read or replace it (the hint has
 * the command that mends it); KPEER_EINVAL: mistyped, cut or no key at all; KPEER_EVERSION: of another form.
 */
int keyfile_read(const char *path, struct secret **out, struct err *err);

/* Writes the key, 0600, synced, making the folder (0755) where it is missing. KPEER_EREFUSED where the file
 * is there and not `replace`. */
int keyfile_write(const char *path, const struct secret *key, bool replace, struct err *err);

/* A fresh random key. */
int keyfile_generate(struct secret **out, struct err *err);

struct config;

/* The key of the group that `cfg` names: that of `trust: subnet`, or that of the key file and the environment
 * (peer/keysource.h). */
int keyfile_group_key(const struct config *cfg, struct secret **out, struct err *err);

#endif
