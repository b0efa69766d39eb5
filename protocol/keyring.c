#include "protocol/keyring.h"

#include <sodium.h>
#include <string.h>

#include "protocol/keytext.h"

static void forget(struct ring_key *k)
{
    secret_free(k->secret);
    seal_free(k->seal);
    memset(k, 0, sizeof *k);
}

int keyring_init(struct keyring *ring, const struct secret *first, struct err *err)
{
    uint8_t group[GROUP_ID_BYTES];
    memset(ring, 0, sizeof *ring);
    secret_group_id(first, group);
    return keyring_add(ring, secret_later(secret_bytes(first), group, secret_epoch(first)), err);
}

void keyring_fini(struct keyring *ring)
{
    for (size_t i = 0; i < ring->count; i++)
        forget(&ring->key[i]);
    ring->count = 0;
}

/* Where a key of this epoch belongs. */
static size_t place(const struct keyring *ring, uint32_t epoch)
{
    size_t i = 0;
    while (i < ring->count && ring->key[i].epoch > epoch)
        i++;
    return i;
}

int keyring_add(struct keyring *ring, struct secret *key, struct err *err)
{
    struct ring_key k = {.secret = key};
    if (!key)
        return err_set(err, KPEER_ENOMEM, "no guarded memory for the group's keys");
    k.epoch = secret_epoch(key);
    size_t at = place(ring, k.epoch);
    bool there = at < ring->count && ring->key[at].epoch == k.epoch;
    int rc = there || at == KEYRING_MAX ? 0 : seal_new(&k.seal, key, err);
    if (rc || there || at == KEYRING_MAX) {
        secret_free(key);
        return rc;
    }
    if (ring->count == KEYRING_MAX)
        forget(&ring->key[--ring->count]);
    memmove(&ring->key[at + 1], &ring->key[at], (ring->count - at) * sizeof k);
    ring->key[at] = k;
    ring->count++;
    return 0;
}

uint32_t keyring_newest(const struct keyring *ring)
{
    return ring->key[0].epoch;
}

const struct ring_key *keyring_epoch(const struct keyring *ring, uint32_t epoch)
{
    size_t i = place(ring, epoch);
    return i < ring->count && ring->key[i].epoch == epoch ? &ring->key[i] : NULL;
}

const struct ring_key *keyring_find(const struct keyring *ring, const uint8_t key_id[static GROUP_ID_BYTES])
{
    for (size_t i = 0; i < ring->count; i++)
        if (memcmp(seal_key_id(ring->key[i].seal), key_id, GROUP_ID_BYTES) == 0)
            return &ring->key[i];
    return NULL;
}

const struct ring_key *keyring_for(const struct keyring *ring, uint32_t epoch)
{
    size_t i = place(ring, epoch);
    return i < ring->count && !ring->key[i].closed ? &ring->key[i] : &ring->key[0];
}

bool keyring_expire(struct keyring *ring, int64_t wall_ms)
{
    size_t kept = 0, was = ring->count;
    for (size_t i = 0; i < was; i++) {
        struct ring_key k = ring->key[i];
        if (k.until_ms && wall_ms >= k.until_ms)
            forget(&k);
        else
            ring->key[kept++] = k;
    }
    memset(&ring->key[kept], 0, (was - kept) * sizeof ring->key[0]);
    ring->count = kept;
    return kept < was;
}

void keyring_close(struct keyring *ring)
{
    for (size_t i = 1; i < ring->count; i++)
        ring->key[i].closed = true;
}

void keyring_end(struct keyring *ring, int64_t until_ms)
{
    for (size_t i = 1; i < ring->count; i++)
        if (ring->key[i].until_ms == 0)
            ring->key[i].until_ms = until_ms > 0 ? until_ms : 1;
}

bool keyring_settled(const struct keyring *ring)
{
    for (size_t i = 1; i < ring->count; i++)
        if (!ring->key[i].closed)
            return false;
    return true;
}

void keyring_pack(struct pack_writer *w, const struct keyring *ring)
{
    uint8_t raw[KEYTEXT_RAW_BYTES];
    pack_put_array(w, ring->count);
    for (size_t i = 0; i < ring->count; i++) {
        keytext_pack(ring->key[i].secret, raw);
        pack_put_array(w, 3);
        pack_put_bin(w, raw, sizeof raw);
        pack_put_bool(w, ring->key[i].closed);
        pack_put_int(w, ring->key[i].until_ms);
    }
    sodium_memzero(raw, sizeof raw);
}

static int unpack_key(struct pack_reader *r, struct keyring *ring, uint32_t start, bool *stored,
                      struct err *err)
{
    uint8_t raw[KEYTEXT_RAW_BYTES] = {0}, group[GROUP_ID_BYTES], ours[GROUP_ID_BYTES];
    struct secret *key = NULL;
    pack_array(r, 3, 3);
    pack_bin_copy(r, raw, sizeof raw);
    bool closed = pack_bool(r);
    int64_t until_ms = pack_int(r, 0, INT64_MAX);
    int rc = pack_bad(r) ? KPEER_EINVAL : keytext_unpack(raw, &key, err);
    sodium_memzero(raw, sizeof raw);
    if (rc)
        return rc;
    uint32_t epoch = secret_epoch(key);
    secret_group_id(key, group);
    secret_group_id(ring->key[0].secret, ours);
    if (memcmp(group, ours, sizeof group) != 0) {
        secret_free(key);
        return err_set(err, KPEER_EINVAL, "a stored key is of another group");
    }
    rc = keyring_add(ring, key, err);
    size_t at = place(ring, epoch);
    if (rc == 0 && at < ring->count && ring->key[at].epoch == epoch) { /* else there were later ones enough */
        ring->key[at].closed = closed;
        ring->key[at].until_ms = until_ms;
    }
    if (rc == 0)
        *stored |= epoch == start;
    return rc;
}

int keyring_unpack(struct pack_reader *r, struct keyring *ring, struct err *err)
{
    uint32_t count = pack_array(r, 1, KEYRING_MAX);
    uint32_t start = keyring_newest(ring);
    bool stored = false;
    int rc = 0;
    for (uint32_t i = 0; i < count && !pack_bad(r) && rc == 0; i++)
        rc = unpack_key(r, ring, start, &stored, err);
    /* An old one that the file or the environment still gives, and whose time was over before: it stays over.
     */
    size_t old = place(ring, start);
    if (!stored && old > 0 && old < ring->count && ring->key[old].epoch == start) {
        ring->key[old].closed = true;
        ring->key[old].until_ms = 1;
    }
    /* Whatever is the newest now is what the group speaks under: a later one may have come with the file. */
    ring->key[0].closed = false;
    ring->key[0].until_ms = 0;
    return rc;
}
