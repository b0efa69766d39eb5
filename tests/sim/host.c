#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"
#include "protocol/node_state.h"
#include "tests/sim/world.h"

#define WALL_MS 1700000000000LL

static void hash_seed(const struct world *w, const struct host *h, const char *use, uint32_t number,
                      uint8_t out[static 32])
{
    struct {
        uint64_t seed;
        uint32_t slot, number;
        char use[16];
    } in = {.seed = w->s->seed, .slot = h->slot, .number = number};
    mem_copy_text(in.use, sizeof in.use, use);
    crypto_generichash(out, 32, (const unsigned char *)&in, sizeof in, NULL, 0);
}

/* A fresh identity, as the agent makes one where there is none. */
void host_identity(struct world *w, struct host *h)
{
    hash_seed(w, h, "identity", h->identities++, h->identity_seed);
    identity_free(h->identity);
    if (identity_new(&h->identity, h->identity_seed, NULL) != 0)
        abort();
    h->fresh = true;
    watch_identity(w, h);
}

void host_count_owed(struct world *w)
{
    w->owed = 0;
    for (uint32_t i = 0; i < w->slots; i++)
        w->owed += w->host[i].exists && w->host[i].fate == FATE_COMES;
}

static void come_back(struct world *w, struct host *h, uint64_t after_ms)
{
    if (after_ms != FOREVER_MS)
        queue_put(&w->queue, (struct item){.at_ms = w->now_ms + after_ms, .kind = H_START, .host = h->slot});
}

static void power_off(struct world *w, struct host *h)
{
    w->ready -= h->ready;
    h->up = h->ready = false;
    h->generation++;
    h->paused_until_ms = h->stopped_until_ms = 0;
    node_free(h->node);
    h->node = NULL;
    kube_power_off(h);
    wire_break(w, h);
}

void host_crash(struct world *w, struct host *h, uint64_t back_ms)
{
    if (!h->up)
        return;
    tell(w, h, back_ms == FOREVER_MS ? "loses its power for good" : "loses its power");
    power_off(w, h);
    if (back_ms == FOREVER_MS)
        h->fate = FATE_GONE;
    host_count_owed(w);
    come_back(w, h, back_ms);
}

/* Its power may fail before it is heard, as at any event. */
void host_say_stopping(struct world *w, struct host *h)
{
    tell(w, h, "is told to stop");
    host_feed(w, h, &(struct node_event){.kind = EV_STOPPING});
}

/* The disk is empty, and Kubernetes with it; the host is installed anew under its old name. */
void host_wipe(struct world *w, struct host *h)
{
    disk_wipe(&h->disk);
    memset(&h->kube, 0, sizeof h->kube);
    host_identity(w, h);
}

/* The agent ends by itself: what it does then is the agent's doing, not the core's. */
static void stop_agent(struct world *w, struct host *h, bool renew)
{
    power_off(w, h);
    disk_wipe(&h->disk);
    host_identity(w, h);
    h->kube.leftover = h->kube.built[0] || h->kube.joined[0];
    h->kube.told = false;
    if (!renew && h->back_ms == FOREVER_MS)
        h->fate = FATE_LEFT;
    host_count_owed(w);
    come_back(w, h, renew ? 500 : h->back_ms);
}

void host_readdress(struct world *w, struct host *h)
{
    snprintf(h->address, sizeof h->address, "172.%u.%u.%u", 16 + h->addresses++ % 16, h->slot / 250,
             h->slot % 250 + 1);
    if (!h->node)
        return;
    struct node_event ev = {.kind = EV_ADDRESS, .interface = "eth1"};
    mem_copy_text(ev.address, sizeof ev.address, h->address);
    tell(w, h, "has the address %s now", h->address);
    host_feed(w, h, &ev);
}

void host_clone(struct world *w, const struct host *of, struct host *h)
{
    h->exists = true;
    h->group = of->group;
    memcpy(h->identity_seed, of->identity_seed, sizeof h->identity_seed);
    if (identity_new(&h->identity, h->identity_seed, NULL) != 0)
        abort();
    h->voter = of->voter;
    h->voter->shared = true;
    host_count_owed(w);
    disk_copy(&h->disk, &of->disk);
    h->file_epoch = of->file_epoch;
    h->kube = of->kube;
    memset(h->kube.task, 0, sizeof h->kube.task);
    tell(w, h, "is a copy of %s, disk and identity", of->name);
    host_start(w, h);
}

static void first_events(struct world *w, struct host *h)
{
    struct host_nets nets = {.net_count = 1, .mac_count = 1};
    mem_copy_text(nets.net[0], sizeof nets.net[0], "172.16.0.0/12");
    nets.mac[0][4] = (uint8_t)(h->slot >> 8);
    nets.mac[0][5] = (uint8_t)(h->slot + 1);
    host_feed(w, h, &(struct node_event){.kind = EV_START});
    if (h->up)
        host_feed(w, h, &(struct node_event){.kind = EV_HOST, .nets = &nets});
    struct node_event ev = {.kind = EV_ADDRESS, .interface = "eth1"};
    mem_copy_text(ev.address, sizeof ev.address, h->address);
    if (h->up)
        host_feed(w, h, &ev);
}

void host_start(struct world *w, struct host *h)
{
    struct stored stored[STORE_KEY_COUNT];
    struct node_config cfg;
    struct err err = {0};
    uint8_t seed[32];
    if (h->up || h->fate == FATE_GONE)
        return;
    disk_read(&h->disk, stored);
    hash_seed(w, h, "start", h->starts++, seed);
    node_config_default(&cfg);
    mem_copy_text(cfg.name, sizeof cfg.name, h->name);
    mem_copy_text(cfg.version, sizeof cfg.version, "0.0.0");
    cfg.rename = w->alike;
    cfg.expect = h->group == 0 ? w->s->expect : 0;
    cfg.ticket_ttl_ms = w->s->ticket_ttl_ms;
    if (node_new(&h->node, &cfg, h->identity, keys_file(w, h), stored, draw(&w->host_rng), seed, &err) != 0) {
        broken(w, 0, "%s does not start: %s", h->name, err.text);
        return;
    }
    tell(w, h, h->was_up ? "starts again" : "starts");
    h->up = h->was_up = true;
    h->fate = FATE_COMES;
    h->generation++;
    h->reach = 0;
    h->wake_ms = 0;
    h->started_ms = w->now_ms;
    heard_forget(h);
    memset(h->heard, 0, w->slots * sizeof *h->heard);
    watch_start(w, h);
    first_events(w, h);
}

static void store(struct world *w, struct host *h, const struct action *a)
{
    disk_store(&h->disk, a->store, a->bytes, a->n);
    watch_store(w, h, a->store, a->bytes, a->n);
}

/* The action in the middle of which the power fails. */
static void cut_off(struct world *w, struct host *h, const struct action *a)
{
    if (a->kind == ACT_PERSIST && disk_store_cut(&h->disk, a->store, a->bytes, a->n, &w->host_rng))
        watch_store(w, h, a->store, a->bytes, a->n);
}

static void carry_out(struct world *w, struct host *h, const struct action *a)
{
    switch (a->kind) {
    case ACT_BEACON:
        wire_beacon(w, h, a->hello);
        break;
    case ACT_PULSE:
        wire_pulse(w, h, a);
        break;
    case ACT_SEND:
        watch_send(w, h, a->bytes, a->n);
        wire_send(w, h, &a->peer, a->bytes, a->n);
        break;
    case ACT_PERSIST:
        store(w, h, a);
        break;
    case ACT_HAND:
        wire_hand(w, h, a);
        break;
    case ACT_REACH:
        survey_order(w, h, a->reach);
        break;
    case ACT_RUN:
        watch_step(w, h, a->step);
        survey_step(w, h, a->step);
        kube_run(w, h, a->step);
        break;
    case ACT_CANCEL:
        kube_cancel(w, h, a->step->id);
        break;
    case ACT_LINK:
        wire_link(w, h, a);
        break;
    case ACT_UNLINK:
        wire_unlink(h, w->slots, &a->peer);
        break;
    case ACT_KNOCK:
        wire_knock(w, h, &a->peer);
        break;
    case ACT_EVENT:
        tell(w, h, "%s %s %s", event_word(a->event), a->name, a->text);
        watch_event(w, h, a);
        trouble_event(w, h, a->event);
        keys_event(w, h, a->event);
        break;
    case ACT_REPLY:
        tell(w, h, "answers: %s",
             a->code                                   ? a->text
             : a->survey && a->survey->fault_count > 0 ? a->survey->fault[0].text
                                                       : "done");
        break;
    case ACT_RENEW:
    case ACT_STOP:
        break; /* when the others are carried out: see host_feed */
    }
}

static const struct action *last_word(const struct actions *acts)
{
    for (size_t i = 0; i < acts->count; i++)
        if (acts->list[i].kind == ACT_RENEW || acts->list[i].kind == ACT_STOP)
            return &acts->list[i];
    return NULL;
}

/* With bad luck the host dies between two of its actions; more often so while it stores a promise. */
static size_t how_far(struct world *w, const struct actions *acts, bool *dies)
{
    uint64_t luck = 8000;
    for (size_t i = 0; i < acts->count; i++)
        if (acts->list[i].kind == ACT_PERSIST && acts->list[i].store != STORE_MEMBERS)
            luck = 250;
    *dies = scenario_has(w->s, INCIDENT_CRASH) && acts->count > 0 && w->now_ms < w->s->faults_ms &&
            draw_below(&w->host_rng, luck) == 0;
    return *dies ? draw_below(&w->host_rng, acts->count) : acts->count;
}

void host_feed(struct world *w, struct host *h, const struct node_event *event)
{
    struct actions acts;
    struct node_event ev = *event;
    bool dies = false;
    ev.wall_ms = WALL_MS + (int64_t)w->now_ms + h->clock_ms;
    if (node_step(h->node, &ev, w->now_ms, &acts) != 0) {
        broken(w, 0, "%s is out of memory", h->name);
        return;
    }
    w->out->steps++;
    size_t last = how_far(w, &acts, &dies);
    for (size_t i = 0; i < last && w->out->ok; i++)
        carry_out(w, h, &acts.list[i]);
    if (dies) {
        cut_off(w, h, &acts.list[last]);
        host_crash(w, h, 200 + draw_below(&w->host_rng, 15000));
        return;
    }
    const struct action *end = last_word(&acts);
    if (end) {
        tell(w, h, end->kind == ACT_RENEW ? "renews its identity" : "stops, having left");
        stop_agent(w, h, end->kind == ACT_RENEW);
        return;
    }
    watch_after(w, h);
    if (h->wake_ms != acts.wake_ms) {
        h->wake_ms = acts.wake_ms;
        queue_put(&w->queue,
                  (struct item){
                      .at_ms = acts.wake_ms, .kind = H_WAKE, .host = h->slot, .generation = h->generation});
    }
}

static const char *action_word(const struct action *a)
{
    static const char *const word[] = {
        [ACT_BEACON] = "a beacon",     [ACT_SEND] = "a message",       [ACT_PERSIST] = "a write",
        [ACT_RUN] = "a step",          [ACT_CANCEL] = "a step's end",  [ACT_LINK] = "a link",
        [ACT_UNLINK] = "a link's end", [ACT_KNOCK] = "a knock",        [ACT_EVENT] = "an event",
        [ACT_REPLY] = "an answer",     [ACT_RENEW] = "a new identity", [ACT_REACH] = "a survey",
        [ACT_STOP] = "its end",        [ACT_HAND] = "a key",           [ACT_PULSE] = "a pulse",
    };
    return a->kind == ACT_EVENT ? event_word(a->event) : word[a->kind];
}

uint64_t host_dropped(const struct host *h)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < COUNT_OF(h->node->dropped); i++)
        sum += h->node->dropped[i];
    return sum;
}

/* Whoever speaks under an older key is handed the newest, now and then, and also when it is an echo that
 * speaks: only the one that it is for can open it. */
static bool only_hands(const struct actions *acts)
{
    for (size_t i = 0; i < acts->count; i++)
        if (acts->list[i].kind != ACT_HAND)
            return false;
    return true;
}

/* What is due at this time is done first; what is left to be seen then comes from the event alone. */
void host_feed_again(struct world *w, struct host *h, const struct node_event *event, const char *what)
{
    struct actions acts;
    uint64_t generation = h->generation;
    host_feed(w, h, &(struct node_event){.kind = EV_TICK});
    if (!h->up || h->generation != generation || !w->out->ok)
        return;
    struct node_event ev = *event;
    ev.wall_ms = WALL_MS + (int64_t)w->now_ms + h->clock_ms;
    uint64_t before = host_dropped(h);
    if (node_step(h->node, &ev, w->now_ms, &acts) != 0)
        broken(w, 0, "%s is out of memory", h->name);
    else if (acts.count > 0 && !only_hands(&acts))
        broken(w, 7, "%s acted on %s: %s", h->name, what, action_word(&acts.list[0]));
    else if (host_dropped(h) == before)
        broken(w, 7, "%s did not count %s", h->name, what);
}

void host_free(struct host *h)
{
    node_free(h->node);
    identity_free(h->identity);
    disk_wipe(&h->disk);
    free(h->link);
    free(h->heard);
    heard_forget(h);
}
