/* The group's key: its rotations, the key file of each host, and who opens what with which key. */
#include <stdlib.h>
#include <string.h>

#include "protocol/keytext.h"
#include "protocol/mem.h"
#include "protocol/node_state.h"
#include "tests/sim/world.h"

#define AGAIN_MS 20000 /* a rotation that could not be asked for, or was refused */

/* Takes `key` over. The first that sees a new key tells of it: the master, or, where that one died in the
 * middle of the rotation, whoever puts it in its file. */
static void learn(struct world *w, uint32_t group, struct secret *key)
{
    if (!key || secret_epoch(key) >= KEYS_MAX)
        abort();
    struct secret **place = &w->key[group][secret_epoch(key)];
    if (*place)
        secret_free(key);
    else
        *place = key;
    if (secret_epoch(*place) > w->newest[group])
        w->newest[group] = secret_epoch(*place);
}

void keys_make(struct world *w)
{
    uint64_t rng = w->s->seed ^ 0x6b657973;
    for (uint32_t g = 0; g < GROUPS_MAX; g++) {
        uint8_t key[32];
        for (size_t i = 0; i < sizeof key; i++)
            key[i] = (uint8_t)draw(&rng);
        learn(w, g, secret_new(key));
    }
}

void keys_free(struct world *w)
{
    for (uint32_t g = 0; g < GROUPS_MAX; g++)
        for (uint32_t e = 0; e < KEYS_MAX; e++)
            secret_free(w->key[g][e]);
}

/* Whoever makes a host a member, for the first time or anew, gives it the key of that day. */
const struct secret *keys_file(const struct world *w, struct host *h)
{
    if (h->fresh)
        h->file_epoch = w->newest[h->group];
    h->fresh = false;
    return w->key[h->group][h->file_epoch];
}

uint32_t keys_step(struct world *w, const struct host *h, const struct step *s)
{
    struct secret *key = NULL;
    if (keytext_unpack(s->group_key, &key, NULL) != 0) {
        broken(w, 0, "%s puts no key in its file", h->name);
        return h->file_epoch;
    }
    uint32_t epoch = secret_epoch(key);
    learn(w, h->group, key);
    return epoch;
}

/* ---- datagrams ---- */

const struct seal *keys_seal(const struct host *h, uint32_t epoch)
{
    const struct ring_key *k = keyring_epoch(node_keyring(h->node), epoch);
    return k ? k->seal : node_keyring(h->node)->key[0].seal;
}

const struct ring_key *keys_find(const struct host *h, const uint8_t *bytes, size_t n)
{
    enum seal_kind kind;
    uint8_t id[GROUP_ID_BYTES];
    return seal_peek(bytes, n, &kind, id) ? NULL : keyring_find(node_keyring(h->node), id);
}

/* ---- rotations ---- */

static void plan(struct world *w, uint32_t number, uint64_t ms)
{
    queue_put(&w->queue, (struct item){.at_ms = w->now_ms + ms, .kind = H_ROTATE, .number = number});
    w->pending++;
}

/* The first rotation comes some time after the first group's record. */
void keys_event(struct world *w, const struct host *h, enum event_kind event)
{
    if (event != EVENT_RECORD_COMMITTED || h->group != 0 || w->rotation_planned || w->s->rotations == 0)
        return;
    w->rotation_planned = true;
    plan(w, 1, w->s->rotate_ms);
}

static struct host *founder(struct world *w)
{
    for (uint32_t i = 0; i < w->slots; i++) {
        struct host *h = &w->host[i];
        if (h->up && h->group == 0 && h->node->committed && node_is_founder(h->node) &&
            w->now_ms >= h->paused_until_ms && w->now_ms >= h->stopped_until_ms)
            return h;
    }
    return NULL;
}

/* Who is up and no member yet has the older key alone, and would need the new one copied: an administrator
 * waits until it is one. */
static bool knows_all(const struct world *w, const struct host *master)
{
    for (uint32_t i = 0; i < w->slots; i++) {
        const struct host *h = &w->host[i];
        if (!h->up || h->group != master->group || h == master)
            continue;
        const struct member *m = node_member(master->node, &h->identity->id);
        if (!m || !m->has_profile || m->state == STATE_LEFT || !h->node->committed || h->voter->shared)
            return false;
    }
    return true;
}

/* Nor can who is away without the record tell who may change the key: that one, too, has it copied. */
static void copy_key(struct world *w, const struct host *master)
{
    for (uint32_t i = 0; i < w->slots; i++) {
        struct host *h = &w->host[i];
        const struct member *m = h->exists ? node_member(master->node, &h->identity->id) : NULL;
        if (h->exists && !h->up && h->group == master->group &&
            (!m || !m->has_profile || !h->disk.file[STORE_CLUSTER].bytes))
            h->fresh = true;
    }
}

static bool ask(struct world *w)
{
    struct host *h = founder(w);
    if (!h || !knows_all(w, h) || scenario_may_split(w->s))
        return false;
    uint64_t generation = h->generation;
    uint32_t before = w->newest[0];
    tell(w, h, "is asked for a new key of the group");
    host_feed(w, h, &(struct node_event){.kind = EV_ROTATE, .request = 3});
    if (!h->up || h->generation != generation)
        return false;
    const struct secret *newest = node_keyring(h->node)->key[0].secret;
    uint8_t group[GROUP_ID_BYTES];
    secret_group_id(newest, group);
    learn(w, 0, secret_later(secret_bytes(newest), group, secret_epoch(newest)));
    if (w->newest[0] == before)
        return false;
    copy_key(w, h);
    return true;
}

/* While faults last it is tried now and again; what was stored by a master that died in the middle of it
 * counts. */
void keys_rotate(struct world *w, uint32_t number)
{
    w->pending--;
    bool done = ask(w);
    if (done && number < w->s->rotations)
        plan(w, number + 1, w->s->rotate_ms + 1000);
    else if (!done && w->now_ms < w->s->faults_ms)
        plan(w, number, 1 + AGAIN_MS / (1 + number));
}

/* No member lost: all who are ready go by the newest key, and refuse the others. */
bool keys_settled(const struct world *w)
{
    for (uint32_t i = 0; w->newest[0] > 0 && i < w->slots; i++) {
        const struct host *h = &w->host[i];
        if (h->up && h->group == 0 &&
            (keyring_newest(node_keyring(h->node)) != w->newest[0] ||
             !keyring_settled(node_keyring(h->node)) || h->file_epoch != w->newest[0]))
            return false;
    }
    return true;
}
