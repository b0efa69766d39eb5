#include "protocol/identity.h"

#include <sodium.h>
#include <string.h>

#include "protocol/mem.h"
#include "protocol/secret.h"

/* A key of its own for each use, so that a signature never lends itself to decryption or the other way round.
 */
static void derive(uint8_t out[static 32], const uint8_t seed[static IDENTITY_SEED_BYTES], const char *use)
{
    crypto_generichash(out, 32, (const unsigned char *)use, strlen(use), seed, IDENTITY_SEED_BYTES);
}

int identity_new(struct identity **out, const uint8_t seed[static IDENTITY_SEED_BYTES], struct err *err)
{
    struct identity *id = secret_alloc(sizeof *id);
    if (!id)
        return err_set(err, KPEER_ENOMEM, "no guarded memory for the identity");
    uint8_t sub[32];
    derive(sub, seed, "kpeer sign 1");
    crypto_sign_seed_keypair(id->sign_pk, id->sign_sk, sub);
    derive(sub, seed, "kpeer box 1");
    crypto_box_seed_keypair(id->box_pk, id->box_sk, sub);
    sodium_memzero(sub, sizeof sub);
    identity_id_of(id->sign_pk, &id->id);
    *out = id;
    return 0;
}

void identity_free(struct identity *id)
{
    secret_release(id);
}

void identity_id_of(const uint8_t sign_pk[static SIGN_PK_BYTES], struct peer_id *out)
{
    crypto_generichash(out->b, sizeof out->b, sign_pk, SIGN_PK_BYTES, NULL, 0);
}

bool peer_id_is_zero(const struct peer_id *a)
{
    static const struct peer_id zero;
    return peer_id_equal(a, &zero);
}

void peer_id_text(const struct peer_id *id, char out[static PEER_ID_TEXT])
{
    mem_hex(out, id->b, sizeof id->b);
}

int peer_id_parse(const char *text, struct peer_id *out)
{
    struct peer_id id;
    size_t n = 0;
    const char *end = NULL;
    if (strlen(text) != 2 * PEER_ID_BYTES)
        return KPEER_EINVAL;
    if (sodium_hex2bin(id.b, sizeof id.b, text, 2 * PEER_ID_BYTES, NULL, &n, &end) != 0 || n != PEER_ID_BYTES)
        return KPEER_EINVAL;
    *out = id;
    return 0;
}

/* What is signed is the hash of domain, NUL and bytes: short, and never a signature for another use. */
static void signed_hash(uint8_t out[static 64], const char *domain, const uint8_t *bytes, size_t n)
{
    crypto_generichash_state st;
    crypto_generichash_init(&st, NULL, 0, 64);
    crypto_generichash_update(&st, (const unsigned char *)domain, strlen(domain) + 1);
    crypto_generichash_update(&st, bytes, n);
    crypto_generichash_final(&st, out, 64);
}

void identity_sign(const struct identity *id, const char *domain, const uint8_t *bytes, size_t n,
                   uint8_t sig[static SIGNATURE_BYTES])
{
    uint8_t h[64];
    signed_hash(h, domain, bytes, n);
    crypto_sign_detached(sig, NULL, h, sizeof h, id->sign_sk);
}

bool identity_verify(const uint8_t sign_pk[static SIGN_PK_BYTES], const char *domain, const uint8_t *bytes,
                     size_t n, const uint8_t sig[static SIGNATURE_BYTES])
{
    uint8_t h[64];
    signed_hash(h, domain, bytes, n);
    return crypto_sign_verify_detached(sig, h, sizeof h, sign_pk) == 0;
}
