/*
 * What the agent keeps on disk: its identity and the core's blobs, in the state folder.
 *
 *   lock                      held (flock) while an agent uses the folder
 *   identity                  the seed, and what host it belongs to
 *   promises cluster members  the core's blobs (enum store_key)
 *   stale-<time>/             what an earlier identity left, moved aside
 *
 * Each file is a header (magic, version, what it is, length), the bytes and a BLAKE2b checksum over both,
 * written as new file, fsync, rename, fsync of the folder. A torn, foreign or newer file is an error with its
 * name, never a guess. The identity belongs to one host: when machine-id and hardware addresses say that this
 * is another one (a copied disk), a new identity is made and all that the old one left is moved aside. The
 * agent alone uses this module.
 */
#ifndef KPEER_STORE_H
#define KPEER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/err.h"
#include "protocol/identity.h"
#include "protocol/node.h"

#define STORE_BLOB_MAX (4 * 1024 * 1024)

/* What tells this host from a copy of its disk. */
struct store_host {
    uint8_t machine_id[16]; /* BLAKE2b of the text; all zero: none */
    size_t mac_count;
    uint8_t mac[FACTS_MACS_MAX][6];
};

/* Where tests let a write fail, before the step named ("open", "write", "fsync", "rename", "fsync-dir"): an
 * errno, or 0 to go on. NULL outside tests. */
extern int (*store_fault)(const char *step);

struct store;

/* Makes (0700) and locks `dir`. KPEER_ESTATE when another agent holds it; KPEER_EREFUSED when it is another
 * user's, unless we are root and the folder above is root's alone to write. */
int store_open(struct store **out, const char *dir, struct err *err);

/* Whose the folder was when it was opened. */
uid_t store_owner(const struct store *s);

/* Gives the folder and what it holds to the user who is to go on with it; -1: to nobody. */
int store_give(struct store *s, uid_t uid, gid_t gid, struct err *err);

void store_close(struct store *s);

/* Reads the identity or makes it. *renewed: an identity of another host was there and was moved aside, to
 * *stale (a folder's name below the state folder, PATH_MAX not needed: 64 bytes). */
int store_identity(struct store *s, const struct store_host *host, struct identity **out, bool *renewed,
                   char stale[static 64], struct err *err);

/* Writes a blob durably. When it fails the old blob is as it was. */
int store_put(struct store *s, enum store_key key, const uint8_t *bytes, size_t n, struct err *err);

/* Reads a blob into memory that the caller frees; *out NULL and *n 0 when there is none. KPEER_EINVAL torn or
 * foreign, KPEER_EVERSION newer. */
int store_get(struct store *s, enum store_key key, uint8_t **out, size_t *n, struct err *err);

/* Removes identity and blobs: this identity is used by another host, or this host has left its group. */
int store_renew(struct store *s, struct err *err);

/* This host's machine-id (hashed). */
void store_machine_id(uint8_t out[static 16]);

#endif
