/* The cluster CA: its fields, its hash against the openssl program's, and files that are no CA. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <cmocka.h>

#include "peer/executor/kube/ca.h"

static struct ca ca;
static time_t now;

static int make(void **state)
{
    (void)state;
    struct err err = {0};
    now = time(NULL);
    return ca_make(now, &ca, &err);
}

static int drop(void **state)
{
    (void)state;
    ca_fini(&ca);
    return 0;
}

static X509 *parse(void)
{
    BIO *bio = BIO_new_mem_buf(ca.cert, (int)ca.cert_bytes);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(cert);
    return cert;
}

static void test_fields(void **state)
{
    (void)state;
    X509 *cert = parse();
    char name[64] = "";
    time_t start = now - CA_BACKDATE_S;
    time_t end = start + (time_t)CA_DAYS * 86400;
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof name);
    assert_string_equal(name, "kubernetes");
    assert_int_equal(X509_check_ca(cert), 1);
    assert_int_equal(X509_get_key_usage(cert), KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT | KU_KEY_CERT_SIGN);
    assert_int_equal(X509_check_host(cert, "kubernetes", 0, 0, NULL), 1);
    assert_int_equal(EVP_PKEY_get_bits(X509_get0_pubkey(cert)), 2048);
    assert_int_equal(X509_verify(cert, X509_get0_pubkey(cert)), 1);
    start += 1; /* X509_cmp_time never answers "equal" */
    assert_int_equal(X509_cmp_time(X509_get0_notBefore(cert), &start), -1);
    end -= 1;
    assert_int_equal(X509_cmp_time(X509_get0_notAfter(cert), &end), 1);
    X509_free(cert);
    assert_non_null(strstr(ca.key, "BEGIN RSA PRIVATE KEY"));
}

/* The pipeline that kubeadm's documentation gives. */
static void test_hash(void **state)
{
    (void)state;
    char path[] = "/tmp/kpeer-test-ca-XXXXXX";
    char command[256];
    char expected[80] = "sha256:";
    char hash[STEP_HASH_BYTES];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, ca.cert, ca.cert_bytes), (ssize_t)ca.cert_bytes);
    close(fd);
    snprintf(command, sizeof command,
             "openssl x509 -pubkey -in %s | openssl rsa -pubin -outform der 2>/dev/null | "
             "openssl dgst -sha256 -hex | sed 's/^.* //'",
             path);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    assert_non_null(fgets(expected + 7, (int)sizeof expected - 7, out));
    assert_int_equal(pclose(out), 0);
    unlink(path);
    expected[strcspn(expected, "\n")] = '\0';
    assert_int_equal(ca_hash(ca.cert, ca.cert_bytes, hash, NULL), 0);
    assert_int_equal(strlen(hash), 71);
    assert_string_equal(hash, expected);
}

static void test_check(void **state)
{
    (void)state;
    struct err err = {0};
    struct ca other = {0};
    assert_int_equal(ca_check(&ca, now, &err), 0);
    assert_int_equal(ca_check(&ca, now - 3600, &err), KPEER_EINVAL);
    assert_non_null(strstr(err.text, "not valid yet"));
    assert_int_equal(ca_check(&ca, now + (time_t)(CA_DAYS + 1) * 86400, &err), KPEER_EINVAL);
    assert_non_null(strstr(err.text, "expired"));
    assert_int_equal(ca_make(now, &other, &err), 0);
    const struct ca mixed = {ca.cert, ca.cert_bytes, other.key, other.key_bytes};
    assert_int_equal(ca_check(&mixed, now, &err), KPEER_EINVAL);
    assert_non_null(strstr(err.text, "not the key"));
    assert_string_not_equal(ca.cert, other.cert);
    ca_fini(&other);
}

/* Every truncation and many single-byte changes: an error or an answer, never a crash. */
static void test_rubbish(void **state)
{
    (void)state;
    char hash[STEP_HASH_BYTES] = "untouched";
    for (size_t n = 0; n + 40 < ca.cert_bytes; n += 7)
        assert_int_not_equal(ca_hash(ca.cert, n, hash, NULL), 0);
    assert_string_equal(hash, "untouched");
    char *copy = malloc(ca.cert_bytes);
    assert_non_null(copy);
    for (size_t i = 0; i < ca.cert_bytes; i += 3) {
        memcpy(copy, ca.cert, ca.cert_bytes);
        copy[i] ^= 0x15;
        const struct ca bent = {copy, ca.cert_bytes, ca.key, ca.key_bytes};
        (void)ca_check(&bent, now, NULL);
        (void)ca_hash(copy, ca.cert_bytes, hash, NULL);
    }
    free(copy);
    assert_int_not_equal(ca_hash("", 0, hash, NULL), 0);
    assert_int_not_equal(ca_hash("-----BEGIN CERTIFICATE-----\n!!\n", 31, hash, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_rubbish),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
