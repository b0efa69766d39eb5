#include "peer/executor/packages/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/executor/file.h"
#include "peer/executor/packages/keep_folders.h"
#include "peer/executor/packages/query.h"
#include "protocol/mem.h"

#define KEPT_MAX    (64 * 1024 * 1024)
#define RECORD_MAX  (16 * 1024 * 1024)
#define RECORD_NAME "record"

/* `derived`: made from the packages and nothing else, so that the same packages allow the same file. What is
 * not is given back only where nobody but kpeer has changed it. */
static const struct {
    const char *path;
    bool derived;
} files[] = {
    {"/var/lib/dpkg/status", true},
    {"/var/lib/dpkg/status-old", true},
    {"/var/cache/ldconfig/aux-cache", true},
    {"/etc/ld.so.cache", false},
    {"/var/lib/apt/extended_states", true},
    {"/var/cache/debconf/config.dat", false},
    {"/var/cache/debconf/config.dat-old", false},
    {"/var/cache/debconf/passwords.dat", false},
    {"/var/cache/debconf/templates.dat", false},
    {"/var/cache/debconf/templates.dat-old", false},
    {"/etc/group", false},
    {"/etc/group-", false},
    {"/etc/gshadow", false},
    {"/etc/gshadow-", false},
};

static int own_path(const struct exec_ctx *ctx, const char *name, char *out, size_t out_bytes,
                    struct err *err)
{
    int n = snprintf(out, out_bytes, "%s/executor/packages/%s", ctx->cfg->state_dir, name);

    if (n < 0 || (size_t)n >= out_bytes)
        return err_set(err, KPEER_ELIMIT, "the path of the state folder is too long");
    return 0;
}

static int kept_path(const struct exec_ctx *ctx, size_t i, char *out, size_t out_bytes, struct err *err)
{
    char name[32];

    snprintf(name, sizeof(name), "kept-%zu", i);
    return own_path(ctx, name, out, out_bytes, err);
}

/* The record, or an answer of 0 with NULL where there is none. */
static int load(const struct exec_ctx *ctx, json_t **out, struct err *err)
{
    char path[PATH_MAX];
    cleanup_free char *text = NULL;
    size_t n = 0;
    int code = own_path(ctx, RECORD_NAME, path, sizeof(path), err);

    *out = NULL;
    code = code ? code : file_read(path, RECORD_MAX, &text, &n, NULL);
    if (code == KPEER_ENOTFOUND)
        return 0;
    if (code)
        return err_set(err, code, "cannot read %s", path);
    *out = json_loadb(text, n, 0, NULL);
    if (!json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        return err_set(err, KPEER_EINVAL, "%s is damaged", path);
    }
    return 0;
}

static int save(const struct exec_ctx *ctx, const json_t *record, struct err *err)
{
    char path[PATH_MAX];
    cleanup_free char *text = json_dumps(record, JSON_COMPACT);
    int code = own_path(ctx, RECORD_NAME, path, sizeof(path), err);

    if (!text)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    return code ? code : file_put(path, text, strlen(text), 0600, (uid_t)-1, (gid_t)-1, err);
}

static void hash_text(const char *bytes, size_t n, char hex[static 2 * crypto_hash_sha256_BYTES + 1])
{
    uint8_t digest[crypto_hash_sha256_BYTES];

    crypto_hash_sha256(digest, (const uint8_t *)bytes, n);
    sodium_bin2hex(hex, 2 * crypto_hash_sha256_BYTES + 1, digest, sizeof(digest));
}

/* How a file is now: the hash of its content, "" where it is not there. */
static int file_hash(const struct exec_ctx *ctx, const char *path,
                     char hex[static 2 * crypto_hash_sha256_BYTES + 1], struct err *err)
{
    char full[PATH_MAX];
    cleanup_free char *bytes = NULL;
    size_t n = 0;
    int code = exec_path(ctx, path, full, sizeof(full), err);

    code = code ? code : file_read(full, KEPT_MAX, &bytes, &n, err);
    hex[0] = '\0';
    if (code == KPEER_ENOTFOUND)
        return 0;
    if (code == 0)
        hash_text(bytes, n, hex);
    return code;
}

static int keep_file(const struct exec_ctx *ctx, size_t i, json_t *out, struct err *err)
{
    char full[PATH_MAX], kept[PATH_MAX];
    cleanup_free char *bytes = NULL;
    struct stat st;
    size_t n = 0;
    int code = exec_path(ctx, files[i].path, full, sizeof(full), err);

    code = code ? code : kept_path(ctx, i, kept, sizeof(kept), err);
    if (code)
        return code;
    if (lstat(full, &st) || !S_ISREG(st.st_mode))
        return json_array_append_new(out, json_pack("{s:s, s:b}", "path", files[i].path, "there", 0))
                   ? err_set(err, KPEER_ENOMEM, "out of memory")
                   : 0;
    code = file_read(full, KEPT_MAX, &bytes, &n, err);
    code = code ? code : file_put(kept, bytes, n, 0600, (uid_t)-1, (gid_t)-1, err);
    if (code)
        return code;
    return json_array_append_new(out, json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I}", "path", files[i].path,
                                                "there", 1, "mode", (json_int_t)(st.st_mode & 07777), "uid",
                                                (json_int_t)st.st_uid, "gid", (json_int_t)st.st_gid, "s",
                                                (json_int_t)st.st_mtim.tv_sec, "ns",
                                                (json_int_t)st.st_mtim.tv_nsec))
               ? err_set(err, KPEER_ENOMEM, "out of memory")
               : 0;
}

/* The record of a host on which kpeer has installed nothing yet. */
static int make_record(struct exec_ctx *ctx, json_t **out, struct err *err)
{
    cleanup_free char *packages = NULL;
    char path[PATH_MAX];
    json_t *kept = json_array(), *folders = NULL;
    int code = own_path(ctx, RECORD_NAME, path, sizeof(path), err);

    code = code ? code : file_make_parents(path, err);
    code = code ? code : query_all(ctx, &packages, err);
    for (size_t i = 0; i < COUNT_OF(files) && code == 0; i++)
        code = keep_file(ctx, i, kept, err);
    code = code ? code : keep_folders(ctx, &folders, err);
    if (code) {
        json_decref(kept);
        return code;
    }
    *out = json_pack("{s:s, s:[], s:o, s:o}", "packages", packages, "new", "files", kept, "folders", folders);
    return *out ? 0 : err_set(err, KPEER_ENOMEM, "out of memory");
}

static bool has_text(const json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *have = json_string_value(json_array_get(list, i));

        if (have && strcmp(have, text) == 0)
            return true;
    }
    return false;
}

int keep_before(struct exec_ctx *ctx, const struct apt_plan *plan, struct err *err)
{
    json_t *record = NULL, *list;
    int code = load(ctx, &record, err);

    if (code == 0 && !record)
        code = make_record(ctx, &record, err);
    if (code)
        return code;
    list = json_object_get(record, "new");
    for (size_t i = 0; i < plan->count; i++)
        if (!plan->changes[i].before[0] && !has_text(list, plan->changes[i].name))
            json_array_append_new(list, json_string(plan->changes[i].name));
    code = save(ctx, record, err);
    json_decref(record);
    return code;
}

/* Sets each file's `field` to its hash. */
static int note_hashes(const struct exec_ctx *ctx, json_t *record, const char *field, struct err *err)
{
    json_t *list = json_object_get(record, "files");
    char hex[2 * crypto_hash_sha256_BYTES + 1];

    for (size_t i = 0; i < COUNT_OF(files) && i < json_array_size(list); i++) {
        int code = file_hash(ctx, files[i].path, hex, err);

        if (code)
            return code;
        json_object_set_new(json_array_get(list, i), field, json_string(hex));
    }
    return 0;
}

int keep_after(struct exec_ctx *ctx, struct err *err)
{
    json_t *record = NULL;
    int code = load(ctx, &record, err);

    if (code || !record)
        return code;
    code = note_hashes(ctx, record, "after", err);
    code = code ? code : save(ctx, record, err);
    json_decref(record);
    return code;
}

int keep_new(struct exec_ctx *ctx, char (*names)[APT_NAME_BYTES], size_t *count, struct err *err)
{
    json_t *record = NULL, *list;
    int code = load(ctx, &record, err);

    *count = 0;
    if (code || !record)
        return code;
    list = json_object_get(record, "new");
    for (size_t i = 0; i < json_array_size(list) && *count < KEEP_NEW_MAX; i++) {
        const char *name = json_string_value(json_array_get(list, i));

        if (name && apt_is_name(name) && mem_copy_text(names[*count], APT_NAME_BYTES, name) == 0)
            ++*count;
    }
    json_decref(record);
    return 0;
}

int keep_removing(struct exec_ctx *ctx, struct err *err)
{
    json_t *record = NULL;
    int code = load(ctx, &record, err);

    if (code || !record || json_object_get(record, "removing")) {
        json_decref(record);
        return code;
    }
    code = note_hashes(ctx, record, "last", err);
    keep_folders_removing(ctx, json_object_get(record, "folders"));
    json_object_set_new(record, "removing", json_true());
    code = code ? code : save(ctx, record, err);
    json_decref(record);
    return code;
}

static json_int_t number(const json_t *o, const char *field)
{
    return json_integer_value(json_object_get(o, field));
}

/* Nobody else changed it between installation and removal. */
static bool is_untouched(const json_t *file)
{
    const char *after = json_string_value(json_object_get(file, "after"));
    const char *last = json_string_value(json_object_get(file, "last"));

    return after && last && strcmp(after, last) == 0;
}

/* Made and emptied again, as apt does with its notes: the same as never made. */
static bool is_emptied(const struct exec_ctx *ctx, size_t i, const json_t *file)
{
    char full[PATH_MAX];
    struct stat st;

    return !json_is_true(json_object_get(file, "there")) &&
           exec_path(ctx, files[i].path, full, sizeof(full), NULL) == 0 && lstat(full, &st) == 0 &&
           st.st_size == 0;
}

static int restore_file(const struct exec_ctx *ctx, size_t i, const json_t *file, struct err *err)
{
    char full[PATH_MAX], kept[PATH_MAX];
    cleanup_free char *bytes = NULL;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                {.tv_sec = number(file, "s"), .tv_nsec = number(file, "ns")}};
    size_t n = 0;
    int code = exec_path(ctx, files[i].path, full, sizeof(full), err);

    if (code == 0 && !json_is_true(json_object_get(file, "there")))
        return file_remove(full, err);
    code = code ? code : kept_path(ctx, i, kept, sizeof(kept), err);
    code = code ? code : file_read(kept, KEPT_MAX, &bytes, &n, err);
    code = code ? code
                : file_put(full, bytes, n, (mode_t)number(file, "mode"), (uid_t)number(file, "uid"),
                           (gid_t)number(file, "gid"), err);
    if (code == 0)
        utimensat(AT_FDCWD, full, times, AT_SYMLINK_NOFOLLOW);
    return code;
}

/* Keeps dpkg and apt away while their files are put back; -1: one of them is at work. */
static int lock_dpkg(const struct exec_ctx *ctx)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[PATH_MAX];
    int fd = exec_path(ctx, "/var/lib/dpkg/lock-frontend", path, sizeof(path), NULL)
                 ? -1
                 : open(path, O_RDWR | O_CLOEXEC);

    if (fd >= 0 && fcntl(fd, F_SETLK, &all)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int restore_files(struct exec_ctx *ctx, const json_t *record, struct err *err)
{
    const char *then = json_string_value(json_object_get(record, "packages"));
    const json_t *list = json_object_get(record, "files");
    cleanup_free char *now = NULL;
    int code = query_all(ctx, &now, err), fd;

    if (code)
        return code;
    if (!then || strcmp(then, now) != 0) {
        exec_say(ctx, "undo", -1,
                 "other packages were changed since: the records of dpkg and apt stay as they are");
        return 0;
    }
    fd = lock_dpkg(ctx);
    if (fd < 0) {
        exec_say(ctx, "undo", -1, "dpkg is at work: its records stay as they are");
        return 0;
    }
    for (size_t i = 0; i < COUNT_OF(files) && i < json_array_size(list) && code == 0; i++) {
        const json_t *file = json_array_get(list, i);

        if (files[i].derived || is_untouched(file) || is_emptied(ctx, i, file))
            code = restore_file(ctx, i, file, err);
    }
    close(fd);
    return code;
}

int keep_restore(struct exec_ctx *ctx, struct err *err)
{
    json_t *record = NULL;
    int code = load(ctx, &record, err);

    if (code || !record)
        return code;
    keep_folders_restore(ctx, json_object_get(record, "folders"));
    code = restore_files(ctx, record, err);
    json_decref(record);
    return code;
}

int keep_forget(struct exec_ctx *ctx, struct err *err)
{
    char path[PATH_MAX];
    int code = own_path(ctx, RECORD_NAME, path, sizeof(path), err);

    /* The record first: what is kept means nothing without it. */
    code = code ? code : file_remove(path, err);
    for (size_t i = 0; i < COUNT_OF(files) && code == 0; i++) {
        code = kept_path(ctx, i, path, sizeof(path), err);
        code = code ? code : file_remove(path, err);
    }
    if (code == 0 && own_path(ctx, "", path, sizeof(path), NULL) == 0)
        rmdir(path);
    return code;
}
