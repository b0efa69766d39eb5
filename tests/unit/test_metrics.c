/* The page of metrics, read by a strict reader of the text format 0.0.4 that knows nothing of how it is made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "discovery/discovery.h"
#include "peer/agent/metrics.h"
#include "protocol/mem.h"

#define LINES_MAX 512

/* ---- the reader ---- */

struct sample {
    char key[400]; /* NAME{LABELS} */
    double value;
};

struct reading {
    char family[128], type[16];
    bool helped;
    size_t families, count;
    char family_of[64][128];
    struct sample sample[LINES_MAX];
};

static size_t name_bytes(const char *at, bool colons)
{
    size_t n = 0;

    while (isalpha((unsigned char)at[n]) || at[n] == '_' || (colons && at[n] == ':') ||
           (n && isdigit((unsigned char)at[n])))
        n++;
    return n;
}

/* {name="value",…} with the three escapes that there are; the bytes it takes, 0: it is none. */
static size_t labels_bytes(const char *from)
{
    const char *at = from + 1;

    for (;;) {
        size_t n = name_bytes(at, false);

        if (n == 0 || at[n] != '=' || at[n + 1] != '"')
            return 0;
        for (at += n + 2; *at != '"'; at++) {
            if (*at == '\0')
                return 0;
            if (*at == '\\' && !strchr("\\\"n", *++at))
                return 0;
        }
        if (*++at == '}')
            return (size_t)(at + 1 - from);
        if (*at++ != ',')
            return 0;
    }
}

static bool take_comment(struct reading *r, const char *line)
{
    bool help = strncmp(line, "# HELP ", 7) == 0;
    size_t n = name_bytes(line + 7, true);

    if ((!help && strncmp(line, "# TYPE ", 7) != 0) || n == 0 || n >= sizeof r->family ||
        line[7 + n] != ' ' || !line[8 + n])
        return false;
    if (!help) {
        if (!r->helped || strlen(r->family) != n || strncmp(r->family, line + 7, n) != 0 || r->type[0])
            return false;
        snprintf(r->type, sizeof r->type, "%s", line + 8 + n);
        return strcmp(r->type, "counter") == 0 || strcmp(r->type, "gauge") == 0 ||
               strcmp(r->type, "summary") == 0;
    }
    snprintf(r->family, sizeof r->family, "%.*s", (int)n, line + 7);
    for (size_t i = 0; i < r->families; i++)
        if (strcmp(r->family_of[i], r->family) == 0)
            return false; /* a family is there once */
    memcpy(r->family_of[r->families++], r->family, sizeof r->family);
    r->helped = true;
    r->type[0] = '\0';
    return true;
}

/* A sample's name is its family's; a summary's has a suffix. */
static bool fits(const struct reading *r, const char *name, size_t n)
{
    size_t family = strlen(r->family);
    bool summary = strcmp(r->type, "summary") == 0;

    if (!r->type[0] || n < family || strncmp(name, r->family, family) != 0)
        return false;
    if (!summary)
        return n == family;
    return (n == family + 4 && strncmp(name + family, "_sum", 4) == 0) ||
           (n == family + 6 && strncmp(name + family, "_count", 6) == 0);
}

static bool take_sample(struct reading *r, const char *line)
{
    size_t name = name_bytes(line, true), key = name;
    struct sample *s = &r->sample[r->count];
    char *end;

    if (name == 0 || !fits(r, line, name) || r->count == LINES_MAX)
        return false;
    if (line[key] == '{') {
        size_t n = labels_bytes(line + key);
        if (n == 0)
            return false;
        key += n;
    }
    if (line[key] != ' ' || key >= sizeof s->key || !isdigit((unsigned char)line[key + 1]))
        return false;
    snprintf(s->key, sizeof s->key, "%.*s", (int)key, line);
    s->value = strtod(line + key + 1, &end);
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->sample[i].key, s->key) == 0)
            return false;
    r->count++;
    return *end == '\0' && isfinite(s->value);
}

/* NULL, or the first line that is none of the format. */
static const char *read_page(struct reading *r, char *page)
{
    size_t n = strlen(page);

    memset(r, 0, sizeof *r);
    if (n == 0 || page[n - 1] != '\n')
        return "the end";
    page[n - 1] = '\0';
    for (char *rest = page, *line; (line = strsep(&rest, "\n")) != NULL;)
        if (line[0] == '#' ? !take_comment(r, line) : !take_sample(r, line))
            return line;
    return NULL;
}

static double value_of(const struct reading *r, const char *key)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->sample[i].key, key) == 0)
            return r->sample[i].value;
    fail_msg("%s is not there", key);
    return -1;
}

/* ---- the page ---- */

struct world {
    struct node *node;
    struct identity *identity;
    struct secret *key;
    struct metrics counted;
    struct reading read;
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
    w->key = secret_new(key);
    assert_int_equal(identity_new(&w->identity, seed, NULL), 0);
    assert_int_equal(node_new(&w->node, &cfg, w->identity, w->key, stored, 7, seed, NULL), 0);
    assert_int_equal(node_step(w->node, &start, 1000, &out), 0);
    metrics_init(&w->counted, 1700000000123);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    metrics_fini(&w->counted);
    node_free(w->node);
    identity_free(w->identity);
    secret_free(w->key);
    free(w);
    return 0;
}

static const struct reading *read_now(struct world *w, const struct transport_stats *links)
{
    static const uint64_t heard[DROP_COUNT] = {[DROP_GROUP] = 5};
    const struct metrics_source src = {.counted = &w->counted,
                                       .node = w->node,
                                       .links = links,
                                       .link_count = 3,
                                       .links_up = 2,
                                       .heard = heard,
                                       .now_ms = 2000};
    size_t n = 0;
    cleanup_free char *page = metrics_page(&src, &n);

    assert_non_null(page);
    assert_int_equal(strlen(page), n);
    const char *bad = read_page(&w->read, page);
    if (bad)
        fail_msg("no line of the format: %s", bad);
    return &w->read;
}

/* Every name is there, no other, and in the form that Prometheus wants: a counter ends in _total. */
static void test_all_of_it_parses(void **state)
{
    struct world *w = *state;
    const struct transport_stats links = {.sent = 1};
    const struct reading *r = read_now(w, &links);

    for (size_t i = 0; i < r->families; i++) {
        assert_non_null(metrics_name(i));
        assert_string_equal(metrics_name(i), r->family_of[i]);
        assert_true(strncmp(r->family_of[i], "kpeer_", 6) == 0 ||
                    strncmp(r->family_of[i], "process_", 8) == 0);
    }
    assert_null(metrics_name(r->families));
    assert_true(r->count > 100);
    assert_true(value_of(r, "process_resident_memory_bytes") > 100000);
    assert_true(value_of(r, "process_cpu_seconds_total") > 0);
    assert_true(value_of(r, "process_start_time_seconds") == 1700000000.123);
    assert_true(value_of(r, "kpeer_build_info{version=\"" KPEER_VERSION "\"}") == 1);
}

static void test_counts_and_states(void **state)
{
    struct world *w = *state;
    const struct transport_stats links = {.sent = 11,
                                          .received = 12,
                                          .sent_bytes = 1300,
                                          .received_bytes = 1400,
                                          .dropped = 15,
                                          .refused = 16,
                                          .handshakes = 17,
                                          .handshakes_failed = 18,
                                          .shut = 19,
                                          .members_only = true};
    struct action step = {.event = EVENT_STEP_FAILED, .name = "kubeadm-join", .took_ms = 2500};

    strcpy(step.name, step_word(STEP_JOIN));
    metrics_event(&w->counted, &step, true, 1700000001500);
    step.took_ms = 1250;
    metrics_event(&w->counted, &step, true, 1700000002500);
    step.event = EVENT_STEP_FINISHED;
    metrics_event(&w->counted, &step, false, 1700000009000);
    metrics_write(&w->counted, STORE_CLUSTER, 1500000);
    metrics_write(&w->counted, STORE_CLUSTER, 250);

    const struct reading *r = read_now(w, &links);
    char key[128];
    assert_true(value_of(r, "kpeer_phase{phase=\"looking\"}") == 1);
    assert_true(value_of(r, "kpeer_phase{phase=\"ready\"}") == 0);
    assert_true(value_of(r, "kpeer_healthy") == 0);
    assert_true(value_of(r, "kpeer_role{role=\"undecided\"}") == 1);
    assert_true(value_of(r, "kpeer_members{state=\"alive\"}") == 1);
    assert_true(value_of(r, "kpeer_events_total{event=\"step-failed\"}") == 2);
    assert_true(value_of(r, "kpeer_events_total{event=\"step-finished\"}") == 1);
    assert_true(value_of(r, "kpeer_last_error_timestamp_seconds") == 1700000002.5);
    snprintf(key, sizeof key, "kpeer_step_duration_seconds_sum{step=\"%s\",outcome=\"failed\"}",
             step_word(STEP_JOIN));
    assert_true(value_of(r, key) == 3.75);
    snprintf(key, sizeof key, "kpeer_step_duration_seconds_count{step=\"%s\",outcome=\"finished\"}",
             step_word(STEP_JOIN));
    assert_true(value_of(r, key) == 1);
    assert_true(value_of(r, "kpeer_state_write_duration_seconds_sum{file=\"cluster\"}") == 1.50025);
    assert_true(value_of(r, "kpeer_state_write_duration_seconds_count{file=\"cluster\"}") == 2);
    assert_true(value_of(r, "kpeer_links{state=\"up\"}") == 2);
    assert_true(value_of(r, "kpeer_links{state=\"down\"}") == 1);
    assert_true(value_of(r, "kpeer_messages_sent_total") == 11);
    assert_true(value_of(r, "kpeer_messages_received_total") == 12);
    assert_true(value_of(r, "kpeer_messages_sent_bytes_total") == 1300);
    assert_true(value_of(r, "kpeer_messages_received_bytes_total") == 1400);
    assert_true(value_of(r, "kpeer_messages_unsent_total") == 15);
    assert_true(value_of(r, "kpeer_links_refused_total") == 16);
    assert_true(value_of(r, "kpeer_link_handshakes_total{outcome=\"succeeded\"}") == 17);
    assert_true(value_of(r, "kpeer_link_handshakes_total{outcome=\"failed\"}") == 18);
    assert_true(value_of(r, "kpeer_shut_outs_total") == 19);
    assert_true(value_of(r, "kpeer_strangers_shut_out") == 1);
    assert_true(value_of(r, "kpeer_datagrams_dropped_total{reason=\"other-group\"}") == 5);
}

/* Without /proc the one metric that needs it says nothing; its head stays. */
static void test_memory_cannot_be_told(void **state)
{
    struct world *w = *state;
    const struct transport_stats links = {.sent = 1};

    metrics_fini(&w->counted);
    const struct reading *r = read_now(w, &links);
    for (size_t i = 0; i < r->count; i++)
        assert_string_not_equal(r->sample[i].key, "process_resident_memory_bytes");
}

static void test_label_is_escaped(void **state)
{
    char out[METRICS_LABEL_BYTES], line[METRICS_LABEL_BYTES + 8], value[1000];

    (void)state;
    assert_string_equal(metrics_label(out, "a", "b\"c\\d"), "a=\"b\\\"c\\\\d\"");
    assert_null(strchr(metrics_label(out, "a", "two\nlines\r\x7f"), '\n'));
    for (int c = 1; c < 256; c++) {
        memset(value, c, sizeof value - 1);
        value[sizeof value - 1] = '\0';
        snprintf(line, sizeof line, "{%s}", metrics_label(out, "name", value));
        assert_int_equal(labels_bytes(line), strlen(line));
    }
}

/* The reader itself is strict. */
static void test_reader_refuses(void **state)
{
    static const char *const faults[] = {
        "a 1\n",
        "# HELP a b\na 1\n",
        "# HELP a b\n# TYPE a counter\na 1",
        "# HELP a b\n# TYPE a counter\nb 1\n",
        "# HELP a b\n# TYPE a number\na 1\n",
        "# HELP a b\n# TYPE b counter\nb 1\n",
        "# HELP a b\n# TYPE a counter\na 1\na 1\n",
        "# HELP a b\n# TYPE a counter\na{x=\"\\q\"} 1\n",
        "# HELP a b\n# TYPE a counter\na{x=\"1} 1\n",
        "# HELP a b\n# TYPE a counter\na{} 1\n",
        "# HELP a b\n# TYPE a counter\na{x=\"1\",} 1\n",
        "# HELP a b\n# TYPE a counter\na  1\n",
        "# HELP a b\n# TYPE a counter\na one\n",
        "# HELP a b\n# TYPE a counter\na 1 \n",
        "# HELP a b\n# TYPE a summary\na 1\n",
        "# HELP a b\n# TYPE a counter\na 1\n# HELP a b\n",
        "\n",
    };
    struct reading *r = malloc(sizeof *r);

    (void)state;
    assert_non_null(r);
    for (size_t i = 0; i < COUNT_OF(faults); i++) {
        cleanup_free char *page = strdup(faults[i]);
        if (!read_page(r, page))
            fail_msg("taken: %s", faults[i]);
    }
    cleanup_free char *good = strdup("# HELP a b c\n# TYPE a counter\na{x=\"1\",y=\"\\\"\"} 1.5\n");
    assert_null(read_page(r, good));
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_of_it_parses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_counts_and_states, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_cannot_be_told, setup, teardown),
        cmocka_unit_test(test_label_is_escaped),
        cmocka_unit_test(test_reader_refuses),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
