/*
 * The images that this host's runtime keeps: what is there, pulling, naming, removing, taking in archives.
 *
 * containerd is asked through ctr, in the namespace that Kubernetes uses; where there is no ctr, and for
 * CRI-O, crictl; and docker where the kubelet runs its pods with Docker. Functions may be called from several
 * threads at a time, each with a runtime of its own. Used by this folder.
 */
#ifndef KPEER_RUNTIME_H
#define KPEER_RUNTIME_H

#include "peer/executor/context.h"
#include "peer/executor/images/parse_images.h"
#include "protocol/err.h"

enum runtime_kind { BY_CTR, BY_CRICTL, BY_DOCKER };

struct runtime {
    struct exec_ctx *ctx;
    enum runtime_kind kind;
    const char *socket;       /* of the runtime, for crictl */
    const char *architecture; /* "amd64", as registries call this machine's */
};

/* Finds the runtime. `version` is Kubernetes', since the kubelet ran Docker by itself up to 1.23.
 * KPEER_ENOTFOUND: no runtime and no program to ask it with. */
int runtime_open(struct exec_ctx *ctx, const char *version, struct runtime *s, struct err *err);

/* "containerd", … as told to a user. */
const char *runtime_word(const struct runtime *s);

/* Whether images can be given another name, and taken in from archives. */
bool runtime_can_name(const struct runtime *s);

/* What is here of that name, NULL: of any; image_rows_fini is due after success. ids may be empty:
 * runtime_identify. */
int runtime_look(struct runtime *s, const char *name, struct image_rows *rows, struct err *err);

/* Fills in row->id where it is empty and can be told. */
int runtime_identify(struct runtime *s, struct image_row *row, struct err *err);

/* What a registry has under this name: digest and id, without pulling it where that can be. *row's name is
 * set by the caller. KPEER_ENOTFOUND: it has not. */
int runtime_ask(struct runtime *s, const char *source, struct image_row *row, struct err *err);

/* Pulls an image under the name of its source. The text of an error is the cause alone. */
int runtime_pull(struct runtime *s, const char *source, uint32_t timeout_ms, struct err *err);

/* Pulls an image as the kubelet would: through CRI, with the mirrors and logins of the runtime's own
 * configuration, which ctr does not know. KPEER_ESTATE: there is no such way besides runtime_pull. */
int runtime_pull_by_cri(struct runtime *s, const char *source, uint32_t timeout_ms, struct err *err);

/* Gives what `from` names the name `to`, whatever had it before. */
int runtime_name(struct runtime *s, const char *from, const char *to, struct err *err);

/* Removes a name, and the image where it has no other. Absent is success. */
int runtime_remove(struct runtime *s, const char *name, struct err *err);

/* Takes in an archive, under the names that are in it. */
int runtime_import(struct runtime *s, const char *path, struct err *err);

#endif
