/* In some runs, users ask now and then how the group looks: that must change nothing of what comes out. */
#include "tests/sim/world.h"

#define ONE_RUN_IN   3
#define ALIKE_ONE_IN 6
#define SURVEYS_MAX  12
#define LATE_MS      30000 /* also after all faults */

/* Streams of its own, so that seeds without surveys are what they were. */
void survey_draw(struct world *w)
{
    uint64_t rng = w->s->seed ^ 0x737572766579;
    w->survey_rng = draw(&rng);
    w->alike = draw_below(&w->survey_rng, ALIKE_ONE_IN) == 0;
}

void survey_plan(struct world *w)
{
    if (draw_below(&w->survey_rng, ONE_RUN_IN) != 0)
        return;
    for (uint64_t n = 1 + draw_below(&w->survey_rng, SURVEYS_MAX); n > 0; n--)
        queue_put(&w->queue, (struct item){.at_ms = draw_below(&w->survey_rng, w->s->faults_ms + LATE_MS),
                                           .kind = H_SURVEY,
                                           .host = (uint32_t)draw_below(&w->survey_rng, w->s->hosts)});
}

void survey_ask(struct world *w, struct host *h)
{
    tell(w, h, "is asked how the group looks");
    host_feed(w, h, &(struct node_event){.kind = EV_SURVEY, .request = ++w->surveys});
}

void survey_order(struct world *w, struct host *h, const struct reach_order *o)
{
    h->reach = o->what == REACH_CLOSE ? 0 : o->survey;
    h->reach_what = o->what;
    h->reach_count = o->count;
    if (h->reach == 0)
        return;
    uint64_t most = o->what == REACH_OPEN ? 20 : o->limit_ms;
    queue_put(&w->queue, (struct item){.at_ms = w->now_ms + 1 + draw_below(&w->survey_rng, most),
                                       .kind = H_REACH,
                                       .host = h->slot,
                                       .generation = h->generation,
                                       .number = (uint32_t)o->survey});
}

void survey_reached(struct world *w, struct host *h, uint32_t survey)
{
    struct reach_report r = {.what = h->reach_what, .survey = h->reach, .mtu = 1500};
    if ((uint32_t)h->reach != survey)
        return; /* it was closed meanwhile */
    memset(r.listen, LISTEN_OURS, sizeof r.listen);
    for (size_t d = 0; d < h->reach_count; d++) {
        memset(r.seen.tcp[d], REACH_OK, sizeof r.seen.tcp[d]);
        r.seen.heard[d] = 1500;
    }
    host_feed(w, h, &(struct node_event){.kind = EV_REACH, .reach = &r});
}

/* Where the ports are needed, or looked at, they are free. */
void survey_step(struct world *w, struct host *h, const struct step *s)
{
    bool needs = s->kind == STEP_FIX || s->kind == STEP_PREFLIGHT || s->kind == STEP_PREPARE ||
                 s->kind == STEP_INIT || s->kind == STEP_JOIN || s->kind == STEP_RESET;
    if (h->reach && needs)
        broken(w, 0, "%s begins %s while a survey listens on its ports", h->name, step_word(s->kind));
}
