#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "discovery/discovery.h"
#include "peer/command/progress.h"
#include "peer/report.h"
#include "peer/writer.h"
#include "protocol/mem.h"

struct world {
    struct node *node;
    struct identity *identity;
    struct secret *key;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    const uint8_t seed[32] = {1}, key[GROUP_KEY_BYTES] = {2};
    struct stored stored[STORE_KEY_COUNT] = {{NULL, 0}};
    struct node_event start = {.kind = EV_START};
    struct node_config cfg;
    struct actions out;

    node_config_default(&cfg);
    strcpy(cfg.name, "host1");
    strcpy(cfg.version, "0.1.0");
    strcpy(cfg.pod_cidr, "10.244.0.0/16");
    strcpy(cfg.service_cidr, "10.96.0.0/12");
    w->key = secret_new(key);
    assert_int_equal(identity_new(&w->identity, seed, NULL), 0);
    assert_int_equal(node_new(&w->node, &cfg, w->identity, w->key, stored, 7, seed, NULL), 0);
    assert_int_equal(node_step(w->node, &start, 1000, &out), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    node_free(w->node);
    identity_free(w->identity);
    secret_free(w->key);
    free(w);
    return 0;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    assert_non_null(text);
    return text;
}

static void test_members(void **state)
{
    struct world *w = *state;
    json_t *tree = report_members(w->node, 2000), *m;
    static const char *const texts[] = {"id", "name", "address", "role", "state", "phase", "version"};

    assert_non_null(tree);
    assert_int_equal(strlen(text_of(tree, "group")), 32);
    assert_true(json_is_null(json_object_get(tree, "cluster")));
    assert_int_equal(json_array_size(json_object_get(tree, "members")), 1);
    m = json_array_get(json_object_get(tree, "members"), 0);
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        text_of(m, texts[i]);
    assert_string_equal(text_of(m, "name"), "host1");
    assert_string_equal(text_of(m, "role"), "undecided");
    assert_string_equal(text_of(m, "state"), "alive");
    assert_string_equal(text_of(m, "phase"), "looking");
    assert_true(json_is_true(json_object_get(m, "self")));
    assert_int_equal(json_integer_value(json_object_get(m, "last_heard_ms")), 0);
    json_decref(tree);
}

static void test_status(void **state)
{
    struct world *w = *state;
    json_t *tree = report_status(w->node, 2000);

    assert_non_null(tree);
    assert_string_equal(text_of(tree, "name"), "host1");
    assert_string_equal(text_of(tree, "phase"), "looking");
    assert_true(json_is_false(json_object_get(tree, "healthy")));
    assert_true(json_is_object(json_object_get(tree, "election")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(tree, "members"), "alive")), 1);
    json_decref(tree);
}

static void test_heard(void **state)
{
    struct world *w = *state;
    json_t *tree = report_status(w->node, 2000);
    uint64_t dropped[DROP_COUNT] = {0};

    report_heard(tree, dropped);
    assert_int_equal(json_object_size(json_object_get(tree, "heard")), 0);
    dropped[DROP_GROUP] = 4;
    report_heard(tree, dropped);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(tree, "heard"), "other-group")), 4);
    assert_non_null(strstr(text_of(tree, "waiting"), "another key"));
    report_sign(tree, SIGN_CONFLICT, "192.168.56.12");
    assert_string_equal(text_of(json_object_get(tree, "signs"), "conflict"), "192.168.56.12");
    report_links(tree, 0, 2);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(tree, "heard"), "shut-out")), 2);
    assert_null(json_object_get(json_object_get(tree, "heard"), "refused-links"));
    json_decref(tree);
}

static void test_record(void **state)
{
    struct record r = {.term = 3};
    json_t *tree;

    (void)state;
    strcpy(r.cluster_id, "00112233445566778899aabbccddeeff");
    strcpy(r.endpoint, "192.168.56.11:6443");
    memset(r.founder.b, 0xab, sizeof r.founder.b);
    tree = report_record(&r);
    assert_string_equal(text_of(tree, "endpoint"), "192.168.56.11:6443");
    assert_string_equal(text_of(tree, "founder"), "abababababababababababababababab");
    assert_int_equal(json_integer_value(json_object_get(tree, "term")), 3);
    json_decref(tree);
    tree = report_record(NULL);
    assert_true(json_is_null(tree));
    json_decref(tree);
}

static void test_event(void **state)
{
    struct action act = {.kind = ACT_EVENT, .event = EVENT_MEMBER_DISCOVERED};
    json_t *tree;

    (void)state;
    memset(act.peer.b, 0x11, sizeof act.peer.b);
    strcpy(act.name, "host2");
    tree = report_event(&act, 1767323045000006, 77);
    assert_string_equal(text_of(tree, "t"), "2026-01-02T03:04:05.000006Z");
    assert_int_equal(json_integer_value(json_object_get(tree, "mono_us")), 77);
    assert_string_equal(text_of(tree, "event"), "member-discovered");
    assert_string_equal(text_of(tree, "member"), "11111111111111111111111111111111");
    assert_string_equal(text_of(tree, "name"), "host2");
    assert_null(json_object_get(tree, "took_ms"));
    json_decref(tree);
    act = (struct action){
        .kind = ACT_EVENT, .event = EVENT_STEP_FAILED, .took_ms = 1500, .code = KPEER_EPREFLIGHT};
    strcpy(act.name, "preflight");
    strcpy(act.text, "not UTF-8: \xff");
    tree = report_event(&act, 0, 0);
    assert_string_equal(text_of(tree, "step"), "preflight");
    assert_string_equal(text_of(tree, "code"), "preflight-red");
    assert_string_equal(text_of(tree, "text"), "not UTF-8: ?");
    json_decref(tree);
}

/* Every kind has a word, and a person's words too. */
static void test_event_words(void **state)
{
    (void)state;
    for (int kind = 0; kind < EVENT_KIND_COUNT; kind++) {
        struct action act = {.kind = ACT_EVENT, .event = (enum event_kind)kind};
        char text[200];
        json_t *tree;

        strcpy(act.name, "xy");
        tree = report_event(&act, 0, 0);

        progress_event_text(tree, text, sizeof text);
        assert_true(strlen(text) > 1);
        assert_null(strchr(text, '['));
        assert_null(strchr(text, '%'));
        json_decref(tree);
    }
}

static void test_event_text(void **state)
{
    json_t *tree = json_pack("{s:s, s:s, s:s, s:i}", "event", "step-failed", "step", "join", "text",
                             "no\033[31m way", "took_ms", 1234);
    char text[200];

    (void)state;
    progress_event_text(tree, text, sizeof text);
    assert_string_equal(text, "join failed: no?[31m way (1.2 s)");
    json_decref(tree);
}

struct replay {
    int count;
    json_int_t first;
};

static void count_event(void *ctx, json_t *event)
{
    struct replay *r = ctx;

    if (r->count++ == 0)
        r->first = json_integer_value(json_object_get(event, "mono_us"));
}

static void test_ring(void **state)
{
    struct event_ring *ring = NULL;
    struct replay all = {0, 0}, late = {0, 0};

    (void)state;
    assert_int_equal(event_ring_new(&ring, 8), 0);
    for (int i = 1; i <= 20; i++) {
        json_t *event = json_pack("{s:i}", "mono_us", i * 10);

        event_ring_push(ring, event);
        json_decref(event);
    }
    event_ring_replay(ring, 0, count_event, &all);
    assert_int_equal(all.count, 8);
    assert_int_equal(all.first, 130);
    event_ring_replay(ring, 181, count_event, &late);
    assert_int_equal(late.count, 2);
    event_ring_free(ring);
}

/* ---- the writer ---- */

static char *render(enum writer_format format, const json_t *value)
{
    char *text = NULL;
    size_t n;
    struct writer w = {.to = open_memstream(&text, &n), .format = format};

    assert_int_equal(writer_value(&w, value, NULL), 0);
    fclose(w.to);
    return text;
}

static void test_yaml(void **state)
{
    json_t *tree = json_pack("{s:s, s:s, s:i, s:b, s:n, s:[s], s:s, s:s}", "a", "plain", "b", "true", "c", 7,
                             "d", 1, "e", "f", "10", "g", "x: y\nz", "h", "1.23");
    char *text = render(WRITE_YAML, tree);

    (void)state;
    assert_non_null(strstr(text, "a: plain\n"));
    assert_non_null(strstr(text, "b: \"true\"\n"));
    assert_non_null(strstr(text, "c: 7\n"));
    assert_non_null(strstr(text, "d: true\n"));
    assert_non_null(strstr(text, "e: null\n"));
    assert_non_null(strstr(text, "- \"10\"\n"));
    assert_non_null(strstr(text, "h: \"1.23\"\n"));
    free(text);
    json_decref(tree);
}

static void test_json(void **state)
{
    json_t *tree = json_pack("{s:s}", "a", "\033[31m \"q\""), *back;
    char *text = render(WRITE_JSON, tree);

    (void)state;
    assert_null(strchr(text, '\033'));
    back = json_loads(text, 0, NULL);
    assert_true(json_equal(tree, back));
    json_decref(back);
    json_decref(tree);
    free(text);
}

static void test_table(void **state)
{
    static const struct writer_column columns[] = {{"NAME", false}, {"ID", true}, {"NOTE", false}};
    struct writer_cell cells[6] = {{"ä-host", 0}, {"1", 0}, {"x", 0}, {"日本", 0}, {"2", 0}, {"y", 0}};
    char *text = NULL;
    size_t n;
    struct writer w = {.to = open_memstream(&text, &n), .format = WRITE_TABLE};

    (void)state;
    assert_int_equal(writer_table(&w, columns, 3, cells, 2, NULL), 0);
    fclose(w.to);
    assert_string_equal(text, "NAME    NOTE\nä-host  x\n日本    y\n");
    free(text);
}

static void test_safe_text(void **state)
{
    char out[16];

    (void)state;
    writer_safe(out, sizeof out,
                "a\033]0;x\007\tb\xff\xc2\x9b"
                "c");
    assert_string_equal(out, "a?]0;x? b??c");
    writer_safe(out, 4, "abä");
    assert_string_equal(out, "ab");
    writer_safe(out, sizeof out, "x\xe2\x80\xaey");
    assert_string_equal(out, "x?y");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_members, setup, teardown),
        cmocka_unit_test_setup_teardown(test_status, setup, teardown),
        cmocka_unit_test_setup_teardown(test_heard, setup, teardown),
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_event),
        cmocka_unit_test(test_event_words),
        cmocka_unit_test(test_event_text),
        cmocka_unit_test(test_ring),
        cmocka_unit_test(test_yaml),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_safe_text),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
