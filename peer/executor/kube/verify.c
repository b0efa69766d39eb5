/* The step that tries a pod: one that serves is made, called from the other hosts, and taken away again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/executor/kube/kube.h"
#include "peer/executor/kube/kubeadm.h"
#include "peer/executor/kube/manifest.h"
#include "protocol/mem.h"

#define LOOK_MS            500
#define QUERY_MS           10000
#define MAKE_MS            30000
#define PLACE_MS           20000 /* for the scheduler */
#define CALL_MS            30000 /* for the callers to start and to be answered */
#define CLEAR_MS           5000  /* for what an earlier trial left, asked and then forced */
#define REMOVE_MS          30000
#define REMOVE_CANCELED_MS 5000 /* a cancelled worker is given no more */
#define CALLERS_MAX        16
#define PODS_MAX           (CALLERS_MAX + 1)

struct trial {
    struct exec_ctx *ctx;
    const struct step *step;
    struct step_result *result;
    char node[CALLERS_MAX][STEP_NAME_BYTES]; /* those who may call */
    size_t nodes;
    size_t all; /* Nodes that there are */
    struct parse_pod pod[PODS_MAX];
    size_t pods;
    struct parse_pod *tried; /* among them; NULL: not seen */
    char told[256];
};

static void note(struct trial *t, enum finding_level level, const char *check, const char *next,
                 const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static void note(struct trial *t, enum finding_level level, const char *check, const char *next,
                 const char *fmt, ...)
{
    struct step_result *r = t->result;
    if (r->finding_count == STEP_FINDINGS_MAX)
        return;
    struct finding *f = &r->findings[r->finding_count++];
    char detail[ERR_TEXT_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    f->level = level;
    mem_copy_text(f->check, sizeof f->check, check);
    mem_clip_text(f->detail, sizeof f->detail, detail);
    mem_clip_text(f->next, sizeof f->next, next);
    exec_say(t->ctx, check, -1, "%s", f->detail);
}

/* ---- kubectl ---- */

static int ask(struct exec_ctx *ctx, const char *const *argv, struct spawn_result *res, struct err *err)
{
    const struct kubectl_call call = {
        .kubeconfig = KUBE_ADMIN, .argv = argv, .timeout_ms = QUERY_MS, .quiet = true};
    return kubectl_run(ctx, &call, res, err);
}

static int make(struct exec_ctx *ctx, const char *text, size_t n, struct err *err)
{
    struct spawn_result res;
    const struct kubectl_call call = {
        .kubeconfig = KUBE_ADMIN,
        .argv = (const char *const[]){"apply", "-f", "-", "--validate=false", NULL},
        .input = text,
        .input_bytes = n,
        .timeout_ms = MAKE_MS,
        .quiet = true,
    };
    int rc = kubectl_run(ctx, &call, &res, err);
    spawn_result_fini(&res);
    return rc == 0 ? 0 : err_wrap(err, "cannot make the test pod");
}

/* All that a trial makes has one label. Nothing there is success. */
static int take_away(struct exec_ctx *ctx, uint32_t ms, bool force, struct err *err)
{
    char limit[32];
    struct spawn_result res;
    uint32_t left = exec_left_ms(ctx);
    snprintf(limit, sizeof limit, "--timeout=%us", (ms < left ? ms : left) / 1000);
    const struct kubectl_call call = {
        .kubeconfig = KUBE_ADMIN,
        .argv = (const char *const[]){"delete", "pod,configmap", "-n", PROBE_NAMESPACE, "-l",
                                      "app=" TRIAL_NAME, "--ignore-not-found", limit,
                                      force ? "--force" : NULL, "--grace-period=0", NULL},
        .timeout_ms = ms,
        .quiet = true,
    };
    int rc = kubectl_run(ctx, &call, &res, err);
    spawn_result_fini(&res);
    return rc;
}

/* A pod on a Node that died stays until it is forced away: no kubelet says that it has ended. */
static int clear(struct exec_ctx *ctx, struct err *err)
{
    struct err why;
    if (take_away(ctx, CLEAR_MS, false, &why) == 0 || take_away(ctx, CLEAR_MS, true, err) == 0)
        return 0;
    return err_wrap(err, "taking away what an earlier trial left");
}

/* Those who may call: all Nodes, or some of them where there are many. */
static int list_nodes(struct trial *t, struct err *err)
{
    struct spawn_result res;
    int rc = ask(t->ctx, (const char *const[]){"get", "nodes", "-o", "name", NULL}, &res, err);
    if (rc == 0)
        t->nodes = parse_node_names(res.out, res.out_bytes, t->node, CALLERS_MAX, &t->all);
    spawn_result_fini(&res);
    return rc;
}

static int look_at_node(struct exec_ctx *ctx, const char *name, struct parse_node *node, struct err *err)
{
    struct spawn_result res;
    int rc = ask(ctx, (const char *const[]){"get", "node", name, "-o", "json", NULL}, &res, err);
    if (rc == 0)
        rc = parse_node(res.out, res.out_bytes, node, err);
    spawn_result_fini(&res);
    return rc;
}

/* An API server that does not answer for a moment is asked again: until then what was seen stands. */
static void look_at_pods(struct trial *t)
{
    struct spawn_result res;
    struct err why;
    int rc = ask(t->ctx,
                 (const char *const[]){"get", "pods", "-n", PROBE_NAMESPACE, "-l", "app=" TRIAL_NAME, "-o",
                                       "json", NULL},
                 &res, &why);
    if (rc == 0)
        (void)parse_pods(res.out, res.out_bytes, t->pod, PODS_MAX, &t->pods, &why);
    spawn_result_fini(&res);
    t->tried = NULL;
    for (size_t i = 0; i < t->pods; i++)
        if (strcmp(t->pod[i].name, TRIAL_NAME) == 0)
            t->tried = &t->pod[i];
}

/* ---- waiting ---- */

static void say_once(struct trial *t, const char *phase, const char *text)
{
    if (strcmp(t->told, text) == 0)
        return;
    snprintf(t->told, sizeof t->told, "%s", text);
    exec_say(t->ctx, phase, -1, "%s", text);
}

static bool is_placed(struct trial *t)
{
    if (t->tried && t->tried->node[0])
        return true;
    say_once(t, "scheduled", "waiting until the test pod is given a Node");
    return false;
}

static bool serves(struct trial *t)
{
    char text[256];
    if (t->tried && t->tried->running && t->tried->ip[0])
        return true;
    snprintf(text, sizeof text, "waiting until the test pod answers on %.63s: %.150s",
             t->tried ? t->tried->node : "its Node", t->tried ? t->tried->state : "it is gone");
    say_once(t, "serves", text);
    return false;
}

static bool all_called(struct trial *t)
{
    char text[256];
    size_t ready = 0;
    for (size_t i = 0; i < t->pods; i++)
        ready += t->pod[i].running;
    snprintf(text, sizeof text, "waiting until the other hosts have its answer: %zu of %zu",
             ready - (t->tried && t->tried->running), t->nodes);
    say_once(t, "reached", text);
    return ready == t->nodes + 1;
}

/* Looks until it is so or `ms` are over. 0 either way; KPEER_ECANCELED. */
static int await(struct trial *t, bool (*so)(struct trial *t), uint32_t ms, bool *is_so, struct err *err)
{
    uint64_t until = clock_ms() + ms;
    for (;;) {
        look_at_pods(t);
        *is_so = so(t);
        if (spawn_canceled())
            return err_set(err, KPEER_ECANCELED, "stopped on request");
        if (*is_so || clock_ms() >= until)
            return 0;
        int rc = exec_pause(t->ctx, LOOK_MS, err);
        if (rc != 0)
            return rc == KPEER_ETIMEOUT ? 0 : rc;
    }
}

/* ---- the pod that is tried ---- */

static int make_trial(struct trial *t, struct err *err)
{
    struct kubeadm k;
    struct parse_images images = {0};
    char *text = NULL;
    size_t n = 0;
    int rc = kubeadm_at_hand(t->ctx, &k, err);
    if (rc == 0)
        rc = kubeadm_images(t->ctx, k.version, &images, err);
    if (rc != 0)
        return rc;
    const char *image = parse_image_of(&images, "coredns");
    if (!image)
        return err_set(err, KPEER_ENOTFOUND, "kubeadm names no image of CoreDNS, which the test pod runs");
    rc = manifest_trial(image, t->all > 1 ? t->step->node_name : NULL, &text, &n, err);
    if (rc == 0)
        rc = make(t->ctx, text, n, err);
    yamlout_free(text, n);
    return rc;
}

static int place(struct trial *t, bool *placed, struct err *err)
{
    int rc = await(t, is_placed, PLACE_MS, placed, err);
    if (rc != 0)
        return rc;
    const char *node = *placed ? t->tried->node : "";
    if (!*placed)
        note(t, FINDING_RED, "scheduled",
             "kpeer members: is a worker ready? kubectl describe nodes: is it cordoned or full?",
             "no Node takes the test pod: %s", t->tried ? t->tried->state : "it is not there");
    else if (strcmp(node, t->step->node_name) != 0)
        note(t, FINDING_GREEN, "scheduled", "", "the test pod is on %s, a worker", node);
    else
        note(t, FINDING_WARN, "scheduled", "", "the test pod is on %s, the master: there is no worker", node);
    return 0;
}

static int serve(struct trial *t, uint64_t begun_ms, bool *serving, struct err *err)
{
    uint32_t left = exec_left_ms(t->ctx);
    int rc = await(t, serves, left > CALL_MS + PLACE_MS ? left - CALL_MS : left / 2, serving, err);
    if (rc != 0)
        return rc;
    if (*serving)
        note(t, FINDING_GREEN, "serves", "", "it answered after %.1f s",
             (double)(clock_ms() - begun_ms) / 1000);
    else
        note(t, FINDING_RED, "serves",
             "there: kpeer images list, kpeer images pull; journalctl -u kubelet -n 50",
             "the test pod on %s does not answer: %s", t->tried ? t->tried->node : "its Node",
             t->tried ? t->tried->state : "it is gone");
    return 0;
}

/* That it cannot be seen is not the Node's fault; where time ran out, nothing is known at all. */
static void note_unseen(struct trial *t, const char *check, const char *node, const struct err *why)
{
    note(t, why->code == KPEER_ETIMEOUT ? FINDING_WARN : FINDING_RED, check,
         "see whether the API server runs: kubectl get nodes; give more time: kpeer verify --timeout",
         "the Node %s cannot be looked at: %s", node, why->text);
}

static void check_address(struct trial *t)
{
    struct parse_node node = {0};
    struct err why;
    const char *ip = t->tried->ip;
    if (look_at_node(t->ctx, t->tried->node, &node, &why) != 0)
        note_unseen(t, "address", t->tried->node, &why);
    else if (!parse_in_cidr(ip, t->step->pod_cidr) || !parse_in_cidr(ip, node.pod_cidr))
        note(t, FINDING_RED, "address",
             "an old cni0 or /etc/cni/net.d is in use there: run 'kpeer leave', then 'kpeer up'",
             "%s is not in the range of %s, %s, and of all pods, %s", ip, t->tried->node,
             node.pod_cidr[0] ? node.pod_cidr : "none", t->step->pod_cidr);
    else
        note(t, FINDING_GREEN, "address", "", "%s is in the range of %s, %s", ip, t->tried->node,
             node.pod_cidr);
}

/* ---- the callers ---- */

/* A Node that is not ready starts nothing, and what is put on it cannot be taken away again. */
static void keep_ready(struct trial *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->nodes; i++) {
        struct parse_node node = {0};
        struct err why;
        if (strcmp(t->node[i], t->tried->node) == 0)
            continue;
        if (look_at_node(t->ctx, t->node[i], &node, &why) != 0)
            note_unseen(t, "reached", t->node[i], &why);
        else if (!node.ready)
            note(t, FINDING_RED, "reached", "look at its kubelet there: journalctl -u kubelet -n 50",
                 "%s cannot be asked to call: %s", t->node[i],
                 node.ready_reason[0] ? node.ready_reason : "its Node is not Ready");
        else
            memmove(t->node[kept++], t->node[i], sizeof t->node[i]);
    }
    t->nodes = kept;
}

static const struct parse_pod *caller_on(const struct trial *t, const char *node)
{
    for (size_t i = 0; i < t->pods; i++)
        if (&t->pod[i] != t->tried && strcmp(t->pod[i].node, node) == 0)
            return &t->pod[i];
    return NULL;
}

static void judge_caller(struct trial *t, const char *node, const char *address, const char *tried_on)
{
    const struct parse_pod *caller = caller_on(t, node);
    char next[sizeof t->result->findings[0].next];
    if (caller && caller->running) {
        note(t, FINDING_GREEN, "reached", "", "%s has an answer of %s, from %s", node, address, tried_on);
    } else if (caller && caller->started) {
        snprintf(next, sizeof next,
                 "let UDP 8472 (Flannel's VXLAN) pass between %.32s and %.32s: kpeer preflight", node,
                 tried_on);
        note(t, FINDING_RED, "reached", next, "%s gets no answer of %s, from %s", node, address, tried_on);
    } else {
        note(t, FINDING_RED, "reached", "look at its kubelet there: journalctl -u kubelet -n 50",
             "%s does not start a pod that calls: %s", node, caller ? caller->state : "it is not there");
    }
}

static int call(struct trial *t, struct err *err)
{
    char image[PARSE_IMAGE_BYTES], address[STEP_ADDRESS_BYTES], tried_on[STEP_NAME_BYTES];
    char *text = NULL;
    size_t n = 0;
    bool all = false;
    keep_ready(t);
    if (t->all == 1)
        note(t, FINDING_WARN, "reached", "", "there is no other host to call it");
    if (t->nodes == 0)
        return 0;
    memcpy(address, t->tried->ip, sizeof address);
    memcpy(tried_on, t->tried->node, sizeof tried_on);
    kube_probe_image(t->ctx, image, sizeof image);
    int rc =
        manifest_callers(image, address, (const char(*)[STEP_NAME_BYTES])t->node, t->nodes, &text, &n, err);
    if (rc == 0)
        rc = make(t->ctx, text, n, err);
    yamlout_free(text, n);
    if (rc == 0)
        rc = await(t, all_called, CALL_MS, &all, err);
    if (rc == 0 && !all && !(t->tried && t->tried->running)) { /* no caller is to blame */
        note(t, FINDING_RED, "serves", "there: journalctl -u kubelet -n 50; dmesg: was it out of memory?",
             "the test pod on %s stopped answering: %s", tried_on, t->tried ? t->tried->state : "it is gone");
        return 0;
    }
    for (size_t i = 0; rc == 0 && i < t->nodes; i++)
        judge_caller(t, t->node[i], address, tried_on);
    return rc;
}

/* ---- the whole ---- */

static int try_pod(struct trial *t, struct err *err)
{
    uint64_t begun_ms = clock_ms();
    bool placed = false, serving = false;
    exec_say(t->ctx, "verify", -1, "making a test pod");
    int rc = clear(t->ctx, err);
    if (rc == 0)
        rc = list_nodes(t, err);
    if (rc == 0)
        rc = make_trial(t, err);
    if (rc == 0)
        rc = place(t, &placed, err);
    if (rc == 0 && placed)
        rc = serve(t, begun_ms, &serving, err);
    if (rc == 0 && serving)
        check_address(t);
    return rc == 0 && serving ? call(t, err) : rc;
}

static int take_all_away(struct exec_ctx *ctx, uint64_t deadline_ms, struct err *err)
{
    if (spawn_canceled())
        deadline_ms = clock_ms() + REMOVE_CANCELED_MS;
    spawn_uncancel();
    ctx->deadline_ms = deadline_ms;
    exec_say(ctx, "removed", -1, "taking the test pod away");
    return take_away(ctx, exec_left_ms(ctx), false, err);
}

/* In any ending, so also when the step was cancelled, now or before, or its time is over. */
static void end_trial(struct trial *t, uint64_t deadline_ms)
{
    struct err why = {0};
    uint64_t begun_ms = clock_ms();
    int rc = take_all_away(t->ctx, deadline_ms, &why);
    if (rc != 0 && spawn_canceled())
        rc = take_all_away(t->ctx, deadline_ms, &why);
    if (rc == 0)
        note(t, FINDING_GREEN, "removed", "", "it is gone again, after %.1f s",
             (double)(clock_ms() - begun_ms) / 1000);
    else
        note(t, FINDING_RED, "removed",
             "kubectl -n " PROBE_NAMESPACE " delete pod,configmap -l app=" TRIAL_NAME
             " --force --grace-period=0; the next kpeer verify does it, too",
             "it is not gone yet: %s", why.text);
}

static int outcome(const struct step_result *r, struct err *err)
{
    for (size_t i = 0; i < r->finding_count; i++) {
        const struct finding *f = &r->findings[i];
        if (f->level != FINDING_RED)
            continue;
        err_set(err, KPEER_EIO, "%s: %s", f->check, f->detail);
        return err_hint(err, "%s", f->next);
    }
    return 0;
}

static int rehearse(struct exec_ctx *ctx, const struct step *step, struct err *err)
{
    exec_say(
        ctx, "verify", -1,
        "would run a test pod on another Node than %s, see that its address is in %s, have the other hosts "
        "call it, and take it away",
        step->node_name, step->pod_cidr);
    return err_set(err, KPEER_ESTATE, "a rehearsal has no cluster, so there is no pod to try");
}

int kube_verify(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    if (ctx->dry_run)
        return rehearse(ctx, step, err);
    int rc = kube_need_admin(ctx, err);
    if (rc != 0)
        return rc;
    uint64_t deadline_ms = ctx->deadline_ms;
    uint32_t left = exec_left_ms(ctx);
    struct trial t = {.ctx = ctx, .step = step, .result = result};
    ctx->deadline_ms -= left / 3 < REMOVE_MS ? left / 3 : REMOVE_MS;
    rc = try_pod(&t, err);
    if (spawn_canceled())
        rc = err_set(err, KPEER_ECANCELED, "stopped on request");
    end_trial(&t, deadline_ms);
    if (rc == 0)
        return outcome(result, err);
    result->finding_count = 0;
    return rc;
}
