/* What comes to kpeer's own processes from others of the host: the executor's socket, the user's, and HTTP.
 */
#include <jansson.h>
#include <stdlib.h>

#include "peer/control_frame.h"
#include "peer/agent/exporter.h"
#include "protocol/step.h"
#include "tests/fuzz/fuzz.h"

/* One value has one encoding: what was read is written as it came. */
static void same(const uint8_t *bytes, size_t n, uint8_t *out, size_t out_bytes)
{
    FUZZ_MUST(out_bytes == n && memcmp(out, bytes, n) == 0);
    free(out);
}

static void step(const uint8_t *bytes, size_t n)
{
    struct step s;
    uint8_t *out = NULL;
    size_t out_bytes = 0;
    struct err err = {0};
    if (step_decode(bytes, n, &s, NULL))
        return;
    FUZZ_MUST(s.kind > STEP_NONE && s.kind < STEP_KIND_COUNT && s.id != 0);
    FUZZ_FIELD(s.node_name);
    FUZZ_FIELD(s.token);
    FUZZ_MUST(!s.record || (s.record >= bytes && s.record + s.record_bytes <= bytes + n));
    int code = step_check(&s, &err);
    FUZZ_MUST(step_encode(&s, &out, &out_bytes, NULL) == code); /* nobody asks for what nobody would do */
    if (code == 0)
        same(bytes, n, out, out_bytes);
    else
        FUZZ_MUST(code == err.code && err.text[0]);
}

static void step_answer(const uint8_t *bytes, size_t n)
{
    struct step_result r;
    uint8_t *out = NULL;
    size_t out_bytes = 0;
    if (step_result_decode(bytes, n, &r, NULL))
        return;
    FUZZ_MUST(r.finding_count <= STEP_FINDINGS_MAX && r.blob_bytes <= STEP_BLOB_MAX);
    FUZZ_FIELD(r.text);
    FUZZ_FIELD(r.hint);
    FUZZ_MUST(step_result_encode(&r, &out, &out_bytes, NULL) == 0);
    same(bytes, n, out, out_bytes);
    step_result_fini(&r);
}

static void step_others(const uint8_t *bytes, size_t n)
{
    struct step_progress p;
    enum step_frame type;
    uint32_t id;
    uint8_t *out = NULL;
    size_t out_bytes = 0;
    int known = step_frame_type(bytes, n, &type, NULL);
    if (step_cancel_decode(bytes, n, &id, NULL) == 0) {
        FUZZ_MUST(known == 0 && type == STEP_FRAME_CANCEL);
        FUZZ_MUST(step_cancel_encode(id, &out, &out_bytes, NULL) == 0);
        same(bytes, n, out, out_bytes);
    }
    if (step_progress_decode(bytes, n, &p, NULL) == 0) {
        FUZZ_MUST(known == 0 && type == STEP_FRAME_PROGRESS);
        FUZZ_FIELD(p.line);
        FUZZ_FIELD(p.phase);
        FUZZ_MUST(p.percent >= -1 && p.percent <= 100);
        FUZZ_MUST(step_progress_encode(&p, &out, &out_bytes, NULL) == 0);
        same(bytes, n, out, out_bytes);
    }
}

static void control(const uint8_t *bytes, size_t n)
{
    json_t *value = NULL;
    uint8_t *out = NULL;
    size_t out_bytes = 0;
    if (control_frame_decode(bytes, n, &value, NULL))
        return;
    FUZZ_MUST(control_frame_encode(value, n, &out, &out_bytes, NULL) == 0);
    FUZZ_MUST(out_bytes == n + 4 && memcmp(out + 4, bytes, n) == 0);
    free(out);
    json_decref(value);
}

/* A request is judged once, when its head is whole: what follows changes nothing, and before there is no
 * word. */
static void http(const uint8_t *bytes, size_t n)
{
    char *text = fuzz_text(bytes, n);
    int status = exporter_judge(text, n);
    const char *end = memmem(text, n, "\r\n\r\n", 4);
    size_t head = end ? (size_t)(end - text) + 4 : n;
    FUZZ_MUST(status == 0 || status == 200 || (status >= 400 && status <= 505));
    FUZZ_MUST((status == 0) == (!end && n < EXPORTER_REQUEST_BYTES));
    FUZZ_MUST(exporter_judge(text, head) == status);
    FUZZ_MUST(!end || exporter_judge(text, head - 1) != 200);
    FUZZ_MUST(status != 200 || (strncmp(text, "GET /metrics", 12) == 0 && strlen(text) >= head));
    free(text);
}

/* ---- seeds ---- */

static void give(struct fuzz_sink *sink, uint8_t *bytes, size_t n)
{
    fuzz_give(sink, bytes, n);
    free(bytes);
}

static void seed_step(struct fuzz_sink *sink)
{
    static const uint8_t record[] = {0x91, 0x01};
    struct step s = {.id = 7,
                     .timeout_ms = 1000,
                     .role = STEP_ROLE_MASTER,
                     .node_name = "node1",
                     .address = "192.168.56.11",
                     .interface = "eth1",
                     .endpoint = "192.168.56.11:6443",
                     .pod_cidr = "10.244.0.0/16",
                     .service_cidr = "10.96.0.0/12",
                     .kubernetes_version = "v1.20.2",
                     .ca_hash = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                     .token = "abcdef.0123456789abcdef",
                     .ttl_s = 600,
                     .pod_address = "10.244.1.2",
                     .cluster_id = "0123456789abcdef0123456789abcdef",
                     .group_key = {1, [KEYTEXT_RAW_BYTES - 1] = 1},
                     .record = record,
                     .record_bytes = sizeof record};
    for (s.kind = STEP_NONE + 1; s.kind < STEP_KIND_COUNT; s.kind++) {
        uint8_t *out = NULL;
        size_t n = 0;
        FUZZ_MUST(step_encode(&s, &out, &n, NULL) == 0);
        give(sink, out, n);
    }
}

static void seed_step_answer(struct fuzz_sink *sink)
{
    uint8_t blob[] = "apiVersion: v1";
    struct step_result r = {.id = 7,
                            .kind = STEP_KUBECONFIG,
                            .code = KPEER_EIO,
                            .text = "it failed",
                            .hint = "try again",
                            .took_ms = 12,
                            .have_facts = true,
                            .facts = {.hostname = "node1", .cpus = 2, .memory_mb = 4000, .os = "Debian"},
                            .findings = {{FINDING_RED, "swap", "it is on", "swapoff -a"}},
                            .finding_count = 1,
                            .blob = blob,
                            .blob_bytes = sizeof blob};
    uint8_t *out = NULL;
    size_t n = 0;
    FUZZ_MUST(step_result_encode(&r, &out, &n, NULL) == 0);
    give(sink, out, n);
    r = (struct step_result){.id = 8, .kind = STEP_TOKEN_MINT, .token = "abcdef.0123456789abcdef"};
    FUZZ_MUST(step_result_encode(&r, &out, &n, NULL) == 0);
    give(sink, out, n);
}

static void seed_step_others(struct fuzz_sink *sink)
{
    const struct step_progress p = {
        .id = 7, .kind = STEP_INIT, .phase = "certs", .line = "a line", .percent = 42};
    uint8_t *out = NULL;
    size_t n = 0;
    FUZZ_MUST(step_progress_encode(&p, &out, &n, NULL) == 0);
    give(sink, out, n);
    FUZZ_MUST(step_cancel_encode(7, &out, &n, NULL) == 0);
    give(sink, out, n);
}

static void seed_control(struct fuzz_sink *sink)
{
    json_t *value = json_pack("{s:s, s:i, s:[b, n, s], s:{s:I}}", "command", "members", "version", 1, "args",
                              1, "--wide", "more", "big", (json_int_t)-1234567890123);
    uint8_t *out = NULL;
    size_t n = 0;
    FUZZ_MUST(value && control_frame_encode(value, 4096, &out, &n, NULL) == 0);
    fuzz_give(sink, out + 4, n - 4);
    free(out);
    json_decref(value);
}

const struct fuzz_target fuzz_frames[] = {
    {"step", "a step, as the agent asks the executor", 1024, step, seed_step},
    {"step_answer", "a step's answer", 1024, step_answer, seed_step_answer},
    {"step_others", "how a step goes, and its cancelling", 512, step_others, seed_step_others},
    {"control", "a frame on the user's socket", 1024, control, seed_control},
    {"http", "a request for the metrics", 4200, http, NULL},
    {0},
};
