/*
 * What the two halves of the judge share: why.c chooses whom it is about and puts the answer into words,
 * why_rules.c finds the causes. Nobody else includes this.
 */
#ifndef KPEER_WHY_STATE_H
#define KPEER_WHY_STATE_H

#include <stdbool.h>

#include "peer/command/why.h"

struct why {
    const json_t *picture;
    const json_t *status;  /* of this host; NULL: no agent tells it */
    const json_t *members; /* an array; NULL likewise */
    const json_t *cluster; /* the record; NULL: none yet */
    const json_t *self;    /* this host among the members; NULL: no agent tells it */
    const json_t *subject; /* the member that it is about; NULL: this host, of which no agent tells */
    const json_t *master;  /* NULL: none, or not known */
    bool silent;           /* the agent runs and does not answer, or not to all that it is asked */
    bool own;              /* the subject is this host */
    bool ready;            /* it is well */
    json_t *causes;        /* as found, the first one first */
    size_t before;         /* how many of them earlier rules have found */
};

/* What the subject says is wrong with it; empty: nothing. */
const char *why_error(const struct why *w);

/* Not heard now, and has not left. */
bool why_absent(const json_t *member);
/* A member no more: of its own will, or put out. */
bool why_left(const json_t *member);
bool why_evicted(const json_t *member);
bool why_is(const json_t *member, const char *key, const char *word);

/* "node2 (192.168.56.12)" */
#define WHY_HOST_BYTES 128
const char *why_name(const json_t *member, char out[static WHY_HOST_BYTES]);

/* How a member is, as seen from here: "node1 (192.168.56.11) is the master: failed, last heard 40 s ago". */
void why_member_text(const struct why *w, const json_t *member, char *out, size_t room);

/* Fills w->causes. */
void why_find(struct why *w);

#endif
