/*
 * Signatures at the price of a hash. Ed25519 was most of the work in a simulated world, and nothing that is
 * simulated hangs on how it works, only on what it promises: who holds the secret key alone can sign, anybody
 * can check. Here a signature is a keyed hash over public key and text, under a key that nobody but this file
 * has. The unit tests and the real binary use the real thing. The linker brings the calls here (--wrap).
 */
#include <sodium.h>
#include <string.h>

int __wrap_crypto_sign_detached(unsigned char *sig, unsigned long long *sig_bytes, const unsigned char *m,
                                unsigned long long n, const unsigned char *sk);
int __wrap_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m, unsigned long long n,
                                       const unsigned char *pk);

static void seal_text(unsigned char sig[static crypto_sign_BYTES], const unsigned char *m,
                      unsigned long long n, const unsigned char *pk)
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
    seal_text(sig, m, n, sk + crypto_sign_SECRETKEYBYTES - crypto_sign_PUBLICKEYBYTES);
    if (sig_bytes)
        *sig_bytes = crypto_sign_BYTES;
    return 0;
}

int __wrap_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m, unsigned long long n,
                                       const unsigned char *pk)
{
    unsigned char right[crypto_sign_BYTES];
    seal_text(right, m, n, pk);
    return memcmp(sig, right, sizeof right) == 0 ? 0 : -1;
}
