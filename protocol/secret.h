/*
 * Secrets in guarded memory: locked, fenced, left out of core dumps, wiped on free, compared in constant
 * time. Everything that is a key lives in one of these or in a struct identity, which is allocated the same
 * way.
 */
#ifndef KPEER_SECRET_H
#define KPEER_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"

#define GROUP_KEY_BYTES 32
#define GROUP_ID_BYTES  16

/* A group key: 32 bytes, the group that it belongs to, and its epoch, which rises with each rotation. */
struct secret;

/* The first key of a group, whose id follows from it. Copies 32 bytes into guarded memory; the caller wipes
 * its own copy. NULL when out of memory. */
struct secret *secret_new(const uint8_t bytes[static GROUP_KEY_BYTES]);
/* A later key of the group `group_id`. */
struct secret *secret_later(const uint8_t bytes[static GROUP_KEY_BYTES],
                            const uint8_t group_id[static GROUP_ID_BYTES], uint32_t epoch);
uint32_t secret_epoch(const struct secret *s);
void secret_free(struct secret *s);
const uint8_t *secret_bytes(const struct secret *s);
bool secret_equal(const struct secret *a, const struct secret *b);

/* Guarded memory for other key material; free with secret_release. Contents are wiped on free. NULL when out
 * of memory. */
void *secret_alloc(size_t bytes);
void secret_release(void *p);

/* Derives 32 bytes for one purpose (BLAKE2b, keyed with the secret, over the purpose's text). */
void secret_derive(const struct secret *s, const char *purpose, uint8_t out[static 32]);

/* The public id of this one key: a keyed hash of it. */
void secret_key_id(const struct secret *s, uint8_t out[static GROUP_ID_BYTES]);

/* The public id of the group: that of its first key. It stays when the key is rotated, so that what was
 * signed in the group stays valid. */
void secret_group_id(const struct secret *s, uint8_t out[static GROUP_ID_BYTES]);

/* The key of a group whose trust is the subnet itself: known to everybody, so it keeps nothing secret. */
void secret_subnet_key(uint8_t out[static GROUP_KEY_BYTES]);

#endif
