/*
 * The agent's system call filter (seccomp): what it may still ask of the kernel once it has started.
 *
 * A list of what is allowed, each with its reason; the list in docs/security.md is checked against it. What
 * is not on it fails with EPERM and the kernel logs it, so that a call that was forgotten is seen and costs
 * one operation, not a cluster in the middle of its founding. What no sound agent ever asks for, starting a
 * program before all, ends the process at once. Only the agent's start uses this module.
 */
#ifndef KPEER_FILTER_H
#define KPEER_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "protocol/err.h"

/* On which arguments a call is allowed. */
enum filter_when {
    FILTER_ALWAYS = 0,
    FILTER_NO_EXEC,   /* third argument, protection: without PROT_EXEC */
    FILTER_THREAD,    /* first argument, flags: a thread of this process */
    FILTER_NAME,      /* first argument: PR_SET_NAME */
    FILTER_EXECUTOR,  /* first argument: the executor's pid */
    FILTER_SELF,      /* first argument: our own pid */
    FILTER_OURSELVES, /* first argument: 0, which is this process */
    FILTER_SOCKET,    /* first and third argument: AF_INET, or AF_NETLINK with NETLINK_ROUTE */
    FILTER_IOCTL,     /* second argument: SIOCGIFMTU or TCGETS */
};

struct filter_call {
    int number; /* libseccomp's: negative where this architecture has no such call */
    const char *name;
    enum filter_when when;
    const char *reason;
};

/* What is allowed, and what ends the process. */
extern const struct filter_call filter_allowed[];
extern const size_t filter_allowed_count;
extern const struct filter_call filter_deadly[];
extern const size_t filter_deadly_count;

/* "a thread of this process"; empty for FILTER_ALWAYS. Never NULL. */
const char *filter_when_text(enum filter_when when);

/* Puts the filter on, on every thread of the process and on those to come; needs no_new_privs. `executor` is
 * the one process that may be signalled, or 0. *on says whether it is: false where this kernel has no
 * seccomp, or this build no filter (a sanitizer, valgrind and coverage need calls of their own; a list for 64
 * bits does not fit 32). */
int filter_enter(pid_t executor, bool *on, struct err *err);

#endif
