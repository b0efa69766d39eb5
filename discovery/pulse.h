/*
 * The datagram by which a neighbour says that it is there, to one member alone, sealed under the group's key.
 *
 *   seal(SEAL_PULSE, [id, boot, instance, counter, to, digest, every_ms, next_ms, wish])
 *
 * Small, since it goes out at each beat. All of it is the core's (struct pulse). Pure: bytes in, bytes out.
 */
#ifndef KPEER_PULSE_H
#define KPEER_PULSE_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"
#include "protocol/node.h"
#include "protocol/seal.h"

#define PULSE_MAX_BYTES (SEAL_OVERHEAD_BYTES + 77)

/* Seals a pulse into `out`, *n its length. */
int pulse_encode(const struct seal *seal, const uint8_t nonce[static SEAL_NONCE_BYTES],
                 const struct pulse *pulse, uint8_t out[static PULSE_MAX_BYTES], size_t *n, struct err *err);

/* Opens and reads one; the epoch is the caller's to set. Errors as seal_open; besides KPEER_EINVAL,
 * KPEER_ELIMIT malformed. `out` is set only on success. */
int pulse_decode(const struct seal *seal, const uint8_t *bytes, size_t n, struct pulse *out, struct err *err);

#endif
