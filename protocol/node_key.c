#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/keytext.h"
#include "protocol/mem.h"
#include "protocol/node_state.h"

#define KEYS_VERSION  1
#define KEYS_MAX      (4 * 1024 * 1024)
#define GRACE_MS      2000 /* for what is on its way under the older key when nobody uses it any more */
#define ROLL_MS       60000 /* whoever has not taken the newest by then is handed it like one that comes back */
#define DIRTY_MS      1000
#define EXPIRE_MS     60000 /* how often it is looked what is over */
#define HAND_AGAIN_MS 500
#define FILE_AGAIN_MS 30000
#define DAY_MS        86400000.0

/* ---- what lasts ---- */

static void persist(struct node *n)
{
    struct pack_writer w;
    uint8_t *bytes = NULL;
    size_t bytes_n = 0, count = 0;
    n->keys.dirty_ms = 0;
    for (size_t i = 0; i < n->gossip.count; i++)
        count += n->gossip.item[i].kind == STATEMENT_KEY;
    pack_writer_init(&w, KEYS_MAX);
    pack_put_array(&w, 4);
    pack_put_uint(&w, KEYS_VERSION);
    pack_put_bool(&w, n->keys.evicted);
    pack_put_array(&w, count);
    for (size_t i = 0; i < n->gossip.count; i++)
        if (n->gossip.item[i].kind == STATEMENT_KEY)
            pack_put_raw(&w, n->gossip.item[i].wire, n->gossip.item[i].wire_bytes);
    keyring_pack(&w, &n->keys.ring);
    int rc = pack_writer_take(&w, &bytes, &bytes_n, NULL);
    pack_writer_fini(&w);
    if (rc) {
        n->no_memory = true;
        return;
    }
    if (!out_own(n, bytes, bytes_n))
        return;
    struct action *a = out_action(n, ACT_PERSIST);
    a->store = STORE_KEYS;
    a->bytes = bytes;
    a->n = bytes_n;
}

/* What the master told, ourselves perhaps. */
static void load_wire(struct node *n, const uint8_t *wire, size_t bytes)
{
    struct statement s;
    struct rekey k;
    int rc = statement_decode(wire, bytes, n->group_id, true, &s, NULL);
    if (rc == KPEER_ENOMEM)
        n->no_memory = true;
    if (rc || s.kind != STATEMENT_KEY)
        return;
    if (!peer_id_equal(&s.owner, &n->me->id)) {
        net_take(n, wire, bytes, true);
        return;
    }
    if (rekey_decode(s.payload, s.payload_bytes, &k) != 0)
        return;
    if (gossip_put(&n->gossip, &s) == KPEER_ENOMEM)
        n->no_memory = true;
    key_told(n, &s.subject, &k);
}

int key_load(struct node *n, const struct stored *s, struct err *err)
{
    struct pack_reader r;
    if (!s->bytes)
        return 0;
    int rc = pack_open(&r, s->bytes, s->n, 4, err);
    if (rc)
        return err_wrap(err, "stored keys");
    pack_array(&r, 4, 4);
    if (pack_uint(&r, UINT32_MAX) != KEYS_VERSION)
        pack_fail(&r, KPEER_EVERSION, "version");
    bool evicted = pack_bool(&r);
    uint32_t count = pack_array(&r, 0, GOSSIP_ITEMS_MAX);
    for (uint32_t i = 0; i < count && !pack_bad(&r); i++) {
        size_t bytes = 0;
        const uint8_t *wire = pack_raw(&r, &bytes);
        if (!pack_bad(&r))
            load_wire(n, wire, bytes);
    }
    if (!pack_bad(&r))
        rc = keyring_unpack(&r, &n->keys.ring, err);
    n->keys.evicted = evicted;
    if (rc == 0)
        rc = pack_close(&r, err);
    if (rc)
        err_wrap(err, "stored keys");
    return rc;
}

int key_init(struct node *n, const struct secret *group_key, struct err *err)
{
    n->keys.filed = secret_epoch(group_key);
    return keyring_init(&n->keys.ring, group_key, err);
}

void key_fini(struct node *n)
{
    keyring_fini(&n->keys.ring);
}

/* An older key that is open now has an end, and is for those who are members now. */
static void begin_overlap(struct node *n)
{
    keyring_end(&n->keys.ring, n->wall_ms + n->cfg.key_overlap_ms);
    n->keys.taken_ms = keyring_settled(&n->keys.ring) ? 0 : n->now_ms;
    n->keys.settled_ms = 0;
    for (size_t i = 0; i < n->member_count; i++)
        n->member[i]->entitled |= n->member[i]->has_profile;
}

void key_start(struct node *n)
{
    begin_overlap(n);
}

/* ---- which key for whom ---- */

void key_heard(struct member *m, uint32_t epoch)
{
    if (epoch > m->key_epoch)
        m->key_epoch = epoch;
}

bool key_accepts(const struct node *n, uint32_t epoch, const struct member *m)
{
    const struct ring_key *k = keyring_epoch(&n->keys.ring, epoch);
    if (!k || (m && m->evicted))
        return false;
    return epoch == keyring_newest(&n->keys.ring) || (!k->closed && m && m->entitled);
}

bool key_lives(const struct node *n, uint32_t epoch)
{
    const struct ring_key *k = keyring_epoch(&n->keys.ring, epoch);
    return k && !k->closed;
}

/* One of those for whose sake an older key is open. */
static bool counts(const struct member *m)
{
    return !m->self && m->entitled && !m->evicted && (m->state == STATE_ALIVE || m->state == STATE_SUSPECT);
}

/* The newest that all who are alive have. */
uint32_t key_beacon(const struct node *n)
{
    uint32_t epoch = keyring_newest(&n->keys.ring);
    /* Every other one is for newcomers, who have the newest alone and must not take themselves to be alone.
     */
    if (keyring_settled(&n->keys.ring) || n->beacons_sent & 1)
        return epoch;
    for (size_t i = 0; i < n->member_count; i++)
        if (counts(n->member[i]) && n->member[i]->key_epoch < epoch)
            epoch = n->member[i]->key_epoch;
    return keyring_for(&n->keys.ring, epoch)->epoch;
}

uint32_t key_for(const struct node *n, const struct member *to)
{
    return keyring_for(&n->keys.ring, to->key_epoch)->epoch;
}

const struct seal *key_seal(const struct node *n, const struct member *to)
{
    return keyring_for(&n->keys.ring, to->key_epoch)->seal;
}

static int open_kind(const struct node *n, enum seal_kind kind, const uint8_t *bytes, size_t bytes_n,
                     uint8_t *out, size_t *out_n, uint32_t *epoch)
{
    const struct keyring *ring = &n->keys.ring;
    for (size_t i = 0; i < ring->count; i++) {
        int rc = seal_open(ring->key[i].seal, kind, bytes, bytes_n, out, out_n);
        *epoch = ring->key[i].epoch;
        if (rc != KPEER_EREFUSED)
            return rc;
    }
    return KPEER_EREFUSED;
}

int key_open(const struct node *n, const uint8_t *bytes, size_t bytes_n, uint8_t *out, size_t *out_n,
             uint32_t *epoch)
{
    return open_kind(n, SEAL_MESSAGE, bytes, bytes_n, out, out_n, epoch);
}

/* ---- a newer key ---- */

/* Stored before anybody is told that it is here. */
static bool add(struct node *n, const uint8_t raw[static GROUP_KEY_BYTES], uint32_t epoch)
{
    if (keyring_add(&n->keys.ring, secret_later(raw, n->group_id, epoch), NULL) != 0) {
        n->no_memory = true;
        return false;
    }
    if (!n->started)
        return true;
    begin_overlap(n);
    return true;
}

static void be_evicted(struct node *n)
{
    if (n->keys.evicted)
        return;
    n->keys.evicted = true;
    n->work.ticket_nonce = 0;
    if (!n->started)
        return;
    if (n->work.main_step)
        out_cancel(n, n->work.main_step);
    persist(n);
    out_text(out_event(n, EVENT_EVICTED, &n->me->id), "this host was evicted by %s", n->record.founder_name);
}

static void take(struct node *n, const struct rekey *k)
{
    uint8_t raw[GROUP_KEY_BYTES];
    if (k->evicted) {
        be_evicted(n);
        return;
    }
    if (k->epoch <= keyring_newest(&n->keys.ring))
        return;
    if (seal_box_open(n->me, k->box, sizeof k->box, raw) != 0)
        net_drop(n, DROP_FORGED);
    else if (add(n, raw, k->epoch) && n->started) {
        persist(n);
        out_text(out_event(n, EVENT_KEY_ROTATED, &n->record.founder), "this host has key %u of the group",
                 k->epoch);
    }
    sodium_memzero(raw, sizeof raw);
}

void key_told(struct node *n, const struct peer_id *subject, const struct rekey *k)
{
    if (!n->keys.dirty_ms)
        n->keys.dirty_ms = n->now_ms ? n->now_ms : 1;
    if (peer_id_equal(subject, &n->me->id)) {
        take(n, k);
        return;
    }
    struct member *m = node_member_add(n, subject);
    if (!m)
        return;
    m->entitled |= !k->evicted;
    if (k->evicted && !m->evicted) {
        m->evicted = true;
        alive_evicted(n, m);
    }
}

/* ---- the master rotates ---- */

static bool may_rotate(struct node *n, uint64_t request)
{
    char hint[ERR_HINT_BYTES];
    if (n->cfg.key_fixed)
        out_reply(n, request, KPEER_EREFUSED, "this group trusts its subnet: its key is known to everybody",
                  "leave with every host, and form the group anew with a key");
    else if (!n->committed)
        out_reply(n, request, KPEER_ESTATE,
                  "there is no cluster yet, so nobody is entitled to rotate the key",
                  "kpeer status tells what it waits for");
    else if (!node_is_founder(n)) {
        snprintf(hint, sizeof hint, "on %s: the same command", n->record.founder_name);
        out_reply(n, request, KPEER_EREFUSED, "only the master rotates the key and evicts hosts", hint);
    } else if (n->work.leaving != LEAVE_NONE)
        out_reply(n, request, KPEER_ESTATE, "this host is leaving", "");
    else if (n->keys.request || n->keys.taken_ms)
        out_reply(n, request, KPEER_ESTATE, "a rotation is under way", "wait a minute, and ask again");
    else
        return true;
    return false;
}

/* One member's part of it. */
static void state(struct node *n, const struct member *m, const uint8_t raw[static GROUP_KEY_BYTES],
                  uint32_t epoch)
{
    uint8_t payload[STATEMENT_PAYLOAD_MAX], seed[32];
    struct rekey k = {.epoch = epoch, .evicted = m->evicted};
    node_random_bytes(n, seed, sizeof seed);
    int rc = k.evicted ? 0 : seal_box(m->profile.box_pk, seed, raw, GROUP_KEY_BYTES, k.box);
    sodium_memzero(seed, sizeof seed);
    if (rc == 0)
        net_state(n, STATEMENT_KEY, &m->id, payload, rekey_encode(&k, payload));
}

/* Who said goodbye gets none; who is away does, and finds it when it comes back. */
static void state_all(struct node *n, const uint8_t raw[static GROUP_KEY_BYTES], uint32_t epoch)
{
    for (size_t i = 0; i < n->member_count; i++) {
        const struct member *m = n->member[i];
        if (!m->self && m->has_profile && (m->evicted || m->state != STATE_LEFT))
            state(n, m, raw, epoch);
    }
}

static void rotate(struct node *n, uint64_t request)
{
    uint8_t raw[GROUP_KEY_BYTES];
    uint32_t epoch = keyring_newest(&n->keys.ring) + 1;
    node_random_bytes(n, raw, sizeof raw);
    if (add(n, raw, epoch)) {
        state_all(n, raw, epoch);
        persist(n);
        n->keys.request = request;
        out_text(out_event(n, EVENT_KEY_ROTATED, &n->me->id), "key %u of the group is handed out", epoch);
        net_push_kind(n, STATEMENT_KEY);
    }
    sodium_memzero(raw, sizeof raw);
}

void key_rotate(struct node *n, uint64_t request)
{
    if (may_rotate(n, request))
        rotate(n, request);
}

static struct member *find(struct node *n, const char *who, size_t *found)
{
    struct member *last = NULL;
    char id[PEER_ID_TEXT];
    *found = 0;
    for (size_t i = 0; i < n->member_count; i++) {
        struct member *m = n->member[i];
        peer_id_text(&m->id, id);
        bool named = m->has_profile && !m->evicted && strcmp(node_name_of(n, &m->id), who) == 0;
        if (!named && strcmp(id, who) != 0)
            continue;
        last = m;
        ++*found;
    }
    return last;
}

void key_evict(struct node *n, uint64_t request, const char *who)
{
    size_t found = 0;
    struct member *m = find(n, who, &found);
    if (!may_rotate(n, request))
        return;
    if (found != 1)
        out_reply(n, request, found ? KPEER_EINVAL : KPEER_ENOTFOUND,
                  found ? "several members have this name" : "there is no such member",
                  "kpeer members -o wide shows names and ids");
    else if (m->self)
        out_reply(n, request, KPEER_EREFUSED, "this host is the master: without it there is no cluster",
                  "kpeer leave --force here ends the cluster; let the workers leave first");
    else if (!m->has_profile)
        out_reply(n, request, KPEER_ESTATE, "nothing but its id is known of this member yet", "");
    else {
        m->evicted = true;
        alive_evicted(n, m);
        rotate(n, request);
    }
}

/* ---- members that come back ---- */

/* Of all who hear it one answers, as a rule: it speaks every second until it is heard. What it gets only it
 * can open. */
void key_stray(struct node *n, const struct node_event *ev)
{
    const struct hello *h = ev->hello;
    const struct ring_key *k = keyring_epoch(&n->keys.ring, h->epoch);
    struct member *m = node_member(n, &h->id);
    uint64_t alive = node_alive_count(n);
    uint8_t nonce[SEAL_NONCE_BYTES];
    net_drop(n, DROP_UNKNOWN);
    const struct gossip_item *it =
        k && m && n->committed ? gossip_find(&n->gossip, &n->record.founder, STATEMENT_KEY, &h->id) : NULL;
    /* Who is heard under the newest has it: this is its old beacon, sent again by somebody. */
    bool has_it =
        m && !m->evicted && m->state == STATE_ALIVE && m->heard_epoch == keyring_newest(&n->keys.ring);
    if (!it || has_it || (m->handed_ms && n->now_ms < m->handed_ms + HAND_AGAIN_MS) ||
        (alive > 1 && node_random(n) % alive != 0))
        return;
    m->handed_ms = n->now_ms;
    uint8_t *sealed = malloc(it->wire_bytes + SEAL_OVERHEAD_BYTES);
    if (!sealed) {
        n->no_memory = true;
        return;
    }
    node_random_bytes(n, nonce, sizeof nonce);
    size_t bytes = seal_close(k->seal, SEAL_KEY, nonce, it->wire, it->wire_bytes, sealed);
    if (!out_own(n, sealed, bytes))
        return;
    struct action *a = out_action(n, ACT_HAND);
    memcpy(a->address, ev->address, sizeof a->address);
    a->bytes = sealed;
    a->n = bytes;
}

/* Whoever stole an older key can send this, too: only what the master signed for us counts. */
void key_handed(struct node *n, const struct node_event *ev)
{
    uint8_t plain[STATEMENT_WIRE_MAX];
    struct statement s;
    size_t bytes = 0;
    uint32_t epoch;
    if (ev->n < SEAL_OVERHEAD_BYTES || ev->n > sizeof plain ||
        open_kind(n, SEAL_KEY, ev->bytes, ev->n, plain, &bytes, &epoch) != 0 ||
        statement_decode(plain, bytes, n->group_id, false, &s, NULL) != 0) {
        net_drop(n, DROP_MALFORMED);
        return;
    }
    if (s.kind != STATEMENT_KEY || !peer_id_equal(&s.subject, &n->me->id) ||
        peer_id_equal(&s.owner, &n->me->id)) {
        net_drop(n, DROP_UNKNOWN);
        return;
    }
    net_take(n, plain, bytes, false);
}

/* ---- the end of a rotation ---- */

static void tell_closed(struct node *n)
{
    size_t have = 0, away = 0, strange = 0;
    char text[300], more[100] = "";
    uint32_t epoch = keyring_newest(&n->keys.ring);
    for (size_t i = 0; i < n->member_count; i++) {
        const struct member *m = n->member[i];
        if (m->self || m->evicted || m->state == STATE_LEFT || !m->entitled)
            continue;
        have += m->key_epoch >= epoch;
        away += m->key_epoch < epoch;
        /* What proves the key's sender is the record, and that comes under the key alone. */
        strange += m->key_epoch < epoch && strcmp(m->profile.cluster_id, n->record.cluster_id) != 0;
    }
    if (strange)
        snprintf(more, sizeof more, "; %zu of those know of no cluster yet: copy the key file to them",
                 strange);
    snprintf(
        text, sizeof text,
        "key %u: %zu other members have it, and the old one is refused from here on; %zu are away and get "
        "it when they come back within %.1f days%s",
        epoch, have, away, n->cfg.key_overlap_ms / DAY_MS, more);
    out_text(out_event(n, EVENT_KEY_CLOSED, &n->me->id), "%s", text);
    out_reply(n, n->keys.request, 0, text, "");
    n->keys.request = 0;
}

static void close_older(struct node *n)
{
    bool used = false;
    uint32_t newest = keyring_newest(&n->keys.ring);
    for (size_t i = 0; i < n->member_count && !used; i++) {
        const struct member *m = n->member[i];
        used = counts(m) && (m->key_epoch < newest || m->heard_epoch < newest);
    }
    if (used)
        n->keys.settled_ms = 0;
    else if (n->keys.settled_ms == 0)
        n->keys.settled_ms = n->now_ms;
    if (n->now_ms < n->keys.taken_ms + ROLL_MS && (used || n->now_ms < n->keys.settled_ms + GRACE_MS))
        return;
    keyring_close(&n->keys.ring);
    n->keys.taken_ms = n->keys.settled_ms = 0;
    persist(n);
    tell_closed(n);
}

static void expire(struct node *n)
{
    n->keys.expire_ms = n->now_ms + EXPIRE_MS;
    if (keyring_expire(&n->keys.ring, n->wall_ms))
        persist(n);
}

/* ---- the key file, which is root's ---- */

static void put_in_file(struct node *n)
{
    struct step s = {.kind = STEP_REKEY};
    n->keys.filing = keyring_newest(&n->keys.ring);
    n->keys.file_ms = n->now_ms + FILE_AGAIN_MS;
    keytext_pack(n->keys.ring.key[0].secret, s.group_key);
    n->keys.file_step = out_run(n, &s, &n->me->id, 0);
    sodium_memzero(&s, sizeof s);
}

void key_filed(struct node *n, const struct step_result *r)
{
    n->keys.file_step = 0;
    if (r->code)
        return;
    n->keys.filed = n->keys.filing;
    n->keys.file_ms = 0;
}

static bool unfiled(const struct node *n)
{
    return n->keys.filed < keyring_newest(&n->keys.ring) && !n->keys.file_step &&
           n->work.leaving == LEAVE_NONE;
}

void key_tick(struct node *n)
{
    if (n->keys.taken_ms && !n->keys.evicted)
        close_older(n);
    if (n->keys.ring.count > 1 && n->now_ms >= n->keys.expire_ms)
        expire(n);
    if (unfiled(n) && n->now_ms >= n->keys.file_ms)
        put_in_file(n);
    if (n->keys.dirty_ms && n->now_ms >= n->keys.dirty_ms + DIRTY_MS)
        persist(n);
}

uint64_t key_wake(const struct node *n)
{
    const struct keys *k = &n->keys;
    uint64_t at = k->ring.count > 1 ? k->expire_ms : UINT64_MAX;
    if (k->taken_ms && !k->evicted && k->taken_ms + ROLL_MS < at)
        at = k->taken_ms + ROLL_MS;
    if (k->taken_ms && !k->evicted && k->settled_ms && k->settled_ms + GRACE_MS < at)
        at = k->settled_ms + GRACE_MS;
    if (k->dirty_ms && k->dirty_ms + DIRTY_MS < at)
        at = k->dirty_ms + DIRTY_MS;
    if (unfiled(n) && k->file_ms < at)
        at = k->file_ms;
    return at;
}

void key_show(const struct node *n, struct node_status *out)
{
    if (!n->keys.evicted || n->work.leaving != LEAVE_NONE)
        return;
    snprintf(out->error, sizeof out->error, "this host was evicted from the group by its master %s",
             n->record.founder_name);
    snprintf(out->hint, sizeof out->hint,
             "kpeer leave --force puts the host back; to come again it needs the group's present key");
}
