/*
 * An invitation: one host shows a short code once, another one that is told it takes the group's key.
 *
 * The guest asks the subnet, the host that invites offers, the guest claims, and the key is given: a CPace
 * exchange (cpace.h) with both sides' key confirmation, the inviting side's first, and the key's bytes sealed
 * under what comes of it. All four datagrams have one length, so no answer is longer than what it answers:
 *
 *   'K' 'P' version kind | session (16) | word (1) | …, zeros to INVITE_BYTES
 *   ask: the guest's share · offer: share, tag · claim: tag · give: sealed key (keytext.h's raw bytes) and
 * tag
 *
 * Both ends are state machines on bytes. Pure: randomness and time come from the caller. Users: the agent
 * (peer/agent/inviting.c) and whoever looks for the inviting host (discovery/meet.h).
 */
#ifndef KPEER_INVITE_H
#define KPEER_INVITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/cpace.h"
#include "protocol/err.h"
#include "protocol/secret.h"

#define INVITE_BYTES         96 /* of each datagram */
#define INVITE_CODE_BYTES    5  /* of chance in a code */
#define INVITE_CODE_TEXT     12 /* "xxx-xxx-xxx" and its NUL */
#define INVITE_SESSION_BYTES 16
#define INVITE_LIFE_MS       600000
#define INVITE_RATE_MS       100  /* one try in so long … */
#define INVITE_BURST         20   /* … with so many saved up */
#define INVITE_TRIES_MAX     4096 /* in all: a guesser has one chance in 2^28 */
#define INVITE_WRONG_MAX     64   /* wrong offers that a guest looks at: one chance in 2^34 */
#define INVITE_OPEN_MAX      64   /* exchanges at a time */

/* The code as people read and type it: 40 bits and 5 of checksum, of digits and letters that are not mistaken
 * for each other. Reading takes either case, i and l for 1, o for 0, and leaves out blanks and dashes.
 * KPEER_EINVAL: too short, too long, or mistyped. */
void invite_code_text(const uint8_t code[static INVITE_CODE_BYTES], char out[static INVITE_CODE_TEXT]);
int invite_code_parse(const char *text, uint8_t code[static INVITE_CODE_BYTES], struct err *err);

/* ---- the host that invites ---- */

struct invitation;

/* Opens one; guarded memory, freed by invitation_free. NULL: out of memory. */
struct invitation *invitation_new(const uint8_t code[static INVITE_CODE_BYTES], uint64_t now_ms);
void invitation_free(struct invitation *inv);

enum invitation_state {
    INVITATION_OPEN,
    INVITATION_GIVEN,   /* to one guest, who gets its answer again; nobody else does */
    INVITATION_SPOILED, /* more tries than an honest guest makes */
    INVITATION_EXPIRED
};
enum invitation_state invitation_state(const struct invitation *inv, uint64_t now_ms);

/* Takes a datagram; `random` is fresh. 0: `reply` is to be sent back to where it came from. KPEER_EINVAL:
 * malformed; KPEER_ELIMIT: too many tries just now; KPEER_EAUTH: another code; KPEER_ESTATE: not open to this
 * one. `key` is what is given. */
int invitation_take(struct invitation *inv, const uint8_t *bytes, size_t n, const struct secret *key,
                    const uint8_t random[static CPACE_SCALAR_BYTES], uint64_t now_ms,
                    uint8_t reply[static INVITE_BYTES]);

/* ---- the guest ---- */

struct guest;

/* NULL: out of memory. `session` and `scalar` are fresh random bytes. Freed by guest_free. */
struct guest *guest_new(const uint8_t code[static INVITE_CODE_BYTES],
                        const uint8_t session[static INVITE_SESSION_BYTES],
                        const uint8_t scalar[static CPACE_SCALAR_BYTES]);
void guest_free(struct guest *g);

/* What to say now: the ask, to everybody, or, once guest_claims, the claim, to the one whose offer fitted. */
bool guest_claims(const struct guest *g);
void guest_say(const struct guest *g, uint8_t out[static INVITE_BYTES]);

/* How many offers did not fit the code. */
unsigned guest_wrong(const struct guest *g);

/* Takes a datagram. 0 and *key set: that is the key. 0 and *key NULL: it was the offer, now claim.
 * KPEER_EINVAL: none of this exchange, or malformed; KPEER_EAUTH: of another code; KPEER_ELIMIT: so many did
 * not fit that nothing is looked at any more. */
int guest_take(struct guest *g, const uint8_t *bytes, size_t n, struct secret **key);

#endif
