/*
 * What the user set: one struct, filled from defaults, the configuration file, the environment and flags.
 *
 * One const table (config_schema) describes every key and drives all four sources, the help texts and the
 * check of the manual page. Later sources win: default, file, environment, flag. A fault in the file is told
 * as FILE:LINE:COLUMN. A loaded configuration is plain data without pointers and without secrets; it is only
 * read afterwards. Commands, the agent and tests use this module.
 */
#ifndef KPEER_CONFIG_H
#define KPEER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peer/executor/executor.h"
#include "protocol/err.h"
#include "protocol/node.h"

#define CONFIG_DEFAULT_FILE "/etc/kpeer/kpeer.yaml"
#define CONFIG_FILE_BYTES   (64 * 1024) /* a larger file is refused */
#define CONFIG_PATH_BYTES   EXECUTOR_PATH_BYTES
#define CONFIG_KEYS_MAX     128
#define CONFIG_SEEDS_MAX    32
#define CONFIG_SEED_BYTES   64

enum config_firewall { FIREWALL_OPEN = 0, FIREWALL_TELL = 1 };
enum config_trust { TRUST_KEY = 0, TRUST_SUBNET = 1 };

struct config_seed {
    char address[STEP_ADDRESS_BYTES]; /* IPv4 or IPv6, as text */
    uint16_t port;                    /* the group's own port where none was given */
};

/* Where a value comes from; later ones win. */
enum config_origin { CONFIG_FROM_DEFAULT = 0, CONFIG_FROM_FILE, CONFIG_FROM_ENVIRONMENT, CONFIG_FROM_FLAG };

enum config_hostnames { HOSTNAMES_KEEP = 0, HOSTNAMES_AUTO = 1 };

struct config {
    uint8_t origin[CONFIG_KEYS_MAX]; /* enum config_origin of each key of the schema */
    uint8_t reading;                 /* enum config_origin of what is being read */
    char state_dir[CONFIG_PATH_BYTES];
    char run_dir[CONFIG_PATH_BYTES];
    char key_file[CONFIG_PATH_BYTES];
    char user[32]; /* whom the agent becomes; empty: "kpeer", else an unused id */
    int log_level; /* enum log_level */

    enum config_trust trust;
    enum role_pref role;
    uint32_t expect;            /* 0: not told */
    char name[STEP_NAME_BYTES]; /* empty: the host's name */
    char interface[STEP_INTERFACE_BYTES];
    char subnet[STEP_CIDR_BYTES]; /* empty: by evidence */
    struct config_seed seeds[CONFIG_SEEDS_MAX];
    size_t seed_count;
    uint16_t port; /* UDP for seeds and TCP for links */
    char multicast_group[STEP_ADDRESS_BYTES];
    uint16_t multicast_port;
    uint32_t settle_ms;
    uint32_t heartbeat_ms;
    uint32_t key_overlap_ms;
    uint32_t timeout_ms;        /* of `up` */
    struct config_seed metrics; /* where they are served; port 0: nowhere */
    bool dry_run;
    char console[NODE_CONSOLE_MAX][STEP_NAME_BYTES];
    size_t console_count;
    int hostnames; /* enum config_hostnames */
    bool fix;      /* mend this host before it is checked */

    char kubernetes[STEP_VERSION_BYTES]; /* as in protocol/wanted.h; empty: that of the kubeadm at hand */
    int mirror;                          /* a row of peer/config/mirror.h: for packages and images */
    struct config_packages {
        char mirror[EXECUTOR_URL_BYTES]; /* URL or a mirror's name; empty: that of `mirror` */
        int layout;                      /* enum packages_layout */
        char keyring[EXECUTOR_URL_BYTES];
        char key[72]; /* fingerprint, upper-case hex digits */
        char folder[CONFIG_PATH_BYTES];
        int runtime; /* enum packages_runtime */
        bool install;
    } packages;
    char image_repository[128]; /* empty: kubeadm's default */
    char pod_cidr[STEP_CIDR_BYTES];
    char service_cidr[STEP_CIDR_BYTES];
    int firewall; /* enum config_firewall */
    char probe_image[128];
    char ignore_preflight[EXECUTOR_IGNORE_MAX][EXECUTOR_IGNORE_BYTES];
    size_t ignore_preflight_count;
    char flannel_version[32];
    char flannel_backend[16];
    char flannel_manifest[CONFIG_PATH_BYTES];
    char flannel_images[128];
    struct executor_images images;
    char tools[TOOL_COUNT][CONFIG_PATH_BYTES]; /* empty: found on the executor's own PATH */
};

enum config_type {
    CONFIG_TEXT,     /* printable, no blanks at the ends */
    CONFIG_PATH,     /* absolute */
    CONFIG_CHOICE,   /* one of `words`; stored as int */
    CONFIG_BOOL,     /* true, false */
    CONFIG_UINT,     /* within min..max; uint32_t */
    CONFIG_PORT,     /* 1..65535; uint16_t */
    CONFIG_DURATION, /* 500ms, 10s, 5m, 1h; uint32_t milliseconds within min..max */
    CONFIG_CIDR,
    CONFIG_ADDRESS,   /* an IPv4 multicast group */
    CONFIG_NAME,      /* an RFC 1123 host name */
    CONFIG_VERSION,   /* v1.23.3; the v may be left out */
    CONFIG_WANTED,    /* 1.31, 1.31.4, stable: a form of protocol/wanted.h */
    CONFIG_MIRROR,    /* an http, https or file URL, or the name of a mirror */
    CONFIG_SOURCE,    /* an absolute path or such a URL */
    CONFIG_HEX,       /* a key's fingerprint: 40 or 64 hex digits, blanks left out */
    CONFIG_SEED_LIST, /* ADDRESS, ADDRESS:PORT, [ADDRESS]:PORT */
    CONFIG_LOOPBACK,  /* ADDRESS:PORT or [ADDRESS]:PORT of this host's loopback; struct config_seed */
    CONFIG_TEXT_LIST,
};

enum config_scope { CONFIG_FILE_ONLY = 0, CONFIG_SHARED = 1, CONFIG_AGENT = 2 };

struct config_key {
    const char *key;          /* "flannel.version" */
    const char *flag;         /* "interface" for --interface; NULL: none */
    const char *arg;          /* how help shows the flag's value; NULL for a flag without one */
    const char *def;          /* default, in the same form as the user writes it; NULL: zero, empty */
    const char *doc;          /* one line */
    const char *const *words; /* CONFIG_CHOICE: NULL-ended, in the order of the enum */
    size_t offset;            /* into struct config */
    size_t count_offset;      /* lists: of the size_t that counts */
    size_t size;              /* of the field; of one element for lists */
    uint32_t min;
    uint32_t max; /* CONFIG_UINT, CONFIG_DURATION; the most elements of a list */
    enum config_type type;
    enum config_scope scope; /* which commands take the flag: all, or `up` and `agent` */
    bool makes;              /* CONFIG_PATH: kpeer makes it, so that it may be missing */
    const char *const_value; /* a flag without value sets this; NULL: "true" */
};

extern const struct config_key config_schema[];
extern const size_t config_schema_count;

/* The entry with this dotted key, or with this flag; NULL: none. */
const struct config_key *config_find_key(const char *key);
const struct config_key *config_find_flag(const char *flag);

/* A flag as given: an entry of the schema and its text. */
struct config_setting {
    const struct config_key *key;
    const char *value;
};

struct config_source {
    const char *file; /* --config; NULL: KPEER_CONFIG, else the default file, which may be missing */
    char *const *env; /* NAME=VALUE, NULL-ended; NULL: none */
    const struct config_setting *flags;
    size_t flag_count;
};

/* Fills `out` from all sources. KPEER_EINVAL names the place; KPEER_EIO a file that cannot be read (a missing
 * file is one only where it was named). `out` is untouched on an error. */
int config_load(struct config *out, const struct config_source *src, struct err *err);

/* Defaults alone. */
void config_default(struct config *out);

/* Reads a configuration text into `cfg`, over what is there. `file` is what faults are told under. */
int config_parse_yaml(struct config *cfg, const char *file, const char *text, size_t n, struct err *err);

/* Sets one key from text; lists: `append` adds, else the list starts anew, and commas separate. The error
 * text says what is wrong with the value, without naming where it came from. */
int config_set(struct config *cfg, const struct config_key *key, const char *text, bool append,
               struct err *err);

/* "500ms", "10s", "5m", "1h" -> milliseconds. */
int config_duration(const char *text, uint32_t *out_ms, struct err *err);

/* "KPEER_FLANNEL_VERSION" for "flannel.version"; `out` holds 64. */
void config_env_name(const struct config_key *key, char out[static 64]);

/* The nearest of `count` words to `word` by edit distance, or NULL when none is near. */
const char *config_nearest(const char *word, const char *const *words, size_t count);

/* The core's and the executor's part of a configuration. `name` is filled in by the agent where it is empty.
 */
void config_for_node(const struct config *cfg, struct node_config *out);
void config_for_executor(const struct config *cfg, struct executor_config *out);

/* RUNDIR/kpeer.sock; `out` holds 108 (a socket address). KPEER_EINVAL where it does not fit. */
int config_socket_path(const struct config *cfg, char out[static 108], struct err *err);

#endif
