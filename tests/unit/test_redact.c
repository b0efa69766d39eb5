#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/command/redact.h"
#include "protocol/keytext.h"
#include "protocol/mem.h"

#define S "MARKER5ecret"

static struct redact *made(void)
{
    struct redact *r = NULL;

    assert_int_equal(redact_new(&r, NULL), 0);
    return r;
}

static char *after(const struct redact *r, const char *text, size_t *removed)
{
    char *out = NULL;
    size_t n = 0;

    assert_int_equal(redact_text(r, text, strlen(text), &out, &n, removed, NULL), 0);
    assert_int_equal(strlen(out), n);
    return out;
}

/* What goes in, and what comes out. */
static const struct {
    const char *in, *out;
} looks[] = {
    {"key kpeer-group-key-2:" S ":0123abcd is\n", "key [removed] is\n"},
    {"\"kpeer-group-key-9:" S "\"", "\"[removed]\""},
    {"abcdef.0123456789abcdef", "abcdef.[removed]"},
    {"join abcdef.0123456789abcdef,ghijkl.0123456789abcdef\n", "join abcdef.[removed],ghijkl.[removed]\n"},
    {"x eyJhbGciOiJSUzI1.eyJpc3MiOiJrdWJl." S " y", "x [removed] y"},
    {"Authorization: Bearer " S S "\n", "Authorization: Bearer [removed]\n"},
    {"h: Basic dXNlcjpNQVJLRVI= z", "h: Basic [removed] z"},
    {"http_proxy http://user:" S "@proxy:3128/", "http_proxy http://user:[removed]@proxy:3128/"},
    {"Environment=KPEER_NAME=" S, "Environment=KPEER_NAME=[removed]"},
    {"Environment=\"A=" S "\" \"B=" S "\"\nExecStart=kpeer agent",
     "Environment=\"A=[removed]\nExecStart=kpeer agent"},
    {"Environment='A=" S "'", "Environment='A=[removed]"},
    {"  Environment = A=" S, "  Environment = A=[removed]"},
    {"Environment=" S, "Environment=[removed]"},
    {"Environment=A=" S " \\\n  B=" S " \\\n# A comment\n  \"C=" S "\"\nUser=kpeer\n",
     "Environment=A=[removed]\n[removed]\n[removed]\n[removed]\nUser=kpeer\n"},
    {"Environment=\\\nA=" S "\n\nb", "Environment=[removed]\n[removed]\n\nb"},
    {"SetCredential=id:" S, "SetCredential=[removed]"},
    {"SetCredentialEncrypted=id: \\\n  " S " \\\n  " S "\n[Install]\n",
     "SetCredentialEncrypted=[removed]\n[removed]\n[removed]\n[Install]\n"},
    {"KPEER_KEY=" S " kpeer up", "KPEER_KEY=[removed] kpeer up"},
    {"AWS_SECRET=" S, "AWS_SECRET=[removed]"},
    {"kpeer up --code 4k7-x2m-9q9 --role worker", "kpeer up --code [removed] --role worker"},
    {"kpeer up --code=4k7-x2m-9q9", "kpeer up --code=[removed]"},
    {"    client-key-data: " S S, "    client-key-data: [removed]"},
    {"--token=" S " --x", "--token=[removed] --x"},
    {"{\"token\":\"" S " and more\",\"a\":1}", "{\"token\":[removed],\"a\":1}"},
    {"  password: my " S " words", "  password: [removed]"},
    {"passphrase = '" S " " S "' z", "passphrase = [removed] z"},
    {"\"auth\": \"" S "\"", "\"auth\": [removed]"},
    {"-----BEGIN RSA PRIVATE KEY-----\n" S "\n" S "\n-----END RSA PRIVATE KEY-----\nafter\n",
     "[removed]\nafter\n"},
    {"a: \"-----BEGIN PRIVATE KEY-----\\n" S "\\n-----END PRIVATE KEY-----\\n\"\n", "a: \"[removed]\\n\"\n"},
    {"-----BEGIN EC PRIVATE KEY-----\n" S "\n", "[removed]"},
    {"-----BEGIN PGP PRIVATE KEY BLOCK-----\n" S "\n-----END PGP PRIVATE KEY BLOCK-----\n", "[removed]\n"},
    {"tls.key: LS0tLS1CRUdJTi" S "==\n", "tls.key: [removed]\n"},
    {"\\nabcdef.0123456789abcdef\\n", "\\nabcdef.[removed]\\n"},
    {"\\u0022abcdef.0123456789abcdef\\u0022", "\\u0022abcdef.[removed]\\u0022"},
    {"Xabcdef.0123456789abcdefX", "Xabcdef.[removed]X"},
    {"%20abcdef.0123456789abcdef%20", "%20abcdef.[removed]%20"},
    /* URLs: with an @ within, without a name, cut off; a port and a digest are none of it. */
    {"https://" S "@host/a", "https://[removed]@host/a"},
    {"http://u:p@" S "@h:80 a@b", "http://u:[removed]@h:80 a@b"},
    {"http://u:pa/" S "@h", "http://u:[removed]@h"},
    {"\"http://u:" S "@squid:3128\" x@y", "\"http://u:[removed]@squid:3128\" x@y"},
    {"docker://u:" S "@h/pause@sha256:01 x", "docker://u:[removed]@h/pause@sha256:01 x"},
    {"proxy is http://user:" S, "proxy is http://user:[removed]"},
    {"http://user:12" S " x", "http://user:[removed] x"},
    {"http://user:pa/" S, "http://user:[removed]"},
    /* Quotes within quotes, open ones, and escapes within. */
    {"msg=\"{\\\"token\\\":\\\"" S "\\\"}\" x", "msg=\"{\\\"token\\\":[removed]"},
    {"{\\\"password\\\": \\\"" S, "{\\\"password\\\": [removed]"},
    {"\\\"client-key-data\\\":\\\"LS0t" S, "\\\"client-key-data\\\":[removed]"},
    {"\\\"password\\\"=\\\"a " S "\\\"", "\\\"password\\\"=[removed]"},
    {"{\"token\": \"" S " " S, "{\"token\": [removed]"},
    {"{'token': '" S " " S, "{'token': [removed]"},
    {"{\"password\":\"ab\\\"" S "\",\"a\":1}", "{\"password\":[removed],\"a\":1}"},
    {"\"password\":\"a " S "\\", "\"password\":[removed]"},
    {"password: 'it''" S "' # x", "password: [removed] # x"},
    /* Names. */
    {"PASSWORD: " S, "PASSWORD: [removed]"},
    {"TOKEN: " S, "TOKEN: [removed]"},
    {"DB_PASS=" S " x", "DB_PASS=[removed] x"},
    {"pass: " S, "pass: [removed]"},
    {"api_key=" S, "api_key=[removed]"},
    {"X-API-Key: " S, "X-API-Key: [removed]"},
    {"aws_secret_access_key = " S, "aws_secret_access_key = [removed]"},
    {"\"secretAccessKey\": \"" S "\",", "\"secretAccessKey\": [removed],"},
    {"private_key: " S, "private_key: [removed]"},
    {"passwords: " S, "passwords: [removed]"},
    {"vpn_credentials='" S " b'", "vpn_credentials=[removed]"},
    {"X-Amz-Signature=" S "&a=b", "X-Amz-Signature=[removed]"},
    {"token_file=/a token=" S, "token_file=/a token=[removed]"},
    {"Authorization: token ghp_" S, "Authorization: token [removed]"},
    {"\\\"Authorization\\\": \\\"" S, "\\\"Authorization\\\": \\\"[removed]"},
    {"Authorization: Digest username=\"a\", response=\"" S "\"", "Authorization: Digest [removed]"},
    {"KPEER_KEY=\"a " S "\" x", "KPEER_KEY=[removed] x"},
    /* Flags, and what stands behind them. */
    {"kubeadm join --token " S " --v=5", "kubeadm join --token [removed] --v=5"},
    {"x --db-password  '" S " b' y", "x --db-password  [removed] y"},
    {"--certificate-key " S, "--certificate-key [removed]"},
    {"[\"--token\", \"" S "\", \"x\"]", "[\"--token\", [removed], \"x\"]"},
    {"[\"--code\", \"4k7-x2m-9q9\"]", "[\"--code\", \"[removed]\"]"},
};

static void test_looks(void **state)
{
    struct redact *r = made();

    (void)state;
    for (size_t i = 0; i < COUNT_OF(looks); i++) {
        size_t removed = 0;
        cleanup_free char *out = after(r, looks[i].in, &removed);
        if (strcmp(out, looks[i].out) != 0 || removed == 0)
            fail_msg("%s\nbecame %s\nnot    %s", looks[i].in, out, looks[i].out);
    }
    redact_free(r);
}

/* What a report is for stays. */
static void test_other_text_stays(void **state)
{
    static const char text[] =
        "2026-01-02T03:04:05.006Z info  step-started kubeadm-join\n"
        "key_file: /etc/kpeer/group.key\n"
        "\"ca_hash\": \"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n"
        "192.168.56.11:6443 peer 0123456789abcdef0123456789abcdef\n"
        "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n"
        "https://192.168.56.11:6443/api?timeout=10s\n"
        "https://192.168.56.11:6443\nhttps://[::1]:6443\nhttp://h:80?a=b http://h:80/a:b (http://h:80) "
        "http://h:80.\n"
        "Get \\\"https://10.0.0.1:6443\\\": dial tcp 10.0.0.1:6443: refused\nhttps://h:6443: refused\n"
        "unix:///run/containerd/containerd.sock kubernetes-admin@kubernetes\n"
        "docker-pullable://registry.k8s.io/kube-proxy@sha256:0123\n"
        "Environment=\nEnvironmentFile=-/etc/default/kubelet\nPassEnvironment=HOME \\\n  LANG\n"
        "ExecStart=/usr/bin/kubelet \\\n  $KUBELET_ARGS\n"
        "tokens are revoked after use; the secret of it\n"
        "tokens 3, passed 12, authentication failed\n"
        "2026-01-02T03:04:05.006Z token-mint: done\n2026-01-02T03:04:05.006Z token-revoke: done\n"
        "{\"event\":\"token-not-revoked\",\"detail\":\"bootstrap-token\"}\n"
        "kpeer_events_total{event=\"signature-ignored\"} 0\n"
        "kubeadm token create --print-join-command\nkubeadm init --skip-token-print\n"
        "kubeadm join --discovery-token-ca-cert-hash=sha256:0123 "
        "--tls-private-key-file=/etc/kubernetes/pki/a.key\n"
        "secretName: kube-proxy-token-x7x2p\n\"secretName\": \"a\"\nsecret \"kube-system/my-secret\" not "
        "found\n"
        "default-token-x7x2p kubernetes.io/service-account-token 3\n"
        "I0102 03:04:05.000000 1 secret.go:218] \"Caches populated\"\n"
        "tmpfs /run/credentials/systemd-sysusers.service ramfs ro\n/var/lib/kpeer/secrets:\n"
        "tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token\nPASSWORD_FILE=/run/secrets/db\n"
        "bypass: 1\nNO_PUBKEY B53DC80D13EDEF05\n"
        "pod kube-flannel-ds-x7x2p 1/1 Running\n\n \tx\xff\n";
    struct redact *r = made();
    size_t removed = 1;
    cleanup_free char *out = after(r, text, &removed);

    (void)state;
    assert_string_equal(out, text);
    assert_int_equal(removed, 0);
    redact_free(r);
}

/* A secret that looks like two counts once. */
static void test_count(void **state)
{
    struct redact *r = made();
    size_t removed = 0;
    cleanup_free char *out = after(r, "--token=" S " x tls.key: LS0tLS1CRUdJTi" S, &removed);

    (void)state;
    assert_string_equal(out, "--token=[removed] x tls.key: [removed]");
    assert_int_equal(removed, 2);
    redact_free(r);
}

static void test_known(void **state)
{
    struct redact *r = made();
    size_t removed = 0;

    (void)state;
    assert_int_equal(redact_add(r, "short", NULL), 0); /* would take too much */
    assert_int_equal(redact_add(r, "correct horse", NULL), 0);
    cleanup_free char *out = after(r, "a short correct horse, correct horsecorrect horse", &removed);
    assert_int_equal(removed, 3);
    assert_null(strstr(out, "horse"));
    assert_non_null(strstr(out, "a short x"));
    for (int i = 0; i < 15; i++)
        assert_int_equal(redact_add(r, "correct horse", NULL), 0);
    assert_int_equal(redact_add(r, "correct horse", NULL), KPEER_ENOMEM);
    redact_free(r);
}

/* A real key in its own form. */
static void test_group_key(void **state)
{
    uint8_t raw[GROUP_KEY_BYTES] = {7, 8, 9};
    struct secret *key = secret_new(raw);
    char text[KEYTEXT_BYTES], line[2 * KEYTEXT_BYTES];
    struct redact *r = made();
    size_t removed = 0;

    (void)state;
    keytext_format(key, text);
    snprintf(line, sizeof line, "{\"x\": \"%s\"}", text);
    cleanup_free char *out = after(r, line, &removed);
    assert_string_equal(out, "{\"x\": \"[removed]\"}");
    redact_free(r);
    secret_free(key);
}

/* Nothing of a line that is too long to be looked at as a whole gets through, wherever its secret is. */
static void test_long_lines(void **state)
{
    static const char *const secrets[] = {"token=" S, "\"token\": \"" S S, "\\\"token\\\": \\\"" S,
                                          "http://user:" S "@h", "abcdef.mark456789abcdef"};
    struct redact *r = made();
    size_t room = 40000;

    (void)state;
    for (size_t i = 0; i < 2 * COUNT_OF(secrets); i++)
        for (size_t at = 16330; at < 16400; at++) {
            const char *secret = secrets[i / 2];
            cleanup_free char *text = malloc(room + 1);
            size_t removed = 0;

            assert_non_null(text);
            memset(text, i % 2 ? ' ' : '-', room); /* words, or none */
            text[room] = '\0';
            memcpy(text + at, secret, strlen(secret));
            cleanup_free char *out = after(r, text, &removed);
            if (strcasestr(out, "mark"))
                fail_msg("%s at %zu: %s", secret, at, out + 16000);
        }
    /* Many of them on one line, more than there is room to mark. */
    cleanup_free char *many = malloc(room + 1);
    size_t used = 0, removed = 0;
    assert_non_null(many);
    while (used + 32 < 16000)
        used += (size_t)sprintf(many + used, "a://b:M@ ");
    cleanup_free char *out = after(r, many, &removed);
    assert_null(strstr(out, "M"));
    assert_true(removed > 100);
    redact_free(r);
}

static void test_bytes(void **state)
{
    static const char text[] = "a\0token=" S "\0b\n";
    struct redact *r = made();
    char *out = NULL;
    size_t n = 0, removed = 0;

    (void)state;
    assert_int_equal(redact_text(r, text, sizeof text - 1, &out, &n, &removed, NULL), 0);
    assert_string_equal(out, "a token=[removed] b\n");
    free(out);
    assert_int_equal(redact_text(r, "", 0, &out, &n, &removed, NULL), 0);
    assert_string_equal(out, "");
    free(out);
    redact_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_looks),     cmocka_unit_test(test_other_text_stays),
        cmocka_unit_test(test_count),     cmocka_unit_test(test_known),
        cmocka_unit_test(test_group_key), cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_bytes),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
