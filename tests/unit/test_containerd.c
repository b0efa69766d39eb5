/* containerd's config.toml and Docker's daemon.json: what is found and mended, what stays, odd input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "peer/executor/host/containerd.h"
#include "peer/executor/host/parse_daemon.h"
#include "peer/executor/host/parse_toml.h"

#define PAUSE "registry.k8s.io/pause:3.9"

static const struct containerd_wish all = {true, PAUSE, "/opt/cni/bin"};

/* As Debian's package has it. */
static const char debian[] = "version = 2\n"
                             "\n"
                             "[plugins]\n"
                             "  [plugins.\"io.containerd.grpc.v1.cri\"]\n"
                             "    [plugins.\"io.containerd.grpc.v1.cri\".cni]\n"
                             "      bin_dir = \"/usr/lib/cni\"\n"
                             "      conf_dir = \"/etc/cni/net.d\"\n"
                             "  [plugins.\"io.containerd.internal.v1.opt\"]\n"
                             "    path = \"/var/lib/containerd\"\n";

static char *mended(const char *text, const struct containerd_wish *wish)
{
    struct containerd_faults f;
    struct err err = {0};
    char *out = NULL, *again = NULL;
    size_t n, m;

    if (containerd_mend(text, strlen(text), wish, &out, &n, &err))
        fail_msg("%s", err.text);
    assert_int_equal(strlen(out), n);
    assert_int_equal(containerd_look(out, n, wish, &f, NULL), 0);
    assert_false(f.disabled || f.cgroups || f.pause || f.cni);
    assert_int_equal(containerd_mend(out, n, wish, &again, &m, NULL), 0);
    assert_string_equal(out, again);
    free(again);
    return out;
}

static void test_debian(void **state)
{
    struct containerd_faults f;
    char *out;
    (void)state;

    assert_int_equal(containerd_look(debian, strlen(debian), &all, &f, NULL), 0);
    assert_true(!f.disabled && f.cgroups && f.pause && f.cni);
    out = mended(debian, &all);
    assert_string_equal(out, "version = 2\n"
                             "\n"
                             "[plugins]\n"
                             "  [plugins.\"io.containerd.grpc.v1.cri\"]\n"
                             "  sandbox_image = \"" PAUSE "\"\n"
                             "    [plugins.\"io.containerd.grpc.v1.cri\".cni]\n"
                             "      bin_dir = \"/opt/cni/bin\"\n"
                             "      conf_dir = \"/etc/cni/net.d\"\n"
                             "  [plugins.\"io.containerd.internal.v1.opt\"]\n"
                             "    path = \"/var/lib/containerd\"\n"
                             "\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n"
                             "  runtime_type = \"io.containerd.runc.v2\"\n"
                             "\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n"
                             "  SystemdCgroup = true\n");
    free(out);
}

static void test_docker(void **state)
{
    static const char text[] = "#   Copyright\n\ndisabled_plugins = [\"cri\"]\n\n#root = \"/var/lib\"\n";
    struct containerd_faults f;
    char *out;
    (void)state;

    assert_int_equal(containerd_look(text, strlen(text), &all, &f, NULL), 0);
    assert_true(f.disabled);
    out = mended(text, &all);
    assert_int_equal(strncmp(out, "version = 2\n#   Copyright\n\ndisabled_plugins = []\n\n#root", 52), 0);
    free(out);
    out = mended("version = 2\ndisabled_plugins = ['x.y', # one\n \"io.containerd.grpc.v1.cri\",\n]\n", &all);
    assert_non_null(strstr(out, "disabled_plugins = ['x.y']\n"));
    free(out);
}

static void test_nothing_and_version_3(void **state)
{
    static const char three[] =
        "version = 3\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\n  sandbox = 'x'\n"
        "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n"
        "  runtime_type = 'io.containerd.runc.v2'\n"
        "  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\n"
        "    SystemdCgroup = false # no\n";
    char *out = mended("", &all);
    (void)state;

    assert_int_equal(strncmp(out, "version = 2\n", 12), 0);
    assert_non_null(strstr(out, "SystemdCgroup = true\n"));
    free(out);
    out = mended(three, &all);
    assert_non_null(strstr(out, "sandbox = \"" PAUSE "\"\n"));
    assert_non_null(strstr(out, "    SystemdCgroup = true # no\n"));
    assert_null(strstr(out, "grpc"));
    free(out);
}

static void test_old_switch(void **state)
{
    char *out = mended("version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsystemd_cgroup = true", &all);
    (void)state;

    assert_non_null(strstr(out, "systemd_cgroup = false\n"));
    free(out);
}

static void test_what_is_not_understood(void **state)
{
    static const char *const odd[] = {
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\ncontainerd = {runtimes = {}}\n",
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndefault_runtime_name = "
        "\"nvidia\"\n",
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nruntimes.runc.options.Root = "
        "\"x\"\n",
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\nruntime_type = "
        "\"kata\"\n",
        "[plugins.cri]\nsandbox_image = \"x\"\n",
        "version = 2\nplugins.\"io.containerd.grpc.v1.cri\".systemd_cgroup = true",
        "version = 4\n",
        "version = \"2\"\n",
        "version = 2\nversion = 2\n",
        "version = 2\ndisabled_plugins = \"cri\"\n",
        "version = 2\n[plugins\n",
        "version = 2 x\n",
        "version =\n",
        "a = \"\n",
        "a = '''x",
        "a = [1, [2}",
        "a = {b = }",
        "= 1",
        "a.b.c.d.e.f.g.h.i.j.k.l.m = 1",
        "[[a]\n",
        "a = [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]\n",
        "\"a\\\"b\" = 1\n",
    };
    (void)state;

    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        char *out = NULL;
        struct err err = {0};
        size_t n;

        if (containerd_mend(odd[i], strlen(odd[i]), &all, &out, &n, &err) == 0)
            fail_msg("%s", out);
        assert_string_not_equal(err.text, "");
    }
}

/* Each cut and each byte changed of a good file: an answer, whatever it is. */
static void test_damaged(void **state)
{
    char text[sizeof(debian)], *out;
    struct containerd_faults f;
    size_t n;
    (void)state;

    for (size_t i = 0; i < strlen(debian); i++) {
        memcpy(text, debian, sizeof(debian));
        containerd_look(text, i, &all, &f, NULL);
        for (int flip = 1; flip < 256; flip *= 2) {
            text[i] = (char)(debian[i] ^ flip);
            out = NULL;
            if (containerd_mend(text, strlen(debian), &all, &out, &n, NULL) == 0)
                free(out);
        }
    }
}

static void test_toml_values(void **state)
{
    static const char text[] =
        "a = 1_000\nb = \"x\\\"y\" # c\n'c d' = 1979-05-27T07:32:00Z\n"
        "e = \"\"\"\n[no]\n\\\"\"\"\"\n[t]\r\nf = [\r\n 'x', \"y\" ]\r\n[[u]]\ng = {h = 1}\n";
    const struct toml_path f = {{"t", "f"}, 2}, h = {{"u", "g", "h"}, 3}, g = {{"u", "g"}, 2}, a = {{"a"}, 1},
                           b = {{"b"}, 1};
    struct toml_value v;
    bool has;
    char *out;
    size_t n;
    (void)state;

    assert_int_equal(toml_check(text, strlen(text), NULL), 0);
    assert_int_equal(toml_get(text, strlen(text), &a, &v, NULL), 0);
    assert_int_equal(v.kind, TOML_NUMBER);
    assert_int_equal(toml_get(text, strlen(text), &b, &v, NULL), 0);
    assert_int_equal(v.kind, TOML_OTHER);
    assert_int_equal(toml_list_has(text, strlen(text), &f, "y", &has, NULL), 0);
    assert_true(has);
    assert_int_equal(toml_get(text, strlen(text), &h, &v, NULL), KPEER_EINVAL);
    assert_int_equal(toml_set(text, strlen(text), &h, "1", &out, &n, NULL), KPEER_EINVAL);
    assert_int_equal(toml_get(text, strlen(text), &g, &v, NULL),
                     KPEER_EINVAL); /* of which table in the list? */
    assert_int_equal(toml_set(text, strlen(text), &g, "1", &out, &n, NULL), KPEER_EINVAL);
    assert_int_equal(toml_check("a\0b", 3, NULL), KPEER_EINVAL);
}

static char *merged(const char *text)
{
    struct err err = {0};
    char *out = NULL, *again = NULL;
    bool same = true;
    size_t n;

    if (daemon_merge(text, strlen(text), &same, &out, &n, &err))
        fail_msg("%s", err.text);
    assert_false(same);
    assert_int_equal(strlen(out), n);
    assert_int_equal(daemon_merge(out, n, &same, &again, &n, NULL), 0);
    assert_true(same);
    return out;
}

static void test_daemon(void **state)
{
    char *out = merged("{\n  \"registry-mirrors\": [\"https://m.example\"],\n  \"exec-opts\": [\"a=b\", "
                       "\"native.cgroupdriver=cgroupfs\"],\n  \"x\": {\"z\": 1, \"a\": 1.5}\n}");
    (void)state;

    assert_string_equal(
        out, "{\n  \"registry-mirrors\": [\n    \"https://m.example\"\n  ],\n"
             "  \"exec-opts\": [\n    \"a=b\",\n    \"native.cgroupdriver=systemd\"\n  ],\n"
             "  \"x\": {\n    \"z\": 1,\n    \"a\": 1.5\n  },\n"
             "  \"log-driver\": \"json-file\",\n  \"log-opts\": {\n    \"max-size\": \"100m\"\n  },\n"
             "  \"storage-driver\": \"overlay2\"\n}\n");
    free(out);
    out = merged("");
    assert_non_null(strstr(out, "overlay2"));
    free(out);
    /* What the user chose stays. */
    out = merged("{\"log-driver\": \"journald\", \"storage-driver\": \"btrfs\"}");
    assert_null(strstr(out, "max-size"));
    assert_null(strstr(out, "overlay2"));
    free(out);
    out = merged("{\"log-opts\": {\"max-size\": \"5m\"}}");
    assert_non_null(strstr(out, "5m"));
    free(out);
}

static void test_daemon_odd(void **state)
{
    static const char *const odd[] = {"{",
                                      "[]",
                                      "1",
                                      "{\"a\": 1, \"a\": 2}",
                                      "{\"exec-opts\": {}}",
                                      "{\"exec-opts\": [1]}",
                                      "{\"log-driver\": 1}",
                                      "{\"log-opts\": []}",
                                      "{} x",
                                      "\xff\xfe",
                                      "{\"a\": // no\n 1}"};
    (void)state;

    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        struct err err = {0};
        char *out = NULL;
        bool same;
        size_t n;

        assert_int_equal(daemon_merge(odd[i], strlen(odd[i]), &same, &out, &n, &err), KPEER_EINVAL);
        assert_null(out);
        assert_string_not_equal(err.text, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_debian),
        cmocka_unit_test(test_docker),
        cmocka_unit_test(test_nothing_and_version_3),
        cmocka_unit_test(test_old_switch),
        cmocka_unit_test(test_what_is_not_understood),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_toml_values),
        cmocka_unit_test(test_daemon),
        cmocka_unit_test(test_daemon_odd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
