/*
 * Anti-entropy: every peer keeps the newest statement of each kind, owner and subject; a digest of what it
 * keeps rides on its beacon; whoever hears a differing digest asks with a summary and gets what it lacks.
 * Statements are kept and passed on as the signed bytes that came. Pure; owned by node.c.
 */
#ifndef KPEER_GOSSIP_H
#define KPEER_GOSSIP_H

#include "protocol/statement.h"

#define GOSSIP_ITEMS_MAX 4096 /* so many are told in one summary, which fits into a message */

/* What a statement is kept under. */
struct gossip_key {
    struct peer_id owner;
    enum statement_kind kind;
    struct peer_id subject;
};

struct gossip_item {
    struct peer_id owner;
    enum statement_kind kind;
    struct peer_id subject;
    uint64_t version;
    uint64_t hash; /* its share of the digest */
    uint8_t *wire; /* owned */
    size_t wire_bytes;
};

struct gossip {
    struct gossip_item *item; /* ascending by owner, kind, subject */
    size_t count;
    size_t room;
    uint64_t digest;
};

void gossip_fini(struct gossip *g);

/* Keeps a decoded and checked statement if it is newer than what is there. 1: kept, 0: known or older,
 * KPEER_ENOMEM, KPEER_ELIMIT. */
int gossip_put(struct gossip *g, const struct statement *s);
/* True if this version, or a newer one, is there already: then its signature need not be checked at all. */
bool gossip_knows(const struct gossip *g, const struct statement *s);
const struct gossip_item *gossip_find(const struct gossip *g, const struct peer_id *owner,
                                      enum statement_kind kind, const struct peer_id *subject);
/* Forgets everything that this owner said. */
void gossip_forget(struct gossip *g, const struct peer_id *owner);

/* The summary: an array of [owner, kind, subject, version], in the order of the items. */
void gossip_summary_pack(const struct gossip *g, struct pack_writer *w);

/* Compares a peer's summary with what we keep. Calls `lacks` for each item that the peer lacks or has an
 * older version of; returns true in *ahead if the peer has something newer than we do. The reader's faults
 * are the caller's to see. */
void gossip_compare(const struct gossip *g, struct pack_reader *r,
                    void (*lacks)(void *ctx, const struct gossip_item *item), void *ctx, bool *ahead);

#endif
