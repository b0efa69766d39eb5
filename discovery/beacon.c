#include "discovery/beacon.h"

#include <string.h>

#include "protocol/pack.h"

#define HELLO_FIELDS   12u
#define HELLO_OUTBID   3u /* … and these where there is somebody outbid to name */
#define HELLO_FAILED   2u /* … a failed peer */
#define BEACON_FIELDS  4
#define HEARD_FIELDS   3
#define BEACON_DEPTH   3
#define PLAIN_MAX      (BEACON_MAX_BYTES - SEAL_OVERHEAD_BYTES)
#define ARRAY_HEAD_MAX 3

static size_t uint32_bytes(uint32_t v)
{
    return v < 128 ? 1 : v <= UINT8_MAX ? 2 : v <= UINT16_MAX ? 3 : 5;
}

/* An entry's encoding: the array's head, a bin with id, a number, a bin with the address. */
static size_t heard_bytes(const struct beacon_heard *h)
{
    return 1 + 2 + PEER_ID_BYTES + uint32_bytes(h->instance) + 2 + (size_t)h->address.n;
}

/* Behind what is written so far: exactly as many as fit, or what was decoded would not be encoded again. */
static size_t heard_that_fit(const struct beacon *b, size_t used)
{
    size_t i = 0;
    used += ARRAY_HEAD_MAX;
    for (; i < b->heard_count && i < BEACON_HEARD_MAX; i++) {
        used += heard_bytes(&b->heard[i]);
        if (used > PLAIN_MAX)
            break;
    }
    return i;
}

static bool names(const struct peer_id *id)
{
    static const struct peer_id nobody;
    return !peer_id_equal(id, &nobody);
}

static void put_hello(struct pack_writer *w, const struct hello *h)
{
    bool outbid = names(&h->outbid), failed = names(&h->failed);
    pack_put_array(w, HELLO_FIELDS + (outbid ? HELLO_OUTBID : 0) + (failed ? HELLO_FAILED : 0));
    pack_put_bin(w, h->id.b, sizeof h->id.b);
    pack_put_uint(w, h->boot);
    pack_put_uint(w, h->instance);
    pack_put_uint(w, h->counter);
    pack_put_uint(w, h->age_ms);
    pack_put_int(w, h->wall_ms);
    pack_put_uint(w, h->digest);
    pack_put_uint(w, h->members);
    pack_put_uint(w, h->next_ms);
    pack_put_bin(w, h->sign_pk, sizeof h->sign_pk);
    pack_put_bin(w, h->box_pk, sizeof h->box_pk);
    pack_put_uint(w, h->port);
    if (outbid) {
        pack_put_bin(w, h->outbid.b, sizeof h->outbid.b);
        pack_put_uint(w, h->outbid_boot);
        pack_put_uint(w, h->outbid_instance);
    }
    if (failed) {
        pack_put_bin(w, h->failed.b, sizeof h->failed.b);
        pack_put_uint(w, h->failed_instance);
    }
}

static void put_beacon(struct pack_writer *w, const struct beacon *b)
{
    pack_put_array(w, BEACON_FIELDS);
    put_hello(w, &b->hello);
    pack_put_bin(w, b->address.b, b->address.n);
    pack_put_uint(w, b->interface);
    size_t heard = heard_that_fit(b, w->used);
    pack_put_array(w, heard);
    for (size_t i = 0; i < heard; i++) {
        const struct beacon_heard *h = &b->heard[i];
        pack_put_array(w, HEARD_FIELDS);
        pack_put_bin(w, h->id.b, sizeof h->id.b);
        pack_put_uint(w, h->instance);
        pack_put_bin(w, h->address.b, h->address.n);
    }
}

int beacon_encode(const struct seal *seal, const uint8_t nonce[static SEAL_NONCE_BYTES],
                  const struct beacon *beacon, uint8_t out[static BEACON_MAX_BYTES], size_t *n,
                  struct err *err)
{
    uint8_t plain[PLAIN_MAX];
    struct pack_writer w;
    if (beacon->address.n != 4 && beacon->address.n != 16)
        return err_set(err, KPEER_EINVAL, "a beacon needs the address it is sent from");
    pack_writer_into(&w, plain, sizeof plain);
    put_beacon(&w, beacon);
    int rc = pack_writer_end(&w, err);
    if (rc)
        return rc;
    *n = seal_close(seal, SEAL_BEACON, nonce, plain, w.used, out);
    return 0;
}

static void get_address(struct pack_reader *r, struct address *a)
{
    size_t n = 0;
    const uint8_t *bytes = pack_bin(r, 4, 16, &n);
    *a = (struct address){0};
    if (bytes && n != 4 && n != 16)
        pack_fail(r, KPEER_EINVAL, "an address of neither 4 nor 16 bytes");
    if (!bytes || pack_bad(r))
        return;
    a->n = (uint8_t)n;
    memcpy(a->b, bytes, n);
}

static void get_named(struct pack_reader *r, struct peer_id *id)
{
    pack_bin_copy(r, id->b, sizeof id->b);
    if (!pack_bad(r) && !names(id))
        pack_fail(r, KPEER_EINVAL, "a peer that is not named");
}

/* The number of fields tells which of the last are there. */
static void get_hello(struct pack_reader *r, struct hello *h)
{
    uint32_t fields = pack_array(r, HELLO_FIELDS, HELLO_FIELDS + HELLO_OUTBID + HELLO_FAILED);
    uint32_t more = fields > HELLO_FIELDS ? fields - HELLO_FIELDS : 0;
    bool outbid = more >= HELLO_OUTBID, failed = more % HELLO_OUTBID == HELLO_FAILED;
    pack_bin_copy(r, h->id.b, sizeof h->id.b);
    h->boot = pack_uint(r, UINT64_MAX);
    h->instance = pack_uint(r, UINT64_MAX);
    h->counter = pack_uint(r, UINT64_MAX);
    h->age_ms = pack_uint(r, UINT64_MAX);
    h->wall_ms = pack_int(r, INT64_MIN, INT64_MAX);
    h->digest = pack_uint(r, UINT64_MAX);
    h->members = (uint32_t)pack_uint(r, UINT32_MAX);
    h->next_ms = (uint32_t)pack_uint(r, UINT32_MAX);
    pack_bin_copy(r, h->sign_pk, sizeof h->sign_pk);
    pack_bin_copy(r, h->box_pk, sizeof h->box_pk);
    h->port = (uint16_t)pack_uint(r, UINT16_MAX);
    if (h->port == 0)
        pack_fail(r, KPEER_EINVAL, "port 0");
    if (outbid) {
        get_named(r, &h->outbid);
        h->outbid_boot = pack_uint(r, UINT64_MAX);
        h->outbid_instance = pack_uint(r, UINT64_MAX);
    }
    if (failed) {
        get_named(r, &h->failed);
        h->failed_instance = pack_uint(r, UINT64_MAX);
    }
    if (!pack_bad(r) && more != (outbid ? HELLO_OUTBID : 0) + (failed ? HELLO_FAILED : 0))
        pack_fail(r, KPEER_EINVAL, "a number of fields that no hello has");
}

static void get_beacon(struct pack_reader *r, struct beacon *b)
{
    pack_array(r, BEACON_FIELDS, BEACON_FIELDS);
    pack_field(r, "hello");
    get_hello(r, &b->hello);
    pack_field(r, "address");
    get_address(r, &b->address);
    pack_field(r, "interface");
    b->interface = (uint32_t)pack_uint(r, UINT32_MAX);
    pack_field(r, "heard");
    b->heard_count = pack_array(r, 0, BEACON_HEARD_MAX);
    for (size_t i = 0; i < b->heard_count; i++) {
        struct beacon_heard *h = &b->heard[i];
        pack_array(r, HEARD_FIELDS, HEARD_FIELDS);
        pack_bin_copy(r, h->id.b, sizeof h->id.b);
        h->instance = (uint32_t)pack_uint(r, UINT32_MAX);
        get_address(r, &h->address);
    }
}

int beacon_decode(const struct seal *seal, const uint8_t *bytes, size_t n, struct beacon *out,
                  struct err *err)
{
    uint8_t plain[PLAIN_MAX];
    size_t plain_bytes = 0;
    if (n > BEACON_MAX_BYTES)
        return err_set(err, KPEER_ELIMIT, "a beacon of %zu bytes", n);
    int rc = seal_open(seal, SEAL_BEACON, bytes, n, plain, &plain_bytes);
    if (rc)
        return err_set(err, rc, "not a beacon of this group (%s)", err_word(rc));
    struct beacon b = {0};
    struct pack_reader r;
    rc = pack_open(&r, plain, plain_bytes, BEACON_DEPTH, err);
    if (rc)
        return rc;
    get_beacon(&r, &b);
    rc = pack_close(&r, err);
    if (rc)
        return rc;
    struct peer_id id;
    identity_id_of(b.hello.sign_pk, &id);
    if (!peer_id_equal(&id, &b.hello.id))
        return err_set(err, KPEER_EAUTH, "a beacon whose id does not belong to its key");
    *out = b;
    return 0;
}
