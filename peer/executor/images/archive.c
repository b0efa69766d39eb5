#include "peer/executor/images/archive.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

#define READ_MS 120000

static bool is_archive(const char *name)
{
    static const char *const ends[] = {".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.zst"};
    size_t n = strlen(name);
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        size_t end = strlen(ends[i]);
        if (n > end && name[0] != '.' && strcmp(name + n - end, ends[i]) == 0)
            return true;
    }
    return false;
}

static int choose(const struct dirent *entry)
{
    return is_archive(entry->d_name);
}

int archives_open(const char *folder, struct archives *out, struct err *err)
{
    struct dirent **names = NULL;
    memset(out, 0, sizeof *out);
    int count = scandir(folder, &names, choose, alphasort);
    if (count < 0)
        return errno == ENOENT ? err_set(err, KPEER_ENOTFOUND, "there is no folder %s", folder)
                               : err_errno(err, errno, "the folder %s", folder);
    out->paths = calloc(ARCHIVE_MAX, sizeof *out->paths);
    int rc = out->paths ? 0 : err_set(err, KPEER_ENOMEM, "out of memory");
    if (rc == 0 && count > ARCHIVE_MAX)
        rc = err_set(err, KPEER_ELIMIT, "more than %d archives in %s", ARCHIVE_MAX, folder);
    for (int i = 0; i < count; i++) {
        int n =
            rc ? 0 : snprintf(out->paths[out->count], sizeof *out->paths, "%s/%s", folder, names[i]->d_name);
        if (n > 0 && (size_t)n < sizeof *out->paths)
            out->count++;
        free(names[i]);
    }
    free(names);
    if (rc != 0)
        archives_fini(out);
    return rc;
}

void archives_fini(struct archives *archives)
{
    free(archives->paths);
    memset(archives, 0, sizeof *archives);
}

/* A member's bytes; the first of that name. */
static int read_member(struct exec_ctx *ctx, const char *path, const char *member, struct spawn_result *res,
                       struct err *err)
{
    const struct exec_run run = {
        .tool = TOOL_TAR,
        .argv = (const char *const[]){"", "-xOf", path, "--occurrence=1", "--", member, NULL},
        .timeout_ms = READ_MS,
        .quiet = true,
        .read_only = true,
    };
    int rc = exec_run(ctx, &run, res, err);
    if (rc == 0 && res->truncated)
        rc = err_set(err, KPEER_ELIMIT, "%s in it is too large", member);
    return rc;
}

int archive_list(struct exec_ctx *ctx, const char *path, struct archive_entries *out, struct err *err)
{
    static const char *const lists[] = {"manifest.json", "index.json"};
    int rc = KPEER_ENOTFOUND;
    for (size_t i = 0; i < COUNT_OF(lists) && rc != 0; i++) {
        struct spawn_result res;
        rc = read_member(ctx, path, lists[i], &res, err);
        if (rc == 0)
            rc = parse_images_archive(res.out, res.out_bytes, out, err);
        spawn_result_fini(&res);
        if (rc == KPEER_ECANCELED || rc == KPEER_ETIMEOUT)
            break;
    }
    return rc == 0 ? 0 : err_wrap(err, "the archive %s", path);
}

/* Follows manifests to the configuration; each must be what its digest says. */
static int follow(struct exec_ctx *ctx, const char *path, const char *architecture, const char *member,
                  struct image_row *row, struct err *err)
{
    struct image_manifest m = {.is_index = true};
    char at[PARSE_MEMBER_BYTES], hash[STEP_HASH_BYTES];
    mem_copy_text(at, sizeof at, member);
    for (int depth = 0; m.is_index && depth < 3; depth++) {
        struct spawn_result res;
        int rc = read_member(ctx, path, at, &res, err);
        if (rc == 0)
            parse_images_hash(res.out, res.out_bytes, hash);
        if (rc == 0 && strcmp(strrchr(at, '/') + 1, hash + 7) != 0)
            rc = err_set(err, KPEER_EINVAL, "%s in it is something else", at);
        if (rc == 0)
            rc = parse_images_manifest(res.out, res.out_bytes, architecture, &m, err);
        spawn_result_fini(&res);
        if (rc != 0)
            return rc;
        if (!row->digest[0])
            memcpy(row->digest, hash, sizeof row->digest);
        parse_images_blob(m.next, at);
    }
    memcpy(row->id, m.next, sizeof row->id);
    return m.is_index ? err_set(err, KPEER_EINVAL, "an index of indices") : 0;
}

int archive_identify(struct exec_ctx *ctx, const char *path, const char *architecture,
                     const struct archive_entry *entry, struct image_row *row, struct err *err)
{
    struct spawn_result res = {0};
    memset(row, 0, sizeof *row);
    mem_copy_text(row->name, sizeof row->name, entry->name);
    row->whole = true;
    int rc = entry->is_manifest ? follow(ctx, path, architecture, entry->member, row, err)
                                : read_member(ctx, path, entry->member, &res, err);
    if (rc == 0 && !entry->is_manifest)
        parse_images_hash(res.out, res.out_bytes, row->id);
    spawn_result_fini(&res);
    return rc == 0 ? 0 : err_wrap(err, "the archive %s", path);
}
