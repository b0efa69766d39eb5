#include "peer/executor/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "peer/executor/file.h"
#include "protocol/mem.h"
#include "protocol/pack.h"

#define JOURNAL_MAGIC   "kpeer-journal "
#define JOURNAL_VERSION "1\n"
#define HEAD_BYTES      (sizeof(JOURNAL_MAGIC JOURNAL_VERSION) - 1)
#define HASH_BYTES      32
#define PATH_BYTES      512
#define VALUE_BYTES     128
#define JOURNAL_MAX     (1024 * 1024)
#define NO_OWNER        ((uid_t)-1)

enum change_kind { CHANGE_FILE = 1, CHANGE_SYSCTL = 2 };

struct change {
    enum change_kind kind;
    char path[PATH_BYTES];
    bool had; /* something was there */
    uint32_t mode, uid, gid;
    bool removed;            /* what is there now is nothing */
    uint8_t now[HASH_BYTES]; /* of what kpeer puts there */
    uint8_t
        before[HASH_BYTES]; /* of what kpeer had put there before, as a crash may have left that; else zero */
    char old_value[VALUE_BYTES]; /* CHANGE_SYSCTL */
    char new_value[VALUE_BYTES];
};

struct past_step {
    enum step_kind kind;
    uint64_t begun_s, ended_s; /* CLOCK_REALTIME, to be shown only; 0: not ended */
    int code;
};

/* What the file holds. */
struct content {
    struct journal_state state;
    struct change *changes; /* JOURNAL_CHANGES_MAX of them */
    struct past_step steps[JOURNAL_STEPS_MAX];
    size_t step_count;
};

struct journal {
    char dir[PATH_BYTES]; /* empty: in memory alone */
    int lock_fd;
    struct content c;
};

static int journal_path(const struct journal *j, const char *name, char *out, size_t n)
{
    int used = snprintf(out, n, "%s/%s", j->dir, name);

    return used < 0 || (size_t)used >= n ? -1 : 0;
}

static void hash_of(const void *bytes, size_t n, uint8_t out[static HASH_BYTES])
{
    crypto_generichash(out, HASH_BYTES, bytes, n, NULL, 0);
}

static void put_change(struct pack_writer *w, const struct change *c)
{
    pack_put_array(w, 11);
    pack_put_uint(w, c->kind);
    pack_put_str(w, c->path);
    pack_put_bool(w, c->had);
    pack_put_uint(w, c->mode);
    pack_put_uint(w, c->uid);
    pack_put_uint(w, c->gid);
    pack_put_bool(w, c->removed);
    pack_put_bin(w, c->now, sizeof(c->now));
    pack_put_bin(w, c->before, sizeof(c->before));
    pack_put_str(w, c->old_value);
    pack_put_str(w, c->new_value);
}

static void get_change(struct pack_reader *r, struct change *c)
{
    pack_array(r, 11, 11);
    c->kind = (enum change_kind)pack_uint(r, CHANGE_SYSCTL);
    pack_str(r, c->path, sizeof(c->path));
    c->had = pack_bool(r);
    c->mode = (uint32_t)pack_uint(r, 07777);
    c->uid = (uint32_t)pack_uint(r, UINT32_MAX);
    c->gid = (uint32_t)pack_uint(r, UINT32_MAX);
    c->removed = pack_bool(r);
    pack_bin_copy(r, c->now, sizeof(c->now));
    pack_bin_copy(r, c->before, sizeof(c->before));
    pack_str(r, c->old_value, sizeof(c->old_value));
    pack_str(r, c->new_value, sizeof(c->new_value));
    if (c->kind < CHANGE_FILE || c->path[0] != '/')
        pack_fail(r, KPEER_EINVAL, "not a change that kpeer makes");
}

static void put_content(struct pack_writer *w, const struct content *c)
{
    pack_put_array(w, 8);
    pack_put_bool(w, c->state.init_begun);
    pack_put_bool(w, c->state.init_done);
    pack_put_bool(w, c->state.join_begun);
    pack_put_bool(w, c->state.join_done);
    pack_put_str(w, c->state.cluster_id);
    pack_put_uint(w, (uint64_t)c->state.unfinished);
    pack_put_array(w, c->state.changes);
    for (size_t i = 0; i < c->state.changes; i++)
        put_change(w, &c->changes[i]);
    pack_put_array(w, c->step_count);
    for (size_t i = 0; i < c->step_count; i++) {
        pack_put_array(w, 4);
        pack_put_uint(w, (uint64_t)c->steps[i].kind);
        pack_put_uint(w, c->steps[i].begun_s);
        pack_put_uint(w, c->steps[i].ended_s);
        pack_put_int(w, c->steps[i].code);
    }
}

static void get_content(struct pack_reader *r, struct content *c)
{
    pack_array(r, 8, 8);
    c->state.init_begun = pack_bool(r);
    c->state.init_done = pack_bool(r);
    c->state.join_begun = pack_bool(r);
    c->state.join_done = pack_bool(r);
    pack_str(r, c->state.cluster_id, sizeof(c->state.cluster_id));
    c->state.unfinished = (enum step_kind)pack_uint(r, STEP_KIND_COUNT - 1);
    c->state.changes = pack_array(r, 0, JOURNAL_CHANGES_MAX);
    for (size_t i = 0; i < c->state.changes; i++)
        get_change(r, &c->changes[i]);
    c->step_count = pack_array(r, 0, JOURNAL_STEPS_MAX);
    for (size_t i = 0; i < c->step_count; i++) {
        pack_array(r, 4, 4);
        c->steps[i].kind = (enum step_kind)pack_uint(r, STEP_KIND_COUNT - 1);
        c->steps[i].begun_s = pack_uint(r, UINT64_MAX);
        c->steps[i].ended_s = pack_uint(r, UINT64_MAX);
        c->steps[i].code = (int)pack_int(r, -64, 0);
    }
}

/* The head says what the file is and of which version, a checksum that it is whole. */
static int check_head(const char *path, const uint8_t *bytes, size_t n, struct err *err)
{
    size_t magic = sizeof(JOURNAL_MAGIC) - 1;
    uint8_t sum[HASH_BYTES];

    if (n < magic || memcmp(bytes, JOURNAL_MAGIC, magic) != 0)
        return err_set(err, KPEER_EINVAL, "%s is not a journal of kpeer", path);
    if (n < HEAD_BYTES || memcmp(bytes + magic, JOURNAL_VERSION, sizeof(JOURNAL_VERSION) - 1) != 0)
        return err_set(err, KPEER_EVERSION, "%s was written by another version of kpeer", path);
    if (n < HEAD_BYTES + HASH_BYTES)
        return err_set(err, KPEER_EINVAL, "%s is cut short", path);
    hash_of(bytes + HEAD_BYTES + HASH_BYTES, n - HEAD_BYTES - HASH_BYTES, sum);
    if (sodium_memcmp(sum, bytes + HEAD_BYTES, HASH_BYTES) != 0)
        return err_set(err, KPEER_EINVAL, "%s is damaged", path);
    return 0;
}

static void content_adopt(struct content *to, const struct content *from)
{
    struct change *changes = to->changes;

    memcpy(changes, from->changes, JOURNAL_CHANGES_MAX * sizeof(*changes));
    *to = *from;
    to->changes = changes;
}

static int load(struct journal *j, const char *path, const uint8_t *bytes, size_t n, struct err *err)
{
    struct content fresh = {.changes = calloc(JOURNAL_CHANGES_MAX, sizeof(struct change))};
    struct pack_reader r;
    int code = check_head(path, bytes, n, err);

    if (!fresh.changes)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    if (code == 0)
        code = pack_open(&r, bytes + HEAD_BYTES + HASH_BYTES, n - HEAD_BYTES - HASH_BYTES, 4, err);
    if (code == 0) {
        get_content(&r, &fresh);
        code = pack_close(&r, err);
    }
    if (code == 0)
        content_adopt(&j->c, &fresh);
    free(fresh.changes);
    return code;
}

int journal_refresh(struct journal *j, struct err *err)
{
    char path[PATH_MAX];
    cleanup_free char *bytes = NULL;
    size_t n;
    int code;

    if (!j->dir[0])
        return 0;
    if (journal_path(j, "journal", path, sizeof(path)))
        return err_set(err, KPEER_ELIMIT, "the path %s is too long", j->dir);
    code = file_read(path, JOURNAL_MAX, &bytes, &n, err);
    if (code == KPEER_ENOTFOUND)
        return 0; /* nothing was ever done here */
    if (code == 0)
        code = load(j, path, (const uint8_t *)bytes, n, err);
    if (code)
        err_hint(err, "look at the file; with it moved away kpeer no longer knows what it changed here");
    return code;
}

static int save(struct journal *j, struct err *err)
{
    char path[PATH_MAX];
    cleanup_free uint8_t *body = NULL;
    cleanup_free uint8_t *file = NULL;
    struct pack_writer w;
    size_t n;
    int code;

    if (!j->dir[0])
        return 0;
    pack_writer_init(&w, JOURNAL_MAX - HEAD_BYTES - HASH_BYTES);
    put_content(&w, &j->c);
    code = pack_writer_take(&w, &body, &n, err);
    pack_writer_fini(&w);
    if (code)
        return err_wrap(err, "journal");
    file = malloc(HEAD_BYTES + HASH_BYTES + n);
    if (!file || journal_path(j, "journal", path, sizeof(path)))
        return err_set(err, KPEER_ENOMEM, "out of memory for the journal");
    memcpy(file, JOURNAL_MAGIC JOURNAL_VERSION, HEAD_BYTES);
    hash_of(body, n, file + HEAD_BYTES);
    memcpy(file + HEAD_BYTES + HASH_BYTES, body, n);
    return file_put(path, file, HEAD_BYTES + HASH_BYTES + n, 0600, NO_OWNER, NO_OWNER, err);
}

/* Takes the lock and reads what others wrote; `leave` is due after success. */
static int enter(struct journal *j, struct err *err)
{
    int code;

    if (!j->dir[0])
        return 0;
    while (flock(j->lock_fd, LOCK_EX)) {
        if (errno != EINTR)
            return err_errno(err, errno, "cannot lock the journal in %s", j->dir);
    }
    code = journal_refresh(j, err);
    if (code)
        flock(j->lock_fd, LOCK_UN);
    return code;
}

static void leave(struct journal *j)
{
    if (j->dir[0])
        flock(j->lock_fd, LOCK_UN);
}

/* Others who could write in the folder could have us put back what they like. */
static int check_folder(const char *dir, struct err *err)
{
    struct stat st;

    if (lstat(dir, &st))
        return err_errno(err, errno, "cannot look at %s", dir);
    if (!S_ISDIR(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0) ||
        (st.st_mode & 022 && !(st.st_mode & S_ISVTX))) {
        err_set(err, KPEER_EREFUSED, "%s is not a folder in which this user alone can write", dir);
        err_hint(err, "chown it to root and take the write permission from group and others");
        return KPEER_EREFUSED;
    }
    return 0;
}

static int open_folder(struct journal *j, const char *dir, struct err *err)
{
    char path[PATH_MAX];
    char *slash;
    int code;

    if (dir[0] != '/' || mem_copy_text(j->dir, sizeof(j->dir), dir))
        return err_set(err, KPEER_EINVAL, "%s is not an absolute path of usable length", dir);
    if (mem_copy_text(path, sizeof(path), dir))
        return err_set(err, KPEER_ELIMIT, "the path %s is too long", dir);
    code = file_make_dirs(dir, 0700, err);
    slash = strrchr(path, '/');
    slash[slash == path] = 0;
    code = code ? code : check_folder(path, err);
    code = code ? code : check_folder(dir, err);
    if (code)
        return code;
    journal_path(j, "kept", path, sizeof(path));
    code = file_make_dirs(path, 0700, err);
    if (code)
        return code;
    journal_path(j, "lock", path, sizeof(path));
    j->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (j->lock_fd < 0)
        return err_errno(err, errno, "cannot open %s", path);
    return 0;
}

int journal_open(const char *dir, struct journal **out, struct err *err)
{
    struct journal *j = calloc(1, sizeof(*j));
    int code = 0;

    if (!j)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    j->lock_fd = -1;
    j->c.changes = calloc(JOURNAL_CHANGES_MAX, sizeof(struct change));
    if (!j->c.changes)
        code = err_set(err, KPEER_ENOMEM, "out of memory");
    else if (dir)
        code = open_folder(j, dir, err);
    if (code == 0)
        code = journal_refresh(j, err);
    if (code) {
        journal_close(j);
        return code;
    }
    *out = j;
    return 0;
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    if (j->lock_fd >= 0)
        close(j->lock_fd);
    free(j->c.changes);
    free(j);
}

const struct journal_state *journal_state(const struct journal *j)
{
    return &j->c.state;
}

static void remember(struct content *c, enum step_kind kind)
{
    struct timespec t;

    if (c->step_count == JOURNAL_STEPS_MAX) {
        memmove(c->steps, c->steps + 1, sizeof(c->steps[0]) * (JOURNAL_STEPS_MAX - 1));
        c->step_count--;
    }
    clock_gettime(CLOCK_REALTIME, &t);
    c->steps[c->step_count++] = (struct past_step){.kind = kind, .begun_s = (uint64_t)t.tv_sec};
}

int journal_begin(struct journal *j, enum step_kind kind, const char *cluster_id, struct err *err)
{
    struct journal_state *s = &j->c.state;
    int code = enter(j, err);

    if (code)
        return code;
    if (kind == STEP_INIT)
        s->init_begun = true;
    if (kind == STEP_JOIN)
        s->join_begun = true;
    if (cluster_id && *cluster_id && mem_copy_text(s->cluster_id, sizeof(s->cluster_id), cluster_id))
        code = err_set(err, KPEER_EINVAL, "a cluster id of wrong length");
    s->unfinished = kind;
    remember(&j->c, kind);
    code = code ? code : save(j, err);
    leave(j);
    return code;
}

int journal_end(struct journal *j, enum step_kind kind, int step_code, struct err *err)
{
    struct journal_state *s = &j->c.state;
    struct timespec t;
    int code = enter(j, err);

    if (code)
        return code;
    clock_gettime(CLOCK_REALTIME, &t);
    for (size_t i = j->c.step_count; i-- > 0;) {
        if (j->c.steps[i].kind != kind || j->c.steps[i].ended_s)
            continue;
        j->c.steps[i].ended_s = (uint64_t)t.tv_sec;
        j->c.steps[i].code = step_code;
        break;
    }
    if (kind == STEP_INIT && step_code == 0)
        s->init_done = true;
    if (kind == STEP_JOIN && step_code == 0)
        s->join_done = true;
    if (kind == STEP_RESET && step_code == 0) {
        s->init_begun = s->init_done = s->join_begun = s->join_done = false;
        memset(s->cluster_id, 0, sizeof(s->cluster_id));
    }
    if (s->unfinished == kind)
        s->unfinished = STEP_NONE;
    code = save(j, err);
    leave(j);
    return code;
}

static struct change *find_change(const struct journal *j, enum change_kind kind, const char *path)
{
    for (size_t i = 0; i < j->c.state.changes; i++) {
        if (j->c.changes[i].kind == kind && strcmp(j->c.changes[i].path, path) == 0)
            return &j->c.changes[i];
    }
    return NULL;
}

static void forget(struct journal *j, struct change *c)
{
    size_t at = (size_t)(c - j->c.changes);

    memmove(c, c + 1, (j->c.state.changes - at - 1) * sizeof(*c));
    j->c.state.changes--;
}

/* The change noted for `path`, or a new one at the end. */
static int note(struct journal *j, enum change_kind kind, const char *path, struct change **out,
                struct err *err)
{
    struct change *c = find_change(j, kind, path);

    if (!j->dir[0])
        return err_set(err, KPEER_ESTATE, "nothing is changed in a rehearsal");
    if (path[0] != '/' || strlen(path) >= PATH_BYTES)
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
    uint8_t hash[HASH_BYTES];
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
    hash_of(p->bytes, p->n, p->hash);
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
static bool as_written(const struct change *c, const struct present *p)
{
    if (!p->there)
        return c->removed;
    return (!c->removed && memcmp(p->hash, c->now, HASH_BYTES) == 0) ||
           memcmp(p->hash, c->before, HASH_BYTES) == 0;
}

/* Copies of replaced files are named after the path's hash. */
static int kept_path(const struct journal *j, const char *path, char *out, size_t n, struct err *err)
{
    uint8_t hash[HASH_BYTES];
    char hex[33], name[64];

    hash_of(path, strlen(path), hash);
    mem_hex(hex, hash, 16);
    snprintf(name, sizeof(name), "kept/%s", hex);
    if (journal_path(j, name, out, n))
        return err_set(err, KPEER_ELIMIT, "the path %s is too long", j->dir);
    return 0;
}

/* Notes what is there, with a copy, as that to put back. */
static int keep_present(struct journal *j, struct change *c, const struct present *p, struct err *err)
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
    struct change *c;
    int code = note(j, CHANGE_FILE, path, &c, err);

    if (code)
        return code;
    if (!known || !as_written(c, p))
        code = keep_present(j, c, p, err);
    else if (p->there)
        memcpy(c->before, p->hash, HASH_BYTES);
    if (code) {
        if (!known)
            forget(j, c);
        return code;
    }
    c->removed = hash == NULL;
    memset(c->now, 0, sizeof(c->now));
    if (hash)
        memcpy(c->now, hash, HASH_BYTES);
    return save(j, err);
}

int journal_replace_file(struct journal *j, const char *path, const void *bytes, size_t n, mode_t mode,
                         struct err *err)
{
    cleanup_present struct present p = {0};
    uint8_t hash[HASH_BYTES];
    int code = enter(j, err);

    if (code)
        return code;
    hash_of(bytes, n, hash);
    if (n > JOURNAL_FILE_MAX)
        code = err_set(err, KPEER_ELIMIT, "%s would be larger than %d bytes", path, JOURNAL_FILE_MAX);
    code = code ? code : look(path, &p, err);
    if (code == 0 && !(p.there && memcmp(p.hash, hash, HASH_BYTES) == 0 && (p.st.st_mode & 07777) == mode)) {
        code = announce(j, path, &p, hash, err);
        code = code ? code : file_make_parents(path, err);
        code = code ? code : file_put(path, bytes, n, mode, NO_OWNER, NO_OWNER, err);
    }
    leave(j);
    return code;
}

int journal_remove_file(struct journal *j, const char *path, struct err *err)
{
    cleanup_present struct present p = {0};
    int code = enter(j, err);

    if (code)
        return code;
    code = look(path, &p, err);
    if (code == 0 && p.there) {
        code = announce(j, path, &p, NULL, err);
        code = code ? code : file_remove(path, err);
    }
    leave(j);
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
    char old[VALUE_BYTES];
    struct change *c;
    bool known;
    int code = enter(j, err);

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
            code = code ? err_set(err, code, "the value for %s is too long", path) : save(j, err);
        }
        code = code ? code : sysctl_write(path, value, err);
    }
    leave(j);
    return code;
}

enum undone { UNDO_BACK, UNDO_LEFT, UNDO_SAME };

/* Whether what is there is already what had been there: nothing was changed, or it was put back before a
 * crash. */
static bool as_found(const struct change *c, const struct present *p, const char *kept, size_t kept_bytes)
{
    if (!p->there || !c->had)
        return p->there == c->had;
    return p->n == kept_bytes && memcmp(p->bytes, kept, kept_bytes) == 0;
}

static int undo_file(const struct journal *j, const struct change *c, enum undone *how, struct err *err)
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

static int undo_sysctl(const struct change *c, enum undone *how, struct err *err)
{
    char now[VALUE_BYTES];
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

static int undo_one(struct journal *j, struct change *c, enum undone *how, struct err *err)
{
    char path[PATH_MAX];
    int code = c->kind == CHANGE_FILE ? undo_file(j, c, how, err) : undo_sysctl(c, how, err);

    if (code)
        return code;
    code = kept_path(j, c->path, path, sizeof(path), err);
    forget(j, c);
    code = code ? code : save(j, err);
    return code ? code : file_remove(path, err);
}

int journal_undo(struct journal *j, void (*done)(void *ctx, const char *path),
                 void (*left)(void *ctx, const char *path), void *ctx, struct err *err)
{
    int first = enter(j, err);

    if (first)
        return first;
    for (size_t i = j->c.state.changes; i-- > 0;) {
        char path[PATH_BYTES];
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
    leave(j);
    return first;
}

bool journal_owns(const struct journal *j, const char *path)
{
    const struct change *c = find_change(j, CHANGE_FILE, path);
    cleanup_present struct present p = {0};

    return c && look(path, &p, NULL) == 0 && p.there && as_written(c, &p);
}
