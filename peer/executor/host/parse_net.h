/*
 * Routes, sockets, firewalls and proxies, as the kernel and programs list them. Pure: text in, values out.
 * Used by this folder and its tests.
 */
#ifndef KPEER_HOST_PARSE_NET_H
#define KPEER_HOST_PARSE_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct parse_net {
    uint32_t address; /* host byte order, without host bits */
    uint32_t mask;
};

/* "10.244.0.0/16"; false: no IPv4 CIDR. */
bool parse_cidr(const char *text, struct parse_net *out);
bool parse_nets_overlap(const struct parse_net *a, const struct parse_net *b);

/* The first route of /proc/net/route that overlaps `net`, default routes and those of interfaces in `own`
 * (NULL-ended) left out; its interface goes into `interface`. False: none. */
bool parse_route_clash(const char *text, const struct parse_net *net, const char *const *own,
                       struct parse_net *route, char interface[static 16]);

/* The inode of the socket that /proc/net/tcp has listening on `port`; 0: none. */
uint64_t parse_tcp_inode(const char *text, uint16_t port);

/* Whether `ufw status` says that it is active; whether `ufw show added` lists "ufw <rule>". */
bool parse_ufw_active(const char *text);
bool parse_ufw_has(const char *text, const char *rule);

/* Where packets for this host are dropped unless a rule takes them. */
struct parse_shut {
    bool is_nft;
    char family[8], table[32], chain[32]; /* nftables; iptables: filter, INPUT */
    char why[16];                         /* "policy drop", "last rule" */
};

/* A listing of iptables-save, or of `nft list ruleset`. False: nothing is shut. */
bool parse_iptables_shut(const char *text, struct parse_shut *out);
bool parse_nft_shut(const char *text, struct parse_shut *out);

/* Whether any rule that accepts names this port (alone, in a list or a range) and protocol. A guess to the
 * good: what else the rule asks is not looked at. */
bool parse_accepts(const char *text, const char *protocol, uint16_t from, uint16_t to);

/* The value of a variable in /etc/environment or in Environment= of a unit, quotes taken off; the name in
 * any case of letters. False: not set, or empty. */
bool parse_variable(const char *text, const char *name, char *out, size_t out_bytes);

/* Whether a comma-separated list holds a word. */
bool parse_list_has(const char *list, const char *word);

#endif
