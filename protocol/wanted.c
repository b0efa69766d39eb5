#include "protocol/wanted.h"

#include <stdio.h>
#include <string.h>

#define DIGITS_MAX 4

/* Digits without a leading zero, at most DIGITS_MAX of them; what follows them, or NULL. */
static const char *number(const char *at, unsigned *out)
{
    unsigned value = 0, digits = 0;

    if (at[0] == '0' && at[1] >= '0' && at[1] <= '9')
        return NULL;
    for (; *at >= '0' && *at <= '9'; at++, digits++) {
        if (digits == DIGITS_MAX)
            return NULL;
        value = value * 10 + (unsigned)(*at - '0');
    }
    *out = value;
    return digits ? at : NULL;
}

/* "[v]MAJOR.MINOR"; what follows it, or NULL. */
static const char *parse_minor(const char *text, struct version *out)
{
    const char *at = number(text[0] == 'v' ? text + 1 : text, &out->major);

    return at && *at == '.' ? number(at + 1, &out->minor) : NULL;
}

bool version_parse(const char *text, struct version *out)
{
    struct version v = {0};
    const char *at = parse_minor(text, &v);

    at = at && *at == '.' ? number(at + 1, &v.patch) : NULL;
    if (!at || (*at && *at != '-' && *at != '+'))
        return false;
    *out = v;
    return true;
}

int version_compare(const struct version *a, const struct version *b)
{
    if (a->major != b->major)
        return a->major < b->major ? -1 : 1;
    if (a->minor != b->minor)
        return a->minor < b->minor ? -1 : 1;
    return (a->patch > b->patch) - (a->patch < b->patch);
}

bool wanted_normalise(const char *text, char *out, size_t out_bytes)
{
    struct version v = {0};
    const char *end = parse_minor(text, &v);
    int n;

    if (strcmp(text, WANTED_STABLE) == 0)
        n = snprintf(out, out_bytes, "%s", WANTED_STABLE);
    else if (end && *end == '\0')
        n = snprintf(out, out_bytes, "v%u.%u", v.major, v.minor);
    else if (version_parse(text, &v) && !strchr(text, '-') && !strchr(text, '+'))
        n = snprintf(out, out_bytes, "v%u.%u.%u", v.major, v.minor, v.patch);
    else
        return false;
    return n > 0 && (size_t)n < out_bytes;
}

bool wanted_is_exact(const char *wanted)
{
    struct version v;

    return wanted[0] == 'v' && version_parse(wanted, &v);
}

bool wanted_minor(const char *wanted, struct version *out)
{
    struct version v = {0};
    const char *end = parse_minor(wanted, &v);

    if (!end || (*end && !version_parse(wanted, &v)))
        return false;
    v.patch = 0;
    *out = v;
    return true;
}

bool wanted_fits(const char *wanted, const char *version)
{
    struct version w, v;

    if (!version_parse(version, &v))
        return false;
    if (!wanted_minor(wanted, &w))
        return true;
    if (wanted_is_exact(wanted))
        return version_parse(wanted, &w) && version_compare(&w, &v) == 0;
    return w.major == v.major && w.minor == v.minor;
}
