/* Each cause is found in a picture of it, and comes before what follows from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "peer/command/why.h"
#include "peer/writer.h"
#include "protocol/mem.h"

#define TEST(f) cmocka_unit_test(f)

/* What is found in a picture, which is written with ' for " and with a comma after each of its parts. */
struct found {
    json_t *answer;
    const char *symptom, *kind, *text, *next, *host, *address;
};

static json_t *parse(const char *text)
{
    char json[8192];
    size_t n = 0;
    json_error_t at;
    json_t *tree;

    assert_true(strlen(text) < sizeof json);
    for (; *text; text++)
        if (*text != ',' || (text[1] != ']' && text[1] != '}'))
            json[n++] = *text == '\'' ? '"' : *text;
    json[n] = '\0';
    tree = json_loads(json, 0, &at);
    if (!tree)
        fail_msg("%s at %d: %s", at.text, at.position, json);
    return tree;
}

static struct found look(const char *about, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static struct found look(const char *about, const char *fmt, ...)
{
    char text[8000], all[8192];
    struct found f = {0};
    const json_t *cause, *host;
    struct err err = {0};
    json_t *picture;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(all, sizeof all, "{'host': 'node1', %s}", text);
    picture = parse(all);
    assert_int_equal(why_judge(picture, about, &f.answer, &err), 0);
    json_decref(picture);
    cause = json_object_get(f.answer, "cause");
    host = json_array_get(json_object_get(cause, "hosts"), 0);
    f.symptom = writer_text(f.answer, "symptom");
    f.kind = writer_text(cause, "kind");
    f.text = writer_text(cause, "text");
    f.next = writer_text(cause, "next");
    f.host = writer_text(host, "name");
    f.address = writer_text(host, "address");
    return f;
}

static void holds(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in \"%s\"", part, text);
}

/* The cause, whose it is, and a part of its words and of what to do. */
static void is(struct found *f, const char *kind, const char *host, const char *text, const char *next)
{
    assert_string_equal(f->kind, kind);
    assert_string_equal(f->host, host);
    holds(f->text, text);
    holds(f->next, next);
    json_decref(f->answer);
}

/* ---- pictures ---- */

#define MEMBER(name, last, state, phase, note)                                                               \
    "{'id': 'id-" name "', 'name': '" name "', 'address': '192.168.56." last "', 'state': '" state           \
    "', 'phase': '" phase "', 'note': " note ", 'self': false, 'last_heard_ms': 40000, 'phase_ms': 7000},"
#define SELF(phase)                                                                                          \
    "{'id': 'id-node1', 'name': 'node1', 'address': '192.168.56.11', 'state': 'alive', 'phase': '" phase     \
    "', 'note': null, 'self': true, 'last_heard_ms': 0, 'phase_ms': 7000},"
#define NODE2 MEMBER("node2", "12", "alive", "ready", "null")
#define NODE3 MEMBER("node3", "13", "alive", "ready", "null")
#define GONE2 MEMBER("node2", "12", "failed", "ready", "null")

#define NO_AGENT      "'status': null, 'members': null,"
#define HEALTHY       "'status': {'healthy': true, 'phase': 'ready', 'signs': {}},"
#define STATUS(more)  "'status': {'healthy': false, 'signs': {}, " more "},"
#define SIGNS(more)   "'status': {'healthy': false, 'signs': {" more "}},"
#define ERROR(text)   "'error': '" text "', 'hint': 'do it',"
#define BLOCKED(text) STATUS("'waiting': '" text "', " ERROR(text))

#define MEMBERS(list) "'members': {'cluster': null, 'members': [" list "]},"
#define CLUSTER(of, list)                                                                                    \
    "'members': {'cluster': {'founder': 'id-" of "', 'founder_name': '" of "'}, 'members': [" list "]},"

#define RED(check, detail)                                                                                   \
    "{'check': '" check "', 'level': 'red', 'detail': '" detail "', 'next': 'mend " check "'},"
#define CHECKS(list) "'checks': [{'check': 'cpu', 'level': 'ok'}," list "],"

#define AT(name, last) "{'name': '" name "', 'address': '192.168.56." last "'},"
#define FAULT(check, hosts, text)                                                                            \
    "{'check': '" check "', 'level': 'red', 'hosts': [" hosts "], 'text': '" text "', 'next': 'mend it'},"
#define GROUP(list) "'group': {'faults': [" list "]},"
#define SHUT_PORT                                                                                            \
    FAULT("port", AT("node2", "12"), "nobody reaches TCP 6443 of node2 (192.168.56.12): no answer")

/* ---- all is well ---- */

static void nothing(struct found *f, const char *symptom)
{
    assert_true(json_is_null(json_object_get(f->answer, "cause")));
    holds(f->symptom, symptom);
    json_decref(f->answer);
}

static void test_all_is_well(void **state)
{
    struct found f = look(NULL, HEALTHY CLUSTER("node2", SELF("ready") NODE2) CHECKS("") GROUP(""));
    (void)state;
    assert_true(json_is_true(json_object_get(f.answer, "ready")));
    nothing(&f, "node1 is ready");
}

/* It takes its time, and nobody is at fault. */
static void test_no_cause_is_made_up(void **state)
{
    struct found f =
        look(NULL, STATUS("'waiting': 'kubeadm-join on this host'") CLUSTER("node2", SELF("joining") NODE2));
    (void)state;
    nothing(&f, "node1 is not ready (joining, for 7.0 s): it waits for kubeadm-join on this host");
}

/* Strangers beside a cluster that stands, warnings, and who has left, are nobody's fault. */
static void test_what_does_no_harm_is_no_cause(void **state)
{
    struct found f =
        look(NULL, "'status': {'healthy': true, 'signs': {'other-group': '192.168.56.99'}}," CLUSTER(
                       "node2", SELF("ready") NODE2 MEMBER("node3", "13", "left", "left", "null"))
                       GROUP("{'check': 'product-uuid', 'level': 'warn', 'hosts': [], 'text': 'x'}," FAULT(
                           "answer", AT("node2", "12"), "no answer in time")));
    (void)state;
    nothing(&f, "node1 is ready");
}

/* ---- each cause ---- */

static void test_blocked_port(void **state)
{
    struct found f =
        look(NULL, STATUS("'waiting': 'kubeadm-join on this host'," ERROR("kubeadm: deadline exceeded"))
                       CLUSTER("node2", SELF("joining") NODE2 NODE3)
                           GROUP(FAULT("port", AT("node3", "13"), "elsewhere") SHUT_PORT));
    const json_t *chain = json_object_get(f.answer, "chain");
    (void)state;
    holds(json_string_value(json_array_get(chain, 0)), "deadline exceeded");
    holds(json_string_value(json_array_get(chain, 1)), "node2 (192.168.56.12), the master, is ready");
    is(&f, "port", "node2", "TCP 6443", "mend it");
}

static void test_wrong_key_here(void **state)
{
    struct found f = look(NULL, SIGNS("'other-group': '192.168.56.12'") MEMBERS(SELF("looking")));
    (void)state;
    is(&f, "key", "node1", "192.168.56.12 has another key", "kpeer key show");
}

static void test_wrong_key_there(void **state)
{
    struct found f = look(NULL, SIGNS("'other-group': '192.168.56.13'") MEMBERS(SELF("settling") NODE2));
    (void)state;
    assert_string_equal(f.address, "192.168.56.13");
    is(&f, "key", "", "the host at 192.168.56.13 has another key", "copy this group's key file");
}

static void test_clock(void **state)
{
    struct found f = look(NULL, BLOCKED("the clock of x") MEMBERS(SELF("electing") NODE2)
                                    GROUP(FAULT("clock", AT("node2", "12"), "the clock of node2 is off")));
    (void)state;
    is(&f, "clock", "node2", "the clock of node2 is off", "mend it");
}

/* The same from whoever may not let the group look at itself: the hosts are those that the words name. */
static void test_clock_without_a_survey(void **state)
{
    struct found f = look(NULL, BLOCKED("the clock of node2 (192.168.56.12) is off") MEMBERS(
                                    SELF("electing") NODE2 MEMBER("node", "1", "alive", "electing", "null")));
    (void)state;
    assert_int_equal(json_array_size(json_object_get(json_object_get(f.answer, "cause"), "hosts")), 1);
    is(&f, "group", "node2", "the clock of node2", "do it");
}

static void test_clone(void **state)
{
    struct found f = look(
        "node2", HEALTHY MEMBERS(SELF("ready") MEMBER("node2", "12", "alive", "joining", "'it waits'"))
                     GROUP(FAULT("machine-id", AT("node2", "12") AT("node1", "11"), "the same machine-id")));
    (void)state;
    is(&f, "machine-id", "node2", "the same machine-id", "mend it");
}

static void test_swap_on_here(void **state)
{
    struct found f =
        look(NULL, STATUS(ERROR("this host is not fit: swap is on")) MEMBERS(SELF("failed") NODE2)
                       CHECKS(RED("swap", "swap is on (/dev/sda2)") RED("disk", "no room")));
    (void)state;
    assert_int_equal(json_array_size(json_object_get(f.answer, "also")), 1); /* the disk */
    is(&f, "swap", "node1", "swap is on (/dev/sda2)", "mend swap");
    f = look(NULL, STATUS(ERROR("this host is not fit: swap is on")) MEMBERS(SELF("failed") NODE2));
    is(&f, "preflight", "node1", "swap is on", "do it");
}

static void test_runtime_dead_there(void **state)
{
    struct found f = look(
        NULL, HEALTHY CLUSTER("node1",
                              SELF("ready") NODE2 MEMBER("node3", "13", "alive", "failed",
                                                         "'this host is not fit: no socket of containerd'")));
    (void)state;
    holds(f.symptom, "node3 is not ready (failed, for 7.0 s)");
    is(&f, "preflight", "node3", "no socket of containerd", "on node3: sudo kpeer why");
}

static void test_image_missing_where_the_group_waits(void **state)
{
    struct found f =
        look(NULL, STATUS("'waiting': 'the master to found the cluster'") MEMBERS(SELF("preparing") MEMBER(
                       "node2", "12", "alive", "failed", "'2 of 9 images could not be had: x'")));
    (void)state;
    is(&f, "image", "node2", "images could not be had", "on node2");
}

static void test_expired_ticket(void **state)
{
    struct found f = look(NULL, STATUS(ERROR("kubeadm join: could not find a JWS signature in cluster-info"))
                                    CLUSTER("node2", SELF("joining") NODE2));
    (void)state;
    is(&f, "ticket", "node1", "JWS signature", "do it");
    f = look(NULL, STATUS(ERROR("the ticket from the master node2 had expired when it came"))
                       CLUSTER("node2", SELF("joining") NODE2));
    is(&f, "ticket", "node1", "had expired", "do it");
}

static void test_master_down(void **state)
{
    struct found f = look(NULL, STATUS("'waiting': 'the master node2, which is not heard'")
                                    CLUSTER("node2", SELF("joining") GONE2));
    (void)state;
    is(&f, "master", "node2", "was last heard 40.0 s ago", "there: sudo kpeer why");
    f = look(NULL, HEALTHY CLUSTER("node2", SELF("ready") GONE2));
    holds(f.symptom, "node2 is not heard");
    is(&f, "master", "node2", "the master, was last heard 40.0 s ago", "sudo kpeer up");
}

/* There is one control plane, and it went with its host, which may be here again as another member. */
static void test_master_has_left(void **state)
{
    struct found f =
        look(NULL, HEALTHY CLUSTER("node2", SELF("ready") MEMBER("node2", "12", "left", "left", "null")));
    (void)state;
    is(&f, "master", "node2", "the master node2 has left: this cluster has no control plane",
       "on each host: sudo kpeer leave --force");
    f = look(NULL,
             HEALTHY "'members': {'cluster': {'founder': 'id-before', 'founder_name': 'node2'}, "
                     "'members': [" SELF("ready") MEMBER("node2", "12", "alive", "joining", "null") "]},");
    holds(f.symptom, "node2 is not ready");
    is(&f, "master", "node2",
       "the master node2 has left, and is here anew: this cluster has no control plane",
       "on each host: sudo kpeer leave --force");
    f = look(NULL, HEALTHY "'members': {'cluster': {'founder': 'id-before', 'founder_name': 'node2'}, "
                           "'members': [" SELF("ready") "]},");
    is(&f, "master", "", "the master node2 is not heard", "start it");
}

static void test_no_quorum(void **state)
{
    struct found f = look(
        NULL, STATUS("'hint': 'start them', 'waiting': 'a majority of the 3 hosts that decide: 1 is here'")
                  MEMBERS(SELF("electing") GONE2 MEMBER("node3", "13", "suspect", "electing", "null")));
    (void)state;
    assert_int_equal(json_array_size(json_object_get(json_object_get(f.answer, "cause"), "hosts")), 2);
    is(&f, "quorum", "node2", "a majority of the 3 hosts", "start them");
}

static void test_address_clash(void **state)
{
    struct found f = look(NULL, SIGNS("'conflict': '192.168.56.12'") MEMBERS(SELF("looking")));
    (void)state;
    assert_string_equal(f.address, "192.168.56.12");
    is(&f, "address", "", "two hosts claim the address 192.168.56.12", "another address");
    f = look(NULL, SIGNS("'conflict': '192.168.56.12'") MEMBERS(SELF("looking") GONE2));
    is(&f, "address", "node2", "two hosts claim the address 192.168.56.12", "another address");
}

static void test_multicast_filtered(void **state)
{
    struct found f = look(NULL, SIGNS("'deaf': '192.168.56.13'") MEMBERS(SELF("settling") NODE2));
    (void)state;
    assert_string_equal(f.address, "192.168.56.13");
    is(&f, "multicast", "", "does not hear this one", "--seed");
    f = look(NULL, SIGNS("'unheard': '192.168.56.13'") MEMBERS(SELF("looking")));
    is(&f, "multicast", "node1", "none of them hears this one", "--seed");
    f = look(NULL, STATUS("'heard': {'refused-links': 4}") MEMBERS(SELF("looking")));
    is(&f, "multicast", "node1", "does not arrive here", "--seed");
}

static void test_too_small(void **state)
{
    struct found f =
        look(NULL, BLOCKED("no host here can be the master: it takes 2 CPUs; node2 has 1 and 1100")
                       MEMBERS(SELF("electing") NODE2));
    (void)state;
    is(&f, "group", "node2", "no host here can be the master", "do it");
}

static void test_disk_full(void **state)
{
    struct found f =
        look(NULL,
             NO_AGENT CHECKS(RED(
                 "disk",
                 "no room")) "'ending': {'text': 'cannot write x: No space left on device', 'next': 'free'}");
    (void)state;
    assert_string_equal(f.symptom, "no agent runs on node1");
    assert_int_equal(json_array_size(json_object_get(f.answer, "also")), 0);
    is(&f, "disk", "node1", "No space left on device", "free");
}

static void test_version_skew(void **state)
{
    struct found f = look(
        "node3", HEALTHY CLUSTER("node1", SELF("ready") NODE2 MEMBER("node3", "13", "alive", "joining",
                                                                     "'node3 has another one'"))
                     GROUP(FAULT("kubernetes", AT("node3", "13"), "node3: v1.21.0; most others: v1.20.2")));
    (void)state;
    is(&f, "kubernetes", "node3", "v1.21.0", "mend it");
}

static void test_no_agent(void **state)
{
    struct found f = look(NULL, NO_AGENT CHECKS(""));
    (void)state;
    is(&f, "agent", "node1", "was not started", "sudo kpeer up");
    f = look("node1", NO_AGENT CHECKS(RED("swap", "swap is on")));
    is(&f, "swap", "node1", "swap is on", "mend swap");
}

/* A stuck agent is none that has ended, and what it could still say is kept. */
static void test_silent_agent(void **state)
{
    struct found f = look(NULL, "'silent': true," NO_AGENT CHECKS(""));
    (void)state;
    assert_string_equal(f.symptom, "the agent of node1 does not answer");
    is(&f, "agent", "node1", "stopped or stuck", "journalctl -u kpeer");
    f = look(NULL, "'silent': true," NO_AGENT CHECKS(RED("disk", "no room")));
    assert_int_equal(json_array_size(json_object_get(f.answer, "also")), 0);
    is(&f, "disk", "node1", "no room", "mend disk");
    f = look(NULL, "'silent': true, 'members': null, 'status': {'healthy': false, 'signs': {'other-group': "
                   "'192.168.56.13'}," ERROR("the step failed") "'election': {'expect': 3}},");
    assert_int_equal(json_array_size(json_object_get(f.answer, "also")), 0);
    assert_string_equal(json_string_value(json_array_get(json_object_get(f.answer, "chain"), 0)),
                        "the step failed");
    is(&f, "agent", "node1", "stopped or stuck", "restart");
}

static void test_evicted(void **state)
{
    struct found f =
        look(NULL, "'status': {'signs': {'other-group': '192.168.56.12'}," ERROR(
                       "this host was evicted from the group") "}," CLUSTER("node2", SELF("ready") GONE2));
    (void)state;
    is(&f, "evicted", "node1", "was evicted", "do it");
}

/* Whoever is no member any more: what it said last is no matter. */
static void test_who_has_left(void **state)
{
    struct found f = look(
        "node3",
        HEALTHY CLUSTER("node1", SELF("ready") NODE2 MEMBER("node3", "13", "left", "left", "'join failed'")));
    (void)state;
    assert_string_equal(f.symptom, "node3 has left the group");
    assert_int_equal(json_array_size(json_object_get(f.answer, "chain")), 0);
    is(&f, "left", "node3", "somebody typed kpeer leave", "on node3: sudo kpeer up");
    f = look("node3", HEALTHY CLUSTER(
                          "node1", SELF("ready") NODE2 MEMBER("node3", "13", "left", "ready", "'evicted'")));
    assert_string_equal(f.symptom, "node3 was evicted from the group");
    is(&f, "evicted", "node3", "somebody typed kpeer evict", "on node3: sudo kpeer leave --force");
}

static void test_others_are_missing(void **state)
{
    struct found f = look(NULL, STATUS("'election': {'expect': 3}") MEMBERS(SELF("looking")));
    (void)state;
    is(&f, "hosts", "", "1 of 3 expected", "--expect");
    f = look(NULL, STATUS("'election': {'expect': 0}") MEMBERS(SELF("looking")));
    is(&f, "hosts", "", "no other host is heard", "sudo kpeer up");
}

/* ---- a cause before its consequences ---- */

static void alone(struct found *f)
{
    assert_int_equal(json_array_size(json_object_get(f->answer, "also")), 0);
}

/* That nobody reaches the port of a host that is off, and that this host's join failed, follow. */
static void test_a_master_that_is_off_beats_its_ports(void **state)
{
    struct found f = look(NULL, STATUS(ERROR("kubeadm join ended with status 1"))
                                    CLUSTER("node2", SELF("joining") GONE2) GROUP(SHUT_PORT));
    (void)state;
    alone(&f);
    is(&f, "master", "node2", "was last heard", "sudo kpeer up");
}

/* Two hosts at one address are heard by turns: that one of them seems deaf follows. */
static void test_a_clash_beats_what_is_not_heard(void **state)
{
    struct found f =
        look(NULL, SIGNS("'deaf': '192.168.56.12', 'conflict': '192.168.56.12'") MEMBERS(SELF("settling")));
    (void)state;
    alone(&f);
    is(&f, "address", "", "two hosts claim", "another address");
}

/* kubeadm's failure follows from the dead runtime; what is wrong elsewhere stands beside it. */
static void test_a_dead_runtime_beats_the_step_that_fails(void **state)
{
    struct found f = look(NULL, STATUS(ERROR("kubeadm init ended with status 1"))
                                    MEMBERS(SELF("failed") NODE2) CHECKS(RED("runtime", "no socket"))
                                        GROUP(FAULT("clock", AT("node2", "12"), "the clock")));
    (void)state;
    assert_int_equal(json_array_size(json_object_get(f.answer, "also")), 1);
    is(&f, "runtime", "node1", "no socket", "mend runtime");
}

/* A host that is not heard has that to mend first. */
static void test_absence_beats_what_was_said(void **state)
{
    struct found f = look(
        "node3",
        HEALTHY CLUSTER("node2", SELF("ready") GONE2 MEMBER("node3", "13", "failed", "ready", "'not fit'")));
    (void)state;
    is(&f, "absent", "node3", "was last heard", "sudo kpeer why");
}

/* What another host says counts only where nothing deeper is seen. */
static void test_a_port_beats_the_error_of_another(void **state)
{
    struct found f =
        look("node3", HEALTHY CLUSTER("node2", SELF("ready") NODE2 MEMBER("node3", "13", "alive", "failed",
                                                                          "'join failed'")) GROUP(SHUT_PORT));
    (void)state;
    alone(&f);
    is(&f, "port", "node2", "TCP 6443", "mend it");
    f = look("node3", HEALTHY CLUSTER("node2", SELF("ready") NODE2 MEMBER("node3", "13", "alive", "failed",
                                                                          "'join failed'")));
    is(&f, "step", "node3", "join failed", "on node3");
}

static void test_whom_it_is_about(void **state)
{
    json_t *picture = parse("{" HEALTHY CLUSTER("node1", SELF("ready") NODE2) "}"), *answer = NULL;
    struct err err = {0};
    (void)state;
    assert_int_equal(why_judge(picture, "node9", &answer, &err), KPEER_ENOTFOUND);
    assert_null(answer);
    holds(err.text, "node9");
    assert_int_equal(why_judge(picture, "id-node2", &answer, &err), 0);
    assert_string_equal(writer_text(answer, "host"), "node2");
    json_decref(answer);
    json_decref(picture);
    picture = parse("{'host': 'node1', " NO_AGENT "}");
    assert_int_equal(why_judge(picture, "node2", &answer, &err), KPEER_ENOTFOUND);
    holds(err.hint, "sudo kpeer up");
    json_decref(picture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_is_well),
        TEST(test_no_cause_is_made_up),
        TEST(test_what_does_no_harm_is_no_cause),
        TEST(test_blocked_port),
        TEST(test_wrong_key_here),
        TEST(test_wrong_key_there),
        TEST(test_clock),
        TEST(test_clock_without_a_survey),
        TEST(test_clone),
        TEST(test_swap_on_here),
        TEST(test_runtime_dead_there),
        TEST(test_image_missing_where_the_group_waits),
        TEST(test_expired_ticket),
        TEST(test_master_down),
        TEST(test_master_has_left),
        TEST(test_no_quorum),
        TEST(test_address_clash),
        TEST(test_multicast_filtered),
        TEST(test_too_small),
        TEST(test_disk_full),
        TEST(test_version_skew),
        TEST(test_no_agent),
        TEST(test_silent_agent),
        TEST(test_evicted),
        TEST(test_who_has_left),
        TEST(test_others_are_missing),
        TEST(test_a_master_that_is_off_beats_its_ports),
        TEST(test_a_clash_beats_what_is_not_heard),
        TEST(test_a_dead_runtime_beats_the_step_that_fails),
        TEST(test_absence_beats_what_was_said),
        TEST(test_a_port_beats_the_error_of_another),
        TEST(test_whom_it_is_about),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
