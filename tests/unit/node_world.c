#include "tests/unit/node_world.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

static void must(bool good)
{
    if (!good)
        abort();
}

struct world *world_new(size_t count, uint32_t expect)
{
    static const uint8_t key[32] = {42};
    struct world *w = calloc(1, sizeof *w);
    must(w && count <= WORLD_PEERS);
    w->now_ms = 1000;
    w->count = count;
    w->key = secret_new(key);
    must(w->key && seal_new(&w->seal, w->key, NULL) == 0);
    for (size_t i = 0; i < count; i++) {
        struct world_peer *p = &w->peer[i];
        uint8_t seed[32] = {(uint8_t)(i + 1)};
        must(identity_new(&p->me, seed, NULL) == 0);
        node_config_default(&p->cfg);
        snprintf(p->cfg.name, sizeof p->cfg.name, "node%zu", i + 1);
        snprintf(p->cfg.version, sizeof p->cfg.version, "0.0.0");
        snprintf(p->address, sizeof p->address, "192.168.56.%zu", 11 + i);
        p->cfg.expect = expect;
    }
    return w;
}

void world_stop(struct world *w, size_t who)
{
    node_free(w->peer[who].node);
    w->peer[who].node = NULL;
}

void world_free(struct world *w)
{
    for (size_t i = 0; i < w->count; i++) {
        world_stop(w, i);
        identity_free(w->peer[i].me);
        for (int k = 0; k < STORE_KEY_COUNT; k++)
            free(w->peer[i].disk[k]);
    }
    for (size_t i = w->mail_next; i < w->mail_count; i++) {
        free(w->mail[i].bytes);
        free(w->mail[i].reach);
    }
    free(w->mail);
    seal_free(w->seal);
    secret_free(w->key);
    free(w);
}

static void post(struct world *w, struct world_mail m, const uint8_t *bytes)
{
    if (w->mail_next == w->mail_count)
        w->mail_next = w->mail_count = 0;
    if (w->mail_count == w->mail_room) {
        w->mail_room = w->mail_room ? 2 * w->mail_room : 64;
        w->mail = realloc(w->mail, w->mail_room * sizeof *w->mail);
        must(w->mail);
    }
    if (bytes) {
        m.bytes = malloc(m.n);
        must(m.bytes);
        memcpy(m.bytes, bytes, m.n);
    }
    w->mail[w->mail_count++] = m;
}

static int index_of(const struct world *w, const struct peer_id *id)
{
    for (size_t i = 0; i < w->count; i++)
        if (peer_id_equal(&w->peer[i].me->id, id))
            return (int)i;
    return -1;
}

static void persist(struct world_peer *p, const struct action *a)
{
    free(p->disk[a->store]);
    p->disk[a->store] = malloc(a->n);
    must(p->disk[a->store]);
    memcpy(p->disk[a->store], a->bytes, a->n);
    p->disk_bytes[a->store] = a->n;
}

static void reach(struct world *w, size_t who, const struct reach_order *o)
{
    struct reach_report *r = calloc(1, sizeof *r);
    must(r);
    *r = (struct reach_report){.what = o->what, .survey = o->survey, .mtu = 1500};
    memset(r->listen, LISTEN_OURS, sizeof r->listen);
    for (size_t d = 0; d < o->count; d++) {
        memset(r->seen.tcp[d], REACH_OK, sizeof r->seen.tcp[d]);
        r->seen.heard[d] = 1500;
    }
    if (w->on_reach)
        w->on_reach(w, who, o, r);
    post(w, (struct world_mail){.to = who, .reach = r}, NULL);
}

static void carry_out(struct world *w, size_t who, const struct action *a)
{
    struct world_peer *p = &w->peer[who];
    int to;
    switch (a->kind) {
    case ACT_BEACON:
        for (size_t i = 0; i < w->count; i++)
            if (i != who)
                post(w, (struct world_mail){.from = who, .to = i, .hello = *a->hello}, NULL);
        break;
    case ACT_PULSE:
        to = index_of(w, &a->peer);
        if (to >= 0)
            post(w, (struct world_mail){.from = who, .to = (size_t)to, .pulse = a->pulse}, NULL);
        break;
    case ACT_SEND:
        to = index_of(w, &a->peer);
        if (to >= 0)
            post(w, (struct world_mail){.from = who, .to = (size_t)to, .n = a->n}, a->bytes);
        break;
    case ACT_HAND:
        for (size_t i = 0; i < w->count; i++)
            if (strcmp(w->peer[i].address, a->address) == 0)
                post(w, (struct world_mail){.from = who, .to = i, .n = a->n, .handed = true}, a->bytes);
        break;
    case ACT_PERSIST:
        persist(p, a);
        break;
    case ACT_RUN:
        p->rekeyed += a->step->kind == STEP_REKEY;
        if (w->slow && a->step->kind == w->slow) {
            w->slow_step = a->step->id;
            break;
        }
        post(w, (struct world_mail){.to = who, .step = a->step->id, .kind = a->step->kind}, NULL);
        break;
    case ACT_CANCEL:
        if (w->slow_step && a->step->id == w->slow_step)
            post(w,
                 (struct world_mail){
                     .to = who, .step = w->slow_step, .kind = w->slow, .code = KPEER_ECANCELED},
                 NULL);
        break;
    case ACT_REACH:
        if (a->reach->what != REACH_CLOSE)
            reach(w, who, a->reach);
        break;
    case ACT_REPLY:
        p->replies++;
        p->reply_code = a->code;
        mem_copy_text(p->reply, sizeof p->reply, a->text);
        break;
    case ACT_STOP:
        p->stopped = true;
        break;
    default:
        break;
    }
}

void world_feed(struct world *w, size_t who, const struct node_event *event)
{
    struct world_peer *p = &w->peer[who];
    struct actions acts;
    struct node_event ev = *event;
    if (!p->node)
        return;
    ev.wall_ms = 1700000000000 + (int64_t)w->now_ms;
    if (w->on_event)
        w->on_event(w, who, &ev);
    must(node_step(p->node, &ev, w->now_ms, &acts) == 0);
    p->wake_ms = acts.wake_ms;
    for (size_t i = 0; i < acts.count; i++) {
        if (w->on_action)
            w->on_action(w, who, &acts.list[i]);
        if (!w->hold)
            carry_out(w, who, &acts.list[i]);
    }
}

static void fill_facts(const struct world *w, size_t who, struct facts *f)
{
    f->machine_id[0] = f->product_uuid[0] = (uint8_t)(who + 1);
    if (w->peer[who].machine_id)
        f->machine_id[0] = w->peer[who].machine_id;
    f->cpus = 2;
    f->memory_mb = who % 3 == 2 ? 1000 : 4000;
    snprintf(f->hostname, sizeof f->hostname, "node%zu", who + 1);
    mem_copy_text(f->kubernetes_version, sizeof f->kubernetes_version, "v1.20.2");
}

static void step_done(struct world *w, size_t who, uint32_t id, enum step_kind kind, int code)
{
    static uint8_t blob[] = "a kubeconfig";
    struct step_result r = {.id = id, .kind = kind, .code = code};
    if ((kind == STEP_RENAME || kind == STEP_MACHINE_ID) && w->peer[who].was_node)
        r.code = KPEER_ESTATE;
    if (kind == STEP_RESET)
        w->peer[who].was_node = false;
    if (kind == STEP_MACHINE_ID && r.code == 0)
        w->peer[who].machine_id = 0;
    fill_facts(w, who, &r.facts);
    r.have_facts = kind == STEP_INSPECT || kind == STEP_FIX || kind == STEP_PREFLIGHT;
    if (kind == STEP_CA)
        mem_copy_text(r.ca_hash, sizeof r.ca_hash,
                      "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    if (kind == STEP_TOKEN_MINT)
        mem_copy_text(r.token, sizeof r.token, "abcdef.0123456789abcdef");
    if (kind == STEP_PROVE)
        snprintf(r.pod_address, sizeof r.pod_address, "10.244.%zu.2", who);
    if (kind == STEP_KUBECONFIG) {
        r.blob = blob;
        r.blob_bytes = sizeof blob;
    }
    if (kind == STEP_VERIFY && code == 0) {
        r.findings[0] = (struct finding){FINDING_GREEN, "reached", "node1 is answered", ""};
        r.finding_count = 1;
    }
    world_feed(w, who, &(struct node_event){.kind = EV_STEP_DONE, .result = &r});
}

void world_start(struct world *w, size_t who)
{
    struct world_peer *p = &w->peer[who];
    struct stored stored[STORE_KEY_COUNT];
    struct host_nets nets = {.net_count = 1, .net = {"192.168.56.0/24"}, .mac_count = 1};
    struct node_event ev = {.kind = EV_ADDRESS, .interface = "eth1"};
    uint8_t seed[32] = {(uint8_t)who, (uint8_t)w->now_ms};
    for (int i = 0; i < STORE_KEY_COUNT; i++)
        stored[i] = (struct stored){p->disk[i], p->disk_bytes[i]};
    must(node_new(&p->node, &p->cfg, p->me, w->key, stored, w->now_ms * 10 + who, seed, NULL) == 0);
    nets.mac[0][5] = (uint8_t)(who + 1);
    world_feed(w, who, &(struct node_event){.kind = EV_START});
    world_feed(w, who, &(struct node_event){.kind = EV_HOST, .nets = &nets});
    memcpy(ev.address, p->address, sizeof ev.address);
    world_feed(w, who, &ev);
}

static void deliver(struct world *w, const struct world_mail *m)
{
    struct node_event ev = {.kind = EV_HELLO, .hello = &m->hello};
    if (m->step) {
        step_done(w, m->to, m->step, m->kind, m->code);
        return;
    }
    if (m->reach) {
        world_feed(w, m->to, &(struct node_event){.kind = EV_REACH, .reach = m->reach});
        return;
    }
    if (w->on_message)
        w->on_message(w, m);
    memcpy(ev.address, w->peer[m->from].address, sizeof ev.address);
    if (m->pulse.instance) {
        ev.kind = EV_PULSE;
        ev.pulse = &m->pulse;
    }
    if (m->bytes) {
        ev.kind = m->handed ? EV_HANDED : EV_MESSAGE;
        ev.peer = w->peer[m->from].me->id;
        ev.bytes = m->bytes;
        ev.n = m->n;
    }
    world_feed(w, m->to, &ev);
}

static uint64_t next_wake(const struct world *w)
{
    uint64_t at = UINT64_MAX;
    for (size_t i = 0; i < w->count; i++)
        if (w->peer[i].node && w->peer[i].wake_ms < at)
            at = w->peer[i].wake_ms;
    return at;
}

void world_run(struct world *w, uint64_t for_ms)
{
    uint64_t end = w->now_ms + for_ms;
    for (;;) {
        while (w->mail_next < w->mail_count) {
            struct world_mail m = w->mail[w->mail_next++];
            deliver(w, &m);
            free(m.bytes);
            free(m.reach);
        }
        uint64_t at = next_wake(w);
        if (at > end)
            break;
        w->now_ms = at > w->now_ms ? at : w->now_ms;
        for (size_t i = 0; i < w->count; i++)
            if (w->peer[i].node && w->peer[i].wake_ms <= w->now_ms)
                world_feed(w, i, &(struct node_event){.kind = EV_TICK});
    }
    w->now_ms = end;
}

bool world_run_ready(struct world *w, uint64_t most_ms)
{
    for (uint64_t end = w->now_ms + most_ms; w->now_ms < end;) {
        size_t ready = 0, up = 0;
        world_run(w, 100);
        for (size_t i = 0; i < w->count; i++) {
            struct node_status st;
            if (!w->peer[i].node)
                continue;
            node_status_view(w->peer[i].node, w->now_ms, &st);
            up++;
            ready += st.phase == PHASE_READY;
        }
        if (ready == up)
            return true;
    }
    return false;
}

void world_seal(const struct world *w, const uint8_t *plain, size_t n, uint8_t **out, size_t *out_bytes)
{
    static uint8_t nonce[SEAL_NONCE_BYTES];
    nonce[0]++;
    *out = malloc(n + SEAL_OVERHEAD_BYTES);
    must(*out);
    *out_bytes = seal_close(w->seal, SEAL_MESSAGE, nonce, plain, n, *out);
}

void world_open(const struct world *w, const uint8_t *bytes, size_t n, uint8_t **out, size_t *out_bytes)
{
    *out = malloc(n);
    must(*out && seal_open(w->seal, SEAL_MESSAGE, bytes, n, *out, out_bytes) == 0);
}
