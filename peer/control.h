/*
 * The local socket between the agent and the commands, both ends of it.
 *
 * Unix stream socket RUNDIR/kpeer.sock, open to all; the peer's credentials decide: root, the agent's own
 * user and members of the group `kpeer` may ask, only root and the agent's own user may change. A frame is
 * four bytes of length (big-endian) and one msgpack value of that length (control_frame.h). A connection
 * carries one request at a time: {"cmd": TEXT, "args": {…}}; answers are {"kind":
 * "data"|"event"|"error"|"done", …} until "done" or "error".
 *
 * The commands, their arguments and what the agent answers:
 *   status: {}; report_status
 *   members: {}; report_members
 *   metrics: {}; {"metrics": TEXT}, the page of metrics.h
 *   events: {"since_ms": N|null, "follow": BOOL}; what the ring holds of the last N ms (null: nothing), each
 * as an event; then done, or (follow) control_subscribe leave: {"force": BOOL}; EV_LEAVE; the end when
 * ACT_REPLY comes kubeconfig: {}; EV_KUBECONFIG; {"kubeconfig": TEXT} from ACT_REPLY's bytes survey: {};
 * EV_SURVEY; report_survey when the hosts have answered fix: {}; EV_FIX; {"message": TEXT} at once, before
 * what it says is done retry: {}; EV_RETRY; {} at once version: {}; {"version": TEXT, "pid": N} invite: {};
 * {"code": TEXT, "seconds": N, "replaced": BOOL} verify: {"timeout_ms": N}; EV_VERIFY; report_checks
 * when the pod is gone again. Whether a
 * caller may, is settled before the callback is called. Single-threaded: all calls from the agent's loop.
 */
#ifndef KPEER_CONTROL_H
#define KPEER_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/err.h"

#define CONTROL_CLIENTS_MAX   64
#define CONTROL_REQUEST_BYTES (64 * 1024)
#define CONTROL_REPLY_BYTES   (4 * 1024 * 1024)
#define CONTROL_QUEUE_BYTES   (8 * 1024 * 1024) /* a client with more than this unread is cut off */

struct control_server;

struct control_call {
    uint64_t id;     /* of this request, never 0, never used twice: good as node_event.request */
    const char *cmd; /* valid until the call ends */
    json_t *args;    /* an object, borrowed; never NULL */
    uid_t uid;       /* who asks */
    struct control_server *server;
};

struct control_callbacks {
    /* A request that the caller may make. Answer it now or later; it must end with control_reply or
     * control_fail, or stay subscribed. The call is gone after it ended, and when the client went away
     * (control_find says NULL). */
    void (*request)(void *ctx, struct control_call *call);

    /* The client of an open call went away. May be NULL. */
    void (*gone)(void *ctx, uint64_t id);
};

/* Makes and listens on the socket at `path` (its folder must exist); an old socket that nobody listens on is
 * replaced, a living one is KPEER_ESTATE ("an agent is running"). `reader_group`: whose members may ask;
 * NULL: "kpeer". Call before root is dropped where the folder is root's. */
int control_server_new(struct control_server **out, const char *path, const char *reader_group,
                       const struct control_callbacks *callbacks, void *ctx, struct err *err);

/* Also counts as the agent's own: a second user beside geteuid() who may change (whoever started the agent).
 */
void control_server_allow(struct control_server *s, uid_t uid);

/* Becomes readable when there is work: for poll. Then call control_server_dispatch, which never blocks.
 */
int control_server_fd(const struct control_server *s);
void control_server_dispatch(struct control_server *s);

/* Writes out what is queued, for `timeout_ms` at most: before the agent stops. */
void control_server_flush(struct control_server *s, int timeout_ms);

/* Closes all and removes the socket file where that is still possible. */
void control_server_free(struct control_server *s);

/* The open call with this id, or NULL. */
struct control_call *control_find(struct control_server *s, uint64_t id);

/* These take over `data` (or `event`), as json_object_set_new does. */
void control_reply(struct control_call *call, json_t *data); /* data, done; the call ends. NULL: done alone */
void control_send(struct control_call *call, json_t *data);  /* data; the call stays */
void control_send_event(struct control_call *call, json_t *event);

/* error; the call ends. `hint` may be NULL or empty. */
void control_fail(struct control_call *call, int code, const char *text, const char *hint);

/* From now on this call gets each broadcast event, until its client goes away. */
void control_subscribe(struct control_call *call);
void control_broadcast_event(struct control_server *s, json_t *event);

/* The commands' end. */
struct control_client;

enum control_kind { CONTROL_DATA, CONTROL_EVENT, CONTROL_DONE, CONTROL_NOTHING };

/* KPEER_ENOAGENT, with a hint, where nobody answers at `path`. */
int control_connect(struct control_client **out, const char *path, struct err *err);
void control_close(struct control_client *c);
int control_client_fd(const struct control_client *c);

/* Asks; takes over `args` (NULL: none). One request at a time. */
int control_request(struct control_client *c, const char *cmd, json_t *args, struct err *err);

/* The next answer, waiting at most `timeout_ms` (-1: for ever). 0, with *kind and a new reference in *out
 * (NULL for CONTROL_DONE, and for CONTROL_NOTHING: none came in time, which is no error, as an answer may
 * tell of a time limit too). An error answer comes as its own code, text and hint. KPEER_EIO (the agent went
 * away), KPEER_ECANCELED (a signal came). */
int control_next(struct control_client *c, int timeout_ms, enum control_kind *kind, json_t **out,
                 struct err *err);

/* Request, one data answer, done. KPEER_ETIMEOUT: not within `timeout_ms` each. */
int control_ask(struct control_client *c, const char *cmd, json_t *args, int timeout_ms, json_t **out,
                struct err *err);

#endif
