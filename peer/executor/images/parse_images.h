/*
 * Reading what the runtimes print of their images, what archives and registries say of theirs, and the user's
 * file of wanted digests. Pure, bounded, and never trusting: odd input is an error, odd rows are left out.
 *
 * An image is known by two numbers: its *digest*, the hash of the manifest that a registry names it by, and
 * its *id*, the hash of its configuration, which stays the same however the layers were packed on the way.
 * JSON is read by jansson. Used by this folder and its tests.
 */
#ifndef KPEER_PARSE_IMAGES_H
#define KPEER_PARSE_IMAGES_H

#include <stdbool.h>
#include <stddef.h>

#include "peer/executor/images/reference.h"
#include "protocol/err.h"
#include "protocol/step.h"

#define PARSE_IMAGES_ROWS  1024 /* the most that is taken of a listing */
#define PARSE_MEMBER_BYTES 256

struct image_row {
    char name[REFERENCE_BYTES];   /* in full */
    char digest[STEP_HASH_BYTES]; /* empty: not told */
    char id[STEP_HASH_BYTES];     /* empty: not told */
    bool whole;                   /* all of its parts are here */
};

struct image_rows {
    struct image_row *rows; /* freed by image_rows_fini */
    size_t count;
};
void image_rows_fini(struct image_rows *rows);

/* The row of exactly this image (its name in full), or NULL. */
const struct image_row *image_rows_find(const struct image_rows *rows, const char *name);

/* `ctr images check`: a table under the titles REF TYPE DIGEST STATUS … UNPACKED. An image is whole when its
 * content is complete, or was complete and is unpacked. KPEER_EINVAL: no such table. No text at all is an
 * empty listing, which some versions print so. */
int parse_images_ctr(const char *text, size_t n, struct image_rows *rows, struct err *err);

/* `crictl images -o json`. */
int parse_images_crictl(const char *text, size_t n, struct image_rows *rows, struct err *err);

/* `crictl info`: the pause image that the runtime starts pods with. False: not told. */
bool parse_images_sandbox(const char *text, size_t n, char name[static REFERENCE_BYTES]);

/* `docker images --no-trunc --digests --format '{{json .}}'`: an object a line. */
int parse_images_docker(const char *text, size_t n, struct image_rows *rows, struct err *err);

/* What a manifest leads to: an image's configuration, or, in an index of several platforms, the manifest for
 * this one
 * ("amd64"). */
struct image_manifest {
    bool is_index;
    char next[STEP_HASH_BYTES]; /* the configuration's digest, or the manifest's of this platform */
};
int parse_images_manifest(const char *text, size_t n, const char *architecture, struct image_manifest *out,
                          struct err *err);

/* What an archive holds, by its manifest.json (docker) or index.json (OCI): names, each with the member of
 * the archive that is its configuration (docker) or its manifest (OCI, `is_manifest`). */
struct archive_entry {
    char name[REFERENCE_BYTES];
    char member[PARSE_MEMBER_BYTES];
    bool is_manifest;
};
struct archive_entries {
    struct archive_entry entry[64];
    size_t count;
};
int parse_images_archive(const char *text, size_t n, struct archive_entries *out, struct err *err);

/* "blobs/sha256/…" of a digest. */
void parse_images_blob(const char *digest, char member[static PARSE_MEMBER_BYTES]);

/* The digest of bytes. */
void parse_images_hash(const void *bytes, size_t n, char digest[static STEP_HASH_BYTES]);

/* The user's file of wanted digests: "IMAGE DIGEST" a line, # begins a comment. Several lines for one image
 * are as many right ones (for several platforms). KPEER_EINVAL names the line. */
int parse_images_digests(const char *text, size_t n, struct image_rows *rows, struct err *err);

/* Why a pull failed: the last line of what the program said without what the caller knows; as one line cut to
 * fit. */
void parse_images_cause(const char *errout, char *cause, size_t cause_bytes);

/* What to do about such a cause; never NULL. */
const char *parse_images_hint(const char *cause);

#endif
