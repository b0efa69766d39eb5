/*
 * This host's network interfaces, from the kernel (rtnetlink), and word of their changes.
 *
 * The table holds what discovery can use or must know of; the interfaces that container networks make
 * (bridges, veth ends, overlays) are left out by name and kind. The parser (nic_parse) takes bytes alone and
 * is bounded by them. The façade in discovery.h and the agent use this module.
 */
#ifndef KPEER_NIC_H
#define KPEER_NIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "discovery/address.h"
#include "protocol/err.h"

#define NIC_MAX           64
#define NIC_ADDRESSES_MAX 8
#define NIC_KIND_BYTES    16

struct nic {
    uint32_t index;
    char name[STEP_INTERFACE_BYTES];
    char kind[NIC_KIND_BYTES]; /* "bridge", "veth"; empty: hardware */
    bool up;
    bool multicast;
    bool loopback;
    bool have_mac;
    uint8_t mac[6];
    size_t address_count;
    struct network address[NIC_ADDRESSES_MAX]; /* IPv4 */
};

struct nic_table {
    size_t count;
    struct nic nic[NIC_MAX];
    size_t left_out; /* interfaces or addresses beyond the limits */
    bool done;       /* the dump's last part was seen */
    int error;       /* errno that the kernel answered, 0: none */
};

/* Whether the interface belongs to a container network or the like and is never used nor told. */
bool nic_ignored(const char *name, const char *kind);

/* Up, no loopback, with an address. */
bool nic_usable(const struct nic *nic);

/* Whether its hardware address tells this host from a copy of it: no bridge, bond, VLAN, tunnel. */
bool nic_identifies(const struct nic *nic);

/* Adds what one datagram of a dump says to the table. KPEER_EINVAL when it is cut short or its lengths do not
 * fit; what stood before the fault has been added. */
int nic_parse(struct nic_table *table, const void *bytes, size_t n);

struct nic_watch;

/* Opens the watch. Frees with nic_close. */
int nic_open(struct nic_watch **out, struct err *err);
void nic_close(struct nic_watch *w);

/* Readable when interfaces or addresses changed. */
int nic_fd(const struct nic_watch *w);

/* Empties the watch's descriptor; true when there was word of a change. */
bool nic_drain(struct nic_watch *w);

/* Asks the kernel for the table as it is now (answers within 2 s, else KPEER_ETIMEOUT). */
int nic_list(struct nic_table *out, struct err *err);

#endif
