#include "peer/executor/kube/ca.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

#define cleanup_x509 __attribute__((cleanup(cleanup_x509_free)))
#define cleanup_key  __attribute__((cleanup(cleanup_key_free)))
#define cleanup_bio  __attribute__((cleanup(cleanup_bio_free)))

static void cleanup_x509_free(X509 **x)
{
    X509_free(*x);
}

static void cleanup_key_free(EVP_PKEY **k)
{
    EVP_PKEY_free(*k);
}

static void cleanup_bio_free(BIO **b)
{
    BIO_free_all(*b);
}

static int failed(struct err *err, const char *what)
{
    char reason[120] = "unknown reason";
    unsigned long code = ERR_get_error();
    if (code)
        ERR_error_string_n(code, reason, sizeof reason);
    ERR_clear_error();
    return err_set(err, KPEER_EIO, "%s: %s", what, reason);
}

static bool add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = extension && X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
    return ok;
}

static bool set_extensions(X509 *cert)
{
    return add_extension(cert, NID_key_usage, "critical,digitalSignature,keyEncipherment,keyCertSign") &&
           add_extension(cert, NID_basic_constraints, "critical,CA:TRUE") &&
           add_extension(cert, NID_subject_key_identifier, "hash") &&
           add_extension(cert, NID_subject_alt_name, "DNS:kubernetes");
}

/* 63 random bits: positive, and never 0, which some verifiers refuse. */
static bool set_serial(X509 *cert)
{
    uint64_t serial = 0;
    if (RAND_bytes((unsigned char *)&serial, sizeof serial) != 1)
        return false;
    serial = (serial >> 1) | 1;
    return ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial) == 1;
}

static bool set_name(X509 *cert)
{
    X509_NAME *name = X509_get_subject_name(cert);
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"kubernetes", -1, -1,
                                      0) &&
           X509_set_issuer_name(cert, name);
}

static bool fill(X509 *cert, EVP_PKEY *key, time_t now)
{
    return X509_set_version(cert, X509_VERSION_3) && set_serial(cert) && set_name(cert) &&
           X509_time_adj_ex(X509_getm_notBefore(cert), 0, -CA_BACKDATE_S, &now) &&
           X509_time_adj_ex(X509_getm_notAfter(cert), CA_DAYS, -CA_BACKDATE_S, &now) &&
           X509_set_pubkey(cert, key) && set_extensions(cert) && X509_sign(cert, key, EVP_sha256()) > 0;
}

static int copy_out(BIO *bio, char **out, size_t *n, struct err *err)
{
    char *data = NULL;
    long got = BIO_get_mem_data(bio, &data);
    if (got <= 0)
        return failed(err, "cannot write PEM");
    char *copy = malloc((size_t)got + 1);
    if (!copy)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    memcpy(copy, data, (size_t)got);
    copy[got] = '\0';
    *out = copy;
    *n = (size_t)got;
    return 0;
}

static int write_pem(X509 *cert, EVP_PKEY *key, struct ca *out, struct err *err)
{
    cleanup_bio BIO *cert_bio = BIO_new(BIO_s_mem());
    cleanup_bio BIO *key_bio = BIO_new(BIO_s_secmem());
    if (!cert_bio || !key_bio || !PEM_write_bio_X509(cert_bio, cert) ||
        !PEM_write_bio_PrivateKey_traditional(key_bio, key, NULL, NULL, 0, NULL, NULL))
        return failed(err, "cannot write the cluster CA");
    int rc = copy_out(cert_bio, &out->cert, &out->cert_bytes, err);
    if (rc == 0)
        rc = copy_out(key_bio, &out->key, &out->key_bytes, err);
    return rc;
}

int ca_make(time_t now, struct ca *out, struct err *err)
{
    cleanup_key EVP_PKEY *key = EVP_RSA_gen(2048);
    cleanup_x509 X509 *cert = X509_new();
    if (!key || !cert || !fill(cert, key, now))
        return failed(err, "cannot make the cluster CA");
    struct ca made = {0};
    int rc = write_pem(cert, key, &made, err);
    if (rc != 0) {
        ca_fini(&made);
        return rc;
    }
    *out = made;
    return 0;
}

static X509 *read_cert(const char *pem, size_t n)
{
    if (n > CA_FILE_MAX)
        return NULL;
    cleanup_bio BIO *bio = BIO_new_mem_buf(pem, (int)n);
    return bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
}

/* An encrypted key must fail, not ask at a terminal. */
static int no_password(char *buf, int size, int rwflag, void *arg)
{
    (void)buf, (void)size, (void)rwflag, (void)arg;
    return -1;
}

static EVP_PKEY *read_key(const char *pem, size_t n)
{
    if (n > CA_FILE_MAX)
        return NULL;
    cleanup_bio BIO *bio = BIO_new_mem_buf(pem, (int)n);
    return bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
}

int ca_check(const struct ca *ca, time_t now, struct err *err)
{
    cleanup_x509 X509 *cert = read_cert(ca->cert, ca->cert_bytes);
    cleanup_key EVP_PKEY *key = read_key(ca->key, ca->key_bytes);
    const char *wrong = NULL;
    if (!cert)
        wrong = "ca.crt holds no certificate";
    else if (!key)
        wrong = "ca.key holds no private key that can be read";
    else if (X509_check_private_key(cert, key) != 1)
        wrong = "ca.key is not the key of ca.crt";
    else if (X509_check_ca(cert) != 1)
        wrong = "ca.crt is not the certificate of an authority";
    else if (X509_cmp_time(X509_get0_notBefore(cert), &now) >= 0)
        wrong = "ca.crt is not valid yet (is this host's clock right?)";
    else if (X509_cmp_time(X509_get0_notAfter(cert), &now) <= 0)
        wrong = "ca.crt has expired";
    ERR_clear_error();
    return wrong ? err_set(err, KPEER_EINVAL, "%s", wrong) : 0;
}

int ca_hash(const char *cert, size_t n, char hash[static STEP_HASH_BYTES], struct err *err)
{
    cleanup_x509 X509 *x = read_cert(cert, n);
    if (!x)
        return failed(err, "not a certificate");
    unsigned char *der = NULL;
    int der_bytes = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
    if (der_bytes <= 0)
        return failed(err, "the certificate has no public key that can be read");
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256(der, (size_t)der_bytes, digest);
    OPENSSL_free(der);
    memcpy(hash, "sha256:", 7);
    mem_hex(hash + 7, digest, sizeof digest);
    return 0;
}

void ca_fini(struct ca *ca)
{
    free(ca->cert);
    if (ca->key)
        sodium_memzero(ca->key, ca->key_bytes);
    free(ca->key);
    *ca = (struct ca){0};
}
