/* Whom it is about, the symptom, and the way from there to the cause, in words. */
#include "peer/command/why.h"

#include <stdio.h>
#include <string.h>

#include "peer/command/why_state.h"
#include "peer/writer.h"

#define TEXT_BYTES 700
#define LINKS_MAX  3 /* hosts at fault that the chain tells of */

/* ---- members ---- */

bool why_is(const json_t *member, const char *key, const char *word)
{
    return strcmp(writer_text(member, key), word) == 0;
}

bool why_absent(const json_t *member)
{
    return why_is(member, "state", "failed") || why_is(member, "state", "suspect");
}

bool why_left(const json_t *member)
{
    return why_is(member, "state", "left");
}

bool why_evicted(const json_t *member)
{
    return why_left(member) && why_is(member, "note", "evicted");
}

/* How a member that is none any more went. */
static const char *parting(const json_t *member)
{
    return why_evicted(member) ? "was evicted from the group" : "has left the group";
}

const char *why_name(const json_t *member, char out[static WHY_HOST_BYTES])
{
    const char *name = writer_text(member, "name"), *address = writer_text(member, "address");

    if (*name && *address)
        snprintf(out, WHY_HOST_BYTES, "%.70s (%.50s)", name, address);
    else
        snprintf(out, WHY_HOST_BYTES, "%.120s", *name ? name : address);
    return out;
}

void why_member_text(const struct why *w, const json_t *member, char *out, size_t room)
{
    char name[WHY_HOST_BYTES], ago[32];
    const char *note = writer_text(member, "note");

    writer_duration(ago, sizeof ago, json_integer_value(json_object_get(member, "last_heard_ms")));
    why_name(member, name);
    if (why_absent(member))
        snprintf(out, room, "%s%s was last heard %s ago", name, member == w->master ? ", the master," : "",
                 ago);
    else if (why_left(member))
        snprintf(out, room, "%s%s %s", name, member == w->master ? ", the master," : "", parting(member));
    else
        snprintf(out, room, "%s%s is %s%s%s", name, member == w->master ? ", the master," : "",
                 writer_text(member, "phase"), *note ? ": " : "", note);
}

/* ---- whom it is about ---- */

static const json_t *find_member(const struct why *w, const char *who)
{
    const json_t *m, *found = NULL;
    size_t i;

    json_array_foreach(w->members, i, m)
    {
        bool fits = why_is(m, "name", who) || why_is(m, "id", who);

        if (fits && (!found || why_left(found)))
            found = m;
    }
    return found;
}

static const json_t *find_self(const struct why *w)
{
    const json_t *m;
    size_t i;

    json_array_foreach(w->members, i, m)
    {
        if (json_is_true(json_object_get(m, "self")))
            return m;
    }
    return NULL;
}

static const json_t *find_master(const struct why *w)
{
    const json_t *m;
    size_t i;

    json_array_foreach(w->members, i, m)
    {
        if (w->cluster && why_is(m, "id", writer_text(w->cluster, "founder")))
            return m;
    }
    return NULL;
}

static bool is_well(const struct why *w, const json_t *member)
{
    return member == w->self ? json_is_true(json_object_get(w->status, "healthy"))
                             : why_is(member, "state", "alive") && why_is(member, "phase", "ready");
}

/* The master before the others, since they may only wait for it. */
static const json_t *find_unwell(const struct why *w)
{
    const json_t *m;
    size_t i;

    if (w->master && !is_well(w, w->master))
        return w->master;
    json_array_foreach(w->members, i, m)
    {
        if (!why_left(m) && !is_well(w, m))
            return m;
    }
    return NULL;
}

static int choose_subject(struct why *w, const char *about, struct err *err)
{
    const json_t *unwell = w->self && is_well(w, w->self) ? find_unwell(w) : NULL;
    const char *host = writer_text(w->picture, "host");

    w->subject = about ? find_member(w, about) : unwell ? unwell : w->self;
    if (about && !w->subject && (w->members || strcmp(about, host) != 0)) {
        err_set(err, KPEER_ENOTFOUND, w->members ? "there is no member %.80s" : "nothing is known of %.80s",
                about);
        return err_hint(err, w->members  ? "kpeer members lists them"
                             : w->silent ? "the agent here does not answer: sudo kpeer why"
                                         : "start the agent here: sudo kpeer up");
    }
    w->own = w->subject == w->self;
    w->ready = w->subject && is_well(w, w->subject);
    return 0;
}

/* ---- the symptom ---- */

const char *why_error(const struct why *w)
{
    if (w->own)
        return writer_text(w->status, "error");
    return why_left(w->subject) ? "" : writer_text(w->subject, "note");
}

static const char *subject_name(const struct why *w)
{
    return writer_text(w->subject ? w->subject : w->picture, w->subject ? "name" : "host");
}

static void not_ready(const struct why *w, char *out, size_t room)
{
    const char *error = why_error(w), *waiting = w->own ? writer_text(w->status, "waiting") : "";
    bool waits = *waiting && strcmp(waiting, error) != 0;
    const char *phase = writer_text(w->subject, "phase");
    char took[32];

    writer_duration(took, sizeof took, json_integer_value(json_object_get(w->subject, "phase_ms")));
    if (why_is(w->subject, "phase", "ready"))
        snprintf(out, room, "%s is ready, but: %s", subject_name(w),
                 *error ? error : "it has no proven address now");
    else
        snprintf(out, room, "%s is not ready (%s, for %s)%s%s", subject_name(w), phase, took,
                 waits    ? ": it waits for "
                 : *error ? ": "
                          : "",
                 waits ? waiting : error);
}

static json_t *symptom(const struct why *w)
{
    char text[TEXT_BYTES];

    if (!w->subject)
        snprintf(text, sizeof text, w->silent ? "the agent of %s does not answer" : "no agent runs on %s",
                 subject_name(w));
    else if (w->ready && json_array_size(w->causes))
        snprintf(text, sizeof text, "%s is ready, but not all is well", subject_name(w));
    else if (w->ready)
        snprintf(text, sizeof text, "%s is ready", subject_name(w));
    else if (!w->own && why_absent(w->subject))
        snprintf(text, sizeof text, "%s is not heard", subject_name(w));
    else if (!w->own && why_left(w->subject))
        snprintf(text, sizeof text, "%s %s", subject_name(w), parting(w->subject));
    else
        not_ready(w, text, sizeof text);
    return json_string(text);
}

/* ---- the way to the cause ---- */

/* Whether a line says nothing that is not said already. */
static bool is_told(const char *line, const char *symptom, const char *cause)
{
    return !*line || strstr(symptom, line) || strstr(cause, line);
}

/* What links the symptom to the hosts at fault: the error that it led to, and how those hosts are. */
static json_t *chain(const struct why *w, const char *symptom)
{
    json_t *chain = json_array();
    const json_t *cause = json_array_get(w->causes, 0), *hosts = json_object_get(cause, "hosts"), *host;
    char text[TEXT_BYTES];
    size_t i;

    if (cause && !is_told(why_error(w), symptom, writer_text(cause, "text")))
        json_array_append_new(chain, json_string(why_error(w)));
    json_array_foreach(hosts, i, host)
    {
        const json_t *m = find_member(w, writer_text(host, "name"));

        if (i >= LINKS_MAX || !m || m == w->subject || m == w->self)
            continue;
        why_member_text(w, m, text, sizeof text);
        if (!is_told(text, symptom, writer_text(cause, "text")))
            json_array_append_new(chain, json_string(text));
    }
    return chain;
}

/* ---- all of it ---- */

static const json_t *or_null(const json_t *value)
{
    return json_is_null(value) ? NULL : value;
}

static json_t *answer(const struct why *w)
{
    json_t *seen = symptom(w), *also = json_array();
    json_t *cause = json_array_size(w->causes) ? json_incref(json_array_get(w->causes, 0)) : json_null();

    for (size_t i = 1; i < json_array_size(w->causes); i++)
        json_array_append(also, json_array_get(w->causes, i));
    return json_pack("{s:s, s:b, s:o, s:o, s:o, s:o}", "host", subject_name(w), "ready", w->ready, "symptom",
                     seen, "chain", chain(w, json_string_value(seen)), "cause", cause, "also", also);
}

int why_judge(const json_t *picture, const char *about, json_t **out, struct err *err)
{
    struct why w = {.picture = picture,
                    .status = or_null(json_object_get(picture, "status")),
                    .members = json_object_get(json_object_get(picture, "members"), "members"),
                    .cluster = or_null(json_object_get(json_object_get(picture, "members"), "cluster")),
                    .silent = json_is_true(json_object_get(picture, "silent"))};
    int code;

    w.self = find_self(&w);
    w.master = find_master(&w);
    code = choose_subject(&w, about, err);
    if (code)
        return code;
    w.causes = json_array();
    why_find(&w);
    *out = answer(&w);
    json_decref(w.causes);
    return *out ? 0 : err_set(err, KPEER_ENOMEM, "out of memory");
}
