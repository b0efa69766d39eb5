#include "peer/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "peer/writer.h"
#include "protocol/mem.h"

void report_time(int64_t wall_us, char out[static 32])
{
    time_t s = (time_t)(wall_us / 1000000);
    struct tm tm;
    char stamp[24];

    gmtime_r(&s, &tm);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, 32, "%s.%06uZ", stamp, (unsigned)(wall_us % 1000000) % 1000000u);
}

/* Text from outside may not be UTF-8; jansson takes nothing else. */
static json_t *text(const char *s)
{
    json_t *value = json_string(s);
    char safe[ERR_TEXT_BYTES];

    if (value)
        return value;
    writer_safe(safe, sizeof safe, s);
    return json_string(safe);
}

/* null where there is none. */
static json_t *text_or_null(const char *s)
{
    return *s ? text(s) : json_null();
}

static json_t *number(uint64_t n)
{
    return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

static json_t *id_or_null(const struct peer_id *id)
{
    char hex[PEER_ID_TEXT];

    if (peer_id_is_zero(id))
        return json_null();
    peer_id_text(id, hex);
    return json_string(hex);
}

json_t *report_record(const struct record *record)
{
    if (!record)
        return json_null();
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", text(record->cluster_id),
                     "endpoint", text(record->endpoint), "ca_hash", text(record->ca_hash), "kubernetes",
                     text(record->kubernetes_version), "pod_cidr", text(record->pod_cidr), "service_cidr",
                     text(record->service_cidr), "founder", id_or_null(&record->founder), "founder_name",
                     text(record->founder_name), "term", number(record->term));
}

static json_t *report_member(const struct member_view *m)
{
    return json_pack("{s:o, s:o, s:o, s:s, s:s, s:s, s:o, s:o, s:b, s:o, s:o, s:o}", "id", id_or_null(&m->id),
                     "name", text(m->name), "address", text(m->address), "role", role_word(m->role), "state",
                     state_word(m->state), "phase", phase_word(m->phase), "version", text(m->version),
                     "kubernetes", text_or_null(m->kubernetes_version), "self", m->self, "last_heard_ms",
                     number(m->last_heard_ms), "phase_ms", number(m->phase_ms), "note",
                     text_or_null(m->note));
}

static json_t *group_text(const struct node *node)
{
    char hex[2 * GROUP_ID_BYTES + 1];

    mem_hex(hex, node_group_id(node), GROUP_ID_BYTES);
    return json_string(hex);
}

json_t *report_members(const struct node *node, uint64_t now_ms)
{
    json_t *members = json_array();

    for (size_t i = 0; i < node_member_count(node); i++) {
        struct member_view view;

        memset(&view, 0, sizeof view);
        node_member_view(node, i, now_ms, &view);
        json_array_append_new(members, report_member(&view));
    }
    return json_pack("{s:o, s:o, s:o}", "group", group_text(node), "cluster",
                     report_record(node_record(node)), "members", members);
}

static json_t *report_election(const struct node_status *s)
{
    return json_pack("{s:i, s:b, s:i, s:o, s:o, s:o, s:o}", "electorate", (int)s->electorate, "constituted",
                     s->constituted, "expect", (int)s->expect, "term", number(s->term), "leader",
                     id_or_null(&s->leader), "leader_name", text_or_null(s->leader_name), "lease_left_ms",
                     number(s->lease_left_ms));
}

static json_t *report_dropped(const struct node_status *s)
{
    json_t *dropped = json_object();

    for (size_t i = 0; i < COUNT_OF(s->dropped); i++)
        if (s->dropped[i])
            json_object_set_new(dropped, node_drop_word(i), number(s->dropped[i]));
    return dropped;
}

/* How this host looks among the members: its name and how long it is in its phase. */
static void self_view(const struct node *node, uint64_t now_ms, struct member_view *view)
{
    memset(view, 0, sizeof *view);
    if (node_member_count(node))
        node_member_view(node, 0, now_ms, view);
}

/* How many members there are in each state. */
static json_t *report_counts(const struct node *node, uint64_t now_ms)
{
    int count[STATE_LEFT + 1] = {0};

    for (size_t i = 0; i < node_member_count(node); i++) {
        struct member_view view;

        node_member_view(node, i, now_ms, &view);
        if ((size_t)view.state < COUNT_OF(count))
            count[view.state]++;
    }
    return json_pack("{s:i, s:i, s:i, s:i}", "alive", count[STATE_ALIVE], "suspect", count[STATE_SUSPECT],
                     "failed", count[STATE_FAILED], "left", count[STATE_LEFT]);
}

json_t *report_status(const struct node *node, uint64_t now_ms)
{
    struct node_status s;
    struct member_view self;

    memset(&s, 0, sizeof s);
    node_status_view(node, now_ms, &s);
    self_view(node, now_ms, &self);
    return json_pack(
        "{s:o, s:o, s:o, s:s, s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:{}}", "id",
        id_or_null(node_id(node)), "name", text(self.name), "group", group_text(node), "phase",
        phase_word(s.phase), "role", role_word(s.role), "phase_ms", number(self.phase_ms), "healthy",
        s.healthy, "address", text_or_null(s.address), "interface", text_or_null(s.interface), "waiting",
        text_or_null(s.waiting), "error", text_or_null(s.error), "hint", text_or_null(s.hint), "election",
        report_election(&s), "cluster", report_record(node_record(node)), "members",
        report_counts(node, now_ms), "steps_running", (int)s.steps_running, "dropped", report_dropped(&s),
        "signs");
}

void report_heard(json_t *status, const uint64_t *dropped)
{
    json_t *heard = json_object();
    const char *phase = json_string_value(json_object_get(status, "phase"));

    for (int why = 0; why < DROP_COUNT; why++)
        if (dropped[why])
            json_object_set_new(heard, discovery_drop_word((enum discovery_drop)why), number(dropped[why]));
    json_object_set_new(status, "heard", heard);
    if (phase && strcmp(phase, "looking") == 0 && dropped[DROP_GROUP])
        json_object_set_new(status, "waiting",
                            json_string("hosts of this group: only a group with another key is heard here; "
                                        "is the key file the same on all hosts?"));
}

void report_links(json_t *status, uint64_t refused, uint64_t shut)
{
    json_t *heard = json_object_get(status, "heard");

    if (refused)
        json_object_set_new(heard, "refused-links", number(refused));
    if (shut)
        json_object_set_new(heard, "shut-out", number(shut));
}

void report_sign(json_t *status, enum discovery_sign sign, const char *address)
{
    json_object_set_new(json_object_get(status, "signs"), discovery_sign_word(sign), json_string(address));
}

static void add_text(json_t *object, const char *key, const char *value)
{
    if (*value)
        json_object_set_new(object, key, text(value));
}

bool report_is_step(enum event_kind kind)
{
    return kind == EVENT_STEP_STARTED || kind == EVENT_STEP_PROGRESS || kind == EVENT_STEP_FINISHED ||
           kind == EVENT_STEP_FAILED;
}

json_t *report_event(const struct action *act, int64_t wall_us, uint64_t mono_us)
{
    char t[32];
    json_t *event;

    report_time(wall_us, t);
    event = json_pack("{s:s, s:o, s:s}", "t", t, "mono_us", number(mono_us), "event", event_word(act->event));
    if (!event)
        return NULL;
    if (!peer_id_is_zero(&act->peer))
        json_object_set_new(event, "member", id_or_null(&act->peer));
    add_text(event, report_is_step(act->event) ? "step" : "name", act->name);
    add_text(event, "address", act->address);
    add_text(event, "text", act->text);
    add_text(event, "hint", act->hint);
    if (act->term)
        json_object_set_new(event, "term", number(act->term));
    if (act->took_ms)
        json_object_set_new(event, "took_ms", number(act->took_ms));
    if (act->code)
        json_object_set_new(event, "code", json_string(err_word(act->code)));
    return event;
}

struct event_ring {
    size_t capacity, first, count;
    json_t *event[];
};

int event_ring_new(struct event_ring **out, size_t capacity)
{
    struct event_ring *ring = calloc(1, sizeof *ring + capacity * sizeof ring->event[0]);

    if (!ring)
        return KPEER_ENOMEM;
    ring->capacity = capacity;
    *out = ring;
    return 0;
}

void event_ring_free(struct event_ring *ring)
{
    if (!ring)
        return;
    for (size_t i = 0; i < ring->capacity; i++)
        json_decref(ring->event[i]);
    free(ring);
}

void event_ring_push(struct event_ring *ring, json_t *event)
{
    size_t at = (ring->first + ring->count) % ring->capacity;

    if (ring->count == ring->capacity) {
        json_decref(ring->event[at]);
        ring->first = (ring->first + 1) % ring->capacity;
    } else {
        ring->count++;
    }
    ring->event[at] = json_incref(event);
}

void event_ring_replay(const struct event_ring *ring, uint64_t from_us, void (*fn)(void *ctx, json_t *event),
                       void *ctx)
{
    for (size_t i = 0; i < ring->count; i++) {
        json_t *event = ring->event[(ring->first + i) % ring->capacity];

        if ((uint64_t)json_integer_value(json_object_get(event, "mono_us")) >= from_us)
            fn(ctx, event);
    }
}
