/* How the hosts of the group see each other: asking for it, and taking part. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"
#include "protocol/node_state.h"

#define GAP_MS       10000 /* between two surveys of one asker */
#define GAP_TAKEN_MS 8000  /* … as those see it whom it asks */
#define GATHER_MS    3000  /* for all to open their listeners */
#define ASK_AGAIN_MS 700
#define TRY_MS       3000 /* for each to try the others */
#define TELL_MS      4000 /* … and to tell what it saw */
#define PART_MS      6000 /* whoever asked and says no more is forgotten after this */
#define AFTER_MS     2000 /* another's survey is waited for */
#define LISTEN_MAX   (LISTEN_COUNT - 1)

enum stage { STAGE_WAITING, STAGE_GATHERING, STAGE_TRYING };

struct asking {
    uint64_t survey;
    uint64_t request;
    enum stage stage;
    uint8_t key[SURVEY_KEY_BYTES];
    uint64_t begun_ms;
    uint64_t until_ms; /* of this stage */
    uint64_t again_ms;
    size_t count;
    size_t ring_count; /* those who try each other: STAGE_TRYING */
    struct peer_id id[MEMBERS_MAX];
    bool ready[MEMBERS_MAX];
    uint16_t ring[MEMBERS_MAX];
    struct survey_host host[MEMBERS_MAX];
};

/* What a host says when its listeners are open. */
struct ready {
    bool busy;
    uint16_t mtu;
    int64_t wall_ms;
    uint8_t listen[SURVEY_PORTS];
};

static bool is_self(const struct node *n, const struct peer_id *id)
{
    return peer_id_equal(id, &n->me->id);
}

/* ---- whom and what ---- */

static bool takes_part(const struct member *m)
{
    return m->has_profile && (m->self || m->state == STATE_ALIVE || m->state == STATE_SUSPECT) &&
           m->profile.phase != PHASE_LEAVING && m->profile.phase != PHASE_LEFT;
}

/* Once there is a cluster, one host alone serves its API. */
static bool may_serve(const struct node *n, const struct member *m)
{
    return n->committed ? peer_id_equal(&m->id, &n->record.founder) : m->profile.role != ROLE_WORKER;
}

static void name_hosts(struct node *n, struct asking *a)
{
    a->count = 0;
    for (size_t i = 0; i < n->member_count; i++) {
        const struct member *m = n->member[i];
        if (!takes_part(m))
            continue;
        a->id[a->count] = m->id;
        a->ready[a->count] = false;
        a->host[a->count] = (struct survey_host){.serves = may_serve(n, m)};
        a->host[a->count].check.clock_offset_ms = m->clock_offset_ms;
        a->host[a->count++].check.has_offset = m->self || m->heard;
    }
}

static size_t place_of(const struct asking *a, const struct peer_id *id)
{
    size_t i = 0;
    while (i < a->count && !peer_id_equal(&a->id[i], id))
        i++;
    return i;
}

/* ---- taking part ---- */

static struct reach_order *order(struct node *n, enum reach_what what)
{
    struct reach_order *o = calloc(1, sizeof *o);
    if (!o) {
        n->no_memory = true;
        return NULL;
    }
    if (!out_own(n, o, sizeof *o))
        return NULL;
    o->what = what;
    o->survey = n->part.survey;
    o->me = n->me->id;
    memcpy(o->key, n->part.key, sizeof o->key);
    memcpy(o->address, n->address, sizeof o->address);
    memcpy(o->interface, n->interface, sizeof o->interface);
    o->mtu = n->part.mtu;
    o->limit_ms = TRY_MS;
    out_action(n, ACT_REACH)->reach = o;
    return o;
}

static void end_part(struct node *n)
{
    if (n->part.survey)
        order(n, REACH_CLOSE);
    sodium_memzero(&n->part, sizeof n->part);
}

static void take_ready(struct node *n, const struct peer_id *from, uint64_t survey, const struct ready *r);
static void take_seen(struct node *n, const struct peer_id *from, uint64_t survey,
                      const struct survey_seen *seen);

static void say_ready(struct node *n, const struct peer_id *asker, uint64_t survey, bool busy)
{
    struct pack_writer w;
    struct ready r = {.busy = busy, .wall_ms = n->wall_ms};
    if (!busy) {
        r.mtu = n->part.mtu;
        memcpy(r.listen, n->part.listen, sizeof r.listen);
    }
    if (is_self(n, asker)) {
        take_ready(n, asker, survey, &r);
        return;
    }
    net_begin(n, &w, MSG_SURVEY_READY, 5);
    pack_put_uint(&w, survey);
    pack_put_bool(&w, r.busy);
    pack_put_uint(&w, r.mtu);
    pack_put_int(&w, r.wall_ms);
    pack_put_bin(&w, r.listen, sizeof r.listen);
    net_post(n, &w, node_member(n, asker));
}

static void say_seen(struct node *n, const struct survey_seen *seen)
{
    struct pack_writer w;
    uint8_t heard[2 * SURVEY_SPREAD];
    if (is_self(n, &n->part.asker)) {
        take_seen(n, &n->part.asker, n->part.survey, seen);
        return;
    }
    for (size_t i = 0; i < SURVEY_SPREAD; i++) {
        heard[2 * i] = (uint8_t)(seen->heard[i] >> 8);
        heard[2 * i + 1] = (uint8_t)seen->heard[i];
    }
    net_begin(n, &w, MSG_SURVEY_TELL, 3);
    pack_put_uint(&w, n->part.survey);
    pack_put_bin(&w, seen->tcp, sizeof seen->tcp);
    pack_put_bin(&w, heard, sizeof heard);
    net_post(n, &w, node_member(n, &n->part.asker));
}

void survey_yield(struct node *n)
{
    if (n->part.survey == 0)
        return;
    struct part was = n->part;
    end_part(n);
    say_ready(n, &was.asker, was.survey, true);
}

/* Steps but this one may need the ports, or look whether they are free. */
static bool works(const struct node *n)
{
    return n->work.main_step && n->work.main_kind != STEP_PROVE;
}

/* Of two who ask at once, the one with the lower id goes first; who has begun to try goes on. */
static bool gives_way(struct node *n, const struct peer_id *asker)
{
    if (n->part.survey == 0)
        return true;
    if (n->part.trying || peer_id_compare(asker, &n->part.asker) > 0)
        return false;
    if (n->asking && n->asking->survey == n->part.survey) {
        n->asking->stage = STAGE_WAITING;
        n->asking->until_ms = n->now_ms + AFTER_MS + node_random(n) % 1000;
    }
    end_part(n);
    return true;
}

static void take_ask(struct node *n, const struct peer_id *asker, uint64_t survey,
                     const uint8_t key[static SURVEY_KEY_BYTES])
{
    struct part *p = &n->part;
    if (p->survey == survey && peer_id_equal(&p->asker, asker)) {
        if (p->opened)
            say_ready(n, asker, survey, false);
        return;
    }
    const struct member *m = node_member(n, asker);
    bool too_soon = m && m->surveyed_ms && n->now_ms < m->surveyed_ms + GAP_TAKEN_MS;
    if (works(n) || too_soon || !gives_way(n, asker)) {
        say_ready(n, asker, survey, true);
        return;
    }
    *p = (struct part){.survey = survey, .asker = *asker, .until_ms = n->now_ms + PART_MS};
    memcpy(p->key, key, sizeof p->key);
    order(n, REACH_OPEN);
}

static void fill_host(struct node *n, struct reach_host *h, const struct reach_host *from)
{
    const struct member *m = node_member(n, &from->id);
    *h = *from;
    h->address[0] = '\0'; /* not known: not tried */
    if (m && m->has_profile && m->profile.address[0])
        memcpy(h->address, m->profile.address, sizeof h->address);
    else if (m)
        memcpy(h->address, m->address, sizeof h->address);
}

/* `ring` is the asker's word: who stands where. */
static void take_go(struct node *n, const struct peer_id *asker, uint64_t survey,
                    const struct reach_host *ring, size_t count)
{
    struct part *p = &n->part;
    struct member *m = node_member(n, asker);
    size_t me = 0;
    if (p->survey != survey || !peer_id_equal(&p->asker, asker) || !p->opened || p->trying)
        return;
    while (me < count && !is_self(n, &ring[me].id))
        me++;
    struct reach_order *o = me < count ? order(n, REACH_TRY) : NULL;
    if (!o)
        return;
    o->count = survey_spread(count);
    for (size_t d = 0; d < o->count; d++) {
        fill_host(n, &o->next[d], &ring[(me + 1 + d) % count]);
        fill_host(n, &o->before[d], &ring[(me + count - 1 - d) % count]);
    }
    p->trying = true;
    p->until_ms = n->now_ms + PART_MS;
    if (m)
        m->surveyed_ms = n->now_ms;
}

void survey_reach(struct node *n, const struct reach_report *r)
{
    struct part *p = &n->part;
    if (p->survey == 0 || r->survey != p->survey)
        return;
    if (r->what == REACH_OPEN && !p->opened) {
        p->opened = true;
        p->mtu = r->mtu;
        memcpy(p->listen, r->listen, sizeof p->listen);
        say_ready(n, &p->asker, p->survey, false);
    } else if (r->what == REACH_TRY && p->trying) {
        say_seen(n, &r->seen);
    }
}

/* ---- asking ---- */

void survey_request(struct node *n, uint64_t request)
{
    if (n->asking || n->work.leaving) {
        out_reply(n, request, KPEER_ESTATE,
                  n->asking ? "the group is being looked at already" : "this host is leaving",
                  n->asking ? "wait for that to end, and try again" : "");
        return;
    }
    struct asking *a = calloc(1, sizeof *a);
    if (!a) {
        n->no_memory = true;
        return;
    }
    a->request = request;
    a->begun_ms = n->now_ms;
    a->until_ms = n->surveyed_ms ? n->surveyed_ms + GAP_MS : n->now_ms;
    n->asking = a;
}

void survey_free(struct node *n)
{
    free(n->asking);
    n->asking = NULL;
}

static void ask_one(struct node *n, const struct asking *a, size_t i)
{
    struct pack_writer w;
    if (is_self(n, &a->id[i])) {
        take_ask(n, &a->id[i], a->survey, a->key);
        return;
    }
    net_begin(n, &w, MSG_SURVEY_ASK, 2);
    pack_put_uint(&w, a->survey);
    pack_put_bin(&w, a->key, sizeof a->key);
    net_post(n, &w, node_member(n, &a->id[i]));
}

/* Those who have not answered, or were busy, are asked again: what is on its way may get lost. */
static void ask_all(struct node *n, struct asking *a)
{
    a->again_ms = n->now_ms + ASK_AGAIN_MS;
    for (size_t i = 0; i < a->count && a->stage == STAGE_GATHERING; i++)
        if (!a->ready[i])
            ask_one(n, a, i);
}

static void begin_asking(struct node *n, struct asking *a)
{
    name_hosts(n, a);
    a->survey = node_random(n) | 1;
    node_random_bytes(n, a->key, sizeof a->key);
    a->stage = STAGE_GATHERING;
    a->until_ms = n->now_ms + GATHER_MS;
    ask_all(n, a);
}

static void fill_ring(struct asking *a, struct reach_host *ring)
{
    a->ring_count = 0;
    for (size_t i = 0; i < a->count; i++) {
        if (!a->ready[i])
            continue;
        struct reach_host *h = &ring[a->ring_count];
        h->id = a->id[i];
        h->mtu = a->host[i].mtu;
        memcpy(h->listen, a->host[i].listen, sizeof h->listen);
        a->ring[a->ring_count++] = (uint16_t)i;
    }
}

static void say_go(struct node *n, const struct asking *a, const struct peer_id *to,
                   const struct reach_host *ring)
{
    struct pack_writer w;
    if (is_self(n, to)) {
        take_go(n, to, a->survey, ring, a->ring_count);
        return;
    }
    net_begin(n, &w, MSG_SURVEY_GO, 2);
    pack_put_uint(&w, a->survey);
    pack_put_array(&w, a->ring_count);
    for (size_t i = 0; i < a->ring_count; i++) {
        pack_put_array(&w, 3);
        pack_put_bin(&w, ring[i].id.b, PEER_ID_BYTES);
        pack_put_uint(&w, ring[i].mtu);
        pack_put_bin(&w, ring[i].listen, SURVEY_PORTS);
    }
    net_post(n, &w, node_member(n, to));
}

static void go(struct node *n, struct asking *a)
{
    struct reach_host *ring = calloc(a->count + 1, sizeof *ring);
    if (!ring) {
        n->no_memory = true;
        return;
    }
    fill_ring(a, ring);
    a->stage = STAGE_TRYING;
    a->until_ms = n->now_ms + TELL_MS;
    n->surveyed_ms = n->now_ms;
    for (size_t i = 0; i < a->ring_count; i++)
        say_go(n, a, &a->id[a->ring[i]], ring);
    free(ring);
}

static void take_ready(struct node *n, const struct peer_id *from, uint64_t survey, const struct ready *r)
{
    struct asking *a = n->asking;
    size_t i = a && a->survey == survey && a->stage != STAGE_WAITING ? place_of(a, from) : 0;
    if (!a || a->survey != survey || a->stage == STAGE_WAITING || i == a->count)
        return;
    struct survey_host *h = &a->host[i];
    if (r->busy) {
        if (h->answer == ANSWER_NONE)
            h->answer = ANSWER_BUSY;
    } else if (a->stage == STAGE_GATHERING) {
        a->ready[i] = true;
        h->answer = ANSWER_NONE;
        h->mtu = r->mtu;
        memcpy(h->listen, r->listen, sizeof h->listen);
        h->check.has_offset = true;
        /* Sums of what others say must not overflow. */
        int64_t wall_ms = r->wall_ms > INT64_MAX / 4 ? INT64_MAX / 4 : r->wall_ms;
        h->check.clock_offset_ms = is_self(n, from) ? 0 : wall_ms - n->wall_ms;
    }
}

static void take_seen(struct node *n, const struct peer_id *from, uint64_t survey,
                      const struct survey_seen *seen)
{
    struct asking *a = n->asking;
    if (!a || a->survey != survey || a->stage != STAGE_TRYING)
        return;
    size_t i = place_of(a, from);
    if (i == a->count || !a->ready[i] || a->host[i].answer != ANSWER_NONE)
        return;
    a->host[i].seen = *seen;
    a->host[i].answer = ANSWER_FULL;
}

/* ---- the answer ---- */

/* Those who were tried first, in the order in which they were; then the rest. */
static size_t in_ring_order(struct node *n, const struct asking *a, struct survey_host *host)
{
    size_t count = 0;
    for (int rest = 0; rest < 2; rest++)
        for (size_t i = 0; i < a->count; i++) {
            const struct member *m = node_member(n, &a->id[i]);
            if (!m || a->ready[i] == (rest == 1))
                continue;
            host[count] = a->host[i];
            host[count++].check.profile = &m->profile;
        }
    return count;
}

static void answer(struct node *n, const struct asking *a)
{
    struct survey_report *r = calloc(1, sizeof *r);
    struct survey_host *host = calloc(a->count + 1, sizeof *host);
    struct check_fault *fault = calloc(SURVEY_FAULTS_MAX, sizeof *fault);
    struct check_list list = {.fault = fault, .room = SURVEY_FAULTS_MAX, .level = FINDING_WARN};
    bool kept = r && out_own(n, r, sizeof *r);
    kept = host && out_own(n, host, sizeof *host) && kept;
    kept = fault && out_own(n, fault, SURVEY_FAULTS_MAX * sizeof *fault) && kept;
    if (!kept) {
        n->no_memory = true;
        return;
    }
    size_t count = in_ring_order(n, a, host);
    if (survey_judge(host, a->ring_count, count, &list) != 0)
        n->no_memory = true;
    *r = (struct survey_report){.took_ms = (uint32_t)(n->now_ms - a->begun_ms),
                                .count = count,
                                .host = host,
                                .fault_count = list.count,
                                .fault = fault};
    out_reply(n, a->request, 0, "", "");
    if (n->action_count > 0)
        n->action[n->action_count - 1].survey = r;
}

static void finish(struct node *n)
{
    struct asking *a = n->asking;
    struct pack_writer w;
    for (size_t i = 0; i < a->count; i++) {
        if (is_self(n, &a->id[i]) || !a->ready[i])
            continue;
        net_begin(n, &w, MSG_SURVEY_END, 1);
        pack_put_uint(&w, a->survey);
        net_post(n, &w, node_member(n, &a->id[i]));
    }
    if (n->part.survey == a->survey)
        end_part(n);
    answer(n, a);
    survey_free(n);
}

static bool all_ready(const struct asking *a)
{
    for (size_t i = 0; i < a->count; i++)
        if (!a->ready[i])
            return false;
    return true;
}

static bool all_told(const struct asking *a)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->ready[i] && a->host[i].answer == ANSWER_NONE)
            return false;
    return true;
}

void survey_tick(struct node *n)
{
    struct asking *a = n->asking;
    if (n->stopped)
        return;
    if (n->part.survey && (n->now_ms >= n->part.until_ms || n->work.leaving))
        end_part(n);
    if (!a)
        return;
    if (a->stage == STAGE_WAITING && n->now_ms >= a->until_ms && !n->part.survey)
        begin_asking(n, a);
    if (a->stage == STAGE_GATHERING && !all_ready(a) && n->now_ms >= a->again_ms && n->now_ms < a->until_ms)
        ask_all(n, a);
    if (a->stage == STAGE_GATHERING && (all_ready(a) || n->now_ms >= a->until_ms))
        go(n, a);
    if (a->stage == STAGE_TRYING && (all_told(a) || n->now_ms >= a->until_ms))
        finish(n);
}

uint64_t survey_wake(const struct node *n)
{
    const struct asking *a = n->asking;
    uint64_t at = n->part.survey ? n->part.until_ms : UINT64_MAX;
    if (!a)
        return at;
    if (a->until_ms > n->now_ms && a->until_ms < at)
        at = a->until_ms;
    if (a->stage == STAGE_GATHERING && a->again_ms < at)
        at = a->again_ms;
    return at;
}

/* ---- messages ---- */

static void on_ready(struct node *n, struct member *m, uint64_t survey, struct pack_reader *r)
{
    struct ready told;
    told.busy = pack_bool(r);
    told.mtu = (uint16_t)pack_uint(r, SURVEY_MTU_MAX);
    told.wall_ms = pack_int(r, 0, INT64_MAX);
    pack_bin_copy(r, told.listen, sizeof told.listen);
    for (size_t i = 0; i < SURVEY_PORTS && !pack_bad(r); i++)
        if (told.listen[i] > LISTEN_MAX)
            pack_fail(r, KPEER_EINVAL, "listen");
    if (!pack_bad(r))
        take_ready(n, &m->id, survey, &told);
}

static void on_go(struct node *n, struct member *m, uint64_t survey, struct pack_reader *r)
{
    uint32_t count = pack_array(r, 1, MEMBERS_MAX);
    struct reach_host *ring = pack_bad(r) ? NULL : calloc(count, sizeof *ring);
    if (!ring) {
        n->no_memory |= !pack_bad(r);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        pack_array(r, 3, 3);
        pack_bin_copy(r, ring[i].id.b, PEER_ID_BYTES);
        ring[i].mtu = (uint16_t)pack_uint(r, SURVEY_MTU_MAX);
        pack_bin_copy(r, ring[i].listen, SURVEY_PORTS);
    }
    if (!pack_bad(r))
        take_go(n, &m->id, survey, ring, count);
    free(ring);
}

static void on_tell(struct node *n, struct member *m, uint64_t survey, struct pack_reader *r)
{
    struct survey_seen seen;
    uint8_t heard[2 * SURVEY_SPREAD];
    pack_bin_copy(r, seen.tcp, sizeof seen.tcp);
    pack_bin_copy(r, heard, sizeof heard);
    if (pack_bad(r))
        return;
    for (size_t i = 0; i < SURVEY_SPREAD; i++)
        seen.heard[i] = (uint16_t)(heard[2 * i] << 8 | heard[2 * i + 1]);
    take_seen(n, &m->id, survey, &seen);
}

void survey_message(struct node *n, struct member *m, enum message type, struct pack_reader *r)
{
    uint8_t key[SURVEY_KEY_BYTES];
    uint64_t survey = pack_uint(r, UINT64_MAX);
    if (!pack_bad(r) && survey == 0)
        pack_fail(r, KPEER_EINVAL, "survey");
    if (type == MSG_SURVEY_ASK) {
        pack_bin_copy(r, key, sizeof key);
        if (!pack_bad(r))
            take_ask(n, &m->id, survey, key);
        sodium_memzero(key, sizeof key);
    } else if (type == MSG_SURVEY_READY) {
        on_ready(n, m, survey, r);
    } else if (type == MSG_SURVEY_GO) {
        on_go(n, m, survey, r);
    } else if (type == MSG_SURVEY_TELL) {
        on_tell(n, m, survey, r);
    } else if (!pack_bad(r) && n->part.survey == survey && peer_id_equal(&n->part.asker, &m->id)) {
        end_part(n);
    }
}
