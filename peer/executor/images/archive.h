/*
 * Archives of images, as `docker save`, `ctr images export` and skopeo write them: what is in a folder of
 * them, and the ids of the images without importing any. tar does the reading. Used by this folder.
 */
#ifndef KPEER_ARCHIVE_H
#define KPEER_ARCHIVE_H

#include "peer/executor/context.h"
#include "peer/executor/images/parse_images.h"
#include "protocol/err.h"

#define ARCHIVE_MAX 256 /* archives in one folder */

struct archives {
    char (*paths)[EXECUTOR_PATH_BYTES]; /* in the order of their names; freed by archives_fini */
    size_t count;
};

/* The archives of a folder: *.tar, and compressed ones (.tar.gz, .tgz, .tar.xz, .tar.zst). KPEER_ENOTFOUND:
 * there is no such folder. */
int archives_open(const char *folder, struct archives *out, struct err *err);
void archives_fini(struct archives *archives);

/* What an archive says it holds. */
int archive_list(struct exec_ctx *ctx, const char *path, struct archive_entries *out, struct err *err);

/* The id of an image in it, and its digest where the archive has one; by hashing what is there. */
int archive_identify(struct exec_ctx *ctx, const char *path, const char *architecture,
                     const struct archive_entry *entry, struct image_row *row, struct err *err);

#endif
