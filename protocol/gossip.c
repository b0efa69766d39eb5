#include "protocol/gossip.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/fault.h"

void gossip_fini(struct gossip *g)
{
    for (size_t i = 0; i < g->count; i++)
        free(g->item[i].wire);
    free(g->item);
    memset(g, 0, sizeof *g);
}

static int compare(const struct gossip_item *a, const struct peer_id *owner, enum statement_kind kind,
                   const struct peer_id *subject)
{
    int c = peer_id_compare(&a->owner, owner);
    if (c == 0)
        c = (int)a->kind - (int)kind;
    return c ? c : peer_id_compare(&a->subject, subject);
}

/* The index of the first item that is not before the key. */
static size_t lower_bound(const struct gossip *g, const struct peer_id *owner, enum statement_kind kind,
                          const struct peer_id *subject)
{
    size_t lo = 0, hi = g->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (compare(&g->item[mid], owner, kind, subject) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct gossip_item *gossip_find(const struct gossip *g, const struct peer_id *owner,
                                      enum statement_kind kind, const struct peer_id *subject)
{
    size_t i = lower_bound(g, owner, kind, subject);
    return i < g->count && compare(&g->item[i], owner, kind, subject) == 0 ? &g->item[i] : NULL;
}

bool gossip_knows(const struct gossip *g, const struct statement *s)
{
    const struct gossip_item *it = gossip_find(g, &s->owner, s->kind, &s->subject);
    return it && (FAULT(OLDER_STATEMENT_TAKEN) ? it->version == s->version : it->version >= s->version);
}

static uint64_t hash_of(const struct statement *s)
{
    uint8_t h[16];
    uint8_t tail[9] = {(uint8_t)s->kind};
    uint64_t v = 0;
    crypto_generichash_state st;
    for (int i = 0; i < 8; i++)
        tail[1 + i] = (uint8_t)(s->version >> (56 - 8 * i));
    crypto_generichash_init(&st, NULL, 0, sizeof h);
    crypto_generichash_update(&st, s->owner.b, sizeof s->owner.b);
    crypto_generichash_update(&st, s->subject.b, sizeof s->subject.b);
    crypto_generichash_update(&st, tail, sizeof tail);
    crypto_generichash_final(&st, h, sizeof h);
    memcpy(&v, h, sizeof v);
    return v;
}

static int make_room(struct gossip *g)
{
    if (g->count < g->room)
        return 0;
    if (g->count >= GOSSIP_ITEMS_MAX)
        return KPEER_ELIMIT;
    size_t room = g->room ? 2 * g->room : 32;
    struct gossip_item *item = realloc(g->item, room * sizeof *item);
    if (!item)
        return KPEER_ENOMEM;
    g->item = item;
    g->room = room;
    return 0;
}

int gossip_put(struct gossip *g, const struct statement *s)
{
    size_t i = lower_bound(g, &s->owner, s->kind, &s->subject);
    bool there = i < g->count && compare(&g->item[i], &s->owner, s->kind, &s->subject) == 0;
    if (there &&
        (FAULT(OLDER_STATEMENT_TAKEN) ? g->item[i].version == s->version : g->item[i].version >= s->version))
        return 0;
    int rc = there ? 0 : make_room(g);
    if (rc)
        return rc;
    uint8_t *wire = malloc(s->wire_bytes);
    if (!wire)
        return KPEER_ENOMEM;
    memcpy(wire, s->wire, s->wire_bytes);
    if (there) {
        g->digest ^= g->item[i].hash;
        free(g->item[i].wire);
    } else {
        memmove(&g->item[i + 1], &g->item[i], (g->count - i) * sizeof *g->item);
        g->count++;
    }
    g->item[i] = (struct gossip_item){.owner = s->owner,
                                      .kind = s->kind,
                                      .subject = s->subject,
                                      .version = s->version,
                                      .hash = hash_of(s),
                                      .wire = wire,
                                      .wire_bytes = s->wire_bytes};
    g->digest ^= g->item[i].hash;
    return 1;
}

void gossip_forget(struct gossip *g, const struct peer_id *owner)
{
    size_t kept = 0;
    for (size_t i = 0; i < g->count; i++) {
        if (peer_id_equal(&g->item[i].owner, owner)) {
            g->digest ^= g->item[i].hash;
            free(g->item[i].wire);
        } else {
            g->item[kept++] = g->item[i];
        }
    }
    g->count = kept;
}

void gossip_summary_pack(const struct gossip *g, struct pack_writer *w)
{
    pack_put_array(w, g->count);
    for (size_t i = 0; i < g->count; i++) {
        pack_put_array(w, 4);
        pack_put_bin(w, g->item[i].owner.b, PEER_ID_BYTES);
        pack_put_uint(w, g->item[i].kind);
        pack_put_bin(w, g->item[i].subject.b, PEER_ID_BYTES);
        pack_put_uint(w, g->item[i].version);
    }
}

struct key {
    struct peer_id owner;
    enum statement_kind kind;
    struct peer_id subject;
    uint64_t version;
};

static void read_key(struct pack_reader *r, struct key *k)
{
    pack_array(r, 4, 4);
    pack_bin_copy(r, k->owner.b, sizeof k->owner.b);
    k->kind = (enum statement_kind)pack_uint(r, STATEMENT_KEY);
    pack_bin_copy(r, k->subject.b, sizeof k->subject.b);
    k->version = pack_uint(r, UINT64_MAX);
}

/* Both sides are in the same order, so one pass over both finds every difference; a summary out of order is a
 * fault. */
void gossip_compare(const struct gossip *g, struct pack_reader *r,
                    void (*lacks)(void *ctx, const struct gossip_item *item), void *ctx, bool *ahead)
{
    struct key k, last = {0};
    size_t mine = 0;
    uint32_t n = pack_array(r, 0, GOSSIP_ITEMS_MAX);
    *ahead = false;
    for (uint32_t i = 0; i < n && !pack_bad(r); i++) {
        read_key(r, &k);
        if (i > 0 &&
            compare(&(struct gossip_item){.owner = last.owner, .kind = last.kind, .subject = last.subject},
                    &k.owner, k.kind, &k.subject) >= 0)
            pack_fail(r, KPEER_EINVAL, "summary out of order");
        if (pack_bad(r))
            return;
        while (mine < g->count && compare(&g->item[mine], &k.owner, k.kind, &k.subject) < 0)
            lacks(ctx, &g->item[mine++]);
        if (mine < g->count && compare(&g->item[mine], &k.owner, k.kind, &k.subject) == 0) {
            if (g->item[mine].version > k.version)
                lacks(ctx, &g->item[mine]);
            else if (g->item[mine].version < k.version)
                *ahead = true;
            mine++;
        } else {
            *ahead = true;
        }
        last = k;
    }
    while (!pack_bad(r) && mine < g->count)
        lacks(ctx, &g->item[mine++]);
}
