#include "discovery/pulse.h"

#include "protocol/pack.h"

#define PULSE_FIELDS 9
#define PULSE_DEPTH  1
#define PLAIN_MAX    (PULSE_MAX_BYTES - SEAL_OVERHEAD_BYTES)

int pulse_encode(const struct seal *seal, const uint8_t nonce[static SEAL_NONCE_BYTES],
                 const struct pulse *pulse, uint8_t out[static PULSE_MAX_BYTES], size_t *n, struct err *err)
{
    uint8_t plain[PLAIN_MAX];
    struct pack_writer w;
    pack_writer_into(&w, plain, sizeof plain);
    pack_put_array(&w, PULSE_FIELDS);
    pack_put_bin(&w, pulse->id.b, sizeof pulse->id.b);
    pack_put_uint(&w, pulse->boot);
    pack_put_uint(&w, pulse->instance);
    pack_put_uint(&w, pulse->counter);
    pack_put_uint(&w, pulse->to);
    pack_put_uint(&w, pulse->digest);
    pack_put_uint(&w, pulse->every_ms);
    pack_put_uint(&w, pulse->next_ms);
    pack_put_uint(&w, pulse->wish);
    int rc = pack_writer_end(&w, err);
    if (rc == 0)
        *n = seal_close(seal, SEAL_PULSE, nonce, plain, w.used, out);
    return rc;
}

int pulse_decode(const struct seal *seal, const uint8_t *bytes, size_t n, struct pulse *out, struct err *err)
{
    uint8_t plain[PLAIN_MAX];
    size_t plain_bytes = 0;
    struct pack_reader r;
    if (n > PULSE_MAX_BYTES)
        return err_set(err, KPEER_ELIMIT, "a pulse of %zu bytes", n);
    int rc = seal_open(seal, SEAL_PULSE, bytes, n, plain, &plain_bytes);
    if (rc)
        return err_set(err, rc, "not a pulse of this group (%s)", err_word(rc));
    rc = pack_open(&r, plain, plain_bytes, PULSE_DEPTH, err);
    if (rc)
        return rc;
    struct pulse p = {0};
    pack_array(&r, PULSE_FIELDS, PULSE_FIELDS);
    pack_bin_copy(&r, p.id.b, sizeof p.id.b);
    p.boot = pack_uint(&r, UINT64_MAX);
    p.instance = pack_uint(&r, UINT64_MAX);
    p.counter = pack_uint(&r, UINT64_MAX);
    p.to = (uint32_t)pack_uint(&r, UINT32_MAX);
    p.digest = pack_uint(&r, UINT64_MAX);
    p.every_ms = (uint32_t)pack_uint(&r, UINT32_MAX);
    p.next_ms = (uint32_t)pack_uint(&r, UINT32_MAX);
    p.wish = (enum pulse_wish)pack_uint(&r, PULSE_WISHES - 1);
    rc = pack_close(&r, err);
    if (rc == 0)
        *out = p;
    return rc;
}
