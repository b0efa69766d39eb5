/*
 * The metrics over HTTP, on loopback: GET /metrics and nothing else.
 *
 * Opened before root is given up and used from the agent's loop alone, which it never blocks. Bounded in all:
 * EXPORTER_CLIENTS_MAX connections (the oldest makes room), EXPORTER_REQUEST_BYTES of a request,
 * EXPORTER_TIME_MS from the first byte to the last; one request a connection. What it answers is no secret,
 * as any process of this host may ask. A reader of its own, as a library of HTTP would bring eight others and
 * TLS into the process that holds the group's key.
 */
#ifndef KPEER_EXPORTER_H
#define KPEER_EXPORTER_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"

#define EXPORTER_CLIENTS_MAX   8
#define EXPORTER_REQUEST_BYTES 4096
#define EXPORTER_TIME_MS       5000

struct exporter;

/* Makes the page, *n bytes, which is freed here; NULL: there is none just now. */
typedef char *exporter_page(void *ctx, size_t *n);

/* Listens at an address, IPv4 or IPv6 as text. KPEER_EIO names it when it cannot be had. */
int exporter_open(struct exporter **out, const char *address, uint16_t port, exporter_page *page, void *ctx,
                  struct err *err);
void exporter_close(struct exporter *e);

/* Becomes readable when there is work; then call exporter_dispatch. */
int exporter_fd(const struct exporter *e);
void exporter_dispatch(struct exporter *e, uint64_t now_ms);

/* Ends connections whose time is over. Returns when to call again at the latest; UINT64_MAX: no need. Nothing
 * where `e` is NULL. */
uint64_t exporter_tick(struct exporter *e, uint64_t now_ms);

/* The status with which a request is answered, of which `n` bytes have come: 200, an error of RFC 9110, or 0
 * while its head is not whole. */
int exporter_judge(const char *bytes, size_t n);

#endif
