/*
 * What the parts of the agent share: agent.c (start, loop, stop), life.c (what lasts as long as an identity),
 * actions.c (what the core wants done), requests.c (what users and monitors ask), inviting.c (invitations)
 * and steps.c (the executor's end). Nobody else includes this header.
 */
#ifndef KPEER_AGENT_STATE_H
#define KPEER_AGENT_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "discovery/discovery.h"
#include "discovery/reach.h"
#include "peer/config/config.h"
#include "peer/control.h"
#include "peer/agent/exporter.h"
#include "peer/agent/loop.h"
#include "peer/agent/metrics.h"
#include "peer/agent/privilege.h"
#include "peer/report.h"
#include "peer/agent/store.h"
#include "peer/agent/transport.h"
#include "protocol/invite.h"
#include "protocol/node.h"

#define AGENT_REFUSED_MAX 8

/* A step that could not be put into a frame: the core is told that it failed. */
struct agent_refused {
    uint32_t id;
    enum step_kind kind;
    struct err why;
};

struct agent {
    const struct config *cfg;
    struct privilege_user user;
    struct loop loop;
    struct store *store;
    struct control_server *control;
    struct event_ring *events;
    struct metrics metrics;
    struct exporter *exporter; /* NULL: not wanted */
    struct secret *key;
    int signal_fd;
    int ending_fd; /* where it is told how this ends, or negative */
    int executor_fd;
    pid_t executor;
    uint8_t machine_id[16]; /* of this host, as of the start: afterwards its file is out of reach */

    /* One life, from an identity to the end of it. */
    struct identity *identity;
    uint64_t instance;
    struct transport *transport;
    struct discovery *discovery;
    struct reach *reach;
    struct node *node;
    uint64_t wake_ms; /* of the core */
    size_t refused_count;
    struct agent_refused refused[AGENT_REFUSED_MAX];

    struct invitation *invitation; /* the last one (inviting.c), or NULL */

    bool stop;  /* the loop ends after this turn */
    bool renew; /* and begins again with a new identity */
    int code;   /* how it ended: 0, or what is in `fault` */
    struct err fault;
};

int64_t agent_wall_ms(void);

/* Ends the loop with an error (the first one stays). */
void agent_fail(struct agent *a, const struct err *why);

/* Hands one event to the core and carries its actions out (actions.c). Not from within an action. */
void agent_feed(struct agent *a, struct node_event *event);

/* Logs an ACT_EVENT, keeps it and tells whoever follows. */
void agent_event(struct agent *a, const struct action *act);

/* Opens an invitation in answer to a call; takes a guest's datagram, as discovery's callback. */
void agent_invite(struct agent *a, struct control_call *call);
bool agent_invited(void *ctx, const uint8_t *bytes, size_t n, const char *from,
                   uint8_t reply[static INVITE_BYTES]);

/* Reads or makes the identity and opens discovery, transport and core under it (life.c); agent_life_stop
 * closes what is open of them. */
int agent_life_start(struct agent *a, struct err *err);
void agent_life_stop(struct agent *a);

/* The callbacks of the control server (requests.c); `ctx` is the agent. */
void agent_request(void *ctx, struct control_call *call);
void agent_gone(void *ctx, uint64_t id);

/* The exporter's, likewise. */
char *agent_metrics(void *ctx, size_t *n);

/* The executor's end (steps.c). agent_step_ready is the loop's callback. */
int agent_step_run(struct agent *a, const struct step *step, struct err *err);
int agent_step_cancel(struct agent *a, uint32_t id, struct err *err);
void agent_step_ready(void *ctx);
/* Closes the socket pair and waits until the executor has ended its workers and itself; ends it by force when
 * it takes longer than it may. */
void agent_executor_stop(struct agent *a);

#endif
