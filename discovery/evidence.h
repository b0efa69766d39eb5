/*
 * Which address is proven by being heard: the judge between many interfaces and the one address that a peer
 * uses.
 *
 * A host has several addresses, and some of them lead nowhere (VirtualBox gives every virtual machine the
 * same 10.0.2.15). An own address is proven when another member was heard on its interface and says that it
 * heard us there under that address. An address that two live peers claim, or a peer and we ourselves, is
 * conflicted and never used. The choice is stable: the present address stays until it goes away, is
 * conflicted, or loses its proof to another. Pure: the caller brings beacons, the list of own places and the
 * time.
 */
#ifndef KPEER_EVIDENCE_H
#define KPEER_EVIDENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "discovery/address.h"
#include "discovery/beacon.h"
#include "protocol/err.h"
#include "protocol/identity.h"

#define EVIDENCE_PLACES_MAX 32
#define EVIDENCE_PEERS_MAX  1024
/* From the first proof to the first choice, so that other interfaces can speak up: where somebody was heard
 * on several of them, and where on one alone. Who has only one does not wait. */
#define EVIDENCE_DWELL_MS 250
#define EVIDENCE_QUIET_MS 50

/* An own address on an own interface. */
struct evidence_place {
    uint32_t index; /* of the interface */
    char name[STEP_INTERFACE_BYTES];
    struct network net; /* the address and its prefix */
};

/* What the user chose; empty interface and zero subnet: nothing. */
struct evidence_pin {
    char interface[STEP_INTERFACE_BYTES];
    bool have_subnet;
    struct network subnet;
};

struct evidence;

/* `instance` is the random number of this start, `beat_ms` the interval of beacons: evidence holds for ten of
 * them. Frees with evidence_free. */
int evidence_new(struct evidence **out, const struct peer_id *me, uint64_t instance,
                 const struct evidence_pin *pin, uint32_t beat_ms, struct err *err);
void evidence_free(struct evidence *ev);

/* Beacons of a larger group come at longer intervals. */
void evidence_set_beat(struct evidence *ev, uint32_t beat_ms);

/* The own places now, all of them; what is beyond EVIDENCE_PLACES_MAX is left out. With a pin only places
 * that fit it count, here and in everything below. */
void evidence_set_places(struct evidence *ev, const struct evidence_place *places, size_t n);
size_t evidence_places(const struct evidence *ev, const struct evidence_place **out);

/* Takes a beacon heard on interface `index` from `source`. 0: its sender can be used (evidence_peer).
 * KPEER_EREPLAY: our own, or not newer than what was heard. KPEER_EAUTH: `source` is not the claimed address.
 * KPEER_EREFUSED: the address is conflicted, or the interface is none of our places. KPEER_ELIMIT: too many
 * peers. A beacon of our own id with another instance is 0 and leaves no trace here. */
int evidence_hear(struct evidence *ev, const struct beacon *beacon, uint32_t index,
                  const struct address *source, uint64_t now_ms);

/* The own address to use now; false when there is none. */
bool evidence_own(struct evidence *ev, uint64_t now_ms, struct evidence_place *out);

/* Where to reach a peer; false when no usable address is known. Stable while it stays good. */
bool evidence_peer(struct evidence *ev, const struct peer_id *id, uint64_t now_ms, struct address *out);

/* Whether two claim this address now. */
bool evidence_conflicted(const struct evidence *ev, const struct address *address, uint64_t now_ms);

/* Whether somebody has been heard for a while who does not hear us, and where that is. `all`: nobody who is
 * heard does; set where true is returned. False also where there are more than a beacon can name. */
bool evidence_deaf(const struct evidence *ev, uint64_t now_ms, struct address *out, bool *all);

/* Who was lately heard on interface `index`, for one beacon: at most `max` entries, first those who are new
 * there, then an eighth of the others (two at least), whose turn it is. */
size_t evidence_heard(const struct evidence *ev, uint32_t index, uint64_t now_ms, struct beacon_heard *out,
                      size_t max);

/* Once for each beacon, after its last copy: all copies name the same, or those who get but one of them would
 * see the same names for ever. */
void evidence_next(struct evidence *ev);

/* When evidence_own could answer differently without another beacon; UINT64_MAX: never. */
uint64_t evidence_wake(const struct evidence *ev, uint64_t now_ms);

#endif
