#include "protocol/step.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/field.h"
#include "protocol/mem.h"
#include "protocol/pack.h"

#define TTL_MAX_S 86400 /* kubeadm's own default; a joiner's token is far shorter */

static const struct {
    const char *word;
    uint32_t fields;
} kinds[STEP_KIND_COUNT] = {
    [STEP_NONE] = {"none", 0},
    [STEP_INSPECT] = {"inspect", 0},
    [STEP_PREFLIGHT] = {"preflight", STEP_F_ROLE},
    [STEP_PREPARE] = {"prepare", STEP_F_ROLE},
    [STEP_CA] = {"cluster-ca", 0},
    [STEP_INIT] = {"kubeadm-init", STEP_F_NODE_NAME | STEP_F_ADDRESS | STEP_F_INTERFACE | STEP_F_ENDPOINT |
                                       STEP_F_POD_CIDR | STEP_F_SERVICE_CIDR | STEP_F_VERSION |
                                       STEP_F_CA_HASH | STEP_F_CLUSTER_ID},
    [STEP_APPLY] = {"apply-network", STEP_F_ADDRESS | STEP_F_INTERFACE | STEP_F_POD_CIDR},
    [STEP_TOKEN_MINT] = {"token-mint", STEP_F_NODE_NAME | STEP_F_TTL},
    [STEP_TOKEN_REVOKE] = {"token-revoke", STEP_F_TOKEN},
    [STEP_JOIN] = {"kubeadm-join",
                   STEP_F_NODE_NAME | STEP_F_ADDRESS | STEP_F_INTERFACE | STEP_F_TOKEN | STEP_F_RECORD},
    [STEP_PROVE] = {"prove-node", STEP_F_NODE_NAME | STEP_F_ADDRESS},
    [STEP_REACH] = {"reach-pod", STEP_F_POD_ADDRESS},
    [STEP_DRAIN] = {"drain-node", STEP_F_NODE_NAME},
    [STEP_DELETE_NODE] = {"delete-node", STEP_F_NODE_NAME},
    [STEP_RESET] = {"kubeadm-reset", 0},
    [STEP_UNDO] = {"undo", 0},
    [STEP_KUBECONFIG] = {"kubeconfig", 0},
    [STEP_FIX] = {"fix", STEP_F_ROLE},
    [STEP_IMAGES_LIST] = {"images-list", STEP_F_ROLE},
    [STEP_IMAGES_PULL] = {"images-pull", STEP_F_ROLE},
    [STEP_RENAME] = {"rename", STEP_F_NODE_NAME},
    [STEP_MACHINE_ID] = {"machine-id", 0},
    [STEP_REKEY] = {"rekey", STEP_F_GROUP_KEY},
    [STEP_IMAGES_VERIFY] = {"images-verify", STEP_F_ROLE},
    [STEP_VERIFY] = {"verify", STEP_F_NODE_NAME | STEP_F_POD_CIDR},
};

/* The fields that are text, in the order in which a frame carries them. */
static const struct text_field {
    uint32_t bit;
    const char *name;
    size_t offset;
    size_t bytes;
    bool (*ok)(const char *s);
    const char *wanted;
} text_fields[] = {
#define TEXT(bit, member, ok, wanted)                                                                        \
    {                                                                                                        \
        bit, #member, offsetof(struct step, member), sizeof(((struct step *)0)->member), ok, wanted          \
    }
    TEXT(STEP_F_NODE_NAME, node_name, field_name, "a lower-case host name (RFC 1123)"),
    TEXT(STEP_F_ADDRESS, address, field_address, "the address of a host"),
    TEXT(STEP_F_INTERFACE, interface, field_interface, "the name of an interface"),
    TEXT(STEP_F_ENDPOINT, endpoint, field_endpoint, "ADDRESS:PORT"),
    TEXT(STEP_F_POD_CIDR, pod_cidr, field_cidr, "a network, ADDRESS/BITS"),
    TEXT(STEP_F_SERVICE_CIDR, service_cidr, field_cidr, "a network, ADDRESS/BITS"),
    TEXT(STEP_F_VERSION, kubernetes_version, field_version, "a version such as v1.20.2"),
    TEXT(STEP_F_CA_HASH, ca_hash, field_hash, "sha256: and 64 hex digits"),
    TEXT(STEP_F_TOKEN, token, field_token, "a bootstrap token"),
    TEXT(STEP_F_POD_ADDRESS, pod_address, field_address, "the address of a pod"),
    TEXT(STEP_F_CLUSTER_ID, cluster_id, field_cluster_id, "32 hex digits"),
#undef TEXT
};

const char *step_word(enum step_kind kind)
{
    return (unsigned)kind < STEP_KIND_COUNT ? kinds[kind].word : "unknown";
}

uint32_t step_fields(enum step_kind kind)
{
    return (unsigned)kind < STEP_KIND_COUNT ? kinds[kind].fields : 0;
}

static int refuse(struct err *err, const struct step *step, const char *field, const char *wanted)
{
    return err_set(err, KPEER_EINVAL, "step %s: field %s is not %s", step_word(step->kind), field, wanted);
}

/* A first key has epoch 0 and is nothing to rotate to. */
static bool later_key(const uint8_t raw[static KEYTEXT_RAW_BYTES])
{
    return !sodium_is_zero(raw, GROUP_KEY_BYTES) &&
           !sodium_is_zero(raw + GROUP_KEY_BYTES + GROUP_ID_BYTES, 4);
}

int step_check(const struct step *step, struct err *err)
{
    uint32_t fields = step_fields(step->kind);

    if (step->kind <= STEP_NONE || step->kind >= STEP_KIND_COUNT)
        return err_set(err, KPEER_EINVAL, "there is no step of kind %d", (int)step->kind);
    if (step->id == 0)
        return refuse(err, step, "id", "a number from 1");
    if (fields & STEP_F_ROLE && step->role != STEP_ROLE_WORKER && step->role != STEP_ROLE_MASTER)
        return refuse(err, step, "role", "a role");
    if (fields & STEP_F_TTL && (step->ttl_s == 0 || step->ttl_s > TTL_MAX_S))
        return refuse(err, step, "ttl_s", "from a second to a day");
    if (fields & STEP_F_RECORD &&
        (!step->record || !step->record_bytes || step->record_bytes > STEP_RECORD_MAX))
        return refuse(err, step, "record", "a committed record");
    if (fields & STEP_F_GROUP_KEY && !later_key(step->group_key))
        return refuse(err, step, "group_key", "a later key of a group");
    for (size_t i = 0; i < COUNT_OF(text_fields); i++) {
        const struct text_field *f = &text_fields[i];
        const char *value = (const char *)step + f->offset;

        if (!(fields & f->bit))
            continue;
        if (!memchr(value, 0, f->bytes) || !f->ok(value))
            return refuse(err, step, f->name, f->wanted);
    }
    return 0;
}

/* Opens a frame of the given type: an array of `count` elements, the type first. */
static int frame_open(struct pack_reader *r, const uint8_t *bytes, size_t n, enum step_frame type,
                      uint32_t count, struct err *err)
{
    int code;

    if (n > STEP_FRAME_MAX)
        return err_set(err, KPEER_ELIMIT, "a frame of %zu bytes is larger than %d", n, STEP_FRAME_MAX);
    code = pack_open(r, bytes, n, 3, err);
    if (code)
        return code;
    pack_field(r, "frame");
    pack_array(r, count, count);
    if (pack_uint(r, STEP_FRAME_RESULT) != (uint64_t)type)
        pack_fail(r, KPEER_EINVAL, "a frame of another type is expected");
    return 0;
}

/* A step's number: never 0. */
static uint32_t read_id(struct pack_reader *r)
{
    uint32_t id;

    pack_field(r, "id");
    id = (uint32_t)pack_uint(r, UINT32_MAX);
    if (id == 0)
        pack_fail(r, KPEER_EINVAL, "a step's number is never 0");
    return id;
}

static enum step_kind read_kind(struct pack_reader *r)
{
    enum step_kind kind;

    pack_field(r, "kind");
    kind = (enum step_kind)pack_uint(r, STEP_KIND_COUNT - 1);
    if (kind == STEP_NONE)
        pack_fail(r, KPEER_EINVAL, "there is no such step");
    return kind;
}

int step_frame_type(const uint8_t *bytes, size_t n, enum step_frame *type, struct err *err)
{
    struct pack_reader r;
    uint64_t value;
    int code;

    if (n > STEP_FRAME_MAX)
        return err_set(err, KPEER_ELIMIT, "a frame of %zu bytes is larger than %d", n, STEP_FRAME_MAX);
    code = pack_open(&r, bytes, n, 3, err);
    if (code)
        return code;
    pack_array(&r, 2, 32);
    value = pack_uint(&r, STEP_FRAME_RESULT);
    if (pack_bad(&r) || value < STEP_FRAME_STEP)
        return err_set(err, KPEER_EINVAL, "not a frame of a known type");
    *type = (enum step_frame)value;
    return 0;
}

static size_t count_fields(uint32_t fields)
{
    return (size_t)__builtin_popcount(fields);
}

static void write_fields(struct pack_writer *w, const struct step *step, uint32_t fields)
{
    pack_put_array(w, count_fields(fields));
    if (fields & STEP_F_ROLE)
        pack_put_uint(w, (uint64_t)step->role);
    for (size_t i = 0; i < COUNT_OF(text_fields); i++) {
        if (fields & text_fields[i].bit)
            pack_put_str(w, (const char *)step + text_fields[i].offset);
    }
    if (fields & STEP_F_TTL)
        pack_put_uint(w, step->ttl_s);
    if (fields & STEP_F_GROUP_KEY)
        pack_put_bin(w, step->group_key, sizeof step->group_key);
    if (fields & STEP_F_RECORD)
        pack_put_bin(w, step->record, step->record_bytes);
}

int step_encode(const struct step *step, uint8_t **out, size_t *out_bytes, struct err *err)
{
    struct pack_writer w;
    int code = step_check(step, err);

    if (code)
        return code;
    pack_writer_init(&w, STEP_FRAME_MAX);
    pack_put_array(&w, 5);
    pack_put_uint(&w, STEP_FRAME_STEP);
    pack_put_uint(&w, step->id);
    pack_put_uint(&w, (uint64_t)step->kind);
    pack_put_uint(&w, step->timeout_ms);
    write_fields(&w, step, step_fields(step->kind));
    code = pack_writer_take(&w, out, out_bytes, err);
    pack_writer_fini(&w);
    return code;
}

static void read_fields(struct pack_reader *r, struct step *step)
{
    uint32_t fields = step_fields(step->kind);
    uint32_t count = (uint32_t)count_fields(fields);

    pack_field(r, "fields");
    pack_array(r, count, count);
    if (fields & STEP_F_ROLE)
        step->role = (enum step_role)pack_uint(r, STEP_ROLE_MASTER);
    for (size_t i = 0; i < COUNT_OF(text_fields); i++) {
        if (!(fields & text_fields[i].bit))
            continue;
        pack_field(r, text_fields[i].name);
        pack_str(r, (char *)step + text_fields[i].offset, text_fields[i].bytes);
    }
    pack_field(r, "ttl_s");
    if (fields & STEP_F_TTL)
        step->ttl_s = (uint32_t)pack_uint(r, UINT32_MAX);
    pack_field(r, "group_key");
    if (fields & STEP_F_GROUP_KEY)
        pack_bin_copy(r, step->group_key, sizeof step->group_key);
    pack_field(r, "record");
    if (fields & STEP_F_RECORD)
        step->record = pack_bin(r, 1, STEP_RECORD_MAX, &step->record_bytes);
}

int step_decode(const uint8_t *bytes, size_t n, struct step *step, struct err *err)
{
    struct step s = {0};
    struct pack_reader r;
    int code = frame_open(&r, bytes, n, STEP_FRAME_STEP, 5, err);

    if (code)
        return code;
    s.id = read_id(&r);
    s.kind = read_kind(&r);
    pack_field(&r, "timeout_ms");
    s.timeout_ms = (uint32_t)pack_uint(&r, UINT32_MAX);
    read_fields(&r, &s);
    code = pack_close(&r, err);
    if (code == 0)
        *step = s;
    sodium_memzero(&s, sizeof(s));
    return code;
}

int step_cancel_encode(uint32_t id, uint8_t **out, size_t *out_bytes, struct err *err)
{
    struct pack_writer w;
    int code;

    if (id == 0)
        return err_set(err, KPEER_EINVAL, "a step's number is never 0");
    pack_writer_init(&w, STEP_FRAME_MAX);
    pack_put_array(&w, 2);
    pack_put_uint(&w, STEP_FRAME_CANCEL);
    pack_put_uint(&w, id);
    code = pack_writer_take(&w, out, out_bytes, err);
    pack_writer_fini(&w);
    return code;
}

int step_cancel_decode(const uint8_t *bytes, size_t n, uint32_t *id, struct err *err)
{
    struct pack_reader r;
    uint32_t value;
    int code = frame_open(&r, bytes, n, STEP_FRAME_CANCEL, 2, err);

    if (code)
        return code;
    value = read_id(&r);
    code = pack_close(&r, err);
    if (code == 0)
        *id = value;
    return code;
}

int step_progress_encode(const struct step_progress *p, uint8_t **out, size_t *out_bytes, struct err *err)
{
    struct pack_writer w;
    int code;

    pack_writer_init(&w, STEP_FRAME_MAX);
    pack_put_array(&w, 6);
    pack_put_uint(&w, STEP_FRAME_PROGRESS);
    pack_put_uint(&w, p->id);
    pack_put_uint(&w, (uint64_t)p->kind);
    pack_put_str(&w, p->phase);
    pack_put_str(&w, p->line);
    pack_put_int(&w, p->percent);
    code = pack_writer_take(&w, out, out_bytes, err);
    pack_writer_fini(&w);
    return code;
}

int step_progress_decode(const uint8_t *bytes, size_t n, struct step_progress *p, struct err *err)
{
    struct step_progress v = {0};
    struct pack_reader r;
    int code = frame_open(&r, bytes, n, STEP_FRAME_PROGRESS, 6, err);

    if (code)
        return code;
    v.id = read_id(&r);
    v.kind = read_kind(&r);
    pack_field(&r, "phase");
    pack_str(&r, v.phase, sizeof(v.phase));
    pack_field(&r, "line");
    pack_str(&r, v.line, sizeof(v.line));
    pack_field(&r, "percent");
    v.percent = (int32_t)pack_int(&r, -1, 100);
    code = pack_close(&r, err);
    if (code == 0)
        *p = v;
    return code;
}

static void write_facts(struct pack_writer *w, const struct facts *f)
{
    pack_put_array(w, 8);
    pack_put_str(w, f->hostname);
    pack_put_bin(w, f->machine_id, sizeof(f->machine_id));
    pack_put_bin(w, f->product_uuid, sizeof(f->product_uuid));
    pack_put_uint(w, f->cpus);
    pack_put_uint(w, f->memory_mb);
    pack_put_str(w, f->kubernetes_version);
    pack_put_str(w, f->runtime);
    pack_put_str(w, f->os);
}

static void read_facts(struct pack_reader *r, struct facts *f)
{
    pack_field(r, "facts");
    pack_array(r, 8, 8);
    pack_str(r, f->hostname, sizeof(f->hostname));
    pack_bin_copy(r, f->machine_id, sizeof(f->machine_id));
    pack_bin_copy(r, f->product_uuid, sizeof(f->product_uuid));
    f->cpus = (uint32_t)pack_uint(r, UINT32_MAX);
    f->memory_mb = (uint32_t)pack_uint(r, UINT32_MAX);
    pack_str(r, f->kubernetes_version, sizeof(f->kubernetes_version));
    pack_str(r, f->runtime, sizeof(f->runtime));
    pack_str(r, f->os, sizeof(f->os));
}

void step_put_findings(struct pack_writer *w, const struct finding *findings, size_t count)
{
    pack_put_array(w, count);
    for (size_t i = 0; i < count; i++) {
        pack_put_array(w, 4);
        pack_put_uint(w, (uint64_t)findings[i].level);
        pack_put_str(w, findings[i].check);
        pack_put_str(w, findings[i].detail);
        pack_put_str(w, findings[i].next);
    }
}

size_t step_read_findings(struct pack_reader *r, struct finding findings[static STEP_FINDINGS_MAX])
{
    uint32_t count;

    pack_field(r, "findings");
    count = pack_array(r, 0, STEP_FINDINGS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        pack_array(r, 4, 4);
        findings[i].level = (enum finding_level)pack_uint(r, FINDING_RED);
        pack_str(r, findings[i].check, sizeof(findings[i].check));
        pack_str(r, findings[i].detail, sizeof(findings[i].detail));
        pack_str(r, findings[i].next, sizeof(findings[i].next));
    }
    return count;
}

int step_result_encode(const struct step_result *r, uint8_t **out, size_t *out_bytes, struct err *err)
{
    struct pack_writer w;
    int code;

    if (r->finding_count > STEP_FINDINGS_MAX || r->blob_bytes > STEP_BLOB_MAX)
        return err_set(err, KPEER_ELIMIT, "a result with too many findings or too large a blob");
    pack_writer_init(&w, STEP_FRAME_MAX);
    pack_put_array(&w, 13);
    pack_put_uint(&w, STEP_FRAME_RESULT);
    pack_put_uint(&w, r->id);
    pack_put_uint(&w, (uint64_t)r->kind);
    pack_put_int(&w, r->code);
    pack_put_str(&w, r->text);
    pack_put_str(&w, r->hint);
    pack_put_uint(&w, r->took_ms);
    if (r->have_facts)
        write_facts(&w, &r->facts);
    else
        pack_put_nil(&w);
    step_put_findings(&w, r->findings, r->finding_count);
    pack_put_str(&w, r->token);
    pack_put_str(&w, r->ca_hash);
    pack_put_str(&w, r->pod_address);
    pack_put_bin(&w, r->blob, r->blob_bytes);
    code = pack_writer_take(&w, out, out_bytes, err);
    pack_writer_fini(&w);
    return code;
}

/* An empty field, or one that passes the check of its kind in a step. */
static void read_checked(struct pack_reader *r, const char *name, char *field, size_t n,
                         bool (*ok)(const char *))
{
    pack_field(r, name);
    pack_str(r, field, n);
    if (*field && !ok(field))
        pack_fail(r, KPEER_EINVAL, "it has not the form of its kind");
}

int step_result_decode(const uint8_t *bytes, size_t n, struct step_result *result, struct err *err)
{
    struct step_result v = {0};
    struct pack_reader r;
    const uint8_t *blob;
    int code = frame_open(&r, bytes, n, STEP_FRAME_RESULT, 13, err);

    if (code)
        return code;
    v.id = read_id(&r);
    v.kind = read_kind(&r);
    pack_field(&r, "code");
    v.code = (int)pack_int(&r, -64, 0);
    pack_field(&r, "text");
    pack_str(&r, v.text, sizeof(v.text));
    pack_str(&r, v.hint, sizeof(v.hint));
    pack_field(&r, "took_ms");
    v.took_ms = (uint32_t)pack_uint(&r, UINT32_MAX);
    v.have_facts = !pack_nil(&r);
    if (v.have_facts)
        read_facts(&r, &v.facts);
    v.finding_count = step_read_findings(&r, v.findings);
    read_checked(&r, "token", v.token, sizeof(v.token), field_token);
    read_checked(&r, "ca_hash", v.ca_hash, sizeof(v.ca_hash), field_hash);
    read_checked(&r, "pod_address", v.pod_address, sizeof(v.pod_address), field_address);
    pack_field(&r, "blob");
    blob = pack_bin(&r, 0, STEP_BLOB_MAX, &v.blob_bytes);
    code = pack_close(&r, err);
    if (code == 0 && v.blob_bytes) {
        v.blob = malloc(v.blob_bytes);
        if (v.blob)
            memcpy(v.blob, blob, v.blob_bytes);
        else
            code = err_set(err, KPEER_ENOMEM, "out of memory");
    }
    if (code == 0)
        *result = v;
    sodium_memzero(&v, sizeof(v));
    return code;
}

void step_result_fini(struct step_result *r)
{
    if (r->blob) {
        sodium_memzero(r->blob, r->blob_bytes);
        free(r->blob);
    }
    sodium_memzero(r, sizeof(*r));
}
