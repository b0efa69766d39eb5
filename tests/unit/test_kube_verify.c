/*
 * A trial of a pod, with a kubectl that keeps what it is given and shows what the test put into files: what
 * is made and of whom it is asked, how each fault is told, and that nothing is left in any ending.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "peer/executor/kube/kube.h"
#include "peer/executor/kube/kubeadm.h"

#define NODE(name, ready, range)                                                                             \
    "{\"metadata\": {\"name\": \"" name "\"}, \"spec\": {\"podCIDR\": \"" range                              \
    "\"}, \"status\": {\"conditions\": [{\"type\": \"Ready\", \"status\": \"" ready                          \
    "\", \"message\": \"kubelet is silent\"}]}}"
#define POD(name, node, phase, ready, ip)                                                                    \
    "{\"metadata\": {\"name\": \"" name "\"}, \"spec\": {\"nodeName\": \"" node                              \
    "\"}, \"status\": {\"phase\": \"" phase "\", \"podIP\": \"" ip                                           \
    "\", \"conditions\": [{\"type\": \"Ready\", \"status\": \"" ready "\"}]}}"
#define TRIED                      POD("kpeer-verify", "node2", "Running", "True", "10.10.1.7")
#define CALLER(node, phase, ready) POD("kpeer-verify-from-" node, node, phase, ready, "")
#define LIST(pods)                 "{\"items\": [" pods "]}"

/* What was applied lies in made0, made1, …; the pods are in pods0 as long as that is all there is, then in
 * pods1. */
static const char kubectl[] =
    "#!/bin/sh\n"
    "here=${0%/*}\n"
    "echo \"$*\" >> \"$here/calls\"\n"
    "[ ! -f \"$here/down\" ] || { echo 'The connection was refused' >&2; exit 1; }\n"
    "case \"$1 $2\" in\n"
    "delete*) case \"$*\" in *' --force --grace-period=0 '*) rm -f \"$here/dead\" ;; esac\n"
    "    [ ! -f \"$here/dead\" ] || { echo 'error: timed out' >&2; exit 1; }\n"
    "    [ ! -f \"$here/stuck\" ] || [ ! -f \"$here/made0\" ] || { echo 'error: timed out waiting for "
    "the condition on pods/x' >&2; exit 1; }\n"
    "    rm -f \"$here\"/made* ;;\n"
    "apply*) n=0; [ ! -f \"$here/made0\" ] || n=1; tee \"$here/made$n\" > \"$here/kept$n\" ;;\n"
    "'get nodes') cat \"$here/nodes\" ;;\n"
    "'get node') [ ! -f \"$here/slow\" ] || ! grep -q \"$3\" \"$here/slow\" || sleep 20\n"
    "    cat \"$here/node-$3\" ;;\n"
    "'get pods') if [ -f \"$here/made1\" ]; then cat \"$here/pods1\"; else cat \"$here/pods0\"; fi ;;\n"
    "*) exit 1 ;;\n"
    "esac\n";
static const char kubeadm[] =
    "#!/bin/sh\n"
    "[ \"$1\" = version ] && { echo '{\"clientVersion\": {\"gitVersion\": \"v1.20.2\"}}'; exit 0; }\n"
    "echo k8s.gcr.io/pause:3.2; echo k8s.gcr.io/coredns:1.7.0\n";

static char root[64];
static char told[8192];
static const char *cancel_at; /* what is told when somebody cancels the step */
static struct executor_config cfg;
static struct exec_ctx ctx;
static struct step step;
static struct step_result result;
static struct err err;

static void note(void *arg, const struct step_progress *p)
{
    size_t n = strlen(told);
    (void)arg;
    snprintf(told + n, sizeof told - n, "%s: %s\n", p->phase, p->line);
    if (cancel_at && strstr(p->line, cancel_at)) {
        cancel_at = NULL;
        spawn_cancel();
    }
}

static const char *in_root(const char *name)
{
    static char full[256];
    snprintf(full, sizeof full, "%s/%s", root, name);
    return full;
}

static void put_file(const char *name, const char *text)
{
    FILE *f = fopen(in_root(name), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(in_root(name), 0755), 0);
}

/* "" where there is none; good until the next call. */
static const char *get_file(const char *name)
{
    static char text[16 * 1024];
    FILE *f = fopen(in_root(name), "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    return text;
}

static int setup(void **state)
{
    static const char *const folders[] = {"run", "etc", "etc/kubernetes"};
    (void)state;
    snprintf(root, sizeof root, "/tmp/kpeer-test-verify-XXXXXX");
    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        assert_int_equal(mkdir(in_root(folders[i]), 0755), 0);
    memset(&cfg, 0, sizeof cfg);
    snprintf(cfg.root, sizeof cfg.root, "%s", root);
    snprintf(cfg.tools[TOOL_KUBECTL], sizeof cfg.tools[0], "%s/kubectl", root);
    snprintf(cfg.tools[TOOL_KUBEADM], sizeof cfg.tools[0], "%s/kubeadm", root);
    put_file("kubectl", kubectl);
    put_file("kubeadm", kubeadm);
    put_file("etc/kubernetes/admin.conf", "");
    put_file("nodes", "node/node1\nnode/node2\nnode/node3\n");
    put_file("node-node1", NODE("node1", "True", "10.10.0.0/24"));
    put_file("node-node2", NODE("node2", "True", "10.10.1.0/24"));
    put_file("node-node3", NODE("node3", "True", "10.10.2.0/24"));
    put_file("pods0", LIST(TRIED));
    put_file("pods1",
             LIST(TRIED "," CALLER("node1", "Running", "True") "," CALLER("node3", "Running", "True")));
    ctx = (struct exec_ctx){.cfg = &cfg, .step_id = 1, .progress = note};
    memset(&step, 0, sizeof step);
    snprintf(step.node_name, sizeof step.node_name, "node1");
    snprintf(step.pod_cidr, sizeof step.pod_cidr, "10.10.0.0/16");
    told[0] = '\0';
    cancel_at = NULL;
    spawn_uncancel();
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int verify(uint64_t limit_ms)
{
    memset(&err, 0, sizeof err);
    memset(&result, 0, sizeof result);
    ctx.deadline_ms = clock_ms() + limit_ms;
    return kube_verify(&ctx, &step, &result, &err);
}

static const struct finding *finding(const char *check, size_t skip)
{
    for (size_t i = 0; i < result.finding_count; i++)
        if (strcmp(result.findings[i].check, check) == 0 && skip-- == 0)
            return &result.findings[i];
    return NULL;
}

static void found(const char *check, size_t skip, enum finding_level level, const char *detail)
{
    const struct finding *f = finding(check, skip);
    if (!f || f->level != level || !strstr(f->detail, detail))
        fail_msg("%s %zu: expected %d \"%s\", it is %d \"%s\"", check, skip, level, detail,
                 f ? (int)f->level : -1, f ? f->detail : "");
    assert_true(level != FINDING_RED || f->next[0]);
}

/* The last call takes away whatever the trial made, and nothing is left. */
static void nothing_is_left(void)
{
    const char *calls = get_file("calls"), *last = strstr(calls, "delete");
    assert_non_null(last);
    for (const char *next; (next = strstr(last + 1, "delete")) != NULL;)
        last = next;
    assert_null(strstr(last, "\napply"));
    assert_non_null(strstr(last, "pod,configmap -n kpeer-system -l app=kpeer-verify"));
    assert_string_equal(get_file("made0"), "");
    assert_string_equal(get_file("made1"), "");
}

static void test_all_is_well(void **state)
{
    (void)state;
    assert_int_equal(verify(30000), 0);
    found("scheduled", 0, FINDING_GREEN, "on node2, a worker");
    found("serves", 0, FINDING_GREEN, "it answered after");
    found("address", 0, FINDING_GREEN, "10.10.1.7 is in the range of node2, 10.10.1.0/24");
    found("reached", 0, FINDING_GREEN, "node1 has an answer of 10.10.1.7, from node2");
    found("reached", 1, FINDING_GREEN, "node3 has an answer");
    found("removed", 0, FINDING_GREEN, "it is gone again");
    assert_int_equal(result.finding_count, 6);
    nothing_is_left();
    /* What an earlier run has left goes first. */
    assert_true(strncmp(get_file("calls"), "delete ", 7) == 0);
    assert_non_null(strstr(get_file("kept0"), "k8s.gcr.io/coredns:1.7.0"));
    assert_non_null(strstr(get_file("kept0"), "NotIn"));
    assert_non_null(strstr(get_file("kept1"), "k8s.gcr.io/pause:3.2"));
    assert_non_null(strstr(get_file("kept1"), "\"10.10.1.7\""));
    assert_null(strstr(get_file("kept1"), "kpeer-verify-from-node2"));
}

static void test_one_node(void **state)
{
    (void)state;
    put_file("nodes", "node/node1\n");
    put_file("pods0", LIST(POD("kpeer-verify", "node1", "Running", "True", "10.10.0.4")));
    assert_int_equal(verify(30000), 0);
    found("scheduled", 0, FINDING_WARN, "on node1, the master: there is no worker");
    found("address", 0, FINDING_GREEN, "10.10.0.4");
    found("reached", 0, FINDING_WARN, "no other host");
    assert_null(strstr(get_file("kept0"), "NotIn"));
    assert_non_null(strstr(get_file("kept0"), "tolerations"));
    assert_string_equal(get_file("kept1"), "");
    nothing_is_left();
}

static void test_never_ready(void **state)
{
    (void)state;
    put_file(
        "pods0",
        "{\"items\": [{\"metadata\": {\"name\": \"kpeer-verify\"}, \"spec\": {\"nodeName\": \"node2\"}, "
        "\"status\": {\"phase\": \"Pending\", \"containerStatuses\": [{\"state\": {\"waiting\": {\"reason\": "
        "\"ImagePullBackOff\", \"message\": \"no route\"}}}]}}]}");
    assert_int_equal(verify(3000), KPEER_EIO);
    found("serves", 0, FINDING_RED, "the test pod on node2 does not answer: ImagePullBackOff: no route");
    assert_null(finding("address", 0));
    found("removed", 0, FINDING_GREEN, "gone");
    assert_non_null(strstr(err.text, "ImagePullBackOff") && err.hint[0] ? err.text : NULL);
    assert_non_null(strstr(told, "waiting until the test pod answers on node2: ImagePullBackOff"));
    nothing_is_left();
}

static void test_no_node_takes_it(void **state)
{
    (void)state;
    put_file(
        "pods0",
        "{\"items\": [{\"metadata\": {\"name\": \"kpeer-verify\"}, \"status\": {\"phase\": \"Pending\", "
        "\"conditions\": [{\"type\": \"PodScheduled\", \"status\": \"False\", \"message\": \"0/3 nodes are "
        "available\"}]}}]}");
    assert_int_equal(verify(2000), KPEER_EIO);
    found("scheduled", 0, FINDING_RED, "no Node takes the test pod: 0/3 nodes are available");
    assert_int_equal(result.finding_count, 2);
    nothing_is_left();
}

static void test_wrong_address(void **state)
{
    (void)state;
    put_file("node-node2", NODE("node2", "True", "10.10.4.0/24"));
    assert_int_equal(verify(30000), KPEER_EIO);
    found("address", 0, FINDING_RED, "10.10.1.7 is not in the range of node2, 10.10.4.0/24");
    put_file("node-node2", NODE("node2", "True", "10.10.1.0/24"));
    snprintf(step.pod_cidr, sizeof step.pod_cidr, "10.244.0.0/16");
    assert_int_equal(verify(30000), KPEER_EIO);
    found("address", 0, FINDING_RED, "of all pods, 10.244.0.0/16");
    found("reached", 1, FINDING_GREEN, "node3"); /* the rest is looked at all the same */
    nothing_is_left();
}

static void test_a_host_without_an_answer(void **state)
{
    (void)state;
    put_file("pods1",
             LIST(TRIED "," CALLER("node1", "Running", "True") "," CALLER("node3", "Running", "False")));
    assert_int_equal(verify(4000), KPEER_EIO);
    found("reached", 0, FINDING_GREEN, "node1");
    found("reached", 1, FINDING_RED, "node3 gets no answer of 10.10.1.7, from node2");
    assert_non_null(
        strstr(finding("reached", 1)->next, "UDP 8472 (Flannel's VXLAN) pass between node3 and node2"));
    put_file("pods1",
             LIST(TRIED "," CALLER("node3", "Running", "True") "," CALLER("node1", "Pending", "False")));
    assert_int_equal(verify(4000), KPEER_EIO);
    found("reached", 0, FINDING_RED, "node1 does not start a pod that calls: Pending");
    nothing_is_left();
}

/* The callers are not to blame for that. */
static void test_the_pod_goes_while_it_is_called(void **state)
{
    static const char callers[] = CALLER("node1", "Running", "True") "," CALLER("node3", "Running", "False");
    static const struct {
        const char *tried, *state;
    } cases[] = {{"", "it is gone"}, {POD("kpeer-verify", "node2", "Failed", "False", "") ",", "Failed"}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char pods[2048], detail[128];
        snprintf(pods, sizeof pods, "{\"items\": [%s%s]}", cases[i].tried, callers);
        put_file("pods1", pods);
        assert_int_equal(verify(3000), KPEER_EIO);
        snprintf(detail, sizeof detail, "the test pod on node2 stopped answering: %s", cases[i].state);
        found("serves", 1, FINDING_RED, detail);
        assert_null(finding("reached", 0));
        nothing_is_left();
    }
}

static void test_a_node_that_is_not_ready(void **state)
{
    (void)state;
    put_file("node-node3", NODE("node3", "Unknown", "10.10.2.0/24"));
    put_file("pods1", LIST(TRIED "," CALLER("node1", "Running", "True")));
    assert_int_equal(verify(30000), KPEER_EIO);
    found("reached", 0, FINDING_RED, "node3 cannot be asked to call: kubelet is silent");
    found("reached", 1, FINDING_GREEN, "node1");
    assert_null(strstr(get_file("kept1"), "kpeer-verify-from-node3"));
    nothing_is_left();
}

/* Nobody is to blame for what was not looked at. */
static void test_time_runs_out(void **state)
{
    (void)state;
    put_file("slow", "node1");
    assert_int_equal(verify(2000), 0);
    found("address", 0, FINDING_GREEN, "10.10.1.7");
    found("reached", 0, FINDING_WARN, "the Node node1 cannot be looked at");
    found("reached", 1, FINDING_WARN, "the Node node3 cannot be looked at: no time was left");
    put_file("slow", "node2");
    assert_int_equal(verify(2000), 0);
    found("address", 0, FINDING_WARN, "the Node node2 cannot be looked at");
    nothing_is_left();
    unlink(in_root("slow"));
    put_file("node-node3", "no JSON");
    assert_int_equal(verify(30000), KPEER_EIO); /* what is not about time is told as before */
    found("reached", 0, FINDING_RED, "the Node node3 cannot be looked at");
    assert_null(strstr(finding("reached", 0)->next, "kubelet"));
}

static void test_what_cannot_be_taken_away(void **state)
{
    (void)state;
    put_file("stuck", "");
    assert_int_equal(verify(30000), KPEER_EIO);
    found("removed", 0, FINDING_RED, "timed out waiting for the condition on pods/x");
    assert_non_null(strstr(finding("removed", 0)->next, "app=kpeer-verify --force --grace-period=0; "));
    unlink(in_root("stuck"));
    assert_int_equal(verify(30000), 0); /* the next run does it */
    nothing_is_left();
}

/* Of a Node that died: nobody ends it there. */
static void test_what_an_earlier_trial_left(void **state)
{
    (void)state;
    put_file("dead", "");
    assert_int_equal(verify(60000), 0);
    assert_non_null(strstr(get_file("calls"), "--timeout=5s --cache-dir"));
    nothing_is_left();
}

static void test_cancelled(void **state)
{
    static const char *const places[] = {"making a test pod", "it answered after",
                                         "until the other hosts have"};
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        cancel_at = places[i];
        put_file("pods1", LIST(TRIED));
        assert_int_equal(verify(30000), KPEER_ECANCELED);
        assert_null(cancel_at);
        assert_int_equal(result.finding_count, 0);
        nothing_is_left();
    }
}

static void test_cancelled_while_it_is_taken_away(void **state)
{
    (void)state;
    cancel_at = "taking the test pod away";
    assert_int_equal(verify(30000), 0);
    assert_null(cancel_at);
    found("removed", 0, FINDING_GREEN, "it is gone again");
    nothing_is_left();
}

static void test_no_api_server(void **state)
{
    (void)state;
    put_file("down", "");
    assert_int_equal(verify(3000), KPEER_EIO);
    assert_non_null(strstr(err.text, "taking away what an earlier trial left"));
    assert_non_null(strstr(err.text, "The connection was refused"));
    assert_int_equal(result.finding_count, 0);
    unlink(in_root("down"));
    unlink(in_root("etc/kubernetes/admin.conf"));
    assert_int_equal(verify(3000), KPEER_ESTATE);
}

static void test_rehearsal(void **state)
{
    (void)state;
    ctx.dry_run = true;
    assert_int_equal(verify(3000), KPEER_ESTATE);
    assert_non_null(strstr(told, "would run a test pod on another Node than node1"));
    assert_string_equal(get_file("calls"), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_is_well, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_node, setup, teardown),
        cmocka_unit_test_setup_teardown(test_never_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_node_takes_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_address, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_host_without_an_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_pod_goes_while_it_is_called, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_node_that_is_not_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time_runs_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_taken_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_an_earlier_trial_left, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled_while_it_is_taken_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_api_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rehearsal, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
