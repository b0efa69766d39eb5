#include "protocol/ticket.h"

#include <sodium.h>
#include <string.h>

#include "protocol/seal.h"

#define PLAIN_MAX (TICKET_BOX_MAX - SEAL_BOX_OVERHEAD_BYTES)

int ticket_seal(const struct ticket *t, const uint8_t box_pk[static BOX_PK_BYTES],
                const uint8_t seed[static 32], uint8_t out[static TICKET_BOX_MAX], uint16_t *out_bytes)
{
    uint8_t plain[PLAIN_MAX];
    struct pack_writer w;
    pack_writer_into(&w, plain, sizeof plain);
    pack_put_array(&w, 8);
    pack_put_bin(&w, t->joiner.b, sizeof t->joiner.b);
    pack_put_bin(&w, t->issuer.b, sizeof t->issuer.b);
    pack_put_uint(&w, t->nonce);
    pack_put_uint(&w, t->ttl_ms);
    pack_put_str(&w, t->cluster_id);
    pack_put_str(&w, t->endpoint);
    pack_put_str(&w, t->ca_hash);
    pack_put_str(&w, t->token);
    int rc = pack_writer_end(&w, NULL);
    if (rc == 0)
        rc = seal_box(box_pk, seed, plain, w.used, out);
    if (rc == 0)
        *out_bytes = (uint16_t)(w.used + SEAL_BOX_OVERHEAD_BYTES);
    sodium_memzero(plain, sizeof plain);
    return rc;
}

int ticket_open(const struct identity *me, const uint8_t *box, size_t n, struct ticket *out)
{
    uint8_t plain[PLAIN_MAX];
    struct ticket t = {0};
    struct pack_reader r;
    if (n < SEAL_BOX_OVERHEAD_BYTES || n > TICKET_BOX_MAX)
        return KPEER_EINVAL;
    int rc = seal_box_open(me, box, n, plain);
    if (rc)
        return rc;
    rc = pack_open(&r, plain, n - SEAL_BOX_OVERHEAD_BYTES, 1, NULL);
    if (rc == 0) {
        pack_array(&r, 8, 8);
        pack_bin_copy(&r, t.joiner.b, sizeof t.joiner.b);
        pack_bin_copy(&r, t.issuer.b, sizeof t.issuer.b);
        t.nonce = pack_uint(&r, UINT64_MAX);
        t.ttl_ms = pack_uint(&r, UINT64_MAX);
        pack_str(&r, t.cluster_id, sizeof t.cluster_id);
        pack_str(&r, t.endpoint, sizeof t.endpoint);
        pack_str(&r, t.ca_hash, sizeof t.ca_hash);
        pack_str(&r, t.token, sizeof t.token);
        rc = pack_close(&r, NULL);
    }
    if (rc == 0 && (!peer_id_equal(&t.joiner, &me->id) || t.nonce == 0))
        rc = KPEER_EAUTH;
    if (rc == 0)
        *out = t;
    sodium_memzero(plain, sizeof plain);
    sodium_memzero(&t, sizeof t);
    return rc;
}
