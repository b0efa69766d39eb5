#include "peer/executor/kube/parse.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    if (!found || found[0] != 'v' || !isdigit((unsigned char)found[1]))
        return err_set(err, KPEER_EINVAL, "kubeadm version names no version");
    take_cut(version, STEP_VERSION_BYTES, found);
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

static const json_t *ready_condition(const json_t *conditions)
{
    for (size_t i = 0; i < json_array_size(conditions); i++) {
        const json_t *one = json_array_get(conditions, i);
        const char *type = json_string_value(json_object_get(one, "type"));
        if (type && strcmp(type, "Ready") == 0)
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
    const json_t *ready = ready_condition(json_object_get(status, "conditions"));
    node->ready = is_true(ready);
    if (!node->ready)
        take_cut(node->ready_reason, sizeof node->ready_reason,
                 json_string_value(json_object_get(ready, "message")));
    return 0;
}

/* Why a pod does not run: what its first waiting container says, else its phase. */
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
    take_cut(pod->state, sizeof pod->state, json_string_value(json_object_get(status, "phase")));
}

/* A pod that is being deleted proves nothing about the Node as it is now. */
static bool is_leaving(const json_t *item)
{
    return json_is_string(get(item, "metadata", "deletionTimestamp"));
}

int parse_pod(const char *text, size_t n, struct parse_pod *pod, struct err *err)
{
    cleanup_json json_t *root = NULL;
    int rc = load(text, n, "the list of pods", &root, err);
    if (rc != 0)
        return rc;
    memset(pod, 0, sizeof *pod);
    const json_t *items = json_object_get(root, "items");
    for (size_t i = 0; i < json_array_size(items) && !pod->found; i++) {
        const json_t *item = json_array_get(items, i);
        if (is_leaving(item))
            continue;
        const json_t *status = json_object_get(item, "status");
        const char *phase = json_string_value(json_object_get(status, "phase"));
        pod->found = true;
        pod->running = phase && strcmp(phase, "Running") == 0 &&
                       is_true(ready_condition(json_object_get(status, "conditions")));
        take(pod->ip, sizeof pod->ip, json_object_get(status, "podIP"));
        read_pod_state(status, pod);
    }
    return 0;
}

/* The next line of a text: its start and length; NULL at the end. */
static const char *next_line(const char **at, size_t *n)
{
    const char *line = *at;
    if (!line || !*line)
        return NULL;
    *n = strcspn(line, "\n");
    *at = line[*n] ? line + *n + 1 : line + *n;
    if (*n > 0 && line[*n - 1] == '\r')
        (*n)--;
    return line;
}

static bool is_image(const char *line, size_t n)
{
    static const char extra[] = "./:_-@";
    bool tagged = false;
    if (n == 0 || n >= PARSE_IMAGE_BYTES || !isalnum((unsigned char)line[0]))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)line[i]) && !strchr(extra, line[i]))
            return false;
        tagged = tagged || line[i] == ':';
    }
    return tagged;
}

void parse_images(const char *text, size_t n, struct parse_images *images)
{
    (void)n; /* the text is NUL-ended; bytes after an inner NUL are no lines */
    memset(images, 0, sizeof *images);
    size_t length = 0;
    for (const char *line; (line = next_line(&text, &length)) != NULL && images->count < PARSE_IMAGES_MAX;) {
        if (!is_image(line, length))
            continue;
        memcpy(images->names[images->count], line, length);
        images->count++;
    }
}

const char *parse_pause_image(const struct parse_images *images)
{
    for (size_t i = 0; i < images->count; i++) {
        const char *last = strrchr(images->names[i], '/');
        if (strncmp(last ? last + 1 : images->names[i], "pause:", 6) == 0)
            return images->names[i];
    }
    return NULL;
}

/* Both "NAME:TAG" on a line and columns "NAME  TAG …" are ways to list it. */
bool parse_lists_image(const char *listing, const char *image)
{
    const char *colon = strrchr(image, ':');
    if (!colon)
        return false;
    size_t name = (size_t)(colon - image);
    size_t length = 0;
    for (const char *line; (line = next_line(&listing, &length)) != NULL;) {
        if (length <= name || memcmp(line, image, name) != 0)
            continue;
        const char *tag = line + name + 1;
        size_t left = length - name - 1;
        if (line[name] != ':') {
            size_t blanks = strspn(tag, " \t");
            if ((line[name] != ' ' && line[name] != '\t') || blanks >= left)
                continue;
            tag += blanks;
            left -= blanks;
        }
        size_t want = strlen(colon + 1);
        if (left >= want && memcmp(tag, colon + 1, want) == 0 &&
            (left == want || isspace((unsigned char)tag[want])))
            return true;
    }
    return false;
}

bool parse_phase(const char *line, char *phase, size_t phase_bytes)
{
    if (line[0] != '[')
        return false;
    size_t n = strspn(line + 1, "abcdefghijklmnopqrstuvwxyz0123456789-");
    if (n == 0 || line[1 + n] != ']' || n >= phase_bytes)
        return false;
    memcpy(phase, line + 1, n);
    phase[n] = '\0';
    return true;
}

static bool is_token_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static size_t token_run(const char *at)
{
    size_t n = 0;
    while (is_token_byte(at[n]))
        n++;
    return n;
}

/* A token is 6 and 16 such bytes around a dot; a certificate key is 64 hex digits that are not a "sha256:"
 * hash. Longer runs around the dot are hidden too: better too much than a token. */
void parse_mask(char *line)
{
    for (char *at = line; *at;) {
        size_t n = token_run(at);
        if (n == 0) {
            at++;
            continue;
        }
        size_t second = at[n] == '.' ? token_run(at + n + 1) : 0;
        bool hash = at - line >= 7 && memcmp(at - 7, "sha256:", 7) == 0;
        if (n >= 6 && second >= 16)
            memset(at, '*', n), memset(at + n + 1, '*', second), n += 1 + second;
        else if (n == 64 && !hash)
            memset(at, '*', n);
        at += n;
    }
}

static void join(char *cause, size_t room, const char *line, size_t n)
{
    size_t have = strlen(cause);
    if (have + 3 >= room)
        return;
    while (n > 0 && isspace((unsigned char)*line))
        line++, n--;
    snprintf(cause + have, room - have, "%s%.*s", have ? "; " : "", (int)(n > 4096 ? 4096 : n), line);
}

static bool is_noise(const char *line, size_t n)
{
    static const char *const noise[] = {"To see the stack trace",
                                        "[preflight] If you know what you are doing",
                                        "error execution phase preflight: [preflight] Some fatal errors"};
    for (size_t i = 0; i < COUNT_OF(noise); i++)
        if (n >= strlen(noise[i]) && memcmp(line, noise[i], strlen(noise[i])) == 0)
            return true;
    return n == 0;
}

static void collect_errors(const char *text, char *cause, size_t room)
{
    size_t n = 0;
    for (const char *line; (line = next_line(&text, &n)) != NULL;) {
        const char *mark = memmem(line, n, "[ERROR ", 7);
        if (mark)
            join(cause, room, mark, n - (size_t)(mark - line));
    }
}

static void last_line(const char *text, const char *needle, char *cause, size_t room)
{
    const char *found = NULL;
    size_t found_n = 0;
    size_t n = 0;
    for (const char *line; (line = next_line(&text, &n)) != NULL;) {
        if (is_noise(line, n) || (needle && !memmem(line, n, needle, strlen(needle))))
            continue;
        found = line;
        found_n = n;
    }
    if (found)
        join(cause, room, found, found_n);
}

void parse_cause(const char *errout, const char *out, char *cause, size_t cause_bytes)
{
    cause[0] = '\0';
    collect_errors(errout, cause, cause_bytes);
    if (!cause[0])
        last_line(errout, "error", cause, cause_bytes);
    if (!cause[0])
        last_line(errout, NULL, cause, cause_bytes);
    if (!cause[0])
        last_line(out, NULL, cause, cause_bytes);
    parse_mask(cause);
}

const char *parse_hint(const char *cause)
{
    static const struct {
        const char *sign;
        const char *hint;
    } known[] = {
        {"already exists",
         "something of an earlier cluster is left on this host: run 'kpeer leave', then 'kpeer up'"},
        {"DirAvailable",
         "something of an earlier cluster is left on this host: run 'kpeer leave', then 'kpeer up'"},
        {"FileAvailable",
         "something of an earlier cluster is left on this host: run 'kpeer leave', then 'kpeer up'"},
        {"Port-", "another program holds a port that Kubernetes needs: stop it (ss -ltnp shows which)"},
        {"Swap", "turn swap off: swapoff -a, and take its line out of /etc/fstab"},
        {"NumCPU", "a control plane needs 2 CPUs: let another host be it (role: worker here)"},
        {"[ERROR Mem]",
         "a control plane needs 1700 MB of memory: let another host be it (role: worker here)"},
        {"ipv4-ip_forward", "set net.ipv4.ip_forward to 1 (kpeer preflight shows all that this host lacks)"},
        {"bridge-nf", "load the kernel module br_netfilter"},
        {"CRI",
         "see that the container runtime runs and its CRI plugin is enabled: systemctl status containerd"},
        {"ImagePull",
         "the images could not be fetched: set image_repository to a mirror, or import them beforehand"},
        {"timed out waiting for the condition", "look at the kubelet: journalctl -u kubelet -n 50"},
        {"kubelet isn't running", "look at the kubelet: journalctl -u kubelet -n 50"},
        {"cluster CA found in cluster-info",
         "the control plane is not the one that the group committed to: see kpeer status"},
        {"could not find a JWS signature",
         "the token is gone or has expired: a new one is asked for at the next try"},
        {"x509: certificate has expired or is not yet valid",
         "the clocks of the hosts differ: set them right"},
        {"no such host", "this host's name must resolve: put it into /etc/hosts"},
        {"connection refused", "nothing answers there: see on the control plane whether its API server runs"},
        {"no route to host", "the control plane cannot be reached: see addresses and firewall"},
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strstr(cause, known[i].sign))
            return known[i].hint;
    return "see kpeer events for the whole output";
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
