#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "peer/config/config.h"
#include "peer/config/config_report.h"
#include "protocol/mem.h"

static struct config cfg;

static int parse(const char *text, struct err *err)
{
    config_default(&cfg);
    return config_parse_yaml(&cfg, "f", text, strlen(text), err);
}

static void test_defaults(void **state)
{
    (void)state;
    config_default(&cfg);
    assert_string_equal(cfg.state_dir, "/var/lib/kpeer");
    assert_string_equal(cfg.run_dir, "/run/kpeer");
    assert_string_equal(cfg.key_file, "/etc/kpeer/group.key");
    assert_int_equal(cfg.port, 7373);
    assert_string_equal(cfg.multicast_group, "239.255.73.73");
    assert_string_equal(cfg.pod_cidr, "10.244.0.0/16");
    assert_string_equal(cfg.service_cidr, "10.96.0.0/12");
    assert_int_equal(cfg.timeout_ms, 900000);
    assert_int_equal(cfg.trust, TRUST_KEY);
    assert_int_equal(cfg.expect, 0);
}

/* Every default in the table must be a value that the table itself allows. */
static void test_defaults_are_valid(void **state)
{
    (void)state;
    for (size_t i = 0; i < config_schema_count; i++) {
        struct err err = {0};

        if (config_schema[i].def && config_set(&cfg, &config_schema[i], config_schema[i].def, false, &err))
            fail_msg("%s: %s", config_schema[i].key, err.text);
    }
}

/* What is printed can be read again, and is the same then. */
static void test_a_printed_configuration_reads_back(void **state)
{
    (void)state;
    static const char text[] =
        "expect: 3\nrole: worker\nseeds: [192.168.56.11:99, \"[fe80::1]:7\"]\ntimeout: 90s\nfix: false\n"
        "metrics: \"[::1]:7374\"\nignore_preflight: [Swap, Mem]\nsettle: 1500ms\nflannel:\n  backend: "
        "host-gw\n"
        "tools:\n  kubeadm: /opt/kubeadm\n";
    struct err err = {0};
    config_default(&cfg);
    cfg.reading = CONFIG_FROM_FILE;
    assert_int_equal(config_parse_yaml(&cfg, "f", text, strlen(text), &err), 0);
    const struct config_key *expect = config_find_key("expect"), *port = config_find_key("port");
    assert_string_equal(config_origin_word(&cfg, expect), "file");
    assert_string_equal(config_origin_word(&cfg, port), "default");
    struct config first = cfg;
    json_t *report = config_report(&first);
    assert_non_null(report);
    assert_string_equal(json_string_value(json_object_get(report, "timeout")), "90s");
    assert_null(json_object_get(report, "name"));
    char *again = json_dumps(report, JSON_INDENT(1));
    memset(&cfg, 0, sizeof cfg);
    if (config_parse_yaml(&cfg, "f", again, strlen(again), &err))
        fail_msg("%s in %s", err.text, again);
    memcpy(cfg.origin, first.origin, sizeof cfg.origin);
    cfg.reading = first.reading;
    assert_memory_equal(&cfg, &first, sizeof cfg);
    free(again);
    json_decref(report);
}

static void test_schema_fields_do_not_overlap(void **state)
{
    (void)state;
    for (size_t i = 0; i < config_schema_count; i++)
        for (size_t j = 0; j < i; j++) {
            const struct config_key *a = &config_schema[i], *b = &config_schema[j];

            assert_string_not_equal(a->key, b->key);
            assert_true(a->offset >= b->offset + b->size || b->offset >= a->offset + a->size);
        }
}

static void test_whole_file(void **state)
{
    struct err err = {0};
    static const char text[] = "# a comment\n"
                               "role: worker\n"
                               "expect: 3\n"
                               "interface: eth1\n"
                               "seeds:\n  - 192.168.56.11\n  - 192.168.56.12:7000\n  - '[fd00::1]:7001'\n"
                               "multicast:\n  group: 239.1.2.3\n  port: 7474\n"
                               "settle: 500ms\n"
                               "kubernetes: 1.23.3\n"
                               "image_repository: \"registry.example.org/mirror\"\n"
                               "pod_cidr: 10.10.0.0/16\n"
                               "flannel: {version: v0.16.3, backend: host-gw}\n"
                               "tools:\n  kubeadm: /opt/bin/kubeadm\n"
                               "ignore_preflight: [NumCPU, Mem]\n"
                               "dry_run: true\n"
                               "trust: subnet\n";
    (void)state;
    if (parse(text, &err))
        fail_msg("%s", err.text);
    assert_int_equal(cfg.role, ROLE_WORKER);
    assert_int_equal(cfg.expect, 3);
    assert_int_equal(cfg.seed_count, 3);
    assert_string_equal(cfg.seeds[1].address, "192.168.56.12");
    assert_int_equal(cfg.seeds[1].port, 7000);
    assert_string_equal(cfg.seeds[2].address, "fd00::1");
    assert_int_equal(cfg.seeds[2].port, 7001);
    assert_string_equal(cfg.multicast_group, "239.1.2.3");
    assert_int_equal(cfg.multicast_port, 7474);
    assert_int_equal(cfg.settle_ms, 500);
    assert_string_equal(cfg.kubernetes, "v1.23.3");
    assert_string_equal(cfg.flannel_backend, "host-gw");
    assert_string_equal(cfg.tools[TOOL_KUBEADM], "/opt/bin/kubeadm");
    assert_int_equal(cfg.ignore_preflight_count, 2);
    assert_string_equal(cfg.ignore_preflight[1], "Mem");
    assert_true(cfg.dry_run);
    assert_int_equal(cfg.trust, TRUST_SUBNET);
}

/* What is refused, where, and a word that the message must hold. */
static const struct {
    const char *text;
    const char *place;
    const char *word;
} faults[] = {
    {"roel: worker\n", "f:1:1", "did you mean \"role\""},
    {"role: worker\nzzzzzzzzzz: 1\n", "f:2:1", "unknown key \"zzzzzzzzzz\""},
    {"flannel:\n  verison: v1.0.0\n", "f:2:3", "did you mean \"version\""},
    {"flannel:\n  role: worker\n", "f:2:3", "unknown key \"role\" under flannel"},
    {"flannel.version: v0.1.2\n", "f:1:1", "unknown key"},
    {"role: wroker\n", "f:1:7", "did you mean \"worker\""},
    {"role: 7\n", "f:1:7", "none of auto, master, worker"},
    {"role: worker\nrole: master\n", "f:2:1", "there twice"},
    {"tools: {}\ntools: {}\n", "f:2:1", "there twice"},
    {"expect: three\n", "f:1:9", "no number from 1 to 512"},
    {"expect: 0\n", "f:1:9", "no number from 1 to 512"},
    {"expect: 513\n", "f:1:9", "no number"},
    {"expect: -1\n", "f:1:9", "no number"},
    {"expect: 99999999999999999999\n", "f:1:9", "no number"},
    {"expect: \"3\"\n", "f:1:9", "quoted text"},
    {"expect: [3]\n", "f:1:9", "single value"},
    {"expect:\n", "f:1:8", "no value"},
    {"interface: ~\n", "f:1:12", "no value"},
    {"interface: averyveryverylonginterfacename\n", "f:1:12", "too long"},
    {"interface: \"eth\\n1\"\n", "f:1:12", "control character"},
    {"interface: \" eth1\"\n", "f:1:12", "blank"},
    {"dry_run: yes\n", "f:1:10", "neither true nor false"},
    {"port: 0\n", "f:1:7", "no port"},
    {"port: 65536\n", "f:1:7", "no port"},
    {"settle: 5\n", "f:1:9", "no unit"},
    {"settle: 5 s\n", "f:1:9", "no duration"},
    {"settle: 5d\n", "f:1:9", "no duration"},
    {"settle: 1ms\n", "f:1:9", "out of range"},
    {"timeout: 99999999999h\n", "f:1:10", "no duration"},
    {"timeout: 9999999h\n", "f:1:10", "too long"},
    {"pod_cidr: 10.244.0.0\n", "f:1:11", "no network"},
    {"pod_cidr: 10.244.0.0/33\n", "f:1:11", "no network"},
    {"pod_cidr: 10.244.1.0/16\n", "f:1:11", "within the network"},
    {"pod_cidr: ten/8\n", "f:1:11", "no network"},
    {"multicast: {group: 10.0.0.1}\n", "f:1:20", "multicast address"},
    {"name: Host_1\n", "f:1:7", "no host name"},
    {"name: -a\n", "f:1:7", "no host name"},
    {"name: a..b\n", "f:1:7", "no host name"},
    {"kubernetes: latest\n", "f:1:13", "no version"},
    {"kubernetes: v1\n", "f:1:13", "no version"},
    {"kubernetes: 1.31.4-1.1\n", "f:1:13", "no version"},
    {"flannel: {version: v0.22}\n", "f:1:20", "no version"},
    {"mirror: nowhere\n", "f:1:9", "aliyun"},
    {"packages: {mirror: nowhere}\n", "f:1:20", "no mirror's name"},
    {"packages: {mirror: \"http://\"}\n", "f:1:20", "no mirror's name"},
    {"packages: {mirror: \"http://a b\"}\n", "f:1:20", "no mirror's name"},
    {"packages: {mirror: \"http://a/[x]\"}\n", "f:1:20", "no mirror's name"},
    {"packages: {keyring: ftp://a/b}\n", "f:1:21", "no absolute path"},
    {"packages: {key: 12AB}\n", "f:1:17", "no fingerprint"},
    {"packages: {key: zz}\n", "f:1:17", "no fingerprint"},
    {"state_dir: var/lib\n", "f:1:12", "no absolute path"},
    {"seeds: 10.0.0.1\n", "f:1:8", "list"},
    {"metrics: 127.0.0.1\n", "f:1:10", "no port"},
    {"metrics: 0.0.0.0:7374\n", "f:1:10", "no loopback address"},
    {"metrics: 10.0.0.1:7374\n", "f:1:10", "no loopback address"},
    {"metrics: 128.0.0.1:7374\n", "f:1:10", "no loopback address"},
    {"metrics: '[::]:7374'\n", "f:1:10", "no loopback address"},
    {"metrics: '[::ffff:127.0.0.1]:7374'\n", "f:1:10", "no loopback address"},
    {"metrics: localhost:7374\n", "f:1:10", "no ADDRESS"},
    {"metrics: ':7374'\n", "f:1:10", "no ADDRESS"},
    {"metrics: 7374\n", "f:1:10", "no ADDRESS"},
    {"metrics: 127.0.0.1:65536\n", "f:1:10", "no ADDRESS"},
    {"seeds: [10.0.0.1, host]\n", "f:1:19", "no ADDRESS"},
    {"seeds: ['10.0.0.1:0']\n", "f:1:9", "no ADDRESS"},
    {"seeds: ['[fd00::1']\n", "f:1:9", "no ADDRESS"},
    {"seeds: ['10.0.0.1,10.0.0.2']\n", "f:1:9", "comma"},
    {"seeds: [[10.0.0.1]]\n", "f:1:9", "plain values"},
    {"flannel: vxlan\n", "f:1:10", "map of keys"},
    {"- role\n", "f:1:1", "map of keys"},
    {"just text\n", "f:1:1", "map of keys"},
    {"role: &a worker\nname: *a\n", "f:1:7", "anchors"},
    {"name: *a\n", "f:1:7", "aliases"},
    {"role: !!str worker\n", "f:1:7", "tags"},
    {"? [a, b]\n: c\n", "f:1:3", "a key is expected"},
    {"role: worker\n---\nrole: worker\n", "f:2:1", "second document"},
    {"role: [worker\n", "f:", "single value"},
    {"role: 'worker\n", "f:", "not YAML"},
    {"role:\tworker\n\tname: x\n", "f:", "not YAML"},
    {"role: \"\xff\"\n", "f:", "not YAML"},
};

static void test_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(faults); i++) {
        struct err err = {0};
        int code = parse(faults[i].text, &err);

        if (code != KPEER_EINVAL || strncmp(err.text, faults[i].place, strlen(faults[i].place)) != 0 ||
            !strstr(err.text, faults[i].word))
            fail_msg("case %zu: %swants \"%s … %s\", got code %d \"%s\"", i, faults[i].text, faults[i].place,
                     faults[i].word, code, err.text);
    }
}

static void test_packages(void **state)
{
    struct executor_config x;
    struct node_config n;

    (void)state;
    assert_int_equal(parse("kubernetes: 1.31\n", NULL), 0);
    config_for_executor(&cfg, &x);
    config_for_node(&cfg, &n);
    assert_string_equal(x.kubernetes_version, "v1.31");
    assert_string_equal(n.kubernetes_version, "");
    assert_string_equal(x.packages.minor_url, "https://pkgs.k8s.io/core:/stable:/{minor}/deb/");
    assert_string_equal(x.packages.legacy_url, "");
    assert_string_equal(x.image_repository, "");
    assert_true(x.packages.install);
    assert_int_equal(x.packages.runtime, RUNTIME_CONTAINERD);

    assert_int_equal(parse("mirror: aliyun\nkubernetes: v1.23.3\n", NULL), 0);
    config_for_executor(&cfg, &x);
    config_for_node(&cfg, &n);
    assert_string_equal(n.kubernetes_version, "v1.23.3");
    assert_string_equal(x.packages.legacy_url, "https://mirrors.aliyun.com/kubernetes/apt");
    assert_string_equal(x.image_repository, "registry.aliyuncs.com/google_containers");
}

static void test_nobody_is_no_members_name(void **state)
{
    struct node_config n;

    (void)state;
    assert_int_equal(parse("expect: 3\n", NULL), 0);
    config_for_node(&cfg, &n);
    assert_false(n.console_set);
    assert_int_equal(parse("roles: {console: [none]}\n", NULL), 0);
    config_for_node(&cfg, &n);
    assert_true(n.console_set);
    assert_int_equal(n.console_count, 0);
    assert_int_equal(parse("roles: {console: [none, desk]}\n", NULL), 0);
    config_for_node(&cfg, &n);
    assert_int_equal(n.console_count, 1);
    assert_string_equal(n.console[0], "desk");
}

static void test_packages_of_their_own(void **state)
{
    struct executor_config x;

    (void)state;
    assert_int_equal(parse("mirror: aliyun\nimage_repository: r.example.org\n"
                           "packages:\n  mirror: http://10.0.0.9/k8s/\n  layout: legacy\n  runtime: cri-o\n"
                           "  key: de15 b144 86cd 377b 9e87  6e1a 2346 54da 9a29 6436\n  install: false\n"
                           "  keyring: /etc/apt/keyrings/ours.asc\n  folder: /srv/debs\n",
                           NULL),
                     0);
    config_for_executor(&cfg, &x);
    assert_string_equal(x.image_repository, "r.example.org");
    assert_string_equal(x.packages.minor_url, "http://10.0.0.9/k8s/core:/stable:/{minor}/deb/");
    assert_string_equal(x.packages.legacy_url, "http://10.0.0.9/k8s/apt");
    assert_string_equal(x.packages.fingerprint, "DE15B14486CD377B9E876E1A234654DA9A296436");
    assert_int_equal(x.packages.layout, LAYOUT_LEGACY);
    assert_int_equal(x.packages.runtime, RUNTIME_CRIO);
    assert_string_equal(x.packages.keyring, "/etc/apt/keyrings/ours.asc");
    assert_string_equal(x.packages.folder, "/srv/debs");
    assert_false(x.packages.install);

    assert_int_equal(parse("packages: {mirror: \"file:/srv/{minor}\"}\n", NULL), 0);
    config_for_executor(&cfg, &x);
    assert_string_equal(x.packages.minor_url, "file:/srv/{minor}/");
    assert_string_equal(x.packages.legacy_url, "");
    assert_int_equal(parse("packages: {mirror: aliyun}\n", NULL), 0);
    config_for_executor(&cfg, &x);
    assert_string_equal(x.image_repository, "");
    assert_string_equal(x.packages.legacy_url, "https://mirrors.aliyun.com/kubernetes/apt");
}

static void test_empty_files(void **state)
{
    (void)state;
    assert_int_equal(parse("", NULL), 0);
    assert_int_equal(parse("# nothing\n", NULL), 0);
    assert_int_equal(parse("---\n", NULL), 0);
    assert_int_equal(parse("{}\n", NULL), 0);
}

static void test_size_bound(void **state)
{
    char *big = malloc(CONFIG_FILE_BYTES + 1);
    struct err err = {0};

    (void)state;
    memset(big, '#', CONFIG_FILE_BYTES + 1);
    config_default(&cfg);
    assert_int_equal(config_parse_yaml(&cfg, "f", big, CONFIG_FILE_BYTES + 1, &err), KPEER_ELIMIT);
    memset(big, '[', CONFIG_FILE_BYTES);
    assert_int_equal(config_parse_yaml(&cfg, "f", big, CONFIG_FILE_BYTES, &err), KPEER_EINVAL);
    free(big);
}

/* Every cut and every flipped bit of a good file is read or refused, and never more. */
static void test_cut_and_flipped(void **state)
{
    char text[] = "role: worker\nseeds: [10.0.0.1, 10.0.0.2:7]\nflannel: {version: v1.2.3}\nsettle: 5s\n";

    (void)state;
    for (size_t n = 0; n < sizeof text; n++) {
        config_default(&cfg);
        config_parse_yaml(&cfg, "f", text, n, NULL);
    }
    for (size_t bit = 0; bit < 8 * (sizeof text - 1); bit++) {
        text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
        config_default(&cfg);
        config_parse_yaml(&cfg, "f", text, sizeof text - 1, NULL);
        text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
    }
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_precedence(void **state)
{
    char path[] = "/tmp/kpeer-config-XXXXXX";
    static char expect[] = "KPEER_EXPECT=4", flannel[] = "KPEER_FLANNEL_VERSION=v0.9.9",
                name[] = "KPEER_NAME=";
    char *env[] = {expect, flannel, name, NULL};
    const struct config_setting flags[] = {{config_find_flag("expect"), "5"},
                                           {config_find_flag("seed"), "10.0.0.1"},
                                           {config_find_flag("seed"), "10.0.0.2:9"}};
    struct config_source src = {.file = path, .env = env};
    struct err err = {0};

    (void)state;
    close(mkstemp(path));
    write_file(path,
               "expect: 3\nsettle: 2s\nport: 7000\nflannel: {version: v0.1.1}\nseeds: [10.9.9.9]\nname: a\n");
    assert_int_equal(config_load(&cfg, &src, &err), 0);
    assert_int_equal(cfg.expect, 4);
    assert_int_equal(cfg.settle_ms, 2000);
    assert_int_equal(cfg.heartbeat_ms, 1000);
    assert_string_equal(cfg.flannel_version, "v0.9.9");
    assert_string_equal(cfg.name, "a");
    src.flags = flags;
    src.flag_count = COUNT_OF(flags);
    assert_int_equal(config_load(&cfg, &src, &err), 0);
    assert_int_equal(cfg.expect, 5);
    assert_int_equal(cfg.seed_count, 2);
    assert_string_equal(cfg.seeds[0].address, "10.0.0.1");
    assert_int_equal(cfg.seeds[0].port, 7000);
    assert_int_equal(cfg.seeds[1].port, 9);
    unlink(path);
}

static void test_sources_fail(void **state)
{
    static char port[] = "KPEER_PORT=many";
    char *env[] = {port, NULL};
    const struct config_setting flag = {config_find_flag("expect"), "0"};
    struct config_source missing = {.file = "/nonexistent/kpeer.yaml"}, bad_env = {.env = env},
                         bad_flag = {.flags = &flag, .flag_count = 1};
    struct err err = {0};

    (void)state;
    assert_int_equal(config_load(&cfg, &missing, &err), KPEER_EIO);
    assert_non_null(strstr(err.text, "/nonexistent/kpeer.yaml"));
    assert_int_equal(config_load(&cfg, &bad_env, &err), KPEER_EINVAL);
    assert_non_null(strstr(err.text, "KPEER_PORT"));
    assert_int_equal(config_load(&cfg, &bad_flag, &err), KPEER_EINVAL);
    assert_non_null(strstr(err.text, "--expect"));
}

static void test_overlap(void **state)
{
    const struct config_setting flags[] = {{config_find_key("pod_cidr"), "10.96.4.0/24"}};
    struct config_source src = {.flags = flags, .flag_count = 1};
    struct err err = {0};

    (void)state;
    assert_int_equal(config_load(&cfg, &src, &err), KPEER_EINVAL);
    assert_non_null(strstr(err.text, "overlap"));
}

static void test_durations(void **state)
{
    uint32_t ms = 7;

    (void)state;
    assert_int_equal(config_duration("500ms", &ms, NULL), 0);
    assert_int_equal(ms, 500);
    assert_int_equal(config_duration("10s", &ms, NULL), 0);
    assert_int_equal(ms, 10000);
    assert_int_equal(config_duration("5m", &ms, NULL), 0);
    assert_int_equal(ms, 300000);
    assert_int_equal(config_duration("1h", &ms, NULL), 0);
    assert_int_equal(ms, 3600000);
    assert_int_equal(config_duration("", &ms, NULL), KPEER_EINVAL);
    assert_int_equal(config_duration("1.5s", &ms, NULL), KPEER_EINVAL);
    assert_int_equal(ms, 3600000);
}

static void test_nearest(void **state)
{
    static const char *const words[] = {"up", "members", "leave"};

    (void)state;
    assert_string_equal(config_nearest("membres", words, 3), "members");
    assert_string_equal(config_nearest("leav", words, 3), "leave");
    assert_null(config_nearest("destroy", words, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_defaults_are_valid),
        cmocka_unit_test(test_a_printed_configuration_reads_back),
        cmocka_unit_test(test_schema_fields_do_not_overlap),
        cmocka_unit_test(test_whole_file),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_packages),
        cmocka_unit_test(test_nobody_is_no_members_name),
        cmocka_unit_test(test_packages_of_their_own),
        cmocka_unit_test(test_empty_files),
        cmocka_unit_test(test_size_bound),
        cmocka_unit_test(test_cut_and_flipped),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_sources_fail),
        cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_nearest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
