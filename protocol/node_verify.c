/* A test pod, for whoever asks for one: asking the control plane, and trying it there. */
#include <stdio.h>
#include <string.h>

#include "protocol/mem.h"
#include "protocol/node_state.h"

#define ANSWER_MS  15000 /* the founder says at once that it has begun, or why it does not */
#define GAP_MS     1000  /* from the begin of one for another host to that of its next */
#define OVERDUE_MS 30000 /* what it may take beyond the time that it was given */

static uint32_t bounded(uint64_t timeout_ms)
{
    if (timeout_ms < NODE_VERIFY_MIN_MS)
        return NODE_VERIFY_MIN_MS;
    return timeout_ms < NODE_VERIFY_MAX_MS ? (uint32_t)timeout_ms : NODE_VERIFY_MAX_MS;
}

/* ---- what goes out ---- */

static void ask(struct node *n, const struct member *founder, uint64_t request, uint32_t timeout_ms)
{
    struct pack_writer w;
    net_begin(n, &w, MSG_VERIFY_ASK, 2);
    pack_put_uint(&w, request);
    pack_put_uint(&w, timeout_ms);
    net_post(n, &w, founder);
}

/* What the asker is told: `r` NULL while it goes on, with `text` alone. */
static void tell(struct node *n, const struct member *to, uint64_t request, const char *text,
                 const struct step_result *r)
{
    struct pack_writer w;
    char line[sizeof((struct action *)0)->text];
    mem_clip_text(line, sizeof line, r ? r->text : text);
    net_begin(n, &w, MSG_VERIFY_TELL, 6);
    pack_put_uint(&w, request);
    pack_put_bool(&w, r != NULL);
    pack_put_int(&w, r ? r->code : 0);
    pack_put_str(&w, line);
    pack_put_str(&w, r ? r->hint : "");
    step_put_findings(&w, r ? r->findings : NULL, r ? r->finding_count : 0);
    net_post(n, &w, to);
}

/* The findings are the answer, where there are any. */
static void answer(struct node *n, uint64_t request, const struct step_result *r)
{
    struct verify_report report = {.count = r->finding_count};
    if (request == 0)
        return;
    if (report.count)
        report.finding = out_copy(n, r->findings, r->finding_count * sizeof r->findings[0]);
    const struct verify_report *kept = report.finding ? out_copy(n, &report, sizeof report) : NULL;
    out_reply(n, request, kept ? 0 : r->code, r->text, r->hint);
    if (n->action_count > 0)
        n->action[n->action_count - 1].verify = kept;
}

static void refuse(struct node *n, const struct member *asker, uint64_t request, int code, const char *text,
                   const char *hint)
{
    struct step_result r = {.code = code};
    mem_clip_text(r.text, sizeof r.text, text);
    mem_clip_text(r.hint, sizeof r.hint, hint);
    if (asker->self)
        answer(n, request, &r);
    else
        tell(n, asker, request, "", &r);
}

/* ---- the control plane's side ---- */

/* NULL: it is gone, or was started anew and knows of nothing. */
static struct member *asker_of(struct node *n)
{
    struct member *m = node_member(n, &n->verify.asker);
    return m && m->instance == n->verify.asker_instance ? m : NULL;
}

static void begin(struct node *n, struct member *asker, uint64_t request, uint32_t timeout_ms)
{
    struct verify *v = &n->verify;
    struct step s = {.kind = STEP_VERIFY, .timeout_ms = bounded(timeout_ms)};
    char text[sizeof((struct action *)0)->text];
    if (v->step) {
        snprintf(text, sizeof text, "a test pod is being tried already, for %s", node_name_of(n, &v->asker));
        refuse(n, asker, request, KPEER_ESTATE, text, "wait for that to end, and try again");
        return;
    }
    if (!n->work.proved) {
        refuse(n, asker, request, KPEER_ESTATE, "the master is not ready yet",
               "kpeer members shows how far it is");
        return;
    }
    if (!asker->self && asker->verified_ms && n->now_ms < asker->verified_ms + GAP_MS) {
        refuse(n, asker, request, KPEER_ESTATE, "a test pod was tried for this host just now",
               "try again in a second");
        return;
    }
    memcpy(s.node_name, n->cfg.name, sizeof s.node_name);
    memcpy(s.pod_cidr, n->record.pod_cidr, sizeof s.pod_cidr);
    uint32_t step = out_run(n, &s, &asker->id, request);
    if (!step) {
        refuse(n, asker, request, KPEER_ELIMIT, "too much is going on; try again", "");
        return;
    }
    out_event(n, EVENT_VERIFY_STARTED, &asker->id);
    v->step = step;
    v->asker = asker->id;
    v->asker_instance = asker->instance;
    v->asked = request;
    v->stopped = false;
    asker->verified_ms = n->now_ms;
    if (!asker->self)
        tell(n, asker, request, "begins", NULL);
}

/* It takes away what it made before it ends. */
static void stop(struct node *n)
{
    if (n->verify.step && !n->verify.stopped)
        out_cancel(n, n->verify.step);
    n->verify.stopped = true;
}

void verify_progress(struct node *n, uint32_t step, const char *text)
{
    const struct verify *v = &n->verify;
    const struct member *asker = v->step && v->step == step ? asker_of(n) : NULL;
    if (asker && !asker->self)
        tell(n, asker, v->asked, text, NULL);
}

void verify_result(struct node *n, const struct step_result *r)
{
    struct verify *v = &n->verify;
    const struct member *asker = asker_of(n);
    v->step = 0;
    if (asker && asker->self)
        answer(n, v->asked, r);
    else if (asker)
        tell(n, asker, v->asked, "", r);
}

static bool is_away(const struct member *m)
{
    return !m || m->state == STATE_FAILED || m->state == STATE_LEFT;
}

/* What was asked more than once begins once, and says so each time. */
static bool is_known(struct node *n, const struct member *m, uint64_t request)
{
    const struct verify *v = &n->verify;
    if (asker_of(n) != m || v->asked != request)
        return false;
    if (v->step && !v->stopped)
        tell(n, m, request, "begins", NULL);
    return true;
}

static void on_ask(struct node *n, struct member *m, struct pack_reader *r)
{
    const struct verify *v = &n->verify;
    uint64_t request = pack_uint(r, UINT64_MAX);
    uint32_t timeout_ms = (uint32_t)pack_uint(r, UINT32_MAX);
    bool in_cluster = m->has_profile && strcmp(m->profile.cluster_id, n->record.cluster_id) == 0;
    if (pack_bad(r) || !in_cluster || is_away(m) || !node_is_founder(n))
        return;
    if (timeout_ms && !is_known(n, m, request))
        begin(n, m, request, timeout_ms);
    else if (!timeout_ms && peer_id_equal(&v->asker, &m->id) && v->asked == request)
        stop(n);
}

/* ---- the asker's side ---- */

static void on_tell(struct node *n, const struct member *m, struct pack_reader *r)
{
    struct verify *v = &n->verify;
    struct step_result told = {0};
    uint64_t request = pack_uint(r, UINT64_MAX);
    bool done = pack_bool(r);
    told.code = (int)pack_int(r, -64, 0);
    pack_str(r, told.text, sizeof((struct action *)0)->text);
    pack_str(r, told.hint, sizeof told.hint);
    told.finding_count = step_read_findings(r, told.findings);
    if (pack_bad(r) || request == 0 || request != v->request || !peer_id_equal(&m->id, &n->record.founder))
        return;
    if (done) {
        v->request = 0;
        answer(n, request, &told);
        return;
    }
    v->again_ms = 0;
    v->until_ms = v->last_ms;
    struct action *a = out_event(n, EVENT_STEP_PROGRESS, NULL);
    mem_copy_text(a->name, sizeof a->name, step_word(STEP_VERIFY));
    out_text(a, "%s", told.text);
}

void verify_message(struct node *n, struct member *m, enum message type, struct pack_reader *r)
{
    if (type == MSG_VERIFY_ASK)
        on_ask(n, m, r);
    else
        on_tell(n, m, r);
}

static void ask_founder(struct node *n, uint64_t request, uint32_t timeout_ms)
{
    struct verify *v = &n->verify;
    const struct member *founder = node_member(n, &n->record.founder);
    if (v->request) {
        out_reply(n, request, KPEER_ESTATE, "a test pod is being tried already, for this host",
                  "wait for that to end, and try again");
        return;
    }
    if (!founder || founder->state != STATE_ALIVE) {
        out_reply(n, request, KPEER_EIO, "the master cannot be reached from here",
                  "see `kpeer members`: is the master alive?");
        return;
    }
    v->request = request;
    v->instance = founder->instance;
    v->until_ms = n->now_ms + ANSWER_MS;
    v->timeout_ms = bounded(timeout_ms);
    v->last_ms = n->now_ms + v->timeout_ms + OVERDUE_MS;
    v->again_ms = n->now_ms + FOUNDER_AGAIN_MS;
    ask(n, founder, request, v->timeout_ms);
}

void verify_request(struct node *n, uint64_t request, uint32_t timeout_ms)
{
    if (!n->committed || n->work.joined[0] == '\0' || n->work.leaving)
        out_reply(n, request, KPEER_ESTATE,
                  n->committed ? "this host is no part of the cluster" : "there is no cluster yet",
                  "kpeer status tells what it waits for");
    else if (node_is_founder(n))
        begin(n, node_self(n), request, timeout_ms);
    else
        ask_founder(n, request, timeout_ms);
}

void verify_gone(struct node *n, uint64_t request)
{
    struct verify *v = &n->verify;
    const struct member *founder = node_member(n, &n->record.founder);
    if (v->step && v->asked == request && peer_id_equal(&v->asker, &n->me->id))
        stop(n);
    if (request == 0 || v->request != request)
        return;
    v->request = 0;
    if (founder)
        ask(n, founder, request, 0);
}

/* ---- the tick ---- */

static void await_founder(struct node *n)
{
    struct verify *v = &n->verify;
    const struct member *founder = node_member(n, &n->record.founder);
    uint64_t request = v->request;
    bool away = is_away(founder) || founder->instance != v->instance;
    if (!away && n->now_ms < v->until_ms && !n->work.leaving) {
        if (v->again_ms && n->now_ms >= v->again_ms) {
            v->again_ms = n->now_ms + FOUNDER_AGAIN_MS;
            ask(n, founder, request, v->timeout_ms);
        }
        return;
    }
    verify_gone(n, request);
    if (n->work.leaving)
        out_reply(n, request, KPEER_ESTATE, "this host is leaving the group", "");
    else if (away)
        out_reply(n, request, KPEER_EIO, "the master went away meanwhile",
                  "what is left of the test pod goes with the next kpeer verify");
    else
        out_reply(n, request, KPEER_ETIMEOUT, "the master did not answer in time",
                  "see `kpeer members`: is the master alive?");
}

void verify_tick(struct node *n)
{
    const struct verify *v = &n->verify;
    if (n->stopped)
        return;
    if (v->step && (n->work.leaving || is_away(asker_of(n))))
        stop(n);
    if (v->request)
        await_founder(n);
}

uint64_t verify_wake(const struct node *n)
{
    const struct verify *v = &n->verify;
    if (!v->request)
        return UINT64_MAX;
    return v->again_ms && v->again_ms < v->until_ms ? v->again_ms : v->until_ms;
}
