#include "peer/executor/images/images.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "peer/executor/images/answer.h"
#include "peer/executor/images/get.h"
#include "peer/executor/images/need.h"
#include "peer/executor/images/parse_images.h"
#include "peer/executor/images/runtime.h"
#include "protocol/mem.h"

static int check_settings(const struct exec_ctx *ctx, struct err *err)
{
    const char *mirror = ctx->cfg->images.mirror;
    if (!mirror[0] || reference_is_prefix(mirror))
        return 0;
    err_set(err, KPEER_EINVAL, "images.mirror: \"%.80s\" is no HOST[:PORT][/PATH]", mirror);
    return err_hint(err, "leave out https:// and a slash at the end: registry.example:5000/k8s");
}

static json_t *list_sources(const struct exec_ctx *ctx, const char *name)
{
    struct reference_sources sources;
    json_t *list = json_array();
    reference_sources(name, ctx->cfg->images.mirror, &sources);
    for (size_t i = 0; i < sources.count; i++)
        json_array_append_new(list, json_string(sources.names[i]));
    return list;
}

/* One image of the list; `rows` NULL: what is here cannot be told. */
static json_t *list_one(struct exec_ctx *ctx, struct runtime *runtime, const struct need_image *image,
                        const struct image_rows *rows)
{
    const struct image_row *found = rows ? image_rows_find(rows, image->name) : NULL;
    struct image_row row = {0};
    if (found)
        row = *found;
    if (found && runtime_identify(runtime, &row, NULL) != 0)
        row.id[0] = '\0';
    json_t *here = !rows ? json_null() : json_boolean(found && found->whole);
    return json_pack("{s:s, s:s, s:b, s:o, s:s, s:s, s:o}", "image", image->name, "of", image->of, "worker",
                     image->worker, "here", here, "id", row.id, "digest", row.digest, "sources",
                     list_sources(ctx, image->name));
}

static json_t *list_all(struct exec_ctx *ctx, struct runtime *runtime, const struct need *need,
                        const struct image_rows *rows)
{
    json_t *list = json_array();
    for (size_t i = 0; i < need->count; i++)
        json_array_append_new(list, list_one(ctx, runtime, &need->image[i], rows));
    return list;
}

int images_list(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    cleanup_free struct need *need = calloc(1, sizeof *need);
    struct image_rows rows = {0};
    struct runtime runtime = {0};
    struct err why = {0};
    int rc = need ? check_settings(ctx, err) : err_set(err, KPEER_ENOMEM, "out of memory");
    if (rc == 0)
        rc = need_list(ctx, step->role, need, err);
    if (rc != 0)
        return rc;
    rc = runtime_open(ctx, need->version, &runtime, &why);
    if (rc == 0)
        rc = runtime_look(&runtime, NULL, &rows, &why);
    if (rc == KPEER_ECANCELED || rc == KPEER_ENOMEM)
        return err_set(err, rc, "%s", why.text);
    json_t *list = list_all(ctx, &runtime, need, rc == 0 ? &rows : NULL);
    json_t *root = json_pack("{s:s, s:s, s:s, s:o}", "kubernetes", need->version, "runtime",
                             rc == 0 ? runtime_word(&runtime) : "", "note", why.text, "images", list);
    image_rows_fini(&rows);
    return answer_give(result, root, err);
}

static int answer_got(const struct get *get, const char *version, struct step_result *result, struct err *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < get->count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "image", get->image[i].need->name, "result",
                                              get_word(get->image[i].how), "source", get->image[i].source));
    json_t *root = json_pack("{s:s, s:s, s:o}", "kubernetes", version, "runtime", runtime_word(get->runtime),
                             "images", list);
    return answer_give(result, root, err);
}

/* What a run needs, found before anything is changed. */
struct run {
    struct need need;
    struct image_rows digests;
    struct runtime runtime;
    struct get get;
};

/* Fails where the list or the runtime cannot be had. */
static int begin(struct exec_ctx *ctx, enum step_role role, struct run *run, struct err *err)
{
    int rc = need_list(ctx, role, &run->need, err);
    if (rc == 0)
        rc = runtime_open(ctx, run->need.version, &run->runtime, err);
    run->get.ctx = ctx;
    run->get.runtime = &run->runtime;
    run->get.digests = &run->digests;
    return rc == 0 ? get_begin(&run->get, &run->need, err) : rc;
}

/* What the user set is read before anything else, so that a slip in it is told as such. */
static int settle(struct exec_ctx *ctx, struct run *run, struct err *err)
{
    if (!run)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    int rc = check_settings(ctx, err);
    return rc == 0 ? get_digests(ctx->cfg->images.digests, &run->digests, err) : rc;
}

int images_pull(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    cleanup_free struct run *run = calloc(1, sizeof *run);
    int rc = settle(ctx, run, err);
    if (rc != 0)
        return rc;
    rc = begin(ctx, step->role, run, err);
    if (rc == 0)
        rc = get_finish(&run->get, err);
    image_rows_fini(&run->digests);
    return rc == 0 ? answer_got(&run->get, run->need.version, result, err) : rc;
}

int images_prepare(struct exec_ctx *ctx, enum step_role role, struct err *err)
{
    cleanup_free struct run *run = calloc(1, sizeof *run);
    struct err why = {0};
    int rc = settle(ctx, run, err);
    if (rc != 0)
        return rc;
    rc = begin(ctx, role, run, &why);
    if (rc == KPEER_ECANCELED)
        err_set(err, rc, "%s", why.text);
    else if (rc != 0)
        exec_say(ctx, "images", -1, "%s: the images are left to kubeadm and the kubelet", why.text);
    if (rc == 0)
        rc = get_finish(&run->get, err);
    else if (rc != KPEER_ECANCELED)
        rc = 0;
    image_rows_fini(&run->digests);
    return rc;
}
