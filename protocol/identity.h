/*
 * Who a peer is: a long-lived seed, from which its signing key (Ed25519) and its box key (X25519: CURVE links
 * and sealed tickets) are derived. The peer id is the hash of the public signing key.
 */
#ifndef KPEER_IDENTITY_H
#define KPEER_IDENTITY_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "protocol/err.h"

#define PEER_ID_BYTES       16
#define PEER_ID_TEXT        (2 * PEER_ID_BYTES + 1)
#define IDENTITY_SEED_BYTES 32
#define SIGN_PK_BYTES       32
#define SIGNATURE_BYTES     64
#define BOX_PK_BYTES        32

struct peer_id {
    uint8_t b[PEER_ID_BYTES];
};

struct identity {
    struct peer_id id;
    uint8_t sign_pk[SIGN_PK_BYTES];
    uint8_t box_pk[BOX_PK_BYTES];
    uint8_t sign_sk[64];
    uint8_t box_sk[32];
};

/* Derives everything from the seed into guarded memory; free with identity_free. */
int identity_new(struct identity **out, const uint8_t seed[static IDENTITY_SEED_BYTES], struct err *err);
void identity_free(struct identity *id);

/* The id that belongs to a public signing key. */
void identity_id_of(const uint8_t sign_pk[static SIGN_PK_BYTES], struct peer_id *out);

/* Less, equal or greater than 0, as by memcmp. Inline, since each table of peers is searched by it. */
static inline int peer_id_compare(const struct peer_id *a, const struct peer_id *b)
{
    uint64_t x[2], y[2];
    memcpy(x, a->b, sizeof x);
    memcpy(y, b->b, sizeof y);
    int i = x[0] == y[0];
    uint64_t p = be64toh(x[i]), q = be64toh(y[i]);
    return (p > q) - (p < q);
}

static inline bool peer_id_equal(const struct peer_id *a, const struct peer_id *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

bool peer_id_is_zero(const struct peer_id *a);
/* 32 hex digits and a NUL. */
void peer_id_text(const struct peer_id *id, char out[static PEER_ID_TEXT]);
int peer_id_parse(const char *text, struct peer_id *out);

/* Detached signature over `domain` (a NUL-terminated word that keeps uses apart) and the bytes. */
void identity_sign(const struct identity *id, const char *domain, const uint8_t *bytes, size_t n,
                   uint8_t sig[static SIGNATURE_BYTES]);
bool identity_verify(const uint8_t sign_pk[static SIGN_PK_BYTES], const char *domain, const uint8_t *bytes,
                     size_t n, const uint8_t sig[static SIGNATURE_BYTES]);

#endif
