/*
 * Who may open a TCP connection to this host just now.
 *
 * libzmq takes every connection that comes, keeps buffers for it and does a key exchange, before anybody can
 * say whom it is from. So connections are counted as they are accepted and closed, for each address and for
 * all strangers together, and those who ask for too much are turned away by a socket filter of the kernel's:
 * their first packet is dropped, which costs us nothing. A stranger is an address that no member is linked
 * at. While strangers in all ask for too much, members alone come in, and a newcomer whose beacon is heard is
 * one of them. In peace there is no filter. Used by transport.c alone; pure but for the last three functions.
 */
#ifndef KPEER_GATE_H
#define KPEER_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"

#define GATE_MEMBERS_MAX 1024
#define GATE_SOURCES_MAX 512

/* Of one address: connections at once, and how many it may open at once and then each second. */
#define GATE_SOURCE_OPEN       16
#define GATE_SOURCE_BURST      32
#define GATE_SOURCE_PER_SECOND 8

/* Of all strangers together. */
#define GATE_STRANGERS_OPEN       128
#define GATE_STRANGERS_BURST      512
#define GATE_STRANGERS_PER_SECOND 128

struct gate;

int gate_new(struct gate **out, struct err *err);
void gate_free(struct gate *g);

/* A connection was accepted as descriptor `fd`, from an IPv4 address in network order; 0: it was gone before
 * that could be asked. */
void gate_accepted(struct gate *g, int fd, uint32_t address, bool member, uint64_t now_ms);
void gate_closed(struct gate *g, int fd);

/* Who is to be let in from now on. */
struct gate_rule {
    bool members_only;
    size_t begun; /* how many addresses, or all strangers as one, are turned away since this call */
    size_t shut_count;
    uint32_t shut[GATE_SOURCES_MAX]; /* turned away in any case */
};

/* True when the rule has changed since the last call; fills it in any case. */
bool gate_rule(struct gate *g, uint64_t now_ms, struct gate_rule *rule);

/* When to ask for the rule again though nothing has happened; UINT64_MAX: no need. */
uint64_t gate_wake(const struct gate *g, uint64_t now_ms);

/* How many connections are open, and of those how many are strangers'. */
size_t gate_open(const struct gate *g, size_t *strangers);

/* A socket that listens on TCP `port` of all IPv4 addresses, or KPEER_EIO. */
int gate_listen(uint16_t port, int backlog, int *fd, struct err *err);

/* Where a connection comes from, in network order; 0: it is gone. */
uint32_t gate_address(int fd);

/* Puts the rule before a listening IPv4 socket; connections that stand are not touched. KPEER_EIO when the
 * kernel does not take it. */
int gate_filter(int fd, const struct gate_rule *rule, const uint32_t *members, size_t member_count);

#endif
