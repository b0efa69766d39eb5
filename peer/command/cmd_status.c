#include <string.h>

#include "peer/command/command.h"
#include "peer/command/progress.h"

#define ANSWER_MS 5000

static void line(struct call *call, const char *title, enum writer_tint tint, const char *text)
{
    char safe[600];

    if (!*text)
        return;
    writer_safe(safe, sizeof safe, text);
    fprintf(call->out.to, "%-12s%s%s%s\n", title, writer_tint_on(&call->out, tint), safe,
            writer_tint_off(&call->out, tint));
}

static void show_phase(struct call *call, const json_t *s, bool healthy)
{
    char text[200], took[32];

    writer_duration(took, sizeof took, json_integer_value(json_object_get(s, "phase_ms")));
    snprintf(text, sizeof text, "%s, for %s", writer_text(s, "phase"), took);
    line(call, "phase", healthy ? TINT_GOOD : TINT_WARN, text);
}

static void show_election(struct call *call, const json_t *e)
{
    char text[300];
    long long n = json_integer_value(json_object_get(e, "electorate"));
    const char *leader = writer_text(e, "leader_name");

    if (n == 0)
        snprintf(text, sizeof text, "not bound to a set of hosts yet");
    else
        snprintf(text, sizeof text, "%lld hosts decide%s, term %lld%s%s", n,
                 json_is_true(json_object_get(e, "constituted")) ? "" : " (not all bound yet)",
                 (long long)json_integer_value(json_object_get(e, "term")), *leader ? ", led by " : "",
                 leader);
    line(call, "election", TINT_NONE, text);
}

static void show_cluster(struct call *call, const json_t *c)
{
    char text[400];

    if (!json_is_object(c)) {
        line(call, "cluster", TINT_NONE, "none yet");
        return;
    }
    snprintf(text, sizeof text, "%.8s at %s, Kubernetes %s, pods %s, founded by %s", writer_text(c, "id"),
             writer_text(c, "endpoint"), writer_text(c, "kubernetes"), writer_text(c, "pod_cidr"),
             writer_text(c, "founder_name"));
    line(call, "cluster", TINT_NONE, text);
}

static void show(struct call *call, const json_t *s, bool healthy)
{
    char text[200];

    snprintf(text, sizeof text, "%s (%s)", writer_text(s, "name"), writer_text(s, "role"));
    line(call, "host", TINT_BOLD, text);
    show_phase(call, s, healthy);
    snprintf(text, sizeof text, "%s%s%s",
             *writer_text(s, "address") ? writer_text(s, "address") : "none proven yet",
             *writer_text(s, "interface") ? " on " : "", writer_text(s, "interface"));
    line(call, "address", TINT_NONE, text);
    show_election(call, json_object_get(s, "election"));
    show_cluster(call, json_object_get(s, "cluster"));
    line(call, "waiting", TINT_WARN, writer_text(s, "waiting"));
    line(call, "error", TINT_BAD, writer_text(s, "error"));
    line(call, "try", TINT_NONE, writer_text(s, "hint"));
}

int cmd_status(struct call *call, struct err *err)
{
    struct control_client *client = NULL;
    json_t *s = NULL;
    bool healthy = false;
    int code = command_connect(call, &client, err);

    if (!code)
        code = control_ask(client, "status", NULL, ANSWER_MS, &s, err);
    if (!code) {
        healthy = json_is_true(json_object_get(s, "healthy"));
        if (writer_is_data(&call->out))
            code = writer_value(&call->out, s, err);
        else
            show(call, s, healthy);
    }
    json_decref(s);
    control_close(client);
    return code ? code : healthy ? 0 : 1;
}
