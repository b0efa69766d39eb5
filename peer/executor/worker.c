#include "peer/executor/worker.h"

#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "peer/executor/host/host.h"
#include "peer/executor/images/images.h"
#include "peer/executor/kube/kube.h"
#include "peer/executor/rekey.h"
#include "peer/executor/turn.h"
#include "protocol/field.h"
#include "protocol/mem.h"
#include "protocol/record.h"

#define LOOKING_NICE 10
#define LIMIT_MAX_MS (3600u * 1000)

typedef int step_function(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                          struct err *err);

static step_function run_inspect, run_rename, run_machine_id, run_fix, run_preflight, run_undo;

static const struct {
    step_function *run;
    uint32_t limit_ms;
    bool changes_host;
} kinds[STEP_KIND_COUNT] = {
    [STEP_INSPECT] = {run_inspect, 15000, false},
    [STEP_PREFLIGHT] = {run_preflight, 30000, false},
    [STEP_PREPARE] = {kube_prepare, 2700000, true}, /* images over a slow line */
    [STEP_CA] = {kube_ca, 30000, true},
    [STEP_INIT] = {kube_init, 420000, true}, /* kubeadm itself waits 4 minutes for the control plane */
    [STEP_APPLY] = {kube_apply, 90000, true},
    [STEP_TOKEN_MINT] = {kube_token_mint, 60000, false},
    [STEP_TOKEN_REVOKE] = {kube_token_revoke, 30000, false},
    [STEP_JOIN] = {kube_join, 360000, true},
    [STEP_PROVE] = {kube_prove, 300000, false},
    [STEP_REACH] = {kube_reach, 120000, false},
    [STEP_DRAIN] = {kube_drain, 120000, false},
    [STEP_DELETE_NODE] = {kube_delete_node, 30000, false},
    [STEP_RESET] = {kube_reset, 180000, true},
    [STEP_UNDO] = {run_undo, 900000, true},
    [STEP_KUBECONFIG] = {kube_kubeconfig, 10000, false},
    [STEP_FIX] = {run_fix, 1800000, true}, /* packages over a slow line */
    [STEP_IMAGES_LIST] = {images_list, 60000, false},
    [STEP_IMAGES_PULL] = {images_pull, 2700000, true},
    [STEP_RENAME] = {run_rename, 30000, true},
    [STEP_MACHINE_ID] = {run_machine_id, 30000, true},
    [STEP_REKEY] = {rekey, 15000, false},
    [STEP_IMAGES_VERIFY] = {images_verify, 600000, false},
    [STEP_VERIFY] = {kube_verify, 120000, false},
};

bool worker_changes_host(enum step_kind kind)
{
    return (unsigned)kind < STEP_KIND_COUNT && kinds[kind].changes_host;
}

uint32_t worker_limit_ms(const struct step *step)
{
    uint32_t own = (unsigned)step->kind < STEP_KIND_COUNT ? kinds[step->kind].limit_ms : 0;

    if (step->timeout_ms == 0)
        return own;
    return step->timeout_ms < LIMIT_MAX_MS ? step->timeout_ms : LIMIT_MAX_MS;
}

static int run_inspect(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                       struct err *err)
{
    int code = host_facts(ctx, &result->facts, err);

    (void)step;
    result->have_facts = code == 0;
    return code;
}

/* A name or an id that a Node goes by must not change any more. A worker can be reset and join anew; a
 * control plane is the cluster. */
static int refuse_node(const struct exec_ctx *ctx, struct err *err)
{
    const struct journal_state *state = journal_state(ctx->journal);

    if (!state->init_begun && !state->join_begun)
        return 0;
    err_set(err, state->init_begun ? KPEER_EREFUSED : KPEER_ESTATE,
            "this host is or becomes %s under its present name",
            state->init_begun ? "a control plane" : "a Node");
    return err_hint(err, "reset it first: kpeer leave --force");
}

static int run_rename(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                      struct err *err)
{
    int code = refuse_node(ctx, err);

    (void)result;
    exec_say(ctx, "rename", -1, "%s %s", ctx->dry_run ? "would call this host" : "this host is now called",
             step->node_name);
    if (code || ctx->dry_run)
        return code;
    code = host_rename(ctx, step->node_name, err);
    return code ? code : host_learn_name(ctx, step->node_name, err);
}

static int run_machine_id(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                          struct err *err)
{
    int code = refuse_node(ctx, err);

    (void)step;
    (void)result;
    exec_say(ctx, "machine-id", -1, "%s", ctx->dry_run ? "would make another one" : "another one is made");
    return code || ctx->dry_run ? code : host_new_machine_id(ctx, err);
}

static int run_fix(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    return host_fix(ctx, step, result, err);
}

/* The first red in full and the names of the others, so that the text alone tells what is the matter. */
static int refuse_unfit(const struct step_result *result, struct err *err)
{
    const struct finding *first = NULL;
    char others[ERR_TEXT_BYTES / 2] = "";
    size_t used = 0;

    for (size_t i = 0; i < result->finding_count && used < sizeof(others); i++) {
        const struct finding *f = &result->findings[i];

        if (f->level != FINDING_RED)
            continue;
        if (first)
            used += (size_t)snprintf(others + used, sizeof(others) - used, "%s%s",
                                     used ? ", " : "; also red: ", f->check);
        else
            first = f;
    }
    err_set(err, KPEER_EPREFLIGHT, "this host is not fit: %s%s", first ? first->detail : "", others);
    err_hint(err, "%s", first ? first->next : "");
    return KPEER_EPREFLIGHT;
}

static int run_preflight(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                         struct err *err)
{
    size_t red = 0;
    int code = host_facts(ctx, &result->facts, err);

    if (code)
        return code;
    result->have_facts = true;
    code = host_checks(ctx, step->role, &result->facts, result->findings, &result->finding_count, &red, err);
    if (code || red == 0)
        return code;
    return refuse_unfit(result, err);
}

static void say_back(void *ctx, const char *path)
{
    exec_say(ctx, "undo", -1, "put back %s", path);
}

static void say_left(void *ctx, const char *path)
{
    exec_say(ctx, "undo", -1, "left alone %s: somebody has changed it since", path);
}

static int run_undo(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                    struct err *err)
{
    const struct journal_state *state = journal_state(ctx->journal);

    (void)step;
    (void)result;
    if (ctx->dry_run) {
        exec_say(ctx, "undo", -1, "would put back every file and setting that the journal holds");
        return 0;
    }
    if (state->init_begun || state->join_begun) {
        err_set(err, KPEER_ESTATE, "Kubernetes is still on this host");
        return err_hint(err, "reset it first");
    }
    return journal_undo(ctx->journal, host_undoers, say_back, say_left, ctx, err);
}

static int refuse_state(const struct journal_state *s, struct err *err)
{
    err_set(err, KPEER_ESTATE, "kubeadm %s was begun on this host before%s%s",
            s->init_begun ? "init" : "join", s->cluster_id[0] ? ", for cluster " : "", s->cluster_id);
    return err_hint(err, "reset this host first: kpeer leave --force");
}

/* What a majority signed is still text from outside. */
static int check_record(const struct record *r, struct err *err)
{
    const char *field = !field_cluster_id(r->cluster_id)        ? "cluster id"
                        : !field_endpoint(r->endpoint)          ? "endpoint"
                        : !field_hash(r->ca_hash)               ? "CA hash"
                        : !field_version(r->kubernetes_version) ? "Kubernetes version"
                                                                : NULL;

    if (field)
        return err_set(err, KPEER_EINVAL, "its %s has not the form of one", field);
    return 0;
}

/* A join is on a record that a majority has signed, and never on a second cluster without a reset between.
 * What the record says takes the place of what anybody else said. */
static int admit_join(const struct journal_state *s, struct step *step, struct err *err)
{
    struct record record = {0};
    int code = record_verify(step->record, step->record_bytes, &record, err);

    code = code ? code : check_record(&record, err);
    if (code)
        return err_wrap(err, "the cluster record");
    if (s->init_begun || (s->join_begun && strcmp(s->cluster_id, record.cluster_id) != 0))
        return refuse_state(s, err);
    memcpy(step->cluster_id, record.cluster_id, sizeof(step->cluster_id));
    memcpy(step->endpoint, record.endpoint, sizeof(step->endpoint));
    memcpy(step->ca_hash, record.ca_hash, sizeof(step->ca_hash));
    memcpy(step->kubernetes_version, record.kubernetes_version, sizeof(step->kubernetes_version));
    return 0;
}

static int admit(const struct exec_ctx *ctx, struct step *step, struct err *err)
{
    const struct journal_state *s = journal_state(ctx->journal);

    if (step->kind == STEP_JOIN)
        return admit_join(s, step, err);
    if (step->kind == STEP_INIT && (s->init_begun || s->join_begun))
        return refuse_state(s, err);
    return 0;
}

static bool only_looks(enum step_kind kind)
{
    return kind == STEP_INSPECT || kind == STEP_PREFLIGHT || kind == STEP_IMAGES_LIST ||
           kind == STEP_IMAGES_VERIFY;
}

/* A rehearsal leaves no trace. A step that only looks must not fail for want of a journal either. */
static int open_journal(struct exec_ctx *ctx, struct err *err)
{
    char dir[PATH_MAX];
    int code;

    if (ctx->dry_run)
        return journal_open(NULL, &ctx->journal, err);
    snprintf(dir, sizeof(dir), "%s/executor", ctx->cfg->state_dir);
    code = journal_open(dir, &ctx->journal, err);
    if (code == 0 || !only_looks(ctx->kind))
        return code;
    exec_say(ctx, "journal", -1, "cannot be read: %s", err ? err->text : "");
    return journal_open(NULL, &ctx->journal, err);
}

/* The step between its entries in the journal. The result of the step matters more than a failure to note it.
 */
static int run_noted(struct exec_ctx *ctx, const struct step *step, struct step_result *result,
                     struct err *err)
{
    bool noted = worker_changes_host(step->kind) && !ctx->dry_run;
    struct err other = {0};
    int code = noted ? journal_begin(ctx->journal, step->kind, step->cluster_id, err) : 0;

    if (code)
        return code;
    code = kinds[step->kind].run ? kinds[step->kind].run(ctx, step, result, err)
                                 : err_set(err, KPEER_EINVAL, "there is no step %s", step_word(step->kind));
    if (noted && journal_end(ctx->journal, step->kind, code, &other) && code == 0) {
        code = other.code;
        if (err)
            *err = other;
    }
    return code;
}

/* The turn stays this process's until it ends: nothing of the step may come after it. */
static int await_turn(struct exec_ctx *ctx, struct err *err)
{
    int fd, code;

    if (ctx->dry_run || !worker_changes_host(ctx->kind))
        return 0;
    code = turn_take(ctx, &fd, err);
    return code ? code : journal_refresh(ctx->journal, err);
}

static int run(struct exec_ctx *ctx, struct step *step, struct step_result *result, struct err *err)
{
    int code = open_journal(ctx, err);

    /* Whoever only looks lets the agent go first, on whom the others wait. */
    if (ctx->dry_run || only_looks(step->kind))
        (void)setpriority(PRIO_PROCESS, 0, LOOKING_NICE);
    code = code ? code : await_turn(ctx, err);
    if (code)
        return code;
    if (ctx->dry_run)
        exec_say(ctx, "rehearsal", -1, "step %s: nothing on this host is changed", step_word(step->kind));
    else if (!ctx->is_root && worker_changes_host(step->kind))
        exec_say(ctx, "privileges", -1, "step %s runs without root's rights", step_word(step->kind));
    code = admit(ctx, step, err);
    if (code == 0)
        code = run_noted(ctx, step, result, err);
    if (code && err && !ctx->is_root && !ctx->dry_run && !err->hint[0] && code != KPEER_ECANCELED)
        err_hint(err, "this ran without root's rights: start kpeer as root");
    return code;
}

/* Only plain text may go into a frame; what a program printed is not always that. */
static void plain_text(char *text, size_t n)
{
    char copy[ERR_TEXT_BYTES];

    spawn_escape(copy, n < sizeof(copy) ? n : sizeof(copy), text, strnlen(text, n));
    memcpy(text, copy, strlen(copy) + 1);
}

static void plain_result(struct step_result *r)
{
    plain_text(r->text, sizeof(r->text));
    plain_text(r->hint, sizeof(r->hint));
    if (r->finding_count > STEP_FINDINGS_MAX)
        r->finding_count = STEP_FINDINGS_MAX;
    for (size_t i = 0; i < r->finding_count; i++) {
        plain_text(r->findings[i].check, sizeof(r->findings[i].check));
        plain_text(r->findings[i].detail, sizeof(r->findings[i].detail));
        plain_text(r->findings[i].next, sizeof(r->findings[i].next));
    }
    plain_text(r->facts.hostname, sizeof(r->facts.hostname));
    plain_text(r->facts.kubernetes_version, sizeof(r->facts.kubernetes_version));
    plain_text(r->facts.runtime, sizeof(r->facts.runtime));
    plain_text(r->facts.os, sizeof(r->facts.os));
}

void worker_fail(struct step_result *result, uint32_t id, enum step_kind kind, const struct err *err)
{
    memset(result, 0, sizeof(*result));
    result->id = id;
    result->kind = kind;
    result->code = err->code;
    mem_copy_text(result->text, sizeof(result->text), err->text);
    mem_copy_text(result->hint, sizeof(result->hint), err->hint);
    plain_result(result);
}

void worker_run(const struct executor_config *cfg, const struct step *step,
                void (*progress)(void *arg, const struct step_progress *p), void *progress_arg,
                struct step_result *result)
{
    uint64_t begun = clock_ms();
    struct exec_ctx ctx = {.cfg = cfg,
                           .dry_run = cfg->dry_run,
                           .is_root = geteuid() == 0,
                           .deadline_ms = begun + worker_limit_ms(step),
                           .step_id = step->id,
                           .kind = step->kind,
                           .progress = progress,
                           .progress_arg = progress_arg};
    struct step own = *step;
    struct err err = {0};

    memset(result, 0, sizeof(*result));
    result->id = step->id;
    result->kind = step->kind;
    result->code = run(&ctx, &own, result, &err);
    if (result->code) {
        mem_copy_text(result->text, sizeof(result->text), err.text);
        mem_copy_text(result->hint, sizeof(result->hint), err.hint);
    }
    plain_result(result);
    result->took_ms = (uint32_t)(clock_ms() - begun);
    journal_close(ctx.journal);
    sodium_memzero(&own, sizeof(own));
}
