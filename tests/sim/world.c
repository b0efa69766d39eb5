#include "tests/sim/world.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"
#include "protocol/node.h"
#include "protocol/record.h"

#define HOSTS_MAX   64
#define STEPS_MAX   64
#define WALL_MS     1700000000000LL
#define RECORDS_MAX 16

enum kind {
    K_HELLO,
    K_MESSAGE,
    K_WAKE,
    K_STEP,
    K_START,
    K_CRASH,
    K_PAUSE,
    K_LINK_DOWN,
    K_POWER_CUT,
    K_PARTITION
};

struct item {
    uint64_t at_ms;
    uint64_t order; /* of being queued: ties are settled by it */
    enum kind kind;
    uint32_t host;
    uint32_t from;
    uint64_t generation; /* of the host when it was queued, for its own timers and steps */
    struct hello hello;
    uint8_t *bytes;
    size_t n;
    uint32_t step;
};

struct task {
    uint32_t id; /* 0: free */
    enum step_kind kind;
    bool canceled;
    char cluster_id[STEP_ID_BYTES];
};

struct host {
    bool up;
    bool was_up;
    uint64_t generation;
    uint64_t paused_until_ms;
    uint64_t wake_ms;
    uint8_t identity_seed[32];
    struct identity *identity;
    struct node *node;
    uint8_t *disk[STORE_KEY_COUNT];
    size_t disk_bytes[STORE_KEY_COUNT];
    char name[STEP_NAME_BYTES];
    char address[STEP_ADDRESS_BYTES];
    bool admits[HOSTS_MAX];
    struct task task[STEPS_MAX];
    char built[STEP_ID_BYTES];  /* a control plane that really is there */
    char joined[STEP_ID_BYTES]; /* a cluster that the host really is part of */
    bool ready;
};

struct world {
    const struct scenario *s;
    FILE *story;
    struct outcome *out;
    uint64_t rng;
    uint64_t now_ms;
    uint64_t order;
    struct secret *key;
    struct host host[HOSTS_MAX];
    struct item *heap;
    size_t heap_count;
    size_t heap_room;
    struct committed *record[RECORDS_MAX]; /* every committed record that was ever stored */
    size_t record_count;
    uint64_t parted_until_ms;
    uint64_t parted; /* bit i: host i is in the other part */
    uint32_t power_cuts;
    crypto_generichash_state hash;
};

static uint64_t draw(uint64_t *rng)
{
    uint64_t z = (*rng += 0x9e3779b97f4a7c15u); /* splitmix64 (Steele, Lea, Flood 2014) */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t below(struct world *w, uint64_t n)
{
    return n ? draw(&w->rng) % n : 0;
}

static bool chance(struct world *w, uint32_t per_mille)
{
    return w->now_ms < w->s->faults_ms && below(w, 1000) < per_mille;
}

void scenario_draw(struct scenario *s, uint64_t seed, uint32_t hosts)
{
    uint64_t rng = seed * 2654435761u + 1;
    memset(s, 0, sizeof *s);
    s->seed = seed;
    s->hosts = hosts                   ? hosts
               : draw(&rng) % 100 == 0 ? 20 + (uint32_t)(draw(&rng) % 31)
                                       : 3 + (uint32_t)(draw(&rng) % 5);
    s->expect = draw(&rng) % 2 ? s->hosts : 0;
    s->spread_ms = draw(&rng) % 2 ? 0 : (uint32_t)(draw(&rng) % 8000);
    s->loss = draw(&rng) % 3 ? 0 : (uint32_t)(draw(&rng) % 250);
    s->doubled = draw(&rng) % 3 ? 0 : (uint32_t)(draw(&rng) % 100);
    s->slow = draw(&rng) % 3 ? 0 : (uint32_t)(draw(&rng) % 200);
    s->crashes = draw(&rng) % 2 ? 0 : 1 + (uint32_t)(draw(&rng) % 4);
    s->step_faults = draw(&rng) % 3 ? 0 : (uint32_t)(draw(&rng) % 150);
    s->pauses = draw(&rng) % 3 ? 0 : 1 + (uint32_t)(draw(&rng) % 2);
    s->power_cuts = draw(&rng) % 3 ? 0 : 1 + (uint32_t)(draw(&rng) % 2);
    /* Two parts that never met may settle apart: without `expect` that is no fault. */
    s->partitions = !s->expect || draw(&rng) % 3 ? 0 : 1 + (uint32_t)(draw(&rng) % 3);
    if (s->expect > 3 && draw(&rng) % 4 == 0)
        s->expect--; /* more hosts than were expected */
    s->faults_ms = 60000;
    s->end_ms = 600000;
}

/* ---- the story and its faults ---- */

static void tell(struct world *w, const struct host *h, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void tell(struct world *w, const struct host *h, const char *fmt, ...)
{
    char line[512];
    va_list ap;
    int n = snprintf(line, sizeof line, "%8.3f  %-8s ", (double)w->now_ms / 1000, h ? h->name : "-");
    va_start(ap, fmt);
    vsnprintf(line + n, sizeof line - (size_t)n, fmt, ap);
    va_end(ap);
    crypto_generichash_update(&w->hash, (const unsigned char *)line, strlen(line));
    if (w->story)
        fprintf(w->story, "%s\n", line);
}

static void broken(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void broken(struct world *w, const char *fmt, ...)
{
    if (!w->out->ok)
        return; /* the first is the one to look at */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->out->fault, sizeof w->out->fault, fmt, ap);
    va_end(ap);
    w->out->ok = false;
    tell(w, NULL, "BROKEN: %s", w->out->fault);
}

/* ---- the queue ---- */

static bool sooner(const struct item *a, const struct item *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void swap_items(struct item *a, struct item *b)
{
    struct item t = *a;
    *a = *b;
    *b = t;
}

static void queue(struct world *w, struct item it)
{
    if (w->heap_count == w->heap_room) {
        w->heap_room = w->heap_room ? 2 * w->heap_room : 256;
        w->heap = realloc(w->heap, w->heap_room * sizeof *w->heap);
        if (!w->heap)
            abort();
    }
    it.order = ++w->order;
    size_t i = w->heap_count++;
    w->heap[i] = it;
    for (; i > 0 && sooner(&w->heap[i], &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap_items(&w->heap[i], &w->heap[(i - 1) / 2]);
}

static struct item next_item(struct world *w)
{
    struct item first = w->heap[0];
    w->heap[0] = w->heap[--w->heap_count];
    for (size_t i = 0;;) {
        size_t k = 2 * i + 1;
        if (k >= w->heap_count)
            break;
        if (k + 1 < w->heap_count && sooner(&w->heap[k + 1], &w->heap[k]))
            k++;
        if (!sooner(&w->heap[k], &w->heap[i]))
            break;
        swap_items(&w->heap[i], &w->heap[k]);
        i = k;
    }
    return first;
}

/* ---- invariants ---- */

static bool share_member(const struct electorate *a, const struct electorate *b)
{
    for (size_t i = 0; i < a->count; i++)
        if (electorate_index(b, &a->member[i]) >= 0)
            return true;
    return false;
}

/* Invariant 1: electorates that share a member commit at most one record among them. */
static void check_record(struct world *w, const struct host *h, const uint8_t *bytes, size_t n)
{
    struct committed *c = malloc(sizeof *c);
    if (!c)
        abort();
    if (committed_decode(bytes, n, c, NULL) != 0) {
        broken(w, "%s stored a record that does not verify", h->name);
        free(c);
        return;
    }
    for (size_t i = 0; i < w->record_count; i++) {
        bool same = record_equal(&c->record, &w->record[i]->record);
        if (!same && (share_member(&c->set, &w->record[i]->set) || w->s->expect))
            broken(w, "two records were committed: %s and %s", c->record.cluster_id,
                   w->record[i]->record.cluster_id);
        if (same) {
            free(c);
            return;
        }
    }
    if (w->record_count < RECORDS_MAX)
        w->record[w->record_count++] = c;
    else
        free(c);
}

/* Invariants 2 and 3, at the moment when a step is asked for. */
static void check_step(struct world *w, struct host *h, const struct step *s)
{
    struct record r;
    struct node_status st;
    struct err err;
    if (step_check(s, &err) != 0)
        broken(w, "%s asked for a step that does not check: %s", h->name, err.text);
    if (s->kind == STEP_INIT) {
        node_status_view(h->node, w->now_ms, &st);
        if (st.lease_left_ms == 0)
            broken(w, "%s began init without a live lease", h->name);
        if (h->joined[0])
            broken(w, "%s began init while joined to %s", h->name, h->joined);
    }
    if (s->kind == STEP_JOIN) {
        if (record_verify(s->record, s->record_bytes, &r, NULL) != 0)
            broken(w, "%s began join without a committed record", h->name);
        else if (h->joined[0] && strcmp(h->joined, r.cluster_id) != 0)
            broken(w, "%s began join to %s while part of %s", h->name, r.cluster_id, h->joined);
        else if (h->built[0])
            broken(w, "%s began join over a control plane of its own", h->name);
    }
}

/* ---- hosts ---- */

static void feed(struct world *w, struct host *h, const struct node_event *ev);

static uint32_t index_of(const struct world *w, const struct host *h)
{
    return (uint32_t)(h - w->host);
}

static struct host *host_of(struct world *w, const struct peer_id *id)
{
    for (uint32_t i = 0; i < w->s->hosts; i++)
        if (peer_id_equal(&w->host[i].identity->id, id))
            return &w->host[i];
    return NULL;
}

static uint64_t latency(struct world *w)
{
    return 1 + below(w, 4) + (chance(w, w->s->slow) ? below(w, 300) : 0);
}

static void crash(struct world *w, struct host *h)
{
    if (!h->up)
        return;
    tell(w, h, "crashes");
    h->up = h->ready = false;
    h->generation++;
    node_free(h->node);
    h->node = NULL;
    memset(h->task, 0, sizeof h->task);
    memset(h->admits, 0, sizeof h->admits);
    for (uint32_t i = 0; i < w->s->hosts; i++)
        if (w->host[i].up && w->host[i].admits[index_of(w, h)] && below(w, 2))
            queue(w, (struct item){.at_ms = w->now_ms + 1 + below(w, 5),
                                   .kind = K_LINK_DOWN,
                                   .host = i,
                                   .from = index_of(w, h)});
    queue(w,
          (struct item){.at_ms = w->now_ms + 200 + below(w, 15000), .kind = K_START, .host = index_of(w, h)});
}

static void start(struct world *w, struct host *h)
{
    struct stored stored[STORE_KEY_COUNT];
    struct node_config cfg;
    struct err err = {0};
    uint8_t seed[32];
    if (h->up)
        return;
    for (int i = 0; i < STORE_KEY_COUNT; i++)
        stored[i] = (struct stored){h->disk[i], h->disk_bytes[i]};
    for (size_t i = 0; i < sizeof seed; i++)
        seed[i] = (uint8_t)draw(&w->rng);
    node_config_default(&cfg);
    mem_copy_text(cfg.name, sizeof cfg.name, h->name);
    mem_copy_text(cfg.version, sizeof cfg.version, "0.0.0");
    cfg.expect = w->s->expect;
    if (node_new(&h->node, &cfg, h->identity, w->key, stored, draw(&w->rng), seed, &err) != 0) {
        broken(w, "%s does not start: %s", h->name, err.text);
        return;
    }
    tell(w, h, h->was_up ? "starts again" : "starts");
    h->up = h->was_up = true;
    h->generation++;
    struct host_nets nets = {.net_count = 1, .mac_count = 1};
    mem_copy_text(nets.net[0], sizeof nets.net[0], "192.168.56.0/24");
    nets.mac[0][5] = (uint8_t)(index_of(w, h) + 1);
    feed(w, h, &(struct node_event){.kind = EV_START});
    if (h->up)
        feed(w, h, &(struct node_event){.kind = EV_HOST, .nets = &nets});
    struct node_event ev = {.kind = EV_ADDRESS, .interface = "eth1"};
    mem_copy_text(ev.address, sizeof ev.address, h->address);
    if (h->up)
        feed(w, h, &ev);
}

static uint64_t duration(struct world *w, enum step_kind kind)
{
    static const uint32_t most_ms[STEP_KIND_COUNT] = {
        [STEP_INSPECT] = 30,      [STEP_PREFLIGHT] = 50, [STEP_PREPARE] = 800,    [STEP_CA] = 300,
        [STEP_INIT] = 20000,      [STEP_APPLY] = 1500,   [STEP_TOKEN_MINT] = 300, [STEP_TOKEN_REVOKE] = 300,
        [STEP_JOIN] = 10000,      [STEP_PROVE] = 5000,   [STEP_REACH] = 500,      [STEP_DRAIN] = 1000,
        [STEP_DELETE_NODE] = 300, [STEP_RESET] = 1500,   [STEP_UNDO] = 100,       [STEP_KUBECONFIG] = 50,
    };
    return 5 + below(w, most_ms[kind]);
}

static void run_step(struct world *w, struct host *h, const struct step *s)
{
    struct record r;
    check_step(w, h, s);
    for (size_t i = 0; i < STEPS_MAX; i++) {
        struct task *t = &h->task[i];
        if (t->id)
            continue;
        *t = (struct task){.id = s->id, .kind = s->kind};
        memcpy(t->cluster_id, s->cluster_id, sizeof t->cluster_id);
        if (s->kind == STEP_JOIN && record_verify(s->record, s->record_bytes, &r, NULL) == 0)
            memcpy(t->cluster_id, r.cluster_id, sizeof t->cluster_id);
        if (s->kind == STEP_INIT)
            memcpy(h->built, s->cluster_id, sizeof h->built); /* half of it is there from now on */
        queue(w, (struct item){.at_ms = w->now_ms + duration(w, s->kind),
                               .kind = K_STEP,
                               .host = index_of(w, h),
                               .generation = h->generation,
                               .step = s->id});
        return;
    }
    broken(w, "%s runs too many steps at once", h->name);
}

static void cancel(struct world *w, struct host *h, uint32_t id)
{
    for (size_t i = 0; i < STEPS_MAX; i++)
        if (h->task[i].id == id)
            h->task[i].canceled = true;
    queue(w, (struct item){.at_ms = w->now_ms + 50,
                           .kind = K_STEP,
                           .host = index_of(w, h),
                           .generation = h->generation,
                           .step = id});
}

static void fill_result(struct world *w, struct host *h, const struct task *t, struct step_result *r)
{
    switch (t->kind) {
    case STEP_INSPECT:
    case STEP_PREFLIGHT:
        r->have_facts = true;
        mem_copy_text(r->facts.hostname, sizeof r->facts.hostname, h->name);
        r->facts.machine_id[0] = (uint8_t)(index_of(w, h) + 1);
        r->facts.product_uuid[0] = (uint8_t)(index_of(w, h) + 1);
        r->facts.cpus = 2;
        r->facts.memory_mb =
            index_of(w, h) % 3 == 2 ? 1000 : 4000; /* every third is too small for a master */
        mem_copy_text(r->facts.kubernetes_version, sizeof r->facts.kubernetes_version, "v1.20.2");
        break;
    case STEP_CA:
        mem_copy_text(r->ca_hash, sizeof r->ca_hash,
                      "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
        break;
    case STEP_TOKEN_MINT:
        mem_copy_text(r->token, sizeof r->token, "abcdef.0123456789abcdef");
        break;
    case STEP_JOIN:
        memcpy(h->joined, t->cluster_id, sizeof h->joined);
        break;
    case STEP_PROVE:
        snprintf(r->pod_address, sizeof r->pod_address, "10.244.%u.2", index_of(w, h));
        break;
    case STEP_RESET:
        h->built[0] = h->joined[0] = '\0';
        break;
    default:
        break;
    }
}

static void step_done(struct world *w, struct host *h, uint32_t id)
{
    for (size_t i = 0; i < STEPS_MAX; i++) {
        struct task t = h->task[i];
        if (t.id != id || id == 0)
            continue;
        struct step_result r = {.id = id, .kind = t.kind};
        h->task[i].id = 0;
        bool may_fail = t.kind != STEP_INSPECT && t.kind != STEP_PREFLIGHT;
        if (t.canceled) {
            r.code = KPEER_ECANCELED;
            mem_copy_text(r.text, sizeof r.text, "stopped");
        } else if (may_fail && chance(w, w->s->step_faults)) {
            r.code = KPEER_EIO;
            mem_copy_text(r.text, sizeof r.text, "the simulator made it fail");
        } else {
            fill_result(w, h, &t, &r);
        }
        feed(w, h, &(struct node_event){.kind = EV_STEP_DONE, .result = &r});
        return;
    }
}

/* ---- carrying out actions ---- */

static void persist(struct world *w, struct host *h, const struct action *a)
{
    uint8_t *copy = malloc(a->n);
    if (!copy)
        abort();
    memcpy(copy, a->bytes, a->n);
    free(h->disk[a->store]);
    h->disk[a->store] = copy;
    h->disk_bytes[a->store] = a->n;
    if (a->store == STORE_CLUSTER)
        check_record(w, h, a->bytes, a->n);
}

static bool parted(const struct world *w, const struct host *a, const struct host *b)
{
    return w->now_ms < w->parted_until_ms &&
           ((w->parted >> index_of(w, a) ^ w->parted >> index_of(w, b)) & 1) != 0;
}

static void deliver(struct world *w, struct host *from, struct host *to, const struct item *it)
{
    if (parted(w, from, to) || chance(w, w->s->loss))
        return;
    unsigned copies = chance(w, w->s->doubled) ? 2 : 1;
    while (copies--) {
        struct item i = *it;
        i.at_ms = w->now_ms + latency(w);
        i.host = index_of(w, to);
        i.from = index_of(w, from);
        if (it->bytes) {
            i.bytes = malloc(it->n);
            if (!i.bytes)
                abort();
            memcpy(i.bytes, it->bytes, it->n);
        }
        queue(w, i);
        w->out->messages++;
    }
}

static void beacon(struct world *w, struct host *h, const struct hello *hello)
{
    for (uint32_t i = 0; i < w->s->hosts; i++)
        if (&w->host[i] != h && w->host[i].up)
            deliver(w, h, &w->host[i], &(struct item){.kind = K_HELLO, .hello = *hello});
}

/* The power fails where it hurts: while the group decides something. */
static void tempt_fate(struct world *w, enum event_kind event)
{
    bool decides = event == EVENT_ELECTORATE_BOUND || event == EVENT_ELECTORATE_CONSTITUTED ||
                   event == EVENT_ELECTED || event == EVENT_STEP_FINISHED || event == EVENT_RECORD_COMMITTED;
    if (!decides || w->power_cuts == 0 || w->now_ms >= w->s->faults_ms || below(w, 12))
        return;
    w->power_cuts--;
    queue(w, (struct item){.at_ms = w->now_ms + below(w, 12), .kind = K_POWER_CUT});
}

static void tell_event(struct world *w, struct host *h, const struct action *a)
{
    tell(w, h, "%s %s %s", event_word(a->event), a->name, a->text);
    tempt_fate(w, a->event);
    if (a->event == EVENT_NODE_READY)
        h->ready = true;
    if (a->event == EVENT_ELECTION_STARTED && h->disk[STORE_CLUSTER])
        broken(w, "%s stands for election after commit", h->name); /* invariant 5 */
}

static void carry_out(struct world *w, struct host *h, const struct action *a)
{
    struct host *to;
    switch (a->kind) {
    case ACT_BEACON:
        beacon(w, h, a->hello);
        break;
    case ACT_SEND:
        to = host_of(w, &a->peer);
        if (to && to->up && h->admits[index_of(w, to)])
            deliver(w, h, to,
                    &(struct item){.kind = K_MESSAGE, .bytes = (uint8_t *)(uintptr_t)a->bytes, .n = a->n});
        break;
    case ACT_PERSIST:
        persist(w, h, a);
        break;
    case ACT_RUN:
        run_step(w, h, a->step);
        break;
    case ACT_CANCEL:
        cancel(w, h, a->step->id);
        break;
    case ACT_LINK:
    case ACT_UNLINK:
        to = host_of(w, &a->peer);
        if (to)
            h->admits[index_of(w, to)] = a->kind == ACT_LINK;
        break;
    case ACT_EVENT:
        tell_event(w, h, a);
        break;
    case ACT_RENEW:
        broken(w, "%s takes itself for a clone", h->name);
        break;
    case ACT_REPLY:
    case ACT_STOP:
        break;
    }
}

/* Invariant 3, the other half: who holds no lease builds nothing. */
static void check_founding(struct world *w, const struct host *h)
{
    struct node_status st;
    for (size_t i = 0; i < STEPS_MAX; i++) {
        const struct task *t = &h->task[i];
        if (t->id == 0 || t->canceled || (t->kind != STEP_INIT && t->kind != STEP_APPLY))
            continue;
        node_status_view(h->node, w->now_ms, &st);
        if (st.lease_left_ms == 0)
            broken(w, "%s goes on with %s without a lease", h->name, step_word(t->kind));
    }
}

/* One step of one node. With bad luck the host dies between two of its actions. */
static void feed(struct world *w, struct host *h, const struct node_event *event)
{
    struct actions acts;
    struct node_event ev = *event;
    ev.wall_ms = WALL_MS + (int64_t)w->now_ms;
    if (node_step(h->node, &ev, w->now_ms, &acts) != 0) {
        broken(w, "%s is out of memory", h->name);
        return;
    }
    w->out->steps++;
    bool dies = w->s->crashes && acts.count > 1 && chance(w, 1) && below(w, 8) == 0;
    size_t last = dies ? below(w, acts.count) : acts.count;
    for (size_t i = 0; i < last && w->out->ok; i++)
        carry_out(w, h, &acts.list[i]);
    if (dies) {
        crash(w, h);
        return;
    }
    check_founding(w, h);
    if (h->wake_ms != acts.wake_ms) {
        h->wake_ms = acts.wake_ms;
        queue(w, (struct item){.at_ms = acts.wake_ms,
                               .kind = K_WAKE,
                               .host = index_of(w, h),
                               .generation = h->generation});
    }
}

static void power_cut(struct world *w)
{
    tell(w, NULL, "the power fails");
    for (uint32_t i = 0; i < w->s->hosts; i++)
        crash(w, &w->host[i]);
}

static void part(struct world *w)
{
    w->parted = draw(&w->rng);
    w->parted_until_ms = w->now_ms + 500 + below(w, 20000);
    tell(w, NULL, "the network falls into two parts until %" PRIu64, w->parted_until_ms);
}

static void happen(struct world *w, struct item *it)
{
    struct host *h = &w->host[it->host];
    bool mine = it->kind == K_WAKE || it->kind == K_STEP;
    if (it->kind == K_POWER_CUT) {
        power_cut(w);
        return;
    }
    if (it->kind == K_PARTITION) {
        part(w);
        return;
    }
    if (it->kind == K_START) {
        start(w, h);
        return;
    }
    if (!h->up || (mine && it->generation != h->generation))
        return;
    if (w->now_ms < h->paused_until_ms) { /* it will see this when it goes on */
        struct item later = *it;
        later.at_ms = h->paused_until_ms;
        it->bytes = NULL;
        queue(w, later);
        return;
    }
    struct node_event ev = {.kind = EV_TICK};
    memcpy(ev.address, w->host[it->from].address, sizeof ev.address);
    if (it->kind == K_CRASH) {
        crash(w, h);
    } else if (it->kind == K_PAUSE) {
        h->paused_until_ms = w->now_ms + 500 + below(w, 20000);
        tell(w, h, "stands still until %" PRIu64, h->paused_until_ms);
    } else if (it->kind == K_STEP) {
        step_done(w, h, it->step);
    } else if (it->kind == K_WAKE) {
        if (h->wake_ms == it->at_ms || w->now_ms >= h->wake_ms)
            feed(w, h, &ev);
    } else if (it->kind == K_HELLO) {
        ev.kind = EV_HELLO;
        ev.hello = &it->hello;
        feed(w, h, &ev);
    } else if (it->kind == K_MESSAGE && h->admits[it->from]) {
        ev.kind = EV_MESSAGE;
        ev.peer = w->host[it->from].identity->id;
        ev.bytes = it->bytes;
        ev.n = it->n;
        feed(w, h, &ev);
    } else if (it->kind == K_LINK_DOWN) {
        ev.kind = EV_LINK_DOWN;
        ev.peer = w->host[it->from].identity->id;
        feed(w, h, &ev);
    }
}

static bool all_ready(const struct world *w)
{
    for (uint32_t i = 0; i < w->s->hosts; i++)
        if (!w->host[i].up || !w->host[i].ready)
            return false;
    return true;
}

/* What the invariants come down to in the end: one cluster, one control plane, everybody part of it. */
static void check_end(struct world *w)
{
    struct node_status st;
    const char *id = w->record_count ? w->record[0]->record.cluster_id : "";
    size_t masters = 0;
    if (w->record_count != 1)
        broken(w, "%zu records were committed", w->record_count);
    for (uint32_t i = 0; i < w->s->hosts && w->out->ok; i++) {
        const struct host *h = &w->host[i];
        node_status_view(h->node, w->now_ms, &st);
        if (st.phase != PHASE_READY)
            broken(w, "%s said ready and is %s", h->name, phase_word(st.phase));
        masters += h->built[0] != '\0';
        if (strcmp(h->built[0] ? h->built : h->joined, id) != 0)
            broken(w, "%s is part of %s, not of %s", h->name, h->built[0] ? h->built : h->joined, id);
    }
    if (masters != 1)
        broken(w, "%zu control planes are there", masters);
}

static void set_up(struct world *w)
{
    uint8_t key[32];
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)draw(&w->rng);
    w->key = secret_new(key);
    for (uint32_t i = 0; i < w->s->hosts; i++) {
        struct host *h = &w->host[i];
        for (size_t k = 0; k < sizeof h->identity_seed; k++)
            h->identity_seed[k] = (uint8_t)draw(&w->rng);
        if (!w->key || identity_new(&h->identity, h->identity_seed, NULL) != 0)
            abort();
        snprintf(h->name, sizeof h->name, "node%u", i + 1);
        snprintf(h->address, sizeof h->address, "192.168.56.%u", 11 + i);
        queue(w, (struct item){.at_ms = below(w, w->s->spread_ms + 1), .kind = K_START, .host = i});
    }
    for (uint32_t i = 0; i < w->s->crashes + w->s->pauses; i++)
        queue(w, (struct item){.at_ms = below(w, w->s->faults_ms),
                               .kind = i < w->s->crashes ? K_CRASH : K_PAUSE,
                               .host = (uint32_t)below(w, w->s->hosts)});
    w->power_cuts = w->s->power_cuts;
    for (uint32_t i = 0; i < w->s->partitions; i++)
        queue(w, (struct item){.at_ms = below(w, below(w, 2) ? 6000 : w->s->faults_ms), .kind = K_PARTITION});
}

static void tear_down(struct world *w)
{
    for (uint32_t i = 0; i < w->s->hosts; i++) {
        node_free(w->host[i].node);
        identity_free(w->host[i].identity);
        for (int k = 0; k < STORE_KEY_COUNT; k++)
            free(w->host[i].disk[k]);
    }
    for (size_t i = 0; i < w->heap_count; i++)
        free(w->heap[i].bytes);
    for (size_t i = 0; i < w->record_count; i++)
        free(w->record[i]);
    free(w->heap);
    secret_free(w->key);
}

void world_run(const struct scenario *s, FILE *story, struct outcome *out)
{
    struct world *w = calloc(1, sizeof *w);
    if (!w || s->hosts > HOSTS_MAX)
        abort();
    *out = (struct outcome){.ok = true};
    w->s = s;
    w->story = story;
    w->out = out;
    w->rng = s->seed;
    crypto_generichash_init(&w->hash, NULL, 0, 16);
    set_up(w);
    while (out->ok && w->heap_count > 0 && w->now_ms < s->end_ms) {
        struct item it = next_item(w);
        w->now_ms = it.at_ms;
        happen(w, &it);
        free(it.bytes);
        if (out->ok && w->now_ms >= s->faults_ms / 4 && all_ready(w) &&
            (w->now_ms >= s->faults_ms || (!s->crashes && !s->power_cuts && !s->partitions)))
            break;
    }
    out->ready_ms = w->now_ms;
    if (out->ok && !all_ready(w)) {
        char who[160] = "";
        for (uint32_t i = 0; i < s->hosts && strlen(who) < 100; i++)
            if (!w->host[i].ready)
                snprintf(who + strlen(who), sizeof who - strlen(who), " %s", w->host[i].name);
        broken(w, "not ready after %" PRIu64 " s:%s", w->now_ms / 1000, who);
    } else if (out->ok) {
        check_end(w);
    }
    uint8_t h[16];
    crypto_generichash_final(&w->hash, h, sizeof h);
    memcpy(&out->hash, h, sizeof out->hash);
    tear_down(w);
    free(w);
}
