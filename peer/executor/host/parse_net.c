#include "peer/executor/host/parse_net.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "peer/executor/spawn.h"

#define LINE_MAX_BYTES 1024

/* Copies the next line, cut to fit, without blanks at its ends; NULL at the end of the text. */
static const char *take_line(const char *at, char line[static LINE_MAX_BYTES])
{
    size_t n, keep;

    if (!at || !*at)
        return NULL;
    n = strcspn(at, "\n");
    keep = n < LINE_MAX_BYTES ? n : LINE_MAX_BYTES - 1;
    while (keep && isspace((unsigned char)at[keep - 1]))
        keep--;
    memcpy(line, at, keep);
    line[keep] = 0;
    memmove(line, line + strspn(line, " \t"), strlen(line + strspn(line, " \t")) + 1);
    return at + n + (at[n] == '\n');
}

static uint32_t mask_of(unsigned bits)
{
    return bits ? UINT32_MAX << (32 - bits) : 0;
}

bool parse_cidr(const char *text, struct parse_net *out)
{
    char address[16];
    struct in_addr a;
    unsigned bits;
    int used = 0;

    if (sscanf(text, "%15[0-9.]/%2u%n", address, &bits, &used) != 2 || text[used] || bits > 32 ||
        inet_pton(AF_INET, address, &a) != 1)
        return false;
    out->mask = mask_of(bits);
    out->address = ntohl(a.s_addr) & out->mask;
    return true;
}

bool parse_nets_overlap(const struct parse_net *a, const struct parse_net *b)
{
    uint32_t mask = a->mask & b->mask;

    return (a->address & mask) == (b->address & mask);
}

static bool is_one_of(const char *name, const char *const *names)
{
    while (*names && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

bool parse_route_clash(const char *text, const struct parse_net *net, const char *const *own,
                       struct parse_net *route, char interface[static 16])
{
    char line[LINE_MAX_BYTES], name[16];
    unsigned destination, mask;

    while ((text = take_line(text, line)) != NULL) {
        struct parse_net r;

        if (sscanf(line, "%15s %8x %*x %*x %*d %*d %*d %8x", name, &destination, &mask) != 3 || mask == 0)
            continue;
        r.mask = ntohl(mask); /* the kernel prints the bytes as they lie in memory */
        r.address = ntohl(destination) & r.mask;
        if (is_one_of(name, own) || !parse_nets_overlap(&r, net))
            continue;
        *route = r;
        spawn_escape(interface, 16, name, strlen(name));
        return true;
    }
    return false;
}

uint64_t parse_tcp_inode(const char *text, uint16_t port)
{
    char line[LINE_MAX_BYTES];

    while ((text = take_line(text, line)) != NULL) {
        unsigned local, state;
        unsigned long long inode;

        if (sscanf(line, "%*[0-9]: %*32[0-9A-Fa-f]:%4x %*32[0-9A-Fa-f]:%*4x %2x %*s %*s %*s %*u %*d %18llu",
                   &local, &state, &inode) == 3 &&
            local == port && state == 0x0a)
            return inode;
    }
    return 0;
}

bool parse_ufw_active(const char *text)
{
    char line[LINE_MAX_BYTES];

    while ((text = take_line(text, line)) != NULL) {
        if (strcasecmp(line, "Status: active") == 0)
            return true;
    }
    return false;
}

bool parse_ufw_has(const char *text, const char *rule)
{
    char line[LINE_MAX_BYTES];

    while ((text = take_line(text, line)) != NULL) {
        if (strncmp(line, "ufw ", 4) == 0 && strcmp(line + 4, rule) == 0)
            return true;
    }
    return false;
}

bool parse_iptables_shut(const char *text, struct parse_shut *out)
{
    char line[LINE_MAX_BYTES], last[LINE_MAX_BYTES] = "";
    bool filter = false, drops = false;

    while ((text = take_line(text, line)) != NULL) {
        if (line[0] == '*')
            filter = strcmp(line, "*filter") == 0;
        if (filter && strncmp(line, ":INPUT DROP", 11) == 0)
            drops = true;
        if (filter && strncmp(line, "-A INPUT ", 9) == 0)
            memcpy(last, line + 9, sizeof(line) - 9);
    }
    if (!drops && strncmp(last, "-j DROP", 7) != 0 && strncmp(last, "-j REJECT", 9) != 0)
        return false;
    *out = (struct parse_shut){.family = "ip", .table = "filter", .chain = "INPUT"};
    snprintf(out->why, sizeof(out->why), "%s", drops ? "policy drop" : "last rule");
    return true;
}

/* "drop", "reject with ...", also after a counter: nothing is asked before. */
static bool drops_all(const char *line)
{
    unsigned long long packets, bytes;
    int used = 0;

    if (strncmp(line, "counter", 7) == 0) {
        if (sscanf(line, "counter packets %18llu bytes %18llu %n", &packets, &bytes, &used) < 2 || !used)
            used = (int)strspn(line, "counter ");
        line += used;
    }
    return strncmp(line, "drop", 4) == 0 || strncmp(line, "reject", 6) == 0;
}

/* Where in the listing of nft a line is. */
struct nft_place {
    struct parse_shut at;
    bool input; /* in a chain that packets for this host pass */
    char last[LINE_MAX_BYTES];
};

/* The heading of a table or chain. One with a name too long to be kept is none that could be named in a rule.
 */
static bool nft_heading(struct nft_place *p, const char *line)
{
    struct parse_shut *at = &p->at;
    bool table = strncmp(line, "table ", 6) == 0;
    int used = 0;

    if (!table && strncmp(line, "chain ", 6) != 0)
        return false;
    at->chain[0] = 0;
    if (table && (sscanf(line, "table %7s %31s {%n", at->family, at->table, &used) != 2 || !used))
        at->table[0] = 0;
    if (!table && (sscanf(line, "chain %31s {%n", at->chain, &used) != 1 || !used))
        at->chain[0] = 0;
    p->input = false;
    p->last[0] = 0;
    return true;
}

static bool nft_line(struct nft_place *p, const char *line)
{
    struct parse_shut *at = &p->at;

    if (nft_heading(p, line))
        return false;
    if (at->table[0] && at->chain[0] && strncmp(line, "type filter hook input", 22) == 0) {
        p->input = true;
        if (strstr(line, "policy drop")) {
            strcpy(at->why, "policy drop");
            return true;
        }
    } else if (line[0] == '}' && p->input) {
        p->input = false;
        strcpy(at->why, "last rule");
        return drops_all(p->last);
    } else if (line[0] && line[0] != '#') {
        memcpy(p->last, line, strlen(line) + 1);
    }
    return false;
}

bool parse_nft_shut(const char *text, struct parse_shut *out)
{
    struct nft_place p = {.at.is_nft = true};
    char line[LINE_MAX_BYTES];

    while ((text = take_line(text, line)) != NULL) {
        if (nft_line(&p, line)) {
            *out = p.at;
            return true;
        }
    }
    return false;
}

/* Whether a run of digits, or a range of two, in the line covers from..to. */
static bool names_ports(const char *line, unsigned from, unsigned to)
{
    for (const char *at = line; *at;) {
        unsigned a, b;
        int used = 0;

        if (!isdigit((unsigned char)*at) ||
            (at > line && (isalnum((unsigned char)at[-1]) || at[-1] == '.'))) {
            at++;
            continue;
        }
        if (sscanf(at, "%5u%*1[:-]%5u%n", &a, &b, &used) < 2 || !used) {
            a = (unsigned)strtoul(at, NULL, 10);
            b = a;
            used = (int)strspn(at, "0123456789");
        }
        if (a <= from && to <= b)
            return true;
        at += used;
    }
    return false;
}

bool parse_accepts(const char *text, const char *protocol, uint16_t from, uint16_t to)
{
    char line[LINE_MAX_BYTES];

    while ((text = take_line(text, line)) != NULL) {
        const char *ports = strstr(line, "dport");

        if (ports && strstr(line, protocol) && (strstr(line, "ACCEPT") || strstr(line, "accept")) &&
            names_ports(ports, from, to))
            return true;
    }
    return false;
}

static size_t unquote(const char *at, const char **from)
{
    char quote = *at;

    if (quote == '"' || quote == '\'') {
        *from = at + 1;
        return strcspn(at + 1, quote == '"' ? "\"\n" : "'\n");
    }
    *from = at;
    return strcspn(at, " \t\r\n\"'");
}

bool parse_variable(const char *text, const char *name, char *out, size_t out_bytes)
{
    size_t want = strlen(name);

    for (const char *at = text; *at; at++) {
        bool starts = at == text || strchr(" \t\n\"'=", at[-1]);
        const char *from;
        size_t n;

        if (*at == '#' && (at == text || at[-1] == '\n')) {
            at += strcspn(at, "\n");
            if (!*at)
                break;
            continue;
        }
        if (!starts || strncasecmp(at, name, want) != 0 || at[want] != '=')
            continue;
        n = unquote(at + want + 1, &from);
        spawn_escape(out, out_bytes, from, n);
        return n > 0;
    }
    return false;
}

bool parse_list_has(const char *list, const char *word)
{
    size_t want = strlen(word);

    while (*list) {
        size_t n;

        list += strspn(list, ", ");
        n = strcspn(list, ", ");
        if (n == want && memcmp(list, word, n) == 0)
            return true;
        list += n;
    }
    return false;
}
