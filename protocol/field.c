#include "protocol/field.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

#define HOST_BYTES 64 /* room for an address and what stands with it */

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* RFC 1123: labels of a-z, 0-9 and inner hyphens, joined by dots. */
bool field_name(const char *s)
{
    char before = '.';

    if (!*s)
        return false;
    for (; *s; before = *s++) {
        if (!is_lower_or_digit(*s) && *s != '-' && *s != '.')
            return false;
        if (!is_lower_or_digit(*s) && !is_lower_or_digit(before) && !(*s == '-' && before == '-'))
            return false;
    }
    return is_lower_or_digit(before);
}

/* Reads an address; returns its length in bytes (4 or 16) or 0. */
static size_t address_read(const char *s, uint8_t out[static 16])
{
    if (inet_pton(AF_INET, s, out) == 1)
        return 4;
    return inet_pton(AF_INET6, s, out) == 1 ? 16 : 0;
}

/* An address that a single other host can be reached at. */
bool field_address(const char *s)
{
    static const uint8_t loopback6[16] = {[15] = 1};
    uint8_t a[16];
    size_t n = address_read(s, a);

    if (n == 4)
        return a[0] != 0 && a[0] != 127 && a[0] < 224;
    return n == 16 && a[0] != 0xff && memcmp(a, loopback6, 16) != 0 && !sodium_is_zero(a, 16);
}

/* The kernel allows more in a name; what is beyond this has no place in a configuration. */
bool field_interface(const char *s)
{
    if (!*s || *s == '.' || *s == '-')
        return false;
    for (; *s; s++) {
        if (!is_lower_or_digit(*s) && !(*s >= 'A' && *s <= 'Z') && *s != '_' && *s != '.' && *s != '-')
            return false;
    }
    return true;
}

/* Decimal without sign or leading zeros, at most `max`; the whole of `s`. */
static bool number_ok(const char *s, unsigned min, unsigned max)
{
    unsigned value = 0;

    if (!*s || (s[0] == '0' && s[1]))
        return false;
    for (; *s; s++) {
        if (!is_digit(*s))
            return false;
        value = value * 10 + (unsigned)(*s - '0');
        if (value > max)
            return false;
    }
    return value >= min;
}

bool field_endpoint(const char *s)
{
    char copy[HOST_BYTES];
    char *host = copy, *colon;

    if (mem_copy_text(copy, sizeof(copy), s))
        return false;
    colon = strrchr(copy, ':');
    if (!colon || colon == copy)
        return false;
    *colon = 0;
    if (!number_ok(colon + 1, 1, 65535))
        return false;
    if (*host == '[') {
        if (colon[-1] != ']')
            return false;
        colon[-1] = 0;
        host++;
    } else if (strchr(host, ':')) {
        return false;
    }
    return field_address(host);
}

/* ADDRESS/BITS with no bits set beyond the prefix. */
bool field_cidr(const char *s)
{
    char copy[HOST_BYTES];
    uint8_t a[16];
    unsigned bits;
    size_t n;
    char *slash;

    if (mem_copy_text(copy, sizeof(copy), s) || !(slash = strchr(copy, '/')))
        return false;
    *slash = 0;
    n = address_read(copy, a);
    if (n == 0 || !number_ok(slash + 1, 1, (unsigned)(8 * n)))
        return false;
    bits = (unsigned)strtoul(slash + 1, NULL, 10);
    for (unsigned i = bits; i < 8 * n; i++) {
        if (a[i / 8] & (0x80 >> i % 8))
            return false;
    }
    return true;
}

/* vMAJOR.MINOR.PATCH, and perhaps -pre.release or +build. */
bool field_version(const char *s)
{
    if (*s++ != 'v')
        return false;
    for (int part = 0; part < 3; part++) {
        if (part && *s++ != '.')
            return false;
        if (!is_digit(*s) || (*s == '0' && is_digit(s[1])))
            return false;
        while (is_digit(*s))
            s++;
    }
    if (!*s)
        return true;
    if (*s != '-' && *s != '+')
        return false;
    for (s++; *s; s++) {
        if (!is_lower_or_digit(*s) && !(*s >= 'A' && *s <= 'Z') && !strchr(".-+", *s))
            return false;
    }
    return s[-1] != '-' && s[-1] != '+' && s[-1] != '.';
}

static bool hex_ok(const char *s, size_t digits)
{
    return strlen(s) == digits && strspn(s, "0123456789abcdef") == digits;
}

bool field_hash(const char *s)
{
    return strncmp(s, "sha256:", 7) == 0 && hex_ok(s + 7, 64);
}

/* kubeadm's pattern: [a-z0-9]{6}\.[a-z0-9]{16} */
bool field_token(const char *s)
{
    for (int i = 0; i < 23; i++) {
        if (i == 6 ? s[i] != '.' : !is_lower_or_digit(s[i]))
            return false;
    }
    return s[23] == 0;
}

bool field_cluster_id(const char *s)
{
    return hex_ok(s, 32);
}
