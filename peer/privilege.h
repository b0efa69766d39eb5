/*
 * Giving up root: whom the agent becomes and what it can no longer do afterwards. Only the agent's start uses
 * this module.
 */
#ifndef KPEER_PRIVILEGE_H
#define KPEER_PRIVILEGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "protocol/err.h"

struct privilege_user {
    bool drop; /* false: stay who we are */
    char name[32];
    uid_t uid; /* -1 where not dropped: nothing changes hands */
    gid_t gid;
};

/* Whom to become: the user `wanted`; where it is empty "kpeer", else "nobody". Without root nobody is to be
 * dropped, and where root has neither of the two users likewise. KPEER_EINVAL: `wanted` does not exist. */
int privilege_choose(const char *wanted, struct privilege_user *out, struct err *err);

/* Becomes that user for good, all groups included; sees to it that it worked. */
int privilege_drop(const struct privilege_user *user, struct err *err);

/* No core dumps, no looking in from outside, as many descriptors as are allowed, no new privileges. */
int privilege_harden(struct err *err);

#endif
