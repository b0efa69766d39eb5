/*
 * Giving up root: whom the agent becomes and what it can no longer do afterwards. Only the agent's start uses
 * this module.
 */
#ifndef KPEER_PRIVILEGE_H
#define KPEER_PRIVILEGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "protocol/err.h"

/* Where systemd, too, takes the ids of users that exist while they run (systemd's UIDS-GIDS). */
#define PRIVILEGE_FIRST 61184
#define PRIVILEGE_LAST  65519

/* PR_SET_DUMPABLE. The sanitizers of a build that checks itself look for leaks by tracing the process. */
#ifdef KPEER_NO_SANDBOX
#define PRIVILEGE_DUMPABLE 1
#else
#define PRIVILEGE_DUMPABLE 0
#endif

struct privilege_user {
    bool drop; /* false: stay who we are */
    char name[32];
    uid_t uid; /* -1 where not dropped: nothing changes hands */
    gid_t gid;
};

/* Whom to become: the user `wanted`; where it is empty "kpeer"; where there is no such user, an id that
 * nobody has (privilege_unused), as user and as group. Without root nobody is to be dropped. `before` is
 * whose the state is that the agent found, `where` the name of its folder. KPEER_EINVAL: `wanted` does not
 * exist or is root; KPEER_EREFUSED: no id is free. */
int privilege_choose(const char *wanted, uid_t before, const char *where, struct privilege_user *out,
                     struct err *err);

/* An id of the range above which is not taken: `before` if it will do, so that it stays the same across
 * restarts; else one that follows from `where`. KPEER_ENOTFOUND: all are taken. */
int privilege_unused(unsigned before, const char *where, bool (*taken)(unsigned id), unsigned *out);

/* Whether a user or a group has this id, or a process runs under it. */
bool privilege_taken(unsigned id);

/* Becomes that user for good, all groups included, with no capability, nor one to be had by any program; sees
 * to it that it worked. */
int privilege_drop(const struct privilege_user *user, struct err *err);

/* No core dumps, no looking in from outside, as many descriptors as are allowed, no new privileges. */
int privilege_harden(struct err *err);

#endif
