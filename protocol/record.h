/*
 * The cluster record: the one value that a group decides, and the proof that it was decided.
 *
 * A committed record carries the electorate, the accepting peers' public keys and their signatures, so
 * whoever gets it checks it without trusting the one who brought it (the root side before a join included).
 */
#ifndef KPEER_RECORD_H
#define KPEER_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"
#include "protocol/identity.h"
#include "protocol/pack.h"
#include "protocol/secret.h"
#include "protocol/step.h"

#define ELECTORATE_MAX 512
#define SET_ID_BYTES   32

/* A set of peers that may decide: its members in ascending order of id, and a number that makes a set that
 * was signed off and settled anew with the same members another set. */
struct electorate {
    uint32_t number;
    uint16_t count;
    struct peer_id member[ELECTORATE_MAX];
};

struct record {
    char cluster_id[STEP_ID_BYTES];
    char endpoint[STEP_ADDRESS_BYTES + 8]; /* of the control plane */
    char ca_hash[STEP_HASH_BYTES];
    char kubernetes_version[STEP_VERSION_BYTES];
    char pod_cidr[STEP_CIDR_BYTES];
    char service_cidr[STEP_CIDR_BYTES];
    struct peer_id founder;
    char founder_name[STEP_NAME_BYTES];
    uint64_t term; /* in which it was founded */
};

/* BLAKE2b over number and members. */
void electorate_id(const struct electorate *set, uint8_t out[static SET_ID_BYTES]);
int electorate_index(const struct electorate *set, const struct peer_id *id); /* -1: no member */
bool electorate_equal(const struct electorate *a, const struct electorate *b);
size_t electorate_majority(const struct electorate *set);

bool record_equal(const struct record *a, const struct record *b);
void record_hash(const struct record *r, uint8_t out[static 32]);

/* What a peer signs when it accepts: this group, this set, this term, this record, and nothing else. */
#define ACCEPT_DOMAIN     "kpeer accept 1"
#define ACCEPT_TEXT_BYTES (GROUP_ID_BYTES + SET_ID_BYTES + 8 + 32)
void record_accept_text(const uint8_t group_id[static GROUP_ID_BYTES],
                        const uint8_t set_id[static SET_ID_BYTES], uint64_t term, const struct record *r,
                        uint8_t out[static ACCEPT_TEXT_BYTES]);

/* A committed record: the decision and its proof. */
struct commit_signature {
    uint16_t member; /* index into the electorate */
    uint8_t sign_pk[SIGN_PK_BYTES];
    uint8_t sig[SIGNATURE_BYTES];
};

struct committed {
    uint8_t group_id[GROUP_ID_BYTES];
    uint64_t term; /* in which the majority accepted */
    struct record record;
    struct electorate set;
    uint16_t signature_count;
    struct commit_signature signature[ELECTORATE_MAX];
};

/* Encode allocates; the caller frees. */
int committed_encode(const struct committed *c, uint8_t **out, size_t *out_bytes, struct err *err);
/* Decodes without looking at the signatures: what it says is not proven until committed_verify returns 0. */
int committed_read(const uint8_t *bytes, size_t n, struct committed *c, struct err *err);
int committed_verify(const struct committed *c, struct err *err);
/* Decodes and verifies, as record_verify; `c` is large: allocate it. */
int committed_decode(const uint8_t *bytes, size_t n, struct committed *c, struct err *err);

/* The parts, for other encodings that carry them. */
void electorate_pack(struct pack_writer *w, const struct electorate *set);
void electorate_unpack(struct pack_reader *r, struct electorate *set);
void record_pack(struct pack_writer *w, const struct record *rec);
void record_unpack(struct pack_reader *r, struct record *rec);

/* Reads an encoded committed record and verifies it: a majority of its electorate signed exactly this record.
 * KPEER_EINVAL malformed, KPEER_EAUTH not enough valid signatures. */
int record_verify(const uint8_t *bytes, size_t n, struct record *out, struct err *err);

#endif
