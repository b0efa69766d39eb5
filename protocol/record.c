#include "protocol/record.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/fault.h"
#include "protocol/mem.h"

#define COMMITTED_VERSION 1

void electorate_id(const struct electorate *set, uint8_t out[static SET_ID_BYTES])
{
    crypto_generichash_state st;
    uint8_t number[4] = {(uint8_t)(set->number >> 24), (uint8_t)(set->number >> 16),
                         (uint8_t)(set->number >> 8), (uint8_t)set->number};
    crypto_generichash_init(&st, NULL, 0, SET_ID_BYTES);
    crypto_generichash_update(&st, number, sizeof number);
    crypto_generichash_update(&st, (const unsigned char *)set->member, set->count * sizeof set->member[0]);
    crypto_generichash_final(&st, out, SET_ID_BYTES);
}

int electorate_index(const struct electorate *set, const struct peer_id *id)
{
    size_t lo = 0, hi = set->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = peer_id_compare(&set->member[mid], id);
        if (c == 0)
            return (int)mid;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}

bool electorate_equal(const struct electorate *a, const struct electorate *b)
{
    return a->number == b->number && a->count == b->count &&
           memcmp(a->member, b->member, a->count * sizeof a->member[0]) == 0;
}

size_t electorate_majority(const struct electorate *set)
{
    return set->count / 2u + 1;
}

void electorate_pack(struct pack_writer *w, const struct electorate *set)
{
    pack_put_array(w, 2);
    pack_put_uint(w, set->number);
    pack_put_bin(w, set->member, set->count * sizeof set->member[0]);
}

/* Members must be in strictly ascending order, so that one set has one encoding and one id. */
void electorate_unpack(struct pack_reader *r, struct electorate *set)
{
    size_t n = 0;
    pack_array(r, 2, 2);
    set->number = (uint32_t)pack_uint(r, UINT32_MAX);
    const uint8_t *p = pack_bin(r, sizeof set->member[0], sizeof set->member, &n);
    set->count = 0;
    if (pack_bad(r))
        return;
    if (n % sizeof set->member[0] != 0) {
        pack_fail(r, KPEER_EINVAL, "electorate of odd size");
        return;
    }
    memcpy(set->member, p, n);
    set->count = (uint16_t)(n / sizeof set->member[0]);
    for (size_t i = 1; i < set->count; i++)
        if (peer_id_compare(&set->member[i - 1], &set->member[i]) >= 0)
            pack_fail(r, KPEER_EINVAL, "electorate out of order");
}

void record_pack(struct pack_writer *w, const struct record *rec)
{
    pack_put_array(w, 9);
    pack_put_str(w, rec->cluster_id);
    pack_put_str(w, rec->endpoint);
    pack_put_str(w, rec->ca_hash);
    pack_put_str(w, rec->kubernetes_version);
    pack_put_str(w, rec->pod_cidr);
    pack_put_str(w, rec->service_cidr);
    pack_put_bin(w, rec->founder.b, sizeof rec->founder.b);
    pack_put_str(w, rec->founder_name);
    pack_put_uint(w, rec->term);
}

void record_unpack(struct pack_reader *r, struct record *rec)
{
    pack_array(r, 9, 9);
    pack_str(r, rec->cluster_id, sizeof rec->cluster_id);
    pack_str(r, rec->endpoint, sizeof rec->endpoint);
    pack_str(r, rec->ca_hash, sizeof rec->ca_hash);
    pack_str(r, rec->kubernetes_version, sizeof rec->kubernetes_version);
    pack_str(r, rec->pod_cidr, sizeof rec->pod_cidr);
    pack_str(r, rec->service_cidr, sizeof rec->service_cidr);
    pack_bin_copy(r, rec->founder.b, sizeof rec->founder.b);
    pack_str(r, rec->founder_name, sizeof rec->founder_name);
    rec->term = pack_uint(r, UINT64_MAX);
}

bool record_equal(const struct record *a, const struct record *b)
{
    return strcmp(a->cluster_id, b->cluster_id) == 0 && strcmp(a->endpoint, b->endpoint) == 0 &&
           strcmp(a->ca_hash, b->ca_hash) == 0 && strcmp(a->kubernetes_version, b->kubernetes_version) == 0 &&
           strcmp(a->pod_cidr, b->pod_cidr) == 0 && strcmp(a->service_cidr, b->service_cidr) == 0 &&
           peer_id_equal(&a->founder, &b->founder) && strcmp(a->founder_name, b->founder_name) == 0 &&
           a->term == b->term;
}

void record_hash(const struct record *r, uint8_t out[static 32])
{
    uint8_t bytes[1024];
    struct pack_writer w;
    pack_writer_into(&w, bytes, sizeof bytes); /* every field is bounded: their sum is well below */
    record_pack(&w, r);
    crypto_generichash(out, 32, bytes, w.used, NULL, 0);
}

void record_accept_text(const uint8_t group_id[static GROUP_ID_BYTES],
                        const uint8_t set_id[static SET_ID_BYTES], uint64_t term, const struct record *r,
                        uint8_t out[static ACCEPT_TEXT_BYTES])
{
    memcpy(out, group_id, GROUP_ID_BYTES);
    out += GROUP_ID_BYTES;
    memcpy(out, set_id, SET_ID_BYTES);
    out += SET_ID_BYTES;
    for (int i = 0; i < 8; i++)
        *out++ = (uint8_t)(term >> (56 - 8 * i));
    record_hash(r, out);
}

int committed_encode(const struct committed *c, uint8_t **out, size_t *out_bytes, struct err *err)
{
    struct pack_writer w;
    pack_writer_init(&w, STEP_RECORD_MAX);
    pack_put_array(&w, 6);
    pack_put_uint(&w, COMMITTED_VERSION);
    pack_put_bin(&w, c->group_id, sizeof c->group_id);
    pack_put_uint(&w, c->term);
    record_pack(&w, &c->record);
    electorate_pack(&w, &c->set);
    pack_put_array(&w, c->signature_count);
    for (size_t i = 0; i < c->signature_count; i++) {
        pack_put_array(&w, 3);
        pack_put_uint(&w, c->signature[i].member);
        pack_put_bin(&w, c->signature[i].sign_pk, SIGN_PK_BYTES);
        pack_put_bin(&w, c->signature[i].sig, SIGNATURE_BYTES);
    }
    int rc = pack_writer_take(&w, out, out_bytes, err);
    pack_writer_fini(&w);
    return rc;
}

static void unpack_signatures(struct pack_reader *r, struct committed *c)
{
    uint32_t n = pack_array(r, 1, c->set.count);
    for (uint32_t i = 0; i < n; i++) {
        struct commit_signature *s = &c->signature[i];
        pack_array(r, 3, 3);
        s->member = (uint16_t)pack_uint(r, UINT16_MAX);
        pack_bin_copy(r, s->sign_pk, sizeof s->sign_pk);
        pack_bin_copy(r, s->sig, sizeof s->sig);
        if (s->member >= c->set.count || (i > 0 && s->member <= c->signature[i - 1].member))
            pack_fail(r, KPEER_EINVAL, "signatures out of order");
    }
    c->signature_count = (uint16_t)n;
}

/* Every signature must be right, not just enough of them: a record with a false one was tampered with. */
int committed_verify(const struct committed *c, struct err *err)
{
    uint8_t set_id[SET_ID_BYTES], text[ACCEPT_TEXT_BYTES];
    if (c->signature_count < electorate_majority(&c->set) - FAULT(HALF_COMMITS))
        return err_set(err, KPEER_EAUTH, "the record is signed by %u of %u peers, which is no majority",
                       c->signature_count, c->set.count);
    electorate_id(&c->set, set_id);
    record_accept_text(c->group_id, set_id, c->term, &c->record, text);
    for (size_t i = 0; i < c->signature_count; i++) {
        const struct commit_signature *s = &c->signature[i];
        struct peer_id id;
        identity_id_of(s->sign_pk, &id);
        if (!peer_id_equal(&id, &c->set.member[s->member]))
            return err_set(err, KPEER_EAUTH, "the record carries a key that is not of its electorate");
        if (!identity_verify(s->sign_pk, ACCEPT_DOMAIN, text, sizeof text, s->sig))
            return err_set(err, KPEER_EAUTH, "the record carries a signature that does not fit");
    }
    return 0;
}

int committed_read(const uint8_t *bytes, size_t n, struct committed *c, struct err *err)
{
    struct pack_reader r;
    int rc = pack_open(&r, bytes, n, 4, err);
    if (rc)
        return rc;
    pack_field(&r, "committed record");
    pack_array(&r, 6, 6);
    if (pack_uint(&r, UINT32_MAX) != COMMITTED_VERSION)
        pack_fail(&r, KPEER_EVERSION, "version");
    pack_bin_copy(&r, c->group_id, sizeof c->group_id);
    c->term = pack_uint(&r, UINT64_MAX);
    record_unpack(&r, &c->record);
    electorate_unpack(&r, &c->set);
    unpack_signatures(&r, c);
    return pack_close(&r, err);
}

int committed_decode(const uint8_t *bytes, size_t n, struct committed *c, struct err *err)
{
    int rc = committed_read(bytes, n, c, err);
    return rc ? rc : committed_verify(c, err);
}

int record_verify(const uint8_t *bytes, size_t n, struct record *out, struct err *err)
{
    cleanup_free struct committed *c = malloc(sizeof *c);
    if (!c)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    int rc = committed_decode(bytes, n, c, err);
    if (rc == 0)
        *out = c->record;
    return rc;
}
