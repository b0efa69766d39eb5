/*
 * Image names: what they are made of, which of them mean one image, and where an image may come from. Pure.
 *
 * Kubernetes' own images have had two homes, k8s.gcr.io and registry.k8s.io, with the same paths in both;
 * mirrors keep them under a prefix of their own and mostly flatten coredns/coredns to coredns. Used by this
 * folder and its tests.
 */
#ifndef KPEER_REFERENCE_H
#define KPEER_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "peer/executor/kube/parse.h"
#include "protocol/err.h"
#include "protocol/step.h"

#define REFERENCE_BYTES       PARSE_IMAGE_BYTES
#define REFERENCE_SOURCES_MAX 6

/* Whether the text is an image's name with a tag, REGISTRY/PATH:TAG or shorter, in the characters that
 * registries allow. */
bool reference_is_image(const char *text);

/* Whether the text can stand before "/IMAGE:TAG": HOST[:PORT][/PATH]. */
bool reference_is_prefix(const char *text);

/* "sha256:" and 64 lower-case hex digits. */
bool reference_is_digest(const char *text);

/* The name in full: docker.io/ and library/ where they are left out. False: it does not fit or is no image.
 */
bool reference_full(const char *name, char out[static REFERENCE_BYTES]);

/* The registry of a full name: what is before its first slash. */
void reference_registry(const char *name, char out[static REFERENCE_BYTES]);

/* Whether two names mean the same image of the same tag: the same name in full, or one of Kubernetes' own
 * under either of its homes. */
bool reference_same(const char *a, const char *b);

/* Whether the name is in one of the public registries that everybody reaches by TLS and the usual
 * authorities: what a user sets for a registry of his own is not meant for them. */
bool reference_is_public(const char *name);

struct reference_sources {
    char names[REFERENCE_SOURCES_MAX][REFERENCE_BYTES];
    size_t count;
};

/* Where to look for `name`, in this order; mirror NULL or empty: none.
 *  1. MIRROR/PATH, for one of Kubernetes' own with coredns/coredns flattened to coredns;
 *  2. MIRROR/coredns/coredns as it was; for images of other registries MIRROR/LAST, the path's last part
 * alone;
 *  3. the name itself;
 *  4. for one of Kubernetes' own, its other home.
 * Names that do not fit are left out. */
void reference_sources(const char *name, const char *mirror, struct reference_sources *out);

#endif
