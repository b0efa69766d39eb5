/* Files of the kernel and the distribution. */
#include <stdio.h>

#include "peer/executor/host/parse.h"
#include "peer/executor/host/parse_net.h"
#include "protocol/check.h"
#include "protocol/field.h"
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

/* Two networks on lines of their own, then routes. */
static void routes(const uint8_t *bytes, size_t n)
{
    static const char *const own[] = {"flannel.1", "cni0", NULL};
    cleanup_free char *text = fuzz_text(bytes, n);
    char *table = text, interface[16];
    const char *first = fuzz_line(&table), *second = fuzz_line(&table);
    struct parse_net a, b, route;
    if (!parse_cidr(first, &a)) {
        FUZZ_MUST(!field_cidr(first) || strchr(first, ':'));
        return;
    }
    FUZZ_MUST((a.address & ~a.mask) == 0);
    if (parse_cidr(second, &b)) {
        FUZZ_MUST(parse_nets_overlap(&a, &b) == parse_nets_overlap(&b, &a));
        FUZZ_MUST(!field_cidr(first) || !field_cidr(second) ||
                  parse_nets_overlap(&a, &b) == check_cidr_overlap(first, second));
    }
    if (parse_route_clash(table, &a, own, &route, interface)) {
        FUZZ_MUST(fuzz_ends(interface, sizeof interface) && fuzz_shows(interface));
        FUZZ_MUST(parse_nets_overlap(&route, &a) && route.mask != 0);
        FUZZ_MUST(strcmp(interface, own[0]) != 0 && strcmp(interface, own[1]) != 0);
    }
    FUZZ_MUST((parse_tcp_inode(text, 6443) == 0) || parse_tcp_listens(text, 6443));
}

/* What a firewall lists, and what is made of it for a command line. */
static void firewall(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    struct parse_shut shut;
    if (parse_iptables_shut(text, &shut))
        FUZZ_MUST(!shut.is_nft && strcmp(shut.chain, "INPUT") == 0);
    if (parse_nft_shut(text, &shut)) {
        FUZZ_MUST(shut.is_nft);
        FUZZ_FIELD(shut.family);
        FUZZ_FIELD(shut.table);
        FUZZ_FIELD(shut.chain);
        FUZZ_FIELD(shut.why);
        FUZZ_MUST(shut.family[0] && shut.table[0] && shut.chain[0] && shut.why[0]);
    }
    FUZZ_MUST(!parse_accepts(text, "tcp", 2379, 2380) || parse_accepts(text, "tcp", 2380, 2380));
    (void)parse_ufw_active(text);
    (void)parse_ufw_has(text, "allow 6443/tcp");
}

static void variables(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char value[64] = "";
    if (parse_variable(text, "http_proxy", value, sizeof value))
        FUZZ_MUST(fuzz_ends(value, sizeof value) && value[0] && fuzz_shows(value));
    if (parse_list_has(text, "10.96.0.0/12"))
        FUZZ_MUST(strstr(text, "10.96.0.0/12"));
}

const struct fuzz_target fuzz_host[] = {
    {"meminfo", "/proc/meminfo", 2048, meminfo, NULL},
    {"os_release", "/etc/os-release", 2048, os_release, NULL},
    {"swaps", "/proc/swaps", 2048, swaps, NULL},
    {"tcp", "/proc/net/tcp and tcp6", 4096, tcp, NULL},
    {"version", "what programs print as their version", 512, version, NULL},
    {"routes", "networks, and /proc/net/route", 1024, routes, NULL},
    {"firewall", "listings of iptables, nftables and ufw", 2048, firewall, NULL},
    {"variables", "/etc/environment and Environment= of units", 1024, variables, NULL},
    {"cgroups", "/proc/cgroups and cgroup.controllers", 2048, cgroups, NULL},
    {0},
};
