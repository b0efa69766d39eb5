/*
 * Looking for the host that invites: a guest that was told a code finds it on the subnet and takes the
 * group's key from it (protocol/invite.h). `kpeer up --code` calls this, before any agent runs.
 */
#ifndef KPEER_MEET_H
#define KPEER_MEET_H

#include <stdint.h>

#include "discovery/address.h"
#include "discovery/evidence.h"
#include "protocol/err.h"
#include "protocol/invite.h"
#include "protocol/secret.h"

/* Asks on all usable interfaces (those that fit `pin`, which may be NULL) for `ms` milliseconds. 0: *key, to
 * be freed by secret_free, came from the host at *from. KPEER_EAUTH: somebody invites, with another code;
 * KPEER_ENOTFOUND: nobody does; KPEER_ETIMEOUT: the host that does, at *from, gave no key in that time. */
int discovery_meet(const struct address *group, uint16_t port, const struct evidence_pin *pin,
                   const uint8_t code[static INVITE_CODE_BYTES], uint32_t ms, struct secret **key,
                   struct address *from, struct err *err);

#endif
