#include "tests/sim/world.h"

static void at(struct world *w, uint32_t number, uint32_t host, uint64_t at_ms)
{
    queue_put(&w->queue, (struct item){.at_ms = at_ms, .kind = H_INCIDENT, .host = host, .number = number});
    w->pending++;
}

void trouble_plan(struct world *w)
{
    for (uint32_t i = 0; i < w->s->incident_count; i++) {
        const struct incident *in = &w->s->incident[i];
        if (!in->cut && in->trigger == NO_TRIGGER)
            at(w, i, in->host, in->at_ms);
    }
}

/* The power fails where it hurts: while the group decides something. */
void trouble_event(struct world *w, struct host *h, enum event_kind event)
{
    w->told[event]++;
    for (uint32_t i = 0; i < w->s->incident_count; i++) {
        const struct incident *in = &w->s->incident[i];
        if (in->cut || in->trigger != event || w->now_ms >= w->s->faults_ms || in->nth != w->told[event])
            continue;
        at(w, i, in->host == HOST_OF_EVENT ? h->slot : in->host, w->now_ms + in->at_ms);
    }
}

static void until(struct world *w, uint64_t ms)
{
    if (w->now_ms + ms > w->quiet_ms)
        w->quiet_ms = w->now_ms + ms;
}

static void part(struct world *w, uint32_t number, const struct incident *in)
{
    w->parting[number] = (struct parting){
        .until_ms = w->now_ms + in->ms, .sides = in->sides, .one_way = in->kind == INCIDENT_ONE_WAY};
    until(w, in->ms);
    tell(w, NULL, "%s for %.1f s",
         in->kind == INCIDENT_ONE_WAY ? "from one part of the network nothing reaches the other"
                                      : "the network falls into two parts",
         (double)in->ms / 1000);
}

static void power_cut(struct world *w)
{
    tell(w, NULL, "the power fails");
    for (uint32_t i = 0; i < w->slots; i++)
        host_crash(w, &w->host[i], 200 + draw_below(&w->host_rng, 15000));
}

static void pause(struct world *w, struct host *h, const struct incident *in)
{
    tell(w, h, "%s for %.1f s", in->kind == INCIDENT_PAUSE ? "stands still" : "its agent is stopped",
         (double)in->ms / 1000);
    until(w, in->ms);
    if (in->kind == INCIDENT_PAUSE)
        h->paused_until_ms = w->now_ms + in->ms;
    else
        h->stopped_until_ms = w->now_ms + in->ms;
}

static void clone(struct world *w, const struct host *h)
{
    for (uint32_t i = w->s->hosts; i < w->slots; i++)
        if (!w->host[i].exists) {
            host_clone(w, h, &w->host[i]);
            return;
        }
}

static void leave(struct world *w, struct host *h, const struct incident *in)
{
    tell(w, h, "is told to leave");
    h->back_ms = in->ms;
    host_feed(w, h, &(struct node_event){.kind = EV_LEAVE, .request = 1, .force = in->sides % 4 == 0});
}

/* It jumps, and somebody sets it right later. */
static void jump(struct world *w, struct host *h, uint32_t number, const struct incident *in)
{
    bool wrong = h->clock_ms != 0;
    h->clock_ms = wrong ? 0 : in->jump_ms;
    if (wrong) {
        tell(w, h, "its wall clock is set right");
        return;
    }
    tell(w, h, "its wall clock jumps by %.1f s", (double)in->jump_ms / 1000);
    at(w, number, h->slot, w->now_ms + in->ms);
}

static void wipe(struct world *w, struct host *h, const struct incident *in)
{
    host_crash(w, h, in->ms);
    tell(w, h, "is installed anew");
    host_wipe(w, h);
}

static void strike(struct world *w, struct host *h, const struct incident *in)
{
    if (!h->up || w->now_ms < h->paused_until_ms)
        return; /* nobody there that it could happen to */
    switch (in->kind) {
    case INCIDENT_CRASH:
        if (draw(&w->host_rng) % 2)
            host_say_stopping(w, h);
        host_crash(w, h, in->ms);
        break;
    case INCIDENT_GONE:
        host_crash(w, h, FOREVER_MS);
        break;
    case INCIDENT_WIPE:
        wipe(w, h, in);
        break;
    case INCIDENT_PAUSE:
    case INCIDENT_STOP:
        pause(w, h, in);
        break;
    case INCIDENT_DEAF:
        tell(w, h, "hears no multicast for %.1f s", (double)in->ms / 1000);
        h->deaf_until_ms = w->now_ms + in->ms;
        until(w, in->ms);
        break;
    case INCIDENT_ADDRESS:
        host_readdress(w, h);
        break;
    case INCIDENT_LEAVE:
        leave(w, h, in);
        break;
    case INCIDENT_CLONE:
        clone(w, h);
        break;
    case INCIDENT_REPLAY:
        tell(w, h, "hears what was recorded before");
        wire_replay(w, h);
        break;
    default:
        break;
    }
}

void trouble_happen(struct world *w, uint32_t number, uint32_t host)
{
    const struct incident *in = &w->s->incident[number];
    w->pending--;
    if (in->kind == INCIDENT_PARTITION || in->kind == INCIDENT_ONE_WAY) {
        part(w, number, in);
        return;
    }
    if (in->kind == INCIDENT_POWER_CUT) {
        power_cut(w);
        return;
    }
    if (in->kind == INCIDENT_CLOCK) {
        jump(w, &w->host[host], number, in);
        return;
    }
    for (uint32_t i = 0; in->many && i < w->s->hosts; i++)
        if (i != host && (in->sides >> i % 64 & 1))
            strike(w, &w->host[i], in);
    if (!in->many)
        strike(w, &w->host[host], in);
}
