#include "peer/executor/packages/key.h"

#include <openssl/evp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARMOUR_BEGIN   "-----BEGIN PGP PUBLIC KEY BLOCK-----"
#define ARMOUR_END     "-----END PGP PUBLIC KEY BLOCK-----"
#define TAG_PUBLIC_KEY 6
#define TAG_MAX        63

struct packet {
    unsigned tag;
    const uint8_t *body;
    size_t body_bytes;
};

static int no_key(struct err *err, const char *why)
{
    err_set(err, KPEER_EAUTH, "what was fetched as the repository's key is none: %s", why);
    return err ? err_hint(err, "look at packages.mirror, or set packages.keyring") : KPEER_EAUTH;
}

/* A length of `width` bytes at *at; SIZE_MAX: there is none. */
static size_t read_length(const uint8_t *bytes, size_t n, size_t *at, size_t width)
{
    size_t value = 0;

    if (n - *at < width)
        return SIZE_MAX;
    for (size_t i = 0; i < width; i++)
        value = value << 8 | bytes[(*at)++];
    return value;
}

static size_t new_length(const uint8_t *bytes, size_t n, size_t *at)
{
    size_t first = read_length(bytes, n, at, 1), second;

    if (first < 192 || first == SIZE_MAX)
        return first;
    if (first < 224) {
        second = read_length(bytes, n, at, 1);
        return second == SIZE_MAX ? second : ((first - 192) << 8) + second + 192;
    }
    return first == 255 ? read_length(bytes, n, at, 4)
                        : SIZE_MAX; /* no partial lengths: those are for data */
}

/* The packet at *at (RFC 9580, section 4.2); false: there is none that ends within the bytes. */
static bool next_packet(const uint8_t *bytes, size_t n, size_t *at, struct packet *p)
{
    size_t length;

    if (*at >= n || !(bytes[*at] & 0x80))
        return false;
    if (bytes[*at] & 0x40) {
        p->tag = bytes[(*at)++] & TAG_MAX;
        length = new_length(bytes, n, at);
    } else {
        unsigned type = bytes[*at] & 3;

        p->tag = (bytes[(*at)++] >> 2) & 15;
        length = type == 3 ? SIZE_MAX : read_length(bytes, n, at, (size_t)1 << type);
    }
    if (length > n - *at)
        return false;
    p->body = bytes + *at;
    p->body_bytes = length;
    *at += length;
    return true;
}

static int check_packets(const uint8_t *bytes, size_t n, struct err *err)
{
    struct packet p;
    size_t at = 0;

    if (n == 0 || !next_packet(bytes, n, &at, &p) || p.tag != TAG_PUBLIC_KEY)
        return no_key(err, "it does not begin with a public key");
    while (at < n)
        if (!next_packet(bytes, n, &at, &p))
            return no_key(err, "it is damaged");
    return 0;
}

/* The base64 text of an armoured block: after the empty line that ends its headers, before its checksum. */
static bool armour_body(const char *text, const char **from, const char **to)
{
    const char *begin = strstr(text, ARMOUR_BEGIN), *end = begin ? strstr(begin, ARMOUR_END) : NULL;
    const char *body = begin ? strstr(begin, "\n\n") : NULL;
    const char *other = begin ? strstr(begin, "\n\r\n") : NULL;

    if (other && (!body || other < body))
        body = other + 1;
    if (!end || !body || body > end)
        return false;
    *from = body + 1;
    *to = end;
    for (const char *at = *from; at + 1 < end; at++)
        if (at[0] == '\n' && at[1] == '=')
            *to = at;
    return true;
}

static int dearmour(const char *text, uint8_t *out, size_t room, size_t *used, struct err *err)
{
    const char *from, *to, *stop;

    if (!armour_body(text, &from, &to))
        return no_key(err, "its armour has no end");
    if (sodium_base642bin(out, room, from, (size_t)(to - from), "\r\n\t ", used, &stop,
                          sodium_base64_VARIANT_ORIGINAL) ||
        stop != to)
        return no_key(err, "its armour is damaged");
    return 0;
}

int key_read(const char *bytes, size_t n, uint8_t **out, size_t *out_bytes, struct err *err)
{
    uint8_t *key;
    char *text;
    size_t used = 0;
    int code;

    if (n > KEY_FILE_MAX)
        return no_key(err, "it is too large");
    key = malloc(n + 1);
    text = malloc(n + 1);
    if (!key || !text) {
        free(key);
        free(text);
        return err_set(err, KPEER_ENOMEM, "out of memory");
    }
    memcpy(text, bytes, n);
    text[n] = '\0';
    code = 0;
    if (n && (bytes[0] & 0x80)) {
        memcpy(key, bytes, n);
        used = n;
    } else if (strstr(text, ARMOUR_BEGIN)) {
        code = dearmour(text, key, n, &used, err);
    } else {
        code = no_key(err, "it is some other file");
    }
    free(text);
    code = code ? code : check_packets(key, used, err);
    if (code) {
        free(key);
        return code;
    }
    *out = key;
    *out_bytes = used;
    return 0;
}

/* SHA-1 over 0x99 and a two-byte length for version 4 (RFC 9580, section 5.5.4.2), SHA-256 over 0x9b and a
 * four-byte length for version 6. */
static bool fingerprint(const struct packet *p, char out[static KEY_FINGERPRINT_BYTES])
{
    uint8_t head[5], digest[EVP_MAX_MD_SIZE];
    unsigned version = p->body_bytes ? p->body[0] : 0, digest_bytes = 0;
    size_t n = p->body_bytes, head_bytes = version == 6 ? 5 : 3;
    EVP_MD_CTX *md;
    bool ok;

    if ((version != 4 && version != 6) || (version == 4 && n > UINT16_MAX))
        return false;
    head[0] = version == 4 ? 0x99 : 0x9b;
    for (size_t i = 1; i < head_bytes; i++)
        head[i] = (uint8_t)(n >> (8 * (head_bytes - 1 - i)));
    md = EVP_MD_CTX_new();
    ok = md && EVP_DigestInit_ex(md, version == 4 ? EVP_sha1() : EVP_sha256(), NULL) &&
         EVP_DigestUpdate(md, head, head_bytes) && EVP_DigestUpdate(md, p->body, n) &&
         EVP_DigestFinal_ex(md, digest, &digest_bytes) && digest_bytes * 2 < KEY_FINGERPRINT_BYTES;
    EVP_MD_CTX_free(md);
    for (size_t i = 0; ok && i < digest_bytes; i++)
        snprintf(out + 2 * i, 3, "%02X", digest[i]);
    return ok;
}

int key_fingerprint(const uint8_t *bytes, size_t n, char out[static KEY_FINGERPRINT_BYTES], struct err *err)
{
    struct packet p;
    size_t at = 0;

    if (next_packet(bytes, n, &at, &p) && p.tag == TAG_PUBLIC_KEY && fingerprint(&p, out))
        return 0;
    return err_set(err, KPEER_EAUTH, "the repository's key is of a kind that is not known");
}

int key_pick(uint8_t *bytes, size_t *n, const char *wanted, struct err *err)
{
    char found[KEY_FINGERPRINT_BYTES] = "none";
    struct packet p;
    size_t at = 0, from = 0, start = 0;
    bool picking = false;

    while (start = at, next_packet(bytes, *n, &at, &p)) {
        if (p.tag != TAG_PUBLIC_KEY)
            continue;
        if (picking)
            break;
        from = start;
        picking = fingerprint(&p, found) && strcmp(found, wanted) == 0;
    }
    if (!picking) {
        err_set(err, KPEER_EAUTH, "the repository's key is %s where packages.key wants %s", found, wanted);
        return err ? err_hint(err,
                              "somebody else's key, or a new one: make sure before packages.key is changed")
                   : KPEER_EAUTH;
    }
    memmove(bytes, bytes + from, start - from);
    *n = start - from;
    return 0;
}
