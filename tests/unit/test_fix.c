/* Mending a host: red, mended, green, nothing more to do, and undone to the last byte; at every power cut
 * too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host_world.h"
#include "peer/executor/host/host.h"

#define CUTS_MAX 4000

/* The power goes at the n-th of these calls, before it is made or, for programs, after it too. */
static int calls_left = -1;

static void pulse(void)
{
    if (calls_left >= 0 && calls_left-- == 0)
        _exit(99);
}

#define CUT(name, params, args)                                                                              \
    int __real_##name params;                                                                                \
    int __wrap_##name params;                                                                                \
    int __wrap_##name params                                                                                 \
    {                                                                                                        \
        pulse();                                                                                             \
        return __real_##name args;                                                                           \
    }

int __wrap_fsync(int fd);
int __wrap_fsync(int fd) /* a disk that is slow does not make the test better */
{
    (void)fd;
    pulse();
    return 0;
}

CUT(rename, (const char *from, const char *to), (from, to))
CUT(unlink, (const char *path), (path))
CUT(mkdir, (const char *path, mode_t mode), (path, mode))
CUT(rmdir, (const char *path), (path))

int __real_spawn_check(const struct spawn_request *req, struct spawn_result *res, struct err *err);
int __wrap_spawn_check(const struct spawn_request *req, struct spawn_result *res, struct err *err);
int __wrap_spawn_check(const struct spawn_request *req, struct spawn_result *res, struct err *err)
{
    int code, left;

    pulse();
    left = calls_left;
    calls_left = -1; /* a program is done whole or not at all, whoever plays it */
    if (!world_play(req, res, &code, err))
        code = __real_spawn_check(req, res, err);
    calls_left = left;
    pulse();
    return code;
}

static int setup(void **state)
{
    *state = malloc(sizeof(struct world));
    return *state ? world_open(*state) : -1;
}

static int teardown(void **state)
{
    world_close(*state);
    free(*state);
    return 0;
}

/* What is this machine's own matter, or wants a person. */
static bool is_mended(const struct finding *f)
{
    static const char *const others[] = {"programs", "packages", "cpu", "disk", "kubectl"};

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (strcmp(f->check, others[i]) == 0)
            return false;
    }
    return true;
}

static void assert_green(struct world *w)
{
    assert_int_equal(world_fix(w), 0);
    for (size_t i = 0; i < w->result.finding_count; i++) {
        const struct finding *f = &w->result.findings[i];

        if (is_mended(f) && f->level != FINDING_GREEN)
            fail_msg("%s: %s\n%s", f->check, f->detail, w->said);
    }
}

static void assert_same(const char *a, const char *b)
{
    for (size_t line = 1; *a || *b; line++) {
        size_t n = strcspn(a, "\n"), m = strcspn(b, "\n");

        if (n != m || memcmp(a, b, n) != 0)
            fail_msg("line %zu: was \"%.*s\", is \"%.*s\"", line, (int)n, a, (int)m, b);
        a += n + (a[n] != 0);
        b += m + (b[m] != 0);
    }
}

static void assert_picture(struct world *w, const char *before, bool folders)
{
    char *now = world_picture(w, folders);

    assert_same(before, now);
    free(now);
}

static void test_red_green_same_undone(void **state)
{
    struct world *w = *state;
    char *before = world_picture(w, true), *mended;

    w->ctx.dry_run = true; /* a rehearsal tells all and changes nothing */
    assert_int_equal(world_fix(w), 0);
    assert_non_null(strstr(w->said, "swap: would"));
    assert_picture(w, before, true);
    w->ctx.dry_run = false;
    assert_green(w);
    assert_true(world_has(w, "/etc/fstab", "\n# kpeer: /swapfile none\tswap sw 0 0\n"));
    assert_true(world_has(w, "/etc/hosts", "localhost\n127.0.1.1\tnode1\n"));
    assert_true(world_has(w, "/units/zramswap.service", "masked inactive"));
    assert_true(world_has(w, "/units/dev-vdb.swap", "masked inactive"));
    assert_false(world_has(w, "/proc/swaps", "swapfile"));
    assert_true(world_has(w, "/etc/ufw/added", "\nufw allow 7373/udp\n"));
    assert_true(world_has(w, "/etc/ufw/added", "\nufw route allow out on flannel.1\n"));
    assert_false(world_has(w, "/etc/ufw/added", "6443")); /* this one is a worker */
    assert_true(world_has(w, "/etc/docker/daemon.json", "\"debug\": true"));
    mended = world_picture(w, true);
    world_reopen(w);
    assert_green(w);
    assert_picture(w, mended, true);
    assert_string_equal(w->said, ""); /* the second time there is nothing to mend */
    assert_int_equal(world_undo(w), 0);
    assert_null(strstr(w->said, "left "));
    assert_picture(w, before, true);
    assert_int_equal(journal_state(w->ctx.journal)->changes, 0);
    free(before);
    free(mended);
}

static void test_what_the_user_ignores_is_not_mended(void **state)
{
    struct world *w = *state;

    strcpy(w->cfg.ignore[w->cfg.ignore_count++], "Swap");
    strcpy(w->cfg.ignore[w->cfg.ignore_count++], "machine-id");
    assert_int_equal(world_fix(w), 0);
    assert_true(world_has(w, "/proc/swaps", "swapfile"));
    assert_int_equal(world_finding(w, "swap")->level, FINDING_WARN);
    assert_null(world_read(w, "/etc/machine-id"));
}

static void test_what_others_changed_since_is_left(void **state)
{
    struct world *w = *state;

    assert_green(w);
    world_write(w, "/etc/fstab", "the user's\n", 0644);
    world_write(w, "/units/zramswap.service", "static active\n", 0644);
    world_write(w, "/proc/sys/net/ipv4/ip_forward", "2\n", 0644);
    assert_int_equal(world_undo(w), 0);
    assert_true(world_has(w, "/etc/fstab", "the user's\n"));
    assert_true(world_has(w, "/units/zramswap.service", "static active"));
    assert_non_null(strstr(w->said, "/etc/fstab"));
    assert_non_null(strstr(w->said, "left unit zramswap.service"));
    assert_non_null(strstr(w->said, "ip_forward"));
}

static void test_without_systemd(void **state)
{
    struct world *w = *state;
    char path[128];
    char *before;

    snprintf(path, sizeof(path), "%s/run/systemd/system/x", w->root);
    assert_int_equal(remove(path), 0);
    *strrchr(path, '/') = 0;
    assert_int_equal(remove(path), 0);
    before = world_picture(w, false);
    assert_green(w);
    assert_true(world_has(w, "/units/zramswap.service", "enabled active"));
    assert_int_equal(world_undo(w), 0);
    assert_picture(w, before, false);
    free(before);
}

/* A tool that fails keeps its own check red and no other. */
static void test_one_that_cannot_be_mended(void **state)
{
    struct world *w = *state;

    world_tool(w, TOOL_SWAPOFF, "echo no memory >&2; exit 1");
    assert_int_equal(world_fix(w), 0);
    assert_int_equal(world_finding(w, "swap")->level, FINDING_RED);
    assert_int_equal(world_finding(w, "ip-forward")->level, FINDING_GREEN);
    assert_non_null(strstr(w->said, "no memory"));
    assert_int_equal(world_undo(w), 0);
}

static void test_firewall_that_is_only_told(void **state)
{
    struct world *w = *state;

    w->cfg.tell_firewall = true;
    assert_int_equal(world_fix(w), 0);
    assert_int_equal(world_finding(w, "firewall")->level, FINDING_RED);
    assert_non_null(strstr(w->said, "ufw allow 8472/udp\n"));
    assert_false(world_has(w, "/etc/ufw/added", "8472"));
}

static void test_firewalld(void **state)
{
    struct world *w = *state;

    world_tool(w, TOOL_UFW, "exit 0");
    world_tool(
        w, TOOL_FIREWALL_CMD,
        "f=$R/run/rules; for a; do case $a in --permanent) f=$R/etc/firewalld/zones/public.xml;; --state) "
        "echo running; exit 0;; --*-port=*|--*-interface=*) r=${a#--*-}; v=${a#--}; v=${v%%-*};; esac; done\n"
        "case $v in query) grep -qxF $r $f;; add) mkdir -p $R/etc/firewalld/zones; echo $r >> $f;; "
        "remove) grep -vxF $r $f > $R/tools/f; cat $R/tools/f > $f;; esac");
    world_write(w, "/run/rules", "port=22/tcp\n", 0644);
    world_write(w, "/etc/firewalld/firewalld.conf", "", 0644);
    assert_green(w);
    assert_true(world_has(w, "/run/rules", "\nport=30000-32767/udp\n"));
    assert_true(world_has(w, "/etc/firewalld/zones/public.xml", "interface=cni0\n"));
    assert_int_equal(world_undo(w), 0);
    assert_false(world_has(w, "/run/rules", "7373"));
    assert_null(world_read(w, "/etc/firewalld/zones/public.xml"));
}

static void test_rules_that_nobody_manages(void **state)
{
    struct world *w = *state;

    world_tool(w, TOOL_UFW, "exit 0");
    world_tool(w, TOOL_NFT,
               "echo 'table inet filter {'; echo ' chain in {'; echo '  type filter hook input priority 0; "
               "policy drop;'; "
               "echo '  tcp dport { 22, 10250, 7373 } accept'; echo ' }'; echo '}'");
    assert_int_equal(world_fix(w), 0);
    assert_int_equal(world_finding(w, "firewall")->level, FINDING_WARN);
    assert_non_null(strstr(w->said, "nft insert rule inet filter in udp dport 8472-8472 accept\n"));
    assert_null(strstr(w->said, "dport 10250"));
    assert_non_null(strstr(w->said, "iifname cni0 accept\n"));
}

static void test_what_only_a_person_can_mend(void **state)
{
    struct world *w = *state;

    world_write(w, "/proc/net/route",
                "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
                "eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\n"
                "tun0\t0003F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n",
                0444);
    world_write(w, "/etc/environment", "PATH=\"/bin\"\nHTTPS_PROXY=http://p:3128\nNO_PROXY=localhost\n",
                0644);
    world_write(w, "/etc/docker/daemon.json", "{ \"debug\": }", 0640);
    world_write(w, "/etc/sysctl.d/zz.conf", "net.ipv4.ip_forward = 0\n", 0644);
    assert_int_equal(world_fix(w), 0);
    assert_int_equal(world_finding(w, "cidr")->level, FINDING_RED);
    assert_non_null(strstr(world_finding(w, "cidr")->detail, "10.244.3.0/24 by tun0"));
    assert_int_equal(world_finding(w, "proxy")->level, FINDING_WARN);
    assert_non_null(strstr(world_finding(w, "proxy")->next, "10.244.0.0/16,10.96.0.0/12"));
    assert_int_equal(world_finding(w, "docker")->level, FINDING_RED);
    assert_true(world_has(w, "/etc/docker/daemon.json", "{ \"debug\": }"));
    assert_int_equal(world_finding(w, "sysctl-boot")->level, FINDING_WARN);
    assert_non_null(strstr(world_finding(w, "sysctl-boot")->detail, "/etc/sysctl.d/zz.conf"));
    world_write(w, "/etc/environment", "http_proxy=x\nno_proxy='a,10.244.0.0/16, 10.96.0.0/12'\n", 0644);
    assert_int_equal(world_fix(w), 0);
    assert_int_equal(world_finding(w, "proxy")->level, FINDING_GREEN);
}

static void test_rename(void **state)
{
    struct world *w = *state;
    char *before = world_picture(w, true);

    assert_int_equal(host_rename(&w->ctx, "Bad Name", NULL), KPEER_EINVAL);
    assert_int_equal(host_rename(&w->ctx, "node1-7f3a", NULL), 0);
    assert_true(world_has(w, "/etc/hostname", "node1-7f3a\n"));
    assert_true(world_has(w, "/proc/sys/kernel/hostname", "node1-7f3a\n"));
    world_reopen(w);
    assert_int_equal(world_undo(w), 0);
    assert_picture(w, before, true);
    free(before);
}

enum story { UNDO, FIX_UNDO, CUT_UNDO };

/* Runs `act` in a process of its own which loses its power at call `n`; whether it came to its end. */
static bool run_cut(struct world *w, int (*act)(struct world *w), int n)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        world_reopen(w);
        calls_left = n;
        _exit(act(w) == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 99);
    return WEXITSTATUS(status) == 0;
}

static bool tell_story(enum story story, int n)
{
    struct world *w = malloc(sizeof(*w));
    char *before;
    bool ended;

    assert_int_equal(world_open(w), 0);
    before = world_picture(w, false);
    if (story == CUT_UNDO)
        assert_int_equal(world_fix(w), 0);
    ended = run_cut(w, story == CUT_UNDO ? world_undo : world_fix, n);
    world_reopen(w);
    if (story == FIX_UNDO)
        assert_green(w);
    assert_int_equal(world_undo(w), 0);
    if (strstr(w->said, "left "))
        fail_msg("cut %d of story %d: %s", n, story, w->said);
    assert_picture(w, before, false);
    world_close(w);
    free(before);
    free(w);
    return ended;
}

/* Each power cut has its number. Here every few, KPEER_CUTS=all for each of them. */
static void tell_stories(enum story story, int from, int step)
{
    int n = from;

    step = getenv("KPEER_CUTS") ? 1 : step;

    while (!tell_story(story, n) && n < CUTS_MAX)
        n += step;
    assert_in_range(n, 50, CUTS_MAX - 1);
}

static void test_cut_then_undo(void **state)
{
    (void)state;
    tell_stories(UNDO, 0, 5);
}

static void test_cut_then_fix_and_undo(void **state)
{
    (void)state;
    tell_stories(FIX_UNDO, 1, 13);
}

static void test_undo_cut(void **state)
{
    (void)state;
    tell_stories(CUT_UNDO, 0, 11);
}

int main(void)
{
#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_WORLD(test_red_green_same_undone),
        WITH_WORLD(test_what_the_user_ignores_is_not_mended),
        WITH_WORLD(test_what_others_changed_since_is_left),
        WITH_WORLD(test_without_systemd),
        WITH_WORLD(test_one_that_cannot_be_mended),
        WITH_WORLD(test_firewall_that_is_only_told),
        WITH_WORLD(test_firewalld),
        WITH_WORLD(test_rules_that_nobody_manages),
        WITH_WORLD(test_what_only_a_person_can_mend),
        WITH_WORLD(test_rename),
        cmocka_unit_test(test_cut_then_undo),
        cmocka_unit_test(test_cut_then_fix_and_undo),
        cmocka_unit_test(test_undo_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
