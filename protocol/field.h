/*
 * What the text fields of messages and steps must look like. Anybody may use this module; it is pure.
 *
 * Each takes text that ends with a NUL and says whether all of it has the form. Lengths are the caller's
 * matter: a field has a size, and what does not fit never gets here.
 */
#ifndef KPEER_FIELD_H
#define KPEER_FIELD_H

#include <stdbool.h>

/* RFC 1123: labels of a-z, 0-9 and inner hyphens, joined by dots. A Node's name. */
bool field_name(const char *s);

/* An IPv4 or IPv6 address that a single other host can be reached at: not unspecified, loopback or multicast.
 */
bool field_address(const char *s);

/* The name of a network interface, of letters, digits and ._- */
bool field_interface(const char *s);

/* ADDRESS:PORT or [ADDRESS]:PORT, the address as in field_address, the port 1 to 65535. */
bool field_endpoint(const char *s);

/* ADDRESS/BITS with no bit set beyond the prefix. */
bool field_cidr(const char *s);

/* vMAJOR.MINOR.PATCH, and perhaps -pre.release or +build. */
bool field_version(const char *s);

/* "sha256:" and 64 lower-case hex digits: how kubeadm writes the hash of a CA's public key. */
bool field_hash(const char *s);

/* kubeadm's bootstrap token: [a-z0-9]{6}, a dot, [a-z0-9]{16} */
bool field_token(const char *s);

/* 32 lower-case hex digits. */
bool field_cluster_id(const char *s);

#endif
