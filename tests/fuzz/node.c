/* A whole node: what its peers, hosts and steps can tell it, and what it stores for its next start. */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/node_state.h"
#include "protocol/statement.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/node_world.h"

/*
 * An input is a row of pieces, [kind, length in two bytes, bytes…]. Messages are sealed here, their heads and
 * counters made right unless a piece brings its own; statements are signed.
 */
enum piece_kind {
    PIECE_RAW = 0,   /* a message's plain bytes, as they are */
    PIECE_MESSAGE,   /* [type, elements beyond the head, their bytes…] */
    PIECE_STATEMENT, /* [kind, version, payload…], signed and pushed */
    PIECE_TIME,      /* [tenths of a second]: so much goes by */
    PIECE_HELLO,     /* [boot, address, age…]: a beacon was heard */
    PIECE_RESULT,    /* [code]: the step that runs ends */
    PIECE_DOWN,      /* the link goes down */
    PIECE_USER,      /* [what]: the user asks */
    PIECE_REACH,     /* [what each place holds…]: what the survey's sockets saw */
    PIECE_PULSE,     /* [wish, instance, every, next…]: a pulse was heard */
    PIECE_KINDS,
};

/* The node that is tried, and the peer that talks to it. */
struct talk {
    struct world *w;
    size_t self, other;
    uint64_t boot; /* of the other, as last told */
    uint64_t counter;
    uint32_t step; /* that the node runs; 0: none */
    enum step_kind step_kind;
    uint64_t survey; /* whose sockets were asked for; 0: none */
    enum reach_what reach;
};

#define BOOT     5 /* above what a stored member has */
#define INSTANCE 77

static const struct identity *other_of(const struct talk *t)
{
    return t->w->peer[t->other].me;
}

static struct hello hello_of(const struct talk *t, uint64_t boot)
{
    const struct identity *me = other_of(t);
    struct hello h = {.id = me->id,
                      .boot = boot,
                      .instance = INSTANCE,
                      .counter = t->counter + 1,
                      .age_ms = 5000,
                      .wall_ms = 1700000000000 + (int64_t)t->w->now_ms,
                      .members = 2,
                      .port = 7373};
    memcpy(h.sign_pk, me->sign_pk, sizeof h.sign_pk);
    memcpy(h.box_pk, me->box_pk, sizeof h.box_pk);
    return h;
}

/* What it wants sent opens under the group's key, what it stores is small enough, what it runs is a step. */
static void look_at(struct world *w, size_t who, const struct action *a)
{
    struct talk *t = w->ctx;
    if (who != t->self)
        return;
    if (a->kind == ACT_SEND) {
        uint8_t *plain = NULL;
        size_t n = 0;
        FUZZ_MUST(a->n <= NET_MESSAGE_MAX + SEAL_OVERHEAD_BYTES);
        world_open(w, a->bytes, a->n, &plain, &n);
        free(plain);
    } else if (a->kind == ACT_RUN) {
        FUZZ_MUST(step_check(a->step, NULL) == 0);
        t->step = a->step->id;
        t->step_kind = a->step->kind;
    } else if (a->kind == ACT_REACH) {
        FUZZ_MUST(a->reach->count <= SURVEY_SPREAD);
        t->survey = a->reach->survey;
        t->reach = a->reach->what;
    } else if (a->kind == ACT_REPLY && a->survey) {
        FUZZ_MUST(a->survey->fault_count <= SURVEY_FAULTS_MAX && a->survey->count <= MEMBERS_MAX);
    } else if (a->kind == ACT_REPLY && a->verify) {
        FUZZ_MUST(a->verify->count > 0 && a->verify->count <= STEP_FINDINGS_MAX);
        FUZZ_FIELD(a->verify->finding[a->verify->count - 1].detail);
    } else if (a->kind == ACT_PERSIST) {
        FUZZ_MUST(a->n > 0 && a->n <= 4 * 1024 * 1024);
    } else if (a->kind == ACT_EVENT) {
        FUZZ_FIELD(a->text);
        FUZZ_FIELD(a->name);
        FUZZ_MUST(a->event < EVENT_KIND_COUNT);
    }
}

static void feed(struct talk *t, struct node_event *ev)
{
    world_feed(t->w, t->self, ev);
    FUZZ_MUST(t->w->peer[t->self].wake_ms > 0);
}

static void say(struct talk *t, const uint8_t *plain, size_t n)
{
    uint8_t *sealed = NULL;
    size_t sealed_bytes = 0;
    world_seal(t->w, plain, n, &sealed, &sealed_bytes);
    feed(t, &(struct node_event){
                .kind = EV_MESSAGE, .peer = other_of(t)->id, .bytes = sealed, .n = sealed_bytes});
    free(sealed);
}

static void put_head(struct talk *t, struct pack_writer *w, size_t more, unsigned type)
{
    pack_writer_init(w, 2 * NET_MESSAGE_MAX);
    pack_put_array(w, 5 + more);
    pack_put_uint(w, type);
    pack_put_bin(w, other_of(t)->id.b, PEER_ID_BYTES);
    pack_put_uint(w, t->boot);
    pack_put_uint(w, INSTANCE);
    pack_put_uint(w, ++t->counter);
}

static void end_message(struct talk *t, struct pack_writer *w)
{
    if (pack_writer_end(w, NULL) == 0)
        say(t, w->bytes, w->used);
    pack_writer_fini(w);
}

static void message(struct talk *t, const uint8_t *at, size_t n)
{
    struct pack_writer w;
    if (n < 2)
        return;
    put_head(t, &w, at[1] % 12, at[0] % (MSG_COUNT + 1));
    if (n > 2)
        pack_put_raw(&w, at + 2, n - 2);
    end_message(t, &w);
}

static void push_statement(struct talk *t, const uint8_t *at, size_t n)
{
    struct pack_writer w;
    uint8_t *wire = NULL;
    size_t wire_bytes = 0;
    if (n < 3)
        return;
    enum statement_kind kind = STATEMENT_PROFILE + at[0] % 4;
    const struct peer_id *subject = kind >= STATEMENT_GRANT ? &t->w->peer[t->self].me->id : NULL;
    if (statement_encode(other_of(t), node_group_id(t->w->peer[t->self].node), kind, subject,
                         t->boot << 32 | at[1], at + 2, n - 2, &wire, &wire_bytes, NULL))
        return;
    put_head(t, &w, 2, MSG_PUSH);
    pack_put_array(&w, 1);
    pack_put_raw(&w, wire, wire_bytes);
    pack_put_nil(&w);
    free(wire);
    end_message(t, &w);
}

static void hello(struct talk *t, const uint8_t *at, size_t n)
{
    struct hello h = hello_of(t, n > 0 ? BOOT + at[0] % 3 : BOOT);
    struct node_event ev = {.kind = EV_HELLO, .hello = &h};
    snprintf(ev.address, sizeof ev.address, "192.168.56.%zu", n > 1 ? 10u + at[1] % 4u : 11 + t->other);
    if (n > 2)
        h.age_ms = (uint64_t)at[2] << at[2] % 57;
    if (n > 3)
        h.wall_ms = (int64_t)((uint64_t)at[3] << at[3] % 57);
    if (n > 4)
        h.digest = at[4];
    if (n > 5) {
        h.outbid = t->w->peer[at[5] % 2].me->id;
        h.outbid_boot = at[5];
    }
    if (n > 6) {
        h.failed = t->w->peer[at[6] % 2].me->id;
        h.failed_instance = h.instance + at[6] / 128;
    }
    t->counter++;
    t->boot = h.boot;
    feed(t, &ev);
}

static void pulse(struct talk *t, const uint8_t *at, size_t n)
{
    struct pulse p = {.id = other_of(t)->id, .boot = t->boot, .instance = INSTANCE, .counter = ++t->counter};
    struct node_event ev = {.kind = EV_PULSE, .pulse = &p};
    for (int i = 0; i < 4; i++)
        p.to = p.to << 8 | t->w->peer[t->self].me->id.b[i];
    if (n > 0)
        p.wish = at[0] % PULSE_WISHES;
    if (n > 1)
        p.instance += at[1] / 128;
    if (n > 2)
        p.every_ms = (uint32_t)at[2] << at[2] % 25;
    if (n > 3)
        p.next_ms = (uint32_t)at[3] << at[3] % 25;
    if (n > 4)
        p.digest = at[4];
    feed(t, &ev);
}

static void result(struct talk *t, const uint8_t *at, size_t n)
{
    struct step_result r = {.id = t->step, .kind = t->step_kind, .code = n ? -(at[0] % 15) : 0};
    if (!t->step)
        return;
    t->step = 0;
    snprintf(r.text, sizeof r.text, "%.*s", (int)(n > 40 ? 40 : n),
             "it did not go as was hoped, for a reason");
    snprintf(r.pod_address, sizeof r.pod_address, "10.244.0.2");
    snprintf(r.token, sizeof r.token, "abcdef.0123456789abcdef");
    snprintf(r.ca_hash, sizeof r.ca_hash, "sha256:%064d", 7);
    r.have_facts = n > 1 && at[1] % 2;
    r.finding_count = r.kind == STEP_VERIFY && n > 2 ? at[2] % 3 : 0;
    r.facts.cpus = 2;
    r.facts.memory_mb = 4000;
    snprintf(r.facts.hostname, sizeof r.facts.hostname, "node1");
    snprintf(r.facts.kubernetes_version, sizeof r.facts.kubernetes_version, "v1.20.2");
    feed(t, &(struct node_event){.kind = EV_STEP_DONE, .result = &r});
}

static void reach(struct talk *t, const uint8_t *at, size_t n)
{
    struct reach_report r = {.what = t->reach, .survey = t->survey, .mtu = 1500};
    if (!t->survey)
        return;
    for (size_t i = 0; i < n && i < SURVEY_PORTS; i++)
        r.listen[i] = at[i] % LISTEN_COUNT;
    for (size_t i = SURVEY_PORTS; i < n && i < sizeof r.seen.tcp; i++)
        r.seen.tcp[i / SURVEY_TCP_PORTS][i % SURVEY_TCP_PORTS] = at[i] % REACH_COUNT;
    for (size_t i = 0; i < n && i < SURVEY_SPREAD; i++)
        r.seen.heard[i] = (uint16_t)(at[i] * 257);
    t->survey = 0;
    feed(t, &(struct node_event){.kind = EV_REACH, .reach = &r});
}

static void piece(struct talk *t, unsigned kind, const uint8_t *at, size_t n)
{
    static const enum node_event_kind asked[] = {EV_SURVEY, EV_LEAVE,  EV_KUBECONFIG, EV_RETRY,
                                                 EV_FIX,    EV_VERIFY, EV_GONE};
    switch ((enum piece_kind)(kind % PIECE_KINDS)) {
    case PIECE_RAW:
        say(t, at, n);
        break;
    case PIECE_MESSAGE:
        message(t, at, n);
        break;
    case PIECE_STATEMENT:
        push_statement(t, at, n);
        break;
    case PIECE_TIME:
        for (t->w->now_ms += n ? 100u * at[0] : 100; t->w->peer[t->self].wake_ms <= t->w->now_ms && n++ < 20;)
            feed(t, &(struct node_event){.kind = EV_TICK});
        break;
    case PIECE_HELLO:
        hello(t, at, n);
        break;
    case PIECE_RESULT:
        result(t, at, n);
        break;
    case PIECE_DOWN:
        feed(t, &(struct node_event){.kind = n && at[0] % 2 ? EV_REFUSED : EV_LINK_DOWN,
                                     .peer = other_of(t)->id});
        break;
    case PIECE_USER:
        feed(t, &(struct node_event){
                    .kind = asked[n ? at[0] % COUNT_OF(asked) : 0], .request = 5, .force = n > 1});
        break;
    case PIECE_REACH:
        reach(t, at, n);
        break;
    case PIECE_PULSE:
        pulse(t, at, n);
        break;
    case PIECE_KINDS:
        break;
    }
}

/* All pieces, one after the other; then the node starts again from what it has stored. */
static void play(struct talk *t, const uint8_t *bytes, size_t n)
{
    const struct world_peer *self = &t->w->peer[t->self];
    struct node_status status;
    hello(t, NULL, 0);
    while (n >= 3 && !self->stopped) {
        size_t length = (size_t)bytes[1] << 8 | bytes[2];
        length = length < n - 3 ? length : n - 3;
        piece(t, bytes[0], bytes + 3, length);
        bytes += 3 + length;
        n -= 3 + length;
    }
    node_status_view(self->node, t->w->now_ms, &status);
    FUZZ_MUST(status.phase < PHASE_COUNT && fuzz_ends(status.waiting, sizeof status.waiting));
    world_stop(t->w, t->self);
    if (!self->stopped)
        world_start(t->w, t->self);
}

static void node_forming(const uint8_t *bytes, size_t n)
{
    struct talk t = {.w = world_new(2, 2), .other = 1};
    t.w->ctx = &t;
    t.w->on_action = look_at;
    world_start(t.w, 0);
    play(&t, bytes, n);
    world_free(t.w);
}

/* ---- a cluster that stands ---- */

static uint8_t *disk[2][STORE_KEY_COUNT];
static size_t disk_bytes[2][STORE_KEY_COUNT];

static void form(void)
{
    if (disk[0][STORE_CLUSTER])
        return;
    struct world *w = world_new(2, 2);
    world_start(w, 0);
    world_start(w, 1);
    FUZZ_MUST(world_run_ready(w, 60000));
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < STORE_KEY_COUNT; k++) {
            disk[i][k] = w->peer[i].disk[k];
            disk_bytes[i][k] = w->peer[i].disk_bytes[k];
            w->peer[i].disk[k] = NULL;
        }
    }
    world_free(w);
}

static void give_disk(struct world_peer *p, size_t who)
{
    for (size_t k = 0; k < STORE_KEY_COUNT; k++) {
        if (!disk[who][k])
            continue;
        p->disk[k] = malloc(disk_bytes[who][k]);
        FUZZ_MUST(p->disk[k]);
        memcpy(p->disk[k], disk[who][k], disk_bytes[who][k]);
        p->disk_bytes[k] = disk_bytes[who][k];
    }
}

/* The first byte says which of the two is tried: the founder or who joined it. */
static void node_member_again(const uint8_t *bytes, size_t n)
{
    if (n < 1)
        return;
    form();
    struct talk t = {.w = world_new(2, 2), .self = bytes[0] % 2, .other = 1 - bytes[0] % 2};
    t.w->now_ms = 100000;
    t.w->ctx = &t;
    t.w->on_action = look_at;
    give_disk(&t.w->peer[t.self], t.self);
    world_start(t.w, t.self);
    play(&t, bytes + 1, n - 1);
    world_free(t.w);
}

/* ---- what it stored ---- */

/* [which, bytes…]: an error, or a node that lives, and stores what can be read again. */
static void node_stored(const uint8_t *bytes, size_t n)
{
    struct world *w = world_new(1, 1);
    struct world_peer *p = &w->peer[0];
    struct stored stored[STORE_KEY_COUNT] = {{NULL, 0}};
    const uint8_t seed[32] = {1};
    struct err err = {0};
    if (n > 0) {
        stored[bytes[0] % STORE_KEY_COUNT] = (struct stored){bytes + 1, n - 1};
        int code = node_new(&p->node, &p->cfg, p->me, w->key, stored, 7, seed, &err);
        FUZZ_MUST(code == 0 || (err.text[0] && fuzz_shows(err.text)));
        if (code == 0) {
            world_feed(w, 0, &(struct node_event){.kind = EV_START});
            world_feed(w, 0, &(struct node_event){.kind = EV_ADDRESS, .address = "192.168.56.11"});
            for (int i = 0; i < 10; i++) {
                w->now_ms += 1000;
                world_feed(w, 0, &(struct node_event){.kind = EV_TICK});
            }
            world_stop(w, 0);
            world_start(w, 0);
        }
    }
    world_free(w);
}

static void seed_stored(struct fuzz_sink *sink)
{
    form();
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < STORE_KEY_COUNT; k++) {
            cleanup_free uint8_t *seed = malloc(disk_bytes[i][k] + 1);
            FUZZ_MUST(seed);
            seed[0] = (uint8_t)k;
            if (disk_bytes[i][k])
                memcpy(seed + 1, disk[i][k], disk_bytes[i][k]);
            fuzz_give(sink, seed, disk_bytes[i][k] + 1);
        }
    }
}

/* ---- seeds: what a node heard while a cluster formed ---- */

struct script {
    struct fuzz_sink *sink;
    uint8_t bytes[64 * 1024];
    size_t n;
    uint64_t at_ms;
};

#define SCRIPT_PART 4096 /* a seed is what fits */

static void write_piece(struct script *s, enum piece_kind kind, const uint8_t *bytes, size_t n)
{
    if (s->n + 3 + n > sizeof s->bytes)
        return;
    s->bytes[s->n++] = (uint8_t)kind;
    s->bytes[s->n++] = (uint8_t)(n >> 8);
    s->bytes[s->n++] = (uint8_t)n;
    if (n)
        memcpy(s->bytes + s->n, bytes, n);
    s->n += n;
}

static const uint8_t any_group[GROUP_ID_BYTES]; /* nothing is verified */

static void write_statements(struct script *s, struct pack_reader r)
{
    uint32_t count = pack_array(&r, 0, NET_ITEMS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        static uint8_t bytes[2 + STATEMENT_PAYLOAD_MAX];
        struct statement st;
        size_t n = 0;
        const uint8_t *wire = pack_raw(&r, &n);
        if (pack_bad(&r) || statement_decode(wire, n, any_group, false, &st, NULL))
            continue;
        bytes[0] = (uint8_t)(st.kind - STATEMENT_PROFILE);
        bytes[1] = (uint8_t)(i + 1);
        memcpy(bytes + 2, st.payload, st.payload_bytes);
        write_piece(s, PIECE_STATEMENT, bytes, 2 + st.payload_bytes);
    }
}

static void write_message(struct script *s, struct world *w, const struct node_event *ev)
{
    static uint8_t bytes[NET_MESSAGE_MAX];
    uint8_t *plain = NULL;
    size_t n = 0, skipped = 0;
    struct pack_reader r;
    world_open(w, ev->bytes, ev->n, &plain, &n);
    FUZZ_MUST(pack_open(&r, plain, n, 5, NULL) == 0);
    uint32_t count = pack_array(&r, 5, 16);
    bytes[0] = (uint8_t)pack_uint(&r, MSG_COUNT);
    bytes[1] = (uint8_t)(count - 5);
    for (int i = 0; i < 4; i++)
        pack_raw(&r, &skipped);
    size_t left = (size_t)(r.end - r.at);
    memcpy(bytes + 2, r.at, left);
    if (bytes[0] == MSG_PUSH)
        write_statements(s, r);
    write_piece(s, PIECE_MESSAGE, bytes, 2 + left);
    free(plain);
}

static void write_event(struct world *w, size_t who, const struct node_event *ev)
{
    struct script *s = w->ctx;
    uint64_t passed = (w->now_ms - s->at_ms) / 100;
    if (who != 0)
        return;
    if (passed > 0) {
        write_piece(s, PIECE_TIME, &(uint8_t){(uint8_t)(passed > 255 ? 255 : passed)}, 1);
        s->at_ms = w->now_ms;
    }
    if (ev->kind == EV_HELLO)
        write_piece(s, PIECE_HELLO, NULL, 0);
    else if (ev->kind == EV_MESSAGE)
        write_message(s, w, ev);
    else if (ev->kind == EV_REACH)
        write_piece(s, PIECE_REACH, (const uint8_t[]){1, 1, 2, 1, 1, 1}, 6);
    else if (ev->kind == EV_SURVEY)
        write_piece(s, PIECE_USER, (const uint8_t[]){0}, 1);
    else if (ev->kind == EV_VERIFY)
        write_piece(s, PIECE_USER, (const uint8_t[]){5}, 1);
    else if (ev->kind == EV_STEP_DONE)
        write_piece(s, PIECE_RESULT, (const uint8_t[]){0, 1}, 2);
}

static void seed_forming(struct fuzz_sink *sink)
{
    static struct script s;
    s = (struct script){.sink = sink, .at_ms = 1000};
    struct world *w = world_new(2, 2);
    w->ctx = &s;
    w->on_event = write_event;
    world_start(w, 0);
    world_start(w, 1);
    FUZZ_MUST(world_run_ready(w, 60000));
    for (size_t n = 512; n <= SCRIPT_PART; n *= 2)
        fuzz_give(sink, s.bytes, n < s.n ? n : s.n);
    fuzz_give(sink, s.bytes, s.n < 4 * SCRIPT_PART ? s.n : 4 * SCRIPT_PART);
    world_free(w);
}

static void seed_member(struct fuzz_sink *sink)
{
    static struct script s;
    form();
    s = (struct script){.sink = sink, .at_ms = 100000, .n = 1};
    struct world *w = world_new(2, 2);
    w->now_ms = 100000;
    w->ctx = &s;
    w->on_event = write_event;
    for (size_t i = 0; i < 2; i++) {
        give_disk(&w->peer[i], i);
        world_start(w, i);
    }
    world_run(w, 2000);
    for (size_t i = 0; i < 2; i++) /* each asks, so that either hears all there is */
        world_feed(w, i, &(struct node_event){.kind = EV_SURVEY, .request = 5 + i});
    world_run(w, 3000);
    for (size_t i = 0; i < 2; i++)
        world_feed(w, i, &(struct node_event){.kind = EV_VERIFY, .request = 5});
    world_run(w, 1000);
    write_piece(&s, PIECE_USER, (const uint8_t[]){2}, 1);
    for (uint8_t i = 0; i < 2; i++) {
        s.bytes[0] = i;
        fuzz_give(sink, s.bytes, s.n < SCRIPT_PART ? s.n : SCRIPT_PART);
    }
    world_free(w);
}

const struct fuzz_target fuzz_node[] = {
    {"node_forming", "all that a node hears while a cluster forms", 16384, node_forming, seed_forming},
    {"node_member", "all that a member hears", 8192, node_member_again, seed_member},
    {"node_stored", "what a node finds stored when it starts", 4096, node_stored, seed_stored},
    {0},
};
