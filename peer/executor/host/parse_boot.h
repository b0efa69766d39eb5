/*
 * What decides how a host is after its next start: fstab, sysctl.d, modules-load.d, hosts, the listing of
 * units. Pure: text in, values out. Used by this folder and its tests.
 */
#ifndef KPEER_HOST_PARSE_BOOT_H
#define KPEER_HOST_PARSE_BOOT_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/err.h"

/* How many lines of /etc/fstab switch swap on at boot (type swap, not noauto), and the first one's device,
 * escaped. */
size_t parse_fstab_swaps(const char *text, char *first, size_t first_bytes);

/* The same text with "# kpeer: " before each of these lines and nothing else changed; *out is the caller's to
 * free. KPEER_EINVAL: `text` of `n` bytes holds a NUL, so it is no fstab. */
int parse_fstab_comment(const char *text, size_t n, char **out, size_t *out_bytes, struct err *err);

/* The value that the last line for `key` ("net.ipv4.ip_forward", or with slashes) in a file of sysctl.d
 * gives; false: none does. */
bool parse_sysctl_value(const char *text, const char *key, char *out, size_t out_bytes);

/* Whether a file of modules-load.d names the module ('-' and '_' are one). */
bool parse_modules_load(const char *text, const char *module);

/* Whether /proc/modules lists it. */
bool parse_modules_loaded(const char *text, const char *module);

/* Whether /proc/filesystems lists it. */
bool parse_filesystem_known(const char *text, const char *name);

/* Whether /etc/hosts has a line for `name`, in any case of letters. */
bool parse_hosts_has(const char *text, const char *name);

/* What `systemctl show` tells of a unit; fields that are too long are empty. */
struct parse_unit {
    char id[128];
    char load[16];   /* "loaded", "not-found", "masked" */
    char file[24];   /* "enabled", "disabled", "masked", "static", "generated"; empty: no unit file */
    char active[16]; /* "active", "inactive", "failed", "activating" */
    char source[128];
};

/* Reads one unit's properties from `at`; returns where the next unit's begin, or NULL after the last. False
 * in *found: nothing was there. */
const char *parse_unit_next(const char *at, struct parse_unit *unit, bool *found);

/* The areas of /proc/swaps one after the other: `at` begins as the text, returns where to go on, NULL at the
 * end. */
const char *parse_swap_next(const char *at, char *area, size_t area_bytes, int *priority, bool *found);

#endif
