/*
 * The cluster's certificate authority, made before kubeadm init so that its hash is known before there is a
 * cluster.
 *
 * kubeadm uses a ca.crt and ca.key that it finds in its pki folder as they are. The certificate has what
 * kubeadm's own has: RSA 2048, CN=kubernetes, ten years, begun five minutes ago (the tolerance for clocks).
 * ca_make, ca_check and ca_hash are pure but for OpenSSL's random numbers; kube_ca (kube.h) puts the files in
 * place.
 */
#ifndef KPEER_CA_H
#define KPEER_CA_H

#include <stddef.h>
#include <time.h>

#include "protocol/err.h"
#include "protocol/step.h"

#define CA_BACKDATE_S (5 * 60)
#define CA_DAYS       3650
#define CA_FILE_MAX   (64 * 1024)

struct ca {
    char *cert; /* PEM */
    size_t cert_bytes;
    char *key; /* PEM (PKCS #1, as kubeadm writes it); secret */
    size_t key_bytes;
};

/* Makes a CA as of `now`. 0: `out` is owned by the caller, ca_fini is due. */
int ca_make(time_t now, struct ca *out, struct err *err);

/* Whether the PEM texts are a CA that can serve now: one certificate, a CA, within its time, and its own key.
 * KPEER_EINVAL says what is wrong. */
int ca_check(const struct ca *ca, time_t now, struct err *err);

/* "sha256:" and the hex SHA-256 of the certificate's SubjectPublicKeyInfo in DER, as kubeadm's
 * --discovery-token-ca-cert-hash and caCertHashes want it. */
int ca_hash(const char *cert, size_t n, char hash[static STEP_HASH_BYTES], struct err *err);

/* Wipes and frees. */
void ca_fini(struct ca *ca);

#endif
