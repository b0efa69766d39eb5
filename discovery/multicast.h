/*
 * The one UDP socket of discovery: joined to the group on each place, and told per datagram which interface
 * and which source address to use.
 *
 * Own multicasts are not looped back. The façade in discovery.h and listen.h are its callers.
 */
#ifndef KPEER_MULTICAST_H
#define KPEER_MULTICAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "discovery/evidence.h"
#include "protocol/err.h"

#define MULTICAST_GROUP          "239.255.73.73"
#define MULTICAST_PORT           7373
#define MULTICAST_DATAGRAM_BYTES 2048 /* longer ones are none of ours and come cut */

struct multicast {
    int fd;
    struct address group;
    uint16_t port;
    size_t joined_count;
    uint32_t joined[EVIDENCE_PLACES_MAX]; /* interface indexes */
};

/* Where a datagram came from and on what. */
struct multicast_from {
    struct address source;
    uint16_t port;
    uint32_t index; /* of the interface it came in on */
    bool to_group;  /* false: sent to us alone */
};

/* Binds to `port` on all addresses, beside other agents that do so. KPEER_EIO with what to do as hint. */
int multicast_open(struct multicast *m, const struct address *group, uint16_t port, struct err *err);
void multicast_close(struct multicast *m);

/* Joins and leaves so that the group is joined on the places' interfaces and no other. Returns how many joins
 * failed; they are tried again at the next call. */
size_t multicast_join(struct multicast *m, const struct evidence_place *places, size_t n);

/* Sends to the group on the place's interface from its address. */
int multicast_send(const struct multicast *m, const struct evidence_place *place, const uint8_t *bytes,
                   size_t n);

/* Sends to one address from the place's address. */
int multicast_send_to(const struct multicast *m, const struct evidence_place *place, const struct address *to,
                      uint16_t port, const uint8_t *bytes, size_t n);

/* Which own address the kernel would send from to reach `to`; KPEER_EIO when there is no way. */
int multicast_route(const struct address *to, struct address *own);

/* The next datagram waiting: 1 and its length in *n, 0 when there is none, negative when the socket failed.
 */
int multicast_receive(const struct multicast *m, uint8_t buf[static MULTICAST_DATAGRAM_BYTES], size_t *n,
                      struct multicast_from *from);

#endif
