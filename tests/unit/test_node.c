/* The node as a whole: what it lets in, what it never lets in, and what it stores before it speaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "protocol/mem.h"
#include "protocol/node_state.h" /* its inside: to see that nothing changed, and to speak in a peer's name */
#include "tests/unit/node_world.h"

#define READY_MS 60000

static struct world *formed(size_t count)
{
    struct world *w = world_new(count, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        world_start(w, i);
    assert_true(world_run_ready(w, READY_MS));
    return w;
}

/* ---- what is known, as one number ---- */

static void add(crypto_generichash_state *st, const void *p, size_t n)
{
    crypto_generichash_update(st, p, n);
}

static uint64_t face_of(const struct node *n)
{
    crypto_generichash_state st;
    uint64_t h[2];
    crypto_generichash_init(&st, NULL, 0, sizeof h);
    add(&st, &n->formation, sizeof n->formation);
    add(&st, &n->work, sizeof n->work);
    add(&st, &n->record, sizeof n->record);
    add(&st, &n->committed, sizeof n->committed);
    add(&st, &n->gossip.digest, sizeof n->gossip.digest);
    add(&st, &n->gossip.count, sizeof n->gossip.count);
    add(&st, &n->member_count, sizeof n->member_count);
    for (size_t i = 0; i < n->member_count; i++)
        add(&st, n->member[i], sizeof *n->member[i]);
    add(&st, n->running, sizeof n->running);
    add(&st, n->pending, sizeof n->pending);
    crypto_generichash_final(&st, (uint8_t *)h, sizeof h);
    return h[0];
}

/* ---- messages made by hand ---- */

struct header {
    uint64_t type;
    const struct peer_id *sender;
    uint64_t boot, instance, counter;
};

/* What peer `from` would say next to peer `to`. */
static struct header header_of(const struct world *w, size_t from, size_t to, uint64_t type)
{
    const struct member *m = node_member(w->peer[to].node, &w->peer[from].me->id);
    assert_non_null(m);
    return (struct header){type, &m->id, m->boot, m->instance, m->message_counter + 1};
}

static size_t fields_of(uint64_t type)
{
    static const size_t fields[] = {
        [MSG_PULL] = 2,       [MSG_PUSH] = 2,         [MSG_LEASE_ASK] = 3,  [MSG_LEASE_GRANT] = 3,
        [MSG_PROBE] = 2,      [MSG_PROBE_ACK] = 2,    [MSG_CONFIG_ASK] = 1, [MSG_CONFIG_GIVE] = 3,
        [MSG_SURVEY_ASK] = 2, [MSG_SURVEY_READY] = 5, [MSG_SURVEY_GO] = 2,  [MSG_SURVEY_TELL] = 3,
        [MSG_SURVEY_END] = 1, [MSG_VERIFY_ASK] = 2,   [MSG_VERIFY_TELL] = 6};
    return type < COUNT_OF(fields) ? fields[type] : 0;
}

static void put_body(struct pack_writer *w, uint64_t type, const struct peer_id *id)
{
    uint8_t bytes[SEAL_BOX_OVERHEAD_BYTES + 1] = {0};
    uint8_t many[SURVEY_SPREAD * SURVEY_TCP_PORTS] = {0};
    switch (type) {
    case MSG_PULL:
        pack_put_bool(w, false);
        pack_put_array(w, 0);
        break;
    case MSG_PUSH:
        pack_put_array(w, 0);
        pack_put_nil(w);
        break;
    case MSG_LEASE_ASK:
    case MSG_LEASE_GRANT:
        pack_put_bin(w, bytes, SET_ID_BYTES);
        pack_put_uint(w, 1);
        pack_put_uint(w, 1);
        break;
    case MSG_PROBE:
    case MSG_PROBE_ACK:
        pack_put_bin(w, id->b, sizeof id->b);
        pack_put_bin(w, id->b, sizeof id->b);
        break;
    case MSG_CONFIG_ASK:
        pack_put_uint(w, 77);
        break;
    case MSG_CONFIG_GIVE:
        pack_put_uint(w, 77);
        pack_put_int(w, 0);
        pack_put_bin(w, bytes, sizeof bytes);
        break;
    case MSG_SURVEY_ASK:
        pack_put_uint(w, 5);
        pack_put_bin(w, bytes, SURVEY_KEY_BYTES);
        break;
    case MSG_SURVEY_READY:
        pack_put_uint(w, 5);
        pack_put_bool(w, false);
        pack_put_uint(w, 1500);
        pack_put_int(w, 1);
        pack_put_bin(w, bytes, SURVEY_PORTS);
        break;
    case MSG_SURVEY_GO:
        pack_put_uint(w, 5);
        pack_put_array(w, 1);
        pack_put_array(w, 3);
        pack_put_bin(w, id->b, sizeof id->b);
        pack_put_uint(w, 1500);
        pack_put_bin(w, bytes, SURVEY_PORTS);
        break;
    case MSG_SURVEY_TELL:
        pack_put_uint(w, 5);
        pack_put_bin(w, many, SURVEY_SPREAD * SURVEY_TCP_PORTS);
        pack_put_bin(w, many, 2 * SURVEY_SPREAD);
        break;
    case MSG_SURVEY_END:
        pack_put_uint(w, 5);
        break;
    case MSG_VERIFY_ASK:
        pack_put_uint(w, 77);
        pack_put_uint(w, 60000);
        break;
    case MSG_VERIFY_TELL:
        pack_put_uint(w, 77);
        pack_put_bool(w, true);
        pack_put_int(w, KPEER_EIO);
        pack_put_str(w, "why");
        pack_put_str(w, "");
        pack_put_array(w, 0);
        break;
    default:
        break;
    }
}

static void make(struct world *w, const struct header *h, uint8_t **out, size_t *out_bytes)
{
    struct pack_writer p;
    pack_writer_init(&p, 4096);
    pack_put_array(&p, 5 + fields_of(h->type));
    pack_put_uint(&p, h->type);
    pack_put_bin(&p, h->sender->b, sizeof h->sender->b);
    pack_put_uint(&p, h->boot);
    pack_put_uint(&p, h->instance);
    pack_put_uint(&p, h->counter);
    put_body(&p, h->type, h->sender);
    assert_int_equal(pack_writer_end(&p, NULL), 0);
    world_seal(w, p.bytes, p.used, out, out_bytes);
    pack_writer_fini(&p);
}

static void hand_over(struct world *w, size_t to, const struct peer_id *link, const uint8_t *bytes, size_t n)
{
    world_feed(w, to, &(struct node_event){.kind = EV_MESSAGE, .peer = *link, .bytes = bytes, .n = n});
}

/* Hands a message over and asserts that it was dropped for this reason and changed nothing at all. */
static void assert_dropped(struct world *w, size_t to, const struct peer_id *link, const uint8_t *bytes,
                           size_t n, enum drop why)
{
    const struct node *node = w->peer[to].node;
    world_feed(w, to, &(struct node_event){.kind = EV_TICK});
    uint64_t face = face_of(node), drops = node->dropped[why];
    hand_over(w, to, link, bytes, n);
    assert_int_equal(node->dropped[why], drops + 1);
    assert_true(face_of(node) == face);
    assert_int_equal(node->action_count, 0);
}

static uint64_t all_drops(const struct node *n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < COUNT_OF(n->dropped); i++)
        sum += n->dropped[i];
    return sum;
}

/* ---- the table ---- */

enum { FORMING, MEMBER, LEAVING, MODES };

/* Written down a second time on purpose: whoever opens a door must do so in both places. */
static const char *const open_in[MSG_COUNT] = {
    [MSG_PULL] = "fml",      [MSG_PUSH] = "fml",        [MSG_LEASE_ASK] = "f",   [MSG_LEASE_GRANT] = "f",
    [MSG_PROBE] = "fml",     [MSG_PROBE_ACK] = "fml",   [MSG_CONFIG_ASK] = "m",  [MSG_CONFIG_GIVE] = "m",
    [MSG_SURVEY_ASK] = "fm", [MSG_SURVEY_READY] = "fm", [MSG_SURVEY_GO] = "fm",  [MSG_SURVEY_TELL] = "fm",
    [MSG_SURVEY_END] = "fm", [MSG_VERIFY_ASK] = "m",    [MSG_VERIFY_TELL] = "m",
};

static struct world *in_mode(int mode)
{
    struct world *w;
    if (mode != FORMING) {
        w = formed(2);
        w->hold = true;
        if (mode == LEAVING)
            world_feed(w, 0, &(struct node_event){.kind = EV_LEAVE, .force = true, .request = 1});
        return w;
    }
    w = world_new(2, 3); /* the third never comes */
    world_start(w, 0);
    world_start(w, 1);
    world_run(w, 3000);
    w->hold = true;
    return w;
}

static void test_every_message_in_every_mode(void **state)
{
    (void)state;
    for (int mode = 0; mode < MODES; mode++) {
        struct world *w = in_mode(mode);
        const struct node *n = w->peer[0].node;
        for (uint64_t type = 0; type < 2 * MSG_COUNT; type++) {
            uint8_t *bytes = NULL;
            size_t size = 0;
            bool known = type > 0 && type < MSG_COUNT;
            bool open = known && strchr(open_in[type], "fml"[mode]) != NULL;
            world_feed(w, 0, &(struct node_event){.kind = EV_TICK});
            struct header h = header_of(w, 1, 0, type);
            make(w, &h, &bytes, &size);
            struct formation before = n->formation;
            uint64_t state_drops = n->dropped[DROP_STATE], malformed = n->dropped[DROP_MALFORMED];
            hand_over(w, 0, &w->peer[1].me->id, bytes, size);
            assert_int_equal(n->dropped[DROP_STATE] - state_drops, known && !open);
            assert_int_equal(n->dropped[DROP_MALFORMED] - malformed, !known);
            if (!open) {
                assert_int_equal(n->action_count, 0);
                assert_memory_equal(&before, &n->formation, sizeof before);
            }
            free(bytes);
        }
        world_free(w);
    }
}

/* ---- who may speak ---- */

static void test_replayed_and_stale(void **state)
{
    (void)state;
    struct world *w = in_mode(FORMING);
    const struct peer_id *peer = &w->peer[1].me->id;
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct header h = header_of(w, 1, 0, MSG_PUSH);
    make(w, &h, &bytes, &size);
    hand_over(w, 0, peer, bytes, size);
    assert_dropped(w, 0, peer, bytes, size, DROP_REPLAYED);
    free(bytes);
    struct header cases[3] = {h, h, h};
    cases[0].boot--;          /* from before a restart */
    cases[1].instance++;      /* a clone of this start */
    cases[2].type = MSG_PULL; /* other words under a number that was used */
    enum drop why[3] = {DROP_STALE, DROP_STALE, DROP_REPLAYED};
    for (size_t i = 0; i < 3; i++) {
        cases[i].counter += i < 2;
        make(w, &cases[i], &bytes, &size);
        assert_dropped(w, 0, peer, bytes, size, why[i]);
        free(bytes);
    }
    world_free(w);
}

static void test_foreign_unknown_and_forged(void **state)
{
    (void)state;
    static const uint8_t other_key[32] = {43};
    struct world *w = in_mode(FORMING);
    struct seal *ours = w->seal;
    struct secret *key = secret_new(other_key);
    const struct peer_id *peer = &w->peer[1].me->id;
    struct peer_id stranger = {{1, 2, 3}};
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct header h = header_of(w, 1, 0, MSG_PUSH);
    assert_int_equal(seal_new(&w->seal, key, NULL), 0);
    make(w, &h, &bytes, &size);
    seal_free(w->seal);
    w->seal = ours;
    assert_dropped(w, 0, peer, bytes, size, DROP_FOREIGN);
    free(bytes);
    make(w, &h, &bytes, &size);
    assert_dropped(w, 0, &stranger, bytes, size, DROP_FORGED); /* over a link that is not the sender's */
    free(bytes);
    h.sender = &stranger;
    make(w, &h, &bytes, &size);
    assert_dropped(w, 0, &stranger, bytes, size, DROP_UNKNOWN);
    free(bytes);
    h.sender = &w->peer[0].me->id;
    make(w, &h, &bytes, &size);
    assert_dropped(w, 0, h.sender, bytes, size, DROP_UNKNOWN); /* we do not talk to ourselves */
    free(bytes);
    secret_free(key);
    world_free(w);
}

static void test_altered_and_cut_changes_nothing(void **state)
{
    (void)state;
    for (uint64_t type = 1; type < MSG_COUNT; type++) {
        struct world *w = in_mode(FORMING);
        const struct node *n = w->peer[0].node;
        const struct peer_id *peer = &w->peer[1].me->id;
        uint8_t *bytes = NULL;
        size_t size = 0;
        struct header h = header_of(w, 1, 0, type);
        make(w, &h, &bytes, &size);
        world_feed(w, 0, &(struct node_event){.kind = EV_TICK});
        uint64_t face = face_of(n), drops = all_drops(n), fed = 0;
        for (size_t bit = 0; bit < 8 * size; bit++, fed++) {
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            hand_over(w, 0, peer, bytes, size);
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        for (size_t cut = 0; cut < size; cut++, fed++)
            hand_over(w, 0, peer, bytes, cut);
        assert_int_equal(all_drops(n), drops + fed);
        assert_true(face_of(n) == face);
        free(bytes);
        world_free(w);
    }
}

static void test_beacons_replayed_stale_and_forged(void **state)
{
    (void)state;
    struct world *w = in_mode(FORMING);
    struct node *n = w->peer[0].node;
    const struct member *m = node_member(n, &w->peer[1].me->id);
    struct hello good = w->peer[1].node->hello;
    good.counter = m->hello_counter;
    struct hello h[4] = {good, good, good, good};
    enum drop why[4] = {DROP_REPLAYED, DROP_STALE, DROP_STALE, DROP_FORGED};
    h[1].boot--;
    h[2].instance++;
    h[3].sign_pk[0] ^= 1;
    for (size_t i = 0; i < 4; i++) {
        h[i].counter += i > 0;
        world_feed(w, 0, &(struct node_event){.kind = EV_TICK});
        uint64_t face = face_of(n), drops = n->dropped[why[i]];
        world_feed(w, 0, &(struct node_event){.kind = EV_HELLO, .hello = &h[i], .address = "192.168.56.99"});
        assert_int_equal(n->dropped[why[i]], drops + 1);
        assert_true(face_of(n) == face);
    }
    world_free(w);
}

static size_t count_actions(const struct node *n, enum action_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < n->action_count; i++)
        count += n->action[i].kind == kind;
    return count;
}

/* A host that restarts must not take its own earlier beacons, sent again by anybody, for a clone's. */
static void test_own_earlier_beacons_renew_nothing(void **state)
{
    (void)state;
    struct world *w = in_mode(FORMING);
    w->hold = false;
    world_run(w, 60000);
    struct hello before = w->peer[0].node->hello;
    world_stop(w, 0);
    world_run(w, 1000);
    world_start(w, 0);
    world_run(w, 5000);
    w->hold = true;
    const struct node *n = w->peer[0].node;
    assert_true(before.age_ms > 50000);
    world_feed(w, 0, &(struct node_event){.kind = EV_HELLO, .hello = &before, .address = "192.168.56.99"});
    assert_int_equal(count_actions(n, ACT_RENEW), 0);
    before.wall_ms = n->wall_ms; /* a clone that lives */
    world_feed(w, 0, &(struct node_event){.kind = EV_HELLO, .hello = &before, .address = "192.168.56.99"});
    assert_int_equal(count_actions(n, ACT_RENEW), 1);
    world_free(w);
}

static void test_a_renewed_host_stops_its_steps(void **state)
{
    (void)state;
    struct world *w = world_new(2, 3);
    w->hold = true;
    world_start(w, 0);
    world_feed(w, 0, &(struct node_event){.kind = EV_TICK});
    const struct node *n = w->peer[0].node;
    uint32_t running = n->work.main_step;
    assert_true(running != 0);
    struct hello clone = n->hello;
    clone.instance++;
    clone.age_ms = 1000000;
    clone.wall_ms = n->wall_ms;
    world_feed(w, 0, &(struct node_event){.kind = EV_HELLO, .hello = &clone, .address = "192.168.56.99"});
    assert_int_equal(count_actions(n, ACT_RENEW), 1);
    assert_int_equal(count_actions(n, ACT_CANCEL), 1);
    world_stop(w, 0);
    w->now_ms++;
    world_start(w, 0); /* its next life gives other numbers */
    assert_true(w->peer[0].node->work.main_step != running);
    world_free(w);
}

/* As a DHCP server may have it in the middle of a founding: what goes by the old address is stopped and
 * undone. */
static void move_in_init(struct world *w, size_t who, const struct action *a)
{
    size_t *moved = w->ctx;
    if (a->kind != ACT_RUN || a->step->kind != STEP_INIT || *moved)
        return;
    *moved = who + 1;
    w->hold = true; /* it does not end by itself */
}

static void test_a_founder_that_moves_founds_anew(void **state)
{
    (void)state;
    struct world *w = world_new(3, 3);
    struct node_event ev = {.kind = EV_ADDRESS, .interface = "eth1", .address = "192.168.56.99"};
    size_t moved = 0;
    w->ctx = &moved;
    w->on_action = move_in_init;
    for (size_t i = 0; i < 3; i++)
        world_start(w, i);
    for (int i = 0; i < 10000 && !moved; i++)
        world_run(w, 1);
    assert_int_not_equal(moved, 0);
    const struct node *n = w->peer[moved - 1].node;
    struct step_result stopped = {.id = n->work.main_step, .kind = STEP_INIT, .code = KPEER_ECANCELED};
    w->hold = false;
    world_feed(w, moved - 1, &ev);
    assert_int_equal(count_actions(n, ACT_CANCEL), 1);
    world_feed(w, moved - 1, &(struct node_event){.kind = EV_STEP_DONE, .result = &stopped});
    assert_true(world_run_ready(w, READY_MS));
    assert_true(n->committed);
    if (strcmp(n->record.founder_name, n->cfg.name) == 0)
        assert_string_equal(n->record.endpoint, "192.168.56.99:6443");
    world_free(w);
}

/* A copy of peer 0 speaks to peer 1 alone, and is gone again: peer 0 must learn why nobody hears it any more.
 */
static void test_a_host_outbid_by_a_copy_is_heard_again(void **state)
{
    (void)state;
    struct world *w = formed(2);
    const struct node *outbid = w->peer[0].node, *other = w->peer[1].node;
    struct hello copy = outbid->hello;
    copy.boot++;
    copy.instance++;
    copy.counter = 1;
    world_feed(w, 1, &(struct node_event){.kind = EV_HELLO, .hello = &copy, .address = "192.168.56.99"});
    uint64_t stale = other->dropped[DROP_STALE];
    world_run(w, 10000);
    assert_true(other->dropped[DROP_STALE] > stale);
    assert_true(outbid->boot > copy.boot);
    stale = other->dropped[DROP_STALE];
    world_run(w, 10000);
    assert_int_equal(other->dropped[DROP_STALE], stale);
    for (size_t i = 0; i < other->member_count; i++)
        assert_int_equal(other->member[i]->state, STATE_ALIVE);
    world_free(w);
}

/* ---- what is kept ---- */

static void test_all_know_the_same_after_the_master_restarts(void **state)
{
    (void)state;
    struct world *w = formed(3);
    size_t founder = 0;
    for (size_t i = 0; i < 3; i++)
        if (node_is_founder(w->peer[i].node))
            founder = i;
    size_t leaver = (founder + 1) % 3, other = (founder + 2) % 3;
    world_feed(w, leaver, &(struct node_event){.kind = EV_LEAVE, .request = 1});
    world_run(w, 10000);
    assert_true(w->peer[leaver].stopped);
    world_stop(w, leaver);
    world_stop(w, founder);
    world_start(w, founder);
    world_run(w, 20000);
    const struct node *a = w->peer[founder].node, *b = w->peer[other].node;
    assert_int_equal(a->gossip.count, b->gossip.count);
    assert_true(a->gossip.digest == b->gossip.digest);
    world_free(w);
}

struct past {
    uint8_t *members[WORLD_PEERS]; /* as stored with the last ticket */
    size_t bytes[WORLD_PEERS];
    size_t served; /* requests of others, in Nodes deleted and tokens minted */
};

static void keep_past(struct world *w, size_t who, const struct action *a)
{
    struct past *past = w->ctx;
    past->served +=
        a->kind == ACT_RUN && (a->step->kind == STEP_DELETE_NODE || a->step->kind == STEP_TOKEN_MINT);
    if (a->kind != ACT_EVENT || a->event != EVENT_TICKET_ISSUED)
        return;
    free(past->members[who]);
    past->bytes[who] = w->peer[who].disk_bytes[STORE_MEMBERS];
    past->members[who] = malloc(past->bytes[who]);
    assert_non_null(past->members[who]);
    memcpy(past->members[who], w->peer[who].disk[STORE_MEMBERS], past->bytes[who]);
}

/* Its disk knows a worker as it asked for its ticket, and nothing of the join that followed. */
static void test_a_request_from_before_the_masters_restart_is_not_served(void **state)
{
    (void)state;
    struct past past = {0};
    struct world *w = world_new(2, 2);
    w->ctx = &past;
    w->on_action = keep_past;
    for (size_t i = 0; i < 2; i++)
        world_start(w, i);
    assert_true(world_run_ready(w, READY_MS));
    size_t founder = node_is_founder(w->peer[0].node) ? 0 : 1;
    assert_true(past.bytes[founder] > 0 && past.served > 0);
    past.served = 0;
    world_stop(w, founder);
    free(w->peer[founder].disk[STORE_MEMBERS]);
    w->peer[founder].disk[STORE_MEMBERS] = past.members[founder];
    w->peer[founder].disk_bytes[STORE_MEMBERS] = past.bytes[founder];
    world_start(w, founder);
    world_run(w, 20000);
    assert_int_equal(past.served, 0);
    assert_string_equal(w->peer[1 - founder].node->work.joined, w->peer[founder].node->record.cluster_id);
    free(past.members[1 - founder]);
    world_free(w);
}

/* Who asked first may have been broken off: who asks again is answered. */
static void test_who_asks_again_to_leave_hears_its_end(void **state)
{
    (void)state;
    struct world *w = formed(3);
    size_t leaver = node_is_founder(w->peer[0].node) ? 1 : 0;
    struct world_peer *p = &w->peer[leaver];
    world_feed(w, leaver, &(struct node_event){.kind = EV_LEAVE, .request = 1});
    assert_int_equal(p->replies, 0);
    world_feed(w, leaver, &(struct node_event){.kind = EV_LEAVE, .request = 2});
    assert_int_equal(p->replies, 1);
    assert_int_equal(p->reply_code, KPEER_ECANCELED);
    world_run(w, 10000);
    assert_true(p->stopped);
    assert_int_equal(p->replies, 2);
    assert_int_equal(p->reply_code, 0);
    world_free(w);
}

static void test_nobody_but_the_master_grants(void **state)
{
    (void)state;
    struct world *w = formed(3);
    size_t other = node_is_founder(w->peer[1].node) ? 2 : 1;
    size_t to = node_is_founder(w->peer[0].node) ? 3 - other : 0;
    struct node *liar = w->peer[other].node, *n = w->peer[to].node;
    size_t before = n->gossip.count;
    uint64_t drops = n->dropped[DROP_STATE];
    struct member m = {.id = {{7}}};
    m.job.grant.subject = m.id;
    w->hold = true;
    net_publish_grant(liar, &m);
    const struct gossip_item *item = gossip_find(&liar->gossip, &liar->me->id, STATEMENT_GRANT, &m.id);
    assert_non_null(item);
    net_take(n, item->wire, item->wire_bytes, false);
    assert_int_equal(n->gossip.count, before);
    assert_int_equal(n->dropped[DROP_STATE], drops + 1);
    world_free(w);
}

/* ---- a member that lies ---- */

struct catch
{
    struct world_mail mail[MSG_COUNT]; /* one real message of each type, opened */
    size_t seen;
};

static void catch_message(struct world *w, const struct world_mail *m)
{
    struct catch *c = w->ctx;
    struct pack_reader r;
    uint8_t *plain = NULL;
    size_t n = 0;
    if (!m->bytes)
        return;
    world_open(w, m->bytes, m->n, &plain, &n);
    assert_int_equal(pack_open(&r, plain, n, 5, NULL), 0);
    pack_array(&r, 5, 16);
    uint64_t type = pack_uint(&r, MSG_COUNT - 1);
    struct world_mail *kept = &c->mail[type];
    /* The larger of those that are small enough to be swept. */
    if (n < 4000 && n > kept->n) {
        c->seen += kept->bytes == NULL;
        free(kept->bytes);
        *kept = *m;
        kept->from = m->from ? m->from : 1; /* it will be said again, to the first */
        kept->bytes = plain;
        kept->n = n;
        return;
    }
    free(plain);
}

/* A group of three lives through enough for every type of message to be sent to the first. */
static struct world *catch_all(struct catch *c)
{
    struct world *w = world_new(3, 3);
    w->ctx = c;
    w->on_message = catch_message;
    for (size_t i = 0; i < 3; i++)
        world_start(w, i);
    assert_true(world_run_ready(w, READY_MS));
    for (size_t i = 0; i < 3; i++) {
        world_feed(w, i, &(struct node_event){.kind = EV_KUBECONFIG, .request = 5 + i});
        world_run(w, 100);
        assert_int_equal(w->peer[i].reply_code, 0);
        assert_int_equal(w->peer[i].replies, 1);
        world_feed(w, i, &(struct node_event){.kind = EV_VERIFY, .request = 25 + i});
        world_run(w, 100);
        assert_int_equal(w->peer[i].replies, 2);
        world_feed(w, i, &(struct node_event){.kind = EV_LINK_DOWN, .peer = w->peer[(i + 1) % 3].me->id});
        world_run(w, 100);
        world_feed(w, i, &(struct node_event){.kind = EV_LINK_DOWN, .peer = w->peer[(i + 2) % 3].me->id});
        world_run(w, 100);
    }
    world_feed(w, 0, &(struct node_event){.kind = EV_SURVEY, .request = 15});
    world_run(w, 1000);
    world_feed(w, 1, &(struct node_event){.kind = EV_SURVEY, .request = 16});
    world_run(w, 1000);
    world_stop(w, 0); /* the one that misses something while it is away asks for it */
    world_run(w, 10000);
    world_start(w, 0);
    world_run(w, 5000);
    w->on_message = NULL;
    return w;
}

/* The same fields under a header that will be let in. */
static size_t with_header(const struct world *w, const struct world_mail *m, uint8_t *out, size_t room)
{
    struct pack_reader r;
    struct pack_writer p;
    size_t n = 0, bytes = 0;
    assert_int_equal(pack_open(&r, m->bytes, m->n, 5, NULL), 0);
    uint32_t count = pack_array(&r, 5, 16);
    uint64_t type = pack_uint(&r, MSG_COUNT - 1);
    struct header h = header_of(w, m->from, 0, type);
    pack_writer_into(&p, out, room);
    pack_put_array(&p, count);
    pack_put_uint(&p, type);
    pack_put_bin(&p, h.sender->b, sizeof h.sender->b);
    pack_put_uint(&p, h.boot);
    pack_put_uint(&p, h.instance);
    pack_put_uint(&p, h.counter);
    for (uint32_t i = 1; i < 5; i++)
        pack_raw(&r, &n);
    for (uint32_t i = 5; i < count; i++) {
        const uint8_t *raw = pack_raw(&r, &bytes);
        pack_put_raw(&p, raw, bytes);
    }
    assert_int_equal(pack_writer_end(&p, NULL), 0);
    return p.used;
}

static void say(struct world *w, size_t from, const uint8_t *plain, size_t n)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    world_seal(w, plain, n, &bytes, &size);
    hand_over(w, 0, &w->peer[from].me->id, bytes, size);
    free(bytes);
}

/* Every bit flipped and every length cut under a right seal and header: all of it is a peer's to send. */
static void test_every_message_altered_by_its_sender(void **state)
{
    (void)state;
    struct catch c = {0};
    struct world *w = catch_all(&c);
    uint8_t plain[8192];
    w->hold = true;
    assert_int_equal(c.seen, MSG_COUNT - 1);
    for (size_t type = 1; type < MSG_COUNT; type++) {
        size_t n = with_header(w, &c.mail[type], plain, sizeof plain);
        size_t per_byte = n < 400 ? 8 : 1;
        for (size_t i = 0; i < n * per_byte; i++) {
            n = with_header(w, &c.mail[type], plain, sizeof plain);
            size_t at = i / per_byte;
            plain[at] ^= (uint8_t)(1 << (per_byte == 8 ? i % 8 : at % 8));
            say(w, c.mail[type].from, plain, n);
        }
        for (size_t cut = 0; cut < n; cut++) {
            with_header(w, &c.mail[type], plain, sizeof plain);
            say(w, c.mail[type].from, plain, cut);
        }
        free(c.mail[type].bytes);
    }
    w->hold = false;
    assert_true(world_run_ready(w, READY_MS)); /* and the group goes on */
    world_free(w);
}

static uint64_t draw(uint64_t *rng)
{
    *rng = *rng * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    return *rng >> 33;
}

/* Well-signed statements whose payload is anything at all. */
static void test_every_statement_altered_by_its_owner(void **state)
{
    (void)state;
    uint64_t rng = 1, version = UINT64_MAX / 2;
    static const enum statement_kind kinds[] = {STATEMENT_PROFILE, STATEMENT_BALLOT, STATEMENT_GRANT};
    struct world *w = in_mode(FORMING);
    const struct node *n = w->peer[0].node;
    for (int i = 0; i < 3000; i++) {
        uint8_t payload[STATEMENT_PAYLOAD_MAX], message[STATEMENT_WIRE_MAX + 256];
        uint8_t *wire = NULL;
        size_t size = 0, wire_bytes = 0;
        enum statement_kind kind = kinds[i % 3];
        const struct gossip_item *it = gossip_find(&w->peer[1].node->gossip, &w->peer[1].me->id,
                                                   STATEMENT_PROFILE, &(struct peer_id){0});
        struct statement s;
        assert_non_null(it);
        assert_int_equal(statement_decode(it->wire, it->wire_bytes, n->group_id, true, &s, NULL), 0);
        struct ballot b = {.bound = true, .term = draw(&rng), .floor = (uint32_t)draw(&rng)};
        b.set = (struct electorate){.number = (uint32_t)draw(&rng), .count = (uint16_t)(draw(&rng) % 3)};
        b.set.member[0] = n->member[0]->id;
        b.set.member[1] = n->member[1]->id;
        struct grant g = {.subject = n->me->id, .ticket_nonce = draw(&rng)};
        if (kind == STATEMENT_PROFILE) {
            memcpy(payload, s.payload, s.payload_bytes);
            size = s.payload_bytes;
        } else {
            size = kind == STATEMENT_BALLOT ? ballot_encode(&b, payload) : grant_encode(&g, payload);
        }
        for (uint64_t flips = draw(&rng) % 4; size > 0 && flips > 0; flips--)
            payload[draw(&rng) % size] ^= (uint8_t)(1 << draw(&rng) % 8);
        assert_int_equal(statement_encode(w->peer[1].me, n->group_id, kind,
                                          kind == STATEMENT_GRANT ? &n->me->id : NULL, ++version, payload,
                                          size ? size : 1, &wire, &wire_bytes, NULL),
                         0);
        struct header h = header_of(w, 1, 0, MSG_PUSH);
        struct pack_writer p;
        pack_writer_into(&p, message, sizeof message);
        pack_put_array(&p, 7);
        pack_put_uint(&p, MSG_PUSH);
        pack_put_bin(&p, h.sender->b, sizeof h.sender->b);
        pack_put_uint(&p, h.boot);
        pack_put_uint(&p, h.instance);
        pack_put_uint(&p, h.counter);
        pack_put_array(&p, 1);
        pack_put_raw(&p, wire, wire_bytes);
        pack_put_nil(&p);
        assert_int_equal(pack_writer_end(&p, NULL), 0);
        say(w, 1, message, p.used);
        free(wire);
        w->now_ms += draw(&rng) % 500;
        world_feed(w, 0, &(struct node_event){.kind = EV_TICK});
        for (size_t k = 0; k < node_member_count(n); k++) {
            struct member_view v;
            node_member_view(n, k, w->now_ms, &v);
        }
    }
    assert_false(n->committed);
    world_free(w);
}

/* ---- what is stored before it is told ---- */

struct witness {
    uint8_t *blob[WORLD_PEERS];
    size_t bytes[WORLD_PEERS];
    size_t ballots;
    size_t elections;
};

static void watch_push(struct world *w, size_t who, struct pack_reader *r)
{
    struct witness *wit = w->ctx;
    uint8_t group_id[GROUP_ID_BYTES];
    secret_group_id(w->key, group_id);
    uint32_t count = pack_array(r, 0, NET_ITEMS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        size_t n = 0;
        struct statement s;
        const uint8_t *wire = pack_raw(r, &n);
        assert_int_equal(statement_decode(wire, n, group_id, true, &s, NULL), 0);
        if (s.kind != STATEMENT_BALLOT || !peer_id_equal(&s.owner, &w->peer[who].me->id))
            continue;
        /* The very bytes of the ballot are part of what was stored last. */
        assert_non_null(wit->blob[who]);
        assert_non_null(memmem(wit->blob[who], wit->bytes[who], s.payload, s.payload_bytes));
        wit->ballots++;
    }
}

static void watch(struct world *w, size_t who, const struct action *a)
{
    struct witness *wit = w->ctx;
    if (a->kind == ACT_PERSIST && a->store == STORE_PROMISES) {
        free(wit->blob[who]);
        wit->blob[who] = malloc(a->n);
        assert_non_null(wit->blob[who]);
        memcpy(wit->blob[who], a->bytes, a->n);
        wit->bytes[who] = a->n;
    }
    wit->elections += a->kind == ACT_EVENT && a->event == EVENT_ELECTION_STARTED;
    if (a->kind != ACT_SEND)
        return;
    struct pack_reader r;
    uint8_t *plain = NULL;
    size_t n = 0;
    world_open(w, a->bytes, a->n, &plain, &n);
    assert_int_equal(pack_open(&r, plain, n, 5, NULL), 0);
    pack_array(&r, 5, 16);
    uint64_t type = pack_uint(&r, MSG_COUNT - 1);
    for (int i = 1; i < 5; i++)
        pack_raw(&r, &n);
    if (type == MSG_PUSH)
        watch_push(w, who, &r);
    free(plain);
}

static void test_promises_are_stored_before_they_are_told(void **state)
{
    (void)state;
    struct witness wit = {0};
    struct world *w = world_new(3, 3);
    w->ctx = &wit;
    w->on_action = watch;
    for (size_t i = 0; i < 3; i++)
        world_start(w, i);
    assert_true(world_run_ready(w, READY_MS));
    assert_true(wit.ballots > 10);
    world_free(w);
    for (size_t i = 0; i < 3; i++)
        free(wit.blob[i]);
}

static void test_no_second_election_after_all_restart(void **state)
{
    (void)state;
    struct witness wit = {0};
    struct world *w = formed(3);
    w->ctx = &wit;
    w->on_action = watch;
    for (size_t i = 0; i < 3; i++)
        world_stop(w, i);
    for (size_t i = 0; i < 3; i++)
        world_start(w, i);
    assert_true(world_run_ready(w, READY_MS));
    world_run(w, 60000);
    assert_int_equal(wit.elections, 0);
    world_free(w);
    for (size_t i = 0; i < 3; i++)
        free(wit.blob[i]);
}

static void hash_action(struct world *w, size_t who, const struct action *a)
{
    crypto_generichash_state *st = w->ctx;
    add(st, &who, sizeof who);
    add(st, &a->kind, sizeof a->kind);
    add(st, a->bytes, a->n);
    add(st, a->text, strlen(a->text));
}

static void count_conflicts(struct world *w, size_t who, const struct action *a)
{
    size_t *told = w->ctx;
    if (a->kind == ACT_EVENT && a->event == EVENT_CONFLICT)
        told[who]++;
}

/* Whoever may be bound to others already is not counted on before it has said that it is not. */
static void test_whose_ballot_is_unheard_is_not_counted_on(void **state)
{
    struct world *w = world_new(2, 99);
    (void)state;
    world_start(w, 0);
    world_start(w, 1);
    world_run(w, 1000);
    struct node *n = w->peer[0].node;
    struct member *m = node_member(n, &w->peer[1].me->id);
    size_t at = n->member[0] == m ? 0 : 1;
    assert_true(m->ballot && !m->ballot->bound);
    assert_true(node_formation_input(n).peer[at].in_view);
    free(m->ballot);
    m->ballot = NULL;
    assert_false(node_formation_input(n).peer[at].in_view);
    assert_true(node_formation_input(n).peer[1 - at].in_view); /* our own is known */
    assert_int_equal(node_formation_input(n).unknown_until_ms, m->discovered_ms + 15000); /* but waited for */
    world_free(w);
}

/* A host that is started again has as long to hear ballots as one that never heard of the others. */
static void test_members_from_the_disk_have_their_time_to_be_heard(void **state)
{
    struct world *w = formed(2);
    (void)state;
    world_run(w, 30000);
    world_stop(w, 0);
    world_start(w, 0);
    world_run(w, 0);
    struct node *n = w->peer[0].node;
    struct member *m = node_member(n, &w->peer[1].me->id);
    assert_true(m && m->has_profile && m->discovered_ms == n->start_ms);
    world_free(w);
}

/* Whoever hears of a cluster before it has its record does not found another one meanwhile. */
static void test_a_cluster_that_is_heard_of_is_waited_for(void **state)
{
    struct world *w = world_new(2, 99);
    (void)state;
    world_start(w, 0);
    world_start(w, 1);
    world_run(w, 5000);
    struct node *n = w->peer[0].node;
    struct member *m = node_member(n, &w->peer[1].me->id);
    assert_true(m->has_profile && !n->committed);
    assert_int_equal(node_formation_input(n).unknown_until_ms, 0);
    memset(m->profile.cluster_id, 'a', sizeof m->profile.cluster_id - 1);
    assert_true(node_formation_input(n).unknown_until_ms > m->discovered_ms + 10000);
    m->profile.rehearse = true; /* there is none, it only tries what it would do */
    assert_int_equal(node_formation_input(n).unknown_until_ms, 0);
    world_free(w);
}

/* Two pairs that formed apart meet: each keeps its cluster, and all of them name both, now and after a
 * restart. */
static void test_two_clusters_that_meet_are_told(void **state)
{
    struct world *w = world_new(4, 0);
    struct node_status s;
    size_t told[WORLD_PEERS] = {0};
    char id[2][STEP_ID_BYTES];
    (void)state;
    for (size_t pair = 0; pair < 2; pair++) {
        world_start(w, 2 * pair);
        world_start(w, 2 * pair + 1);
        assert_true(world_run_ready(w, 60000));
        memcpy(id[pair], node_record(w->peer[2 * pair].node)->cluster_id, sizeof id[pair]);
        if (pair == 0) {
            world_stop(w, 0);
            world_stop(w, 1);
        }
    }
    assert_string_not_equal(id[0], id[1]);
    w->ctx = told;
    w->on_action = count_conflicts;
    world_start(w, 0);
    world_start(w, 1);
    world_run(w, 30000);
    for (size_t i = 0; i < 4; i++) {
        node_status_view(w->peer[i].node, w->now_ms, &s);
        assert_string_equal(node_record(w->peer[i].node)->cluster_id, id[i / 2]);
        assert_int_equal(told[i], 1);
        assert_false(s.healthy);
        for (size_t k = 0; k < 2; k++) {
            char shown[9] = "";
            memcpy(shown, id[k], 8);
            assert_non_null(strstr(s.error, shown));
        }
        assert_non_null(strstr(s.hint, "kpeer leave"));
    }
    world_stop(w, 2);
    world_stop(w, 3);
    world_run(w, 60000);
    node_status_view(w->peer[0].node, w->now_ms, &s);
    assert_string_equal(s.error, "");
    world_free(w);
}

static void test_same_seed_same_bytes(void **state)
{
    (void)state;
    uint8_t h[2][32];
    for (int i = 0; i < 2; i++) {
        crypto_generichash_state st;
        crypto_generichash_init(&st, NULL, 0, sizeof h[i]);
        struct world *w = world_new(3, 3);
        w->ctx = &st;
        w->on_action = hash_action;
        for (size_t k = 0; k < 3; k++)
            world_start(w, k);
        assert_true(world_run_ready(w, READY_MS));
        world_free(w);
        crypto_generichash_final(&st, h[i], sizeof h[i]);
    }
    assert_memory_equal(h[0], h[1], sizeof h[0]);
}

/* ---- what was stored and is not whole ---- */

static int try_start(struct world *w, size_t who, enum store_key key, const uint8_t *bytes, size_t n)
{
    struct world_peer *p = &w->peer[who];
    struct stored stored[STORE_KEY_COUNT];
    struct node *node = NULL;
    struct err err = {0};
    uint8_t seed[32] = {0};
    for (int i = 0; i < STORE_KEY_COUNT; i++)
        stored[i] = (struct stored){p->disk[i], p->disk_bytes[i]};
    stored[key] = (struct stored){bytes, n};
    int rc = node_new(&node, &p->cfg, p->me, w->key, stored, 1, seed, &err);
    if (rc == 0)
        node_free(node);
    else
        assert_true(err.text[0] != '\0');
    return rc;
}

static void test_torn_and_newer_stores_are_errors(void **state)
{
    (void)state;
    struct world *w = formed(3);
    for (size_t i = 0; i < 3; i++) /* one of them is the master */
        world_feed(w, i, &(struct node_event){.kind = EV_ROTATE, .request = 1});
    world_run(w, 10000); /* until the members and the keys are stored too */
    world_stop(w, 1);
    for (int key = 0; key < STORE_KEY_COUNT; key++) {
        size_t n = w->peer[1].disk_bytes[key];
        uint8_t *copy = malloc(n + 1);
        assert_non_null(copy);
        assert_true(n > 0);
        memcpy(copy, w->peer[1].disk[key], n);
        copy[n] = 0;
        assert_int_equal(try_start(w, 1, (enum store_key)key, copy, n), 0);
        assert_int_not_equal(try_start(w, 1, (enum store_key)key, copy, n + 1), 0);
        for (size_t cut = 0; cut < n; cut += cut < 300 ? 1 : 17)
            assert_int_not_equal(try_start(w, 1, (enum store_key)key, copy, cut), 0);
        copy[1]++; /* the version, after the array's head */
        int rc = try_start(w, 1, (enum store_key)key, copy, n);
        assert_int_equal(rc, KPEER_EVERSION);
        copy[1]--;
        for (size_t i = 0; i<n; i += n> 2000 ? 13 : 1) { /* a rotten disk: an error or not, never a crash */
            copy[i] ^= (uint8_t)(1 << i % 8);
            rc = try_start(w, 1, (enum store_key)key, copy, n);
            if (key == STORE_CLUSTER)
                assert_int_not_equal(rc, 0);
            copy[i] ^= (uint8_t)(1 << i % 8);
        }
        free(copy);
    }
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_message_in_every_mode),
        cmocka_unit_test(test_replayed_and_stale),
        cmocka_unit_test(test_foreign_unknown_and_forged),
        cmocka_unit_test(test_altered_and_cut_changes_nothing),
        cmocka_unit_test(test_beacons_replayed_stale_and_forged),
        cmocka_unit_test(test_own_earlier_beacons_renew_nothing),
        cmocka_unit_test(test_a_renewed_host_stops_its_steps),
        cmocka_unit_test(test_a_founder_that_moves_founds_anew),
        cmocka_unit_test(test_a_host_outbid_by_a_copy_is_heard_again),
        cmocka_unit_test(test_all_know_the_same_after_the_master_restarts),
        cmocka_unit_test(test_a_request_from_before_the_masters_restart_is_not_served),
        cmocka_unit_test(test_who_asks_again_to_leave_hears_its_end),
        cmocka_unit_test(test_nobody_but_the_master_grants),
        cmocka_unit_test(test_every_message_altered_by_its_sender),
        cmocka_unit_test(test_every_statement_altered_by_its_owner),
        cmocka_unit_test(test_promises_are_stored_before_they_are_told),
        cmocka_unit_test(test_no_second_election_after_all_restart),
        cmocka_unit_test(test_whose_ballot_is_unheard_is_not_counted_on),
        cmocka_unit_test(test_members_from_the_disk_have_their_time_to_be_heard),
        cmocka_unit_test(test_a_cluster_that_is_heard_of_is_waited_for),
        cmocka_unit_test(test_two_clusters_that_meet_are_told),
        cmocka_unit_test(test_same_seed_same_bytes),
        cmocka_unit_test(test_torn_and_newer_stores_are_errors),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
