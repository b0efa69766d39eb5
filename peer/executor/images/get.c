#include "peer/executor/images/get.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "peer/executor/file.h"
#include "peer/executor/images/archive.h"
#include "peer/executor/images/pool.h"
#include "protocol/mem.h"

#define PULL_MS        (10u * 60 * 1000) /* one try of one source; what has come is kept for the next */
#define BACKOFF_MS     1000u
#define BACKOFF_MAX_MS 30000u
#define DIGESTS_MAX    (256 * 1024)

/* What the threads of one run share. */
struct crew {
    struct get *get;
    pthread_mutex_t lock;
    size_t todo[NEED_MAX];
    size_t count;
    size_t done; /* guarded by lock, as is what is told */
};

/* One image's work in one thread: a context that tells in turn. */
struct hand {
    struct crew *crew;
    struct exec_ctx ctx;
    struct runtime runtime;
    struct get_image *image;
    const char *name;
};

const char *get_word(enum get_how how)
{
    static const char *const words[] = {
        [GET_MISSING] = "missing",   [GET_HERE] = "here",     [GET_NAMED] = "named",
        [GET_IMPORTED] = "imported", [GET_PULLED] = "pulled", [GET_FAILED] = "failed",
    };
    return words[how];
}

int get_digests(const char *path, struct image_rows *rows, struct err *err)
{
    cleanup_free char *text = NULL;
    size_t n = 0;
    memset(rows, 0, sizeof *rows);
    if (!path[0])
        return 0;
    int rc = file_read(path, DIGESTS_MAX, &text, &n, err);
    if (rc == 0)
        rc = parse_images_digests(text, n, rows, err);
    if (rc == 0)
        return 0;
    err_wrap(err, "the file of digests %s", path);
    return err_hint(err, "a line is an image and its digest: registry.k8s.io/pause:3.9 sha256:…");
}

bool get_is_wanted(const struct image_rows *digests, const char *name, const struct image_row *row)
{
    bool asked = false;
    for (size_t i = 0; i < digests->count; i++) {
        const struct image_row *wanted = &digests->rows[i];
        if (!reference_same(wanted->name, name))
            continue;
        asked = true;
        if (strcmp(wanted->digest, row->digest) == 0 || strcmp(wanted->digest, row->id) == 0)
            return true;
    }
    return !asked;
}

static bool asks_for(const struct image_rows *digests, const char *name)
{
    const struct image_row none = {0};
    return !get_is_wanted(digests, name, &none);
}

/* Whether what has the name `at` may be called `name`: whole, and what the user wants. */
static int judge(struct get *get, struct runtime *runtime, const char *name, const struct image_row *row,
                 struct err *err)
{
    struct image_row own = *row;
    if (!row->whole)
        return err_set(err, KPEER_EIO, "a part of it is missing");
    if (!asks_for(get->digests, name))
        return 0;
    int rc = runtime_identify(runtime, &own, err);
    if (rc != 0 || get_is_wanted(get->digests, name, &own))
        return rc;
    err_set(err, KPEER_EAUTH, "it is not the image wanted: its digest is %s, its id %s",
            own.digest[0] ? own.digest : "not told", own.id[0] ? own.id : "not told");
    return err_hint(err, "take another mirror (images.mirror), or if you trust it correct %s",
                    get->ctx->cfg->images.digests);
}

static void mark_here(struct get *get, struct get_image *image, const struct image_rows *rows)
{
    struct err err = {0};
    const struct image_row *row = image_rows_find(rows, image->need->name);
    if (!row)
        return;
    if (judge(get, get->runtime, image->need->name, row, &err) == 0) {
        image->how = GET_HERE;
        return;
    }
    image->wrong = err.code == KPEER_EAUTH;
    if (image->wrong)
        exec_say(get->ctx, "images", -1, "%s is here but %s", image->need->name, err.text);
}

/* An image that is here under the name of one of its sources only needs its own name. */
static void name_from_here(struct get *get, struct get_image *image, const struct image_rows *rows,
                           enum get_how how)
{
    struct reference_sources sources;
    reference_sources(image->need->name, get->ctx->cfg->images.mirror, &sources);
    for (size_t i = 0; i < sources.count && image->how == GET_MISSING; i++) {
        const struct image_row *row = image_rows_find(rows, sources.names[i]);
        if (!row || strcmp(row->name, image->need->name) == 0 ||
            judge(get, get->runtime, image->need->name, row, NULL) != 0 ||
            runtime_name(get->runtime, row->name, image->need->name, NULL) != 0)
            continue;
        image->how = how;
        mem_copy_text(image->source, sizeof image->source, row->name);
        exec_say(get->ctx, "images", -1, "%s was here as %s", image->need->name, row->name);
    }
}

/* A run that was cut short leaves names of the mirror's to images that have their own by now. */
static void drop_staged(struct get *get, const struct get_image *image, const struct image_rows *rows)
{
    const char *mirror = get->ctx->cfg->images.mirror;
    size_t n = strlen(mirror);
    struct reference_sources sources;
    if (n == 0 || image->how == GET_MISSING || get->ctx->dry_run)
        return;
    reference_sources(image->need->name, mirror, &sources);
    for (size_t i = 0; i < sources.count; i++) {
        const char *name = sources.names[i];
        if (strncmp(name, mirror, n) == 0 && name[n] == '/' && strcmp(name, image->need->name) != 0 &&
            image_rows_find(rows, name))
            runtime_remove(get->runtime, name, NULL);
    }
}

static int look(struct get *get, enum get_how how, struct err *err)
{
    struct image_rows rows = {0};
    int rc = runtime_look(get->runtime, NULL, &rows, err);
    for (size_t i = 0; rc == 0 && i < get->count; i++) {
        struct get_image *image = &get->image[i];
        if (image->how != GET_MISSING)
            continue;
        mark_here(get, image, &rows);
        if (image->how == GET_HERE)
            image->how = how == GET_IMPORTED ? GET_IMPORTED : GET_HERE;
        else if (runtime_can_name(get->runtime) && !get->ctx->dry_run)
            name_from_here(get, image, &rows, how);
        drop_staged(get, image, &rows);
    }
    image_rows_fini(&rows);
    return rc;
}

static size_t count_missing(const struct get *get)
{
    size_t n = 0;
    for (size_t i = 0; i < get->count; i++)
        n += get->image[i].how == GET_MISSING;
    return n;
}

/* Whether the archive has an image, under any of its names, that is missing. */
static bool is_useful(const struct get *get, const struct archive_entries *entries)
{
    for (size_t i = 0; i < get->count; i++) {
        struct reference_sources sources;
        if (get->image[i].how != GET_MISSING)
            continue;
        reference_sources(get->image[i].need->name, get->ctx->cfg->images.mirror, &sources);
        for (size_t k = 0; k < sources.count; k++)
            for (size_t e = 0; e < entries->count; e++)
                if (strcmp(entries->entry[e].name, sources.names[k]) == 0)
                    return true;
    }
    return false;
}

static int import_one(struct get *get, const char *path, struct err *err)
{
    cleanup_free struct archive_entries *entries = calloc(1, sizeof *entries);
    if (!entries)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    int rc = archive_list(get->ctx, path, entries, err);
    if (rc != 0 || !is_useful(get, entries))
        return rc;
    exec_say(get->ctx, "images", -1, "taking in %s", path);
    rc = runtime_import(get->runtime, path, err);
    if (rc != 0)
        return err_wrap(err, "the archive %s", path);
    return get->ctx->dry_run ? 0 : look(get, GET_IMPORTED, err);
}

/* What an archive does not give, a registry may: a bad one is told and passed over. */
static int import_all(struct get *get, struct err *err)
{
    const char *folder = get->ctx->cfg->images.archives;
    struct archives archives;
    if (!folder[0] || !runtime_can_name(get->runtime))
        return 0;
    int rc = archives_open(folder, &archives, err);
    if (rc != 0) {
        err_wrap(err, "images.archives");
        return err_hint(err, "make the folder, or take images.archives out of the configuration");
    }
    for (size_t i = 0; rc == 0 && i < archives.count && count_missing(get) > 0; i++) {
        struct err own = {0};
        int one = import_one(get, archives.paths[i], &own);
        if (one == KPEER_ECANCELED || one == KPEER_ENOMEM) {
            rc = one;
            if (err)
                *err = own;
        } else if (one != 0) {
            exec_say(get->ctx, "images", -1, "%s", own.text);
        }
    }
    archives_fini(&archives);
    return rc;
}

static void tell_in_turn(void *arg, const struct step_progress *p)
{
    struct crew *crew = arg;
    pthread_mutex_lock(&crew->lock);
    if (crew->get->ctx->progress)
        crew->get->ctx->progress(crew->get->ctx->progress_arg, p);
    pthread_mutex_unlock(&crew->lock);
}

/* What was pulled under its source's name gets its own, if it is right; else nothing of it is left. */
static int accept(struct hand *h, const char *source, struct err *err)
{
    struct image_rows rows = {0};
    int rc = runtime_look(&h->runtime, source, &rows, err);
    const struct image_row *row = rc == 0 ? image_rows_find(&rows, source) : NULL;
    if (rc == 0 && !row)
        rc = err_set(err, KPEER_EIO, "it was pulled and is not here");
    if (rc == 0)
        rc = judge(h->crew->get, &h->runtime, h->name, row, err);
    image_rows_fini(&rows);
    if (rc == KPEER_EAUTH)
        runtime_remove(&h->runtime, source, NULL);
    if (rc != 0 || strcmp(source, h->name) == 0)
        return rc;
    rc = runtime_name(&h->runtime, source, h->name, err);
    if (rc == 0)
        runtime_remove(&h->runtime, source, NULL);
    return rc;
}

/* A refusal says more than that another source was silent; else the first source is what the user meant. */
static void keep_error(struct hand *h, const char *source, const struct err *err, bool first)
{
    struct err *kept = &h->image->err;
    if (kept->code == KPEER_EAUTH || (!first && err->code != KPEER_EAUTH))
        return;
    *kept = *err;
    err_wrap(kept, "from %s", source);
}

static int from_one(struct hand *h, const char *source, struct err *err)
{
    int rc = runtime_pull(&h->runtime, source, PULL_MS, err);
    if (rc != 0 && rc != KPEER_ECANCELED && strcmp(source, h->name) == 0 &&
        runtime_pull_by_cri(&h->runtime, source, PULL_MS, NULL) == 0)
        rc = 0;
    if (rc == 0 && !h->ctx.dry_run)
        rc = accept(h, source, err);
    return rc;
}

/* Asks each source in turn. *again: another round may help, which it may not where no source has the image,
 * or one has another in its place. */
static int try_sources(struct hand *h, const struct reference_sources *sources, bool *again)
{
    bool silent = false, refused = false;
    *again = false;
    h->image->err.code = 0;
    for (size_t i = 0; i < sources->count; i++) {
        struct err err = {0};
        int rc = from_one(h, sources->names[i], &err);
        if (rc == 0) {
            mem_copy_text(h->image->source, sizeof h->image->source, sources->names[i]);
            return 0;
        }
        keep_error(h, sources->names[i], &err, i == 0);
        if (rc == KPEER_ECANCELED)
            return rc;
        refused = refused || rc == KPEER_EAUTH;
        silent = silent || rc != KPEER_ENOTFOUND;
    }
    *again = silent && !refused;
    return h->image->err.code;
}

static int pull(struct hand *h)
{
    struct reference_sources sources;
    uint32_t wait = BACKOFF_MS;
    bool again = false, can_name = runtime_can_name(&h->runtime);
    reference_sources(h->name, can_name ? h->ctx.cfg->images.mirror : NULL, &sources);
    if (!can_name)
        sources.count = 1;
    for (uint32_t round = 0;; round++) {
        int rc = try_sources(h, &sources, &again);
        if (rc == 0 || rc == KPEER_ECANCELED || !again || round >= h->ctx.cfg->images.retries)
            return rc;
        exec_say(&h->ctx, "images", -1, "again in %u s: %s %s", wait / 1000, h->name, h->image->err.text);
        if (exec_pause(&h->ctx, wait, &h->image->err) != 0)
            return h->image->err.code;
        wait = wait * 2 < BACKOFF_MAX_MS ? wait * 2 : BACKOFF_MAX_MS;
    }
}

static void work(void *arg, size_t i)
{
    struct crew *crew = arg;
    struct get *get = crew->get;
    struct hand h = {
        .crew = crew, .ctx = *get->ctx, .runtime = *get->runtime, .image = &get->image[crew->todo[i]]};
    uint64_t begun = clock_ms();
    h.ctx.progress = tell_in_turn;
    h.ctx.progress_arg = crew;
    h.runtime.ctx = &h.ctx;
    h.name = h.image->need->name;
    int rc = pull(&h);
    h.image->how = rc == 0 ? GET_PULLED : GET_FAILED;
    if (rc != 0 && h.image->wrong && rc != KPEER_ECANCELED)
        runtime_remove(&h.runtime, h.name, NULL);
    pthread_mutex_lock(&crew->lock);
    size_t done = rc == 0 ? ++crew->done : crew->done;
    pthread_mutex_unlock(&crew->lock);
    if (rc == 0)
        exec_say(&h.ctx, "images", (int32_t)(done * 100 / get->count), "%zu of %zu: %s from %s, %llu ms",
                 done, get->count, h.name, h.image->source, (unsigned long long)(clock_ms() - begun));
    else if (rc != KPEER_ECANCELED)
        exec_say(&h.ctx, "images", -1, "%s %s", h.name, h.image->err.text);
}

static void pull_all(struct get *get)
{
    struct crew crew = {.get = get, .lock = PTHREAD_MUTEX_INITIALIZER};
    for (size_t i = 0; i < get->count; i++) {
        if (get->image[i].how == GET_MISSING)
            crew.todo[crew.count++] = i;
    }
    crew.done = get->count - crew.count;
    exec_say(get->ctx, "images", (int32_t)(crew.done * 100 / get->count), "%zu of %zu images are here",
             crew.done, get->count);
    pool_run(crew.count, get->ctx->cfg->images.parallel ? get->ctx->cfg->images.parallel : 1, work, &crew);
    pthread_mutex_destroy(&crew.lock);
}

/* The first failure in full, the other images by name. */
static int sum_up(const struct get *get, struct err *err)
{
    const struct get_image *first = NULL;
    char others[200] = "";
    size_t failed = 0, used = 0;
    for (size_t i = 0; i < get->count; i++) {
        const struct get_image *image = &get->image[i];
        if (image->how != GET_FAILED)
            continue;
        failed++;
        if (first && used < sizeof others)
            used += (size_t)snprintf(others + used, sizeof others - used, "%s%s", used ? ", " : "; nor ",
                                     image->need->name);
        first = first ? first : image;
    }
    if (!first)
        return 0;
    err_set(err, first->err.code, "%zu of %zu images could not be had: %s %s%s", failed, get->count,
            first->need->name, first->err.text, others);
    err_hint(err, "%s", first->err.hint[0] ? first->err.hint : parse_images_hint(first->err.text));
    return first->err.code;
}

int get_begin(struct get *get, const struct need *need, struct err *err)
{
    get->count = need->count;
    for (size_t i = 0; i < need->count; i++)
        get->image[i] = (struct get_image){.need = &need->image[i]};
    return look(get, GET_NAMED, err);
}

int get_finish(struct get *get, struct err *err)
{
    int rc = count_missing(get) > 0 ? import_all(get, err) : 0;
    if (rc != 0)
        return rc;
    pull_all(get);
    return sum_up(get, err);
}
