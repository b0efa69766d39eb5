/*
 * What the files of the group's check share: check.c, check_own.c. Nobody else includes this header.
 */
#ifndef KPEER_CHECK_LOOK_H
#define KPEER_CHECK_LOOK_H

#include "protocol/check.h"

/* What is being looked at, and where it is written down. */
struct look {
    const struct check_host *host;
    size_t count;
    struct check_list *list;
};

static inline const struct profile *look_at(const struct look *l, size_t i)
{
    return l->host[i].profile;
}

/* "192.168.56.11, 192.168.56.12 and 3 more" */
void check_addresses(const struct check_host *host, const uint16_t *who, size_t count, char *out,
                     size_t bytes);

/* check_own.c: what no two hosts may share (`first`: with the first host alone), and what must be alike. */
void look_at_own(struct look *l, bool first);
void look_at_traits(struct look *l);
bool look_same_minor(const char *a, const char *b);

#endif
