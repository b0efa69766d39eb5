/*
 * Network addresses and networks as values: compared, read and written without a socket.
 *
 * IPv4 (4 bytes) and IPv6 (16 bytes). Pure; anybody in discovery/ and peer/ may use this module.
 */
#ifndef KPEER_ADDRESS_H
#define KPEER_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/err.h"
#include "protocol/step.h"

struct address {
    uint8_t n; /* 0: none, 4 or 16 */
    uint8_t b[16];
};

struct network {
    struct address address; /* as given, host bits included */
    unsigned prefix;
};

bool address_equal(const struct address *a, const struct address *b);

/* From an IPv4 address in network order. */
void address_from_in(struct in_addr in, struct address *out);

/* The presentation form; "" for none. */
void address_text(const struct address *a, char out[static STEP_ADDRESS_BYTES]);
int address_parse(const char *text, struct address *out);

/* "A.B.C.D/len"; KPEER_EINVAL says what is wrong. */
int network_parse(const char *text, struct network *out, struct err *err);
bool network_contains(const struct network *net, const struct address *a);
/* The network with its host bits cleared, as "10.0.2.0/24". */
void network_text(const struct network *net, char out[static STEP_CIDR_BYTES]);

/* Reads "ADDR", "ADDR:PORT" or "[ADDR]:PORT"; `port` stays as it was where none is given. KPEER_EINVAL says
 * why. */
int address_parse_endpoint(const char *text, struct address *out, uint16_t *port, struct err *err);

#endif
