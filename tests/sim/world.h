/*
 * A world for many cores in one process: virtual clock, network, disks and Kubernetes, all drawn from one
 * seed.
 *
 * world.c runs it and knows the order of things; each part that a host stands on has a file of its own:
 *
 *   scenario.c  what will go wrong, drawn from the seed
 *   queue.c     what happens when
 *   host.c      a machine: power, clock, identity, and its core
 *   disk.c      what a host stores, and what is left of it without power
 *   wire.c      beacons and links, and all that a network does to them
 *   kube.c      the executor and the clusters: steps that take time and fail, tokens, who is part of what
 *   trouble.c   the incidents
 *   keys.c      the group's key, its rotations, and the key files
 *   liar.c      a member that lies
 *   survey.c    users who ask how the group looks
 *   watch.c     the invariants of docs/formation.md, checked against what was stored, told and run
 *   promises.c  … those of them that are about what a host has promised
 *   tickets.c   … about tickets and their tokens
 *   heard.c     … about what a host keeps of the others' statements
 *   ending.c    … and how a run must end
 *   story.c     the tale of it all
 *
 * This header is theirs alone; sim.c and shrink.c use run.h.
 */
#ifndef KPEER_TESTS_WORLD_H
#define KPEER_TESTS_WORLD_H

#include <inttypes.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "protocol/node.h"
#include "protocol/seal.h"
#include "protocol/statement.h"
#include "protocol/survey.h"
#include "tests/sim/disk.h"
#include "tests/sim/run.h"
#include "tests/sim/scenario.h"

#define TASKS_MAX    64
#define CLONES_MAX   3
#define RECORDS_MAX  16
#define TOKENS_MAX   4096
#define LIKELY       8192
#define KEYS_MAX     8
#define REMEMBER_MAX 64 /* packets that somebody recorded and may send again */

/* ---- queue.c ---- */

enum happening {
    H_PACKET,
    H_WAKE,
    H_STEP,
    H_START,
    H_LINK_DOWN,
    H_REFUSED,
    H_INCIDENT,
    H_SURVEY,
    H_REACH,
    H_ROTATE
};

struct item {
    uint64_t at_ms;
    uint64_t order; /* of being queued: ties are settled by it */
    enum happening kind;
    uint32_t host;
    uint64_t generation; /* of the host when it was queued, for its own timers and steps */
    struct packet *packet;
    uint32_t number; /* step, incident, or the host that a closed link led to */
};

struct queue {
    struct item *heap;
    size_t count;
    size_t room;
    uint64_t order;
};

void queue_put(struct queue *q, struct item it);
bool queue_take(struct queue *q, struct item *out);
void queue_free(struct queue *q);

/* ---- wire.c ---- */

enum packet_kind {
    PACKET_MESSAGE = 0, /* over a link */
    PACKET_BEACON,      /* to all */
    PACKET_PULSE,       /* to one address, as is … */
    PACKET_KEY,         /* … a key for who comes back */
};

/* One datagram or message on its way; shared by all who will receive it. */
struct packet {
    unsigned holders;
    enum packet_kind kind;
    uint32_t from;
    uint32_t to;           /* where it is no beacon */
    uint64_t taken;        /* the receiver's generation when it took this message in; 0: not yet */
    uint64_t number;       /* rises with each packet */
    struct peer_id sender; /* as a link authenticates it */
    uint8_t box_pk[BOX_PK_BYTES];
    char address[STEP_ADDRESS_BYTES];
    uint8_t *bytes;
    size_t n;
    uint32_t group;
    bool altered;
    bool forged;
    bool opened; /* the beacon inside, opened once for all receivers of its group */
    struct hello hello;
};

/* The latest beacon and the latest pulse that a host took in during this life, and whose they were. */
struct heard {
    struct heard_packet {
        uint64_t number;
        struct peer_id id;
    } beacon, pulse;
};

struct link {
    bool up;
    struct peer_id peer;
    uint8_t box_pk[BOX_PK_BYTES];
};

/* ---- kube.c ---- */

struct task {
    uint32_t id; /* 0: free */
    enum step_kind kind;
    bool canceled;
    bool ended;
    int code;
    char cluster_id[STEP_ID_BYTES];
    char token[STEP_TOKEN_BYTES];
    char node_name[STEP_NAME_BYTES];
    uint32_t ttl_s;
    uint32_t epoch; /* of the key that goes into the file */
    bool welcome;   /* its token was good when it began */
};

struct token {
    char text[STEP_TOKEN_BYTES];
    char joiner[STEP_NAME_BYTES];
    uint32_t issuer;
    uint64_t until_ms;
    uint64_t generation; /* of the issuer: one that started again knows nothing of it */
    bool used;
    bool revoked;
};

struct kube {
    struct task task[TASKS_MAX];
    char built[STEP_ID_BYTES]; /* a control plane, or half of one */
    bool serves;               /* it is whole */
    char joined[STEP_ID_BYTES];
    bool leftover; /* `leave --force` went on although the reset had failed */
    bool told;     /* its core knows that it joined, and asked for no reset since */
};

/* ---- watch.c ---- */

struct vote {
    uint64_t set; /* hash of it */
    uint64_t term;
    struct peer_id peer;
};

/* All that one identity ever promised, as its disk told it; outlives the host. */
struct voter {
    struct peer_id id;
    struct ballot ballot;
    bool constituted;
    bool committed;
    bool lies;
    bool shared; /* with a clone: nobody keeps the promises of both */
    uint32_t vote_count;
    struct vote vote[32]; /* the latest */
    uint32_t bound_count;
    uint64_t bound[32];       /* hashes of the sets it was bound to */
    struct peer_id leased_to; /* another, to whom it granted a lease */
    uint64_t leased_until_ms;
};

/* ---- host.c ---- */

enum fate { FATE_COMES, FATE_GONE, FATE_LEFT };

struct host {
    uint32_t slot;
    uint32_t group;
    bool exists; /* a slot for a clone is empty until it is made */
    bool up;
    bool was_up;
    bool ready;
    enum fate fate;
    uint64_t generation;
    uint32_t starts;
    bool told_elected; /* in some start */
    uint64_t started_ms;
    uint64_t ready_ms; /* since when it is */
    uint64_t paused_until_ms;
    uint64_t stopped_until_ms;
    uint64_t deaf_until_ms;
    uint64_t wake_ms;
    int64_t clock_ms;    /* how far its wall clock is off */
    uint32_t identities; /* that it has had */
    uint8_t identity_seed[32];
    struct identity *identity;
    struct voter *voter;
    struct node *node;
    struct disk disk;
    uint32_t file_epoch; /* of the key in its file */
    bool fresh;          /* it becomes a member: it gets the key of that day */
    char name[STEP_NAME_BYTES];
    char address[STEP_ADDRESS_BYTES];
    uint32_t addresses;
    struct link *link;   /* by slot */
    struct heard *heard; /* by slot */
    struct kube kube;
    uint64_t back_ms;           /* after a leave; FOREVER_MS: never */
    char joined[STEP_ID_BYTES]; /* as its disk says */
    struct kept *kept;          /* heard.c */
    size_t kept_count;
    uint64_t kept_digest;
    bool copied;    /* its machine-id is that of the others */
    uint64_t reach; /* the survey whose listeners are open; 0: none */
    enum reach_what reach_what;
    size_t reach_count;
};

struct parting {
    uint64_t until_ms;
    uint64_t sides;
    bool one_way;
};

struct world {
    const struct scenario *s;
    FILE *story;
    struct outcome *out;
    uint64_t now_ms;
    /* Streams of their own, so that leaving something out changes the rest as little as possible. */
    uint64_t net_rng, kube_rng, host_rng, liar_rng, survey_rng;
    bool alike;       /* all hosts began as copies of one that had no kpeer yet, and rename themselves */
    uint64_t surveys; /* asked for */
    struct queue queue;
    struct secret *key[GROUPS_MAX][KEYS_MAX]; /* by epoch */
    uint32_t newest[GROUPS_MAX];
    bool rotation_planned;
    struct host *host;
    uint32_t slots; /* hosts and room for clones */
    uint32_t ready;
    uint32_t owed;     /* hosts that are there or will come back: all of them must be ready in the end */
    uint64_t quiet_ms; /* something goes wrong until then */
    struct parting parting[INCIDENTS_MAX];
    uint32_t told[EVENT_KIND_COUNT];
    uint32_t pending; /* incidents with a time of their own that are still to come */
    struct packet *memory[REMEMBER_MAX];
    uint64_t packets;
    struct token *token;
    uint32_t token_count;
    struct committed *record[RECORDS_MAX]; /* every committed record that was ever stored */
    uint32_t record_group[RECORDS_MAX];
    size_t record_count;
    uint32_t likely[LIKELY]; /* by the first bytes of an identity: the slot that has or had it */
    struct voter **voter;
    size_t voter_count;
    crypto_generichash_state hash;
};

/* ---- story.c ---- */

void tell(struct world *w, const struct host *h, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* An invariant (1 to 8) is broken; 0: something else that must not be. Only the first is kept. */
void broken(struct world *w, int invariant, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* host.c */
void host_identity(struct world *w, struct host *h);
void host_start(struct world *w, struct host *h);
void host_say_stopping(struct world *w, struct host *h);
void host_crash(struct world *w, struct host *h, uint64_t back_ms);
void host_wipe(struct world *w, struct host *h);
void host_readdress(struct world *w, struct host *h);
void host_clone(struct world *w, const struct host *of, struct host *h);
/* One event for its core; carries out what the core answers. */
void host_feed(struct world *w, struct host *h, const struct node_event *event);
/* One event that must change nothing and be counted (invariant 7). */
void host_feed_again(struct world *w, struct host *h, const struct node_event *event, const char *what);
uint64_t host_dropped(const struct host *h); /* events that its core refused */
void host_count_owed(struct world *w);
void host_free(struct host *h);

/* keys.c */
void keys_make(struct world *w);
void keys_free(struct world *w);
const struct secret *keys_file(const struct world *w, struct host *h);
uint32_t keys_step(struct world *w, const struct host *h,
                   const struct step *s); /* of a STEP_REKEY: its epoch */
/* What a host seals with: its key of that epoch, or else its newest. */
const struct seal *keys_seal(const struct host *h, uint32_t epoch);
/* The key of this host's that a datagram is sealed under; NULL: it has none such. */
const struct ring_key *keys_find(const struct host *h, const uint8_t *bytes, size_t n);
void keys_event(struct world *w, const struct host *h, enum event_kind event);
void keys_rotate(struct world *w, uint32_t number);
bool keys_settled(const struct world *w);

/* wire.c */
static inline size_t likely_place(const struct peer_id *id)
{
    return (id->b[0] | (size_t)id->b[1] << 8) % LIKELY;
}
bool chance(struct world *w, uint32_t per_mille); /* while faults last */
void wire_beacon(struct world *w, struct host *h, const struct hello *hello);
void wire_send(struct world *w, struct host *h, const struct peer_id *to, const uint8_t *bytes, size_t n);
/* Whatever bytes a host likes to send, to everybody and to one. */
void wire_cast(struct world *w, struct host *h, const uint8_t *bytes, size_t n);
void wire_pass(struct world *w, struct host *h, struct host *to, const uint8_t *bytes, size_t n);
/* The same with a message that must change nothing. */
void wire_forge(struct world *w, struct host *h, struct host *to, const uint8_t *bytes, size_t n);
struct host *wire_partner(struct world *w, const struct host *h, const struct peer_id *peer);
void wire_pulse(struct world *w, struct host *h, const struct action *a);
void wire_hand(struct world *w, struct host *h, const struct action *a);
void wire_arrive(struct world *w, struct host *h, struct packet *p);
void wire_link(struct world *w, struct host *h, const struct action *a);
void wire_knock(struct world *w, struct host *h, const struct peer_id *peer);
void wire_unlink(struct host *h, uint32_t slots, const struct peer_id *peer);
void wire_break(struct world *w, struct host *h); /* its links close; some of the others notice */
bool wire_parted(const struct world *w, const struct host *from, const struct host *to);
void wire_replay(struct world *w, struct host *at);
void packet_release(struct packet *p);

/* kube.c */
void kube_run(struct world *w, struct host *h, const struct step *s);
void kube_cancel(struct world *w, struct host *h, uint32_t id);
void kube_end(struct world *w, struct host *h, uint32_t id);
void kube_done(struct world *w, struct host *h, uint32_t id);
void kube_power_off(struct host *h);

/* heard.c */
void heard_after(struct world *w, struct host *h);
void heard_forget(struct host *h);

/* tickets.c */
void ticket_issued(struct world *w, struct host *h, const struct peer_id *joiner);
/* A join begins. True if the cluster takes this token. */
bool ticket_used(struct world *w, struct host *h, const struct token *k);
/* A token that was used is still good, and its issuer could have revoked it. */
bool ticket_outstanding(const struct world *w);
void tickets_end(struct world *w);

/* trouble.c */
void trouble_plan(struct world *w);
void trouble_event(struct world *w, struct host *h, enum event_kind event);
void trouble_happen(struct world *w, uint32_t number, uint32_t host);

/* liar.c */
bool liar_is(const struct world *w, const struct host *h);
void liar_hears(struct world *w, struct host *h);
void liar_beacon(struct world *w, struct host *h, const struct hello *hello);
void liar_message(struct world *w, struct host *h, const struct peer_id *to);

/* survey.c */
void survey_draw(struct world *w);
void survey_plan(struct world *w);
void survey_ask(struct world *w, struct host *h);
void survey_order(struct world *w, struct host *h, const struct reach_order *o);
void survey_reached(struct world *w, struct host *h, uint32_t survey);
void survey_step(struct world *w, struct host *h, const struct step *s);

/* watch.c */
void watch_identity(struct world *w, struct host *h);
void watch_start(struct world *w, struct host *h);
void watch_store(struct world *w, struct host *h, enum store_key key, const uint8_t *bytes, size_t n);
void watch_send(struct world *w, struct host *h, const uint8_t *bytes, size_t n);
void watch_step(struct world *w, struct host *h, const struct step *s);
void watch_event(struct world *w, struct host *h, const struct action *a);
/* After all actions of a step were carried out. */
void watch_after(struct world *w, struct host *h);
/* Everybody that has to be is ready, and nothing is left to come. */
bool watch_done(const struct world *w);
/* Not everybody is ready, and by the rules nobody owes that. */
bool watch_hopeless(const struct world *w);
void watch_end(struct world *w);
/* The slot of an identity that is still with a host, or -1. */
int64_t watch_holder(const struct world *w, const struct peer_id *id);

#endif
