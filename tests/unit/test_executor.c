/* The executor as a process: real frames over the socket pair, a stand-in kubeadm, cancelling, crashes, the
 * agent's death. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer/executor/executor.h"
#include "peer/executor/file.h"
#include "peer/executor/journal.h"
#include "peer/executor/spawn.h"
#include "protocol/record.h"
#include "protocol/step.h"
#include "tests/unit/under_valgrind.h"

#define WAIT_MS 10000
#define HASH    "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ID      "0123456789abcdef0123456789abcdef"

struct bench {
    char root[64];
    struct executor_config cfg;
    int fd;
    pid_t pid;
    char progress[65536];
};

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void write_file(const struct bench *b, const char *name, const char *text, mode_t mode)
{
    char path[160];

    snprintf(path, sizeof(path), "%s/%s", b->root, name);
    assert_int_equal(file_make_parents(path, NULL), 0);
    assert_int_equal(file_put(path, text, strlen(text), mode, (uid_t)-1, (gid_t)-1, NULL), 0);
}

/* A kubeadm that tells its version, or hangs while the file `hang` is there. */
static void write_kubeadm(const struct bench *b)
{
    char script[512];

    snprintf(
        script, sizeof(script),
        "#!/bin/sh\nif [ -e %s/hang ]; then echo $$ >%s/hung.new; mv %s/hung.new %s/hung; sleep 300; fi\n"
        "case \"$*\" in *json*) echo '{\"clientVersion\":{\"gitVersion\":\"v1.20.2\"}}';; *) echo v1.20.2;; "
        "esac\n",
        b->root, b->root, b->root, b->root);
    write_file(b, "kubeadm", script, 0755);
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    strcpy(b->root, "/tmp/kpeer-executor-XXXXXX");
    if (!mkdtemp(b->root))
        return -1;
    write_kubeadm(b);
    snprintf(b->cfg.state_dir, sizeof(b->cfg.state_dir), "%s/state", b->root);
    snprintf(b->cfg.root, sizeof(b->cfg.root), "%s/host", b->root);
    snprintf(b->cfg.tools[TOOL_KUBEADM], sizeof(b->cfg.tools[0]), "%s/kubeadm", b->root);
    for (int tool = TOOL_KUBECTL; tool < TOOL_COUNT; tool++)
        strcpy(b->cfg.tools[tool], "/bin/false");
    write_file(b, "host/etc/hostname", "Node1\n", 0644);
    b->fd = -1;
    *state = b;
    return 0;
}

static void start(struct bench *b)
{
    assert_int_equal(executor_start(&b->cfg, &b->fd, &b->pid, NULL), 0);
}

/* Closes the agent's end; the executor then ends by itself, with status 0. */
static void stop(struct bench *b)
{
    uint64_t end = now_ms() + WAIT_MS;
    int status = -1;

    if (b->fd < 0)
        return;
    close(b->fd);
    b->fd = -1;
    while (waitpid(b->pid, &status, WNOHANG) == 0 && now_ms() < end)
        usleep(5000);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int teardown(void **state)
{
    struct bench *b = *state;
    const char *argv[] = {"rm", "-rf", b->root, NULL};
    struct spawn_result res;

    stop(b);
    spawn_run(&(struct spawn_request){.program = "rm", .argv = argv}, &res, NULL);
    spawn_result_fini(&res);
    free(b);
    return 0;
}

static void ask(const struct bench *b, const struct step *step)
{
    uint8_t *bytes = NULL;
    size_t n = 0;

    assert_int_equal(step_encode(step, &bytes, &n, NULL), 0);
    assert_int_equal(send(b->fd, bytes, n, 0), n);
    free(bytes);
}

static void cancel(const struct bench *b, uint32_t id)
{
    uint8_t *bytes = NULL;
    size_t n = 0;

    assert_int_equal(step_cancel_encode(id, &bytes, &n, NULL), 0);
    assert_int_equal(send(b->fd, bytes, n, 0), n);
    free(bytes);
}

/* Reads frames until a result comes; progress is collected. */
static struct step_result answer(struct bench *b)
{
    static uint8_t bytes[STEP_FRAME_MAX];
    uint64_t end = now_ms() + WAIT_MS;

    for (;;) {
        struct pollfd p = {.fd = b->fd, .events = POLLIN};
        struct step_progress progress;
        struct step_result result;
        enum step_frame type;
        ssize_t n;

        assert_true(now_ms() < end);
        if (poll(&p, 1, (int)(end - now_ms())) <= 0)
            continue;
        n = recv(b->fd, bytes, sizeof(bytes), 0);
        assert_true(n > 0);
        assert_int_equal(step_frame_type(bytes, (size_t)n, &type, NULL), 0);
        if (type == STEP_FRAME_RESULT) {
            assert_int_equal(step_result_decode(bytes, (size_t)n, &result, NULL), 0);
            return result;
        }
        assert_int_equal(step_progress_decode(bytes, (size_t)n, &progress, NULL), 0);
        snprintf(b->progress + strlen(b->progress), sizeof(b->progress) - strlen(b->progress), "%s\n",
                 progress.line);
    }
}

static struct step_result do_step(struct bench *b, struct step step)
{
    ask(b, &step);
    return answer(b);
}

/* Waits until the hanging kubeadm has started; returns its process. */
static pid_t wait_hung(const struct bench *b)
{
    uint64_t end = now_ms() + WAIT_MS;
    char path[160], *text = NULL;
    size_t n;
    pid_t pid;

    snprintf(path, sizeof(path), "%s/hung", b->root);
    while (file_read(path, 64, &text, &n, NULL) != 0) {
        assert_true(now_ms() < end);
        usleep(2000);
    }
    pid = (pid_t)atoi(text);
    free(text);
    return pid;
}

/* State and parent of a process from /proc; false when there is none. */
static bool process_state(pid_t pid, char *letter, pid_t *parent)
{
    char path[64], text[512] = "";
    int ppid;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    f = fopen(path, "r");
    if (!f)
        return false;
    if (!fgets(text, sizeof(text), f))
        text[0] = 0;
    fclose(f);
    if (!strrchr(text, ')') || sscanf(strrchr(text, ')'), ") %c %d", letter, &ppid) != 2)
        return false;
    *parent = ppid;
    return true;
}

static void assert_ends(pid_t pid)
{
    uint64_t end = now_ms() + WAIT_MS;
    char letter;
    pid_t parent;

    while (process_state(pid, &letter, &parent) && letter != 'Z' && letter != 'X') {
        assert_true(now_ms() < end);
        usleep(2000);
    }
}

static void test_inspect(void **state)
{
    struct bench *b = *state;
    struct step_result r;

    start(b);
    r = do_step(b, (struct step){.id = 1, .kind = STEP_INSPECT});
    assert_int_equal(r.code, 0);
    assert_int_equal(r.id, 1);
    assert_true(r.have_facts);
    assert_string_equal(r.facts.kubernetes_version, "v1.20.2");
    assert_string_equal(r.facts.hostname, "node1");
    assert_true(r.facts.cpus >= 1);
    step_result_fini(&r);
}

static void test_rubbish_is_dropped(void **state)
{
#define FRAME(text)                                                                                          \
    {                                                                                                        \
        text, sizeof(text) - 1                                                                               \
    }
    static const struct {
        const char *bytes;
        size_t n;
    } frames[] = {FRAME("\xdd\x0f\xff\xff\xff"),
                  FRAME("\xc0"),
                  FRAME("\x95\x01\x00\x01\x00\x90"),
                  FRAME("hello"), /* a step of number 0 */
                  FRAME("\x92\x02\x00"),
                  FRAME("\x92\x09\x01"),
                  FRAME("\x96\x03\x01\x01\xa0\xa0\xff")}; /* progress, which the agent does not send */
    struct bench *b = *state;
    static uint8_t big[STEP_FRAME_MAX + 1];
    struct step_result r;

    start(b);
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++)
        assert_true(send(b->fd, frames[i].bytes, frames[i].n, 0) >= 0);
    assert_true(send(b->fd, big, sizeof(big), 0) > 0);
    cancel(b, 77); /* a step that is not there */
    r = do_step(b, (struct step){.id = 2, .kind = STEP_INSPECT});
    assert_int_equal(r.code, 0);
    step_result_fini(&r);
}

/* The executor does not rely on the agent's own checks. */
static void test_fields_are_checked_again(void **state)
{
    struct step step = {.id = 3, .kind = STEP_DRAIN, .node_name = "node"};
    struct bench *b = *state;
    struct step_result r;
    uint8_t *bytes = NULL;
    char *name;
    size_t n;

    start(b);
    assert_int_equal(step_encode(&step, &bytes, &n, NULL), 0);
    name = memmem(bytes, n, "node", 4);
    memcpy(name, "--al", 4);
    assert_int_equal(send(b->fd, bytes, n, 0), n);
    free(bytes);
    r = answer(b);
    assert_int_equal(r.code, KPEER_EINVAL);
    assert_non_null(strstr(r.text, "node_name"));
    step_result_fini(&r);
}

static void test_cancel_of_a_running_step(void **state)
{
    struct bench *b = *state;
    struct step_result r;
    uint64_t begun;
    pid_t hung;

    write_file(b, "hang", "", 0644);
    start(b);
    ask(b, &(struct step){.id = 4, .kind = STEP_PREPARE});
    hung = wait_hung(b);
    begun = now_ms();
    cancel(b, 4);
    r = answer(b);
    assert_int_equal(r.code, KPEER_ECANCELED);
    assert_true(now_ms() - begun < 3000);
    step_result_fini(&r);
    assert_ends(hung);
}

static void test_side_by_side_and_in_order(void **state)
{
    struct bench *b = *state;
    struct step_result r;
    char path[160];

    write_file(b, "hang", "", 0644);
    start(b);
    ask(b, &(struct step){.id = 10, .kind = STEP_PREPARE});
    wait_hung(b);
    ask(b, &(struct step){.id = 11, .kind = STEP_UNDO}); /* waits for the one before it */
    snprintf(path, sizeof(path), "%s/hang", b->root);
    assert_int_equal(unlink(path), 0);
    r = do_step(b, (struct step){.id = 12, .kind = STEP_INSPECT}); /* does not wait */
    assert_int_equal(r.id, 12);
    step_result_fini(&r);
    cancel(b, 11);
    r = answer(b);
    assert_int_equal(r.id, 11);
    assert_int_equal(r.code, KPEER_ECANCELED);
    assert_non_null(strstr(r.text, "before it began"));
    step_result_fini(&r);
    cancel(b, 10);
    r = answer(b);
    assert_int_equal(r.id, 10);
    step_result_fini(&r);
}

static void test_time_limit(void **state)
{
    struct bench *b = *state;
    struct step_result r;

    write_file(b, "hang", "", 0644);
    start(b);
    r = do_step(b, (struct step){.id = 5, .kind = STEP_PREPARE, .timeout_ms = 300});
    assert_int_equal(r.code, KPEER_ETIMEOUT);
    assert_in_range(r.took_ms, 300, 3000);
    step_result_fini(&r);
}

static void test_worker_that_crashes(void **state)
{
    struct bench *b = *state;
    struct step_result r;
    pid_t hung, worker;
    char letter;

    write_file(b, "hang", "", 0644);
    start(b);
    ask(b, &(struct step){.id = 6, .kind = STEP_PREPARE});
    hung = wait_hung(b);
    assert_true(process_state(hung, &letter, &worker));
    assert_int_equal(kill(worker, SIGKILL), 0);
    r = answer(b);
    assert_int_equal(r.code, KPEER_EIO);
    assert_non_null(strstr(r.text, "signal 9"));
    step_result_fini(&r);
    assert_ends(hung);
    /* And the executor goes on. */
    r = do_step(b, (struct step){.id = 7, .kind = STEP_UNDO});
    assert_int_equal(r.code, 0);
    step_result_fini(&r);
}

static void test_death_of_the_agent(void **state)
{
    struct bench *b = *state;
    pid_t hung;

    write_file(b, "hang", "", 0644);
    start(b);
    ask(b, &(struct step){.id = 8, .kind = STEP_PREPARE});
    hung = wait_hung(b);
    ask(b, &(struct step){.id = 9, .kind = STEP_UNDO});
    stop(b);
    assert_ends(hung);
}

static void test_death_of_the_executor(void **state)
{
    struct bench *b = *state;
    pid_t hung, worker;
    char letter;

    write_file(b, "hang", "", 0644);
    start(b);
    ask(b, &(struct step){.id = 8, .kind = STEP_PREPARE});
    hung = wait_hung(b);
    assert_true(process_state(hung, &letter, &worker));
    kill(b->pid, SIGKILL);
    waitpid(b->pid, NULL, 0);
    assert_ends(worker);
    assert_ends(hung);
    close(b->fd);
    b->fd = -1;
}

/* A kubeadm that notes when it is not alone, and takes its time to end. */
static void write_slow_kubeadm(const struct bench *b)
{
    char script[1024];

    snprintf(script, sizeof(script),
             "#!/bin/sh\ncd %s\nmkdir busy 2>/dev/null || : >overlap\n"
             "if [ -e hang ]; then\n"
             "  trap 'sleep 1; rmdir busy; exit 1' TERM\n"
             "  echo $$ >hung.new; mv hung.new hung\n"
             "  while :; do sleep 0.05; done\n"
             "fi\n"
             "rmdir busy\ncase \"$*\" in *json*) echo '{\"clientVersion\":{\"gitVersion\":\"v1.20.2\"}}';; "
             "*) echo "
             "v1.20.2;; esac\n",
             b->root);
    write_file(b, "kubeadm", script, 0755);
}

/* An agent is killed, and the next one's executor does not begin before the last step has ended. */
static void test_the_next_executor_waits(void **state)
{
    struct bench *b = *state;
    struct step_result r;
    pid_t hung, first;
    char path[160];

    write_slow_kubeadm(b);
    write_file(b, "hang", "", 0644);
    start(b);
    ask(b, &(struct step){.id = 8, .kind = STEP_PREPARE});
    hung = wait_hung(b);
    snprintf(path, sizeof(path), "%s/hang", b->root);
    assert_int_equal(unlink(path), 0);
    close(b->fd);
    first = b->pid;
    start(b);
    r = do_step(b, (struct step){.id = 2, .kind = STEP_PREPARE});
    step_result_fini(&r);
    snprintf(path, sizeof(path), "%s/overlap", b->root);
    assert_int_equal(access(path, F_OK), -1);
    assert_non_null(strstr(b->progress, "waiting for the step of an earlier agent"));
    assert_ends(hung);
    assert_int_equal(waitpid(first, NULL, 0), first);
}

/* What it holds open: /dev/null, stderr, the socket pair and the signals; nothing that it inherited, no
 * network. */
static void test_descriptors(void **state)
{
    struct bench *b = *state;
    int leak = open("/etc/hostname", O_RDONLY), count = 0;
    char dir[64], path[512], target[256];
    struct dirent *entry;
    struct step_result r;
    DIR *d;

    if (under_valgrind())
        skip(); /* it keeps descriptors of its own in every process */
    start(b);
    r = do_step(b, (struct step){.id = 1, .kind = STEP_INSPECT});
    step_result_fini(&r);
    snprintf(dir, sizeof(dir), "/proc/%d/fd", b->pid);
    d = opendir(dir);
    if (!d)
        skip(); /* not root: the executor does not let itself be looked at */
    while ((entry = readdir(d)) != NULL) {
        ssize_t n;

        snprintf(path, sizeof(path), "%s/%.200s", dir, entry->d_name);
        n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
            continue;
        target[n] = 0;
        count++;
        assert_null(strstr(target, "/etc/hostname"));
    }
    closedir(d);
    close(leak);
    assert_in_range(count, 4, 5);
}

static struct step init_step(uint32_t id)
{
    return (struct step){.id = id,
                         .kind = STEP_INIT,
                         .node_name = "node1",
                         .address = "192.168.56.11",
                         .interface = "enp0s8",
                         .endpoint = "192.168.56.11:6443",
                         .pod_cidr = "10.10.0.0/16",
                         .service_cidr = "10.96.0.0/12",
                         .kubernetes_version = "v1.20.2",
                         .ca_hash = HASH,
                         .cluster_id = ID};
}

static void test_rehearsal(void **state)
{
    struct bench *b = *state;
    struct step_result r;

    b->cfg.dry_run = true;
    start(b);
    r = do_step(b, init_step(1));
    if (r.code)
        fail_msg("%s", r.text);
    step_result_fini(&r);
    r = do_step(b, (struct step){.id = 2, .kind = STEP_RESET});
    assert_int_equal(r.code, 0);
    step_result_fini(&r);
    r = do_step(b, (struct step){.id = 3, .kind = STEP_UNDO});
    assert_int_equal(r.code, 0);
    step_result_fini(&r);
    assert_non_null(strstr(b->progress, "would run"));
    assert_non_null(strstr(b->progress, "192.168.56.11"));
    assert_int_equal(access(b->cfg.state_dir, F_OK), -1);
}

/* A record that the two members of its electorate have signed. */
static uint8_t *signed_record(const char *endpoint, size_t *n)
{
    struct committed *c = calloc(1, sizeof(*c));
    uint8_t set_id[SET_ID_BYTES], text[ACCEPT_TEXT_BYTES], *bytes = NULL;
    struct identity *peer[2];

    for (int i = 0; i < 2; i++) {
        uint8_t seed[IDENTITY_SEED_BYTES] = {(uint8_t)(i + 1)};

        assert_int_equal(identity_new(&peer[i], seed, NULL), 0);
    }
    if (peer_id_compare(&peer[0]->id, &peer[1]->id) > 0) {
        struct identity *first = peer[1];

        peer[1] = peer[0];
        peer[0] = first;
    }
    c->term = c->record.term = 1;
    strcpy(c->record.cluster_id, ID);
    strcpy(c->record.endpoint, endpoint);
    strcpy(c->record.ca_hash, HASH);
    strcpy(c->record.kubernetes_version, "v1.20.2");
    strcpy(c->record.pod_cidr, "10.10.0.0/16");
    strcpy(c->record.service_cidr, "10.96.0.0/12");
    strcpy(c->record.founder_name, "node1");
    c->record.founder = peer[0]->id;
    c->set.number = 1;
    c->set.count = 2;
    c->set.member[0] = peer[0]->id;
    c->set.member[1] = peer[1]->id;
    electorate_id(&c->set, set_id);
    record_accept_text(c->group_id, set_id, c->term, &c->record, text);
    c->signature_count = 2;
    for (uint16_t i = 0; i < 2; i++) {
        c->signature[i].member = i;
        memcpy(c->signature[i].sign_pk, peer[i]->sign_pk, SIGN_PK_BYTES);
        identity_sign(peer[i], ACCEPT_DOMAIN, text, sizeof(text), c->signature[i].sig);
        identity_free(peer[i]);
    }
    assert_int_equal(committed_encode(c, &bytes, n, NULL), 0);
    free(c);
    return bytes;
}

static struct step_result join_on(struct bench *b, uint32_t id, const uint8_t *record, size_t n)
{
    return do_step(b, (struct step){.id = id,
                                    .kind = STEP_JOIN,
                                    .node_name = "node2",
                                    .address = "192.168.56.12",
                                    .interface = "enp0s8",
                                    .token = "abcdef.0123456789abcdef",
                                    .record = record,
                                    .record_bytes = n});
}

/* A rehearsed join: on a record that is signed, on one that was altered, and on one that is signed but wrong.
 */
static void test_join_is_on_a_signed_record(void **state)
{
    struct bench *b = *state;
    struct step_result r;
    uint8_t *record;
    size_t n;

    b->cfg.dry_run = true;
    start(b);
    record = signed_record("192.168.56.11:6443", &n);
    r = join_on(b, 1, record, n);
    if (r.code)
        fail_msg("%s", r.text);
    step_result_fini(&r);
    assert_non_null(strstr(b->progress, "192.168.56.11:6443"));
    assert_null(strstr(b->progress, "abcdef.0123456789abcdef"));
    record[n - 1] ^= 1;
    r = join_on(b, 2, record, n);
    assert_int_equal(r.code, KPEER_EAUTH);
    step_result_fini(&r);
    free(record);
    record = signed_record("--config=/etc/shadow", &n);
    r = join_on(b, 3, record, n);
    assert_int_equal(r.code, KPEER_EINVAL);
    step_result_fini(&r);
    free(record);
}

static void test_join_of_a_second_cluster(void **state)
{
    struct bench *b = *state;
    struct journal *j = NULL;
    struct step_result r;
    uint8_t *record;
    char dir[300];
    size_t n;

    snprintf(dir, sizeof(dir), "%s/executor", b->cfg.state_dir);
    assert_int_equal(journal_open(dir, &j, NULL), 0);
    assert_int_equal(journal_begin(j, STEP_JOIN, "ffffffffffffffffffffffffffffffff", NULL), 0);
    journal_close(j);
    start(b);
    record = signed_record("192.168.56.11:6443", &n);
    r = join_on(b, 1, record, n);
    assert_int_equal(r.code, KPEER_ESTATE);
    assert_non_null(strstr(r.text, "ffffffff"));
    step_result_fini(&r);
    free(record);
}

static void journal_dir(const struct bench *b, char *dir, size_t n)
{
    snprintf(dir, n, "%s/executor", b->cfg.state_dir);
}

/* No init where a join was begun, no join on what is no record. */
static void test_refusals(void **state)
{
    static const uint8_t record[] = {0x90};
    struct step join = {.id = 2,
                        .kind = STEP_JOIN,
                        .node_name = "node1",
                        .address = "192.168.56.11",
                        .interface = "enp0s8",
                        .token = "abcdef.0123456789abcdef",
                        .record = record,
                        .record_bytes = sizeof(record)};
    struct bench *b = *state;
    struct journal *j = NULL;
    struct step_result r;
    char dir[300];

    journal_dir(b, dir, sizeof(dir));
    assert_int_equal(journal_open(dir, &j, NULL), 0);
    assert_int_equal(journal_begin(j, STEP_JOIN, ID, NULL), 0);
    journal_close(j);
    start(b);
    r = do_step(b, init_step(1));
    assert_int_equal(r.code, KPEER_ESTATE);
    assert_non_null(strstr(r.text, ID));
    step_result_fini(&r);
    r = do_step(b, join);
    assert_int_equal(r.code, KPEER_EINVAL);
    assert_null(strstr(r.text, "0123456789abcdef"));
    step_result_fini(&r);
}

static void test_undo(void **state)
{
    struct bench *b = *state;
    struct journal *j = NULL;
    struct step_result r;
    char dir[300], path[160];

    journal_dir(b, dir, sizeof(dir));
    snprintf(path, sizeof(path), "%s/host/etc/made", b->root);
    assert_int_equal(journal_open(dir, &j, NULL), 0);
    assert_int_equal(journal_replace_file(j, path, "x", 1, 0644, NULL), 0);
    journal_close(j);
    start(b);
    r = do_step(b, (struct step){.id = 1, .kind = STEP_UNDO});
    assert_int_equal(r.code, 0);
    step_result_fini(&r);
    assert_non_null(strstr(b->progress, "etc/made"));
    assert_int_equal(access(path, F_OK), -1);
}

static void test_preflight_names_what_is_red(void **state)
{
    struct bench *b = *state;
    struct step_result r;
    size_t red = 0;

    start(b);
    r = do_step(b, (struct step){.id = 1, .kind = STEP_PREFLIGHT, .role = STEP_ROLE_WORKER});
    assert_int_equal(r.code, KPEER_EPREFLIGHT);
    assert_true(r.have_facts);
    assert_true(r.finding_count > 10);
    for (size_t i = 0; i < r.finding_count; i++)
        red += r.findings[i].level == FINDING_RED && strcmp(r.findings[i].check, "runtime") == 0;
    assert_int_equal(red, 1);
    assert_non_null(strstr(r.text, "also red: "));
    assert_string_not_equal(r.hint, "");
    step_result_fini(&r);
}

static void test_many_steps_at_once(void **state)
{
    struct bench *b = *state;
    uint64_t seen = 0;

    start(b);
    for (uint32_t id = 1; id <= 20; id++)
        ask(b, &(struct step){.id = id, .kind = STEP_INSPECT});
    for (int i = 0; i < 20; i++) {
        struct step_result r = answer(b);

        assert_int_equal(r.code, 0);
        seen |= 1ull << r.id;
        step_result_fini(&r);
    }
    assert_true(seen == ((1ull << 21) - 2));
}

static void test_bad_configuration(void **state)
{
    struct bench *b = *state;

    strcpy(b->cfg.tools[TOOL_IP], "ip");
    assert_int_equal(executor_start(&b->cfg, &b->fd, &b->pid, NULL), KPEER_EINVAL);
    b->cfg.tools[TOOL_IP][0] = 0;
    strcpy(b->cfg.state_dir, "state");
    assert_int_equal(executor_start(&b->cfg, &b->fd, &b->pid, NULL), KPEER_EINVAL);
}

int main(void)
{
#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_BENCH(test_inspect),
        WITH_BENCH(test_rubbish_is_dropped),
        WITH_BENCH(test_fields_are_checked_again),
        WITH_BENCH(test_cancel_of_a_running_step),
        WITH_BENCH(test_side_by_side_and_in_order),
        WITH_BENCH(test_time_limit),
        WITH_BENCH(test_worker_that_crashes),
        WITH_BENCH(test_death_of_the_agent),
        WITH_BENCH(test_death_of_the_executor),
        WITH_BENCH(test_the_next_executor_waits),
        WITH_BENCH(test_descriptors),
        WITH_BENCH(test_rehearsal),
        WITH_BENCH(test_join_is_on_a_signed_record),
        WITH_BENCH(test_join_of_a_second_cluster),
        WITH_BENCH(test_refusals),
        WITH_BENCH(test_undo),
        WITH_BENCH(test_preflight_names_what_is_red),
        WITH_BENCH(test_many_steps_at_once),
        WITH_BENCH(test_bad_configuration),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
