/*
 * The group's check of itself: what only all hosts together can tell. Pure functions over profiles.
 */
#ifndef KPEER_CHECK_H
#define KPEER_CHECK_H

#include "protocol/statement.h"

#define CHECK_MASTER_CPUS      2 /* kubeadm's floor for a control plane */
#define CHECK_MASTER_MEMORY_MB 1700
#define CHECK_CLOCK_MS                                                                                       \
    30000 /* further from the median than this is too far: certificates are back-dated 5 min */

struct check_host {
    const struct profile *profile;
    int64_t clock_offset_ms; /* against our clock */
    bool has_offset;
};

struct check_fault {
    char text[256]; /* empty: all is well */
    char hint[ERR_HINT_BYTES];
};

/* Big enough for a control plane, and not told to be a worker. */
bool check_fit_for_master(const struct profile *p);

/* Looks at the hosts of a group before it founds. `complete`: these are all that decide, so one of them must
 * be fit for a control plane. Returns true when all is well; otherwise names the first fault and the hosts at
 * fault. */
bool check_group(const struct check_host *host, size_t count, bool complete, struct check_fault *fault);

/* Looks at one newcomer (host[0]) against the record and the members that are there. */
bool check_newcomer(const struct check_host *host, size_t count, const struct record *record,
                    struct check_fault *fault);

/* True if two IPv4 or IPv6 ranges written as CIDR share an address; false also when either does not parse. */
bool check_cidr_overlap(const char *a, const char *b);

#endif
