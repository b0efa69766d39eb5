/*
 * Getting images: from another name, from archives, from registries, several at a time, and refusing what is
 * not what it should be. Used by this folder.
 */
#ifndef KPEER_IMAGES_GET_H
#define KPEER_IMAGES_GET_H

#include "peer/executor/images/need.h"
#include "peer/executor/images/runtime.h"

enum get_how { GET_MISSING = 0, GET_HERE, GET_NAMED, GET_IMPORTED, GET_PULLED, GET_FAILED };

struct get_image {
    const struct need_image *need;
    enum get_how how;
    char source[REFERENCE_BYTES]; /* where it came from; an archive's path is cut to fit */
    bool wrong;                   /* one that differs from the user's digests has its name */
    struct err err;               /* GET_FAILED: source, cause, next step */
};

struct get {
    struct exec_ctx *ctx;
    struct runtime *runtime;
    const struct image_rows *digests; /* of the user's file; empty: anything is right */
    struct get_image image[NEED_MAX];
    size_t count;
};

/* Reads the user's file of digests, which may be none. image_rows_fini is due after success. */
int get_digests(const char *path, struct image_rows *rows, struct err *err);

/* Whether the image is one that the user wants under this name: by its digest or its id. */
bool get_is_wanted(const struct image_rows *digests, const char *name, const struct image_row *row);

/* Finds what of `need` is here, and gives its own name to what is here under another. An error: the runtime
 * does not tell. */
int get_begin(struct get *get, const struct need *need, struct err *err);

/* Gets the rest. 0, or the first failure with the names of the others; `get` tells how each went in either
 * case. */
int get_finish(struct get *get, struct err *err);

/* "here", "pulled", … */
const char *get_word(enum get_how how);

#endif
