#include "peer/executor/host/parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/executor/spawn.h"

/* The start of the line after `at`, or NULL at the end. */
static const char *next_line(const char *at)
{
    at += strcspn(at, "\n");
    return *at ? at + 1 : NULL;
}

uint32_t parse_meminfo(const char *text)
{
    for (const char *at = text; at; at = next_line(at)) {
        unsigned long long kb;

        if (strncmp(at, "MemTotal:", 9) != 0)
            continue;
        if (sscanf(at + 9, " %18llu kB", &kb) != 1 || kb / 1024 > UINT32_MAX)
            return 0;
        return (uint32_t)(kb / 1024);
    }
    return 0;
}

void parse_os_release(const char *text, char *out, size_t out_bytes)
{
    out[0] = 0;
    for (const char *at = text; at; at = next_line(at)) {
        size_t n;

        if (strncmp(at, "PRETTY_NAME=", 12) != 0)
            continue;
        at += 12;
        n = strcspn(at, "\n");
        if (n >= 2 && (*at == '"' || *at == '\'') && at[n - 1] == *at) {
            at++;
            n -= 2;
        }
        spawn_escape(out, out_bytes, at, n);
        return;
    }
}

size_t parse_swaps(const char *text, char *first, size_t first_bytes)
{
    size_t count = 0;

    first[0] = 0;
    for (const char *at = next_line(text); at; at = next_line(at)) {
        size_t n = strcspn(at, " \t\n");

        if (n == 0)
            continue;
        if (count++ == 0)
            spawn_escape(first, first_bytes, at, n);
    }
    return count;
}

bool parse_tcp_listens(const char *text, uint16_t port)
{
    for (const char *at = next_line(text); at; at = next_line(at)) {
        unsigned local, state;

        /* slot, address:port, peer's address:port, state: 0A is listening */
        if (sscanf(at, " %*[0-9]: %*32[0-9A-Fa-f]:%4x %*32[0-9A-Fa-f]:%*4x %2x", &local, &state) == 2 &&
            local == port && state == 0x0a)
            return true;
    }
    return false;
}

/* One to four digits and what follows them; NULL: there are none, or more. scanf would also take blanks and
 * signs. */
static const char *take_number(const char *at, unsigned *value)
{
    size_t n = strspn(at, "0123456789");

    if (n == 0 || n > 4)
        return NULL;
    *value = (unsigned)strtoul(at, NULL, 10);
    return at + n;
}

/* "v1.20" and what follows it. */
static const char *take_minor(const char *at, unsigned *major, unsigned *minor)
{
    at = *at == 'v' ? take_number(at + 1, major) : NULL;
    return at && *at == '.' ? take_number(at + 1, minor) : NULL;
}

int parse_version(const char *text, char *out, size_t out_bytes, struct err *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-+~";
    unsigned major, minor, patch;

    for (const char *at = strchr(text, 'v'); at; at = strchr(at + 1, 'v')) {
        size_t n = strspn(at, allowed);

        const char *rest = take_minor(at, &major, &minor);

        if (!rest || *rest != '.' || !take_number(rest + 1, &patch) || n >= out_bytes)
            continue;
        memcpy(out, at, n);
        out[n] = 0;
        return 0;
    }
    return err_set(err, KPEER_EINVAL, "there is no version in what was printed");
}

bool parse_version_parts(const char *version, unsigned *major, unsigned *minor)
{
    unsigned parts[2];

    if (!take_minor(version, &parts[0], &parts[1]))
        return false;
    *major = parts[0];
    *minor = parts[1];
    return true;
}

bool parse_cgroup_enabled(const char *text, const char *controller)
{
    for (const char *at = text; at; at = next_line(at)) {
        char name[32];
        unsigned enabled;

        if (sscanf(at, "%31s %*u %*u %1u", name, &enabled) == 2 && strcmp(name, controller) == 0)
            return enabled == 1;
    }
    return false;
}

bool parse_has_word(const char *text, const char *word)
{
    while (*text) {
        size_t n = strcspn(text, " \t\n");

        if (n == strlen(word) && strncmp(text, word, n) == 0)
            return true;
        text += n + (text[n] != 0);
    }
    return false;
}

char *parse_pause_line(const char *text)
{
    for (const char *at = text; at; at = next_line(at)) {
        size_t n = strcspn(at, " \t\r\n");
        const char *found = strstr(at, "/pause:");

        if (found && found < at + n && n < 200)
            return strndup(at, n);
    }
    return NULL;
}
