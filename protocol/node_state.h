/*
 * The inside of struct node, shared by the node_*.c files and nobody else.
 *
 *   node.c         construction, the one entry, what happens at the end of each step
 *   node_store.c   what outlives a crash: promises, the committed record, the member snapshot
 *   node_members.c who is known, and formation's view of them; what the others stand on
 *   node_out.c     actions and events
 *   node_hello.c   beacons, and whom to ask for news
 *   node_net.c     messages that come in
 *   node_send.c    messages that go out
 *   node_alive.c   liveness
 *   node_pulse.c   neighbours that tell each other that they are there
 *   node_work.c    what this host does next: the ordered steps from inspection to ready
 *   node_result.c  what the outcome of a step changes; founding
 *   node_join.c    asking for a ticket, opening and using it
 *   node_leave.c   leaving
 *   node_serve.c   what the control plane does for others: tickets, proofs, removals, the admin kubeconfig
 *   node_verify.c  a test pod for whoever asks for one
 *   node_survey.c  how the hosts of the group see each other, asked for by a user
 *   node_rename.c  names and machine-ids that several hosts share
 *   node_key.c     the group's keys: rotation, eviction, members that come back with an older key
 *   node_view.c    what the user interface sees
 */
#ifndef KPEER_NODE_STATE_H
#define KPEER_NODE_STATE_H

#include "protocol/formation.h"
#include "protocol/gossip.h"
#include "protocol/keyring.h"
#include "protocol/node.h"
#include "protocol/seal.h"
#include "protocol/statement.h"
#include "protocol/survey.h"
#include "protocol/ticket.h"

#define MEMBERS_MAX      1024
#define RUNNING_MAX      48
#define SIDE_MAX         16 /* steps at once for others */
#define PENDING_MAX      8  /* users' requests that wait for another host */
#define SMALL_GROUP      16 /* up to this many members everybody is told directly, and kept connected with */
#define CLOSE_GROUP      5  /* up to this many members everybody listens to everybody, at each beat */
#define NEWS_MS          50 /* in a larger one, of 32, what others say is collected this long and passed on … */
#define FORMATION_GAP_MS 40  /* … and formation looks at what they say so often; in proportion for others */
#define NEWS_SOME        4   /* to so many */
#define NEWS_MAX         256 /* so much of it: what is beyond, the others find for themselves */

/* What the control plane does for one member. Step ids are 0 while nothing runs. */
struct job {
    uint64_t served_nonce; /* ticket request that was answered */
    uint32_t mint_step;
    uint64_t mint_nonce; /* ticket request that mint_step is for */
    uint32_t stale_step;
    bool stale_gone; /* an old Node of that name was deleted for this request */
    char token[STEP_TOKEN_BYTES];
    uint64_t token_until_ms; /* 0: none out */
    uint32_t revoke_step;
    uint32_t reach_step;
    char reaching[STEP_ADDRESS_BYTES]; /* what reach_step asks for */
    char reached[STEP_ADDRESS_BYTES];
    uint32_t drain_step;
    uint32_t delete_step;
    bool drained;
    uint64_t left_nonce; /* removal that was done */
    uint64_t retry_ms;
    bool gone;          /* an evicted member's Node is deleted */
    struct grant grant; /* as last told */
    bool changed;
};

/* What formation needs of a profile: see node_profile_taken. */
struct outline {
    bool presentable; /* would be in a set proposed now, if alive */
    bool able;
    bool hopeful;
    bool awaited;
    uint32_t rank;
    uint32_t expect;
};

struct member {
    /* What a step looks at in every member comes first and close together, so that many are looked at fast.
     */
    struct peer_id id;
    enum member_state state; /* changed by node_set_state alone */
    bool self;
    bool keyed; /* sign_pk known */
    bool heard; /* in this run */
    bool linked;
    bool kept; /* its link is always to be connected */
    bool has_profile;
    bool evicted;
    bool entitled;        /* it was a member when we took the newest key: may still speak under an open one */
    uint32_t key_epoch;   /* of the newest key that it has, as far as known */
    uint32_t heard_epoch; /* that its last beacon was under */
    struct outline outline;
    uint64_t heard_ms;
    uint64_t since_ms; /* its silence counts from here: since then, or later where we gave it time */
    uint32_t next_ms;  /* it said then that it will be heard by all after so long … */
    uint32_t every_ms; /* … and by us as its neighbour; 0: we are none */
    bool near;         /* a neighbour of ours: it gets our pulses */
    uint64_t suspect_ms;
    /* Since it was heard: */
    uint8_t asked;       /* how often it was asked whether it is there */
    bool knocked;        /* its host was asked */
    uint64_t doubted_ms; /* when another said that it is silent or has failed; 0: nobody did */
    uint64_t tried_ms;   /* … and when that was last, also before it was heard */
    bool stopping;       /* it said that its agent stops, maybe to start again */
    uint64_t allowed_ms; /* for our own lateness */
    uint64_t digest;
    uint64_t pulled_ms;
    struct ballot *ballot; /* NULL: not known */

    uint8_t sign_pk[SIGN_PK_BYTES];
    uint8_t box_pk[BOX_PK_BYTES];
    uint64_t boot;
    uint64_t instance;
    uint64_t hello_counter;   /* of its last beacon … */
    uint64_t pulse_counter;   /* … and pulse */
    uint64_t message_counter; /* highest seen of this instance */
    uint64_t message_window;  /* bit i: message_counter - i was seen */
    uint64_t discovered_ms;
    char address[STEP_ADDRESS_BYTES];
    uint16_t port;
    uint64_t handed_ms;       /* when it was last handed the newest key; 0: never */
    uint64_t surveyed_ms;     /* when it had us try the others last; 0: never */
    uint64_t verified_ms;     /* when the last test pod for it was begun; 0: never */
    uint64_t record_given_ms; /* our record, to one that has another; 0: never */
    int64_t clock_offset_ms;
    uint64_t profile_boot;  /* the start in which it was told */
    struct profile profile; /* whoever writes to it calls node_profile_taken */
    uint64_t phase_since_ms;
    struct job job;
};

struct running {
    uint32_t id; /* 0: free */
    enum step_kind kind;
    struct peer_id subject;
    uint64_t started_ms;
    uint64_t request;
};

/* A survey that this host takes part in, as its asker told it. */
struct part {
    uint64_t survey; /* 0: none */
    struct peer_id asker;
    uint8_t key[SURVEY_KEY_BYTES];
    bool opened;
    bool trying;
    uint16_t mtu;
    uint8_t listen[SURVEY_PORTS];
    uint64_t until_ms;
};

/* A founder that was just started knows nobody for a member of its cluster yet, and drops what is asked of
 * it: it is asked again so often. */
#define FOUNDER_AGAIN_MS 1000

/* A kubeconfig that our user waits for. */
struct pending {
    uint64_t request; /* 0: free */
    uint64_t until_ms;
    uint64_t again_ms; /* when to ask once more */
};

/* `kpeer verify`: the one that runs here, on the control plane, and the one that our user waits for. */
struct verify {
    uint32_t step; /* 0: none runs here */
    struct peer_id asker;
    uint64_t asker_instance; /* only that start of it knows of it */
    uint64_t asked;          /* the asker's own number for it */
    bool stopped;            /* it was told to end */
    uint64_t request;        /* of our user, that went to the founder; 0: none did */
    uint64_t instance;       /* … to this start of it */
    uint32_t timeout_ms;     /* … for so long a trial */
    uint64_t again_ms;       /* when to ask it once more; 0: it has begun */
    uint64_t until_ms;       /* when to wait no longer for its next word */
    uint64_t last_ms;        /* … for its last */
};

enum preflight { PREFLIGHT_UNKNOWN = 0, PREFLIGHT_GREEN, PREFLIGHT_RED };
enum leave_stage { LEAVE_NONE = 0, LEAVE_REMOVAL, LEAVE_RESET, LEAVE_UNDO, LEAVE_DONE };

/* What this host has done and does. The first three are durable. */
struct work {
    char founding[STEP_ID_BYTES]; /* cluster id of an init that was begun here; empty: none */
    bool proposed;                /* its record was proposed: others may have accepted it */
    char joined[STEP_ID_BYTES];   /* cluster that this host is part of */
    bool have_facts;
    bool have_nets;
    bool rename_once;                 /* the user asked for it */
    bool stale_facts;                 /* they are to be read anew */
    unsigned renames;                 /* in this run */
    char first_name[STEP_NAME_BYTES]; /* before them */
    char new_name[STEP_NAME_BYTES];   /* that the step under way gives */
    bool fixed;                       /* what could be mended was, since the last look that was red */
    enum preflight preflight;
    enum step_role preflight_role;
    bool master_red; /* fit as a worker only */
    bool prepared;
    char ca_hash[STEP_HASH_BYTES];
    bool inited;
    bool applied;
    bool need_reset;
    bool proved;
    char step_address[STEP_ADDRESS_BYTES];   /* of ours, that the main step under way goes by */
    char plane_address[STEP_ADDRESS_BYTES];  /* of ours, that the last init was for */
    char proven_address[STEP_ADDRESS_BYTES]; /* of ours, that the last proof was asked for */
    char missing[160];                       /* what the proof under way waits for */
    char pod_address[STEP_ADDRESS_BYTES];
    char reached[STEP_ADDRESS_BYTES];
    bool ready_told;
    bool have_ticket;
    struct ticket ticket; /* secret inside */
    uint64_t ticket_nonce;
    uint32_t ticket_start; /* of the founder's, that was asked */
    uint64_t ticket_asked_ms;
    uint64_t ticket_used_nonce;
    uint32_t main_step; /* 0: none */
    enum step_kind main_kind;
    uint64_t retry_ms; /* run no main step before */
    uint64_t reset_ms; /* reset nothing before */
    uint32_t failures; /* in a row */
    uint64_t able_ms;  /* would not found before */
    enum leave_stage leaving;
    bool leave_force;
    uint64_t leave_request;
    uint64_t leave_nonce;
    uint64_t leave_until_ms;
    enum phase phase;
    uint64_t phase_since_ms;
    bool failed;
    char error[256];
    char hint[ERR_HINT_BYTES];
    char blocked[256]; /* what the group's check found */
    char blocked_hint[ERR_HINT_BYTES];
};

/* The group's keys, and a rotation under way: node_key.c. */
struct keys {
    struct keyring ring;
    bool evicted;        /* this host is */
    uint64_t taken_ms;   /* since when the newest is there and an older one open; 0: no such */
    uint64_t settled_ms; /* since when nobody alive uses an older one; 0: somebody does */
    uint64_t dirty_ms;   /* since when there is something to be stored; 0: nothing is */
    uint64_t request;    /* of our user, who waits for the end of the rotation */
    uint32_t filed;      /* epoch of the key in the key file, as far as known */
    uint32_t filing;     /* … and that the step under way writes */
    uint32_t file_step;  /* 0: none */
    uint64_t file_ms;    /* try no other one before */
    uint64_t expire_ms;  /* look again for what is over */
};

struct node {
    struct node_config cfg;
    const struct identity *me;
    struct keys keys;
    uint8_t group_id[GROUP_ID_BYTES];
    uint8_t rng_key[32]; /* in guarded memory with the rest of the node */
    uint64_t rng_count;
    uint64_t instance;
    uint64_t boot;
    bool started;
    bool stopped;
    uint64_t start_ms;
    int64_t start_wall_ms;
    uint64_t now_ms;
    int64_t wall_ms;

    char address[STEP_ADDRESS_BYTES];
    char interface[STEP_INTERFACE_BYTES];
    struct facts facts;
    struct host_nets nets;

    struct member *member[MEMBERS_MAX]; /* ascending by id; ourselves included */
    size_t member_count;
    struct member *self;    /* among them */
    uint64_t alive_ms;      /* none of them becomes suspect or failed before; 0: look */
    uint32_t alive_count;   /* of them, those who are alive or suspect */
    uint64_t wake_ms;       /* when the next step was due at the latest; 0: before the first */
    uint64_t late_ms;       /* how much later it came lately … */
    uint64_t late_until_ms; /* … which is remembered so long */
    uint64_t missed_ms;     /* when somebody was last found silent or failed, and others were told so */
    uint64_t lost_ms;       /* when somebody was last found failed; 0: never */
    uint64_t moved_ms;      /* when something changed that all are to learn of */
    uint64_t pulse_ms;      /* when the neighbours are to be told that we are there */
    uint64_t cleared_ms;    /* when we last said that we are there although somebody doubts it */
    struct gossip gossip;
    struct formation formation;
    uint64_t keep_since_ms;
    uint64_t keep_ms;      /* when net_keep is to look, since somebody came or went; 0: no need */
    bool keep_alone;       /* … who does so alone, as far as seen */
    uint64_t kept_ms;      /* when it looked last */
    bool formation_stale;  /* something changed that formation looks at … */
    uint64_t formation_ms; /* … and when to run it anyway */
    uint64_t formed_ms;    /* when it ran last */
    bool hears;            /* this step is about what another says, or the time */
    struct ballot told;    /* room to read one */
    uint32_t expected;     /* the largest number that anybody alive was told to wait for */
    bool was_able;         /* to found, when formation ran last */
    bool group_checked;    /* nothing that the group's check looks at has changed since it looked */
    struct formation_peer peers[MEMBERS_MAX]; /* formation's input, refreshed in place */
    uint8_t *cluster_blob;                    /* the committed record, encoded */
    size_t cluster_bytes;
    struct record record;
    uint64_t record_digest; /* its share of the digest; 0: none */
    bool committed;
    uint64_t conflict_ms; /* last told */
    struct record other;  /* of a second cluster in the group, as its majority signed it */

    struct work work;
    struct running running[RUNNING_MAX];
    uint32_t last_step_id;
    struct pending pending[PENDING_MAX];
    struct verify verify;
    struct part part;
    struct asking *asking; /* a survey that our user asked for; NULL: none (node_survey.c) */
    uint64_t surveyed_ms;  /* when we asked for one last; 0: never */

    uint64_t hello_counter;
    uint64_t message_counter;
    uint32_t statement_count;
    uint64_t beacon_ms;      /* when the next is due */
    uint64_t beacon_sent_ms; /* when the last was sent; 0: none was */
    uint64_t pull_ms;        /* ask nobody for news before */
    uint32_t beacons_sent;
    uint64_t agreed; /* every digest that we were told was this one; 0: not so */
    struct gossip_key news[NEWS_MAX];
    size_t news_count;
    uint64_t news_ms;          /* when to pass on what is new; 0: nothing is */
    uint64_t passed_ms;        /* when it was done last */
    uint64_t members_dirty_ms; /* 0: the snapshot is up to date */
    struct hello hello;
    uint8_t profile_told[STATEMENT_PAYLOAD_MAX];
    size_t profile_told_bytes;
    uint64_t dropped[8];

    struct action *action;
    size_t action_count;
    size_t action_room;
    struct action spare;
    struct {
        void *p;
        size_t n;
    } * owned; /* what the actions point to */
    size_t owned_count;
    size_t owned_room;
    bool no_memory;
};

enum drop {
    DROP_FOREIGN,
    DROP_MALFORMED,
    DROP_FORGED,
    DROP_REPLAYED,
    DROP_UNKNOWN,
    DROP_STALE,
    DROP_STATE,
    DROP_LIMIT
};

static inline bool net_reachable(const struct member *m)
{
    return !m->self && m->linked && (m->state == STATE_ALIVE || m->state == STATE_SUSPECT);
}

/* node_members.c */
uint64_t node_random(struct node *n);
void node_random_bytes(struct node *n, uint8_t *out, size_t bytes);
struct member *node_self(struct node *n);
struct member *node_member(struct node *n, const struct peer_id *id);
/* Finds or makes; NULL when there is no room or memory. */
struct member *node_member_add(struct node *n, const struct peer_id *id);
const char *node_name_of(struct node *n, const struct peer_id *id);
struct formation_input node_formation_input(struct node *n);
/* The group's check of itself before it founds; a new fault is told. */
void node_check_group(struct node *n);
void node_set_state(struct node *n, struct member *m, enum member_state state);
/* Draws from a new profile what formation needs of it. */
void node_profile_taken(struct node *n, struct member *m);
bool node_is_founder(const struct node *n);
uint32_t node_alive_count(const struct node *n);
/* A pause of `ms` in a group of 32, in proportion for others: the more there are the more each one hears. */
uint64_t node_pause_ms(const struct node *n, uint64_t ms);
uint32_t node_expected(const struct node *n);
const char *node_kubernetes_version(const struct node *n);

/* node_store.c */
#define NODE_SNAPSHOT_MS 5000 /* a changed member list is stored this much later */
int node_load_promises(struct node *n, const struct stored *s, struct err *err);
int node_load_members(struct node *n, const struct stored *s, struct err *err);
void node_persist_promises(struct node *n);
void node_persist_members(struct node *n);
/* Takes a verified record for good. 1: adopted, 0: known already, negative: not ours to adopt. */
int node_adopt(struct node *n, const uint8_t *blob, size_t bytes);

/* node_out.c */
void out_begin(struct node *n);
void out_free(struct node *n);
struct action *out_action(struct node *n, enum action_kind kind);
/* Copies bytes for the actions of this step; NULL when out of memory. */
void *out_copy(struct node *n, const void *bytes, size_t bytes_n);
/* Takes a malloc'ed buffer over, to be wiped and freed at the next step. False when out of memory: then it is
 * gone already. */
bool out_own(struct node *n, void *p, size_t bytes_n);
struct action *out_event(struct node *n, enum event_kind kind, const struct peer_id *member);
void out_text(struct action *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void out_reply(struct node *n, uint64_t request, int code, const char *text, const char *hint);
/* Starts a step; returns its id, or 0. */
uint32_t out_run(struct node *n, struct step *step, const struct peer_id *subject, uint64_t request);
void out_cancel(struct node *n, uint32_t id);

/* node_hello.c */
void net_hello(struct node *n, const struct node_event *ev);
void net_say_stopping(struct node *n);
/* The next beacon goes out within milliseconds: somebody wants to know that we are here. */
void net_answer(struct node *n);
/* Something changed, and all are to be heard at each beat for a while, and to hear of it. */
void net_stir(struct node *n);
/* Of what this host keeps; others' are compared with it. */
uint64_t net_digest(const struct node *n);
/* A peer's digest was heard. */
void net_digest_heard(struct node *n, struct member *m, uint64_t digest);
void net_tick(struct node *n);
bool node_lives(const struct member *m); /* alive or suspect */
/* Somebody with our identity has told the group a start numbered `boot`: what we say must be newer than that,
 * or it would count no more. */
void net_outbid(struct node *n, uint64_t boot);

/* node_net.c */
#define NET_MESSAGE_MAX   (256 * 1024)
#define NET_ITEMS_MAX     256 /* statements in one push */
#define NET_PULL_AGAIN_MS 500

/* Every message is an array: [type, sender, boot, instance, counter, ...]. docs/protocol.md lists them. */
enum message {
    MSG_PULL = 1,        /* have_record, summary: "this is what I have; give me what I lack" */
    MSG_PUSH = 2,        /* [statement...], record or nil */
    MSG_LEASE_ASK = 3,   /* set, term, round */
    MSG_LEASE_GRANT = 4, /* set, term, round */
    MSG_PROBE = 5,       /* target, origin: "is target there?"; to another than the target: "ask it for me" */
    MSG_PROBE_ACK = 6,   /* target, origin: "target is there", for origin */
    MSG_CONFIG_ASK = 7,  /* request: the admin kubeconfig, please */
    MSG_CONFIG_GIVE = 8, /* request, code, box */
    MSG_SURVEY_ASK = 9,  /* survey, key: "open your listeners" */
    MSG_SURVEY_READY = 10, /* survey, busy, mtu, wall_ms, listen */
    MSG_SURVEY_GO = 11,    /* survey, [[id, mtu, listen] ...]: "try each other" */
    MSG_SURVEY_TELL = 12,  /* survey, tcp, heard */
    MSG_SURVEY_END = 13,   /* survey */
    MSG_VERIFY_ASK = 14,   /* request, timeout_ms: try a test pod, please; 0: no longer */
    MSG_VERIFY_TELL = 15,  /* request, done, code, text, hint, findings: how it goes, or how it went */
    MSG_COUNT
};

void net_message(struct node *n, const struct node_event *ev);
void net_take(struct node *n, const uint8_t *wire, size_t bytes, bool stored);
void net_drop(struct node *n, enum drop why);
/* False for what an earlier start of a peer said. A later start makes what the earlier one said count no
 * more. */
bool net_of_this_start(struct member *m, uint64_t boot, uint64_t instance);

/* node_rename.c */
/* Which step gives this host something of its own that it shares with another; STEP_NONE: none has to. */
enum step_kind rename_next(const struct node *n);
void rename_new_name(const struct node *n, char out[static STEP_NAME_BYTES]);
void rename_done(struct node *n, enum step_kind kind);
void rename_request(struct node *n, uint64_t request);
void rename_tick(struct node *n);

/* node_survey.c */
void survey_request(struct node *n, uint64_t request);
void survey_reach(struct node *n, const struct reach_report *r);
void survey_message(struct node *n, struct member *m, enum message type, struct pack_reader *r);
/* A step is about to begin that may need the ports: they are let go of at once. */
void survey_yield(struct node *n);
void survey_tick(struct node *n);
uint64_t survey_wake(const struct node *n);
void survey_free(struct node *n);

/* node_verify.c */
void verify_request(struct node *n, uint64_t request, uint32_t timeout_ms);
void verify_gone(struct node *n, uint64_t request);
void verify_message(struct node *n, struct member *m, enum message type, struct pack_reader *r);
/* What is told of the step that runs here. */
void verify_progress(struct node *n, uint32_t step, const char *text);
void verify_result(struct node *n, const struct step_result *r);
void verify_tick(struct node *n);
uint64_t verify_wake(const struct node *n);

/* node_key.c */
int key_init(struct node *n, const struct secret *group_key, struct err *err);
int key_load(struct node *n, const struct stored *s, struct err *err);
void key_start(struct node *n);
void key_fini(struct node *n);
/* What the master told of a member is taken in. */
void key_told(struct node *n, const struct peer_id *subject, const struct rekey *k);
void key_rotate(struct node *n, uint64_t request);
void key_evict(struct node *n, uint64_t request, const char *who);
/* Whether `m` (NULL: not known) may speak under the key of that epoch. */
bool key_lives(const struct node *n, uint32_t epoch); /* it is known, and not closed */
bool key_accepts(const struct node *n, uint32_t epoch, const struct member *m);
/* Somebody spoke under a key that is not accepted from it: a known member is handed the newest. */
void key_stray(struct node *n, const struct node_event *ev);
void key_handed(struct node *n, const struct node_event *ev);
void key_heard(struct member *m, uint32_t epoch);
/* The key for the next beacon, and for a message to one member. */
uint32_t key_beacon(const struct node *n);
const struct seal *key_seal(const struct node *n, const struct member *to);
uint32_t key_for(const struct node *n, const struct member *to); /* its epoch */
/* Opens a message under whichever key it is; as seal_open. */
int key_open(const struct node *n, const uint8_t *bytes, size_t bytes_n, uint8_t *out, size_t *out_n,
             uint32_t *epoch);
void key_tick(struct node *n);
uint64_t key_wake(const struct node *n);
void key_filed(struct node *n, const struct step_result *r);
void key_show(const struct node *n, struct node_status *out);

/* node_send.c */
/* A message of `type` with so many fields beyond the common ones, to be filled and posted. */
void net_begin(struct node *n, struct pack_writer *w, enum message type, size_t fields);
/* Seals what was written and sends it; `to` may be NULL. */
void net_post(struct node *n, struct pack_writer *w, const struct member *to);
void net_publish_profile(struct node *n);
void net_publish_ballot(struct node *n);
void net_publish_grant(struct node *n, struct member *m);
void net_push_cluster(struct node *n);
/* Signs a statement and keeps it, without telling anybody yet. False when out of memory. */
bool net_state(struct node *n, enum statement_kind kind, const struct peer_id *subject,
               const uint8_t *payload, size_t bytes);
/* Tells all of our own statements of a kind. */
void net_push_kind(struct node *n, enum statement_kind kind);
void net_ask_lease(struct node *n);
void net_probe(struct node *n, const struct member *to, const struct peer_id *target,
               const struct peer_id *origin);
void net_ask_kubeconfig(struct node *n, const struct member *founder, uint64_t request);
void net_give_kubeconfig(struct node *n, const struct member *to, uint64_t request, int code,
                         const uint8_t *bytes, size_t bytes_n);
void net_ack(struct node *n, const struct member *to, const struct peer_id *target,
             const struct peer_id *origin);
void net_grant_lease(struct node *n, const struct member *to, const uint8_t set_id[static SET_ID_BYTES],
                     uint64_t term, uint64_t round);
void net_push(struct node *n, const struct gossip_item *item, bool record);
void net_introduce(struct node *n, const struct member *to); /* tells it who we are */
/* In a large group: passes a new statement on to some others soon, together with what comes until then. */
void net_pass_on(struct node *n, const struct statement *s);
void net_news_tick(struct node *n);
void net_pull(struct node *n, struct member *m);
/* Sends what the summary lacks; true when it names something newer than ours. The reader tells of faults. */
bool net_give(struct node *n, struct member *to, struct pack_reader *summary, bool has_record);

/* node_links.c */
void net_link(struct node *n, struct member *m, const struct node_event *ev);
/* Tells the transport which links are always to be connected, when that is due. */
void net_keep(struct node *n);
void net_keep_soon(struct node *n); /* somebody came or went */

/* node_alive.c */
void alive_heard(struct node *n, struct member *m);
void alive_link_down(struct node *n, struct member *m);
void alive_refused(struct node *n, struct member *m);
/* The step comes later than was asked for (0: no time was). */
void alive_late(struct node *n, uint64_t due_ms);
void alive_stopping(struct node *n, struct member *m, bool stopping);
void alive_doubted(struct node *n, const struct hello *h);
void alive_left(struct node *n, struct member *m);
void alive_evicted(struct node *n, struct member *m);
void alive_tick(struct node *n);
uint64_t alive_wake(struct node *n);
uint64_t alive_beat_ms(const struct node *n);

/* node_pulse.c */
void pulse_heard(struct node *n, const struct node_event *ev);
void pulse_send(struct node *n, const struct member *to, enum pulse_wish wish);
/* Somebody came or went: the neighbours may be others. */
void pulse_soon(struct node *n);
void pulse_tick(struct node *n);
uint64_t pulse_wake(const struct node *n);

/* node_work.c */
#define WORK_RECHECK_MS     30000 /* what was refused is looked at again, since the user may be mending it */
#define WORK_TICKET_WAIT_MS 60000 /* then ask again: the control plane may have lost the request */
void work_start(struct node *n);
void work_tick(struct node *n);
void work_retry(struct node *n);
/* Brings our own profile up to date in what hangs on the work; true if that changed it. */
bool work_put_profile(struct node *n, struct profile *p);
uint64_t work_wake(const struct node *n);
bool work_able(const struct node *n);
/* Which step this host would run now; the order of things as data. */
enum step_kind work_next(const struct node *n);

/* Where this host's API server answers, or would. */
void work_endpoint(const struct node *n, char out[static STEP_ADDRESS_BYTES + 8]);

/* node_result.c */
void work_propose(struct node *n);
void work_lease_lost(struct node *n);
void work_address_changed(struct node *n);
void work_drop_other_founding(struct node *n);
void work_result(struct node *n, const struct running *run, const struct step_result *r);

/* node_join.c */
uint32_t work_founder_start(const struct node *n);
void work_ask_ticket(struct node *n);
void work_grant(struct node *n, const struct grant *g);
void work_use_ticket(struct node *n, struct step *s);

/* node_leave.c */
void work_leave(struct node *n, const struct node_event *ev);
void work_leave_tick(struct node *n);
void work_leave_done(struct node *n);
/* From here on there is no way back: it is stored, so that a start goes on with it. */
void work_leave_reset(struct node *n);
/* How a leave that has begun to take things away is stored: 0: there is none, 1, 2: by force. */
uint64_t work_leave_stored(const struct node *n);
void work_leave_load(struct node *n, uint64_t stored);
/* A step of leaving ended. True: it failed, the user was told, and it will be tried again. */
bool work_leave_failed(struct node *n, const struct step_result *r);

/* node_serve.c */
void serve_tick(struct node *n);
void serve_result(struct node *n, const struct running *run, const struct step_result *r);
void serve_kubeconfig(struct node *n, uint64_t request, const struct peer_id *asker);
uint64_t serve_wake(const struct node *n);

#endif
