/*
 * CPace, the password-authenticated key exchange of draft-irtf-cfrg-cpace, as suite CPACE-RISTR255-SHA512
 * with an initiator (A) and a responder (B), on libsodium's ristretto255.
 *
 * Two sides that know the same few characters end with the same strong key. Whoever listens learns nothing to
 * try characters against off line, and whoever takes part tries one set of characters in each run. Names are
 * those of the draft, whose test vectors are in the unit test. Pure: the scalar, fresh random bytes for each
 * run, comes from the caller. User: invite.h.
 */
#ifndef KPEER_CPACE_H
#define KPEER_CPACE_H

#include <stddef.h>
#include <stdint.h>

#define CPACE_SCALAR_BYTES 32
#define CPACE_SHARE_BYTES  32
#define CPACE_ISK_BYTES    64
#define CPACE_TAG_BYTES    32

struct cpace_bytes {
    const void *p;
    size_t n;
};

/* What one side sends: its share and the associated data. */
struct cpace_said {
    uint8_t share[CPACE_SHARE_BYTES];
    struct cpace_bytes ad;
};

/* The share Y of this side. `prs` is the password, `ci` the channel, `sid` the session. KPEER_EINVAL: the
 * scalar is zero; take another. */
int cpace_share(struct cpace_bytes prs, struct cpace_bytes ci, struct cpace_bytes sid,
                const uint8_t scalar[static CPACE_SCALAR_BYTES], uint8_t share[static CPACE_SHARE_BYTES]);

/* The key ISK of the run in which A said `a` and B said `b`, for the side that is not `other`; the caller
 * wipes it. KPEER_EINVAL: `other` is no share. */
int cpace_isk(const uint8_t scalar[static CPACE_SCALAR_BYTES], const uint8_t other[static CPACE_SHARE_BYTES],
              struct cpace_bytes sid, const struct cpace_said *a, const struct cpace_said *b,
              uint8_t isk[static CPACE_ISK_BYTES]);

/* The tag by which the side that said `said` shows that it has the key (key confirmation, HMAC-SHA-512 cut to
 * 32 bytes). To be compared in constant time. */
void cpace_tag(const uint8_t isk[static CPACE_ISK_BYTES], struct cpace_bytes sid,
               const struct cpace_said *said, uint8_t tag[static CPACE_TAG_BYTES]);

#endif
