#include "protocol/secret.h"

#include <sodium.h>
#include <string.h>

struct secret {
    uint8_t bytes[GROUP_KEY_BYTES];
    uint8_t group_id[GROUP_ID_BYTES];
    uint32_t epoch;
};

void *secret_alloc(size_t bytes)
{
    void *p = sodium_malloc(bytes);
    if (p)
        memset(p, 0, bytes);
    return p;
}

void secret_release(void *p)
{
    sodium_free(p);
}

struct secret *secret_new(const uint8_t bytes[static GROUP_KEY_BYTES])
{
    struct secret *s = secret_alloc(sizeof *s);
    if (!s)
        return NULL;
    memcpy(s->bytes, bytes, sizeof s->bytes);
    secret_key_id(s, s->group_id);
    return s;
}

struct secret *secret_later(const uint8_t bytes[static GROUP_KEY_BYTES],
                            const uint8_t group_id[static GROUP_ID_BYTES], uint32_t epoch)
{
    struct secret *s = secret_new(bytes);
    if (!s)
        return NULL;
    memcpy(s->group_id, group_id, sizeof s->group_id);
    s->epoch = epoch;
    return s;
}

uint32_t secret_epoch(const struct secret *s)
{
    return s->epoch;
}

void secret_free(struct secret *s)
{
    sodium_free(s);
}

const uint8_t *secret_bytes(const struct secret *s)
{
    return s->bytes;
}

bool secret_equal(const struct secret *a, const struct secret *b)
{
    return sodium_memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void secret_derive(const struct secret *s, const char *purpose, uint8_t out[static 32])
{
    crypto_generichash(out, 32, (const unsigned char *)purpose, strlen(purpose), s->bytes, sizeof s->bytes);
}

void secret_key_id(const struct secret *s, uint8_t out[static GROUP_ID_BYTES])
{
    static const char purpose[] = "kpeer group id 1";
    crypto_generichash(out, GROUP_ID_BYTES, (const unsigned char *)purpose, sizeof purpose - 1, s->bytes,
                       sizeof s->bytes);
}

void secret_group_id(const struct secret *s, uint8_t out[static GROUP_ID_BYTES])
{
    memcpy(out, s->group_id, GROUP_ID_BYTES);
}

void secret_subnet_key(uint8_t out[static GROUP_KEY_BYTES])
{
    static const char text[] = "kpeer: whoever is on this subnet may join";
    crypto_generichash(out, GROUP_KEY_BYTES, (const unsigned char *)text, sizeof text - 1, NULL, 0);
}
