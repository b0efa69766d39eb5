#include "protocol/cpace.h"

#include <sodium.h>

#include "protocol/err.h"

#define DSI         "CPaceRistretto255"
#define DSI_ISK     "CPaceRistretto255_ISK"
#define DSI_MAC     "CPaceMac"
#define TEXT(s)     ((struct cpace_bytes){(s), sizeof(s) - 1})
#define BLOCK_BYTES 128 /* SHA-512's own; the password is to end within the first */

/* LEB128; no length here needs more than two bytes. */
static size_t put_length(size_t n, uint8_t out[static 10])
{
    size_t i = 0;
    for (; n >= 0x80; n >>= 7)
        out[i++] = (uint8_t)(n | 0x80);
    out[i++] = (uint8_t)n;
    return i;
}

static void hash_lv(crypto_hash_sha512_state *st, struct cpace_bytes b)
{
    uint8_t length[10];
    crypto_hash_sha512_update(st, length, put_length(b.n, length));
    crypto_hash_sha512_update(st, b.p, b.n);
}

static size_t lv_bytes(struct cpace_bytes b)
{
    uint8_t length[10];
    return put_length(b.n, length) + b.n;
}

static void generator(struct cpace_bytes prs, struct cpace_bytes ci, struct cpace_bytes sid,
                      uint8_t g[static crypto_core_ristretto255_BYTES])
{
    static const uint8_t zeros[BLOCK_BYTES];
    uint8_t hash[crypto_core_ristretto255_HASHBYTES];
    crypto_hash_sha512_state st;
    size_t used = lv_bytes(TEXT(DSI)) + lv_bytes(prs) + 1;
    crypto_hash_sha512_init(&st);
    hash_lv(&st, TEXT(DSI));
    hash_lv(&st, prs);
    hash_lv(&st, (struct cpace_bytes){zeros, used < BLOCK_BYTES ? BLOCK_BYTES - used : 0});
    hash_lv(&st, ci);
    hash_lv(&st, sid);
    crypto_hash_sha512_final(&st, hash);
    crypto_core_ristretto255_from_hash(g, hash);
    sodium_memzero(&st, sizeof st);
    sodium_memzero(hash, sizeof hash);
}

int cpace_share(struct cpace_bytes prs, struct cpace_bytes ci, struct cpace_bytes sid,
                const uint8_t scalar[static CPACE_SCALAR_BYTES], uint8_t share[static CPACE_SHARE_BYTES])
{
    uint8_t g[crypto_core_ristretto255_BYTES];
    generator(prs, ci, sid, g);
    int rc = crypto_scalarmult_ristretto255(share, scalar, g) == 0 ? 0 : KPEER_EINVAL;
    sodium_memzero(g, sizeof g);
    return rc;
}

static void hash_said(crypto_hash_sha512_state *st, const struct cpace_said *said)
{
    hash_lv(st, (struct cpace_bytes){said->share, sizeof said->share});
    hash_lv(st, said->ad);
}

int cpace_isk(const uint8_t scalar[static CPACE_SCALAR_BYTES], const uint8_t other[static CPACE_SHARE_BYTES],
              struct cpace_bytes sid, const struct cpace_said *a, const struct cpace_said *b,
              uint8_t isk[static CPACE_ISK_BYTES])
{
    uint8_t k[crypto_scalarmult_ristretto255_BYTES];
    crypto_hash_sha512_state st;
    /* Refuses what encodes no element, and the identity. */
    if (crypto_scalarmult_ristretto255(k, scalar, other) != 0)
        return KPEER_EINVAL;
    crypto_hash_sha512_init(&st);
    hash_lv(&st, TEXT(DSI_ISK));
    hash_lv(&st, sid);
    hash_lv(&st, (struct cpace_bytes){k, sizeof k});
    hash_said(&st, a);
    hash_said(&st, b);
    crypto_hash_sha512_final(&st, isk);
    sodium_memzero(&st, sizeof st);
    sodium_memzero(k, sizeof k);
    return 0;
}

static void mac_lv(crypto_auth_hmacsha512256_state *st, struct cpace_bytes b)
{
    uint8_t length[10];
    crypto_auth_hmacsha512256_update(st, length, put_length(b.n, length));
    crypto_auth_hmacsha512256_update(st, b.p, b.n);
}

void cpace_tag(const uint8_t isk[static CPACE_ISK_BYTES], struct cpace_bytes sid,
               const struct cpace_said *said, uint8_t tag[static CPACE_TAG_BYTES])
{
    uint8_t key[crypto_hash_sha512_BYTES];
    crypto_hash_sha512_state st;
    crypto_auth_hmacsha512256_state mac;
    crypto_hash_sha512_init(&st);
    crypto_hash_sha512_update(&st, (const uint8_t *)DSI_MAC, sizeof DSI_MAC - 1);
    crypto_hash_sha512_update(&st, sid.p, sid.n);
    crypto_hash_sha512_update(&st, isk, CPACE_ISK_BYTES);
    crypto_hash_sha512_final(&st, key);
    crypto_auth_hmacsha512256_init(&mac, key, sizeof key);
    mac_lv(&mac, (struct cpace_bytes){said->share, sizeof said->share});
    mac_lv(&mac, said->ad);
    crypto_auth_hmacsha512256_final(&mac, tag);
    sodium_memzero(&st, sizeof st);
    sodium_memzero(&mac, sizeof mac);
    sodium_memzero(key, sizeof key);
}
