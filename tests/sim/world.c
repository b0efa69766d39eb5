#include "protocol/mem.h"
#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define EARLIEST_MS 15000 /* no run is over before */
#define PATIENCE_MS 60000 /* what looks hopeless now and so much later is given up */

/* Whose own business it is: its clock and its steps stand still with it. */
static bool stands_still(const struct world *w, const struct host *h, enum happening kind)
{
    if (w->now_ms < h->paused_until_ms)
        return true;
    return w->now_ms < h->stopped_until_ms && kind != H_INCIDENT;
}

static void wake(struct world *w, struct host *h, const struct item *it)
{
    if (h->wake_ms == it->at_ms || w->now_ms >= h->wake_ms)
        host_feed(w, h, &(struct node_event){.kind = EV_TICK});
}

static void about_link(struct world *w, struct host *h, enum node_event_kind kind, uint32_t to)
{
    struct node_event ev = {.kind = kind, .peer = w->host[to].identity->id};
    host_feed(w, h, &ev);
}

/* False when the packet was handed on to a later item. */
static bool happen(struct world *w, struct item *it)
{
    struct host *h = it->kind == H_INCIDENT || it->kind == H_ROTATE ? NULL : &w->host[it->host];
    if (it->kind == H_INCIDENT) {
        trouble_happen(w, it->number, it->host);
        return true;
    }
    if (it->kind == H_ROTATE) {
        keys_rotate(w, it->number);
        return true;
    }
    if (it->kind == H_START) {
        host_start(w, h);
        return true;
    }
    bool own = it->kind == H_WAKE || it->kind == H_STEP || it->kind == H_REACH;
    if (!h->up || (own && it->generation != h->generation))
        return true;
    if (stands_still(w, h, it->kind)) { /* it will see this when it goes on */
        if (it->kind == H_STEP && w->now_ms >= h->paused_until_ms)
            kube_end(w, h, it->number);
        struct item later = *it;
        later.at_ms = h->paused_until_ms > h->stopped_until_ms ? h->paused_until_ms : h->stopped_until_ms;
        queue_put(&w->queue, later);
        return false;
    }
    if (it->kind == H_STEP)
        kube_done(w, h, it->number);
    else if (it->kind == H_WAKE)
        wake(w, h, it);
    else if (it->kind == H_PACKET)
        wire_arrive(w, h, it->packet);
    else if (it->kind == H_LINK_DOWN)
        about_link(w, h, EV_LINK_DOWN, it->number);
    else if (it->kind == H_REFUSED)
        about_link(w, h, EV_REFUSED, it->number);
    else if (it->kind == H_SURVEY)
        survey_ask(w, h);
    else if (it->kind == H_REACH)
        survey_reached(w, h, it->number);
    return true;
}

/* ---- making and ending a world ---- */

static void make_host(struct world *w, uint32_t slot)
{
    struct host *h = &w->host[slot];
    h->slot = slot;
    h->exists = slot < w->s->hosts;
    h->group = slot >= w->s->group_of_second && h->exists;
    h->back_ms = FOREVER_MS;
    h->link = calloc(w->slots, sizeof *h->link);
    h->heard = calloc(w->slots, sizeof *h->heard);
    if (!h->link || !h->heard)
        abort();
    snprintf(h->name, sizeof h->name, h->exists ? "node%u" : "clone%u", slot + 1);
    h->copied = w->alike && h->exists;
    if (h->copied)
        mem_copy_text(h->name, sizeof h->name, "alike");
    host_readdress(w, h);
    if (!h->exists)
        return;
    host_identity(w, h);
    queue_put(
        &w->queue,
        (struct item){.at_ms = draw_below(&w->host_rng, w->s->spread_ms + 1), .kind = H_START, .host = slot});
}

static void set_up(struct world *w)
{
    uint64_t rng = w->s->seed;
    w->net_rng = draw(&rng);
    w->kube_rng = draw(&rng);
    w->host_rng = draw(&rng);
    w->liar_rng = draw(&rng);
    crypto_generichash_init(&w->hash, NULL, 0, 16);
    w->slots = w->s->hosts + (scenario_has(w->s, INCIDENT_CLONE) ? CLONES_MAX : 0);
    w->host = calloc(w->slots, sizeof *w->host);
    w->token = calloc(TOKENS_MAX, sizeof *w->token);
    if (!w->host || !w->token)
        abort();
    keys_make(w);
    survey_draw(w);
    for (uint32_t i = 0; i < w->slots; i++)
        make_host(w, i);
    host_count_owed(w);
    trouble_plan(w);
    survey_plan(w);
}

static void tear_down(struct world *w)
{
    queue_free(&w->queue);
    for (size_t i = 0; i < REMEMBER_MAX; i++)
        if (w->memory[i])
            packet_release(w->memory[i]);
    for (uint32_t i = 0; i < w->slots; i++)
        host_free(&w->host[i]);
    for (size_t i = 0; i < w->record_count; i++)
        free(w->record[i]);
    for (size_t i = 0; i < w->voter_count; i++)
        free(w->voter[i]);
    keys_free(w);
    free(w->voter);
    free(w->host);
    free(w->token);
}

/* The world goes on as it is, and what goes over the wire is counted apart. */
static void rest(struct world *w)
{
    struct outcome before = *w->out;
    struct item it;
    uint64_t end_ms = w->now_ms + w->s->rest_ms;
    w->out->messages = w->out->bytes = 0;
    while (w->out->ok && w->now_ms < end_ms && queue_take(&w->queue, &it)) {
        w->now_ms = it.at_ms;
        if (happen(w, &it) && it.packet)
            packet_release(it.packet);
    }
    w->out->rest = (struct toll){w->out->messages, w->out->bytes};
    w->out->steps = before.steps;
    w->out->messages = before.messages;
    w->out->bytes = before.bytes;
    w->out->beacons = before.beacons;
}

void world_run(const struct scenario *s, FILE *story, struct outcome *out)
{
    struct world w = {.s = s, .story = story, .out = out};
    struct item it;
    uint8_t hash[16];
    bool hopeless = false;
    uint64_t patience_ms = s->faults_ms + PATIENCE_MS;
    *out = (struct outcome){.ok = true};
    set_up(&w);
    while (out->ok && w.now_ms < s->end_ms && queue_take(&w.queue, &it)) {
        out->peer_ms += (it.at_ms - w.now_ms) * w.owed;
        w.now_ms = it.at_ms;
        if (happen(&w, &it) && it.packet)
            packet_release(it.packet);
        if (w.now_ms >= EARLIEST_MS && watch_done(&w))
            break;
        if (w.now_ms >= patience_ms) {
            if (hopeless && watch_hopeless(&w))
                break;
            hopeless = watch_hopeless(&w);
            patience_ms = w.now_ms + PATIENCE_MS;
        }
    }
    out->ended_ms = w.now_ms;
    if (out->ok)
        watch_end(&w);
    if (s->rest_ms)
        rest(&w);
    crypto_generichash_final(&w.hash, hash, sizeof hash);
    memcpy(&out->hash, hash, sizeof out->hash);
    tear_down(&w);
}
