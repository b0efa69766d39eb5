/* Carrying out what the core wants done, in the order in which it wants it. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "peer/agent/agent_state.h"
#include "peer/agent/fields.h"
#include "peer/log.h"
#include "peer/report_checks.h"
#include "peer/report_survey.h"
#include "protocol/clock.h"

int64_t agent_wall_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void agent_fail(struct agent *a, const struct err *why)
{
    a->stop = true;
    if (a->code)
        return;
    a->code = why->code ? why->code : KPEER_EIO;
    a->fault = *why;
}

static int do_beacon(struct agent *a, const struct action *act, struct err *err)
{
    struct hello hello = *act->hello;
    (void)err;
    hello.wall_ms = agent_wall_ms();
    discovery_announce(a->discovery, &hello, clock_ms());
    return 0;
}

static int do_pulse(struct agent *a, const struct action *act, struct err *err)
{
    (void)err;
    discovery_pulse(a->discovery, act->address, act->port, &act->pulse);
    return 0;
}

/* Dropped where there is no link or its queue is full: the core knows that bytes get lost. */
static int do_send(struct agent *a, const struct action *act, struct err *err)
{
    (void)err;
    (void)transport_send(a->transport, &act->peer, act->bytes, act->n);
    return 0;
}

static int do_persist(struct agent *a, const struct action *act, struct err *err)
{
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    int rc = store_put(a->store, act->store, act->bytes, act->n, err);
    clock_gettime(CLOCK_MONOTONIC, &after);
    metrics_write(
        &a->metrics, act->store,
        (uint64_t)((after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000));
    if (rc)
        err_hint(err, "the agent stops before it breaks a promise; free the disk and start it again");
    return rc;
}

static int do_run(struct agent *a, const struct action *act, struct err *err)
{
    int rc = agent_step_run(a, act->step, err);
    if ((rc != KPEER_EINVAL && rc != KPEER_ELIMIT) || a->refused_count == AGENT_REFUSED_MAX)
        return rc;
    /* Not a step that any executor would take: the step failed, the agent did not. */
    struct agent_refused *r = &a->refused[a->refused_count++];
    *r = (struct agent_refused){.id = act->step->id, .kind = act->step->kind, .why = *err};
    return 0;
}

static int do_cancel(struct agent *a, const struct action *act, struct err *err)
{
    return agent_step_cancel(a, act->step->id, err);
}

/* A peer that cannot be linked to is that peer's fault, not ours. */
static int do_link(struct agent *a, const struct action *act, struct err *err)
{
    struct err why = {0};
    (void)err;
    if (transport_link(a->transport, &act->peer, act->address, act->port, act->box_pk, act->keep, &why))
        log_warn("no link to %s port %u: %s", act->address, act->port, why.text);
    return 0;
}

static int do_hand(struct agent *a, const struct action *act, struct err *err)
{
    (void)err;
    discovery_hand(a->discovery, act->address, act->bytes, act->n);
    return 0;
}

static int do_unlink(struct agent *a, const struct action *act, struct err *err)
{
    (void)err;
    transport_unlink(a->transport, &act->peer);
    return 0;
}

static int do_knock(struct agent *a, const struct action *act, struct err *err)
{
    (void)err;
    transport_knock(a->transport, &act->peer);
    return 0;
}

static enum log_level level_of(enum event_kind kind)
{
    switch (kind) {
    case EVENT_STEP_PROGRESS:
        return LOG_LEVEL_DEBUG;
    case EVENT_STEP_FAILED:
    case EVENT_CONFLICT:
    case EVENT_BLOCKED:
    case EVENT_LEASE_LOST:
    case EVENT_EVICTED:
    case EVENT_INVITATION_SPOILED:
    case EVENT_CONSOLE_REFUSED:
    case EVENT_ADDRESS_LOST:
    case EVENT_MEMBER_FAILED:
        return LOG_LEVEL_WARN;
    default:
        return LOG_LEVEL_INFO;
    }
}

void agent_event(struct agent *a, const struct action *act)
{
    struct timespec mono, wall;
    struct node_status now = {0};
    struct fields fields;
    clock_gettime(CLOCK_BOOTTIME, &mono);
    clock_gettime(CLOCK_REALTIME, &wall);
    enum log_level level = level_of(act->event);
    metrics_event(&a->metrics, act, level <= LOG_LEVEL_WARN, agent_wall_ms());
    node_status_view(a->node, clock_ms(), &now);
    fields_of_event(act, &now, &fields);
    log_fields(level, fields.field, fields.count, "%s%s%s%s%s", event_word(act->event),
               act->name[0] ? " " : "", act->name, act->text[0] ? ": " : "", act->text);
    json_t *event = report_event(act, (int64_t)wall.tv_sec * 1000000 + wall.tv_nsec / 1000,
                                 (uint64_t)mono.tv_sec * 1000000 + (uint64_t)mono.tv_nsec / 1000);
    if (!event)
        return; /* without memory for a report the work still goes on */
    event_ring_push(a->events, event);
    control_broadcast_event(a->control, event);
}

static int do_event(struct agent *a, const struct action *act, struct err *err)
{
    (void)err;
    agent_event(a, act);
    return 0;
}

/* {"passed": BOOL, "checks": report_checks} */
static json_t *report_verify(const struct verify_report *r)
{
    bool passed = true;
    for (size_t i = 0; i < r->count; i++)
        passed = passed && r->finding[i].level != FINDING_RED;
    return json_pack("{s:b, s:o}", "passed", passed, "checks", report_checks(r->finding, r->count));
}

/* An answer with bytes is the kubeconfig, one with a survey or a trial that; others are just done. */
static int do_reply(struct agent *a, const struct action *act, struct err *err)
{
    struct control_call *call = control_find(a->control, act->request);
    (void)err;
    if (!call)
        return 0; /* the client went away */
    if (act->code) {
        control_fail(call, act->code, act->text, act->hint);
        return 0;
    }
    json_t *data = act->survey   ? report_survey(act->survey)
                   : act->verify ? report_verify(act->verify)
                                 : json_object();
    if (data && act->bytes)
        json_object_set_new(data, "kubeconfig", json_stringn((const char *)act->bytes, act->n));
    else if (data && act->text[0] && !act->verify)
        json_object_set_new(data, "message", json_string(act->text));
    control_reply(call, data);
    return 0;
}

static int do_reach(struct agent *a, const struct action *act, struct err *err)
{
    (void)err;
    reach_do(a->reach, act->reach, clock_ms());
    return 0;
}

static int do_renew(struct agent *a, const struct action *act, struct err *err)
{
    (void)act;
    (void)err;
    log_warn("another live host has this host's identity (a copied disk?): taking a new one");
    a->renew = true;
    a->stop = true;
    return 0;
}

static int do_stop(struct agent *a, const struct action *act, struct err *err)
{
    (void)act;
    log_info("this host has left its group");
    a->stop = true;
    return store_renew(a->store, err); /* whoever comes up here next is a newcomer */
}

static int (*const carry_out[])(struct agent *, const struct action *, struct err *) = {
    [ACT_BEACON] = do_beacon, [ACT_PULSE] = do_pulse,   [ACT_SEND] = do_send,   [ACT_PERSIST] = do_persist,
    [ACT_RUN] = do_run,       [ACT_CANCEL] = do_cancel, [ACT_LINK] = do_link,   [ACT_UNLINK] = do_unlink,
    [ACT_EVENT] = do_event,   [ACT_REACH] = do_reach,   [ACT_REPLY] = do_reply, [ACT_RENEW] = do_renew,
    [ACT_STOP] = do_stop,     [ACT_HAND] = do_hand,     [ACT_KNOCK] = do_knock,
};

/* One event and its actions. */
static void feed_one(struct agent *a, struct node_event *event)
{
    struct actions actions = {0};
    struct err e = {0};
    event->wall_ms = agent_wall_ms();
    if (node_step(a->node, event, clock_ms(), &actions)) {
        err_set(&e, KPEER_ENOMEM, "out of memory");
        agent_fail(a, &e);
        return;
    }
    a->wake_ms = actions.wake_ms;
    for (size_t i = 0; i < actions.count; i++)
        if (carry_out[actions.list[i].kind](a, &actions.list[i], &e)) {
            agent_fail(a, &e);
            return;
        }
}

static void feed_refused(struct agent *a)
{
    struct agent_refused r = a->refused[0];
    a->refused_count--;
    memmove(&a->refused[0], &a->refused[1], a->refused_count * sizeof r);
    struct step_result *result = calloc(1, sizeof *result);
    if (!result) {
        struct err e;
        err_set(&e, KPEER_ENOMEM, "out of memory");
        agent_fail(a, &e);
        return;
    }
    result->id = r.id;
    result->kind = r.kind;
    result->code = r.why.code;
    memcpy(result->text, r.why.text, sizeof result->text);
    memcpy(result->hint, r.why.hint, sizeof result->hint);
    struct node_event ev = {.kind = EV_STEP_DONE, .result = result};
    feed_one(a, &ev);
    free(result);
}

void agent_feed(struct agent *a, struct node_event *event)
{
    if (a->code)
        return; /* after a failed promise nothing is carried out any more */
    feed_one(a, event);
    while (a->refused_count && !a->code)
        feed_refused(a);
}
