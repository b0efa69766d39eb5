/*
 * The whole of a peer's deciding behind one function: node_step(node, event, now) -> actions.
 *
 * Pure: no system call, no clock, no randomness but a generator seeded by the caller, no log. Time is
 * absolute milliseconds of a clock that counts suspended time (CLOCK_BOOTTIME). The agent and the simulator
 * are its callers.
 */
#ifndef KPEER_NODE_H
#define KPEER_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"
#include "protocol/identity.h"
#include "protocol/record.h"
#include "protocol/secret.h"
#include "protocol/step.h"

struct node;
struct keyring;       /* protocol/keyring.h */
struct reach_order;   /* protocol/survey.h */
struct reach_report;  /* likewise */
struct survey_report; /* likewise */

/* How a verification ended: what was looked at, in order. */
struct verify_report {
    size_t count;
    const struct finding *finding;
};

/* What a user may give a verification: shorter is no time for a pod, longer holds up everybody else. */
#define NODE_VERIFY_MIN_MS 20000
#define NODE_VERIFY_MAX_MS 600000

enum role_pref { ROLE_AUTO = 0, ROLE_MASTER = 1, ROLE_WORKER = 2 };
enum member_role { MEMBER_UNDECIDED = 0, MEMBER_MASTER = 1, MEMBER_WORKER = 2 };
enum member_state { STATE_ALIVE = 0, STATE_SUSPECT = 1, STATE_FAILED = 2, STATE_LEFT = 3 };
enum phase {
    PHASE_LOOKING = 0,
    PHASE_SETTLING,
    PHASE_ELECTING,
    PHASE_PREPARING,
    PHASE_INITIALISING,
    PHASE_JOINING,
    PHASE_READY,
    PHASE_LEAVING,
    PHASE_FAILED,
    PHASE_LEFT,
    PHASE_COUNT
};

/* The words of the user interface; never NULL. */
const char *role_word(enum member_role role);
const char *state_word(enum member_state state);
const char *phase_word(enum phase phase);

#define NODE_CONSOLE_MAX 16

struct node_config {
    char name[STEP_NAME_BYTES];
    char version[STEP_VERSION_BYTES]; /* of kpeer */
    enum role_pref role;
    uint32_t expect; /* 0: not told */
    bool pinned;     /* the user chose the interface or subnet: a lone host may then found */
    bool rename;     /* hosts that share a name are renamed, and get machine-ids of their own */
    bool name_fixed; /* the user chose it: it stays */
    bool fix;        /* let this host be mended before it is checked */
    bool dry_run;    /* rehearsal; a group is rehearsing or not, all of it */
    uint16_t port;   /* TCP, where this peer listens */
    char pod_cidr[STEP_CIDR_BYTES];
    char service_cidr[STEP_CIDR_BYTES];
    char kubernetes_version[STEP_VERSION_BYTES]; /* wanted; empty: that of the kubeadm at hand */
    uint32_t settle_ms;                          /* default 3000 */
    uint32_t beat_ms;                            /* whoever is silent for two is gone; default 1000 */
    uint32_t lease_ms;                           /* default 5000 */
    uint32_t ticket_ttl_ms;                      /* default 600000 */
    uint32_t key_overlap_ms; /* how long a rotated key is kept for members that come back; default 7 days */
    /* Whom this host, as a control plane, gives the admin kubeconfig: members by name or id, where that is
     * settled (then none named is nobody); else all. */
    bool console_set;
    char console[NODE_CONSOLE_MAX][STEP_NAME_BYTES];
    size_t console_count;
    bool key_fixed; /* the key is known to everybody (trust by subnet): there is nothing to rotate */
};
void node_config_default(struct node_config *cfg);

/* What must survive a crash. Each is a blob that only the core reads; the agent stores it under a name. */
enum store_key { STORE_PROMISES = 0, STORE_CLUSTER = 1, STORE_MEMBERS = 2, STORE_KEYS = 3, STORE_KEY_COUNT };

struct stored {
    const uint8_t *bytes; /* NULL: none */
    size_t n;
};

/* A new node. `identity` and `group_key` are borrowed and must outlive it. `seed` feeds its generator;
 * `instance` is the random number of this start. KPEER_EINVAL or KPEER_EVERSION when a stored blob cannot be
 * read (never a guess). */
int node_new(struct node **out, const struct node_config *cfg, const struct identity *identity,
             const struct secret *group_key, const struct stored stored[static STORE_KEY_COUNT],
             uint64_t instance, const uint8_t seed[static 32], struct err *err);
void node_free(struct node *node);

/* What a beacon says to the core. The datagram round it belongs to discovery/beacon. */
struct hello {
    struct peer_id id;
    uint64_t boot; /* rises with each start of this peer: orders its instances */
    uint64_t instance;
    uint64_t counter; /* rises with each beacon of this instance */
    uint64_t age_ms;  /* since this instance started */
    int64_t wall_ms;  /* the sender's wall clock, Unix ms: only to find clocks that differ */
    uint64_t digest;  /* of the sender's gossip view */
    uint32_t members; /* how many live members the sender sees, itself included */
    uint32_t next_ms; /* its next one comes after so long, or a tenth later */
    uint8_t sign_pk[SIGN_PK_BYTES];
    uint8_t box_pk[BOX_PK_BYTES];
    uint16_t port; /* TCP */
    /* Whom the sender no longer listens to, because it has heard a later start of the same peer: that start.
     * Zero id: nobody. */
    struct peer_id outbid;
    uint64_t outbid_boot;
    uint64_t outbid_instance;
    /* Whom the sender has just found silent or failed, so that others look at once; told only where not
     * everybody sees it. Or the sender itself, whose agent is being stopped and may be back. Zero id: nobody.
     */
    struct peer_id failed;
    uint64_t failed_instance;
    /* Of the key that it is to be sealed with, or was opened with; no part of the bytes inside. */
    uint32_t epoch;
};

/* The longest pause between two beacons of a member of a group at rest, unless the beat is longer. */
#define NODE_REST_MS 60000

/* What two neighbours tell each other at each beat, so that all others need be told seldom. */
enum pulse_wish {
    PULSE_NOTHING = 0,
    PULSE_ANSWER = 1, /* a pulse in return, at once */
    PULSE_BEACON = 2, /* a beacon: its sender does not know the one that it is for */
    PULSE_WISHES
};
struct pulse {
    struct peer_id id; /* the sender's, and the same as in its beacons: */
    uint64_t boot;
    uint64_t instance;
    uint64_t counter; /* one row of numbers for beacons and pulses */
    uint32_t to;      /* the first four bytes of the receiver's id */
    uint64_t digest;
    uint32_t every_ms; /* the next one to the same peer comes after so long, or a tenth later; 0: none does */
    uint32_t next_ms;  /* the sender's next beacon, likewise */
    enum pulse_wish wish;
    uint32_t epoch; /* of the key, as in a hello */
};

enum node_event_kind {
    EV_START,     /* first event */
    EV_TICK,      /* the wake time has come (harmless at any time) */
    EV_HELLO,     /* a beacon was heard, opened and its source address found usable */
    EV_PULSE,     /* a pulse was heard and opened */
    EV_MESSAGE,   /* bytes over a link */
    EV_LINK_DOWN, /* the connection to `peer` closed */
    EV_REFUSED,   /* nobody listens where `peer` was knocked at */
    EV_ADDRESS,   /* our proven address and interface, or empty when there is none any more */
    EV_HOST,      /* what this host is (from INSPECT, networks from the kernel) */
    EV_STEP_PROGRESS,
    EV_STEP_DONE,
    EV_LEAVE,      /* the user asks this host to leave; `force`: local part only */
    EV_KUBECONFIG, /* the user asks for the admin kubeconfig; answered by ACT_REPLY with bytes */
    EV_FIX,        /* the user asks to mend what this host shares with another; answered by ACT_REPLY */
    EV_SURVEY,     /* the user asks how the group looks; answered by ACT_REPLY with a survey */
    EV_REACH,      /* what ACT_REACH asked for is done */
    EV_ROTATE,     /* the user asks for a new key; answered by ACT_REPLY */
    EV_EVICT,      /* the user asks for one without member `who`; answered by ACT_REPLY */
    EV_HANDED,     /* a datagram of kind SEAL_KEY came, under one of our keys */
    EV_RETRY,      /* the user ran `up` again: try what failed once more */
    EV_VERIFY,     /* the user asks for a test pod to be tried; answered by ACT_REPLY with a verification */
    EV_STOPPING,   /* the agent is told to stop, and will without another event */
    EV_GONE,       /* whoever made `request` has gone away and waits no more */
};

struct host_nets {
    size_t net_count;
    char net[FACTS_NETS_MAX][STEP_CIDR_BYTES]; /* the host's own connected networks */
    size_t mac_count;
    uint8_t mac[FACTS_MACS_MAX][6];
};

struct node_event {
    enum node_event_kind kind;
    int64_t wall_ms; /* our wall clock, Unix ms; used by EV_START and EV_HELLO */
    const struct hello *hello;
    const struct pulse *pulse;
    char address[STEP_ADDRESS_BYTES];     /* EV_HELLO: where the sender was heard; EV_ADDRESS: our own */
    char interface[STEP_INTERFACE_BYTES]; /* EV_ADDRESS */
    struct peer_id peer;  /* EV_MESSAGE: as the transport authenticated it; EV_LINK_DOWN, EV_REFUSED */
    const uint8_t *bytes; /* EV_MESSAGE, EV_HANDED */
    const char *who;      /* EV_EVICT: a name or an id */
    size_t n;
    const struct facts *facts;    /* EV_HOST, or NULL */
    const struct host_nets *nets; /* EV_HOST, or NULL */
    const struct step_progress *progress;
    const struct step_result *result;
    const struct reach_report *reach; /* EV_REACH */
    bool force;                       /* EV_LEAVE */
    uint32_t timeout_ms;              /* EV_VERIFY */
    uint64_t request; /* EV_ROTATE, EV_EVICT, EV_LEAVE, EV_KUBECONFIG, EV_FIX, EV_SURVEY, EV_VERIFY: repeated
                         in ACT_REPLY; EV_GONE */
};

enum action_kind {
    ACT_BEACON,  /* announce `hello` on every usable interface now */
    ACT_PULSE,   /* send `pulse` to the host at `address`, where `peer` was heard, and its `port` */
    ACT_SEND,    /* send bytes to peer over its link, or drop them if there is none */
    ACT_PERSIST, /* store bytes under `store`, synced, before any later action; if that fails, stop the agent
                    at once */
    ACT_RUN,     /* ask the executor for `step` */
    ACT_CANCEL,  /* stop step `step.id`; its result still comes */
    ACT_LINK, /* admit `peer`, who is at address:port with its box_pk, and connect as need be; `keep`: always
                 (again, if anything changed) */
    ACT_UNLINK, /* close it and admit it no more */
    ACT_KNOCK,  /* ask the host of the linked `peer` whether anybody listens there; EV_REFUSED if not */
    ACT_HAND,   /* send the datagram to the host at `address`, where it was just heard */
    ACT_EVENT,  /* tell those who watch */
    ACT_REPLY,  /* the answer to a user's request: code, text, hint; bytes when there are any (secret) */
    ACT_REACH,  /* open the survey's listeners, try the others, or close; answered by EV_REACH */
    ACT_RENEW,  /* this identity is used by another live host: wipe identity and state, start again */
    ACT_STOP,   /* this host has left: stop the agent */
};

enum event_kind {
    EVENT_AGENT_STARTED,
    EVENT_MEMBER_DISCOVERED,
    EVENT_MEMBER_ALIVE,
    EVENT_MEMBER_SUSPECT,
    EVENT_MEMBER_FAILED,
    EVENT_MEMBER_LEFT,
    EVENT_ADDRESS_PROVEN,
    EVENT_ADDRESS_LOST,
    EVENT_ELECTORATE_BOUND,
    EVENT_ELECTORATE_CONSTITUTED,
    EVENT_ELECTORATE_RELEASED,
    EVENT_ELECTION_STARTED,
    EVENT_ELECTED,
    EVENT_LEASE_LOST,
    EVENT_INIT_STARTED,
    EVENT_INIT_FINISHED,
    EVENT_RECORD_COMMITTED,
    EVENT_TICKET_ISSUED,
    EVENT_TICKET_OPENED,
    EVENT_JOIN_STARTED,
    EVENT_JOIN_FINISHED,
    EVENT_NODE_READY,
    EVENT_STEP_STARTED,
    EVENT_STEP_PROGRESS,
    EVENT_STEP_FINISHED,
    EVENT_STEP_FAILED,
    EVENT_CONFLICT,
    EVENT_PHASE,
    EVENT_BLOCKED,
    EVENT_RENAMED,
    EVENT_LEFT,
    EVENT_KEY_ROTATED,
    EVENT_KEY_CLOSED,
    EVENT_EVICTED,
    EVENT_CONSOLE_SERVED,     /* the admin kubeconfig went to a member */
    EVENT_CONSOLE_REFUSED,    /* or did not, since it has no right to it */
    EVENT_VERIFY_STARTED,     /* a test pod is tried, for a member */
    EVENT_INVITED,            /* this and the next two are the agent's, not the core's */
    EVENT_KEY_GIVEN,          /* to a guest */
    EVENT_INVITATION_SPOILED, /* by too many tries */
    EVENT_KIND_COUNT
};
const char *event_word(enum event_kind kind); /* "member-discovered" */

struct action {
    enum action_kind kind;
    struct peer_id peer;  /* PULSE, SEND, LINK, UNLINK, KNOCK; EVENT: the member it is about, or zero */
    const uint8_t *bytes; /* SEND, HAND, PERSIST, REPLY; owned by the node until its next step */
    size_t n;
    enum store_key store;
    const struct hello *hello;          /* BEACON */
    struct pulse pulse;                 /* PULSE */
    const struct step *step;            /* RUN, CANCEL */
    const struct reach_order *reach;    /* REACH */
    const struct survey_report *survey; /* REPLY to EV_SURVEY; valid until the next step */
    const struct verify_report *verify; /* REPLY to EV_VERIFY; likewise */
    char address[STEP_ADDRESS_BYTES];   /* PULSE, LINK, HAND; EVENT address-proven */
    uint16_t port;
    uint8_t box_pk[BOX_PK_BYTES];
    bool keep;
    enum event_kind event;
    char name[STEP_NAME_BYTES]; /* EVENT: the member's name, or the step's word */
    char text[256];             /* EVENT: detail; REPLY: message */
    char hint[ERR_HINT_BYTES];
    uint64_t term;    /* EVENT: elected, record-committed */
    uint32_t took_ms; /* EVENT: step and phase durations, 0 where none */
    int code;         /* EVENT step-failed; REPLY */
    uint64_t request; /* REPLY */
};

struct actions {
    const struct action
        *list; /* in the order in which to carry them out; owned by the node until its next step */
    size_t count;
    uint64_t wake_ms; /* call again with EV_TICK at this time at the latest */
};

/* Takes one event. Returns 0; KPEER_ENOMEM leaves the node unusable (stop it). Bad input from outside is
 * counted and dropped, never an error here. */
int node_step(struct node *node, const struct node_event *event, uint64_t now_ms, struct actions *out);

/* Views for the user interface; valid until the next step. */
struct member_view {
    struct peer_id id;
    char name[STEP_NAME_BYTES];
    char address[STEP_ADDRESS_BYTES];
    enum member_role role;
    enum member_state state;
    enum phase phase;
    char version[STEP_VERSION_BYTES];
    char kubernetes_version[STEP_VERSION_BYTES];
    bool self;
    uint64_t last_heard_ms; /* ago; 0 for ourselves */
    uint64_t phase_ms;      /* how long it has been in this phase, as far as seen from here */
    char note[128];         /* what it waits for or why it failed; may be empty */
};

struct node_status {
    enum phase phase;
    enum member_role role;
    char address[STEP_ADDRESS_BYTES];
    char interface[STEP_INTERFACE_BYTES];
    char waiting[256]; /* what this host waits for, in a person's words; may be empty */
    char error[256];   /* last error; may be empty */
    char hint[ERR_HINT_BYTES];
    bool healthy;        /* ready and nothing amiss */
    uint32_t electorate; /* members of the set this peer is bound to; 0: none */
    bool constituted;
    uint32_t expect;
    uint64_t term;
    struct peer_id leader; /* zero: none known */
    char leader_name[STEP_NAME_BYTES];
    uint64_t lease_left_ms; /* of our own lease */
    uint64_t dropped[8];    /* bad input by reason: see node_drop_word */
    uint32_t steps_running;
};

size_t node_member_count(const struct node *node);
void node_member_view(const struct node *node, size_t i, uint64_t now_ms,
                      struct member_view *out); /* self first, then by name */
void node_status_view(const struct node *node, uint64_t now_ms, struct node_status *out);
/* The committed record, or NULL. */
const struct record *node_record(const struct node *node);
const uint8_t *node_group_id(const struct node *node); /* GROUP_ID_BYTES */
/* The keys that this node holds, as of its last step; lives as long as the node. */
const struct keyring *node_keyring(const struct node *node);
const struct peer_id *node_id(const struct node *node);
const char *node_drop_word(size_t i); /* i < 8 */

#endif
