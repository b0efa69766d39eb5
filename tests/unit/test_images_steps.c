/*
 * The image steps with a runtime's program that keeps a list of names and writes down how it was called:
 * which program for which runtime, in which order sources are asked, what gets a name and what does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/executor/images/images.h"
#include "protocol/mem.h"

#define PAUSE   "k8s.gcr.io/pause:3.2"
#define COREDNS "k8s.gcr.io/coredns/coredns:v1.8.0"
#define FLANNEL "docker.io/flannel/flannel:v1"
#define MIRROR  "m.example:5000/k8s"

/* One program under four names. names: what is here, with its digest's last digit; half: what comes in part
 * only; refuses: what no registry has; silent: what cannot be reached; behind: what only CRI reaches. */
static const char script[] =
    "#!/bin/sh\n"
    "here=${0%/*}; me=${0##*/}\n"
    "digest() { printf 'sha256:%064d' \"$1\"; }\n"
    "id() { printf 'sha256:%064d' \"1$1\"; }\n"
    "has() { grep -qxF -- \"$1\" \"$here/$2\" 2>/dev/null; }\n"
    "if [ $me = kubeadm ]; then\n"
    "    [ $1 = version ] && echo '{\"clientVersion\": {\"gitVersion\": \"v1.20.2\"}}' || printf '" PAUSE
    "\\n" COREDNS "\\n'\n"
    "    exit 0\n"
    "fi\n"
    "[ $me = ctr ] && shift 2\n"
    "[ $me = crictl ] && shift 2\n"
    "[ $1 = info ] && { echo '{}'; exit 0; }\n"
    "[ $me = docker ] && [ $1 != images ] && set -- images \"$@\"\n"
    "[ $me = crictl ] && [ $1 != images ] && set -- images \"$@\"\n"
    "for last; do :; done\n"
    "case \"$1 $2\" in\n"
    "'images check')\n"
    "    echo 'REF TYPE DIGEST STATUS SIZE UNPACKED'\n"
    "    while read -r name at; do\n"
    "        [ $last = check ] || [ \"$last\" = \"name==$name\" ] || continue\n"
    "        whole=complete; has \"$name\" half && whole=incomplete\n"
    "        echo \"$name type $(digest $at) $whole (1/1) 1 B/1 B false\"\n"
    "    done < \"$here/names\"; exit 0;;\n"
    "'images -o')\n"
    "    sep=; printf '{\"images\":['\n"
    "    while read -r name at; do\n"
    "        printf '%s{\"id\":\"%s\",\"repoTags\":[\"%s\"]}' \"$sep\" $(id $at) $name; sep=,\n"
    "    done < \"$here/names\"; echo ']}'; exit 0;;\n"
    "'images --no-trunc')\n"
    "    while read -r name at; do\n"
    "        echo "
    "\"{\\\"Repository\\\":\\\"${name%:*}\\\",\\\"Tag\\\":\\\"${name##*:}\\\",\\\"ID\\\":\\\"$(id "
    "$at)\\\"}\"\n"
    "    done < \"$here/names\"; exit 0;;\n"
    "'content get')\n"
    "    echo \"{\\\"config\\\":{\\\"digest\\\":\\\"$(id ${3##*0})\\\"}}\"; exit 0;;\n"
    "esac\n"
    "echo \"$me $*\" >> \"$here/calls\"\n"
    "case \"$1 $2\" in\n"
    "'images pull')\n"
    "    has \"$last\" refuses && { echo \"ctr: failed to resolve reference \\\"$last\\\": $last: not "
    "found\" >&2; exit 1; }\n"
    "    [ $me = ctr ] && has \"$last\" behind && { echo 'ctr: no route to host' >&2; exit 1; }\n"
    "    has \"$last\" silent && { echo 'ctr: dial tcp: connection refused' >&2; exit 1; }\n"
    "    echo \"$last 7\" >> \"$here/names\";;\n"
    "'images tag')\n"
    "    [ \"$3\" = --force ] && shift\n"
    "    echo \"$last $(grep -F \"$3 \" \"$here/names\" | tail -n 1 | sed 's/.* //')\" >> \"$here/names\";;\n"
    "'images rm' | 'images rmi')\n"
    "    grep -vF \"$last \" \"$here/names\" > \"$here/left\"; mv \"$here/left\" \"$here/names\";;\n"
    "'images import')\n"
    "    echo '" FLANNEL " 5' >> \"$here/names\";;\n"
    "*) echo \"stub: what is $*\" >&2; exit 2;;\n"
    "esac\n"
    "exit 0\n";

static const char manifest[] =
    "kind: DaemonSet\nspec: {template: {spec: {containers: [{image: \"flannel/flannel:v1\"}]}}}\n";

static char root[64];
static char told[64 * 1024];
static struct executor_config cfg;
static struct exec_ctx ctx;
static const struct step step = {.id = 1, .kind = STEP_IMAGES_PULL, .role = STEP_ROLE_MASTER};
static struct step_result result;
static struct err err;

static void note(void *arg, const struct step_progress *p)
{
    size_t n = strlen(told);
    (void)arg;
    snprintf(told + n, sizeof told - n, "%s\n", p->line);
}

static const char *in_root(const char *path)
{
    static char full[256];
    snprintf(full, sizeof full, "%s%s", root, path);
    return full;
}

static void put_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(in_root(path), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(in_root(path), mode), 0);
}

static const char *get_file(const char *path)
{
    static char text[16 * 1024];
    FILE *f = fopen(in_root(path), "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    return text;
}

static int setup(void **state)
{
    static const char *const folders[] = {"/run", "/run/containerd", "/run/crio", "/archives"};
    static const struct {
        enum executor_tool tool;
        const char *path;
    } tools[] = {
        {TOOL_KUBEADM, "/kubeadm"}, {TOOL_CTR, "/ctr"}, {TOOL_CRICTL, "/crictl"}, {TOOL_DOCKER, "/docker"}};
    (void)state;
    snprintf(root, sizeof root, "/tmp/kpeer-test-images-XXXXXX");
    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < COUNT_OF(folders); i++)
        assert_int_equal(mkdir(in_root(folders[i]), 0755), 0);
    memset(&cfg, 0, sizeof cfg);
    for (size_t i = 0; i < COUNT_OF(tools); i++) {
        put_file(tools[i].path, script, 0755);
        snprintf(cfg.tools[tools[i].tool], sizeof cfg.tools[0], "%s", in_root(tools[i].path));
    }
    snprintf(cfg.root, sizeof cfg.root, "%s", root);
    snprintf(cfg.flannel_manifest, sizeof cfg.flannel_manifest, "%s", in_root("/flannel.yml"));
    put_file("/flannel.yml", manifest, 0644);
    put_file("/names", "", 0644);
    cfg.images.parallel = 1;
    ctx = (struct exec_ctx){.cfg = &cfg, .deadline_ms = clock_ms() + 60000, .step_id = 1, .progress = note};
    memset(&result, 0, sizeof result);
    memset(&err, 0, sizeof err);
    told[0] = '\0';
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
    step_result_fini(&result);
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Whether the names that are here are these, in any order. */
static void expect_names(const char *const *names)
{
    char text[16 * 1024];
    size_t n = 0, lines = 0;
    mem_copy_text(text, sizeof text, get_file("/names"));
    for (const char *at = text; *at; at++)
        lines += *at == '\n';
    for (; names[n]; n++)
        if (!strstr(text, names[n]))
            fail_msg("%s is not among\n%s", names[n], text);
    if (lines != n)
        fail_msg("%zu names wanted, there are\n%s", n, text);
}

static void test_mirror_then_its_own(void **state)
{
    (void)state;
    snprintf(cfg.images.mirror, sizeof cfg.images.mirror, MIRROR);
    snprintf(cfg.images.ca, sizeof cfg.images.ca, "/etc/ca.crt");
    put_file("/refuses", MIRROR "/pause:3.2\n" MIRROR "/coredns:v1.8.0\n" MIRROR "/flannel/flannel:v1\n",
             0644);
    assert_int_equal(images_pull(&ctx, &step, &result, &err), 0);
    assert_string_equal(get_file("/calls"),
                        "ctr images pull --tlscacert /etc/ca.crt " MIRROR "/pause:3.2\n"
                        "ctr images pull " PAUSE "\n"
                        "ctr images pull --tlscacert /etc/ca.crt " MIRROR "/coredns:v1.8.0\n"
                        "ctr images pull --tlscacert /etc/ca.crt " MIRROR "/coredns/coredns:v1.8.0\n"
                        "ctr images tag --force " MIRROR "/coredns/coredns:v1.8.0 " COREDNS "\n"
                        "ctr images rm " MIRROR "/coredns/coredns:v1.8.0\n"
                        "ctr images pull --tlscacert /etc/ca.crt " MIRROR "/flannel/flannel:v1\n"
                        "ctr images pull --tlscacert /etc/ca.crt " MIRROR "/flannel:v1\n"
                        "ctr images tag --force " MIRROR "/flannel:v1 " FLANNEL "\n"
                        "ctr images rm " MIRROR "/flannel:v1\n");
    expect_names((const char *const[]){PAUSE, COREDNS, FLANNEL, NULL});
    assert_non_null(strstr(told, "3 of 3: " FLANNEL " from " MIRROR "/flannel:v1"));
}

static void test_plain_http_is_for_the_mirror_alone(void **state)
{
    (void)state;
    snprintf(cfg.images.mirror, sizeof cfg.images.mirror, MIRROR);
    cfg.images.insecure = true;
    put_file("/names", COREDNS " 1\n" FLANNEL " 2\n", 0644);
    put_file("/refuses", MIRROR "/pause:3.2\n", 0644);
    assert_int_equal(images_pull(&ctx, &step, &result, &err), 0);
    assert_string_equal(get_file("/calls"),
                        "ctr images pull --plain-http " MIRROR "/pause:3.2\nctr images pull " PAUSE "\n");
}

static void test_another_home_needs_a_name_only(void **state)
{
    (void)state;
    put_file("/names", "registry.k8s.io/pause:3.2 1\n" COREDNS " 2\n" FLANNEL " 3\n", 0644);
    assert_int_equal(images_pull(&ctx, &step, &result, &err), 0);
    assert_string_equal(get_file("/calls"), "ctr images tag --force registry.k8s.io/pause:3.2 " PAUSE "\n");
}

static void test_what_no_source_has_is_asked_once(void **state)
{
    (void)state;
    cfg.images.retries = 5;
    put_file("/names", COREDNS " 2\n" FLANNEL " 3\n", 0644);
    put_file("/refuses", PAUSE "\nregistry.k8s.io/pause:3.2\n", 0644);
    assert_int_equal(images_pull(&ctx, &step, &result, &err), KPEER_ENOTFOUND);
    assert_string_equal(get_file("/calls"),
                        "ctr images pull " PAUSE "\nctr images pull registry.k8s.io/pause:3.2\n");
    assert_non_null(strstr(err.text, "1 of 3 images could not be had: " PAUSE " from " PAUSE));
    assert_non_null(strstr(err.hint, "images.mirror"));
    assert_null(result.blob);
}

static void test_what_is_silent_is_asked_again(void **state)
{
    (void)state;
    cfg.images.retries = 1;
    put_file("/names", PAUSE " 2\n" COREDNS " 3\n", 0644);
    put_file("/silent", FLANNEL "\n", 0644);
    assert_int_equal(images_pull(&ctx, &step, &result, &err), KPEER_EIO);
    assert_string_equal(get_file("/calls"), "ctr images pull " FLANNEL "\nctr images pull " FLANNEL "\n");
    assert_non_null(strstr(told, "again in 1 s: " FLANNEL));
}

static void test_names_of_a_run_cut_short_go(void **state)
{
    (void)state;
    snprintf(cfg.images.mirror, sizeof cfg.images.mirror, MIRROR);
    put_file("/names",
             MIRROR "/pause:3.2 1\n" COREDNS " 2\n" MIRROR "/coredns:v1.8.0 2\n" FLANNEL " 3\n" MIRROR
                    "/other:1 4\n",
             0644);
    assert_int_equal(images_pull(&ctx, &step, &result, &err), 0);
    expect_names((const char *const[]){PAUSE, COREDNS, FLANNEL, MIRROR "/other:1", NULL});
    assert_null(strstr(get_file("/calls"), "pull"));
}

static void test_side_by_side(void **state)
{
    (void)state;
    cfg.images.parallel = 3;
    assert_int_equal(images_pull(&ctx, &step, &result, &err), 0);
    expect_names((const char *const[]){PAUSE, COREDNS, FLANNEL, NULL});
    assert_non_null(strstr(told, "3 of 3: "));
}

static void test_half_an_image_gets_no_name(void **state)
{
    (void)state;
    snprintf(cfg.images.mirror, sizeof cfg.images.mirror, MIRROR);
    put_file("/names", COREDNS " 2\n" FLANNEL " 3\n" PAUSE " 7\n", 0644);
    put_file("/half", MIRROR "/pause:3.2\n" PAUSE "\nregistry.k8s.io/pause:3.2\n", 0644);
    assert_int_equal(images_pull(&ctx, &step, &result, &err), KPEER_EIO);
    assert_null(strstr(get_file("/calls"), "tag"));
    assert_non_null(strstr(err.text, "a part of it is missing"));
}

static void put_digest(const char *name, const char *number)
{
    char text[256];
    snprintf(text, sizeof text, "%s sha256:%064d\n", name, atoi(number));
    put_file("/digests", text, 0644);
    snprintf(cfg.images.digests, sizeof cfg.images.digests, "%s", in_root("/digests"));
}

static void test_digests(void **state)
{
    (void)state;
    snprintf(cfg.images.mirror, sizeof cfg.images.mirror, MIRROR);
    put_file("/names", COREDNS " 2\n" FLANNEL " 3\n" PAUSE " 4\n", 0644);
    put_digest("registry.k8s.io/pause:3.2", "9");
    assert_int_equal(images_pull(&ctx, &step, &result, &err), KPEER_EAUTH);
    expect_names((const char *const[]){COREDNS, FLANNEL, NULL}); /* the wrong one that was here is gone too */
    assert_non_null(strstr(err.text, "not the image wanted"));
    put_digest("registry.k8s.io/pause:3.2", "7");
    assert_int_equal(images_pull(&ctx, &step, &result, &err), 0);
    expect_names((const char *const[]){COREDNS, FLANNEL, PAUSE, NULL});
    step_result_fini(&result);
    put_digest(PAUSE, "17"); /* its id */
    put_file("/calls", "", 0644);
    assert_int_equal(images_pull(&ctx, &step, &result, &err), 0);
    assert_string_equal(get_file("/calls"), "");
    put_file("/digests", "nonsense\n", 0644);
    step_result_fini(&result);
    assert_int_equal(images_pull(&ctx, &step, &result, &err), KPEER_EINVAL);
    assert_non_null(strstr(err.text, "line 1"));
}

static void test_what_the_kubelet_could_pull(void **state)
{
    (void)state;
    put_file("/run/containerd/containerd.sock", "", 0600);
    put_file("/names", COREDNS " 2\n" FLANNEL " 3\n", 0644);
    put_file("/behind", PAUSE "\n", 0644);
    assert_int_equal(images_pull(&ctx, &step, &result, &err), 0);
    assert_string_equal(get_file("/calls"), "ctr images pull " PAUSE "\ncrictl images pull " PAUSE "\n");
    expect_names((const char *const[]){PAUSE, COREDNS, FLANNEL, NULL});
}

static void test_docker(void **state)
{
    (void)state;
    put_file("/run/cri-dockerd.sock", "", 0600);
    put_file("/run/containerd/containerd.sock", "", 0600);
    snprintf(cfg.images.mirror, sizeof cfg.images.mirror, MIRROR);
    put_file("/names", COREDNS " 2\nflannel/flannel:v1 3\n", 0644);
    assert_int_equal(images_pull(&ctx, &step, &result, &err), 0);
    assert_string_equal(get_file("/calls"),
                        "docker images pull " MIRROR "/pause:3.2\ndocker images tag " MIRROR
                        "/pause:3.2 " PAUSE "\ndocker images rmi " MIRROR "/pause:3.2\n");
}

static void test_docker_itself_up_to_1_23(void **state)
{
    (void)state;
    put_file("/run/docker.sock", "", 0600);
    put_file("/run/containerd/containerd.sock", "", 0600);
    put_file("/names", COREDNS " 2\nflannel/flannel:v1 3\n", 0644);
    snprintf(cfg.kubernetes_version, sizeof cfg.kubernetes_version, "v1.24.0");
    assert_int_equal(images_prepare(&ctx, STEP_ROLE_MASTER, &err), 0);
    assert_non_null(strstr(get_file("/calls"), "ctr images pull " PAUSE));
    put_file("/names", COREDNS " 2\nflannel/flannel:v1 3\n", 0644);
    put_file("/calls", "", 0644);
    snprintf(cfg.kubernetes_version, sizeof cfg.kubernetes_version, "v1.23.3");
    assert_int_equal(images_prepare(&ctx, STEP_ROLE_MASTER, &err), 0);
    assert_string_equal(get_file("/calls"), "docker images pull " PAUSE "\n");
}

static void test_crio_pulls_by_itself(void **state)
{
    (void)state;
    put_file("/run/crio/crio.sock", "", 0600);
    snprintf(cfg.images.mirror, sizeof cfg.images.mirror, MIRROR);
    put_file("/names", COREDNS " 2\n" FLANNEL " 3\n", 0644);
    assert_int_equal(images_pull(&ctx, &step, &result, &err), 0);
    assert_string_equal(get_file("/calls"), "crictl images pull " PAUSE "\n");
}

static json_t *answer(void)
{
    json_t *root_object = json_loadb((const char *)result.blob, result.blob_bytes, 0, NULL);
    assert_non_null(root_object);
    return root_object;
}

static void test_list(void **state)
{
    (void)state;
    put_file("/names", PAUSE " 4\n", 0644);
    assert_int_equal(images_list(&ctx, &step, &result, &err), 0);
    json_t *list = answer(), *first = json_array_get(json_object_get(list, "images"), 0);
    assert_int_equal(json_array_size(json_object_get(list, "images")), 3);
    assert_string_equal(json_string_value(json_object_get(first, "image")), PAUSE);
    assert_true(json_is_true(json_object_get(first, "here")));
    assert_int_equal(strlen(json_string_value(json_object_get(first, "id"))), 71);
    json_decref(list);
    step_result_fini(&result);
    snprintf(cfg.tools[TOOL_CTR], sizeof cfg.tools[0], "/nonexistent/ctr");
    snprintf(cfg.tools[TOOL_CRICTL], sizeof cfg.tools[0], "/nonexistent/crictl");
    assert_int_equal(images_list(&ctx, &step, &result, &err), 0);
    list = answer();
    assert_true(json_is_null(json_object_get(json_array_get(json_object_get(list, "images"), 0), "here")));
    json_decref(list);
    step_result_fini(&result);
    snprintf(cfg.tools[TOOL_KUBEADM], sizeof cfg.tools[0], "/nonexistent/kubeadm");
    assert_int_equal(images_list(&ctx, &step, &result, &err), KPEER_ENOTFOUND);
}

static void test_verify(void **state)
{
    (void)state;
    put_file("/names", PAUSE " 4\n" COREDNS " 5\n", 0644);
    assert_int_equal(images_verify(&ctx, &step, &result, &err), KPEER_EINVAL);
    put_digest("registry.k8s.io/pause:3.2", "14");
    assert_int_equal(images_verify(&ctx, &step, &result, &err), 0);
    json_t *told_json = answer();
    assert_int_equal(json_integer_value(json_object_get(told_json, "same")), 1);
    assert_int_equal(json_integer_value(json_object_get(told_json, "missing")), 2);
    json_decref(told_json);
    step_result_fini(&result);
    put_digest(COREDNS, "4");
    assert_int_equal(images_verify(&ctx, &step, &result, &err), 0);
    told_json = answer();
    assert_int_equal(json_integer_value(json_object_get(told_json, "different")), 1);
    json_decref(told_json);
}

static void test_rehearsal_pulls_nothing(void **state)
{
    (void)state;
    ctx.dry_run = true;
    snprintf(cfg.images.mirror, sizeof cfg.images.mirror, MIRROR);
    put_file("/names", "registry.k8s.io/pause:3.2 1\n", 0644);
    assert_int_equal(images_prepare(&ctx, STEP_ROLE_MASTER, &err), 0);
    assert_string_equal(get_file("/calls"), "");
    assert_non_null(strstr(told, "would run: "));
    assert_non_null(strstr(told, "images pull " MIRROR "/coredns:v1.8.0"));
}

static void test_prepare_without_a_runtime_goes_on(void **state)
{
    (void)state;
    snprintf(cfg.tools[TOOL_CTR], sizeof cfg.tools[0], "/nonexistent/ctr");
    snprintf(cfg.tools[TOOL_CRICTL], sizeof cfg.tools[0], "/nonexistent/crictl");
    assert_int_equal(images_prepare(&ctx, STEP_ROLE_WORKER, &err), 0);
    assert_non_null(strstr(told, "left to kubeadm and the kubelet"));
    snprintf(cfg.images.mirror, sizeof cfg.images.mirror, "https://m.example/");
    assert_int_equal(images_prepare(&ctx, STEP_ROLE_WORKER, &err), KPEER_EINVAL);
}

static void test_no_folder_of_archives(void **state)
{
    (void)state;
    snprintf(cfg.images.archives, sizeof cfg.images.archives, "/nonexistent/archives");
    assert_int_equal(images_pull(&ctx, &step, &result, &err), KPEER_ENOTFOUND);
    assert_non_null(strstr(err.text, "images.archives"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_mirror_then_its_own),
        TEST(test_plain_http_is_for_the_mirror_alone),
        TEST(test_another_home_needs_a_name_only),
        TEST(test_what_no_source_has_is_asked_once),
        TEST(test_what_is_silent_is_asked_again),
        TEST(test_names_of_a_run_cut_short_go),
        TEST(test_side_by_side),
        TEST(test_half_an_image_gets_no_name),
        TEST(test_digests),
        TEST(test_what_the_kubelet_could_pull),
        TEST(test_docker),
        TEST(test_docker_itself_up_to_1_23),
        TEST(test_crio_pulls_by_itself),
        TEST(test_list),
        TEST(test_verify),
        TEST(test_rehearsal_pulls_nothing),
        TEST(test_prepare_without_a_runtime_goes_on),
        TEST(test_no_folder_of_archives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
