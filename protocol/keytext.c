#include "protocol/keytext.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "protocol/mem.h"

#define PREFIX     "kpeer-group-key-"
#define VERSION    "2"
#define HEAD       PREFIX VERSION ":"
#define BODY_CHARS 70 /* 52 bytes in base64 without padding */
#define SUM_BYTES  4
#define SUM_CHARS  (2 * SUM_BYTES)
#define TAIL_CHARS (BODY_CHARS + 1 + SUM_CHARS) /* all that follows the head */

void keytext_pack(const struct secret *key, uint8_t raw[static KEYTEXT_RAW_BYTES])
{
    uint32_t epoch = secret_epoch(key);
    memcpy(raw, secret_bytes(key), GROUP_KEY_BYTES);
    secret_group_id(key, raw + GROUP_KEY_BYTES);
    for (int i = 0; i < 4; i++)
        raw[GROUP_KEY_BYTES + GROUP_ID_BYTES + i] = (uint8_t)(epoch >> (24 - 8 * i));
}

int keytext_unpack(const uint8_t raw[static KEYTEXT_RAW_BYTES], struct secret **out, struct err *err)
{
    uint8_t own[GROUP_ID_BYTES];
    uint32_t epoch = 0;
    for (int i = 0; i < 4; i++)
        epoch = epoch << 8 | raw[GROUP_KEY_BYTES + GROUP_ID_BYTES + i];
    struct secret *key = secret_later(raw, raw + GROUP_KEY_BYTES, epoch);
    if (!key)
        return err_set(err, KPEER_ENOMEM, "out of guarded memory");
    secret_key_id(key, own);
    if (epoch == 0 && memcmp(own, raw + GROUP_KEY_BYTES, sizeof own) != 0) {
        secret_free(key);
        return err_set(err, KPEER_EINVAL, "the key does not belong to the group that it names");
    }
    *out = key;
    return 0;
}

/* Keyed with nothing: it finds typing errors and is no proof of anything. */
static void checksum(const uint8_t raw[static KEYTEXT_RAW_BYTES], char out[static SUM_CHARS + 1])
{
    static const char purpose[] = "kpeer key file checksum";
    uint8_t sum[crypto_generichash_BYTES_MIN];
    crypto_generichash(sum, sizeof sum, raw, KEYTEXT_RAW_BYTES, (const unsigned char *)purpose,
                       sizeof purpose - 1);
    mem_hex(out, sum, SUM_BYTES);
}

void keytext_format(const struct secret *key, char out[static KEYTEXT_BYTES])
{
    char body[BODY_CHARS + 1], sum[SUM_CHARS + 1];
    uint8_t raw[KEYTEXT_RAW_BYTES];
    keytext_pack(key, raw);
    sodium_bin2base64(body, sizeof body, raw, sizeof raw, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    checksum(raw, sum);
    snprintf(out, KEYTEXT_BYTES, HEAD "%s:%s", body, sum);
    sodium_memzero(raw, sizeof raw);
    sodium_memzero(body, sizeof body);
}

/* What follows the head: `n` characters. */
static int parse_tail(const char *tail, size_t n, struct secret **out, struct err *err)
{
    uint8_t raw[KEYTEXT_RAW_BYTES] = {0};
    char sum[SUM_CHARS + 1];
    size_t bytes = 0;
    int code = 0;
    if (n != TAIL_CHARS || tail[BODY_CHARS] != ':')
        return err_set(err, KPEER_EINVAL,
                       "the key is cut or has too much in it: %zu characters where %d belong", n, TAIL_CHARS);
    if (sodium_base642bin(raw, sizeof raw, tail, BODY_CHARS, NULL, &bytes, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
        bytes != sizeof raw)
        code = err_set(err, KPEER_EINVAL, "this is no key: it has a character that no key has");
    checksum(raw, sum);
    if (!code && sodium_memcmp(sum, tail + BODY_CHARS + 1, SUM_CHARS) != 0)
        code =
            err_set(err, KPEER_EINVAL, "this is no key: its checksum does not fit; look for a typing error");
    if (!code)
        code = keytext_unpack(raw, out, err);
    sodium_memzero(raw, sizeof raw);
    return code;
}

int keytext_parse(const char *text, struct secret **out, struct err *err)
{
    size_t n = strlen(text), head = sizeof HEAD - 1;
    while (n && (text[n - 1] == '\n' || text[n - 1] == '\r' || text[n - 1] == ' '))
        n--;
    if (n < sizeof PREFIX || strncmp(text, PREFIX, sizeof PREFIX - 1) != 0)
        return err_set(err, KPEER_EINVAL, "this is no group key: one begins with " HEAD);
    const char *version = text + sizeof PREFIX - 1;
    size_t digits = strspn(version, "0123456789");
    if (digits && digits <= 4 && version[digits] == ':' && strncmp(version, VERSION ":", 2) != 0)
        return err_set(err, KPEER_EVERSION,
                       "the key's form is version %.*s, this kpeer reads " VERSION ": %s", (int)digits,
                       version,
                       digits > 1 || version[0] > VERSION[0] ? "it is of a newer kpeer, which has to be "
                                                               "installed here too"
                                                             : "make a new key");
    if (n < head || strncmp(text, HEAD, head) != 0)
        return err_set(err, KPEER_EINVAL, "this is no group key: one begins with " HEAD);
    return parse_tail(text + head, n - head, out, err);
}
