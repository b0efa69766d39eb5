/*
 * Docker's daemon.json, merged: what kubelet needs is added, all other keys stay in their order. Pure: text
 * in, text out. Used by this folder and its tests.
 */
#ifndef KPEER_HOST_PARSE_DAEMON_H
#define KPEER_HOST_PARSE_DAEMON_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/err.h"

/* `text` may be empty. *same: nothing is to be changed, and *out is not set; else *out is the caller's to
 * free. The systemd cgroup driver is set; log rotation and overlay2 where the user chose nothing else, since
 * another log driver knows other options, and another storage driver holds other images. KPEER_EINVAL: no
 * JSON, or not what Docker takes. */
int daemon_merge(const char *text, size_t n, bool *same, char **out, size_t *out_bytes, struct err *err);

#endif
