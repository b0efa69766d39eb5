/*
 * The steps against a root folder of their own and a kubeadm that only writes down how it was called: what is
 * in argument lists and documents, what is left afterwards, and that no token is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "peer/executor/kube/files.h"
#include "peer/executor/kube/kube.h"
#include "peer/executor/kube/kubeadm.h"
#include "peer/executor/kube/token.h"
#include "tests/unit/under_valgrind.h"

#define TOKEN "abcdef.0123456789abcdef"

/* Notes each call and, where there is a document, its mode and text; ends as the file "status" says. */
static const char script[] =
    "#!/bin/sh\n"
    "here=${0%/*}\n"
    "[ \"$1\" = version ] && { echo '{\"clientVersion\": {\"gitVersion\": \"v1.20.2\"}}'; exit 0; }\n"
    "[ \"$1 $2\" = 'config images' ] && { echo k8s.gcr.io/pause:3.2; exit 0; }\n"
    "echo \"${0##*/} $*\" >> \"$here/calls\"\n"
    "tr '\\0' '\\n' < /proc/$$/environ >> \"$here/environment\"\n"
    "while [ $# -gt 0 ]; do\n"
    "    [ \"$1\" = --config ] && { stat -c '%a' \"$2\" >> \"$here/modes\"; cat \"$2\" >> "
    "\"$here/documents\"; }\n"
    "    shift\n"
    "done\n"
    "cat > \"$here/input\"\n"
    "echo '[preflight] Using token: " TOKEN "'\n"
    "[ -f \"$here/fail\" ] && { cat \"$here/fail\" >&2; exit 1; }\n"
    "exit 0\n";

static char root[64];
static char told[64 * 1024];
static struct executor_config cfg;
static struct exec_ctx ctx;
static struct step step;
static struct step_result result;
static struct err err;

static void note(void *arg, const struct step_progress *p)
{
    size_t n = strlen(told);
    (void)arg;
    snprintf(told + n, sizeof told - n, "[%s] %s\n", p->phase, p->line);
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

/* The text of a file below the root, "" where it is not there; good until the next call. */
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

static size_t files_in(const char *path)
{
    DIR *d = opendir(in_root(path));
    size_t n = 0;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static void make_step(void)
{
    memset(&step, 0, sizeof step);
    step.id = 1;
    snprintf(step.node_name, sizeof step.node_name, "node1");
    snprintf(step.address, sizeof step.address, "192.168.56.11");
    snprintf(step.endpoint, sizeof step.endpoint, "192.168.56.11:6443");
    snprintf(step.pod_cidr, sizeof step.pod_cidr, "10.10.0.0/16");
    snprintf(step.service_cidr, sizeof step.service_cidr, "10.96.0.0/12");
    snprintf(step.kubernetes_version, sizeof step.kubernetes_version, "v1.20.2");
    snprintf(step.token, sizeof step.token, TOKEN);
    step.ttl_s = 60;
}

static void make_context(void)
{
    memset(&cfg, 0, sizeof cfg);
    snprintf(cfg.root, sizeof cfg.root, "%s", root);
    for (int tool = 0; tool < TOOL_COUNT; tool++)
        snprintf(cfg.tools[tool], sizeof cfg.tools[tool], "/nonexistent/tool");
    snprintf(cfg.tools[TOOL_KUBEADM], sizeof cfg.tools[0], "%s/kubeadm", root);
    snprintf(cfg.tools[TOOL_KUBECTL], sizeof cfg.tools[0], "%s/kubectl", root);
    ctx = (struct exec_ctx){.cfg = &cfg,
                            .deadline_ms = clock_ms() + (under_valgrind() ? 300000 : 30000),
                            .step_id = 1,
                            .progress = note};
}

static int setup(void **state)
{
    static const char *const folders[] = {"/run", "/etc", "/etc/kubernetes", "/state"};
    (void)state;
    snprintf(root, sizeof root, "/tmp/kpeer-test-steps-XXXXXX");
    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        assert_int_equal(mkdir(in_root(folders[i]), 0755), 0);
    put_file("/kubeadm", script, 0755);
    put_file("/kubectl", script, 0755);
    make_context();
    make_step();
    memset(&result, 0, sizeof result);
    memset(&err, 0, sizeof err);
    told[0] = '\0';
    return journal_open(in_root("/state/executor"), &ctx.journal, &err);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    journal_close(ctx.journal);
    step_result_fini(&result);
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_ca(void)
{
    assert_int_equal(kube_ca(&ctx, &step, &result, &err), 0);
    memcpy(step.ca_hash, result.ca_hash, sizeof step.ca_hash);
}

static void test_ca(void **state)
{
    (void)state;
    char first[STEP_HASH_BYTES];
    struct stat st;
    make_ca();
    memcpy(first, result.ca_hash, sizeof first);
    assert_int_equal(stat(in_root(KUBE_CA_KEY), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(journal_owns(ctx.journal, in_root(KUBE_CA_KEY)));
    make_ca();
    assert_string_equal(result.ca_hash, first); /* the one that is there is used again */
    assert_int_equal(unlink(in_root(KUBE_CA_KEY)), 0);
    assert_int_equal(kube_ca(&ctx, &step, &result, &err), KPEER_ESTATE);
    assert_true(err.hint[0] != '\0');
    put_file(KUBE_CA_KEY, "rubbish", 0600);
    assert_int_equal(kube_ca(&ctx, &step, &result, &err), KPEER_EINVAL);
}

static void test_init(void **state)
{
    (void)state;
    make_ca();
    assert_int_equal(kube_init(&ctx, &step, &result, &err), 0);
    assert_non_null(strstr(get_file("/calls"), "kubeadm init --config "));
    assert_string_equal(get_file("/modes"), "600\n");
    assert_non_null(strstr(get_file("/documents"), "advertiseAddress: \"192.168.56.11\""));
    assert_int_equal(files_in(FILES_PRIVATE_DIR), 0);
    assert_null(strstr(told, TOKEN)); /* kubeadm told it, kpeer did not */
    assert_non_null(strstr(told, "[preflight] [preflight] Using token: ******.****************"));
}

static void test_init_with_other_ca(void **state)
{
    (void)state;
    assert_int_equal(kube_init(&ctx, &step, &result, &err), KPEER_ESTATE);
    make_ca();
    step.ca_hash[10] = step.ca_hash[10] == '0' ? '1' : '0';
    assert_int_equal(kube_init(&ctx, &step, &result, &err), KPEER_ESTATE);
    assert_string_equal(get_file("/calls"), "");
}

static void test_init_fails(void **state)
{
    (void)state;
    make_ca();
    put_file("/fail",
             "\t[ERROR Swap]: running with swap on is not supported\n\x1b[31mTo see the stack trace\n", 0644);
    cfg.ignore_count = 2;
    snprintf(cfg.ignore[0], sizeof cfg.ignore[0], "NumCPU");
    snprintf(cfg.ignore[1], sizeof cfg.ignore[1], "Mem");
    assert_int_equal(kube_init(&ctx, &step, &result, &err), KPEER_EIO);
    assert_non_null(strstr(err.text, "[ERROR Swap]: running with swap on is not supported"));
    assert_non_null(strstr(err.hint, "swap"));
    assert_non_null(strstr(get_file("/calls"), "--ignore-preflight-errors=NumCPU,Mem"));
    assert_int_equal(files_in(FILES_PRIVATE_DIR), 0); /* on failure too */
}

static bool is_token(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    return strlen(text) == 23 && strspn(text, letters) == 6 && text[6] == '.' &&
           strspn(text + 7, letters) == 16;
}

static void test_token(void **state)
{
    (void)state;
    assert_int_equal(kube_token_mint(&ctx, &step, &result, &err), KPEER_ESTATE); /* no control plane */
    put_file(KUBE_ADMIN, "apiVersion: v1\n", 0600);
    assert_int_equal(kube_token_mint(&ctx, &step, &result, &err), 0);
    assert_true(is_token(result.token));
    assert_non_null(strstr(get_file("/documents"), result.token));
    assert_null(strstr(get_file("/calls"), result.token));
    assert_null(strstr(get_file("/environment"), result.token));
    assert_null(strstr(told, result.token));
    assert_null(strstr(told, TOKEN));
    assert_int_equal(files_in(FILES_PRIVATE_DIR), 0);

    assert_int_equal(kube_token_revoke(&ctx, &step, &result, &err), 0);
    assert_non_null(strstr(get_file("/calls"), "kubeadm token delete abcdef\n"));
    assert_null(strstr(get_file("/calls"), TOKEN));
    put_file("/fail", "error: token id \"abcdef\" not found\n", 0644);
    assert_int_equal(kube_token_revoke(&ctx, &step, &result, &err), 0);
}

static void test_tokens_differ(void **state)
{
    (void)state;
    char a[STEP_TOKEN_BYTES];
    char b[STEP_TOKEN_BYTES];
    for (int i = 0; i < 1000; i++) {
        token_random(a);
        token_random(b);
        assert_true(is_token(a));
        assert_string_not_equal(a, b);
    }
}

static void test_join_needs_a_record(void **state)
{
    (void)state;
    static const uint8_t record[] = "not a record";
    step.record = record;
    step.record_bytes = sizeof record;
    assert_int_not_equal(kube_join(&ctx, &step, &result, &err), 0);
    assert_string_equal(get_file("/calls"), "");
}

static void test_apply(void **state)
{
    (void)state;
    put_file(KUBE_ADMIN, "apiVersion: v1\n", 0600);
    assert_int_equal(kube_apply(&ctx, &step, &result, &err), 0);
    assert_non_null(strstr(get_file("/calls"), "kubectl apply -f - --validate=false"));
    assert_non_null(strstr(get_file("/input"), "--iface-can-reach=192.168.56.11"));
    assert_non_null(strstr(get_file("/input"), "k8s.gcr.io/pause:3.2"));
    assert_non_null(strstr(get_file("/environment"), "KUBECONFIG="));
    snprintf(cfg.flannel_manifest, sizeof cfg.flannel_manifest, "%s/mine.yaml", root);
    assert_int_equal(kube_apply(&ctx, &step, &result, &err), KPEER_ENOTFOUND);
    put_file("/mine.yaml", "kind: ConfigMap\n", 0644);
    assert_int_equal(kube_apply(&ctx, &step, &result, &err), KPEER_EINVAL);
    assert_non_null(strstr(err.text, "Flannel's manifest"));
}

static void test_kubeconfig(void **state)
{
    (void)state;
    assert_int_equal(kube_kubeconfig(&ctx, &step, &result, &err), KPEER_ESTATE);
    put_file(KUBE_ADMIN, "apiVersion: v1\nkind: Config\n", 0600);
    assert_int_equal(kube_kubeconfig(&ctx, &step, &result, &err), 0);
    assert_int_equal(result.blob_bytes, strlen("apiVersion: v1\nkind: Config\n"));
}

/* A crash left a document; a stranger's folder of that name is not touched. */
static void test_sweep(void **state)
{
    (void)state;
    struct files_private doc = {0};
    assert_int_equal(files_private_write(&ctx, "crashed", TOKEN, sizeof TOKEN - 1, &doc, &err), 0);
    assert_int_equal(files_in(FILES_PRIVATE_DIR), 1);
    files_private_sweep(&ctx);
    assert_int_equal(files_in(FILES_PRIVATE_DIR), 0);
    assert_int_equal(chmod(in_root(FILES_PRIVATE_DIR), 0755), 0);
    assert_int_equal(files_private_write(&ctx, "x", "y", 1, &doc, &err), KPEER_EREFUSED);
}

static void test_remove_tree(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_root("/etc/a"), 0755), 0);
    assert_int_equal(mkdir(in_root("/etc/a/b"), 0755), 0);
    put_file("/etc/a/b/c", "x", 0644);
    put_file("/etc/keep", "x", 0644);
    assert_int_equal(symlink("../keep", in_root("/etc/a/link")), 0);
    assert_int_equal(files_remove_tree(&ctx, "/etc/a", false, &err), 0);
    assert_int_equal(files_in("/etc/a"), 0);
    assert_true(files_exists(&ctx, "/etc/a"));
    assert_true(files_exists(&ctx, "/etc/keep"));
    assert_int_equal(files_remove_tree(&ctx, "/etc/a", true, &err), 0);
    assert_false(files_exists(&ctx, "/etc/a"));
    assert_int_equal(files_remove_tree(&ctx, "/etc/a", true, &err), 0); /* nothing there is success */
}

/* A rehearsal of every step changes nothing and tells no token. */
static void test_rehearsal(void **state)
{
    (void)state;
    ctx.dry_run = true;
    put_file(KUBE_ADMIN, "apiVersion: v1\n", 0600);
    assert_int_equal(kube_prepare(&ctx, &step, &result, &err), 0);
    make_ca();
    assert_int_equal(kube_init(&ctx, &step, &result, &err), 0);
    assert_int_equal(kube_apply(&ctx, &step, &result, &err), 0);
    assert_int_equal(kube_token_mint(&ctx, &step, &result, &err), 0);
    assert_true(is_token(result.token));
    assert_int_equal(kube_token_revoke(&ctx, &step, &result, &err), 0);
    assert_int_equal(kube_prove(&ctx, &step, &result, &err), 0);
    assert_string_equal(result.pod_address, "192.168.56.11");
    assert_int_equal(kube_reach(&ctx, &step, &result, &err), 0);
    assert_int_equal(kube_drain(&ctx, &step, &result, &err), 0);
    assert_int_equal(kube_delete_node(&ctx, &step, &result, &err), 0);
    assert_int_equal(kube_reset(&ctx, &step, &result, &err), 0);
    assert_non_null(strstr(told, "would run: "));
    assert_non_null(strstr(told, "token: \"******.****************\""));
    assert_null(strstr(told, TOKEN));
    assert_null(strstr(told, result.token));
    assert_string_equal(get_file("/calls"), "");
    assert_false(files_exists(&ctx, KUBE_PKI));
    assert_true(files_exists(&ctx, KUBE_ADMIN));
    assert_int_equal(files_in("/run"), 0);
}

#define STEP_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STEP_TEST(test_ca),
        STEP_TEST(test_init),
        STEP_TEST(test_init_with_other_ca),
        STEP_TEST(test_init_fails),
        STEP_TEST(test_token),
        STEP_TEST(test_tokens_differ),
        STEP_TEST(test_join_needs_a_record),
        STEP_TEST(test_apply),
        STEP_TEST(test_kubeconfig),
        STEP_TEST(test_sweep),
        STEP_TEST(test_remove_tree),
        STEP_TEST(test_rehearsal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
