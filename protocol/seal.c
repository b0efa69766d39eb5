#include "protocol/seal.h"

#include <sodium.h>
#include <string.h>

#define OFF_KEY   4
#define OFF_NONCE (4 + GROUP_ID_BYTES)
#define AD_BYTES  OFF_NONCE

struct seal {
    uint8_t key_id[GROUP_ID_BYTES];
    uint8_t key[SEAL_PULSE][32]; /* by kind - 1; a newcomer and an invitation have none */
};

int seal_new(struct seal **out, const struct secret *group_key, struct err *err)
{
    struct seal *s = secret_alloc(sizeof *s);
    if (!s)
        return err_set(err, KPEER_ENOMEM, "no guarded memory for the group's keys");
    secret_key_id(group_key, s->key_id);
    secret_derive(group_key, "kpeer beacon key 1", s->key[SEAL_BEACON - 1]);
    secret_derive(group_key, "kpeer message key 1", s->key[SEAL_MESSAGE - 1]);
    secret_derive(group_key, "kpeer handing key 1", s->key[SEAL_KEY - 1]);
    secret_derive(group_key, "kpeer pulse key 1", s->key[SEAL_PULSE - 1]);
    *out = s;
    return 0;
}

void seal_free(struct seal *s)
{
    secret_release(s);
}

const uint8_t *seal_key_id(const struct seal *s)
{
    return s->key_id;
}

static void put_header(uint8_t *out, enum seal_kind kind, const uint8_t *key_id, const uint8_t *nonce)
{
    out[0] = 'K';
    out[1] = 'P';
    out[2] = SEAL_VERSION;
    out[3] = (uint8_t)kind;
    memcpy(out + OFF_KEY, key_id, GROUP_ID_BYTES);
    memcpy(out + OFF_NONCE, nonce, SEAL_NONCE_BYTES);
}

size_t seal_close(const struct seal *s, enum seal_kind kind, const uint8_t nonce[static SEAL_NONCE_BYTES],
                  const uint8_t *plain, size_t n, uint8_t *out)
{
    unsigned long long written = 0;
    put_header(out, kind, s->key_id, nonce);
    crypto_aead_xchacha20poly1305_ietf_encrypt(out + SEAL_HEADER_BYTES, &written, plain, n, out, AD_BYTES,
                                               NULL, nonce, s->key[kind - 1]);
    return SEAL_HEADER_BYTES + (size_t)written;
}

/* Size, magic, version and kind: everything that can be told without a key. */
static int check_header(const uint8_t *bytes, size_t n)
{
    if (n < SEAL_HEADER_BYTES || bytes[0] != 'K' || bytes[1] != 'P')
        return KPEER_EINVAL;
    if (bytes[2] != SEAL_VERSION)
        return KPEER_EVERSION;
    if (bytes[3] < SEAL_BEACON || bytes[3] > SEAL_PULSE)
        return KPEER_EINVAL;
    return 0;
}

int seal_open(const struct seal *s, enum seal_kind kind, const uint8_t *bytes, size_t n, uint8_t *out,
              size_t *out_bytes)
{
    int rc = check_header(bytes, n);
    if (rc)
        return rc;
    if (n < SEAL_OVERHEAD_BYTES || bytes[3] != kind || kind == SEAL_NEWCOMER || kind == SEAL_INVITE)
        return KPEER_EINVAL;
    if (sodium_memcmp(bytes + OFF_KEY, s->key_id, GROUP_ID_BYTES) != 0)
        return KPEER_EREFUSED;
    unsigned long long written = 0;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(out, &written, NULL, bytes + SEAL_HEADER_BYTES,
                                                   n - SEAL_HEADER_BYTES, bytes, AD_BYTES, bytes + OFF_NONCE,
                                                   s->key[kind - 1]) != 0)
        return KPEER_EAUTH;
    *out_bytes = (size_t)written;
    return 0;
}

int seal_peek(const uint8_t *bytes, size_t n, enum seal_kind *kind, uint8_t key_id[GROUP_ID_BYTES])
{
    int rc = check_header(bytes, n);
    if (rc)
        return rc;
    if (bytes[3] == SEAL_NEWCOMER && n != SEAL_HEADER_BYTES)
        return KPEER_EINVAL;
    *kind = (enum seal_kind)bytes[3];
    if (key_id)
        memcpy(key_id, bytes + OFF_KEY, GROUP_ID_BYTES);
    return 0;
}

size_t seal_newcomer(const uint8_t tag[static 16], const uint8_t nonce[static SEAL_NONCE_BYTES],
                     uint8_t out[static SEAL_HEADER_BYTES])
{
    put_header(out, SEAL_NEWCOMER, tag, nonce);
    return SEAL_HEADER_BYTES;
}

/* The nonce is bound to both public keys, as in libsodium's own sealed boxes. */
static void box_nonce(uint8_t nonce[static 24], const uint8_t *ephemeral_pk, const uint8_t *box_pk)
{
    crypto_generichash_state st;
    crypto_generichash_init(&st, NULL, 0, 24);
    crypto_generichash_update(&st, ephemeral_pk, 32);
    crypto_generichash_update(&st, box_pk, 32);
    crypto_generichash_final(&st, nonce, 24);
}

int seal_box(const uint8_t box_pk[static BOX_PK_BYTES], const uint8_t seed[static 32], const uint8_t *plain,
             size_t n, uint8_t *out)
{
    uint8_t sk[32], nonce[24];
    crypto_box_seed_keypair(out, sk, seed);
    box_nonce(nonce, out, box_pk);
    int rc = crypto_box_easy(out + 32, plain, n, nonce, box_pk, sk);
    sodium_memzero(sk, sizeof sk);
    return rc == 0 ? 0 : KPEER_EINVAL;
}

int seal_box_open(const struct identity *me, const uint8_t *bytes, size_t n, uint8_t *out)
{
    uint8_t nonce[24];
    if (n < SEAL_BOX_OVERHEAD_BYTES)
        return KPEER_EINVAL;
    box_nonce(nonce, bytes, me->box_pk);
    if (crypto_box_open_easy(out, bytes + 32, n - 32, nonce, bytes, me->box_sk) != 0)
        return KPEER_EAUTH;
    return 0;
}
