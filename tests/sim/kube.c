#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"
#include "protocol/node_state.h"
#include "tests/sim/world.h"

#define CANCEL_MS 50

static uint64_t duration(struct world *w, enum step_kind kind)
{
    static const uint32_t most_ms[STEP_KIND_COUNT] = {
        [STEP_INSPECT] = 30,      [STEP_PREFLIGHT] = 50, [STEP_PREPARE] = 800,    [STEP_CA] = 300,
        [STEP_INIT] = 12000,      [STEP_APPLY] = 1500,   [STEP_TOKEN_MINT] = 300, [STEP_TOKEN_REVOKE] = 300,
        [STEP_JOIN] = 6000,       [STEP_PROVE] = 3000,   [STEP_REACH] = 500,      [STEP_DRAIN] = 1000,
        [STEP_DELETE_NODE] = 300, [STEP_RESET] = 1500,   [STEP_UNDO] = 100,       [STEP_KUBECONFIG] = 50,
        [STEP_FIX] = 400,         [STEP_RENAME] = 100,   [STEP_MACHINE_ID] = 100, [STEP_REKEY] = 100,
    };
    uint64_t most = kind == STEP_INIT && w->s->slow_init ? 300000 : most_ms[kind];
    return 5 + draw_below(&w->kube_rng, most);
}

static void end_later(struct world *w, struct host *h, uint32_t id, uint64_t ms)
{
    queue_put(&w->queue, (struct item){.at_ms = w->now_ms + ms,
                                       .kind = H_STEP,
                                       .host = h->slot,
                                       .generation = h->generation,
                                       .number = id});
}

static struct task *find(struct host *h, uint32_t id)
{
    for (size_t i = 0; i < TASKS_MAX; i++)
        if (h->kube.task[i].id == id)
            return &h->kube.task[i];
    return NULL;
}

static struct token *find_token(struct world *w, const char *text)
{
    for (uint32_t i = 0; i < w->token_count; i++)
        if (strncmp(w->token[i].text, text, 6) == 0)
            return &w->token[i];
    return NULL;
}

/* What a step leaves behind from its very beginning, also when it is cut off. */
static void begin(struct host *h, struct task *t)
{
    if (t->kind == STEP_INIT) {
        memcpy(h->kube.built, t->cluster_id, sizeof h->kube.built);
        h->kube.serves = false;
    }
}

void kube_run(struct world *w, struct host *h, const struct step *s)
{
    struct task *t = find(h, 0);
    struct record r;
    if (!t) {
        broken(w, 0, "%s runs too many steps at once", h->name);
        return;
    }
    *t = (struct task){.id = s->id, .kind = s->kind};
    memcpy(t->cluster_id, s->cluster_id, sizeof t->cluster_id);
    memcpy(t->token, s->token, sizeof t->token);
    memcpy(t->node_name, s->node_name, sizeof t->node_name);
    t->ttl_s = s->ttl_s;
    t->epoch = s->kind == STEP_REKEY ? keys_step(w, h, s) : 0;
    t->welcome = s->kind == STEP_JOIN && ticket_used(w, h, find_token(w, s->token));
    if (s->kind == STEP_JOIN && record_verify(s->record, s->record_bytes, &r, NULL) == 0)
        memcpy(t->cluster_id, r.cluster_id, sizeof t->cluster_id);
    begin(h, t);
    end_later(w, h, s->id, duration(w, s->kind));
}

void kube_cancel(struct world *w, struct host *h, uint32_t id)
{
    struct task *t = find(h, id);
    if (t)
        t->canceled = true;
    end_later(w, h, id, CANCEL_MS);
}

void kube_power_off(struct host *h)
{
    memset(h->kube.task, 0, sizeof h->kube.task);
}

/* ---- clusters and tokens ---- */

static struct host *control_plane(struct world *w, const char *cluster_id)
{
    for (uint32_t i = 0; i < w->slots; i++)
        if (w->host[i].kube.serves && strcmp(w->host[i].kube.built, cluster_id) == 0)
            return &w->host[i];
    return NULL;
}

static struct host *reachable_plane(struct world *w, const struct host *h, const char *cluster_id)
{
    struct host *cp = cluster_id[0] ? control_plane(w, cluster_id) : NULL;
    if (!cp || !cp->up || w->now_ms < cp->paused_until_ms || wire_parted(w, h, cp) || wire_parted(w, cp, h))
        return NULL;
    return cp;
}

/* The bytes 0 to 5 number a token, so that one that turns up somewhere can be told from all others. */
static void mint(struct world *w, const struct host *h, const struct task *t, struct step_result *r)
{
    struct token *k = &w->token[w->token_count % TOKENS_MAX];
    uint32_t number = ++w->token_count;
    *k = (struct token){
        .issuer = h->slot, .generation = h->generation, .until_ms = w->now_ms + t->ttl_s * UINT64_C(1000)};
    snprintf(k->text, sizeof k->text, "%06u.0123456789abcdef", number % 1000000);
    memcpy(k->joiner, t->node_name, sizeof k->joiner);
    memcpy(r->token, k->text, sizeof r->token);
    if (w->token_count == TOKENS_MAX)
        broken(w, 0, "%u tokens were made", w->token_count);
}

/* Invariant 6, at the moment when a ticket is used: its token was made for this host, is used for the first
 * time, and its time is not over. A token that its maker has taken back is refused by the cluster. */
static bool use_token(struct world *w, struct host *h, const struct task *t)
{
    struct token *k = find_token(w, t->token);
    if (!k) {
        broken(w, 6, "%s joins with a token that nobody made", h->name);
        return false;
    }
    if (strcmp(k->joiner, h->name) != 0 && !h->voter->shared)
        broken(w, 6, "%s joins with the token that was made for %s", h->name, k->joiner);
    if (k->used)
        broken(w, 6, "%s uses a token a second time", h->name);
    k->used = true;
    return t->welcome;
}

static int join(struct world *w, struct host *h, const struct task *t)
{
    if (h->kube.leftover) /* the executor's journal knows what was not cleaned away */
        return KPEER_EREFUSED;
    const struct host *cp = reachable_plane(w, h, t->cluster_id);
    if (!use_token(w, h, t) || !cp)
        return KPEER_EIO;
    memcpy(h->kube.joined, t->cluster_id, sizeof h->kube.joined);
    return 0;
}

/* Invariant 7: a Node is deleted when its host asked for that, or for a new one; not because it once did. */
static int delete_node(struct world *w, const struct host *h, const struct task *t)
{
    for (uint32_t i = 0; i < w->slots; i++) {
        const struct host *v = &w->host[i];
        if (v != h && v->up && v->kube.told && v->node->work.leaving == LEAVE_NONE &&
            strcmp(v->kube.joined, h->kube.built) == 0 && strcmp(v->name, t->node_name) == 0)
            broken(w, 7, "%s deletes the Node of %s, which has joined", h->name, v->name);
    }
    return 0;
}

static int revoke(struct world *w, const struct task *t)
{
    struct token *k = find_token(w, t->token);
    if (k)
        k->revoked = true;
    return 0;
}

static void facts(const struct host *h, struct step_result *r)
{
    r->have_facts = true;
    memcpy(r->facts.hostname, h->name, sizeof r->facts.hostname);
    uint32_t id = h->copied ? UINT32_MAX : h->slot + 1;
    memcpy(r->facts.machine_id, &id, sizeof id);
    id = h->slot + 1;
    memcpy(r->facts.product_uuid, &id, sizeof id);
    r->facts.cpus = 2;
    r->facts.memory_mb = h->slot % 3 == 2 ? 1000 : 4000; /* every third is too small for a master */
    mem_copy_text(r->facts.kubernetes_version, sizeof r->facts.kubernetes_version, "v1.20.2");
}

/* The executor does not rename what goes by its name already: its journal knows, whatever the core has
 * forgotten. */
static int code_of_node(const struct host *h)
{
    if (h->kube.built[0])
        return KPEER_EREFUSED;
    return h->kube.joined[0] ? KPEER_ESTATE : 0;
}

/* What the end of a step changes on this host and elsewhere. */
static int effect(struct world *w, struct host *h, const struct task *t)
{
    bool may_fail = t->kind != STEP_INSPECT && t->kind != STEP_PREFLIGHT;
    if (t->canceled)
        return KPEER_ECANCELED;
    if (may_fail && chance(w, w->s->step_faults))
        return KPEER_EIO;
    switch (t->kind) {
    case STEP_INIT:
        h->kube.serves = true;
        return 0;
    case STEP_TOKEN_REVOKE:
        return revoke(w, t);
    case STEP_DELETE_NODE:
        return delete_node(w, h, t);
    case STEP_JOIN:
        return join(w, h, t);
    case STEP_PROVE:
        return reachable_plane(w, h, h->kube.built[0] ? h->kube.built : h->kube.joined) ? 0 : KPEER_ETIMEOUT;
    case STEP_RENAME:
        if (code_of_node(h))
            return code_of_node(h);
        memcpy(h->name, t->node_name, sizeof h->name);
        return 0;
    case STEP_MACHINE_ID:
        if (code_of_node(h))
            return code_of_node(h);
        h->copied = false;
        return 0;
    case STEP_REKEY:
        h->file_epoch = t->epoch;
        return 0;
    case STEP_RESET:
        h->kube.built[0] = h->kube.joined[0] = '\0';
        h->kube.serves = h->kube.told = h->kube.leftover = false;
        return 0;
    default:
        return 0;
    }
}

static void answer(struct world *w, const struct host *h, const struct task *t, struct step_result *r)
{
    switch (t->kind) {
    case STEP_INSPECT:
    case STEP_FIX:
    case STEP_PREFLIGHT:
        facts(h, r);
        break;
    case STEP_CA:
        mem_copy_text(r->ca_hash, sizeof r->ca_hash,
                      "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
        break;
    case STEP_TOKEN_MINT:
        mint(w, h, t, r);
        break;
    case STEP_PROVE:
        snprintf(r->pod_address, sizeof r->pod_address, "10.244.%u.%u", h->slot / 250, h->slot % 250 + 2);
        break;
    default:
        break;
    }
}

/* The agent may stand still while its executor works on: what a step does, and when the core hears of it,
 * are two things. */
void kube_end(struct world *w, struct host *h, uint32_t id)
{
    struct task *t = id ? find(h, id) : NULL;
    if (!t || t->ended)
        return;
    t->code = effect(w, h, t);
    t->ended = true;
}

void kube_done(struct world *w, struct host *h, uint32_t id)
{
    struct task *t = id ? find(h, id) : NULL;
    if (!t)
        return;
    kube_end(w, h, id);
    struct task task = *t;
    struct step_result r = {.id = id, .kind = task.kind, .code = task.code};
    t->id = 0;
    if (r.code == 0)
        answer(w, h, &task, &r);
    else
        mem_copy_text(r.text, sizeof r.text,
                      r.code == KPEER_ECANCELED ? "stopped" : "it failed in the simulator");
    uint64_t generation = h->generation;
    host_feed(w, h, &(struct node_event){.kind = EV_STEP_DONE, .result = &r});
    if (task.kind == STEP_JOIN && r.code == 0 && h->generation == generation)
        h->kube.told = true;
}
