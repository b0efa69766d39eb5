/* What kubeadm, kubectl and iptables-save print, and manifests of a user's. */
#include <ctype.h>
#include <stdio.h>

#include "peer/executor/kube/ca.h"
#include "peer/executor/kube/flannel.h"
#include "peer/executor/kube/parse.h"
#include "peer/executor/kube/rules.h"
#include "peer/executor/kube/yamlout.h"
#include "protocol/field.h"
#include "tests/fuzz/fuzz.h"

static void kubeadm_version(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char version[STEP_VERSION_BYTES] = "untouched";
    if (parse_kubeadm_version(text, n, version, NULL))
        FUZZ_MUST(strcmp(version, "untouched") == 0);
    else
        FUZZ_MUST(fuzz_ends(version, sizeof version) && field_version(version));
}

static void node_object(const uint8_t *bytes, size_t n)
{
    struct parse_node node;
    cleanup_free char *text = fuzz_text(bytes, n);
    if (parse_node(text, n, &node, NULL))
        return;
    FUZZ_FIELD(node.name);
    FUZZ_FIELD(node.system_uuid);
    FUZZ_FIELD(node.machine_id);
    FUZZ_FIELD(node.internal_ip);
    FUZZ_FIELD(node.flannel_ip);
    FUZZ_FIELD(node.pod_cidr);
    FUZZ_FIELD(node.ready_reason);
    FUZZ_MUST(node.internal_ips <= n && (node.internal_ips || !node.internal_ip[0]));
}

static void pod_list(const uint8_t *bytes, size_t n)
{
    struct parse_pod pods[3], first;
    size_t count = 0;
    cleanup_free char *text = fuzz_text(bytes, n);
    int code = parse_pods(text, n, pods, COUNT_OF(pods), &count, NULL);
    FUZZ_MUST(parse_pod(text, n, &first, NULL) == code);
    if (code)
        return;
    FUZZ_MUST(count <= COUNT_OF(pods) && first.found == (count > 0));
    for (size_t i = 0; i < count; i++) {
        FUZZ_FIELD(pods[i].name);
        FUZZ_FIELD(pods[i].node);
        FUZZ_FIELD(pods[i].ip);
        FUZZ_FIELD(pods[i].state);
        FUZZ_MUST(pods[i].found && (pods[i].started || !pods[i].running));
    }
}

static void node_names(const uint8_t *bytes, size_t n)
{
    char names[4][STEP_NAME_BYTES];
    cleanup_free char *text = fuzz_text(bytes, n);
    size_t total = 0, count = parse_node_names(text, n, names, COUNT_OF(names), &total);
    FUZZ_MUST(count == (total < COUNT_OF(names) ? total : COUNT_OF(names)));
    for (size_t i = 0; i < count; i++) {
        FUZZ_FIELD(names[i]);
        FUZZ_MUST(field_name(names[i]));
    }
}

static void image_list(const uint8_t *bytes, size_t n)
{
    struct parse_images images;
    cleanup_free char *text = fuzz_text(bytes, n);
    parse_images(text, n, &images);
    FUZZ_MUST(images.count <= PARSE_IMAGES_MAX);
    for (size_t i = 0; i < images.count; i++) {
        FUZZ_FIELD(images.names[i]);
        FUZZ_MUST(strchr(images.names[i], ':') && fuzz_shows(images.names[i]));
    }
    const char *pause = parse_image_of(&images, "pause");
    FUZZ_MUST(!pause || strstr(pause, "pause:"));
}

static size_t run_of_token(const char *at)
{
    return strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789");
}

/* Whether a text shows a bootstrap token or so much of one that the rest can be guessed. */
static bool shows_token(const char *text, size_t least)
{
    for (size_t n; *text; text += n ? n : 1) {
        n = run_of_token(text);
        if (n >= 6 && text[n] == '.' && run_of_token(text + n + 1) >= least)
            return true;
    }
    return false;
}

static void mask(const uint8_t *bytes, size_t n)
{
    cleanup_free char *line = fuzz_text(bytes, n);
    size_t length = strlen(line);
    char phase[16];
    parse_mask(line);
    FUZZ_MUST(strlen(line) == length && !shows_token(line, 16));
    cleanup_free char *once = fuzz_text((const uint8_t *)line, length);
    parse_mask(line);
    FUZZ_MUST(strcmp(once, line) == 0);
    if (parse_phase(line, phase, sizeof phase))
        FUZZ_MUST(fuzz_ends(phase, sizeof phase) && phase[0] && line[0] == '[');
}

/* A token at the place where the text is cut must not be left half and readable. */
static void cause(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char why[ERR_TEXT_BYTES], cut[64];
    char *out = strstr(text, "\n--\n");
    if (out) {
        *out = '\0';
        out += 4;
    }
    parse_cause(text, out ? out : "", why, sizeof why);
    parse_cause(text, out ? out : "", cut, sizeof cut);
    FUZZ_FIELD(why);
    FUZZ_FIELD(cut);
    FUZZ_MUST(!strchr(why, '\n') && !shows_token(why, 16));
    FUZZ_MUST(strncmp(why, cut, strlen(cut)) == 0); /* what is cut off changes nothing of what stays */
    FUZZ_MUST(parse_hint(why)[0]);
}

static void uuid(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char *second = text, *first = fuzz_line(&second);
    FUZZ_MUST(parse_uuid_equal(first, second) == parse_uuid_equal(second, first));
    (void)parse_in_cidr(first, second);
    if (field_cidr(second) && parse_in_cidr(first, second))
        FUZZ_MUST(strspn(first, "0123456789abcdefABCDEF.:") == strlen(first));
}

/* What goes to iptables-restore: lines of the few forms that take away, each for a chain or rule of theirs.
 */
static void rules(const uint8_t *bytes, size_t n)
{
    static const char *const forms[] = {"*",         "COMMIT",   ":KUBE-",  ":CNI-",
                                        ":FLANNEL-", "-X KUBE-", "-X CNI-", "-X FLANNEL-"};
    char *out = NULL;
    size_t out_bytes = 0, count = 0;
    FUZZ_MUST(rules_removal((const char *)bytes, n, &out, &out_bytes, &count, NULL) == 0);
    FUZZ_MUST((out != NULL) == (count > 0) && count <= n);
    cleanup_free char *text = fuzz_text((const uint8_t *)out, out_bytes);
    free(out);
    for (char *at = text; *at;) {
        const char *line = fuzz_line(&at);
        bool known =
            strncmp(line, "-D ", 3) == 0 && (strstr(line, "KUBE-") || strstr(line, "CNI-") ||
                                             strstr(line, "FLANNEL-") || strstr(line, "\"flanneld "));
        for (size_t i = 0; i < COUNT_OF(forms); i++)
            known = known || strncmp(line, forms[i], strlen(forms[i])) == 0;
        FUZZ_MUST(known);
    }
}

/* Adapting a manifest twice is adapting it once. */
static void flannel(const uint8_t *bytes, size_t n)
{
    const struct flannel_wish wish = {.pod_cidr = "10.244.0.0/16",
                                      .backend = "vxlan",
                                      .choice = FLANNEL_CAN_REACH,
                                      .address = "192.168.56.11"};
    char *once = NULL, *twice = NULL;
    size_t once_bytes = 0, twice_bytes = 0;
    if (flannel_adapt((const char *)bytes, n, &wish, &once, &once_bytes, NULL))
        return;
    FUZZ_MUST(flannel_adapt(once, once_bytes, &wish, &twice, &twice_bytes, NULL) == 0);
    FUZZ_MUST(once_bytes == twice_bytes && memcmp(once, twice, once_bytes) == 0);
    yamlout_free(once, once_bytes);
    yamlout_free(twice, twice_bytes);
}

static void seed_flannel(struct fuzz_sink *sink)
{
    char *own = NULL;
    size_t n = 0;
    FUZZ_MUST(flannel_own(NULL, NULL, &own, &n, NULL) == 0);
    fuzz_give(sink, own, n);
    yamlout_free(own, n);
}

static void certificate(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    struct ca ca = {.cert = text, .cert_bytes = n, .key = text, .key_bytes = n};
    char hash[STEP_HASH_BYTES];
    (void)ca_check(&ca, 1800000000, NULL);
    if (ca_hash(text, n, hash, NULL) == 0)
        FUZZ_MUST(fuzz_ends(hash, sizeof hash) && field_hash(hash));
}

static void seed_certificate(struct fuzz_sink *sink)
{
    struct ca ca;
    FUZZ_MUST(ca_make(1800000000, &ca, NULL) == 0);
    fuzz_give(sink, ca.cert, ca.cert_bytes);
    cleanup_free char *both = malloc(ca.cert_bytes + ca.key_bytes);
    FUZZ_MUST(both);
    memcpy(both, ca.cert, ca.cert_bytes);
    memcpy(both + ca.cert_bytes, ca.key, ca.key_bytes);
    fuzz_give(sink, both, ca.cert_bytes + ca.key_bytes);
    ca_fini(&ca);
}

const struct fuzz_target fuzz_kube[] = {
    {"kubeadm_version", "kubeadm version -o json", 1024, kubeadm_version, NULL},
    {"node_object", "kubectl get node -o json", 4096, node_object, NULL},
    {"pod_list", "kubectl get pods -o json", 4096, pod_list, NULL},
    {"node_names", "kubectl get nodes -o name", 1024, node_names, NULL},
    {"image_list", "kubeadm config images list", 2048, image_list, NULL},
    {"mask", "a line of kubeadm's, with its secrets hidden", 512, mask, NULL},
    {"cause", "why kubeadm failed", 2048, cause, NULL},
    {"uuid", "UUIDs of a Node, addresses and networks", 160, uuid, NULL},
    {"rules", "iptables-save", 4096, rules, NULL},
    {"flannel", "Flannel's manifest", 16384, flannel, seed_flannel},
    {"certificate", "the cluster's CA in PEM", 4096, certificate, seed_certificate},
    {0},
};
