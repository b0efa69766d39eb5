#include "discovery/seeds.h"

static struct seed *find(struct seeds *s, const struct address *address, uint16_t port)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->seed[i].port == port && address_equal(&s->seed[i].address, address))
            return &s->seed[i];
    return NULL;
}

bool seeds_add(struct seeds *s, const struct address *address, uint16_t port)
{
    if (find(s, address, port))
        return true;
    if (s->count == SEEDS_MAX)
        return false;
    s->seed[s->count++] = (struct seed){.address = *address, .port = port, .permanent = true};
    return true;
}

static bool expired(const struct seed *seed, uint64_t now_ms, uint32_t expiry_ms)
{
    return !seed->permanent && now_ms - seed->heard_ms >= expiry_ms;
}

void seeds_heard(struct seeds *s, const struct address *address, uint16_t port, uint64_t now_ms,
                 uint32_t expiry_ms)
{
    struct seed *seed = find(s, address, port);
    for (size_t i = 0; !seed && i < s->count; i++)
        if (expired(&s->seed[i], now_ms, expiry_ms)) {
            seed = &s->seed[i];
            *seed = (struct seed){.address = *address, .port = port};
        }
    if (!seed) {
        if (s->count == SEEDS_MAX)
            return;
        seed = &s->seed[s->count++];
        *seed = (struct seed){.address = *address, .port = port};
    }
    seed->heard_ms = now_ms;
}

void seeds_each(struct seeds *s, uint64_t now_ms, uint32_t expiry_ms,
                void (*send)(void *ctx, const struct seed *seed), void *ctx)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++)
        if (!expired(&s->seed[i], now_ms, expiry_ms))
            s->seed[kept++] = s->seed[i];
    s->count = kept;
    for (size_t i = 0; i < s->count; i++) {
        struct seed *seed = &s->seed[i];
        if (seed->sent_ms && now_ms - seed->sent_ms < SEEDS_INTERVAL_MS)
            continue;
        seed->sent_ms = now_ms;
        send(ctx, seed);
    }
}
