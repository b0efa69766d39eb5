/*
 * The closed list of typed steps that the agent may ask of the executor, and the answers.
 *
 * A step is data: a number, a kind and the fields that this kind needs, no more. The core makes steps, the
 * agent carries them over a socket pair, the executor checks each field again (step_check) before it acts.
 * There is no path, argument vector or shell line among them. Pure: bytes in, bytes out.
 */
#ifndef KPEER_STEP_H
#define KPEER_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"
#include "protocol/keytext.h"

#define STEP_NAME_BYTES                                                                                      \
    64 /* a host or Node name (RFC 1123 label or subdomain up to 63 bytes) and its NUL                       \
        */
#define STEP_ADDRESS_BYTES   46          /* INET6_ADDRSTRLEN */
#define STEP_INTERFACE_BYTES 16          /* IFNAMSIZ */
#define STEP_CIDR_BYTES      50          /* an address, a slash, three digits */
#define STEP_VERSION_BYTES   32          /* "v1.20.2" */
#define STEP_HASH_BYTES      72          /* "sha256:" and 64 hex digits */
#define STEP_TOKEN_BYTES     24          /* "abcdef.0123456789abcdef" */
#define STEP_ID_BYTES        33          /* 32 hex digits */
#define STEP_RECORD_MAX      (64 * 1024) /* a committed record with its signatures, encoded */
#define STEP_BLOB_MAX        (64 * 1024) /* what an answer may bring: an admin kubeconfig */
#define STEP_FINDINGS_MAX    48
#define STEP_FRAME_MAX       (160 * 1024) /* the largest frame on the socket pair */

/* The executor's journal holds these numbers: a new kind goes to the end. */
enum step_kind {
    STEP_NONE = 0,
    STEP_INSPECT,   /* read this host's facts; changes nothing */
    STEP_PREFLIGHT, /* check this host for `role`; changes nothing; red findings make the answer
                       KPEER_EPREFLIGHT */
    STEP_PREPARE, /* all that needs no cluster: stop what is left over, see that runtime and images are there
                   */
    STEP_CA,      /* make (or find) this host's cluster CA; answers ca_hash */
    STEP_INIT,    /* kubeadm init */
    STEP_APPLY,   /* Flannel and the probe DaemonSet, through the admin kubeconfig */
    STEP_TOKEN_MINT,   /* a bootstrap token for one joiner, `ttl_s` long; answers token */
    STEP_TOKEN_REVOKE, /* delete it again (`token` needs its id part only to be right) */
    STEP_JOIN,         /* kubeadm join with `token`, on the committed `record` only */
    STEP_PROVE,        /* wait until this host's Node is proven ready; answers pod_address (its probe pod) */
    STEP_REACH,        /* does the probe pod `pod_address` on another host answer from here? */
    STEP_DRAIN,        /* cordon and drain Node `node_name` (control plane) */
    STEP_DELETE_NODE,  /* delete Node `node_name` (control plane); absent is success */
    STEP_RESET,      /* kubeadm reset and the clean-up which reset leaves undone; nothing there is success */
    STEP_UNDO,       /* put back every file and setting that the journal says kpeer changed */
    STEP_KUBECONFIG, /* answers the admin kubeconfig in blob (control plane) */
    STEP_FIX, /* install what misses and mend what can be mended, for `role`; answers facts and findings */
    STEP_IMAGES_LIST, /* which images this host needs for `role`, and which are there; answers JSON in blob */
    STEP_IMAGES_PULL, /* pull those that miss; answers JSON in blob */
    STEP_IMAGES_VERIFY, /* compare them with a second source; answers JSON in blob */
    STEP_RENAME,        /* call this host `node_name`, which is no Node yet */
    STEP_MACHINE_ID,    /* give it a machine-id of its own */
    STEP_REKEY,         /* put a rotated group key in the place of the older one in the key file */
    STEP_VERIFY, /* try a test pod and take it away again (control plane, the Node `node_name`); answers
                    findings, KPEER_EIO with them where one is red */
    STEP_KIND_COUNT
};

/* Which fields of struct step a kind carries; a frame with more or fewer is refused. */
enum step_field {
    STEP_F_ROLE = 1 << 0,
    STEP_F_NODE_NAME = 1 << 1,
    STEP_F_ADDRESS = 1 << 2,
    STEP_F_INTERFACE = 1 << 3,
    STEP_F_ENDPOINT = 1 << 4,
    STEP_F_POD_CIDR = 1 << 5,
    STEP_F_SERVICE_CIDR = 1 << 6,
    STEP_F_VERSION = 1 << 7,
    STEP_F_CA_HASH = 1 << 8,
    STEP_F_TOKEN = 1 << 9,
    STEP_F_TTL = 1 << 10,
    STEP_F_POD_ADDRESS = 1 << 11,
    STEP_F_CLUSTER_ID = 1 << 12,
    STEP_F_RECORD = 1 << 13,
    STEP_F_GROUP_KEY = 1 << 14,
};

enum step_role { STEP_ROLE_WORKER = 0, STEP_ROLE_MASTER = 1 };

struct step {
    uint32_t id; /* chosen by the asker, repeated in each answer; never 0 */
    enum step_kind kind;
    uint32_t timeout_ms; /* the asker's limit for the whole step; 0: the executor's own default */
    enum step_role role;
    char node_name[STEP_NAME_BYTES];
    char address[STEP_ADDRESS_BYTES];      /* the proven address: advertise address and node-ip */
    char interface[STEP_INTERFACE_BYTES];  /* the interface that carries it */
    char endpoint[STEP_ADDRESS_BYTES + 8]; /* ADDRESS:PORT or [ADDRESS]:PORT of the control plane */
    char pod_cidr[STEP_CIDR_BYTES];
    char service_cidr[STEP_CIDR_BYTES];
    char kubernetes_version[STEP_VERSION_BYTES];
    char ca_hash[STEP_HASH_BYTES];
    char token[STEP_TOKEN_BYTES]; /* secret: wipe after use, never log */
    uint32_t ttl_s;
    char pod_address[STEP_ADDRESS_BYTES];
    char cluster_id[STEP_ID_BYTES];
    uint8_t group_key[KEYTEXT_RAW_BYTES]; /* key, group and epoch (protocol/keytext.h); secret */
    const uint8_t *record;                /* encoded committed record (protocol/record.h); borrowed */
    size_t record_bytes;
};

/* What a host is; part of the peer record, so all that is in here is told to the group. */
#define FACTS_ID_BYTES 16
#define FACTS_NETS_MAX 16
#define FACTS_MACS_MAX 8

struct facts {
    char hostname[STEP_NAME_BYTES];
    uint8_t
        machine_id[FACTS_ID_BYTES]; /* BLAKE2b of the text: equal ids are seen, the id itself is not told */
    uint8_t product_uuid[FACTS_ID_BYTES]; /* likewise; all zero where the host has none */
    uint32_t cpus;
    uint32_t memory_mb;
    char kubernetes_version[STEP_VERSION_BYTES]; /* of the kubeadm at hand, "v1.20.2"; empty: none found */
    char runtime[STEP_NAME_BYTES];               /* "containerd 1.6.20"; empty: none found */
    char os[STEP_NAME_BYTES];                    /* "Debian GNU/Linux 12 (bookworm)" */
};

enum finding_level { FINDING_GREEN = 0, FINDING_WARN = 1, FINDING_RED = 2 };

struct finding {
    enum finding_level level;
    char check[32];   /* stable name: "memory", "swap", "kubeadm", … */
    char detail[160]; /* what was seen and why it matters */
    char next[160];   /* what to do */
};

/* The answer that ends a step. */
struct step_result {
    uint32_t id;
    enum step_kind kind;
    int code;                  /* 0 or one of enum kpeer_code */
    char text[ERR_TEXT_BYTES]; /* on failure: what, why */
    char hint[ERR_HINT_BYTES]; /* on failure: what to do next */
    uint32_t took_ms;
    bool have_facts;
    struct facts facts; /* INSPECT, FIX, PREFLIGHT */
    struct finding findings[STEP_FINDINGS_MAX];
    size_t finding_count;                 /* FIX, PREFLIGHT, VERIFY; also why another step refused to begin */
    char token[STEP_TOKEN_BYTES];         /* TOKEN_MINT: secret */
    char ca_hash[STEP_HASH_BYTES];        /* CA */
    char pod_address[STEP_ADDRESS_BYTES]; /* PROVE */
    uint8_t *blob; /* KUBECONFIG: secret; IMAGES_*: JSON; owned by the result, freed and wiped by
                      step_result_fini */
    size_t blob_bytes;
};

/* Something worth showing while a step runs. */
struct step_progress {
    uint32_t id;
    enum step_kind kind;
    char phase[32];  /* "certs", "wait-control-plane"; may be empty */
    char line[256];  /* one line of output, escaped, without secrets; may be empty */
    int32_t percent; /* 0..100, or -1 where it is not known */
};

/* "kubeadm-init" and the like, as events show it; never NULL. */
const char *step_word(enum step_kind kind);

/* The set of enum step_field that `kind` carries. */
uint32_t step_fields(enum step_kind kind);

/* Checks every field that the kind carries: names are RFC 1123, addresses and CIDRs parse, versions, hashes
 * and tokens match kubeadm's own patterns, the endpoint is an address and a port. KPEER_EINVAL names the
 * field. */
int step_check(const struct step *step, struct err *err);

/* Frames on the socket pair: one msgpack array each, its first element the frame's type. A frame never
 * exceeds STEP_FRAME_MAX. Encoders return the bytes in a buffer that the caller frees (it may hold secrets:
 * sodium_memzero first), decoders refuse anything that is not exactly one well-formed frame; what they point
 * to inside `bytes` (step.record) is borrowed from it. */
enum step_frame {
    STEP_FRAME_STEP = 1,
    STEP_FRAME_CANCEL = 2,
    STEP_FRAME_PROGRESS = 3,
    STEP_FRAME_RESULT = 4
};

int step_frame_type(const uint8_t *bytes, size_t n, enum step_frame *type, struct err *err);
int step_encode(const struct step *step, uint8_t **out, size_t *out_bytes, struct err *err);
int step_decode(const uint8_t *bytes, size_t n, struct step *step, struct err *err);
int step_cancel_encode(uint32_t id, uint8_t **out, size_t *out_bytes, struct err *err);
int step_cancel_decode(const uint8_t *bytes, size_t n, uint32_t *id, struct err *err);
int step_progress_encode(const struct step_progress *p, uint8_t **out, size_t *out_bytes, struct err *err);
int step_progress_decode(const uint8_t *bytes, size_t n, struct step_progress *p, struct err *err);
int step_result_encode(const struct step_result *r, uint8_t **out, size_t *out_bytes, struct err *err);
int step_result_decode(const uint8_t *bytes, size_t n, struct step_result *r, struct err *err);
void step_result_fini(struct step_result *r);

/* Findings as part of another value: an array of them, STEP_FINDINGS_MAX at most; the reader tells of faults.
 */
struct pack_writer;
struct pack_reader;
void step_put_findings(struct pack_writer *w, const struct finding *findings, size_t count);
size_t step_read_findings(struct pack_reader *r, struct finding findings[static STEP_FINDINGS_MAX]);

#endif
