#include "protocol/invite.h"

#include <sodium.h>
#include <string.h>

#include "protocol/keytext.h"
#include "protocol/seal.h"

#define OFF_SESSION 4
#define OFF_WORD    (OFF_SESSION + INVITE_SESSION_BYTES)
#define OFF_BODY    (OFF_WORD + 1)
#define GIVEN_BYTES (KEYTEXT_RAW_BYTES + crypto_aead_xchacha20poly1305_ietf_ABYTES)
#define SYMBOLS     9 /* of a code: eight of chance, one of checksum */

#define CHANNEL "kpeer invitation 1"
#define GUEST   "guest"
#define INVITER "inviter"

_Static_assert(OFF_BODY + GIVEN_BYTES <= INVITE_BYTES, "the key fits its datagram");
_Static_assert(OFF_BODY + CPACE_SHARE_BYTES + CPACE_TAG_BYTES <= INVITE_BYTES, "an offer fits, too");
_Static_assert(INVITE_BYTES >= SEAL_HEADER_BYTES, "what looks at headers sees this one");

enum word { WORD_ASK = 1, WORD_OFFER, WORD_CLAIM, WORD_GIVE };

/* How many bytes each has after its word; zeros follow. */
static const size_t body_bytes[] = {[WORD_ASK] = CPACE_SHARE_BYTES,
                                    [WORD_OFFER] = CPACE_SHARE_BYTES + CPACE_TAG_BYTES,
                                    [WORD_CLAIM] = CPACE_TAG_BYTES,
                                    [WORD_GIVE] = GIVEN_BYTES};

/* ---- the code ---- */

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

/* Any one symbol that is wrong changes it, since the weights are odd, and so do nearly any two neighbours
 * that are swapped. */
static unsigned checksum(const uint8_t symbols[static SYMBOLS - 1])
{
    unsigned sum = 0;
    for (size_t i = 0; i < SYMBOLS - 1; i++)
        sum += (unsigned)symbols[i] * (2 * (unsigned)i + 3);
    return sum % 32;
}

static void symbols_of(const uint8_t code[static INVITE_CODE_BYTES], uint8_t out[static SYMBOLS])
{
    for (size_t i = 0; i < SYMBOLS - 1; i++) {
        size_t bit = i * 5, byte = bit / 8;
        unsigned pair = (unsigned)code[byte] << 8 | (byte + 1 < INVITE_CODE_BYTES ? code[byte + 1] : 0U);
        out[i] = (uint8_t)(pair >> (11 - bit % 8) & 31);
    }
    out[SYMBOLS - 1] = (uint8_t)checksum(out);
}

void invite_code_text(const uint8_t code[static INVITE_CODE_BYTES], char out[static INVITE_CODE_TEXT])
{
    uint8_t symbols[SYMBOLS];
    symbols_of(code, symbols);
    size_t n = 0;
    for (size_t i = 0; i < SYMBOLS; i++) {
        if (i && i % 3 == 0)
            out[n++] = '-';
        out[n++] = alphabet[symbols[i]];
    }
    out[n] = '\0';
    sodium_memzero(symbols, sizeof symbols);
}

/* The value of a symbol, -1 for none. */
static int symbol(char c)
{
    if (c >= 'A' && c <= 'Z')
        c = (char)(c - 'A' + 'a');
    if (c == 'o')
        c = '0';
    if (c == 'i' || c == 'l')
        c = '1';
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

int invite_code_parse(const char *text, uint8_t code[static INVITE_CODE_BYTES], struct err *err)
{
    uint8_t symbols[SYMBOLS], out[INVITE_CODE_BYTES] = {0};
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        if (*p == '-' || *p == ' ')
            continue;
        int value = symbol(*p);
        if (value < 0)
            return err_set(err, KPEER_EINVAL, "the code is mistyped: no code has a \"%.1s\" in it",
                           *p > ' ' && *p < 0x7f ? p : "?");
        if (n == SYMBOLS)
            return err_set(err, KPEER_EINVAL, "the code is too long: it has nine characters");
        symbols[n++] = (uint8_t)value;
    }
    if (n < SYMBOLS)
        return err_set(err, KPEER_EINVAL, "the code is too short: it has nine characters");
    if (checksum(symbols) != symbols[SYMBOLS - 1])
        return err_set(err, KPEER_EINVAL, "the code is mistyped");
    for (size_t i = 0; i < (SYMBOLS - 1) * 5; i++)
        if (symbols[i / 5] >> (4 - i % 5) & 1)
            out[i / 8] |= (uint8_t)(1U << (7 - i % 8));
    memcpy(code, out, sizeof out);
    sodium_memzero(symbols, sizeof symbols);
    sodium_memzero(out, sizeof out);
    return 0;
}

/* ---- datagrams ---- */

static void put(uint8_t *out, const uint8_t *session, enum word word)
{
    memset(out, 0, INVITE_BYTES);
    out[0] = 'K';
    out[1] = 'P';
    out[2] = SEAL_VERSION;
    out[3] = SEAL_INVITE;
    memcpy(out + OFF_SESSION, session, INVITE_SESSION_BYTES);
    out[OFF_WORD] = (uint8_t)word;
}

static int get(const uint8_t *bytes, size_t n, enum word *word)
{
    enum seal_kind kind;
    if (n != INVITE_BYTES || seal_peek(bytes, n, &kind, NULL) || kind != SEAL_INVITE)
        return KPEER_EINVAL;
    uint8_t w = bytes[OFF_WORD];
    if (w < WORD_ASK || w > WORD_GIVE)
        return KPEER_EINVAL;
    size_t end = OFF_BODY + body_bytes[w];
    *word = (enum word)w;
    return sodium_is_zero(bytes + end, INVITE_BYTES - end) ? 0 : KPEER_EINVAL;
}

/* ---- what both sides reckon ---- */

/* One run of the exchange, as one side holds it. */
struct run {
    uint8_t session[INVITE_SESSION_BYTES];
    uint8_t scalar[CPACE_SCALAR_BYTES];
    struct cpace_said guest, inviter;
    uint8_t isk[CPACE_ISK_BYTES];
};

static struct cpace_bytes bytes_of(const void *p, size_t n)
{
    return (struct cpace_bytes){p, n};
}

static void run_init(struct run *r, const uint8_t *session, const uint8_t *scalar)
{
    memcpy(r->session, session, sizeof r->session);
    memcpy(r->scalar, scalar, sizeof r->scalar);
    r->scalar[CPACE_SCALAR_BYTES - 1] &= 0x0f; /* 252 bits, as the draft has it */
    r->guest.ad = bytes_of(GUEST, sizeof GUEST - 1);
    r->inviter.ad = bytes_of(INVITER, sizeof INVITER - 1);
}

static int run_share(const struct run *r, const uint8_t *code, uint8_t *share)
{
    return cpace_share(bytes_of(code, INVITE_CODE_BYTES), bytes_of(CHANNEL, sizeof CHANNEL - 1),
                       bytes_of(r->session, sizeof r->session), r->scalar, share);
}

static int run_isk(struct run *r, const uint8_t *other)
{
    return cpace_isk(r->scalar, other, bytes_of(r->session, sizeof r->session), &r->guest, &r->inviter,
                     r->isk);
}

static void run_tag(const struct run *r, const struct cpace_said *said, uint8_t *tag)
{
    cpace_tag(r->isk, bytes_of(r->session, sizeof r->session), said, tag);
}

static bool run_tag_fits(const struct run *r, const struct cpace_said *said, const uint8_t *tag)
{
    uint8_t want[CPACE_TAG_BYTES];
    run_tag(r, said, want);
    bool fits = sodium_memcmp(want, tag, sizeof want) == 0;
    sodium_memzero(want, sizeof want);
    return fits;
}

/* A key for one datagram alone, so its nonce may be zero. */
static void run_key(const struct run *r, uint8_t key[static crypto_aead_xchacha20poly1305_ietf_KEYBYTES])
{
    static const char purpose[] = "kpeer invitation key 1";
    crypto_generichash(key, crypto_aead_xchacha20poly1305_ietf_KEYBYTES, (const uint8_t *)purpose,
                       sizeof purpose - 1, r->isk, sizeof r->isk);
}

static const uint8_t no_nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];

/* ---- the host that invites ---- */

struct exchange {
    uint64_t used_ms; /* 0: free */
    struct run run;
};

struct invitation {
    uint8_t code[INVITE_CODE_BYTES];
    uint64_t end_ms;
    unsigned tries;
    uint64_t credit_ms; /* tries saved up, in time, as of `credit_at` */
    uint64_t credit_at;
    struct exchange *given; /* NULL: to nobody yet */
    uint8_t answer[INVITE_BYTES];
    struct exchange exchange[INVITE_OPEN_MAX];
};

struct invitation *invitation_new(const uint8_t code[static INVITE_CODE_BYTES], uint64_t now_ms)
{
    struct invitation *inv = secret_alloc(sizeof *inv);
    if (!inv)
        return NULL;
    memset(inv, 0, sizeof *inv);
    memcpy(inv->code, code, sizeof inv->code);
    inv->end_ms = now_ms + INVITE_LIFE_MS;
    inv->credit_ms = INVITE_BURST * INVITE_RATE_MS;
    inv->credit_at = now_ms;
    return inv;
}

void invitation_free(struct invitation *inv)
{
    secret_release(inv);
}

enum invitation_state invitation_state(const struct invitation *inv, uint64_t now_ms)
{
    if (now_ms >= inv->end_ms)
        return INVITATION_EXPIRED;
    if (inv->given)
        return INVITATION_GIVEN;
    return inv->tries >= INVITE_TRIES_MAX ? INVITATION_SPOILED : INVITATION_OPEN;
}

/* A guest that asks anew asks the same: the session and its share are what tell it from others. */
static struct exchange *asked(struct invitation *inv, const uint8_t *session, const uint8_t *share)
{
    for (size_t i = 0; i < INVITE_OPEN_MAX; i++) {
        struct exchange *x = &inv->exchange[i];
        if (x->used_ms && memcmp(x->run.session, session, INVITE_SESSION_BYTES) == 0 &&
            memcmp(x->run.guest.share, share, CPACE_SHARE_BYTES) == 0)
            return x;
    }
    return NULL;
}

/* Two may have taken one session's number: whoever has the key of theirs is meant. */
static struct exchange *claimed(struct invitation *inv, const uint8_t *session, const uint8_t *tag)
{
    for (size_t i = 0; i < INVITE_OPEN_MAX; i++) {
        struct exchange *x = &inv->exchange[i];
        if (x->used_ms && memcmp(x->run.session, session, INVITE_SESSION_BYTES) == 0 &&
            run_tag_fits(&x->run, &x->run.guest, tag))
            return x;
    }
    return NULL;
}

static struct exchange *oldest(struct invitation *inv)
{
    struct exchange *x = &inv->exchange[0];
    for (size_t i = 1; i < INVITE_OPEN_MAX; i++)
        if (inv->exchange[i].used_ms < x->used_ms)
            x = &inv->exchange[i];
    return x;
}

/* Each new exchange is a try at the code. Strangers can use all of them up, and so delay an honest guest;
 * they cannot guess faster than this. */
static bool allow_try(struct invitation *inv, uint64_t now_ms)
{
    uint64_t most = INVITE_BURST * INVITE_RATE_MS;
    inv->credit_ms += now_ms > inv->credit_at ? now_ms - inv->credit_at : 0;
    inv->credit_ms = inv->credit_ms < most ? inv->credit_ms : most;
    inv->credit_at = now_ms;
    if (inv->credit_ms < INVITE_RATE_MS)
        return false;
    inv->credit_ms -= INVITE_RATE_MS;
    inv->tries++;
    return true;
}

static int begin(struct invitation *inv, const uint8_t *session, const uint8_t *share, const uint8_t *random,
                 uint64_t now_ms, struct exchange **out)
{
    if (!allow_try(inv, now_ms))
        return KPEER_ELIMIT;
    struct exchange *x = oldest(inv);
    memset(x, 0, sizeof *x);
    run_init(&x->run, session, random);
    memcpy(x->run.guest.share, share, CPACE_SHARE_BYTES);
    if (run_share(&x->run, inv->code, x->run.inviter.share) || run_isk(&x->run, share)) {
        sodium_memzero(x, sizeof *x);
        return KPEER_EINVAL;
    }
    x->used_ms = now_ms ? now_ms : 1;
    *out = x;
    return 0;
}

static int take_ask(struct invitation *inv, const uint8_t *bytes, const uint8_t *random, uint64_t now_ms,
                    uint8_t *reply)
{
    const uint8_t *session = bytes + OFF_SESSION, *share = bytes + OFF_BODY;
    struct exchange *x = asked(inv, session, share);
    int rc = invitation_state(inv, now_ms) == INVITATION_OPEN ? 0 : KPEER_ESTATE;
    if (!rc && !x)
        rc = begin(inv, session, share, random, now_ms, &x);
    if (rc)
        return rc;
    put(reply, session, WORD_OFFER);
    memcpy(reply + OFF_BODY, x->run.inviter.share, CPACE_SHARE_BYTES);
    run_tag(&x->run, &x->run.inviter, reply + OFF_BODY + CPACE_SHARE_BYTES);
    return 0;
}

static void give(struct invitation *inv, struct exchange *x, const struct secret *key)
{
    uint8_t raw[KEYTEXT_RAW_BYTES], under[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
    put(inv->answer, x->run.session, WORD_GIVE);
    keytext_pack(key, raw);
    run_key(&x->run, under);
    crypto_aead_xchacha20poly1305_ietf_encrypt(inv->answer + OFF_BODY, NULL, raw, sizeof raw, inv->answer,
                                               OFF_BODY, NULL, no_nonce, under);
    sodium_memzero(raw, sizeof raw);
    sodium_memzero(under, sizeof under);
    inv->given = x;
}

static int take_claim(struct invitation *inv, const uint8_t *bytes, const struct secret *key, uint64_t now_ms,
                      uint8_t *reply)
{
    struct exchange *x = claimed(inv, bytes + OFF_SESSION, bytes + OFF_BODY);
    if (!x)
        return KPEER_EAUTH;
    enum invitation_state state = invitation_state(inv, now_ms);
    if (state != INVITATION_OPEN && (state != INVITATION_GIVEN || x != inv->given))
        return KPEER_ESTATE;
    if (!inv->given)
        give(inv, x, key);
    memcpy(reply, inv->answer, INVITE_BYTES);
    return 0;
}

int invitation_take(struct invitation *inv, const uint8_t *bytes, size_t n, const struct secret *key,
                    const uint8_t random[static CPACE_SCALAR_BYTES], uint64_t now_ms,
                    uint8_t reply[static INVITE_BYTES])
{
    enum word word;
    if (get(bytes, n, &word))
        return KPEER_EINVAL;
    if (word == WORD_ASK)
        return take_ask(inv, bytes, random, now_ms, reply);
    return word == WORD_CLAIM ? take_claim(inv, bytes, key, now_ms, reply) : KPEER_EINVAL;
}

/* ---- the guest ---- */

struct guest {
    uint8_t code[INVITE_CODE_BYTES];
    bool claims;
    unsigned wrong;
    struct run run;
};

struct guest *guest_new(const uint8_t code[static INVITE_CODE_BYTES],
                        const uint8_t session[static INVITE_SESSION_BYTES],
                        const uint8_t scalar[static CPACE_SCALAR_BYTES])
{
    struct guest *g = secret_alloc(sizeof *g);
    if (!g)
        return NULL;
    memset(g, 0, sizeof *g);
    memcpy(g->code, code, sizeof g->code);
    run_init(&g->run, session, scalar);
    if (run_share(&g->run, code, g->run.guest.share)) {
        secret_release(g);
        return NULL;
    }
    return g;
}

void guest_free(struct guest *g)
{
    secret_release(g);
}

bool guest_claims(const struct guest *g)
{
    return g->claims;
}

unsigned guest_wrong(const struct guest *g)
{
    return g->wrong;
}

void guest_say(const struct guest *g, uint8_t out[static INVITE_BYTES])
{
    put(out, g->run.session, g->claims ? WORD_CLAIM : WORD_ASK);
    if (g->claims)
        run_tag(&g->run, &g->run.guest, out + OFF_BODY);
    else
        memcpy(out + OFF_BODY, g->run.guest.share, CPACE_SHARE_BYTES);
}

static int take_offer(struct guest *g, const uint8_t *bytes)
{
    const uint8_t *share = bytes + OFF_BODY, *tag = share + CPACE_SHARE_BYTES;
    if (g->claims)
        return KPEER_EINVAL; /* said again */
    if (g->wrong >= INVITE_WRONG_MAX)
        return KPEER_ELIMIT;
    memcpy(g->run.inviter.share, share, CPACE_SHARE_BYTES);
    if (run_isk(&g->run, share) || !run_tag_fits(&g->run, &g->run.inviter, tag)) {
        g->wrong++;
        return KPEER_EAUTH;
    }
    g->claims = true;
    return 0;
}

static int take_given(struct guest *g, const uint8_t *bytes, struct secret **key)
{
    uint8_t raw[KEYTEXT_RAW_BYTES], under[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
    if (!g->claims)
        return KPEER_EINVAL;
    run_key(&g->run, under);
    int rc = crypto_aead_xchacha20poly1305_ietf_decrypt(raw, NULL, NULL, bytes + OFF_BODY, GIVEN_BYTES, bytes,
                                                        OFF_BODY, no_nonce, under) == 0
                 ? keytext_unpack(raw, key, NULL)
                 : KPEER_EAUTH;
    sodium_memzero(raw, sizeof raw);
    sodium_memzero(under, sizeof under);
    return rc;
}

int guest_take(struct guest *g, const uint8_t *bytes, size_t n, struct secret **key)
{
    enum word word;
    *key = NULL;
    if (get(bytes, n, &word) || memcmp(bytes + OFF_SESSION, g->run.session, INVITE_SESSION_BYTES) != 0)
        return KPEER_EINVAL;
    if (word == WORD_OFFER)
        return take_offer(g, bytes);
    return word == WORD_GIVE ? take_given(g, bytes, key) : KPEER_EINVAL;
}
