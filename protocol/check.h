/*
 * The group's check of itself: what only all hosts together can tell. Pure functions over profiles.
 *
 * What is found goes into a list with as much room as the caller wants: formation needs the first fault that
 * forbids it to go on, a person wants to see all of them (protocol/survey.h adds what hosts see of each
 * other).
 */
#ifndef KPEER_CHECK_H
#define KPEER_CHECK_H

#include "protocol/statement.h"

#define CHECK_MASTER_CPUS      2 /* kubeadm's floor for a control plane */
#define CHECK_MASTER_MEMORY_MB 1700
#define CHECK_CLOCK_MS                                                                                       \
    30000 /* further from the median than this is too far: certificates are back-dated 5 min */
#define CHECK_HOSTS_MAX 1024 /* looked at */
#define CHECK_NAMED_MAX 24   /* hosts named one by one in a fault */

struct check_host {
    const struct profile *profile;
    int64_t clock_offset_ms; /* against our clock */
    bool has_offset;
};

struct check_fault {
    enum finding_level level;       /* FINDING_RED forbids to found or join, FINDING_WARN does not */
    char check[16];                 /* "name", "machine-id", "clock", … */
    size_t host_count;              /* at fault, in all */
    uint16_t host[CHECK_NAMED_MAX]; /* the first of them, by their place among those looked at */
    char text[256];                 /* empty: all is well */
    char hint[ERR_HINT_BYTES];
};

/* What was found, the first `room` of it. With `level` FINDING_RED, warnings are left out. */
struct check_list {
    struct check_fault *fault;
    size_t room;
    size_t count;
    enum finding_level level;
};

/* True when nothing more has to be looked for. */
static inline bool check_full(const struct check_list *list)
{
    return list->count == list->room;
}

/* Adds a fault of the `count` hosts in `who` (their places), if there is room and its level is wanted. */
void check_add(struct check_list *list, enum finding_level level, const char *check, const uint16_t *who,
               size_t count, const char *hint, const char *fmt, ...) __attribute__((format(printf, 7, 8)));

/* "a (192.168.56.11), b (192.168.56.12) and 3 more" for the hosts in `who`. */
void check_names(const struct check_host *host, const uint16_t *who, size_t count, char *out, size_t bytes);

/* Big enough for a control plane, and not told to be a worker. */
bool check_fit_for_master(const struct profile *p);

/* Looks at the hosts of a group before it founds. `complete`: these are all that decide, so one of them must
 * be fit for a control plane. */
void check_hosts(const struct check_host *host, size_t count, bool complete, struct check_list *list);

/* The same for who only wants the first fault that forbids to go on. Returns true when there is none; else it
 * names the hosts at fault. */
bool check_group(const struct check_host *host, size_t count, bool complete, struct check_fault *fault);

/* Looks at one newcomer (host[0]) against the record and the members that are there. */
bool check_newcomer(const struct check_host *host, size_t count, const struct record *record,
                    struct check_fault *fault);

/* True if two IPv4 or IPv6 ranges written as CIDR share an address; false also when either does not parse. */
bool check_cidr_overlap(const char *a, const char *b);

#endif
