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

struct journal_change *journal_change_find(const struct journal *j, enum change_kind kind, const char *path)
{
    for (size_t i = 0; i < j->c.state.changes; i++) {
        if (j->c.changes[i].kind == kind && strcmp(j->c.changes[i].path, path) == 0)
            return &j->c.changes[i];
    }
    return NULL;
}

void journal_change_forget(struct journal *j, struct journal_change *c)
{
    size_t at = (size_t)(c - j->c.changes);

    memmove(c, c + 1, (j->c.state.changes - at - 1) * sizeof(*c));
    j->c.state.changes--;
}

static int check_path(const struct journal *j, const char *path, struct err *err)
{
    if (!j->dir[0])
        return err_set(err, KPEER_ESTATE, "nothing is changed in a rehearsal");
    if (path[0] != '/' || strlen(path) >= JOURNAL_PATH_BYTES)
        return err_set(err, KPEER_EINVAL, "%s is not an absolute path of usable length", path);
    return 0;
}

/* The change noted for `path`, or a new one at the end. */
static int note(struct journal *j, enum change_kind kind, const char *path, struct journal_change **out,
                struct err *err)
{
    struct journal_change *c = journal_change_find(j, kind, path);
    int code = check_path(j, path, err);

    if (code)
        return code;
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

int journal_present_read(const char *path, struct journal_present *p, struct err *err)
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

void journal_present_fini(struct journal_present *p)
{
    if (p->bytes)
        sodium_memzero(p->bytes, p->n);
    free(p->bytes);
}

bool journal_change_as_written(const struct journal_change *c, const struct journal_present *p)
{
    if (!p->there)
        return c->removed;
    return (!c->removed && memcmp(p->hash, c->now, JOURNAL_HASH_BYTES) == 0) ||
           memcmp(p->hash, c->before, JOURNAL_HASH_BYTES) == 0;
}

/* Copies of replaced files are named after the path's hash. */
int journal_kept_path(const struct journal *j, const char *path, char *out, size_t n, struct err *err)
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
static int keep_present(struct journal *j, struct journal_change *c, const struct journal_present *p,
                        struct err *err)
{
    const struct file_look look = {.mode = 0600, .uid = NO_OWNER, .gid = NO_OWNER};
    char path[PATH_MAX];
    int code = journal_kept_path(j, c->path, path, sizeof(path), err);

    if (code)
        return code;
    c->had = p->there;
    c->mode = p->there ? p->st.st_mode & 07777 : 0;
    c->uid = p->there ? p->st.st_uid : 0;
    c->gid = p->there ? p->st.st_gid : 0;
    c->dated = p->there;
    c->mtime = p->there ? p->st.st_mtim : (struct timespec){0};
    memset(c->before, 0, sizeof(c->before));
    return p->there ? file_write(path, p->bytes, p->n, &look, err) : 0;
}

/* Notes durably that `path` is about to hold what hashes to `hash`, or nothing where that is NULL. */
static int announce(struct journal *j, const char *path, const struct journal_present *p, const uint8_t *hash,
                    struct err *err)
{
    bool known = journal_change_find(j, CHANGE_FILE, path) != NULL;
    struct journal_change *c;
    int code = note(j, CHANGE_FILE, path, &c, err);

    if (code)
        return code;
    if (!known || !journal_change_as_written(c, p))
        code = keep_present(j, c, p, err);
    else if (p->there)
        memcpy(c->before, p->hash, JOURNAL_HASH_BYTES);
    if (code) {
        if (!known)
            journal_change_forget(j, c);
        return code;
    }
    c->removed = hash == NULL;
    memset(c->now, 0, sizeof(c->now));
    if (hash)
        memcpy(c->now, hash, JOURNAL_HASH_BYTES);
    journal_folder_begin(j, path);
    return journal_store_save(j, err);
}

/* With its mode from the start, as a crash may come before any chmod. */
static int mkdir_exactly(const char *path, mode_t mode)
{
    mode_t mask = umask(0);
    int failed = mkdir(path, mode);
    int why = errno;

    umask(mask);
    errno = why;
    return failed;
}

static int make_dir(struct journal *j, const char *path, mode_t mode, struct err *err)
{
    struct journal_change *c;
    struct stat st;
    int code;

    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) ? 0 : err_set(err, KPEER_EREFUSED, "%s is not a folder", path);
    if (errno != ENOENT)
        return err_errno(err, errno, "cannot look at %s", path);
    code = note(j, CHANGE_DIR, path, &c, err);
    if (code)
        return code;
    journal_folder_begin(j, path);
    code = journal_store_save(j, err);
    if (code)
        return code;
    if (mkdir_exactly(path, mode) && errno != EEXIST)
        return err_errno(err, errno, "cannot make the folder %s", path);
    code = file_sync_folder(path, err);
    journal_folder_end(j, path);
    return code;
}

static int make_parents(struct journal *j, const char *path, struct err *err)
{
    char part[PATH_MAX];
    int code = 0;

    if (mem_copy_text(part, sizeof(part), path))
        return err_set(err, KPEER_ELIMIT, "the path %s is too long", path);
    for (char *at = strchr(part + 1, '/'); at && code == 0; at = strchr(at + 1, '/')) {
        *at = 0;
        code = make_dir(j, part, 0755, err);
        *at = '/';
    }
    return code;
}

int journal_make_dir(struct journal *j, const char *path, mode_t mode, struct err *err)
{
    int code = journal_store_enter(j, err);

    if (code)
        return code;
    if (path[0] != '/')
        code = err_set(err, KPEER_EINVAL, "%s is not an absolute path of usable length", path);
    code = code ? code : make_parents(j, path, err);
    code = code ? code : make_dir(j, path, mode, err);
    journal_store_leave(j);
    return code;
}

int journal_replace_file(struct journal *j, const char *path, const void *bytes, size_t n, mode_t mode,
                         struct err *err)
{
    const struct file_look look = {.mode = mode, .uid = NO_OWNER, .gid = NO_OWNER};
    cleanup_present struct journal_present p = {0};
    uint8_t hash[JOURNAL_HASH_BYTES];
    int code = journal_store_enter(j, err);

    if (code)
        return code;
    journal_store_hash(bytes, n, hash);
    if (n > JOURNAL_FILE_MAX)
        code = err_set(err, KPEER_ELIMIT, "%s would be larger than %d bytes", path, JOURNAL_FILE_MAX);
    code = code ? code : journal_present_read(path, &p, err);
    if (code == 0 &&
        !(p.there && memcmp(p.hash, hash, JOURNAL_HASH_BYTES) == 0 && (p.st.st_mode & 07777) == mode)) {
        code = check_path(j, path, err);
        code = code ? code : make_parents(j, path, err);
        code = code ? code : announce(j, path, &p, hash, err);
        code = code ? code : file_write(path, bytes, n, &look, err);
        journal_folder_end(j, path);
    }
    journal_store_leave(j);
    return code;
}

int journal_remove_file(struct journal *j, const char *path, struct err *err)
{
    cleanup_present struct journal_present p = {0};
    int code = journal_store_enter(j, err);

    if (code)
        return code;
    code = journal_present_read(path, &p, err);
    if (code == 0 && p.there) {
        code = announce(j, path, &p, NULL, err);
        code = code ? code : file_remove(path, err);
        journal_folder_end(j, path);
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
    if (lstat(path, &st) == 0 || journal_change_find(j, CHANGE_GUEST, path)) {
        journal_store_leave(j);
        return 0;
    }
    code = note(j, CHANGE_GUEST, path, &c, err);
    code = code ? code : journal_store_save(j, err);
    journal_store_leave(j);
    return code;
}

int journal_sysctl_read(const char *path, char *value, size_t n, struct err *err)
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
int journal_sysctl_write(const char *path, const char *value, struct err *err)
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
    known = journal_change_find(j, CHANGE_SYSCTL, path) != NULL;
    code = journal_sysctl_read(path, old, sizeof(old), err);
    if (code == 0 && strcmp(old, value) != 0) {
        code = note(j, CHANGE_SYSCTL, path, &c, err);
        if (code == 0) {
            if (!known || strcmp(c->new_value, old) != 0)
                memcpy(c->old_value, old, sizeof(old));
            code = mem_copy_text(c->new_value, sizeof(c->new_value), value) ? KPEER_ELIMIT : 0;
            code =
                code ? err_set(err, code, "the value for %s is too long", path) : journal_store_save(j, err);
        }
        code = code ? code : journal_sysctl_write(path, value, err);
    }
    journal_store_leave(j);
    return code;
}

static struct journal_change *find_deed(const struct journal *j, enum journal_deed_kind kind,
                                        const char *name)
{
    for (size_t i = 0; i < j->c.state.changes; i++) {
        struct journal_change *c = &j->c.changes[i];

        if (c->kind == CHANGE_DEED && c->deed == kind && strcmp(c->path, name) == 0)
            return c;
    }
    return NULL;
}

/* The deed that is noted already, or a new one at the end. */
static int note_deed(struct journal *j, const struct journal_deed *d, struct journal_change **out,
                     struct err *err)
{
    struct journal_change *c = find_deed(j, d->kind, d->name);

    if (!j->dir[0])
        return err_set(err, KPEER_ESTATE, "nothing is changed in a rehearsal");
    if ((unsigned)d->kind >= DEED_KIND_COUNT || !d->name[0])
        return err_set(err, KPEER_EINVAL, "a deed without a kind or a name");
    if (!c && j->c.state.changes == JOURNAL_CHANGES_MAX)
        return err_set(err, KPEER_ELIMIT, "the journal holds %d changes already", JOURNAL_CHANGES_MAX);
    if (!c) {
        c = &j->c.changes[j->c.state.changes++];
        *c = (struct journal_change){.kind = CHANGE_DEED, .deed = d->kind};
        memcpy(c->path, d->name, sizeof(d->name));
        memcpy(c->old_value, d->before, sizeof(d->before));
    }
    *out = c;
    return 0;
}

int journal_note_deed(struct journal *j, const struct journal_deed *d, struct err *err)
{
    struct journal_change *c = NULL;
    int code = journal_store_enter(j, err);

    if (code)
        return code;
    code = note_deed(j, d, &c, err);
    if (code == 0) {
        memcpy(c->new_value, d->after, sizeof(d->after));
        code = journal_store_save(j, err);
    }
    journal_store_leave(j);
    return code;
}

bool journal_find_deed(const struct journal *j, enum journal_deed_kind kind, const char *name,
                       struct journal_deed *out)
{
    const struct journal_change *c = find_deed(j, kind, name);

    if (c && out) {
        out->kind = kind;
        memcpy(out->name, c->path, sizeof(out->name));
        memcpy(out->before, c->old_value, sizeof(out->before));
        memcpy(out->after, c->new_value, sizeof(out->after));
    }
    return c != NULL;
}

bool journal_owns(const struct journal *j, const char *path)
{
    const struct journal_change *c = journal_change_find(j, CHANGE_FILE, path);
    cleanup_present struct journal_present p = {0};

    return c && journal_present_read(path, &p, NULL) == 0 && p.there && journal_change_as_written(c, &p);
}
