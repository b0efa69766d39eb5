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

/* Reads an encoded committed record and verifies it: a majority of its electorate signed exactly this record.
 * KPEER_EINVAL malformed, KPEER_EAUTH not enough valid signatures. */
int record_verify(const uint8_t *bytes, size_t n, struct record *out, struct err *err);

#endif
