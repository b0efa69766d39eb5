#include "peer/executor/kube/parse.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/field.h"
#include "protocol/mem.h"

#define cleanup_json __attribute__((cleanup(cleanup_json_decref)))

static void cleanup_json_decref(json_t **j)
{
    json_decref(*j);
}

static int load(const char *text, size_t n, const char *what, json_t **out, struct err *err)
{
    if (n > PARSE_JSON_MAX)
        return err_set(err, KPEER_ELIMIT, "%s is larger than %d bytes", what, PARSE_JSON_MAX);
    json_error_t e;
    json_t *root = json_loadb(text, n, 0, &e);
    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(err, KPEER_EINVAL, "%s is not what was expected: %.100s", what,
                       root ? "no JSON object" : e.text);
    }
    *out = root;
    return 0;
}

/* A text that does not fit is no text of the kind expected: left empty rather than cut. */
static void take(char *dst, size_t room, const json_t *value)
{
    const char *text = json_string_value(value);
    if (!text || mem_copy_text(dst, room, text) != 0)
        dst[0] = '\0';
}

static void take_cut(char *dst, size_t room, const char *text)
{
    snprintf(dst, room, "%s", text ? text : "");
}

static const json_t *get(const json_t *from, const char *a, const char *b)
{
    const json_t *first = json_object_get(from, a);
    return b ? json_object_get(first, b) : first;
}

int parse_kubeadm_version(const char *text, size_t n, char version[static STEP_VERSION_BYTES],
                          struct err *err)
{
    cleanup_json json_t *root = NULL;
    int rc = load(text, n, "the answer of kubeadm version", &root, err);
    if (rc != 0)
        return rc;
    const char *found = json_string_value(get(root, "clientVersion", "gitVersion"));
    char cut[STEP_VERSION_BYTES];
    take_cut(cut, sizeof cut, found);
    if (!field_version(cut))
        return err_set(err, KPEER_EINVAL, "kubeadm version names no version");
    memcpy(version, cut, sizeof cut);
    return 0;
}

static void read_addresses(const json_t *addresses, struct parse_node *node)
{
    size_t i = 0;
    json_t *one = NULL;
    json_array_foreach((json_t *)(uintptr_t)addresses, i, one)
    {
        const char *type = json_string_value(json_object_get(one, "type"));
        if (!type || strcmp(type, "InternalIP") != 0)
            continue;
        if (node->internal_ips++ == 0)
            take(node->internal_ip, sizeof node->internal_ip, json_object_get(one, "address"));
    }
}

static const json_t *condition(const json_t *conditions, const char *wanted)
{
    for (size_t i = 0; i < json_array_size(conditions); i++) {
        const json_t *one = json_array_get(conditions, i);
        const char *type = json_string_value(json_object_get(one, "type"));
        if (type && strcmp(type, wanted) == 0)
            return one;
    }
    return NULL;
}

static bool is_true(const json_t *condition)
{
    const char *status = json_string_value(json_object_get(condition, "status"));
    return status && strcmp(status, "True") == 0;
}

int parse_node(const char *text, size_t n, struct parse_node *node, struct err *err)
{
    cleanup_json json_t *root = NULL;
    int rc = load(text, n, "the Node", &root, err);
    if (rc != 0)
        return rc;
    memset(node, 0, sizeof *node);
    const json_t *status = json_object_get(root, "status");
    take(node->name, sizeof node->name, get(root, "metadata", "name"));
    take(node->system_uuid, sizeof node->system_uuid, get(status, "nodeInfo", "systemUUID"));
    take(node->machine_id, sizeof node->machine_id, get(status, "nodeInfo", "machineID"));
    take(node->pod_cidr, sizeof node->pod_cidr, get(root, "spec", "podCIDR"));
    const json_t *notes = get(root, "metadata", "annotations");
    take(node->flannel_ip, sizeof node->flannel_ip,
         json_object_get(notes, "flannel.alpha.coreos.com/public-ip"));
    if (!node->flannel_ip[0])
        take(node->flannel_ip, sizeof node->flannel_ip,
             json_object_get(notes, "flannel.alpha.coreos.com/public-ipv6"));
    read_addresses(json_object_get(status, "addresses"), node);
    const json_t *ready = condition(json_object_get(status, "conditions"), "Ready");
    node->ready = is_true(ready);
    if (!node->ready)
        take_cut(node->ready_reason, sizeof node->ready_reason,
                 json_string_value(json_object_get(ready, "message")));
    return 0;
}

/* Why a pod does not run: what its first waiting container says, else why it is on no Node, else its phase.
 */
static void read_pod_state(const json_t *status, struct parse_pod *pod)
{
    const json_t *containers = json_object_get(status, "containerStatuses");
    for (size_t i = 0; i < json_array_size(containers); i++) {
        const json_t *waiting = get(json_array_get(containers, i), "state", "waiting");
        const char *reason = json_string_value(json_object_get(waiting, "reason"));
        const char *message = json_string_value(json_object_get(waiting, "message"));
        if (!reason)
            continue;
        snprintf(pod->state, sizeof pod->state, "%.60s%s%.120s", reason, message ? ": " : "",
                 message ? message : "");
        return;
    }
    const json_t *placed = condition(json_object_get(status, "conditions"), "PodScheduled");
    const char *why = is_true(placed) ? NULL : json_string_value(json_object_get(placed, "message"));
    take_cut(pod->state, sizeof pod->state, why ? why : json_string_value(json_object_get(status, "phase")));
}

/* A pod that is being deleted proves nothing about the Node as it is now. */
static bool is_leaving(const json_t *item)
{
    return json_is_string(get(item, "metadata", "deletionTimestamp"));
}

static void read_pod(const json_t *item, struct parse_pod *pod)
{
    const json_t *status = json_object_get(item, "status");
    const char *phase = json_string_value(json_object_get(status, "phase"));
    memset(pod, 0, sizeof *pod);
    pod->found = true;
    take(pod->name, sizeof pod->name, get(item, "metadata", "name"));
    take(pod->node, sizeof pod->node, get(item, "spec", "nodeName"));
    pod->started = phase && strcmp(phase, "Running") == 0;
    pod->running = pod->started && is_true(condition(json_object_get(status, "conditions"), "Ready"));
    take(pod->ip, sizeof pod->ip, json_object_get(status, "podIP"));
    read_pod_state(status, pod);
}

int parse_pods(const char *text, size_t n, struct parse_pod *pods, size_t room, size_t *count,
               struct err *err)
{
    cleanup_json json_t *root = NULL;
    int rc = load(text, n, "the list of pods", &root, err);
    if (rc != 0)
        return rc;
    const json_t *items = json_object_get(root, "items");
    *count = 0;
    for (size_t i = 0; i < json_array_size(items) && *count < room; i++) {
        const json_t *item = json_array_get(items, i);
        if (!is_leaving(item))
            read_pod(item, &pods[(*count)++]);
    }
    return 0;
}

int parse_pod(const char *text, size_t n, struct parse_pod *pod, struct err *err)
{
    struct parse_pod first = {0};
    size_t count = 0;
    int rc = parse_pods(text, n, &first, 1, &count, err);
    if (rc == 0)
        *pod = first;
    return rc;
}

/* 16 bytes of a UUID; false where it is none. */
static bool read_uuid(const char *text, uint8_t out[static 16])
{
    char digits[33];
    size_t n = 0;
    for (; *text && !isspace((unsigned char)*text); text++) {
        if (*text == '-')
            continue;
        if (!isxdigit((unsigned char)*text) || n == 32)
            return false;
        digits[n++] = *text;
    }
    if (n != 32)
        return false;
    for (size_t i = 0; i < 16; i++) {
        char pair[3] = {digits[2 * i], digits[2 * i + 1], '\0'};
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return true;
}

static bool is_blank(const uint8_t uuid[static 16])
{
    bool zero = true;
    bool ones = true;
    for (size_t i = 0; i < 16; i++) {
        zero = zero && uuid[i] == 0;
        ones = ones && uuid[i] == 0xff;
    }
    return zero || ones;
}

static void swap_groups(uint8_t uuid[static 16])
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    uint8_t old[16];
    memcpy(old, uuid, sizeof old);
    for (size_t i = 0; i < 16; i++)
        uuid[i] = old[order[i]];
}

bool parse_uuid_equal(const char *a, const char *b)
{
    uint8_t first[16];
    uint8_t second[16];
    if (!read_uuid(a, first) || !read_uuid(b, second) || is_blank(first))
        return false;
    if (memcmp(first, second, sizeof first) == 0)
        return true;
    swap_groups(second);
    return memcmp(first, second, sizeof first) == 0;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8;
    unsigned rest = bits % 8;
    uint8_t mask = (uint8_t)(0xff << (8 - rest));
    return memcmp(a, b, whole) == 0 && (rest == 0 || ((a[whole] ^ b[whole]) & mask) == 0);
}

bool parse_in_cidr(const char *address, const char *cidr)
{
    char base[STEP_CIDR_BYTES];
    uint8_t a[16];
    uint8_t b[16];
    char *end = NULL;
    if (mem_copy_text(base, sizeof base, cidr) != 0)
        return false;
    char *slash = strchr(base, '/');
    if (!slash || !isdigit((unsigned char)slash[1]))
        return false;
    *slash = '\0';
    int family = strchr(base, ':') ? AF_INET6 : AF_INET;
    unsigned long bits = strtoul(slash + 1, &end, 10);
    if (*end || bits > (family == AF_INET ? 32UL : 128UL))
        return false;
    return inet_pton(family, base, b) == 1 && inet_pton(family, address, a) == 1 &&
           same_bits(a, b, (unsigned)bits);
}
