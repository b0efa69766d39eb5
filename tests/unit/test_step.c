/* Typed steps: what passes the check, round trips of each frame, and frames that were tampered with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/step.h"

#define HASH "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const uint8_t record_bytes[] = "record";

/* A step of the kind with all fields well, also those that the kind does not carry. */
static struct step sample(enum step_kind kind)
{
    return (struct step){.id = 7,
                         .kind = kind,
                         .timeout_ms = 60000,
                         .role = STEP_ROLE_MASTER,
                         .node_name = "node-1.lab",
                         .address = "192.168.56.11",
                         .interface = "enp0s8",
                         .endpoint = "192.168.56.11:6443",
                         .pod_cidr = "10.10.0.0/16",
                         .service_cidr = "10.96.0.0/12",
                         .kubernetes_version = "v1.20.2",
                         .ca_hash = HASH,
                         .token = "abcdef.0123456789abcdef",
                         .ttl_s = 300,
                         .pod_address = "10.10.1.2",
                         .cluster_id = "0123456789abcdef0123456789abcdef",
                         .group_key = {1, [KEYTEXT_RAW_BYTES - 1] = 1},
                         .record = record_bytes,
                         .record_bytes = sizeof(record_bytes)};
}

static void test_each_kind_round_trips(void **state)
{
    (void)state;
    for (int kind = STEP_NONE + 1; kind < STEP_KIND_COUNT; kind++) {
        struct step step = sample((enum step_kind)kind), back;
        uint8_t *bytes = NULL, *again = NULL;
        enum step_frame type;
        size_t n, m;

        assert_int_equal(step_encode(&step, &bytes, &n, NULL), 0);
        assert_int_equal(step_frame_type(bytes, n, &type, NULL), 0);
        assert_int_equal(type, STEP_FRAME_STEP);
        assert_int_equal(step_decode(bytes, n, &back, NULL), 0);
        assert_int_equal(step_check(&back, NULL), 0);
        assert_int_equal(back.kind, kind);
        if (!(step_fields((enum step_kind)kind) & STEP_F_TOKEN))
            assert_string_equal(back.token, "");
        assert_int_equal(step_encode(&back, &again, &m, NULL), 0);
        assert_int_equal(n, m);
        assert_memory_equal(bytes, again, n);
        free(bytes);
        free(again);
    }
}

static void test_words(void **state)
{
    (void)state;
    for (int a = 0; a < STEP_KIND_COUNT; a++) {
        for (int b = 0; b < a; b++)
            assert_string_not_equal(step_word((enum step_kind)a), step_word((enum step_kind)b));
    }
    assert_string_equal(step_word((enum step_kind)99), "unknown");
    assert_string_equal(step_word((enum step_kind) - 1), "unknown");
    assert_int_equal(step_fields((enum step_kind)99), 0);
}

/* Offset of a text field, a value for it, and whether it is right; in a kind that carries the field. */
#define ROW(kind, field, value, good)                                                                        \
    {                                                                                                        \
        kind, offsetof(struct step, field), value, good                                                      \
    }

static void test_fields(void **state)
{
    static const struct {
        enum step_kind kind;
        size_t offset;
        const char *value;
        bool good;
    } rows[] = {
        ROW(STEP_DRAIN, node_name, "a", true),
        ROW(STEP_DRAIN, node_name, "", false),
        ROW(STEP_DRAIN, node_name, "Node", false),
        ROW(STEP_DRAIN, node_name, "-a", false),
        ROW(STEP_DRAIN, node_name, "a-", false),
        ROW(STEP_DRAIN, node_name, "a--b", true),
        ROW(STEP_DRAIN, node_name, "a..b", false),
        ROW(STEP_DRAIN, node_name, "a.-b", false),
        ROW(STEP_DRAIN, node_name, "a-.b", false),
        ROW(STEP_DRAIN, node_name, "a_b", false),
        ROW(STEP_DRAIN, node_name, "--all", false),
        ROW(STEP_DRAIN, node_name, "a b", false),
        ROW(STEP_PROVE, address, "fe80::1", true),
        ROW(STEP_PROVE, address, "0.0.0.0", false),
        ROW(STEP_PROVE, address, "127.0.0.1", false),
        ROW(STEP_PROVE, address, "::1", false),
        ROW(STEP_PROVE, address, "::", false),
        ROW(STEP_PROVE, address, "239.255.73.73", false),
        ROW(STEP_PROVE, address, "ff02::1", false),
        ROW(STEP_PROVE, address, "192.168.56.256", false),
        ROW(STEP_PROVE, address, "192.168.56.1/24", false),
        ROW(STEP_PROVE, address, "host", false),
        ROW(STEP_APPLY, interface, "eth0.100", true),
        ROW(STEP_APPLY, interface, "../etc", false),
        ROW(STEP_APPLY, interface, "eth 0", false),
        ROW(STEP_APPLY, interface, "-i", false),
        ROW(STEP_APPLY, pod_cidr, "fd00::/48", true),
        ROW(STEP_APPLY, pod_cidr, "10.10.0.1/16", false),
        ROW(STEP_APPLY, pod_cidr, "10.10.0.0/33", false),
        ROW(STEP_APPLY, pod_cidr, "10.10.0.0/016", false),
        ROW(STEP_APPLY, pod_cidr, "10.10.0.0/", false),
        ROW(STEP_APPLY, pod_cidr, "10.10.0.0", false),
        ROW(STEP_INIT, endpoint, "[fd00::1]:6443", true),
        ROW(STEP_INIT, endpoint, "fd00::1:6443", false),
        ROW(STEP_INIT, endpoint, "192.168.56.11", false),
        ROW(STEP_INIT, endpoint, "192.168.56.11:0", false),
        ROW(STEP_INIT, endpoint, "192.168.56.11:65536", false),
        ROW(STEP_INIT, endpoint, "192.168.56.11:06443", false),
        ROW(STEP_INIT, endpoint, ":6443", false),
        ROW(STEP_INIT, endpoint, "[fd00::1:6443", false),
        ROW(STEP_INIT, kubernetes_version, "v1.31.0-rc.1", true),
        ROW(STEP_INIT, kubernetes_version, "1.20.2", false),
        ROW(STEP_INIT, kubernetes_version, "v1.20", false),
        ROW(STEP_INIT, kubernetes_version, "v1.20.2 ", false),
        ROW(STEP_INIT, kubernetes_version, "v01.20.2", false),
        ROW(STEP_INIT, kubernetes_version, "v1.20.2-", false),
        ROW(STEP_INIT, kubernetes_version, "stable", false),
        ROW(STEP_INIT, ca_hash, "sha256:00", false),
        ROW(STEP_INIT, ca_hash, "SHA256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            false),
        ROW(STEP_INIT, cluster_id, "0123456789ABCDEF0123456789abcdef", false),
        ROW(STEP_INIT, cluster_id, "0123", false),
        ROW(STEP_JOIN, token, "ABCDEF.0123456789abcdef", false),
        ROW(STEP_JOIN, token, "abcdef", false),
        ROW(STEP_JOIN, token, "abcdef.0123456789abcde", false),
        ROW(STEP_JOIN, token, "abcdef00123456789abcdef", false),
        ROW(STEP_REACH, pod_address, "10.10.1.2; id", false),
        ROW(STEP_VERIFY, node_name, "node1,node2", false),
        ROW(STEP_VERIFY, pod_cidr, "10.244.0.0/16 -A", false),
        ROW(STEP_VERIFY, pod_cidr, "fd00:10::/56", true),
    };
    (void)state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct step step = sample(rows[i].kind);
        struct err err = {0};

        strcpy((char *)&step + rows[i].offset, rows[i].value);
        if ((step_check(&step, &err) == 0) != rows[i].good)
            fail_msg("row %zu: \"%s\": %s", i, rows[i].value, err.text);
    }
}

static void test_numbers_and_record(void **state)
{
    struct step step;
    uint8_t *bytes;
    size_t n;
    (void)state;

    step = sample(STEP_INSPECT);
    step.id = 0;
    assert_int_equal(step_check(&step, NULL), KPEER_EINVAL);
    step = sample(STEP_TOKEN_MINT);
    step.ttl_s = 0;
    assert_int_equal(step_check(&step, NULL), KPEER_EINVAL);
    step.ttl_s = 86401;
    assert_int_equal(step_check(&step, NULL), KPEER_EINVAL);
    step = sample(STEP_JOIN);
    step.record_bytes = STEP_RECORD_MAX + 1;
    assert_int_equal(step_check(&step, NULL), KPEER_EINVAL);
    assert_int_equal(step_encode(&step, &bytes, &n, NULL), KPEER_EINVAL);
    step = sample(STEP_PREFLIGHT);
    step.role = (enum step_role)2;
    assert_int_equal(step_check(&step, NULL), KPEER_EINVAL);
    step = sample(STEP_NONE);
    assert_int_equal(step_check(&step, NULL), KPEER_EINVAL);
    step = sample(STEP_DRAIN);
    memset(step.node_name, 'a', sizeof(step.node_name)); /* no NUL */
    assert_int_equal(step_check(&step, NULL), KPEER_EINVAL);
}

static void decode_any(const uint8_t *bytes, size_t n)
{
    struct step_result result;
    struct step_progress progress;
    struct step step;
    uint32_t id;

    if (step_decode(bytes, n, &step, NULL) == 0)
        step_check(&step, NULL);
    step_cancel_decode(bytes, n, &id, NULL);
    step_progress_decode(bytes, n, &progress, NULL);
    if (step_result_decode(bytes, n, &result, NULL) == 0)
        step_result_fini(&result);
}

/* Truncated at each byte, each bit flipped, a byte more: refused or decoded, nothing else. */
static void sweep(const uint8_t *bytes, size_t n)
{
    uint8_t *copy = malloc(n + 1);

    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1);
        enum step_frame type;

        memcpy(exact, bytes, cut);
        decode_any(exact, cut);
        assert_int_not_equal(step_frame_type(exact, cut, &type, NULL), 0);
        free(exact);
    }
    for (size_t bit = 0; bit < n * 8; bit++) {
        memcpy(copy, bytes, n);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        decode_any(copy, n);
    }
    memcpy(copy, bytes, n);
    copy[n] = 0;
    {
        enum step_frame type;

        assert_int_not_equal(step_frame_type(copy, n + 1, &type, NULL), 0);
    }
    free(copy);
}

static void test_tampered_frames(void **state)
{
    (void)state;
    for (int kind = STEP_NONE + 1; kind < STEP_KIND_COUNT; kind++) {
        struct step step = sample((enum step_kind)kind);
        uint8_t *bytes = NULL;
        size_t n;

        assert_int_equal(step_encode(&step, &bytes, &n, NULL), 0);
        sweep(bytes, n);
        free(bytes);
    }
}

static void test_frames_of_another_type(void **state)
{
    struct step step = sample(STEP_INIT), back;
    struct step_progress progress;
    struct step_result result;
    uint8_t *bytes = NULL;
    uint32_t id = 0;
    size_t n;
    (void)state;

    assert_int_equal(step_encode(&step, &bytes, &n, NULL), 0);
    assert_int_equal(step_cancel_decode(bytes, n, &id, NULL), KPEER_ELIMIT);
    assert_int_not_equal(step_progress_decode(bytes, n, &progress, NULL), 0);
    assert_int_not_equal(step_result_decode(bytes, n, &result, NULL), 0);
    free(bytes);
    assert_int_equal(step_cancel_encode(9, &bytes, &n, NULL), 0);
    assert_int_equal(step_cancel_decode(bytes, n, &id, NULL), 0);
    assert_int_equal(id, 9);
    assert_int_not_equal(step_decode(bytes, n, &back, NULL), 0);
    free(bytes);
    assert_int_equal(step_decode((const uint8_t *)"\xdd\x0f\xff\xff\xff", 5, &back, NULL), KPEER_EINVAL);
    assert_int_not_equal(step_cancel_encode(0, &bytes, &n, NULL), 0);
}

static void test_a_frame_with_more_fields(void **state)
{
    /* type 1, id 1, INSPECT, no limit of its own, and one field where it carries none */
    static const uint8_t more[] = {0x95, 1, 1, STEP_INSPECT, 0, 0x91, 1};
    static const uint8_t right[] = {0x95, 1, 1, STEP_INSPECT, 0, 0x90};
    static const uint8_t unknown[] = {0x95, 1, 1, STEP_KIND_COUNT, 0, 0x90};
    struct step step;
    (void)state;

    assert_int_equal(step_decode(right, sizeof(right), &step, NULL), 0);
    assert_int_not_equal(step_decode(more, sizeof(more), &step, NULL), 0);
    assert_int_not_equal(step_decode(unknown, sizeof(unknown), &step, NULL), 0);
}

static void test_progress(void **state)
{
    struct step_progress p = {.id = 3, .kind = STEP_INIT, .phase = "certs", .line = "made apiserver ✓"}, back;
    uint8_t *bytes = NULL;
    size_t n;
    (void)state;

    p.percent = -1;
    assert_int_equal(step_progress_encode(&p, &bytes, &n, NULL), 0);
    assert_int_equal(step_progress_decode(bytes, n, &back, NULL), 0);
    assert_int_equal(back.percent, -1);
    assert_string_equal(back.line, p.line);
    sweep(bytes, n);
    free(bytes);
    strcpy(p.line, "two\nlines");
    assert_int_equal(step_progress_encode(&p, &bytes, &n, NULL), KPEER_EINVAL);
}

static struct step_result sample_result(void)
{
    struct step_result r = {.id = 5,
                            .kind = STEP_PREFLIGHT,
                            .code = KPEER_EPREFLIGHT,
                            .text = "this host is not fit",
                            .hint = "swapoff -a",
                            .took_ms = 1234,
                            .have_facts = true,
                            .facts = {.hostname = "node1",
                                      .machine_id = {1},
                                      .product_uuid = {2},
                                      .cpus = 2,
                                      .memory_mb = 2048,
                                      .kubernetes_version = "v1.20.2",
                                      .runtime = "containerd 1.6.20",
                                      .os = "Debian GNU/Linux 12 (bookworm)"},
                            .finding_count = 2,
                            .token = "abcdef.0123456789abcdef",
                            .ca_hash = HASH,
                            .pod_address = "10.10.1.2"};

    r.findings[0] = (struct finding){FINDING_RED, "swap", "swap is on", "swapoff -a"};
    r.findings[1] = (struct finding){FINDING_GREEN, "cpu", "2 CPUs", ""};
    return r;
}

static void test_result(void **state)
{
    struct step_result r = sample_result(), back;
    uint8_t blob[] = "apiVersion: v1\n", *bytes = NULL;
    size_t n;
    (void)state;

    r.blob = blob;
    r.blob_bytes = sizeof(blob);
    assert_int_equal(step_result_encode(&r, &bytes, &n, NULL), 0);
    assert_int_equal(step_result_decode(bytes, n, &back, NULL), 0);
    assert_int_equal(back.code, KPEER_EPREFLIGHT);
    assert_string_equal(back.facts.os, r.facts.os);
    assert_int_equal(back.finding_count, 2);
    assert_string_equal(back.findings[0].next, "swapoff -a");
    assert_int_equal(back.blob_bytes, sizeof(blob));
    assert_memory_equal(back.blob, blob, sizeof(blob));
    step_result_fini(&back);
    assert_null(back.blob);
    assert_string_equal(back.token, "");
    sweep(bytes, n);
    free(bytes);
}

static void test_result_limits(void **state)
{
    struct step_result r = sample_result(), back;
    uint8_t *bytes = NULL;
    size_t n;
    (void)state;

    strcpy(r.token, "rubbish");
    assert_int_equal(step_result_encode(&r, &bytes, &n, NULL), 0);
    assert_int_not_equal(step_result_decode(bytes, n, &back, NULL), 0);
    free(bytes);
    r = sample_result();
    r.finding_count = STEP_FINDINGS_MAX + 1;
    assert_int_equal(step_result_encode(&r, &bytes, &n, NULL), KPEER_ELIMIT);
    r = sample_result();
    r.finding_count = STEP_FINDINGS_MAX;
    r.blob_bytes = STEP_BLOB_MAX;
    r.blob = calloc(1, STEP_BLOB_MAX);
    assert_int_equal(step_result_encode(&r, &bytes, &n, NULL), 0);
    assert_true(n <= STEP_FRAME_MAX);
    assert_int_equal(step_result_decode(bytes, n, &back, NULL), 0);
    step_result_fini(&back);
    free(bytes);
    free(r.blob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_kind_round_trips),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_numbers_and_record),
        cmocka_unit_test(test_tampered_frames),
        cmocka_unit_test(test_frames_of_another_type),
        cmocka_unit_test(test_a_frame_with_more_fields),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_result),
        cmocka_unit_test(test_result_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
