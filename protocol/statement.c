#include "protocol/statement.h"

#include <sodium.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

#define STATEMENT_DOMAIN "kpeer statement 1"

/* The signature covers the group too: the same key may serve in two groups. */
static int signed_text(const uint8_t *group_id, const struct statement *s, uint8_t **out, size_t *n)
{
    struct pack_writer w;
    pack_writer_init(&w, STATEMENT_WIRE_MAX);
    pack_put_array(&w, 5);
    pack_put_bin(&w, group_id, GROUP_ID_BYTES);
    pack_put_uint(&w, s->kind);
    pack_put_bin(&w, s->subject.b, sizeof s->subject.b);
    pack_put_uint(&w, s->version);
    pack_put_bin(&w, s->payload, s->payload_bytes);
    int rc = pack_writer_take(&w, out, n, NULL);
    pack_writer_fini(&w);
    return rc;
}

int statement_encode(const struct identity *me, const uint8_t group_id[static GROUP_ID_BYTES],
                     enum statement_kind kind, const struct peer_id *subject, uint64_t version,
                     const uint8_t *payload, size_t payload_bytes, uint8_t **out, size_t *out_bytes,
                     struct err *err)
{
    struct statement s = {
        .kind = kind, .version = version, .payload = payload, .payload_bytes = payload_bytes};
    cleanup_free uint8_t *text = NULL;
    size_t n = 0;
    uint8_t sig[SIGNATURE_BYTES];
    if (subject)
        s.subject = *subject;
    int rc = signed_text(group_id, &s, &text, &n);
    if (rc)
        return err_set(err, rc, "statement cannot be encoded");
    identity_sign(me, STATEMENT_DOMAIN, text, n, sig);
    struct pack_writer w;
    pack_writer_init(&w, STATEMENT_WIRE_MAX);
    pack_put_array(&w, 6);
    pack_put_uint(&w, kind);
    pack_put_bin(&w, me->sign_pk, SIGN_PK_BYTES);
    pack_put_bin(&w, s.subject.b, sizeof s.subject.b);
    pack_put_uint(&w, version);
    pack_put_bin(&w, payload, payload_bytes);
    pack_put_bin(&w, sig, sizeof sig);
    rc = pack_writer_take(&w, out, out_bytes, err);
    pack_writer_fini(&w);
    return rc;
}

int statement_verify(const struct statement *s, const uint8_t group_id[static GROUP_ID_BYTES],
                     struct err *err)
{
    cleanup_free uint8_t *text = NULL;
    size_t text_bytes = 0;
    int rc = signed_text(group_id, s, &text, &text_bytes);
    if (rc)
        return err_set(err, rc, "statement cannot be checked");
    if (!identity_verify(s->sign_pk, STATEMENT_DOMAIN, text, text_bytes, s->signature))
        return err_set(err, KPEER_EAUTH, "statement with a signature that does not fit");
    return 0;
}

int statement_decode(const uint8_t *wire, size_t n, const uint8_t group_id[static GROUP_ID_BYTES], bool check,
                     struct statement *out, struct err *err)
{
    struct pack_reader r;
    struct statement s = {.wire = wire, .wire_bytes = n};
    size_t signature_bytes = 0;
    int rc = pack_open(&r, wire, n, 1, err);
    if (rc)
        return rc;
    pack_field(&r, "statement");
    pack_array(&r, 6, 6);
    s.kind = (enum statement_kind)pack_uint(&r, STATEMENT_KEY);
    pack_bin_copy(&r, s.sign_pk, sizeof s.sign_pk);
    pack_bin_copy(&r, s.subject.b, sizeof s.subject.b);
    s.version = pack_uint(&r, UINT64_MAX);
    s.payload = pack_bin(&r, 1, STATEMENT_PAYLOAD_MAX, &s.payload_bytes);
    s.signature = pack_bin(&r, SIGNATURE_BYTES, SIGNATURE_BYTES, &signature_bytes);
    if (s.kind < STATEMENT_PROFILE || (s.kind >= STATEMENT_GRANT) == peer_id_is_zero(&s.subject))
        pack_fail(&r, KPEER_EINVAL, "kind and subject do not go together");
    rc = pack_close(&r, err);
    if (rc)
        return rc;
    identity_id_of(s.sign_pk, &s.owner);
    if (check)
        rc = statement_verify(&s, group_id, err);
    if (rc == 0)
        *out = s;
    return rc;
}

static size_t finish(struct pack_writer *w)
{
    return pack_writer_end(w, NULL) == 0 ? w->used : 0;
}

static void put_facts(struct pack_writer *w, const struct facts *f)
{
    pack_put_array(w, 8);
    pack_put_str(w, f->hostname);
    pack_put_bin(w, f->machine_id, sizeof f->machine_id);
    pack_put_bin(w, f->product_uuid, sizeof f->product_uuid);
    pack_put_uint(w, f->cpus);
    pack_put_uint(w, f->memory_mb);
    pack_put_str(w, f->kubernetes_version);
    pack_put_str(w, f->runtime);
    pack_put_str(w, f->os);
}

static void get_facts(struct pack_reader *r, struct facts *f)
{
    pack_array(r, 8, 8);
    pack_str(r, f->hostname, sizeof f->hostname);
    pack_bin_copy(r, f->machine_id, sizeof f->machine_id);
    pack_bin_copy(r, f->product_uuid, sizeof f->product_uuid);
    f->cpus = (uint32_t)pack_uint(r, UINT32_MAX);
    f->memory_mb = (uint32_t)pack_uint(r, UINT32_MAX);
    pack_str(r, f->kubernetes_version, sizeof f->kubernetes_version);
    pack_str(r, f->runtime, sizeof f->runtime);
    pack_str(r, f->os, sizeof f->os);
}

static void put_nets(struct pack_writer *w, const struct host_nets *h)
{
    pack_put_array(w, h->net_count);
    for (size_t i = 0; i < h->net_count; i++)
        pack_put_str(w, h->net[i]);
    pack_put_array(w, h->mac_count);
    for (size_t i = 0; i < h->mac_count; i++)
        pack_put_bin(w, h->mac[i], sizeof h->mac[i]);
}

static void get_nets(struct pack_reader *r, struct host_nets *h)
{
    h->net_count = pack_array(r, 0, FACTS_NETS_MAX);
    for (size_t i = 0; i < h->net_count; i++)
        pack_str(r, h->net[i], sizeof h->net[i]);
    h->mac_count = pack_array(r, 0, FACTS_MACS_MAX);
    for (size_t i = 0; i < h->mac_count; i++)
        pack_bin_copy(r, h->mac[i], sizeof h->mac[i]);
}

size_t profile_encode(const struct profile *p, uint8_t out[static STATEMENT_PAYLOAD_MAX])
{
    struct pack_writer w;
    pack_writer_into(&w, out, STATEMENT_PAYLOAD_MAX);
    pack_put_array(&w, 25);
    pack_put_str(&w, p->name);
    pack_put_str(&w, p->former_name);
    pack_put_str(&w, p->version);
    pack_put_str(&w, p->address);
    pack_put_uint(&w, p->port);
    pack_put_bin(&w, p->box_pk, sizeof p->box_pk);
    pack_put_uint(&w, p->role);
    pack_put_uint(&w, p->phase);
    pack_put_bool(&w, p->able);
    pack_put_bool(&w, p->rehearse);
    pack_put_bool(&w, p->has_facts);
    pack_put_uint(&w, p->expect);
    put_facts(&w, &p->facts);
    put_nets(&w, &p->nets);
    pack_put_str(&w, p->pod_cidr);
    pack_put_str(&w, p->service_cidr);
    pack_put_str(&w, p->wanted_version);
    pack_put_str(&w, p->cluster_id);
    pack_put_uint(&w, p->ticket_nonce);
    pack_put_uint(&w, p->leave_nonce);
    pack_put_uint(&w, p->asked_start);
    pack_put_str(&w, p->pod_address);
    pack_put_str(&w, p->note);
    pack_put_uint(&w, p->key_epoch);
    return finish(&w);
}

int profile_decode(const uint8_t *bytes, size_t n, struct profile *out)
{
    struct pack_reader r;
    struct profile p = {0};
    int rc = pack_open(&r, bytes, n, 3, NULL);
    if (rc)
        return rc;
    pack_array(&r, 25, 25);
    pack_str(&r, p.name, sizeof p.name);
    pack_str(&r, p.former_name, sizeof p.former_name);
    pack_str(&r, p.version, sizeof p.version);
    pack_str(&r, p.address, sizeof p.address);
    p.port = (uint16_t)pack_uint(&r, UINT16_MAX);
    pack_bin_copy(&r, p.box_pk, sizeof p.box_pk);
    p.role = (enum role_pref)pack_uint(&r, ROLE_WORKER);
    p.phase = (enum phase)pack_uint(&r, PHASE_COUNT - 1);
    p.able = pack_bool(&r);
    p.rehearse = pack_bool(&r);
    p.has_facts = pack_bool(&r);
    p.expect = (uint32_t)pack_uint(&r, ELECTORATE_MAX);
    get_facts(&r, &p.facts);
    get_nets(&r, &p.nets);
    pack_str(&r, p.pod_cidr, sizeof p.pod_cidr);
    pack_str(&r, p.service_cidr, sizeof p.service_cidr);
    pack_str(&r, p.wanted_version, sizeof p.wanted_version);
    pack_str(&r, p.cluster_id, sizeof p.cluster_id);
    p.ticket_nonce = pack_uint(&r, UINT64_MAX);
    p.leave_nonce = pack_uint(&r, UINT64_MAX);
    p.asked_start = (uint32_t)pack_uint(&r, UINT32_MAX);
    pack_str(&r, p.pod_address, sizeof p.pod_address);
    pack_str(&r, p.note, sizeof p.note);
    p.key_epoch = (uint32_t)pack_uint(&r, UINT32_MAX);
    rc = pack_close(&r, NULL);
    if (rc == 0)
        *out = p;
    return rc;
}

void ballot_pack(struct pack_writer *w, const struct ballot *b)
{
    pack_put_array(w, 8);
    if (b->bound)
        electorate_pack(w, &b->set);
    else
        pack_put_nil(w);
    pack_put_uint(w, b->floor);
    pack_put_uint(w, b->term);
    pack_put_bin(w, b->vote.b, sizeof b->vote.b);
    pack_put_bool(w, b->accepted);
    pack_put_uint(w, b->accepted_term);
    if (b->accepted)
        record_pack(w, &b->record);
    else
        pack_put_nil(w);
    pack_put_bin(w, b->accept_sig, sizeof b->accept_sig);
}

size_t ballot_bytes(const struct ballot *b)
{
    size_t members = b->bound ? b->set.count : 0;
    return offsetof(struct ballot, set) + offsetof(struct electorate, member) +
           members * sizeof b->set.member[0];
}

void ballot_unpack(struct pack_reader *r, struct ballot *b)
{
    pack_array(r, 8, 8);
    b->bound = !pack_nil(r);
    b->set.number = b->set.count = 0;
    if (b->bound)
        electorate_unpack(r, &b->set);
    b->floor = (uint32_t)pack_uint(r, UINT32_MAX);
    b->term = pack_uint(r, UINT64_MAX);
    pack_bin_copy(r, b->vote.b, sizeof b->vote.b);
    b->accepted = pack_bool(r);
    b->accepted_term = pack_uint(r, UINT64_MAX);
    memset(&b->record, 0, sizeof b->record);
    if (b->accepted)
        record_unpack(r, &b->record);
    else if (!pack_nil(r))
        pack_fail(r, KPEER_EINVAL, "a record that is not accepted");
    pack_bin_copy(r, b->accept_sig, sizeof b->accept_sig);
    if (b->accepted && (!b->bound || b->accepted_term > b->term))
        pack_fail(r, KPEER_EINVAL, "accepted without a set or after its own term");
}

size_t ballot_encode(const struct ballot *b, uint8_t out[static STATEMENT_PAYLOAD_MAX])
{
    struct pack_writer w;
    pack_writer_into(&w, out, STATEMENT_PAYLOAD_MAX);
    ballot_pack(&w, b);
    return finish(&w);
}

int ballot_decode(const uint8_t *bytes, size_t n, struct ballot *out)
{
    struct pack_reader r;
    int rc = pack_open(&r, bytes, n, 3, NULL);
    if (rc)
        return rc;
    ballot_unpack(&r, out);
    return pack_close(&r, NULL);
}

size_t grant_encode(const struct grant *g, uint8_t out[static STATEMENT_PAYLOAD_MAX])
{
    struct pack_writer w;
    pack_writer_into(&w, out, STATEMENT_PAYLOAD_MAX);
    pack_put_array(&w, 6);
    pack_put_bin(&w, g->subject.b, sizeof g->subject.b);
    pack_put_uint(&w, g->ticket_nonce);
    pack_put_bin(&w, g->ticket, g->ticket_bytes);
    pack_put_str(&w, g->reached);
    pack_put_uint(&w, g->leave_nonce);
    pack_put_str(&w, g->refused);
    return finish(&w);
}

int grant_decode(const uint8_t *bytes, size_t n, struct grant *out)
{
    struct pack_reader r;
    struct grant g = {0};
    size_t ticket_bytes = 0;
    int rc = pack_open(&r, bytes, n, 1, NULL);
    if (rc)
        return rc;
    pack_array(&r, 6, 6);
    pack_bin_copy(&r, g.subject.b, sizeof g.subject.b);
    g.ticket_nonce = pack_uint(&r, UINT64_MAX);
    const uint8_t *ticket = pack_bin(&r, 0, sizeof g.ticket, &ticket_bytes);
    pack_str(&r, g.reached, sizeof g.reached);
    g.leave_nonce = pack_uint(&r, UINT64_MAX);
    pack_str(&r, g.refused, sizeof g.refused);
    rc = pack_close(&r, NULL);
    if (rc)
        return rc;
    if (ticket_bytes > 0)
        memcpy(g.ticket, ticket, ticket_bytes);
    g.ticket_bytes = (uint16_t)ticket_bytes;
    *out = g;
    return 0;
}

size_t rekey_encode(const struct rekey *k, uint8_t out[static STATEMENT_PAYLOAD_MAX])
{
    struct pack_writer w;
    pack_writer_into(&w, out, STATEMENT_PAYLOAD_MAX);
    pack_put_array(&w, 2);
    pack_put_uint(&w, k->epoch);
    if (k->evicted)
        pack_put_nil(&w);
    else
        pack_put_bin(&w, k->box, sizeof k->box);
    return finish(&w);
}

int rekey_decode(const uint8_t *bytes, size_t n, struct rekey *out)
{
    struct pack_reader r;
    struct rekey k = {0};
    int rc = pack_open(&r, bytes, n, 1, NULL);
    if (rc)
        return rc;
    pack_array(&r, 2, 2);
    k.epoch = (uint32_t)pack_uint(&r, UINT32_MAX);
    k.evicted = pack_nil(&r);
    if (!k.evicted)
        pack_bin_copy(&r, k.box, sizeof k.box);
    if (k.epoch == 0)
        pack_fail(&r, KPEER_EINVAL, "the first key is handed to nobody");
    rc = pack_close(&r, NULL);
    if (rc == 0)
        *out = k;
    return rc;
}
