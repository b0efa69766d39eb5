/*
 * Reading what kubeadm and kubectl print. Pure, bounded, and never trusting: odd input is an error or is left
 * out.
 *
 * JSON is read by jansson; lines of kubeadm's own output are recognised by their fixed forms. What goes on
 * from here to a user is escaped by whoever shows it (exec_say, spawn_escape). Used by this folder and its
 * tests.
 */
#ifndef KPEER_KUBE_PARSE_H
#define KPEER_KUBE_PARSE_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/err.h"
#include "protocol/step.h"

#define PARSE_JSON_MAX    (4 * 1024 * 1024)
#define PARSE_UUID_BYTES  64
#define PARSE_IMAGES_MAX  16
#define PARSE_IMAGE_BYTES 192
#define PARSE_POD_BYTES   128

/* `kubeadm version -o json` → "v1.20.2" (what follows a '-' or '+' is kept, cut to fit). */
int parse_kubeadm_version(const char *text, size_t n, char version[static STEP_VERSION_BYTES],
                          struct err *err);

/* What a proof looks at of a Node (`kubectl get node NAME -o json`). Absent texts are empty. */
struct parse_node {
    char name[STEP_NAME_BYTES];
    char system_uuid[PARSE_UUID_BYTES];
    char machine_id[PARSE_UUID_BYTES];
    char internal_ip[STEP_ADDRESS_BYTES]; /* the first */
    size_t internal_ips;                  /* how many there are */
    char flannel_ip[STEP_ADDRESS_BYTES];  /* annotation public-ip, or public-ipv6 where that alone is there */
    char pod_cidr[STEP_CIDR_BYTES];
    char ready_reason[200]; /* the Ready condition's message while it is not True */
    bool ready;
};
int parse_node(const char *text, size_t n, struct parse_node *node, struct err *err);

/* What is looked at of a pod in a list (`kubectl get pods … -o json`); pods that are being deleted are left
 * out. */
struct parse_pod {
    bool found;
    char name[PARSE_POD_BYTES];
    char node[STEP_NAME_BYTES];  /* empty: on none yet */
    bool started;                /* phase Running */
    bool running;                /* phase Running and condition Ready True */
    char ip[STEP_ADDRESS_BYTES]; /* empty: none yet */
    char state[200]; /* why it is not running: a waiting container's reason and message, why it is on no Node,
                        or its phase */
};
/* The first `room` of them. */
int parse_pods(const char *text, size_t n, struct parse_pod *pods, size_t room, size_t *count,
               struct err *err);
/* The first. No pod: `found` is false. */
int parse_pod(const char *text, size_t n, struct parse_pod *pod, struct err *err);

/* `kubectl get nodes -o name`: `room` of the names, spread over all, in their order; *total is how many there
 * are. Lines that are no Node's are left out. */
size_t parse_node_names(const char *text, size_t n, char names[][STEP_NAME_BYTES], size_t room,
                        size_t *total);

/* `kubeadm config images list`: one image a line; lines that are no image reference are left out. */
struct parse_images {
    char names[PARSE_IMAGES_MAX][PARSE_IMAGE_BYTES];
    size_t count;
};
void parse_images(const char *text, size_t n, struct parse_images *images);

/* That of a program ("pause") among them, or NULL. */
const char *parse_image_of(const struct parse_images *images, const char *program);

/* "[wait-control-plane] Waiting…" → "wait-control-plane". False: no phase in this line. */
bool parse_phase(const char *line, char *phase, size_t phase_bytes);

/* Hides bootstrap tokens and certificate keys in a line, in place. */
void parse_mask(char *line);

/* Why kubeadm failed: its "[ERROR X]: …" lines joined, or its last line that says "error", or its last line;
 * masked, as one line cut to fit. Empty where there is nothing. */
void parse_cause(const char *errout, const char *out, char *cause, size_t cause_bytes);

/* What to do about such a cause; never NULL. */
const char *parse_hint(const char *cause);

/* Whether two systemUUIDs name one machine: equal but for case and dashes, or with the first three groups in
 * the other byte order (older kubelets and SMBIOS before 2.6 differ in it). Empty, all-zero and all-f UUIDs
 * match nothing. */
bool parse_uuid_equal(const char *a, const char *b);

/* Whether the address lies in the CIDR; both as text, IPv4 or IPv6. */
bool parse_in_cidr(const char *address, const char *cidr);

#endif
