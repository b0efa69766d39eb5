/*
 * Asking a host's kernel whether anybody listens at a port there: a process that was killed is known to be
 * gone as soon as its host refuses a connection. Nothing is sent over one that is accepted.
 */
#ifndef KPEER_KNOCK_H
#define KPEER_KNOCK_H

#include <stdint.h>

#include "protocol/err.h"
#include "protocol/identity.h"

#define KNOCKS_MAX 64 /* at once; more are dropped */

struct knocks;

typedef void knock_refused(void *ctx, const struct peer_id *peer);

/* `refused` is called from knocks_serve alone. KPEER_ENOMEM, KPEER_EIO. */
int knocks_new(struct knocks **out, knock_refused *refused, void *ctx, struct err *err);
void knocks_free(struct knocks *k);

/* Readable when there is something to serve. */
int knocks_fd(const struct knocks *k);

/* Tries the peer's port on an IPv4 address in network order; not while a try is under way. An answer that
 * does not come soon is no answer. */
void knock(struct knocks *k, const struct peer_id *peer, uint32_t ipv4, uint16_t port, uint64_t now_ms);
void knocks_serve(struct knocks *k, uint64_t now_ms);

#endif
