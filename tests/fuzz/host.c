/* Files of the kernel and the distribution. */
#include <stdio.h>

#include "peer/executor/host/parse.h"
#include "tests/fuzz/fuzz.h"

static void meminfo(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    cleanup_free char *more = malloc(n + 32);
    FUZZ_MUST(more);
    snprintf(more, n + 32, "SwapTotal: 7 kB\n%s", text);
    FUZZ_MUST(parse_meminfo(text) == parse_meminfo(more));
}

static void os_release(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char small[8], large[256];
    parse_os_release(text, small, sizeof small);
    parse_os_release(text, large, sizeof large);
    FUZZ_FIELD(small);
    FUZZ_FIELD(large);
    FUZZ_MUST(fuzz_shows(large));
    FUZZ_MUST(strncmp(small, large, strlen(small)) == 0);
}

static void swaps(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char first[16];
    size_t count = parse_swaps(text, first, sizeof first);
    FUZZ_FIELD(first);
    FUZZ_MUST(fuzz_shows(first));
    FUZZ_MUST(count <= n);
    FUZZ_MUST(count > 0 || first[0] == '\0');
}

/* The port stands on a line of its own before the table. */
static void tcp(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char *table = text;
    uint16_t port = (uint16_t)strtoul(fuzz_line(&table), NULL, 10);
    (void)parse_tcp_listens(table, port);
    FUZZ_MUST(!parse_tcp_listens("", port));
}

static void version(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char out[32] = "untouched", again[32];
    unsigned major, minor;
    if (parse_version(text, out, sizeof out, NULL) == 0) {
        FUZZ_FIELD(out);
        FUZZ_MUST(parse_version_parts(out, &major, &minor));
        FUZZ_MUST(major <= 9999 && minor <= 9999);
        FUZZ_MUST(parse_version(out, again, sizeof again, NULL) == 0 && strcmp(out, again) == 0);
    } else {
        FUZZ_MUST(strcmp(out, "untouched") == 0);
    }
}

static void cgroups(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    (void)parse_cgroup_enabled(text, "memory");
    bool has = parse_has_word(text, "memory");
    FUZZ_MUST(!has || strstr(text, "memory"));
}

const struct fuzz_target fuzz_host[] = {
    {"meminfo", "/proc/meminfo", 2048, meminfo, NULL},
    {"os_release", "/etc/os-release", 2048, os_release, NULL},
    {"swaps", "/proc/swaps", 2048, swaps, NULL},
    {"tcp", "/proc/net/tcp and tcp6", 4096, tcp, NULL},
    {"version", "what programs print as their version", 512, version, NULL},
    {"cgroups", "/proc/cgroups and cgroup.controllers", 2048, cgroups, NULL},
    {0},
};
