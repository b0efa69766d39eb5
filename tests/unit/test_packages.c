#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "peer/executor/packages/apt_parse.h"
#include "peer/executor/packages/key.h"
#include "protocol/mem.h"

static void test_package_lines(void **state)
{
    static const struct {
        const char *line;
        bool ok, installed, broken, held;
    } cases[] = {
        {"kubelet\t1.23.3-00\tinstall ok installed", true, true, false, false},
        {"kubelet\t1.23.3-00\thold ok installed", true, true, false, true},
        {"kubelet\t\tunknown ok not-installed", true, false, false, false},
        {"kubelet\t1.23.3-00\tdeinstall ok config-files", true, false, false, false},
        {"kubelet\t1:1.23.3-00~x+b1\tinstall ok half-configured", true, false, true, false},
        {"kubelet\t1.23.3-00\tinstall reinstreq half-installed", true, false, true, false},
        {"kubelet\t1.23.3-00\tpurge reinstreq half-installed", true, false, true, false},
        {"kubelet\t1.23.3-00\tpurge ok half-installed", true, false, true, false},
        {"kubelet\t1.23.3-00\tdeinstall ok half-installed", true, false, true, false},
        {"kubelet\t1.23.3-00\tpurge ok not-installed", true, false, false, false},
        {"kubelet\t1.23.3-00", false, false, false, false},
        {"kubelet", false, false, false, false},
        {"", false, false, false, false},
        {"kube let\t1\tinstall ok installed", false, false, false, false},
        {"kubelet\t$(x)\tinstall ok installed", false, false, false, false},
        {"kubelet\t1.0\tinstalled", false, false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct apt_package p = {0};

        assert_int_equal(apt_parse_package(cases[i].line, strlen(cases[i].line), &p), cases[i].ok);
        assert_int_equal(p.installed, cases[i].installed);
        assert_int_equal(p.broken, cases[i].broken);
        assert_int_equal(p.held, cases[i].held);
        assert_int_equal(p.there, cases[i].ok && !strstr(cases[i].line, "not-installed"));
        assert_int_equal(p.cut, strstr(cases[i].line, "reinstreq") != NULL);
        assert_int_equal(p.purging, strstr(cases[i].line, "purge ") != NULL);
        assert_int_equal(p.leaving, strstr(cases[i].line, "purge ok half") ||
                                        strstr(cases[i].line, "deinstall ok half"));
    }
}

static const char madison[] =
    "   kubeadm | 1.31.10-1.1 | http://m/core:/stable:/v1.31/deb  Packages\n"
    "   kubeadm | 1.31.5-1.1 | http://m/core:/stable:/v1.31/deb  Packages\n"
    "   kubeadm | 1.31.4-2.1 | http://m/core:/stable:/v1.31/deb  Packages\n"
    "   kubeadm | 1.31.4-1.1 | http://m/core:/stable:/v1.31/deb  Packages\n"
    "   kubeadm | 1.23.3-00 | https://m/kubernetes/apt kubernetes-xenial/main amd64 Packages\n"
    "   kubeadm | 1:1.20.2-0kpeer1 | file:/debs ./ Packages\n"
    "   kubeadm | 1.32.0~rc1-1.1 | http://m/ Packages\n"
    "   kubeadm-extra | 9.9.9-1 | http://m/ Packages\n"
    "   kubeadm | 9.9.9$ | http://m/ Packages\n"
    "   kubeadm | 9.9.9-1\n"
    "   kubeadm 9.9.8-1\n"
    "N: something else\n";

static void test_versions_in_either_layout(void **state)
{
    static const char *const pairs[][2] = {
        {"v1.31.4", "1.31.4-2.1"}, {"v1.31", "1.31.10-1.1"},
        {"v1.23.3", "1.23.3-00"},  {"v1.20", "1:1.20.2-0kpeer1"},
        {"stable", "1.31.10-1.1"}, {"", "1.31.10-1.1"},
        {"v1.23.4", NULL},         {"v1.3", NULL},
        {"v1.32", NULL},           {"v9.9", NULL},
    };
    char out[APT_VERSION_BYTES];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        int code = apt_parse_madison(madison, "kubeadm", pairs[i][0], out, sizeof(out), NULL);

        assert_int_equal(code, pairs[i][1] ? 0 : KPEER_ENOTFOUND);
        if (pairs[i][1])
            assert_string_equal(out, pairs[i][1]);
    }
    assert_int_equal(apt_parse_madison("", "kubeadm", "", out, sizeof(out), NULL), KPEER_ENOTFOUND);
    assert_true(apt_parse_offers(madison, "kubeadm", "1.23.3-00"));
    assert_false(apt_parse_offers(madison, "kubeadm", "1.23.3"));
}

static void test_companions(void **state)
{
    static const char tools[] =
        " cri-tools | 1.26.0-00 | x\n cri-tools | 1.23.0-00 | x\n cri-tools | 1.13.0-01 | x\n";
    char out[APT_VERSION_BYTES];

    (void)state;
    assert_true(apt_parse_companion(tools, "cri-tools", "v1.24.2", out, sizeof(out)));
    assert_string_equal(out, "1.23.0-00");
    assert_true(apt_parse_companion(tools, "cri-tools", "v1.10.0", out, sizeof(out)));
    assert_string_equal(out, "1.13.0-01");
    assert_true(apt_parse_companion(tools, "cri-tools", "v1.31.0", out, sizeof(out)));
    assert_string_equal(out, "1.26.0-00");
    assert_true(apt_parse_companion(tools, "cri-tools", NULL, out, sizeof(out)));
    assert_string_equal(out, "1.26.0-00");
    assert_false(apt_parse_companion(tools, "kubernetes-cni", NULL, out, sizeof(out)));
}

static void test_plans(void **state)
{
    static struct apt_plan plan;

    (void)state;
    assert_int_equal(
        apt_parse_plan("Reading package lists...\n"
                       "Inst runc (1.1.5+ds1-1 Debian:12.11/stable [amd64])\n"
                       "Inst kubelet [1.20.2-00] (1.23.3-00 kubernetes-xenial:kubernetes-xenial [amd64])\n"
                       "Inst libc6 [2.36-9] (2.36-10 Debian:12/stable [amd64]) [libc6:amd64 ]\n"
                       "Remv docker-ce [5:20.10]\n"
                       "Purg runc [1.1.5+ds1-1]\n"
                       "Purg kubeadm\n"
                       "Conf runc (1.1.5+ds1-1 Debian:12.11/stable [amd64])\n",
                       &plan, NULL),
        0);
    assert_int_equal(plan.count, 6);
    assert_string_equal(plan.changes[5].name, "kubeadm");
    assert_string_equal(plan.changes[0].name, "runc");
    assert_string_equal(plan.changes[0].before, "");
    assert_string_equal(plan.changes[0].after, "1.1.5+ds1-1");
    assert_string_equal(plan.changes[1].before, "1.20.2-00");
    assert_string_equal(plan.changes[1].after, "1.23.3-00");
    assert_string_equal(plan.changes[2].after, "2.36-10");
    assert_string_equal(plan.changes[3].before, "5:20.10");
    assert_string_equal(plan.changes[3].after, "");
    assert_string_equal(plan.changes[4].name, "runc");
}

static void test_odd_plans(void **state)
{
    static const char *const odd[] = {
        "Inst \n",     "Inst runc\n",        "Inst runc 1.0\n", "Inst runc (\n",          "Inst runc ($x)\n",
        "Remv runc\n", "Inst ru/nc (1.0)\n", "Remv runc []\n",  "Inst runc [a b] (1.0)\n"};
    static char many[APT_CHANGES_MAX * 16 + 64];
    static struct apt_plan plan;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(odd); i++)
        assert_int_equal(apt_parse_plan(odd[i], &plan, NULL), KPEER_EINVAL);
    for (size_t i = 0; i <= APT_CHANGES_MAX; i++)
        strcat(many, "Inst a (1)\n");
    assert_int_equal(apt_parse_plan(many, &plan, NULL), KPEER_ELIMIT);
    assert_int_equal(apt_parse_plan("", &plan, NULL), 0);
    assert_int_equal(plan.count, 0);
}

static void test_space(void **state)
{
    (void)state;
#define SPACE(x)                                                                                             \
    apt_parse_space("Need to get 9 MB.\nAfter this operation, " x " of additional disk space will be "       \
                    "used.\n")
    assert_int_equal(SPACE("223 MB"), 223000000);
    assert_int_equal(SPACE("1,234 kB"), 1234000);
    assert_int_equal(SPACE("1.5 GB"), 1500000000);
    assert_int_equal(SPACE("0 B"), 0);
    assert_int_equal(SPACE("x MB"), 0);
    assert_int_equal(SPACE("12 parsecs"), 0);
#undef SPACE
    assert_int_equal(apt_parse_space("After this operation, 223 MB disk space will be freed.\n"), 0);
    assert_int_equal(apt_parse_space("After this operation, "), 0);
}

static void test_status_lines(void **state)
{
    static const char *const odd[] = {"",
                                      "pmstatus:",
                                      "pmstatus:a:b:c",
                                      "pmstatus:a:101:c",
                                      "pmstatus:a:50",
                                      "xmstatus:a:1:b",
                                      "pmstatus:a:nan:b",
                                      "dlstatus:a:-1:b"};
    char what[32];
    int32_t percent;
    bool download;

    (void)state;
    assert_true(
        apt_parse_status("dlstatus:1:20.9:Retrieving file 1 of 3", &percent, &download, what, sizeof(what)));
    assert_int_equal(percent, 20);
    assert_true(download);
    assert_string_equal(what, "Retrieving file 1 of 3");
    assert_true(apt_parse_status("pmstatus:libc6:amd64:35.0:Unpacking libc6 (amd64)", &percent, &download,
                                 what, sizeof(what)));
    assert_int_equal(percent, 35);
    assert_false(download);
    for (size_t i = 0; i < COUNT_OF(odd); i++)
        assert_false(apt_parse_status(odd[i], &percent, &download, what, sizeof(what)));
}

static void test_failures(void **state)
{
    static const struct {
        const char *errout;
        int code;
        const char *text;
    } cases[] = {
        {"W: GPG error: http://m ./ InRelease: The following signatures couldn't be verified: NO_PUBKEY 12\n"
         "E: The repository 'http://m ./ InRelease' is not signed.\n",
         KPEER_EAUTH, "GPG error"},
        {"E: You don't have enough free space in /var/cache/x/.\n", KPEER_ELIMIT, "enough free space"},
        {"W: Failed to fetch http://m/InRelease  Could not connect to m:80 (10.0.0.1). - connect (113: No "
         "route)\n"
         "E: Some index files failed to download.\n",
         KPEER_EIO, "Could not connect"},
        {"E: Failed to fetch http://m/Release.key  404  File not found\n", KPEER_ENOTFOUND, "404"},
        {"E: Failed to fetch http://m/404/Release.key  403  Forbidden [IP: 10.0.0.1 443]\n", KPEER_ENOTFOUND,
         "403"},
        {"E: Failed to fetch http://m/404/Release.key  500  Oh no\n", KPEER_EIO, "500"},
        {"dpkg: warning: x\nE: Sub-process /usr/bin/dpkg returned an error code (1)\n", KPEER_EIO,
         "Sub-process"},
        {"only this", KPEER_EIO, "only this"},
        {"", KPEER_EIO, "without a word"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct err err = {0};

        assert_int_equal(apt_parse_failure(cases[i].errout, "apt", &err), cases[i].code);
        assert_int_equal(apt_parse_failure(cases[i].errout, "apt", NULL),
                         cases[i].code); /* found by fuzzing */
        assert_non_null(strstr(err.text, cases[i].text));
        assert_true(err.hint[0]);
    }
}

static const char armoured[] = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n"
                               "Comment: of a test\n\n"
                               "mDMEawN06xYJKwYBBAHaRw8BAQdA+bY4T3Lh5tkGEzBwkeVZPViDUKViInl9USjP\n"
                               "ysQX00i0DXRAbGFiLmludmFsaWSIkAQTFggAOBYhBBCiPRr/k32nBuqu2K1LQ5hs\n"
                               "CpCqBQJrA3TrAhsDBQsJCAcCBhUKCQgLAgQWAgMBAh4BAheAAAoJEK1LQ5hsCpCq\n"
                               "VxABAJzf+KCimfZtcuYRqPIPpCkFouypOnB4JT8YaGIIO0WkAP9/ozugpH05sNDJ\n"
                               "kXQd4GDtKDSOos2/3lDYJKT34lUxCg==\n"
                               "=aPOW\n"
                               "-----END PGP PUBLIC KEY BLOCK-----\n";
#define FINGERPRINT "10A23D1AFF937DA706EAAED8AD4B43986C0A90AA"

static void test_keys(void **state)
{
    char print[KEY_FINGERPRINT_BYTES];
    uint8_t *key, *again;
    size_t n, m;

    (void)state;
    assert_int_equal(key_read(armoured, sizeof(armoured) - 1, &key, &n, NULL), 0);
    assert_int_equal(n, 214);
    assert_int_equal(key_fingerprint(key, n, print, NULL), 0);
    assert_string_equal(print, FINGERPRINT);
    assert_int_equal(key_read((const char *)key, n, &again, &m, NULL), 0);
    assert_int_equal(m, n);
    assert_memory_equal(key, again, n);
    assert_int_equal(key_pick(again, &m, FINGERPRINT, NULL), 0);
    assert_int_equal(m, n);
    assert_int_equal(key_pick(again, &m, "00", NULL), KPEER_EAUTH);
    free(again);
    free(key);
}

/* Of two keys, one in front of the other, the wanted one is left, whichever it is. */
static void test_pick(void **state)
{
    uint8_t *key, two[1024];
    char first[KEY_FINGERPRINT_BYTES];
    size_t n, m;

    (void)state;
    assert_int_equal(key_read(armoured, sizeof(armoured) - 1, &key, &n, NULL), 0);
    memcpy(two, key, n);
    memcpy(two + n, key, n);
    two[10] ^= 1;
    assert_int_equal(key_fingerprint(two, 2 * n, first, NULL), 0);
    m = 2 * n;
    assert_int_equal(key_pick(two, &m, FINGERPRINT, NULL), 0);
    assert_int_equal(m, n);
    assert_memory_equal(two, key, n);
    memcpy(two + n, key, n);
    two[10] ^= 1;
    m = 2 * n;
    assert_int_equal(key_pick(two, &m, first, NULL), 0);
    assert_int_equal(m, n);
    assert_int_equal(key_fingerprint(two, m, first, NULL), 0);
    assert_string_not_equal(first, FINGERPRINT);
    free(key);
}

/* Cut anywhere and with any byte changed: refused or read, never more. */
static void test_damaged_keys(void **state)
{
    char text[sizeof(armoured)];
    uint8_t *key;
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof(armoured) - 20; i++)
        assert_int_equal(key_read(armoured, i, &key, &n, NULL), KPEER_EAUTH);
    for (size_t i = 0; i < sizeof(armoured) - 1; i++) {
        memcpy(text, armoured, sizeof(text));
        text[i] ^= 0x55;
        if (key_read(text, sizeof(text) - 1, &key, &n, NULL) == 0)
            free(key);
    }
    assert_int_equal(key_read("<html>404</html>", 16, &key, &n, NULL), KPEER_EAUTH);
    assert_int_equal(key_read("", 0, &key, &n, NULL), KPEER_EAUTH);
    assert_int_equal(key_read("\xc6\xff\xff\xff\xff\xff", 6, &key, &n, NULL), KPEER_EAUTH);
    assert_int_equal(key_read("\x9b\x01", 2, &key, &n, NULL), KPEER_EAUTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_package_lines), cmocka_unit_test(test_versions_in_either_layout),
        cmocka_unit_test(test_companions),    cmocka_unit_test(test_plans),
        cmocka_unit_test(test_odd_plans),     cmocka_unit_test(test_space),
        cmocka_unit_test(test_status_lines),  cmocka_unit_test(test_failures),
        cmocka_unit_test(test_keys),          cmocka_unit_test(test_pick),
        cmocka_unit_test(test_damaged_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
