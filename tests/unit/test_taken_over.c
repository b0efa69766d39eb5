/*
 * The agent has been taken over: this program plays its end of the executor's socket and sends anything at
 * all. Whatever it sends, the executor runs no program but its configured tools, hands them none of the
 * attacker's words, writes nowhere but in its own folders, takes no descriptor, keeps its size, joins nothing
 * that no majority signed, and goes on serving.
 *
 * Every way in which the root side starts a program or changes a file goes through the functions that are
 * wrapped here (the linker's --wrap), which write down what does not belong. The host's root, the state
 * folder and the tools are the test's own; each tool writes down how it was called.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <ftw.h>
#include <sodium.h>

#include "peer/executor/executor.h"
#include "peer/executor/file.h"
#include "protocol/pack.h"
#include "protocol/record.h"
#include "protocol/step.h"

#define WAIT_MS 60000
#ifdef KPEER_NO_SANDBOX
#define RSS_MAX_KB (1024 * 1024) /* a sanitizer keeps what was freed */
#else
#define RSS_MAX_KB (64 * 1024)
#endif
#define BREACHES 16
#define MARK     "pwned" /* in each text of the attacker's; a tool that sees it was handed it */
#define HASH     "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ID       "0123456789abcdef0123456789abcdef"

/* Shared with the executor and its workers. */
struct notes {
    _Atomic unsigned count;
    char text[BREACHES][200];
};

static struct notes *notes;
static char top[64]; /* all that may be written, and all programs that may run, are below it */
static struct executor_config cfg;
static int fd = -1;
static pid_t executor;
static uint32_t answered; /* the number of the last result */
static int answered_code;
static char answered_text[ERR_TEXT_BYTES];
static uint64_t seed = 0x9e3779b97f4a7c15u;

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* ---- what does not belong is written down ---- */

static bool ours(const char *path)
{
    size_t n = strlen(top);
    return strncmp(path, top, n) == 0 && path[n] == '/' && !strstr(path, "/../");
}

/* A build that counts which lines run writes that down beside its objects. */
static bool counts(const char *path)
{
#ifdef KPEER_COUNTS_LINES
    const char *end = strrchr(path, '.');
    return end && strcmp(end, ".gcda") == 0;
#else
    (void)path;
    return false;
#endif
}

static void note(const char *what, const char *path)
{
    unsigned i;
    if (!notes || !top[0] || ours(path) || counts(path))
        return;
    i = notes->count++;
    if (i < BREACHES)
        snprintf(notes->text[i], sizeof notes->text[0], "%s %s", what, path);
}

#define WRAP(type, name, args, pass, path)                                                                   \
    type __real_##name args;                                                                                 \
    type __wrap_##name args;                                                                                 \
    type __wrap_##name args                                                                                  \
    {                                                                                                        \
        note(#name, path);                                                                                   \
        return __real_##name pass;                                                                           \
    }

WRAP(int, rename, (const char *a, const char *b), (a, b), ours(a) ? b : a)
WRAP(int, remove, (const char *p), (p), p)
WRAP(int, rmdir, (const char *p), (p), p)
WRAP(int, unlink, (const char *p), (p), p)
WRAP(int, symlink, (const char *a, const char *b), (a, b), b)
WRAP(int, chmod, (const char *p, mode_t m), (p, m), p)
WRAP(int, chown, (const char *p, uid_t u, gid_t g), (p, u, g), p)
WRAP(int, mkostemp, (char *p, int flags), (p, flags), p)
WRAP(int, utimensat, (int at, const char *p, const struct timespec t[2], int f), (at, p, t, f), p)

/* What is there already is tried again and again on the way to a folder of ours. */
int __wrap_mkdir(const char *path, mode_t mode);
int __real_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode)
{
    int rc = __real_mkdir(path, mode);
    if (rc == 0)
        note("mkdir", path);
    return rc;
}

int __wrap_execve(const char *path, char *const *argv, char *const *envp);
int __real_execve(const char *path, char *const *argv, char *const *envp);
int __wrap_execve(const char *path, char *const *argv, char *const *envp)
{
    note("execve", path);
    for (char *const *a = argv; *a; a++)
        if (strstr(*a, MARK))
            note("an argument", *a);
    if (ours(path))
        return __real_execve(path, argv, envp);
    errno = ENOENT;
    return -1;
}

/* The machine keeps its name. */
int __wrap_sethostname(const char *name, size_t n);
int __wrap_sethostname(const char *name, size_t n)
{
    (void)n;
    if (strstr(name, MARK))
        note("sethostname", name);
    return 0;
}

int __wrap_open(const char *path, int flags, ...);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list ap;
    mode_t mode;
    va_start(ap, flags);
    mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if ((flags & O_ACCMODE) != O_RDONLY && strcmp(path, "/dev/null") != 0)
        note("open", path);
    return __real_open(path, flags, mode);
}

FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode)
{
    if (strpbrk(mode, "wa+"))
        note("fopen", path);
    return __real_fopen(path, mode);
}

/* ---- the bench ---- */

/* Answers what is asked of kubeadm before a join; writes down how it was called, and with which documents. */
static const char tool[] =
    "#!/bin/sh\n"
    "case \"$1 $2\" in\n"
    "version*) echo '{\"clientVersion\": {\"gitVersion\": \"v1.20.2\"}}'; exit 0;;\n"
    "'config images') echo k8s.gcr.io/pause:3.2; exit 0;;\n"
    "esac\n"
    "echo \"${0##*/} $*\" >> %s/calls\n"
    "for word; do case $word in *.yaml|*.conf) [ -f \"$word\" ] && cat \"$word\" >> %s/calls;; esac; done\n"
    "exit 0\n";

static void put(const char *name, const char *text, mode_t mode)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", top, name);
    assert_int_equal(file_make_parents(path, NULL), 0);
    assert_int_equal(file_put(path, text, strlen(text), mode, (uid_t)-1, (gid_t)-1, NULL), 0);
}

static void make_tools(void)
{
    char script[sizeof tool + 2 * sizeof top];
    snprintf(script, sizeof script, tool, top, top);
    for (int t = 0; t < TOOL_COUNT; t++) {
        char name[64];
        snprintf(name, sizeof name, "bin/%s", executor_tool_name((enum executor_tool)t));
        put(name, script, 0755);
        snprintf(cfg.tools[t], sizeof cfg.tools[t], "%s/%s", top, name);
    }
}

static int set_up(void **state)
{
    (void)state;
    notes = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (notes == MAP_FAILED || sodium_init() < 0)
        return -1;
    char dir[] = "/tmp/kpeer-taken-XXXXXX";
    if (!mkdtemp(dir))
        return -1;
    strcpy(top, dir);
    memset(&cfg, 0, sizeof cfg);
    make_tools();
    put("host/etc/hostname", "node1\n", 0644);
    put("host/run/utmp", "", 0644);
    put("host/etc/kubernetes/README", "", 0644);
    put("calls", "", 0644);
    snprintf(cfg.state_dir, sizeof cfg.state_dir, "%s/state", top);
    snprintf(cfg.root, sizeof cfg.root, "%s/host", top);
    answered = 0;
    return executor_start(&cfg, &fd, &executor, NULL);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    int status = -1;
    (void)state;
    close(fd);
    if (waitpid(executor, &status, 0) != executor || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return -1;
    nftw(top, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    top[0] = '\0';
    return munmap(notes, sizeof *notes);
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Reads what the executor says, for at most `ms`; whatever it is must be a frame of its kinds. */
static void drain(int ms)
{
    static uint8_t bytes[STEP_FRAME_MAX];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, ms) > 0) {
        struct step_result r;
        enum step_frame type;
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n <= 0)
            fail_msg("the executor is gone");
        assert_int_equal(step_frame_type(bytes, (size_t)n, &type, NULL), 0);
        ms = 0;
        if (type != STEP_FRAME_RESULT)
            continue;
        assert_int_equal(step_result_decode(bytes, (size_t)n, &r, NULL), 0);
        answered = r.id;
        answered_code = r.code;
        snprintf(answered_text, sizeof answered_text, "%s", r.text);
        step_result_fini(&r);
        return;
    }
}

static void give(const void *bytes, size_t n)
{
    while (n > 0 && send(fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        assert_true(errno == EAGAIN || errno == EINTR);
        drain(10);
    }
    drain(0);
}

static void give_step(const struct step *step)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    assert_int_equal(step_encode(step, &bytes, &n, NULL), 0);
    give(bytes, n);
    free(bytes);
}

static void cancel(uint32_t id)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    assert_int_equal(step_cancel_encode(id, &bytes, &n, NULL), 0);
    give(bytes, n);
    free(bytes);
}

/* Asks until it is answered: what was asked before may fill the executor's list for a while. */
static int ask(struct step step)
{
    uint64_t end = now_ms() + WAIT_MS, again = 0;
    answered = 0;
    while (answered != step.id) {
        assert_true(now_ms() < end);
        if (now_ms() >= again) {
            give_step(&step);
            again = now_ms() + 2000;
        }
        drain(50);
    }
    return answered_code;
}

static unsigned long rss_kb(void)
{
    char path[64], line[256];
    unsigned long kb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", executor);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %lu", &kb) == 1)
            break;
    if (f)
        fclose(f);
    return kb;
}

static char *calls(void)
{
    char path[128], *text = NULL;
    size_t n;
    snprintf(path, sizeof path, "%s/calls", top);
    assert_int_equal(file_read(path, 4 << 20, &text, &n, NULL), 0);
    return text;
}

/* The claims that hold after each attack. */
static void all_is_well(void)
{
    char *text;
    assert_int_equal(ask((struct step){.id = 0x7fffffff, .kind = STEP_INSPECT}), 0);
    for (unsigned i = 0; i < notes->count && i < BREACHES; i++)
        print_error("the executor: %s\n", notes->text[i]);
    assert_int_equal(notes->count, 0);
    text = calls();
    assert_null(strstr(text, MARK));
    assert_null(strstr(text, "kubeadm join"));
    free(text);
    assert_in_range(rss_kb(), 1, RSS_MAX_KB);
}

/* ---- what is sent ---- */

static void test_random_bytes(void **state)
{
    static uint8_t bytes[STEP_FRAME_MAX + 64];
    (void)state;
    for (int i = 0; i < 2000; i++) {
        size_t n = 1 + draw() % (i % 100 ? 200 : sizeof bytes);
        for (size_t k = 0; k < n; k++)
            bytes[k] = (uint8_t)draw();
        if (i % 2) /* half of them begin as a step does */
            memcpy(bytes, (const uint8_t[]){0x95, 0x01, (uint8_t)(i & 0x7f), (uint8_t)(draw() % 24), 0x32},
                   5);
        give(bytes, n < 5 ? 5 : n);
    }
    all_is_well();
}

static struct step good_step(enum step_kind kind, const uint8_t *record, size_t n)
{
    return (struct step){.id = 1000u + kind,
                         .kind = kind,
                         .timeout_ms = 50,
                         .role = STEP_ROLE_WORKER,
                         .node_name = "node2",
                         .address = "192.168.56.12",
                         .interface = "enp0s8",
                         .endpoint = "192.168.56.11:6443",
                         .pod_cidr = "10.10.0.0/16",
                         .service_cidr = "10.96.0.0/12",
                         .kubernetes_version = "v1.20.2",
                         .ca_hash = HASH,
                         .token = "abcdef.0123456789abcdef",
                         .ttl_s = 60,
                         .pod_address = "10.10.1.2",
                         .cluster_id = ID,
                         .group_key = {1, [KEYTEXT_RAW_BYTES - 1] = 1},
                         .record = record,
                         .record_bytes = n};
}

/* Each kind, each byte of its frame bent, and the frame cut short at each length and made longer. */
static void test_frames_bent_and_cut(void **state)
{
    static const uint8_t no_record[] = {0x90};
    (void)state;
    for (int kind = 1; kind < STEP_KIND_COUNT; kind++) {
        struct step step = good_step((enum step_kind)kind, no_record, sizeof no_record);
        uint8_t *bytes = NULL, longer[2048];
        size_t n = 0;
        assert_int_equal(step_encode(&step, &bytes, &n, NULL), 0);
        assert_true(n < sizeof longer);
        for (size_t i = 1; i < n; i++)
            give(bytes, i);
        for (size_t i = 0; i < n; i++) {
            uint8_t was = bytes[i];
            bytes[i] ^= (uint8_t)(1u << draw() % 8);
            give(bytes, n);
            bytes[i] = was;
        }
        memcpy(longer, bytes, n);
        longer[n] = 0xc0;
        give(longer, n + 1);
        cancel(step.id);
        free(bytes);
    }
    all_is_well();
}

/* ---- fields ---- */

static const struct {
    uint32_t bit;
    size_t offset;
} texts[] = {
    {STEP_F_NODE_NAME, offsetof(struct step, node_name)},
    {STEP_F_ADDRESS, offsetof(struct step, address)},
    {STEP_F_INTERFACE, offsetof(struct step, interface)},
    {STEP_F_ENDPOINT, offsetof(struct step, endpoint)},
    {STEP_F_POD_CIDR, offsetof(struct step, pod_cidr)},
    {STEP_F_SERVICE_CIDR, offsetof(struct step, service_cidr)},
    {STEP_F_VERSION, offsetof(struct step, kubernetes_version)},
    {STEP_F_CA_HASH, offsetof(struct step, ca_hash)},
    {STEP_F_TOKEN, offsetof(struct step, token)},
    {STEP_F_POD_ADDRESS, offsetof(struct step, pod_address)},
    {STEP_F_CLUSTER_ID, offsetof(struct step, cluster_id)},
};
#define TEXTS (sizeof texts / sizeof texts[0])

static const char *const odd[] = {
    "/etc/" MARK,
    "../../" MARK,
    "--" MARK,
    "-o" MARK,
    MARK ";id",
    "$(" MARK ")",
    "`" MARK "`",
    MARK "|sh",
    MARK "&",
    MARK ">/x",
    MARK "\n- x",
    MARK "\t",
    MARK "\x1b[2J",
    MARK "' \"",
    MARK ": {a: b}",
    MARK "%n%s",
    MARK "\xff\xfe",
    "192.168.56.12 " MARK,
    "192.168.56.12/" MARK,
    "abcdef.0123456789" MARK,
    "v1.20.2-" MARK "/..",
    "node2." MARK ".",
    "NODE-" MARK,
    "",
    "0123456789012345678901234567890123456789012345678901234567890123456789" MARK,
};
#define ODDS (sizeof odd / sizeof odd[0])

static void put_text(struct pack_writer *w, const char *text, size_t n)
{
    uint8_t raw[3 + 512] = {0xda, (uint8_t)(n >> 8), (uint8_t)n};
    memcpy(raw + 3, text, n);
    pack_put_raw(w, raw, n + 3);
}

/* A frame with one field as the attacker likes it, which step_encode would not make. */
static void give_odd(const struct step *s, size_t field, const char *text, size_t n)
{
    uint32_t fields = step_fields(s->kind);
    uint8_t bytes[4096];
    struct pack_writer w;
    pack_writer_into(&w, bytes, sizeof bytes);
    pack_put_array(&w, 5);
    pack_put_uint(&w, STEP_FRAME_STEP);
    pack_put_uint(&w, s->id);
    pack_put_uint(&w, (uint64_t)s->kind);
    pack_put_uint(&w, s->timeout_ms);
    pack_put_array(&w, (size_t)__builtin_popcount(fields));
    if (fields & STEP_F_ROLE)
        pack_put_uint(&w, s->role);
    for (size_t i = 0; i < TEXTS; i++) {
        const char *good = (const char *)s + texts[i].offset;
        if (fields & texts[i].bit)
            put_text(&w, i == field ? text : good, i == field ? n : strlen(good));
    }
    if (fields & STEP_F_TTL)
        pack_put_uint(&w, s->ttl_s);
    if (fields & STEP_F_RECORD)
        pack_put_bin(&w, s->record, s->record_bytes);
    assert_int_equal(pack_writer_end(&w, NULL), 0);
    give(bytes, w.used);
}

static void test_paths_and_metacharacters_in_every_text(void **state)
{
    static const uint8_t no_record[] = {0x90};
    size_t frames = 0;
    (void)state;
    for (int kind = 1; kind < STEP_KIND_COUNT; kind++) {
        struct step step = good_step((enum step_kind)kind, no_record, sizeof no_record);
        for (size_t f = 0; f < TEXTS; f++)
            for (size_t i = 0; i < ODDS && step_fields(step.kind) & texts[f].bit; i++, frames++)
                give_odd(&step, f, odd[i],
                         strlen(odd[i]) + (i % 5 == 0 && odd[i][0] ? 1 : 0)); /* some with a NUL */
    }
    assert_true(frames > 500);
    all_is_well();
}

/* ---- records ---- */

struct lie {
    uint16_t members, signatures;
    bool same_signature; /* one member's, counted twice */
    bool other_text;     /* signed was another record */
    const char *endpoint;
};

static uint8_t *make_record(const struct lie *lie, size_t *n)
{
    struct committed *c = calloc(1, sizeof *c);
    struct identity *peer[3];
    uint8_t set_id[SET_ID_BYTES], text[ACCEPT_TEXT_BYTES], *bytes = NULL;
    assert_non_null(c);
    for (uint16_t i = 0; i < 3; i++) {
        uint8_t own[IDENTITY_SEED_BYTES] = {(uint8_t)(i + 1)};
        assert_int_equal(identity_new(&peer[i], own, NULL), 0);
        for (uint16_t k = i; k > 0 && peer_id_compare(&peer[k - 1]->id, &peer[k]->id) > 0; k--) {
            struct identity *later = peer[k - 1];
            peer[k - 1] = peer[k];
            peer[k] = later;
        }
    }
    c->term = c->record.term = 1;
    strcpy(c->record.cluster_id, ID);
    strcpy(c->record.endpoint, lie->endpoint);
    strcpy(c->record.ca_hash, HASH);
    strcpy(c->record.kubernetes_version, "v1.20.2");
    strcpy(c->record.pod_cidr, "10.10.0.0/16");
    strcpy(c->record.service_cidr, "10.96.0.0/12");
    strcpy(c->record.founder_name, "node1");
    c->record.founder = peer[0]->id;
    c->set.number = 1;
    c->set.count = lie->members;
    for (uint16_t i = 0; i < lie->members; i++)
        c->set.member[i] = peer[i]->id;
    electorate_id(&c->set, set_id);
    record_accept_text(c->group_id, set_id, c->term, &c->record, text);
    if (lie->other_text)
        strcpy(c->record.endpoint, "192.168.56.66:6443");
    c->signature_count = lie->signatures;
    for (uint16_t i = 0; i < lie->signatures; i++) {
        uint16_t who = lie->same_signature ? 0 : i;
        c->signature[i].member = i;
        memcpy(c->signature[i].sign_pk, peer[who]->sign_pk, SIGN_PK_BYTES);
        identity_sign(peer[who], ACCEPT_DOMAIN, text, sizeof text, c->signature[i].sig);
    }
    for (int i = 0; i < 3; i++)
        identity_free(peer[i]);
    if (committed_encode(c, &bytes, n, NULL))
        bytes = NULL;
    free(c);
    return bytes;
}

static int join(const uint8_t *record, size_t n)
{
    struct step step = good_step(STEP_JOIN, record, n);
    step.timeout_ms = 20000;
    return ask(step);
}

static void test_what_no_majority_signed_is_not_joined(void **state)
{
    static const struct lie lies[] = {
        {3, 1, false, false, "192.168.56.11:6443"},    {3, 2, true, false, "192.168.56.11:6443"},
        {3, 2, false, true, "192.168.56.11:6443"},     {3, 3, false, true, "192.168.56.11:6443"},
        {2, 1, false, false, "192.168.56.11:6443"},    {3, 3, false, false, "--config=/etc/" MARK},
        {3, 3, false, false, "192.168.56.11:6443 -x"},
    };
    size_t n = 0, tried = 0;
    uint8_t *record;
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        record = make_record(&lies[i], &n);
        if (!record)
            continue; /* what cannot even be written */
        tried++;
        assert_true(join(record, n) < 0);
        free(record);
    }
    assert_true(tried >= 4);
    record = make_record(&(struct lie){3, 2, false, false, "192.168.56.11:6443"}, &n);
    assert_non_null(record);
    for (size_t i = 0; i < n; i += 1 + n / 60) {
        record[i] ^= (uint8_t)(1u << draw() % 8);
        /* Only a bit of the text that names the founder's host and the like could be left unsigned: none is.
         */
        assert_true(join(record, n) < 0);
        free(record);
        record = make_record(&(struct lie){3, 2, false, false, "192.168.56.11:6443"}, &n);
    }
    for (size_t i = 1; i < n; i += 1 + n / 20)
        assert_true(join(record, i) < 0);
    free(record);
    all_is_well();
}

/* This test sees a join where there is one: on what a majority signed, and with the record's own words. */
static void test_what_a_majority_signed_is_joined(void **state)
{
    size_t n = 0;
    char *text;
    uint8_t *record = make_record(&(struct lie){3, 2, false, false, "192.168.56.11:6443"}, &n);
    (void)state;
    assert_non_null(record);
    (void)join(record, n); /* a kubeadm that does nothing is found out afterwards */
    free(record);
    text = calls();
    if (!strstr(text, "kubeadm join"))
        fail_msg("no join: %s", answered_text);
    assert_non_null(strstr(text, "192.168.56.11:6443"));
    free(text);
    assert_int_equal(notes->count, 0);
}

/* ---- the socket itself ---- */

static size_t descriptors(void)
{
    char path[64];
    size_t n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", executor);
    DIR *dir = opendir(path);
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n; /* 0: only root may look */
}

static void give_descriptors(const void *bytes, size_t n)
{
    union {
        char room[CMSG_SPACE(8 * sizeof(int))];
        struct cmsghdr head;
    } control = {{0}};
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof control.room};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(8 * sizeof(int));
    for (size_t i = 0; i < 8; i++)
        memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof fd);
    while (sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        drain(10);
    drain(0);
}

static void test_descriptors_are_not_taken(void **state)
{
    struct step step = {.id = 5, .kind = STEP_INSPECT};
    uint8_t *bytes = NULL;
    size_t n = 0, before, after;
    (void)state;
    all_is_well();
    before = descriptors();
    assert_int_equal(step_encode(&step, &bytes, &n, NULL), 0);
    for (int i = 0; i < 50; i++) {
        give_descriptors(bytes, i % 2 ? n : 1);
        step.id++;
    }
    free(bytes);
    all_is_well();
    after = descriptors();
    assert_in_range(after, 0, before + 2); /* a worker's pipe may be open just now */
}

static void test_floods(void **state)
{
    static const enum step_kind kinds[] = {STEP_INSPECT, STEP_IMAGES_LIST, STEP_PREFLIGHT, STEP_REACH,
                                           STEP_RESET,   STEP_UNDO,        STEP_PREPARE,   STEP_TOKEN_MINT};
    static uint8_t big[STEP_FRAME_MAX + 1];
    (void)state;
    for (uint32_t i = 1; i <= 1500; i++) {
        struct step step = good_step(kinds[draw() % 8], NULL, 0);
        step.id = 1 + i % 97; /* numbers are used again while they are still in use */
        give_step(&step);
        if (i % 3 == 0)
            cancel((uint32_t)(1 + draw() % 97));
        if (i % 500 == 0)
            give(big, sizeof big);
    }
    for (uint32_t id = 1; id <= 97; id++)
        cancel(id);
    all_is_well();
}

/* This test sees a breach where there is one. */
static void test_breaches_are_seen(void **state)
{
    char *argv[] = {(char[]){"true"}, NULL};
    (void)state;
    assert_int_equal(__wrap_execve("/bin/true", argv, argv), -1);
    assert_int_equal(notes->count, 1);
    assert_int_equal(__wrap_open("/nowhere/file", O_WRONLY), -1);
    assert_int_equal(notes->count, 2);
    assert_int_equal(__wrap_unlink("/nowhere/file"), -1);
    assert_int_equal(notes->count, 3);
    assert_int_equal(__wrap_open("/nowhere/file", O_RDONLY), -1);
    assert_int_equal(notes->count, 3);
}

int main(void)
{
#define WITH_EXECUTOR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_EXECUTOR(test_breaches_are_seen),
        WITH_EXECUTOR(test_random_bytes),
        WITH_EXECUTOR(test_frames_bent_and_cut),
        WITH_EXECUTOR(test_paths_and_metacharacters_in_every_text),
        WITH_EXECUTOR(test_what_no_majority_signed_is_not_joined),
        WITH_EXECUTOR(test_what_a_majority_signed_is_joined),
        WITH_EXECUTOR(test_descriptors_are_not_taken),
        WITH_EXECUTOR(test_floods),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
