/*
 * The multicast datagram: what a peer says to the whole subnet, sealed under the group's key.
 *
 *   seal(SEAL_BEACON,
 *     [ [id, boot, instance, counter, age_ms, wall_ms, digest, members, next_ms, sign_pk,
 *        box_pk, port (, outbid, outbid_boot, outbid_instance) (, failed, failed_instance)],
 *       address, interface,
 *       [ [id, instance, address] … ] ])
 *
 * The first part is the hello that the core wrote. The rest differs from interface to interface: the address
 * that this copy is sent from, the number of the interface, and who was lately heard on that very interface,
 * and where. It is this last part that lets a host know which of its addresses others can reach. Pure: bytes
 * in, bytes out.
 */
#ifndef KPEER_BEACON_H
#define KPEER_BEACON_H

#include <stddef.h>
#include <stdint.h>

#include "discovery/address.h"
#include "protocol/err.h"
#include "protocol/node.h"
#include "protocol/seal.h"

#define BEACON_MAX_BYTES 1400 /* with room left in an Ethernet frame for IPv6, UDP and a VLAN tag */
#define BEACON_HEARD_MAX 36

struct beacon_heard {
    struct peer_id id;
    uint32_t instance; /* the low 32 bits of its instance */
    struct address address;
};

struct beacon {
    struct hello hello;
    struct address address; /* where this copy says it comes from */
    uint32_t interface;     /* the sender's number of the interface */
    size_t heard_count;
    struct beacon_heard heard[BEACON_HEARD_MAX];
};

/* Seals a beacon into `out`, *n its length; as many of `heard` as fit are written, from the front.
 * KPEER_EINVAL when it has no address. */
int beacon_encode(const struct seal *seal, const uint8_t nonce[static SEAL_NONCE_BYTES],
                  const struct beacon *beacon, uint8_t out[static BEACON_MAX_BYTES], size_t *n,
                  struct err *err);

/* Opens and reads one. Errors as seal_open; besides KPEER_EINVAL, KPEER_ELIMIT malformed, KPEER_EAUTH when
 * the id does not belong to the signing key. `out` is set only on success. */
int beacon_decode(const struct seal *seal, const uint8_t *bytes, size_t n, struct beacon *out,
                  struct err *err);

#endif
