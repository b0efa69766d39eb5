/*
 * A few nodes in one process, for the tests of node: messages arrive at once and in order, steps succeed at
 * once, time jumps from wake to wake. What a test wants to see passes through its hooks.
 */
#ifndef KPEER_TESTS_NODE_WORLD_H
#define KPEER_TESTS_NODE_WORLD_H

#include "protocol/node.h"
#include "protocol/seal.h"
#include "protocol/survey.h"

#define WORLD_PEERS 20

struct world_peer {
    struct identity *me;
    struct node *node; /* NULL: down */
    struct node_config cfg;
    uint8_t *disk[STORE_KEY_COUNT];
    size_t disk_bytes[STORE_KEY_COUNT];
    char address[STEP_ADDRESS_BYTES];
    uint64_t wake_ms;
    uint8_t machine_id; /* 0: its own */
    bool was_node;      /* under a forgotten identity: it is not renamed before it is reset */
    bool stopped;       /* ACT_STOP was seen */
    uint64_t replies;
    int reply_code;
    char reply[256];
    uint32_t rekeyed; /* STEP_REKEY, how often */
};

struct world_mail {
    size_t from, to;
    struct hello hello; /* when bytes is NULL */
    struct pulse pulse; /* … and it has an instance */
    uint8_t *bytes;
    size_t n;
    bool handed;   /* bytes are a datagram that hands a key */
    uint32_t step; /* not 0: the step that is done, of `to` */
    enum step_kind kind;
    int code;                   /* how it ended */
    struct reach_report *reach; /* not NULL: what the sockets of `to` saw; owned */
};

struct world {
    struct secret *key;
    struct seal *seal;
    struct world_peer peer[WORLD_PEERS];
    size_t count;
    uint64_t now_ms;
    struct world_mail *mail; /* a ring would do; a list is simpler */
    size_t mail_count, mail_next, mail_room;
    bool hold; /* actions are looked at and not carried out */
    enum step_kind
        slow; /* steps of this kind end when they are cancelled, or the test says so; STEP_NONE: none */
    uint32_t slow_step; /* the last of them */
    void (*on_event)(struct world *w, size_t who, const struct node_event *ev);
    void (*on_action)(struct world *w, size_t who, const struct action *a);
    void (*on_message)(struct world *w, const struct world_mail *m);
    /* What the sockets saw, before it is told: all is well unless this changes it. */
    void (*on_reach)(struct world *w, size_t who, const struct reach_order *o, struct reach_report *r);
    void *ctx;
};

struct world *world_new(size_t count, uint32_t expect);
void world_free(struct world *w);
/* Starts a peer from its disk, with an address, networks and facts. */
void world_start(struct world *w, size_t who);
void world_stop(struct world *w, size_t who);
/* One event for one peer; everything that follows from it at once is carried out by world_run. */
void world_feed(struct world *w, size_t who, const struct node_event *ev);
/* Lets `for_ms` go by. */
void world_run(struct world *w, uint64_t for_ms);
/* Runs until every peer is ready; false when that takes longer than `most_ms`. */
bool world_run_ready(struct world *w, uint64_t most_ms);

/* Seals `plain` as a message of the world's group; the caller frees *out. */
void world_seal(const struct world *w, const uint8_t *plain, size_t n, uint8_t **out, size_t *out_bytes);
/* Opens one; the caller frees *out. */
void world_open(const struct world *w, const uint8_t *bytes, size_t n, uint8_t **out, size_t *out_bytes);

#endif
