/*
 * What peers state to the group: signed, versioned, each with a single writer, carried by gossip.
 *
 *   profile  what a peer is and does: name, address, facts, phase, what it asks of the control plane
 *   ballot   where it stands in the formation: set it is bound to, sets it signed off, term, vote, accepted
 * record grant    what the control plane gives one peer: a sealed ticket, "your pod answers", "your Node is
 * gone"
 *   key      what the master gives one member when it rotates the group's key: the new one, sealed to it
 * alone, or the word that it is evicted
 *
 * A newer version of a statement replaces the older one; nothing else changes it. That is all there is to
 * merging. Owner: node.c and the modules below it. Pure.
 */
#ifndef KPEER_STATEMENT_H
#define KPEER_STATEMENT_H

#include "protocol/node.h"
#include "protocol/pack.h"
#include "protocol/record.h"
#include "protocol/seal.h"

#define STATEMENT_PAYLOAD_MAX (16 * 1024)
#define STATEMENT_WIRE_MAX    (STATEMENT_PAYLOAD_MAX + 512)
#define TICKET_BOX_MAX        512

enum statement_kind { STATEMENT_PROFILE = 1, STATEMENT_BALLOT = 2, STATEMENT_GRANT = 3, STATEMENT_KEY = 4 };

#define REKEY_BOX_BYTES (GROUP_KEY_BYTES + SEAL_BOX_OVERHEAD_BYTES)

struct profile {
    char name[STEP_NAME_BYTES];
    char former_name[STEP_NAME_BYTES]; /* that it gave up, because others have it as well; empty: none */
    char version[STEP_VERSION_BYTES];
    char address[STEP_ADDRESS_BYTES]; /* proven; empty while there is none */
    uint16_t port;
    uint8_t box_pk[BOX_PK_BYTES];
    enum role_pref role;
    enum phase phase;
    bool able; /* would found a cluster if elected: big enough, preflight green, not told to be a worker */
    bool rehearse; /* dry run */
    bool has_facts;
    uint32_t expect;
    struct facts facts;
    struct host_nets nets;
    char pod_cidr[STEP_CIDR_BYTES];
    char service_cidr[STEP_CIDR_BYTES];
    char wanted_version[STEP_VERSION_BYTES];
    char cluster_id[STEP_ID_BYTES];       /* of the cluster this host has joined or founded; empty: none */
    uint64_t ticket_nonce;                /* asks the control plane for a ticket; 0: asks for none */
    uint64_t leave_nonce;                 /* asks it to drain and delete this host's Node */
    uint32_t asked_start;                 /* the start of the control plane's that either is asked of */
    char pod_address[STEP_ADDRESS_BYTES]; /* its probe pod; asks others to see whether it answers */
    char note[128];                       /* what it waits for or why it failed */
    uint32_t key_epoch;                   /* of the newest key of the group that it has */
};

struct ballot {
    bool bound;
    uint32_t floor;      /* every set with a number up to this is signed off by this peer; 0: none */
    uint64_t term;       /* the latest it has seen a candidate stand in, under `set` */
    struct peer_id vote; /* in `term`; zero: none */
    bool accepted;
    uint64_t accepted_term;
    struct record record; /* the accepted one */
    uint8_t accept_sig[SIGNATURE_BYTES];
    struct electorate
        set; /* the set this peer is bound to; last, so that it can be kept without unused room */
};

struct grant {
    struct peer_id subject;
    uint64_t ticket_nonce; /* which request the ticket answers; 0: none */
    uint16_t ticket_bytes;
    uint8_t ticket[TICKET_BOX_MAX];   /* sealed to the subject: protocol/ticket.h */
    char reached[STEP_ADDRESS_BYTES]; /* the subject's probe pod that answered from the issuer's host */
    uint64_t leave_nonce;             /* the subject's Node was drained and deleted for this request */
    char refused[128];                /* why the control plane will not; empty: it does */
};

/* One member's part of a rotation. */
struct rekey {
    uint32_t epoch; /* of the new key; from 1 */
    bool evicted;   /* it gets none, and is no member any more */
    uint8_t box[REKEY_BOX_BYTES];
};

/* A statement as it travels: [kind, owner's key, subject, version, payload, signature]. */
struct statement {
    enum statement_kind kind;
    struct peer_id owner;
    struct peer_id subject; /* of a grant or a key; zero otherwise */
    uint64_t version;       /* boot << 32 | count: rises with each change, over restarts too */
    uint8_t sign_pk[SIGN_PK_BYTES];
    const uint8_t *payload; /* msgpack, borrowed from the wire bytes */
    size_t payload_bytes;
    const uint8_t *signature;
    const uint8_t *wire; /* the whole of it, borrowed */
    size_t wire_bytes;
};

/* Signs and encodes; the caller frees *out. */
int statement_encode(const struct identity *me, const uint8_t group_id[static GROUP_ID_BYTES],
                     enum statement_kind kind, const struct peer_id *subject, uint64_t version,
                     const uint8_t *payload, size_t payload_bytes, uint8_t **out, size_t *out_bytes,
                     struct err *err);
/* Decodes the frame; with `check`, verifies the signature too (KPEER_EAUTH). */
int statement_decode(const uint8_t *wire, size_t n, const uint8_t group_id[static GROUP_ID_BYTES], bool check,
                     struct statement *out, struct err *err);
/* What `check` does, for a frame that was decoded without. */
int statement_verify(const struct statement *s, const uint8_t group_id[static GROUP_ID_BYTES],
                     struct err *err);

/* Payloads. Encode into `out` of STATEMENT_PAYLOAD_MAX bytes, and return the length (0: too large). Decode
 * strictly. */
size_t profile_encode(const struct profile *p, uint8_t out[static STATEMENT_PAYLOAD_MAX]);
int profile_decode(const uint8_t *bytes, size_t n, struct profile *out);
size_t ballot_encode(const struct ballot *b, uint8_t out[static STATEMENT_PAYLOAD_MAX]);
/* A ballot is large: after a failure what *out holds is of no use, but it may have been written to. */
int ballot_decode(const uint8_t *bytes, size_t n, struct ballot *out);
size_t grant_encode(const struct grant *g, uint8_t out[static STATEMENT_PAYLOAD_MAX]);
int grant_decode(const uint8_t *bytes, size_t n, struct grant *out);
size_t rekey_encode(const struct rekey *k, uint8_t out[static STATEMENT_PAYLOAD_MAX]);
int rekey_decode(const uint8_t *bytes, size_t n, struct rekey *out);

/* A ballot inside another encoding (what a peer promised, on its disk). */
void ballot_pack(struct pack_writer *w, const struct ballot *b);
void ballot_unpack(struct pack_reader *r, struct ballot *b);
/* How much of a ballot is in use: so much need be kept of one that is only looked at. */
size_t ballot_bytes(const struct ballot *b);

#endif
