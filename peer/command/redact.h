/*
 * Taking secrets out of text that is to be shown to others: what is known to be one, and what looks like one.
 *
 * Known are the secrets that the caller adds. By their look: group keys, bootstrap tokens, private keys in
 * PEM and base64 of PEM, JSON web tokens, passwords and tokens in URLs, what follows names and flags such as
 * token, DB_PASS, api-key or client-key-data, Authorization and its credentials, invitation codes, the values
 * of a unit's Environment= and SetCredential=. A line's rest is better lost than a secret shown: it is on the
 * safe side where it cannot tell. Names of files, objects and steps stay. Used by `kpeer report`.
 */
#ifndef KPEER_REDACT_H
#define KPEER_REDACT_H

#include <stddef.h>

#include "protocol/err.h"

#define REDACT_MARK "[removed]"

struct redact;

int redact_new(struct redact **out, struct err *err);
void redact_free(struct redact *r);

/* This very text is a secret; shorter ones than 8 bytes are not taken. Copied into guarded memory. */
int redact_add(struct redact *r, const char *secret, struct err *err);

/* A copy of `n` bytes of text without secrets, ended by a NUL that is not counted, the caller's to free; a
 * NUL inside becomes a blank. *removed counts what was taken out. KPEER_ENOMEM. */
int redact_text(const struct redact *r, const char *text, size_t n, char **out, size_t *out_bytes,
                size_t *removed, struct err *err);

#endif
