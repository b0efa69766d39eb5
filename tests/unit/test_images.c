/* Names of images, and what runtimes, registries and archives print: as they are, and bent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/executor/images/parse_images.h"
#include "peer/executor/images/pool.h"
#include "peer/executor/images/reference.h"
#include "peer/executor/kube/flannel.h"
#include "protocol/mem.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define A     "sha256:a123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define B     "sha256:b123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* ---- names ---- */

static void test_is_image(void **state)
{
    static const char *const good[] = {"k8s.gcr.io/pause:3.2", "pause:3.2",
                                       "docker.io/flannel/flannel:v0.22.3", "localhost/a:b",
                                       "10.0.0.1:5000/a/b-c/d__e:V1.2-3_4"};
    static const char *const bad[] = {
        "",        "pause",          "pause:",   ":3.2",  "/pause:3.2", "a//b:1",   "-a:1",
        "a:-1",    "a:.1",           "A/b:1",    "a b:1", "a:1 2",      "a:1\n",    "a/../b:1",
        "--all:1", "h:99999999/a:1", "h.:x/a:1", "a@" A,  "a:1@" A,     "h.io/a/:1"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_true(reference_is_image(good[i]));
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (reference_is_image(bad[i]))
            fail_msg("\"%s\" passed as an image", bad[i]);
    char longer[300];
    memset(longer, 'a', sizeof longer);
    memcpy(longer + sizeof longer - 3, ":1", 3);
    assert_false(reference_is_image(longer));
}

static void test_is_prefix_and_digest(void **state)
{
    (void)state;
    assert_true(reference_is_prefix("registry.aliyuncs.com/google_containers"));
    assert_true(reference_is_prefix("192.168.56.12:5000"));
    assert_false(reference_is_prefix("https://r.example"));
    assert_false(reference_is_prefix("r.example/"));
    assert_false(reference_is_prefix("--plain-http"));
    assert_false(reference_is_prefix(""));
    assert_false(reference_is_prefix("r.example:"));
    assert_true(reference_is_digest(A));
    assert_false(reference_is_digest("sha256:" HEX64 "0"));
    assert_false(reference_is_digest("sha256:A123"));
    assert_false(reference_is_digest("md5:" HEX64));
}

static void test_full_and_same(void **state)
{
    char full[REFERENCE_BYTES];
    (void)state;
    assert_true(reference_full("flannel/flannel:v1", full));
    assert_string_equal(full, "docker.io/flannel/flannel:v1");
    assert_true(reference_full("nginx:alpine", full));
    assert_string_equal(full, "docker.io/library/nginx:alpine");
    assert_true(reference_full("localhost:5000/a:1", full));
    assert_string_equal(full, "localhost:5000/a:1");
    assert_true(reference_same("k8s.gcr.io/pause:3.6", "registry.k8s.io/pause:3.6"));
    assert_true(reference_same("flannel/flannel:v1", "docker.io/flannel/flannel:v1"));
    assert_false(reference_same("k8s.gcr.io/pause:3.6", "registry.k8s.io/pause:3.7"));
    assert_false(reference_same("k8s.gcr.io/pause:3.6", "docker.io/pause:3.6"));
    assert_false(reference_same("", ""));
    assert_true(reference_is_public("pause:1"));
    assert_false(reference_is_public("k8s.gcr.io.example/pause:1"));
}

static void expect_sources(const char *name, const char *mirror, const char *const *wanted)
{
    struct reference_sources got;
    size_t n = 0;
    reference_sources(name, mirror, &got);
    for (; wanted[n]; n++) {
        assert_true(n < got.count);
        assert_string_equal(got.names[n], wanted[n]);
    }
    assert_int_equal(got.count, n);
}

static void test_sources(void **state)
{
    (void)state;
    expect_sources("k8s.gcr.io/coredns/coredns:v1.8.6", "m.example/k8s",
                   (const char *const[]){
                       "m.example/k8s/coredns:v1.8.6", "m.example/k8s/coredns/coredns:v1.8.6",
                       "k8s.gcr.io/coredns/coredns:v1.8.6", "registry.k8s.io/coredns/coredns:v1.8.6", NULL});
    expect_sources("registry.k8s.io/pause:3.9", "m.example/k8s",
                   (const char *const[]){"m.example/k8s/pause:3.9", "registry.k8s.io/pause:3.9",
                                         "k8s.gcr.io/pause:3.9", NULL});
    expect_sources("flannel/flannel:v1", "m.example",
                   (const char *const[]){"m.example/flannel/flannel:v1", "m.example/flannel:v1",
                                         "docker.io/flannel/flannel:v1", NULL});
    expect_sources("m.example/k8s/pause:3.9", "m.example/k8s",
                   (const char *const[]){"m.example/k8s/pause:3.9", NULL});
    expect_sources("r.example/x/pause:3.9", NULL, (const char *const[]){"r.example/x/pause:3.9", NULL});
    expect_sources("no image", "m.example", (const char *const[]){NULL});
}

/* ---- listings ---- */

#define TITLES "REF                  TYPE                   DIGEST STATUS         SIZE            UNPACKED \n"
#define TYPE   "application/vnd.docker.distribution.manifest.v2+json "

static void test_ctr(void **state)
{
    static const char text[] =
        TITLES "docker.io/kpeer/web:1 " TYPE A " complete (3/3) 30.1 MiB/30.1 MiB   true\n"
               "k8s.gcr.io/etcd:3.4.13-0 " TYPE B " incomplete (1/3) 1.1 MiB/30.1 MiB   false\n"
               "k8s.gcr.io/pause:3.2 " TYPE B " incomplete (1/3) 1.1 MiB/30.1 MiB   true\n"
               "sha256:" HEX64 " " TYPE A " complete (3/3) 30.1 MiB/30.1 MiB   true\n"
               "k8s.gcr.io/short\n\n"
               "k8s.gcr.io/odd:1 " TYPE "sha256:1234 complete (3/3) 30.1 MiB/30.1 MiB   true\n";
    struct image_rows rows;
    struct err err = {0};
    (void)state;
    assert_int_equal(parse_images_ctr(text, strlen(text), &rows, &err), 0);
    assert_int_equal(rows.count, 3);
    assert_true(rows.rows[0].whole);
    assert_string_equal(rows.rows[0].digest, A);
    assert_string_equal(rows.rows[0].id, "");
    assert_false(image_rows_find(&rows, "k8s.gcr.io/etcd:3.4.13-0")->whole);
    assert_true(image_rows_find(&rows, "k8s.gcr.io/pause:3.2")->whole);
    assert_non_null(image_rows_find(&rows, "kpeer/web:1"));
    assert_null(image_rows_find(&rows, "k8s.gcr.io/pause:3.3"));
    image_rows_fini(&rows);
    assert_int_equal(parse_images_ctr("", 0, &rows, &err), 0);
    assert_int_equal(rows.count, 0);
    image_rows_fini(&rows);
    assert_int_equal(parse_images_ctr("rubbish\n", 8, &rows, &err), KPEER_EINVAL);
    assert_int_equal(parse_images_ctr("REF TYPE DIGEST SIZE X\n", 23, &rows, &err), KPEER_EINVAL);
}

static void test_many_rows(void **state)
{
    size_t used = strlen(TITLES), room = used + (size_t)(PARSE_IMAGES_ROWS + 10) * 256;
    char *text = malloc(room);
    struct image_rows rows;
    (void)state;
    assert_non_null(text);
    memcpy(text, TITLES, used);
    for (int i = 0; i < PARSE_IMAGES_ROWS + 10; i++)
        used += (size_t)snprintf(text + used, room - used,
                                 "r.example/a:%d " TYPE A " complete (1/1) 1 true\n", i);
    assert_int_equal(parse_images_ctr(text, used, &rows, NULL), 0);
    assert_int_equal(rows.count, PARSE_IMAGES_ROWS);
    image_rows_fini(&rows);
    free(text);
}

static void test_crictl(void **state)
{
    static const char text[] =
        "{\"images\":[{\"id\":\"" A
        "\",\"repoTags\":[\"k8s.gcr.io/pause:3.2\",\"r.example/pause:3.2\",7,\"x\"],"
        "\"repoDigests\":[\"k8s.gcr.io/pause@" B "\",\"r.example/pause@" A "\",\"none\"]},"
        "{\"id\":\"odd\",\"repoTags\":[\"k8s.gcr.io/etcd:1\"]},{},3]}";
    struct image_rows rows;
    struct err err = {0};
    (void)state;
    assert_int_equal(parse_images_crictl(text, strlen(text), &rows, &err), 0);
    assert_int_equal(rows.count, 3);
    assert_string_equal(image_rows_find(&rows, "k8s.gcr.io/pause:3.2")->digest, B);
    assert_string_equal(image_rows_find(&rows, "r.example/pause:3.2")->digest, A);
    assert_string_equal(image_rows_find(&rows, "k8s.gcr.io/pause:3.2")->id, A);
    assert_string_equal(image_rows_find(&rows, "k8s.gcr.io/etcd:1")->id, "");
    image_rows_fini(&rows);
    assert_int_equal(parse_images_crictl("{}", 2, &rows, &err), 0);
    image_rows_fini(&rows);
    static const char *const bad[] = {"",  "[]",   "{\"images\":3}",
                                      "{", "null", "{\"images\":[],\"images\":[]}"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(parse_images_crictl(bad[i], strlen(bad[i]), &rows, &err), KPEER_EINVAL);
}

static void test_sandbox(void **state)
{
    static const char text[] = "{\"config\":{\"sandboxImage\":\"registry.k8s.io/pause:3.6\"}}";
    char name[REFERENCE_BYTES];
    (void)state;
    assert_true(parse_images_sandbox(text, strlen(text), name));
    assert_string_equal(name, "registry.k8s.io/pause:3.6");
    assert_false(parse_images_sandbox("{\"config\":{\"sandboxImage\":\"; rm\"}}", 33, name));
    assert_false(parse_images_sandbox("{}", 2, name));
    assert_false(parse_images_sandbox("", 0, name));
}

static void test_docker(void **state)
{
    static const char text[] =
        "{\"Repository\":\"flannel/flannel\",\"Tag\":\"v1\",\"Digest\":\"\\u003cnone\\u003e\",\"ID\":\"" A
        "\"}\n"
        "{\"Repository\":\"<none>\",\"Tag\":\"<none>\",\"ID\":\"" B "\"}\n\n"
        "{\"Repository\":\"k8s.gcr.io/pause\",\"Tag\":\"3.2\",\"Digest\":\"" B "\",\"ID\":\"" A "\"}";
    struct image_rows rows;
    struct err err = {0};
    (void)state;
    assert_int_equal(parse_images_docker(text, strlen(text), &rows, &err), 0);
    assert_int_equal(rows.count, 2);
    assert_string_equal(image_rows_find(&rows, "docker.io/flannel/flannel:v1")->id, A);
    assert_string_equal(image_rows_find(&rows, "docker.io/flannel/flannel:v1")->digest, "");
    assert_string_equal(image_rows_find(&rows, "k8s.gcr.io/pause:3.2")->digest, B);
    image_rows_fini(&rows);
    assert_int_equal(parse_images_docker("REPOSITORY TAG\n", 15, &rows, &err), KPEER_EINVAL);
}

/* ---- manifests, archives, digests ---- */

static int manifest(const char *text, struct image_manifest *m)
{
    return parse_images_manifest(text, strlen(text), "amd64", m, NULL);
}

static void test_manifest(void **state)
{
    struct image_manifest m;
    (void)state;
    assert_int_equal(manifest("{\"config\":{\"digest\":\"" A "\"},\"layers\":[]}", &m), 0);
    assert_false(m.is_index);
    assert_string_equal(m.next, A);
    assert_int_equal(
        manifest("{\"manifests\":[{\"digest\":\"" B "\",\"platform\":{\"os\":\"linux\",\"architecture\":"
                 "\"arm64\"}},{\"digest\":\"" A "\",\"platform\":{\"os\":\"linux\",\"architecture\":"
                 "\"amd64\"}}]}",
                 &m),
        0);
    assert_true(m.is_index);
    assert_string_equal(m.next, A);
    assert_int_equal(manifest("{\"manifests\":[{\"digest\":\"" B "\"}]}", &m), 0);
    assert_string_equal(m.next, B);
    assert_int_equal(manifest("{\"manifests\":[{\"digest\":\"" B
                              "\",\"platform\":{\"os\":\"linux\",\"architecture\":"
                              "\"arm64\"}}]}",
                              &m),
                     KPEER_ENOTFOUND);
    static const char *const bad[] = {"",
                                      "{}",
                                      "[]",
                                      "{\"config\":{\"digest\":\"sha256:1\"}}",
                                      "{\"config\":3}",
                                      "{\"manifests\":[{\"digest\":7}]}",
                                      "{\"schemaVersion\":1,\"fsLayers\":[]}"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_not_equal(manifest(bad[i], &m), 0);
}

static void test_archive(void **state)
{
    static const char docker[] =
        "[{\"Config\":\"abc.json\",\"RepoTags\":[\"k8s.gcr.io/pause:3.2\",\"pause:1\"],"
        "\"Layers\":[]},{\"Config\":\"../etc/shadow\",\"RepoTags\":[\"a:1\"]},"
        "{\"Config\":\"-xf\",\"RepoTags\":[\"a:1\"]},{\"Config\":\"x\",\"RepoTags\":null}]";
    static const char oci[] =
        "{\"manifests\":[{\"digest\":\"" A
        "\",\"annotations\":{\"io.containerd.image.name\":\"k8s.gcr.io/pause:3.2\","
        "\"org.opencontainers.image.ref.name\":\"3.2\"}},{\"digest\":\"bad\",\"annotations\":{"
        "\"org.opencontainers.image.ref.name\":\"a:1\"}},{\"digest\":\"" B "\"}]}";
    struct archive_entries *e = calloc(1, sizeof *e);
    struct err err = {0};
    (void)state;
    assert_non_null(e);
    assert_int_equal(parse_images_archive(docker, strlen(docker), e, &err), 0);
    assert_int_equal(e->count, 2);
    assert_string_equal(e->entry[0].member, "abc.json");
    assert_false(e->entry[0].is_manifest);
    assert_string_equal(e->entry[1].name, "docker.io/library/pause:1");
    assert_int_equal(parse_images_archive(oci, strlen(oci), e, &err), 0);
    assert_int_equal(e->count, 1);
    assert_true(e->entry[0].is_manifest);
    assert_string_equal(e->entry[0].member,
                        "blobs/sha256/a123456789abcdef0123456789abcdef0123456789abcdef0123456789"
                        "abcdef");
    assert_int_equal(parse_images_archive("{}", 2, e, &err), KPEER_EINVAL);
    assert_int_equal(parse_images_archive("\"x\"", 3, e, &err), KPEER_EINVAL);
    free(e);
}

static void test_digests(void **state)
{
    static const char text[] = "# wanted\n\nk8s.gcr.io/pause:3.2   " A "\r\npause:3.2\t" B " # the hub's\n";
    static const char *const bad[] = {"k8s.gcr.io/pause:3.2\n", "pause " A "\n", "pause:1 sha256:12\n",
                                      "pause:1 " A " x\n", A " pause:1\n"};
    struct image_rows rows;
    struct err err = {0};
    (void)state;
    assert_int_equal(parse_images_digests(text, strlen(text), &rows, &err), 0);
    assert_int_equal(rows.count, 2);
    assert_string_equal(rows.rows[1].name, "docker.io/library/pause:3.2");
    assert_string_equal(rows.rows[1].digest, B);
    image_rows_fini(&rows);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_int_equal(parse_images_digests(bad[i], strlen(bad[i]), &rows, &err), KPEER_EINVAL);
        assert_non_null(strstr(err.text, "line 1"));
    }
}

static void test_hash(void **state)
{
    char digest[STEP_HASH_BYTES];
    (void)state;
    parse_images_hash("abc", 3, digest);
    assert_string_equal(digest, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_cause(void **state)
{
    char cause[64];
    (void)state;
    parse_images_cause(
        "time=x level=info msg=y\nctr: failed to resolve reference \"r.example/a:1\": r.example/a:1: not "
        "found\n\n",
        cause, sizeof cause);
    assert_string_equal(cause, "r.example/a:1: not found");
    assert_non_null(strstr(parse_images_hint(cause), "images.mirror"));
    parse_images_cause(
        "ctr: failed to resolve reference \"r/a:1\": failed to do request: Head \"http://r/v2\": dial tcp "
        "1.2.3.4:5: connect: connection refused",
        cause, sizeof cause);
    assert_string_equal(cause, "dial tcp 1.2.3.4:5: connect: connection refused");
    parse_images_cause("x509: certificate signed by unknown authority", cause, sizeof cause);
    assert_non_null(strstr(parse_images_hint(cause), "images.ca"));
    parse_images_cause("", cause, sizeof cause);
    assert_string_equal(cause, "");
    parse_images_cause("ctr: failed to resolve reference \"unended", cause, sizeof cause);
    assert_string_equal(cause, "failed to resolve reference \"unended");
    char longer[5000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    parse_images_cause(longer, cause, sizeof cause);
    assert_int_equal(strlen(cause), sizeof cause - 1);
}

/* Whatever is cut off or bent: no crash, no leak, no read beyond the end (the sanitizers see to that). */
static void feed_all(const char *text, size_t n)
{
    char *copy = malloc(n ? n : 1); /* without an end, so that a read beyond it is seen */
    struct archive_entries *entries = calloc(1, sizeof *entries);
    struct image_rows rows;
    struct image_manifest m;
    char name[REFERENCE_BYTES];
    assert_true(copy && entries);
    memcpy(copy, text, n);
    if (parse_images_ctr(copy, n, &rows, NULL) == 0)
        image_rows_fini(&rows);
    if (parse_images_crictl(copy, n, &rows, NULL) == 0)
        image_rows_fini(&rows);
    if (parse_images_docker(copy, n, &rows, NULL) == 0)
        image_rows_fini(&rows);
    if (parse_images_digests(copy, n, &rows, NULL) == 0)
        image_rows_fini(&rows);
    parse_images_sandbox(copy, n, name);
    parse_images_manifest(copy, n, "amd64", &m, NULL);
    parse_images_archive(copy, n, entries, NULL);
    free(entries);
    free(copy);
}

static void test_bent(void **state)
{
    static const char *const texts[] = {
        TITLES "docker.io/kpeer/web:1 " TYPE A " complete (3/3) 30.1 MiB/30.1 MiB   true\n",
        "{\"images\":[{\"id\":\"" A "\",\"repoTags\":[\"a:1\"],\"repoDigests\":[\"a@" B "\"]}]}",
        "{\"manifests\":[{\"digest\":\"" A "\",\"annotations\":{\"io.containerd.image.name\":\"a:1\"}}]}",
        "k8s.gcr.io/pause:3.2 " A "\n",
    };
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        size_t n = strlen(texts[t]);
        char bent[512];
        assert_true(n < sizeof bent);
        for (size_t i = 0; i <= n; i++)
            feed_all(texts[t], i);
        for (size_t i = 0; i < n; i++) {
            memcpy(bent, texts[t], n);
            bent[i] = (char)(bent[i] ^ (1 << (i % 8)));
            feed_all(bent, n);
        }
    }
}

/* ---- flannel's images, the pool ---- */

static void test_flannel_images(void **state)
{
    static const char text[] =
        "kind: List\nitems:\n- kind: DaemonSet\n  spec: {template: {spec: {initContainers: [{image: "
        "\"a/b:1\"}, {image: \"c:2\"}], containers: [{image: \"a/b:1\"}, {}]}}}\n---\nkind: "
        "Deployment\nspec: {template: {spec: {containers: [{image: \"d:1\"}]}}}\n";
    char names[4][FLANNEL_IMAGE_BYTES];
    size_t count = 0;
    (void)state;
    assert_int_equal(flannel_images(text, strlen(text), names, 4, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_string_equal(names[0], "a/b:1");
    assert_string_equal(names[1], "c:2");
    assert_int_equal(flannel_images(text, strlen(text), names, 1, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_not_equal(flannel_images("{", 1, names, 4, &count, NULL), 0);
}

struct count {
    pthread_mutex_t lock;
    int now, most, seen[40];
    pthread_cond_t all_in;
};

static void count_work(void *arg, size_t i)
{
    struct count *c = arg;
    pthread_mutex_lock(&c->lock);
    c->seen[i]++;
    c->now++;
    if (c->now > c->most)
        c->most = c->now;
    pthread_cond_broadcast(&c->all_in);
    while (i < 3 && c->most < 3) /* the first three wait for each other */
        pthread_cond_wait(&c->all_in, &c->lock);
    c->now--;
    pthread_mutex_unlock(&c->lock);
}

static void test_pool(void **state)
{
    struct count c = {.lock = PTHREAD_MUTEX_INITIALIZER, .all_in = PTHREAD_COND_INITIALIZER};
    (void)state;
    pool_run(40, 3, count_work, &c);
    for (int i = 0; i < 40; i++)
        assert_int_equal(c.seen[i], 1);
    assert_int_equal(c.most, 3);
    pool_run(0, 3, count_work, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_image),      cmocka_unit_test(test_is_prefix_and_digest),
        cmocka_unit_test(test_full_and_same), cmocka_unit_test(test_sources),
        cmocka_unit_test(test_ctr),           cmocka_unit_test(test_many_rows),
        cmocka_unit_test(test_crictl),        cmocka_unit_test(test_sandbox),
        cmocka_unit_test(test_docker),        cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_archive),       cmocka_unit_test(test_digests),
        cmocka_unit_test(test_hash),          cmocka_unit_test(test_cause),
        cmocka_unit_test(test_bent),          cmocka_unit_test(test_flannel_images),
        cmocka_unit_test(test_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
