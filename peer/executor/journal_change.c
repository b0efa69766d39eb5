#include "peer/executor/journal_store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/executor/file.h"
#include "protocol/mem.h"

#define NO_OWNER ((uid_t)-1)

static struct journal_change *find_change(const struct journal *j, enum change_kind kind, const char *path)
{
    for (size_t i = 0; i < j->c.state.changes; i++) {
        if (j->c.changes[i].kind == kind && strcmp(j->c.changes[i].path, path) == 0)
            return &j->c.changes[i];
    }
    return NULL;
}

static void forget(struct journal *j, struct journal_change *c)
{
    size_t at = (size_t)(c - j->c.changes);

    memmove(c, c + 1, (j->c.state.changes - at - 1) * sizeof(*c));
    j->c.state.changes--;
}

/* The change noted for `path`, or a new one at the end. */
static int note(struct journal *j, enum change_kind kind, const char *path, struct journal_change **out,
                struct err *err)
{
    struct journal_change *c = find_change(j, kind, path);

    if (!j->dir[0])
        return err_set(err, KPEER_ESTATE, "nothing is changed in a rehearsal");
    if (path[0] != '/' || strlen(path) >= JOURNAL_PATH_BYTES)
        return err_set(err, KPEER_EINVAL, "%s is not an absolute path of usable length", path);
    if (!c && j->c.state.changes == JOURNAL_CHANGES_MAX)
        return err_set(err, KPEER_ELIMIT, "the journal holds %d changes already", JOURNAL_CHANGES_MAX);
    if (!c) {
        c = &j->c.changes[j->c.state.changes++];
        memset(c, 0, sizeof(*c));
        c->kind = kind;
        memcpy(c->path, path, strlen(path) + 1);
    }
    *out = c;
    return 0;
}

/* What is at a path now. */
struct present {
    bool there;
    struct stat st;
    char *bytes;
    size_t n;
    uint8_t hash[JOURNAL_HASH_BYTES];
};

static int look(const char *path, struct present *p, struct err *err)
{
    int code;

    memset(p, 0, sizeof(*p));
    if (lstat(path, &p->st)) {
        if (errno == ENOENT || errno == ENOTDIR)
            return 0;
        return err_errno(err, errno, "cannot look at %s", path);
    }
    if (!S_ISREG(p->st.st_mode))
        return err_set(err, KPEER_EREFUSED, "%s is not a regular file, so it is left alone", path);
    code = file_read(path, JOURNAL_FILE_MAX, &p->bytes, &p->n, err);
    if (code)
        return code;
    p->there = true;
    journal_store_hash(p->bytes, p->n, p->hash);
    return 0;
}

static void present_fini(struct present *p)
{
    if (p->bytes)
        sodium_memzero(p->bytes, p->n);
    free(p->bytes);
}

#define cleanup_present __attribute__((cleanup(present_fini)))

/* Whether what is there is what kpeer put there, this time or, should a crash have come between, the time
 * before. */
static bool as_written(const struct journal_change *c, const struct present *p)
{
    if (!p->there)
        return c->removed;
    return (!c->removed && memcmp(p->hash, c->now, JOURNAL_HASH_BYTES) == 0) ||
           memcmp(p->hash, c->before, JOURNAL_HASH_BYTES) == 0;
}

/* Copies of replaced files are named after the path's hash. */
static int kept_path(const struct journal *j, const char *path, char *out, size_t n, struct err *err)
{
    uint8_t hash[JOURNAL_HASH_BYTES];
    char hex[33], name[64];

    journal_store_hash(path, strlen(path), hash);
    mem_hex(hex, hash, 16);
    snprintf(name, sizeof(name), "kept/%s", hex);
    if (journal_store_path(j, name, out, n))
        return err_set(err, KPEER_ELIMIT, "the path %s is too long", j->dir);
    return 0;
}

/* Notes what is there, with a copy, as that to put back. */
static int keep_present(struct journal *j, struct journal_change *c, const struct present *p, struct err *err)
{
    char path[PATH_MAX];
    int code = kept_path(j, c->path, path, sizeof(path), err);

    if (code)
        return code;
    c->had = p->there;
    c->mode = p->there ? p->st.st_mode & 07777 : 0;
    c->uid = p->there ? p->st.st_uid : 0;
    c->gid = p->there ? p->st.st_gid : 0;
    memset(c->before, 0, sizeof(c->before));
    return p->there ? file_put(path, p->bytes, p->n, 0600, NO_OWNER, NO_OWNER, err) : 0;
}

/* Notes durably that `path` is about to hold what hashes to `hash`, or nothing where that is NULL. */
static int announce(struct journal *j, const char *path, const struct present *p, const uint8_t *hash,
                    struct err *err)
{
    bool known = find_change(j, CHANGE_FILE, path) != NULL;
    struct journal_change *c;
    int code = note(j, CHANGE_FILE, path, &c, err);

    if (code)
        return code;
    if (!known || !as_written(c, p))
        code = keep_present(j, c, p, err);
    else if (p->there)
        memcpy(c->before, p->hash, JOURNAL_HASH_BYTES);
    if (code) {
        if (!known)
            forget(j, c);
        return code;
    }
    c->removed = hash == NULL;
    memset(c->now, 0, sizeof(c->now));
    if (hash)
        memcpy(c->now, hash, JOURNAL_HASH_BYTES);
    return journal_store_save(j, err);
}

int journal_replace_file(struct journal *j, const char *path, const void *bytes, size_t n, mode_t mode,
                         struct err *err)
{
    cleanup_present struct present p = {0};
    uint8_t hash[JOURNAL_HASH_BYTES];
    int code = journal_store_enter(j, err);

    if (code)
        return code;
    journal_store_hash(bytes, n, hash);
    if (n > JOURNAL_FILE_MAX)
        code = err_set(err, KPEER_ELIMIT, "%s would be larger than %d bytes", path, JOURNAL_FILE_MAX);
    code = code ? code : look(path, &p, err);
    if (code == 0 &&
        !(p.there && memcmp(p.hash, hash, JOURNAL_HASH_BYTES) == 0 && (p.st.st_mode & 07777) == mode)) {
        code = announce(j, path, &p, hash, err);
        code = code ? code : file_make_parents(path, err);
        code = code ? code : file_put(path, bytes, n, mode, NO_OWNER, NO_OWNER, err);
    }
    journal_store_leave(j);
    return code;
}

int journal_remove_file(struct journal *j, const char *path, struct err *err)
{
    cleanup_present struct present p = {0};
    int code = journal_store_enter(j, err);

    if (code)
        return code;
    code = look(path, &p, err);
    if (code == 0 && p.there) {
        code = announce(j, path, &p, NULL, err);
        code = code ? code : file_remove(path, err);
    }
    journal_store_leave(j);
    return code;
}

int journal_expect_file(struct journal *j, const char *path, struct err *err)
{
    struct journal_change *c;
    struct stat st;
    int code = journal_store_enter(j, err);

    if (code)
        return code;
    if (lstat(path, &st) == 0 || find_change(j, CHANGE_GUEST, path)) {
        journal_store_leave(j);
        return 0;
    }
    code = note(j, CHANGE_GUEST, path, &c, err);
    code = code ? code : journal_store_save(j, err);
    journal_store_leave(j);
    return code;
}

static int sysctl_read(const char *path, char *value, size_t n, struct err *err)
{
    cleanup_free char *bytes = NULL;
    size_t used;
    int code = file_read(path, 4096, &bytes, &used, err);

    if (code)
        return code;
    bytes[strcspn(bytes, "\n")] = 0;
    for (char *tab = bytes; (tab = strchr(tab, '\t')) != NULL;)
        *tab = ' ';
    if (mem_copy_text(value, n, bytes))
        return err_set(err, KPEER_ELIMIT, "the value of %s is too long", path);
    return 0;
}

/* Settings are written in place: /proc knows no rename. */
static int sysctl_write(const char *path, const char *value, struct err *err)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    int code = 0;

    if (fd < 0)
        return err_errno(err, errno, "cannot open %s", path);
    if (dprintf(fd, "%s\n", value) < 0)
        code = err_errno(err, errno, "cannot write %s to %s", value, path);
    close(fd);
    return code;
}

int journal_set_sysctl(struct journal *j, const char *path, const char *value, struct err *err)
{
    char old[JOURNAL_VALUE_BYTES];
    struct journal_change *c;
    bool known;
    int code = journal_store_enter(j, err);

    if (code)
        return code;
    known = find_change(j, CHANGE_SYSCTL, path) != NULL;
    code = sysctl_read(path, old, sizeof(old), err);
    if (code == 0 && strcmp(old, value) != 0) {
        code = note(j, CHANGE_SYSCTL, path, &c, err);
        if (code == 0) {
            if (!known || strcmp(c->new_value, old) != 0)
                memcpy(c->old_value, old, sizeof(old));
            code = mem_copy_text(c->new_value, sizeof(c->new_value), value) ? KPEER_ELIMIT : 0;
            code =
                code ? err_set(err, code, "the value for %s is too long", path) : journal_store_save(j, err);
        }
        code = code ? code : sysctl_write(path, value, err);
    }
    journal_store_leave(j);
    return code;
}

enum undone { UNDO_BACK, UNDO_LEFT, UNDO_SAME };

/* Whether what is there is already what had been there: nothing was changed, or it was put back before a
 * crash. */
static bool as_found(const struct journal_change *c, const struct present *p, const char *kept,
                     size_t kept_bytes)
{
    if (!p->there || !c->had)
        return p->there == c->had;
    return p->n == kept_bytes && memcmp(p->bytes, kept, kept_bytes) == 0;
}

static int undo_file(const struct journal *j, const struct journal_change *c, enum undone *how,
                     struct err *err)
{
    cleanup_present struct present p = {0};
    cleanup_free char *kept = NULL;
    char path[PATH_MAX];
    size_t n = 0;
    int code = kept_path(j, c->path, path, sizeof(path), err);

    code = code ? code : look(c->path, &p, err);
    if (code == KPEER_EREFUSED) {
        *how = UNDO_LEFT;
        return 0;
    }
    if (code == 0 && c->had)
        code = file_read(path, JOURNAL_FILE_MAX, &kept, &n, err);
    if (code)
        return code;
    *how = as_found(c, &p, kept, n) ? UNDO_SAME : as_written(c, &p) ? UNDO_BACK : UNDO_LEFT;
    if (*how != UNDO_BACK)
        return 0;
    if (!c->had)
        return file_remove(c->path, err);
    code = file_make_parents(c->path, err);
    /* Where this is not root, an owner of somebody else's could not have been taken away either. */
    return code ? code
                : file_put(c->path, kept, n, c->mode, geteuid() ? NO_OWNER : c->uid,
                           geteuid() ? NO_OWNER : c->gid, err);
}

static int undo_sysctl(const struct journal_change *c, enum undone *how, struct err *err)
{
    char now[JOURNAL_VALUE_BYTES];
    int code = sysctl_read(c->path, now, sizeof(now), err);

    if (code == KPEER_ENOTFOUND) {
        *how = UNDO_LEFT; /* a setting of a module or interface that is gone */
        return 0;
    }
    if (code)
        return code;
    *how = strcmp(now, c->old_value) == 0   ? UNDO_SAME
           : strcmp(now, c->new_value) == 0 ? UNDO_BACK
                                            : UNDO_LEFT;
    return *how == UNDO_BACK ? sysctl_write(c->path, c->old_value, err) : 0;
}

/* It was never kpeer's own, so there is nothing to compare: what is known is that nothing was there before.
 */
static int undo_guest(const struct journal_change *c, enum undone *how, struct err *err)
{
    struct stat st;

    if (lstat(c->path, &st)) {
        *how = UNDO_SAME;
        return errno == ENOENT || errno == ENOTDIR ? 0 : err_errno(err, errno, "cannot look at %s", c->path);
    }
    *how = S_ISREG(st.st_mode) ? UNDO_BACK : UNDO_LEFT;
    return *how == UNDO_BACK ? file_remove(c->path, err) : 0;
}

static int undo_kind(const struct journal *j, const struct journal_change *c, enum undone *how,
                     struct err *err)
{
    if (c->kind == CHANGE_GUEST)
        return undo_guest(c, how, err);
    return c->kind == CHANGE_FILE ? undo_file(j, c, how, err) : undo_sysctl(c, how, err);
}

static int undo_one(struct journal *j, struct journal_change *c, enum undone *how, struct err *err)
{
    char path[PATH_MAX];
    int code = undo_kind(j, c, how, err);

    if (code)
        return code;
    code = kept_path(j, c->path, path, sizeof(path), err);
    forget(j, c);
    code = code ? code : journal_store_save(j, err);
    return code ? code : file_remove(path, err);
}

int journal_undo(struct journal *j, void (*done)(void *ctx, const char *path),
                 void (*left)(void *ctx, const char *path), void *ctx, struct err *err)
{
    int first = journal_store_enter(j, err);

    if (first)
        return first;
    for (size_t i = j->c.state.changes; i-- > 0;) {
        char path[JOURNAL_PATH_BYTES];
        enum undone how = UNDO_SAME;
        struct err e = {0};

        memcpy(path, j->c.changes[i].path, sizeof(path));
        if (undo_one(j, &j->c.changes[i], &how, &e)) {
            if (!first && err)
                *err = e;
            first = first ? first : e.code;
        } else if (how == UNDO_LEFT && left) {
            left(ctx, path);
        } else if (how == UNDO_BACK && done) {
            done(ctx, path);
        }
    }
    journal_store_leave(j);
    return first;
}

bool journal_owns(const struct journal *j, const char *path)
{
    const struct journal_change *c = find_change(j, CHANGE_FILE, path);
    cleanup_present struct present p = {0};

    return c && look(path, &p, NULL) == 0 && p.there && as_written(c, &p);
}
