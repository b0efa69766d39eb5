/* What users and monitors ask, and the answers. */
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "peer/agent/agent_state.h"
#include "protocol/clock.h"
#include "protocol/mem.h"

static void answer(struct control_call *call, json_t *data)
{
    if (data)
        control_reply(call, data);
    else
        control_fail(call, KPEER_ENOMEM, "the agent is out of memory", NULL);
}

static void add_signs(const struct agent *a, json_t *status)
{
    char address[STEP_ADDRESS_BYTES];
    for (int sign = 0; sign < SIGN_COUNT; sign++)
        if (discovery_sign(a->discovery, (enum discovery_sign)sign, clock_ms(), address))
            report_sign(status, (enum discovery_sign)sign, address);
}

static void ask_status(struct agent *a, struct control_call *call)
{
    const struct transport_stats *links = transport_stats(a->transport);
    json_t *status = report_status(a->node, clock_ms());
    if (status) {
        report_heard(status, discovery_dropped(a->discovery));
        report_links(status, links->refused, links->shut);
        add_signs(a, status);
    }
    answer(call, status);
}

char *agent_metrics(void *ctx, size_t *n)
{
    struct agent *a = ctx;
    struct metrics_source src = {.counted = &a->metrics, .node = a->node, .now_ms = clock_ms()};
    if (!a->node)
        return NULL;
    src.links = transport_stats(a->transport);
    src.link_count = transport_link_count(a->transport, &src.links_up);
    src.heard = discovery_dropped(a->discovery);
    return metrics_page(&src, n);
}

static void ask_metrics(struct agent *a, struct control_call *call)
{
    size_t n;
    cleanup_free char *page = agent_metrics(a, &n);
    answer(call, page ? json_pack("{s:s%}", "metrics", page, n) : NULL);
}

static void ask_members(struct agent *a, struct control_call *call)
{
    answer(call, report_members(a->node, clock_ms()));
}

static void send_event(void *ctx, json_t *event)
{
    control_send_event(ctx, json_incref(event));
}

/* {"since_ms": N|null, "follow": BOOL} */
static void ask_events(struct agent *a, struct control_call *call)
{
    const json_t *since = json_object_get(call->args, "since_ms");
    if (since && !json_is_null(since) && (!json_is_integer(since) || json_integer_value(since) < 0)) {
        control_fail(call, KPEER_EINVAL, "since_ms is not a number of milliseconds", NULL);
        return;
    }
    uint64_t id = call->id;
    if (json_is_integer(since)) {
        uint64_t ago_ms = (uint64_t)json_integer_value(since), now_ms = clock_ms();
        event_ring_replay(a->events, ago_ms < now_ms ? (now_ms - ago_ms) * 1000 : 0, send_event, call);
    }
    if (control_find(a->control, id) != call)
        return; /* cut off meanwhile */
    if (json_is_true(json_object_get(call->args, "follow")))
        control_subscribe(call);
    else
        control_reply(call, NULL);
}

static void ask_leave(struct agent *a, struct control_call *call)
{
    struct node_event ev = {
        .kind = EV_LEAVE, .request = call->id, .force = json_is_true(json_object_get(call->args, "force"))};
    agent_feed(a, &ev);
}

static void ask_kubeconfig(struct agent *a, struct control_call *call)
{
    struct node_event ev = {.kind = EV_KUBECONFIG, .request = call->id};
    agent_feed(a, &ev);
}

static void ask_fix(struct agent *a, struct control_call *call)
{
    struct node_event ev = {.kind = EV_FIX, .request = call->id};
    agent_feed(a, &ev);
}

static void ask_rotate(struct agent *a, struct control_call *call)
{
    struct node_event ev = {.kind = EV_ROTATE, .request = call->id};
    agent_feed(a, &ev);
}

/* {"member": NAME or ID} */
static void ask_evict(struct agent *a, struct control_call *call)
{
    const char *who = json_string_value(json_object_get(call->args, "member"));
    struct node_event ev = {.kind = EV_EVICT, .request = call->id, .who = who};
    if (who && *who)
        agent_feed(a, &ev);
    else
        control_fail(call, KPEER_EINVAL, "no member is named", NULL);
}

static void ask_survey(struct agent *a, struct control_call *call)
{
    struct node_event ev = {.kind = EV_SURVEY, .request = call->id};
    agent_feed(a, &ev);
}

/* {"timeout_ms": N} */
static void ask_verify(struct agent *a, struct control_call *call)
{
    json_int_t ms = json_integer_value(json_object_get(call->args, "timeout_ms"));
    struct node_event ev = {.kind = EV_VERIFY, .request = call->id, .timeout_ms = (uint32_t)ms};
    if (ms < NODE_VERIFY_MIN_MS || ms > NODE_VERIFY_MAX_MS)
        control_fail(call, KPEER_EINVAL, "timeout_ms is out of bounds", NULL);
    else
        agent_feed(a, &ev);
}

static void ask_retry(struct agent *a, struct control_call *call)
{
    struct node_event ev = {.kind = EV_RETRY};
    uint64_t id = call->id;
    agent_feed(a, &ev);
    call = control_find(a->control, id);
    if (call)
        answer(call, json_object());
}

static void ask_version(struct agent *a, struct control_call *call)
{
    (void)a;
    answer(call, json_pack("{s:s, s:i}", "version", KPEER_VERSION, "pid", (int)getpid()));
}

static const struct {
    const char *cmd;
    void (*ask)(struct agent *a, struct control_call *call);
} requests[] = {
    {"status", ask_status},         {"members", ask_members},
    {"events", ask_events},         {"metrics", ask_metrics},
    {"leave", ask_leave},           {"retry", ask_retry},
    {"kubeconfig", ask_kubeconfig}, {"version", ask_version},
    {"survey", ask_survey},         {"fix", ask_fix},
    {"rotate", ask_rotate},         {"evict", ask_evict},
    {"invite", agent_invite},       {"verify", ask_verify},
};

void agent_gone(void *ctx, uint64_t id)
{
    struct agent *a = ctx;
    struct node_event ev = {.kind = EV_GONE, .request = id};
    if (a->node)
        agent_feed(a, &ev);
}

void agent_request(void *ctx, struct control_call *call)
{
    struct agent *a = ctx;
    for (size_t i = 0; i < COUNT_OF(requests); i++)
        if (strcmp(requests[i].cmd, call->cmd) == 0) {
            if (a->node)
                requests[i].ask(a, call);
            else
                control_fail(call, KPEER_ESTATE, "the agent is only just starting", NULL);
            return;
        }
    control_fail(call, KPEER_EINVAL, "the agent does not know this request",
                 "the command and the agent are of different versions: start the agent anew");
}
