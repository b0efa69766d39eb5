#include "peer/command/passphrase.h"

#include <ctype.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#define LETTER_BITS 47 /* all in tenths */
#define WORD_BITS   129
#define DIGIT_BITS  33
#define NUMBER_BITS 100
#define OTHER_BITS  40
#define AGAIN_BITS  10
#define OPS_LIMIT   3U
#define MEM_LIMIT   (256U * 1024 * 1024)

enum class { LETTER, DIGIT, OTHER };

static enum class class_of(char c) {
    return isalpha((unsigned char)c)   ? LETTER
           : isdigit((unsigned char)c) ? DIGIT
                                       : OTHER;
}

static int lower(char c)
{
    return tolower((unsigned char)c);
}

/* Does the run of `n` characters at text[at] stand somewhere before? */
static bool stood_before(const char *text, size_t at, size_t n)
{
    for (size_t i = 0; i + n <= at; i++)
        if (strncasecmp(text + i, text + at, n) == 0)
            return true;
    return false;
}

/* aaa, abc, 321: no more than its first character and a choice or two. */
static bool follows(const char *text, size_t i)
{
    int step = lower(text[i]) - lower(text[i - 1]);
    return step >= -1 && step <= 1;
}

static unsigned strength_of_run(const char *text, size_t at, size_t n, enum class class)
{
    unsigned each = class == LETTER ? LETTER_BITS : DIGIT_BITS;
    unsigned most = class == LETTER ? WORD_BITS : NUMBER_BITS, bits = each;

    if (n > 1 && stood_before(text, at, n))
        return AGAIN_BITS;
    for (size_t i = at + 1; i < at + n; i++)
        bits += follows(text, i) ? 0 : each;
    return bits < most ? bits : most;
}

unsigned passphrase_strength(const char *text)
{
    unsigned bits = 0;

    for (size_t i = 0; text[i];) {
        enum class class = class_of(text[i]);
        size_t n = 1;

        while (class != OTHER && text[i + n] && class_of(text[i + n]) == class)
            n++;
        if (class == OTHER)
            bits += memchr(text, text[i], i) ? 0 : OTHER_BITS;
        else
            bits += strength_of_run(text, i, n, class);
        i += n;
    }
    return bits;
}

int passphrase_check(const char *text, struct err *err)
{
    unsigned bits = passphrase_strength(text) / 10;

    if (bits >= PASSPHRASE_BITS)
        return 0;
    err_set(err, KPEER_EREFUSED,
            "the passphrase is too simple: about %u bits by kpeer's estimate, and %d are needed", bits,
            PASSPHRASE_BITS);
    return err_hint(err, "five or more words drawn by dice from a list, or let kpeer make a key: "
                         "kpeer key generate");
}

/* The salt is no secret and the same everywhere, so that the same words make the same group. */
int passphrase_key(const char *text, struct secret **out, struct err *err)
{
    static const char domain[] = "kpeer passphrase 1";
    unsigned char salt[crypto_pwhash_SALTBYTES];
    uint8_t *raw = secret_alloc(GROUP_KEY_BYTES);
    int failed = -1;

    crypto_generichash(salt, sizeof salt, (const unsigned char *)domain, sizeof domain - 1, NULL, 0);
    if (raw)
        failed = crypto_pwhash(raw, GROUP_KEY_BYTES, text, strlen(text), salt, OPS_LIMIT, MEM_LIMIT,
                               crypto_pwhash_ALG_ARGON2ID13);
    *out = failed ? NULL : secret_new(raw);
    secret_release(raw);
    if (*out)
        return 0;
    err_set(err, KPEER_ENOMEM, "a key from a passphrase takes 256 MiB of memory for a second");
    return err_hint(err, "make it on a larger host, and copy the key file");
}
