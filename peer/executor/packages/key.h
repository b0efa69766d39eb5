/*
 * A repository's key as it was fetched: told from anything else, brought into the binary form that apt takes,
 * and its fingerprints. Signatures are apt's own matter. Pure. Used by this folder and its tests.
 */
#ifndef KPEER_KEY_H
#define KPEER_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"

#define KEY_FILE_MAX          (256 * 1024)
#define KEY_FINGERPRINT_BYTES 65 /* hex digits and a NUL: 40 of a version 4 key, 64 of a later one */

/* Brings an armoured key (RFC 9580, section 6) or a binary keyring into binary form and checks that it
 * consists of packets, the first of them a public key. *out is the caller's to free. KPEER_EAUTH: it is no
 * key. */
int key_read(const char *bytes, size_t n, uint8_t **out, size_t *out_bytes, struct err *err);

/* The fingerprint of the first key of a binary keyring, upper-case hex. KPEER_EAUTH: of a kind not known. */
int key_fingerprint(const uint8_t *bytes, size_t n, char out[static KEY_FINGERPRINT_BYTES], struct err *err);

/* Leaves of a binary keyring the one key of this fingerprint (upper-case hex). KPEER_EAUTH: it has none such.
 */
int key_pick(uint8_t *bytes, size_t *n, const char *fingerprint, struct err *err);

#endif
