/*
 * Cryptography at the price of a hash. Curves and ciphers were most of the work in a simulated world, and
 * nothing that is simulated hangs on how they work, only on what they promise: who holds the secret key alone
 * can sign, or open a box; who holds the group's key alone can seal; whatever was altered is refused. Here
 * each of them is a keyed hash, and nothing is hidden, since nobody looks. The unit tests and the real binary
 * use the real thing. The linker brings the calls here (--wrap).
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define TAG_BYTES crypto_aead_xchacha20poly1305_ietf_ABYTES
#define AD_MAX    64

_Static_assert(TAG_BYTES == 2 * crypto_shorthash_BYTES, "a tag is two short hashes");
_Static_assert(crypto_box_MACBYTES == TAG_BYTES, "a box has a tag too");

int __wrap_crypto_sign_detached(unsigned char *sig, unsigned long long *sig_bytes, const unsigned char *m,
                                unsigned long long n, const unsigned char *sk);
int __wrap_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m, unsigned long long n,
                                       const unsigned char *pk);
int __wrap_crypto_aead_xchacha20poly1305_ietf_encrypt(unsigned char *c, unsigned long long *c_bytes,
                                                      const unsigned char *m, unsigned long long n,
                                                      const unsigned char *ad, unsigned long long ad_bytes,
                                                      const unsigned char *nsec, const unsigned char *nonce,
                                                      const unsigned char *key);
int __wrap_crypto_aead_xchacha20poly1305_ietf_decrypt(unsigned char *m, unsigned long long *m_bytes,
                                                      unsigned char *nsec, const unsigned char *c,
                                                      unsigned long long n, const unsigned char *ad,
                                                      unsigned long long ad_bytes, const unsigned char *nonce,
                                                      const unsigned char *key);
int __wrap_crypto_box_seed_keypair(unsigned char *pk, unsigned char *sk, const unsigned char *seed);
int __wrap_crypto_box_easy(unsigned char *c, const unsigned char *m, unsigned long long n,
                           const unsigned char *nonce, const unsigned char *pk, const unsigned char *sk);
int __wrap_crypto_box_open_easy(unsigned char *m, const unsigned char *c, unsigned long long n,
                                const unsigned char *nonce, const unsigned char *pk, const unsigned char *sk);

/* ---- signatures: over public key and text, under a key that nobody but this file has ---- */

static void sign(unsigned char sig[static crypto_sign_BYTES], const unsigned char *m, unsigned long long n,
                 const unsigned char *pk)
{
    static const unsigned char key[32] = "the signatures of the simulator";
    crypto_generichash_state st;
    crypto_generichash_init(&st, key, sizeof key, crypto_sign_BYTES);
    crypto_generichash_update(&st, pk, crypto_sign_PUBLICKEYBYTES);
    crypto_generichash_update(&st, m, n);
    crypto_generichash_final(&st, sig, crypto_sign_BYTES);
}

/* A secret key of libsodium's ends in its public key. */
int __wrap_crypto_sign_detached(unsigned char *sig, unsigned long long *sig_bytes, const unsigned char *m,
                                unsigned long long n, const unsigned char *sk)
{
    sign(sig, m, n, sk + crypto_sign_SECRETKEYBYTES - crypto_sign_PUBLICKEYBYTES);
    if (sig_bytes)
        *sig_bytes = crypto_sign_BYTES;
    return 0;
}

int __wrap_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m, unsigned long long n,
                                       const unsigned char *pk)
{
    unsigned char right[crypto_sign_BYTES];
    sign(right, m, n, pk);
    return memcmp(sig, right, sizeof right) == 0 ? 0 : -1;
}

/* ---- what is sealed with the group's key ---- */

/* The first half of the tag covers the text; the second covers that, what goes with it, and the nonce. */
static void seal(unsigned char tag[static TAG_BYTES], const unsigned char *m, unsigned long long n,
                 const unsigned char *ad, unsigned long long ad_bytes, const unsigned char *nonce,
                 const unsigned char *key)
{
    unsigned char rest[AD_MAX + crypto_aead_xchacha20poly1305_ietf_NPUBBYTES + crypto_shorthash_BYTES];
    unsigned char *at = rest;
    if (ad_bytes > AD_MAX)
        abort();
    crypto_shorthash(tag, m, n, key);
    at = (unsigned char *)memcpy(at, tag, crypto_shorthash_BYTES) + crypto_shorthash_BYTES;
    at = (unsigned char *)memcpy(at, nonce, crypto_aead_xchacha20poly1305_ietf_NPUBBYTES) +
         crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
    at = (unsigned char *)memcpy(at, ad, ad_bytes) + ad_bytes;
    crypto_shorthash(tag + crypto_shorthash_BYTES, rest, (unsigned long long)(at - rest),
                     key + crypto_shorthash_KEYBYTES);
}

int __wrap_crypto_aead_xchacha20poly1305_ietf_encrypt(unsigned char *c, unsigned long long *c_bytes,
                                                      const unsigned char *m, unsigned long long n,
                                                      const unsigned char *ad, unsigned long long ad_bytes,
                                                      const unsigned char *nsec, const unsigned char *nonce,
                                                      const unsigned char *key)
{
    (void)nsec;
    memcpy(c, m, n);
    seal(c + n, m, n, ad, ad_bytes, nonce, key);
    *c_bytes = n + TAG_BYTES;
    return 0;
}

int __wrap_crypto_aead_xchacha20poly1305_ietf_decrypt(unsigned char *m, unsigned long long *m_bytes,
                                                      unsigned char *nsec, const unsigned char *c,
                                                      unsigned long long n, const unsigned char *ad,
                                                      unsigned long long ad_bytes, const unsigned char *nonce,
                                                      const unsigned char *key)
{
    unsigned char right[TAG_BYTES];
    (void)nsec;
    if (n < TAG_BYTES)
        return -1;
    n -= TAG_BYTES;
    seal(right, c, n, ad, ad_bytes, nonce, key);
    if (memcmp(c + n, right, sizeof right) != 0)
        return -1;
    memcpy(m, c, n);
    *m_bytes = n;
    return 0;
}

/* ---- boxes: a public key is the hash of its secret key, so who lacks that cannot come up with it ---- */

static void public_key(unsigned char pk[static crypto_box_PUBLICKEYBYTES], const unsigned char *sk)
{
    crypto_generichash(pk, crypto_box_PUBLICKEYBYTES, sk, crypto_box_SECRETKEYBYTES, NULL, 0);
}

static void box(unsigned char tag[static TAG_BYTES], const unsigned char *m, unsigned long long n,
                const unsigned char *nonce, const unsigned char *from_pk, const unsigned char *to_pk)
{
    static const unsigned char key[32] = "the boxes of the simulator";
    crypto_generichash_state st;
    crypto_generichash_init(&st, key, sizeof key, TAG_BYTES);
    crypto_generichash_update(&st, nonce, crypto_box_NONCEBYTES);
    crypto_generichash_update(&st, from_pk, crypto_box_PUBLICKEYBYTES);
    crypto_generichash_update(&st, to_pk, crypto_box_PUBLICKEYBYTES);
    crypto_generichash_update(&st, m, n);
    crypto_generichash_final(&st, tag, TAG_BYTES);
}

int __wrap_crypto_box_seed_keypair(unsigned char *pk, unsigned char *sk, const unsigned char *seed)
{
    memcpy(sk, seed, crypto_box_SECRETKEYBYTES);
    public_key(pk, sk);
    return 0;
}

int __wrap_crypto_box_easy(unsigned char *c, const unsigned char *m, unsigned long long n,
                           const unsigned char *nonce, const unsigned char *pk, const unsigned char *sk)
{
    unsigned char mine[crypto_box_PUBLICKEYBYTES];
    public_key(mine, sk);
    box(c, m, n, nonce, mine, pk);
    memcpy(c + TAG_BYTES, m, n);
    return 0;
}

int __wrap_crypto_box_open_easy(unsigned char *m, const unsigned char *c, unsigned long long n,
                                const unsigned char *nonce, const unsigned char *pk, const unsigned char *sk)
{
    unsigned char mine[crypto_box_PUBLICKEYBYTES], right[TAG_BYTES];
    if (n < TAG_BYTES)
        return -1;
    n -= TAG_BYTES;
    public_key(mine, sk);
    box(right, c + TAG_BYTES, n, nonce, pk, mine);
    if (memcmp(c, right, sizeof right) != 0)
        return -1;
    memcpy(m, c + TAG_BYTES, n);
    return 0;
}
