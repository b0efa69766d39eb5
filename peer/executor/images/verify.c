/* The images that are here against a second source: another registry, archives, or a file of digests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "peer/executor/images/answer.h"
#include "peer/executor/images/archive.h"
#include "peer/executor/images/get.h"
#include "peer/executor/images/images.h"
#include "peer/executor/images/need.h"
#include "peer/executor/images/runtime.h"
#include "protocol/mem.h"

enum verdict { SAME, DIFFERENT, MISSING, VERDICT_COUNT };

static const char *const verdict_words[] = {
    [SAME] = "same", [DIFFERENT] = "different", [MISSING] = "missing"};

struct second {
    const char *where;      /* as the user set it */
    bool is_registry;       /* asked image by image */
    struct image_rows rows; /* else: what it holds */
};

static int read_archive(struct exec_ctx *ctx, const struct runtime *runtime, const char *path,
                        struct image_rows *rows, struct err *err)
{
    cleanup_free struct archive_entries *entries = calloc(1, sizeof *entries);
    if (!entries)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    int rc = archive_list(ctx, path, entries, err);
    for (size_t i = 0; rc == 0 && i < entries->count && rows->count < PARSE_IMAGES_ROWS; i++) {
        rc = archive_identify(ctx, path, runtime->architecture, &entries->entry[i], &rows->rows[rows->count],
                              err);
        rows->count += rc == 0;
    }
    return rc;
}

static int read_archives(struct exec_ctx *ctx, const struct runtime *runtime, struct second *second,
                         struct err *err)
{
    struct archives archives;
    int rc = archives_open(second->where, &archives, err);
    if (rc != 0)
        return rc;
    second->rows.rows = calloc(PARSE_IMAGES_ROWS, sizeof *second->rows.rows);
    if (!second->rows.rows)
        rc = err_set(err, KPEER_ENOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < archives.count; i++)
        rc = read_archive(ctx, runtime, archives.paths[i], &second->rows, err);
    if (rc == 0 && archives.count == 0)
        rc = err_set(err, KPEER_ENOTFOUND, "there is no archive in %s", second->where);
    archives_fini(&archives);
    return rc;
}

static int open_second(struct exec_ctx *ctx, const struct runtime *runtime, struct second *second,
                       struct err *err)
{
    const struct executor_images *cfg = &ctx->cfg->images;
    struct stat st;
    second->where = cfg->second[0] ? cfg->second : cfg->digests;
    if (!second->where[0]) {
        err_set(err, KPEER_EINVAL, "there is no second source to compare with");
        return err_hint(
            err, "set images.second: another mirror's prefix, a folder of archives or a file of digests");
    }
    second->is_registry = second->where[0] != '/';
    if (second->is_registry)
        return reference_is_prefix(second->where)
                   ? 0
                   : err_set(err, KPEER_EINVAL, "images.second: \"%.80s\" is no HOST[:PORT][/PATH]",
                             second->where);
    if (stat(second->where, &st) == 0 && S_ISDIR(st.st_mode))
        return read_archives(ctx, runtime, second, err);
    return get_digests(second->where, &second->rows, err);
}

/* The registry's names of an image, in their order; KPEER_ENOTFOUND: it has it under none. */
static int ask(struct runtime *runtime, const char *where, const char *name, struct image_row *row,
               struct err *err)
{
    struct reference_sources sources;
    size_t prefix = strlen(where);
    int rc = KPEER_ENOTFOUND;
    reference_sources(name, where, &sources);
    for (size_t i = 0; i < sources.count && rc == KPEER_ENOTFOUND; i++)
        if (strncmp(sources.names[i], where, prefix) == 0 && sources.names[i][prefix] == '/')
            rc = runtime_ask(runtime, sources.names[i], row, err);
    return rc;
}

/* The names that an image may have in a source: any home and any mirror's. */
static bool names_it(const struct exec_ctx *ctx, const char *name, const char *candidate)
{
    struct reference_sources sources;
    reference_sources(name, ctx->cfg->images.mirror, &sources);
    for (size_t i = 0; i < sources.count; i++)
        if (strcmp(sources.names[i], candidate) == 0)
            return true;
    return reference_same(name, candidate);
}

static bool is_same(const struct image_row *a, const struct image_row *b)
{
    bool digest = a->digest[0] && strcmp(a->digest, b->digest) == 0;
    bool id = a->id[0] && strcmp(a->id, b->id) == 0;
    return digest || id;
}

/* Of several that a file or archives have for an image, the one that is the same; else the first. A digest in
 * a file may be meant as either. */
static bool look_up(const struct exec_ctx *ctx, const struct second *second, const char *name,
                    const struct image_row *here, struct image_row *row)
{
    bool found = false;
    for (size_t i = 0; i < second->rows.count; i++) {
        struct image_row one = second->rows.rows[i];
        if (!names_it(ctx, name, one.name))
            continue;
        if (!one.id[0] && strcmp(one.digest, here->id) == 0) {
            memcpy(one.id, one.digest, sizeof one.id);
            one.digest[0] = '\0';
        }
        if (!found || is_same(&one, here))
            *row = one;
        found = true;
    }
    return found;
}

static json_t *tell(const struct need_image *image, const struct image_row *here,
                    const struct image_row *there, enum verdict verdict)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "image", image->name, "id", here->id, "digest",
                     here->digest, "second_id", there->id, "second_digest", there->digest, "verdict",
                     verdict_words[verdict]);
}

struct comparison {
    struct exec_ctx *ctx;
    struct runtime *runtime;
    struct second second;
    struct image_rows here;
    size_t counts[VERDICT_COUNT];
    json_t *rows;
};

static int compare(struct comparison *c, const struct need_image *image, struct err *err)
{
    const struct image_row *found = image_rows_find(&c->here, image->name);
    struct image_row here = {0}, there = {0};
    bool has = found && found->whole, second_has = false;
    int rc = 0;
    if (has)
        here = *found;
    if (has)
        rc = runtime_identify(c->runtime, &here, err);
    if (rc == 0 && c->second.is_registry) {
        rc = ask(c->runtime, c->second.where, image->name, &there, err);
        second_has = rc == 0;
        rc = rc == KPEER_ENOTFOUND ? 0 : rc;
    } else if (rc == 0) {
        second_has = look_up(c->ctx, &c->second, image->name, &here, &there);
    }
    if (rc != 0)
        return err_wrap(err, "%s in %s", image->name, c->second.where);
    enum verdict verdict = !has || !second_has ? MISSING : is_same(&here, &there) ? SAME : DIFFERENT;
    c->counts[verdict]++;
    exec_say(c->ctx, "images", -1, "%s: %s", image->name, verdict_words[verdict]);
    json_array_append_new(c->rows, tell(image, &here, &there, verdict));
    return 0;
}

static int compare_all(struct comparison *c, const struct need *need, struct err *err)
{
    int rc = open_second(c->ctx, c->runtime, &c->second, err);
    if (rc == 0)
        rc = runtime_look(c->runtime, NULL, &c->here, err);
    for (size_t i = 0; rc == 0 && i < need->count; i++)
        rc = compare(c, &need->image[i], err);
    return rc;
}

int images_verify(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    cleanup_free struct need *need = calloc(1, sizeof *need);
    struct runtime runtime;
    int rc = need ? need_list(ctx, step->role, need, err) : err_set(err, KPEER_ENOMEM, "out of memory");
    if (rc == 0)
        rc = runtime_open(ctx, need->version, &runtime, err);
    if (rc != 0)
        return rc;
    struct comparison c = {.ctx = ctx, .runtime = &runtime, .rows = json_array()};
    rc = compare_all(&c, need, err);
    if (rc == 0)
        rc = answer_give(result,
                         json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:O}", "kubernetes", need->version,
                                   "runtime", runtime_word(&runtime), "second", c.second.where, "same",
                                   (json_int_t)c.counts[SAME], "different", (json_int_t)c.counts[DIFFERENT],
                                   "missing", (json_int_t)c.counts[MISSING], "images", c.rows),
                         err);
    json_decref(c.rows);
    image_rows_fini(&c.second.rows);
    image_rows_fini(&c.here);
    return rc;
}
