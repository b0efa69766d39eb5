/*
 * Tickets: what one host needs to join, sealed so that this host alone can open it.
 *
 * A ticket answers one request, told by its nonce; it is bound to joiner, cluster and issuer, inside the
 * seal. How long it lives is counted by the joiner from its own request, so no two clocks need to agree.
 * Pure.
 */
#ifndef KPEER_TICKET_H
#define KPEER_TICKET_H

#include "protocol/identity.h"
#include "protocol/statement.h"

struct ticket {
    struct peer_id joiner;
    struct peer_id issuer;
    uint64_t nonce; /* of the request; never 0 */
    uint64_t ttl_ms;
    char cluster_id[STEP_ID_BYTES];
    char endpoint[STEP_ADDRESS_BYTES + 8];
    char ca_hash[STEP_HASH_BYTES];
    char token[STEP_TOKEN_BYTES]; /* secret */
};

/* Seals to the joiner's box key; `seed` is 32 fresh random bytes. KPEER_ELIMIT if it does not fit. */
int ticket_seal(const struct ticket *t, const uint8_t box_pk[static BOX_PK_BYTES],
                const uint8_t seed[static 32], uint8_t out[static TICKET_BOX_MAX], uint16_t *out_bytes);
/* Opens what was sealed to `me`; the caller wipes *out. KPEER_EAUTH when it is not for us or altered. */
int ticket_open(const struct identity *me, const uint8_t *box, size_t n, struct ticket *out);

#endif
