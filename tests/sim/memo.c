/*
 * Every receiver checks the same signature anew, and in a world of fifty hosts that is most of the work. The
 * check is a function of its arguments alone, so its answer is remembered. The linker brings the calls here
 * (--wrap).
 */
#include <sodium.h>
#include <string.h>

#define SLOTS 16384
#define BYTES 64 /* all that the core ever signs are hashes of this size */

int __real_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m, unsigned long long n,
                                       const unsigned char *pk);
int __wrap_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m, unsigned long long n,
                                       const unsigned char *pk);

struct slot {
    unsigned char sig[crypto_sign_BYTES];
    unsigned char m[BYTES];
    unsigned char pk[crypto_sign_PUBLICKEYBYTES];
    int answer;
    int used;
};

int __wrap_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m, unsigned long long n,
                                       const unsigned char *pk)
{
    static struct slot table[SLOTS];
    unsigned at = 0;
    if (n != BYTES)
        return __real_crypto_sign_verify_detached(sig, m, n, pk);
    memcpy(&at, m, sizeof at);
    struct slot *s = &table[at % SLOTS];
    if (s->used && memcmp(s->sig, sig, sizeof s->sig) == 0 && memcmp(s->m, m, sizeof s->m) == 0 &&
        memcmp(s->pk, pk, sizeof s->pk) == 0)
        return s->answer;
    memcpy(s->sig, sig, sizeof s->sig);
    memcpy(s->m, m, sizeof s->m);
    memcpy(s->pk, pk, sizeof s->pk);
    s->answer = __real_crypto_sign_verify_detached(sig, m, n, pk);
    s->used = 1;
    return s->answer;
}
