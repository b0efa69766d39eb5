/*
 * What the kernel and the distribution write in their files, read strictly and bounded. Pure: text in, values
 * out. Used by this folder and its tests.
 */
#ifndef KPEER_HOST_PARSE_H
#define KPEER_HOST_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"

/* MemTotal of /proc/meminfo in MB, rounded down; 0 where it is not there. */
uint32_t parse_meminfo(const char *text);

/* PRETTY_NAME of /etc/os-release, unquoted, cut to fit; empty where it is not there. */
void parse_os_release(const char *text, char *out, size_t out_bytes);

/* How many swap areas /proc/swaps lists, and the first one's name (escaped). */
size_t parse_swaps(const char *text, char *first, size_t first_bytes);

/* Whether /proc/net/tcp or tcp6 has a socket listening on `port`. */
bool parse_tcp_listens(const char *text, uint16_t port);

/* "Kubernetes v1.20.2", "v1.20.2\n": the first version vMAJOR.MINOR.PATCH[...] in it. KPEER_EINVAL: none. */
int parse_version(const char *text, char *out, size_t out_bytes, struct err *err);

/* "v1.20.2" → 1, 20. False: not a version. */
bool parse_version_parts(const char *version, unsigned *major, unsigned *minor);

/* Whether /proc/cgroups has the controller, enabled. */
bool parse_cgroup_enabled(const char *text, const char *controller);

/* Whether a line of blank-separated words holds `word`. */
bool parse_has_word(const char *text, const char *word);

/* The pause image among those that kubeadm lists, one a line; the caller frees it. NULL: none. */
char *parse_pause_line(const char *text);

#endif
