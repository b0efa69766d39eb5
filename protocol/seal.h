/*
 * Sealed datagrams and boxes: authenticated encryption on bytes already in memory.
 *
 * A sealed datagram is  'K' 'P' version kind | key id (16) | nonce (24) | ciphertext and tag,
 * XChaCha20-Poly1305 under a key derived from the group key and the kind, the whole header being
 * authenticated. A box is an anonymous X25519 box to one peer's public key. Randomness comes from the caller,
 * so the core stays replayable.
 */
#ifndef KPEER_SEAL_H
#define KPEER_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"
#include "protocol/identity.h"
#include "protocol/secret.h"

#define SEAL_VERSION            3
#define SEAL_NONCE_BYTES        24
#define SEAL_HEADER_BYTES       (4 + GROUP_ID_BYTES + SEAL_NONCE_BYTES)
#define SEAL_OVERHEAD_BYTES     (SEAL_HEADER_BYTES + 16)
#define SEAL_BOX_OVERHEAD_BYTES (32 + 16)

/* SEAL_PULSE: see discovery/pulse.h. SEAL_KEY: the newest key for one member that comes back with an older
 * one, sealed under that. SEAL_INVITE is sealed under no key of a group: see invite.h. */
enum seal_kind {
    SEAL_BEACON = 1,
    SEAL_MESSAGE = 2,
    SEAL_NEWCOMER = 3,
    SEAL_KEY = 4,
    SEAL_INVITE = 5,
    SEAL_PULSE = 6
};

/* What is derived from one group key. Guarded memory; free with seal_free. */
struct seal;
int seal_new(struct seal **out, const struct secret *group_key, struct err *err);
void seal_free(struct seal *s);
const uint8_t *seal_key_id(const struct seal *s);

/* Seals `n` bytes into `out` (room for n + SEAL_OVERHEAD_BYTES); returns the bytes written. */
size_t seal_close(const struct seal *s, enum seal_kind kind, const uint8_t nonce[static SEAL_NONCE_BYTES],
                  const uint8_t *plain, size_t n, uint8_t *out);

/* Opens; `out` has room for n - SEAL_OVERHEAD_BYTES. KPEER_EINVAL not ours at all, KPEER_EVERSION of another
 * version, KPEER_EREFUSED under another key, KPEER_EAUTH altered. */
int seal_open(const struct seal *s, enum seal_kind kind, const uint8_t *bytes, size_t n, uint8_t *out,
              size_t *out_bytes);

/* What kind of kpeer datagram this is by its clear header alone, and under which key (out may be NULL); works
 * without any key. KPEER_EINVAL when it is none. A newcomer's announcement (SEAL_NEWCOMER: a host without a
 * key that listens before it makes one) is a clear header with 16 random bytes in place of the key id and
 * nothing after the nonce. */
int seal_peek(const uint8_t *bytes, size_t n, enum seal_kind *kind, uint8_t key_id[GROUP_ID_BYTES]);
size_t seal_newcomer(const uint8_t tag[static 16], const uint8_t nonce[static SEAL_NONCE_BYTES],
                     uint8_t out[static SEAL_HEADER_BYTES]);

/* Anonymous box to `box_pk`; `seed` is 32 fresh random bytes. `out` has room for n + SEAL_BOX_OVERHEAD_BYTES.
 */
int seal_box(const uint8_t box_pk[static BOX_PK_BYTES], const uint8_t seed[static 32], const uint8_t *plain,
             size_t n, uint8_t *out);
int seal_box_open(const struct identity *me, const uint8_t *bytes, size_t n, uint8_t *out);

#endif
