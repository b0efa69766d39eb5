#include "peer/executor/journal_store.h"

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
#define JOURNAL_VERSION '2' /* 1 had neither deeds nor folders nor times, and is still read */
#define HEAD_BYTES      (sizeof(JOURNAL_MAGIC "2\n") - 1)
#define JOURNAL_MAX     (2 * 1024 * 1024)
#define NO_OWNER        ((uid_t)-1)

int journal_store_path(const struct journal *j, const char *name, char *out, size_t n)
{
    int used = snprintf(out, n, "%s/%s", j->dir, name);

    return used < 0 || (size_t)used >= n ? -1 : 0;
}

void journal_store_hash(const void *bytes, size_t n, uint8_t out[static JOURNAL_HASH_BYTES])
{
    crypto_generichash(out, JOURNAL_HASH_BYTES, bytes, n, NULL, 0);
}

static void put_time(struct pack_writer *w, const struct timespec *t)
{
    pack_put_int(w, t->tv_sec);
    pack_put_uint(w, (uint64_t)t->tv_nsec);
}

static void get_time(struct pack_reader *r, struct timespec *t)
{
    t->tv_sec = (time_t)pack_int(r, INT64_MIN, INT64_MAX);
    t->tv_nsec = (long)pack_uint(r, 999999999);
}

static void put_change(struct pack_writer *w, const struct journal_change *c)
{
    pack_put_array(w, 15);
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
    pack_put_uint(w, c->deed);
    pack_put_bool(w, c->dated);
    put_time(w, &c->mtime);
}

static void get_change(struct pack_reader *r, unsigned version, struct journal_change *c)
{
    uint32_t fields = version == 1 ? 11 : 15;

    pack_array(r, fields, fields);
    c->kind = (enum change_kind)pack_uint(r, version == 1 ? CHANGE_GUEST : CHANGE_DIR);
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
    if (version > 1) {
        c->deed = (enum journal_deed_kind)pack_uint(r, DEED_KIND_COUNT - 1);
        c->dated = pack_bool(r);
        get_time(r, &c->mtime);
    }
    if (c->kind < CHANGE_FILE || (c->kind == CHANGE_DEED ? !c->path[0] : c->path[0] != '/'))
        pack_fail(r, KPEER_EINVAL, "not a change that kpeer makes");
}

static void put_folders(struct pack_writer *w, const struct journal_content *c)
{
    pack_put_array(w, c->folder_count);
    for (size_t i = 0; i < c->folder_count; i++) {
        pack_put_array(w, 5);
        pack_put_str(w, c->folders[i].path);
        put_time(w, &c->folders[i].before);
        put_time(w, &c->folders[i].after);
    }
}

static void get_folders(struct pack_reader *r, struct journal_content *c)
{
    c->folder_count = pack_array(r, 0, JOURNAL_FOLDERS_MAX);
    for (size_t i = 0; i < c->folder_count; i++) {
        pack_array(r, 5, 5);
        pack_str(r, c->folders[i].path, sizeof(c->folders[i].path));
        get_time(r, &c->folders[i].before);
        get_time(r, &c->folders[i].after);
        if (c->folders[i].path[0] != '/')
            pack_fail(r, KPEER_EINVAL, "not a folder that kpeer changes");
    }
}

static void put_content(struct pack_writer *w, const struct journal_content *c)
{
    pack_put_array(w, 9);
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
    put_folders(w, c);
}

static void get_steps(struct pack_reader *r, struct journal_content *c)
{
    c->step_count = pack_array(r, 0, JOURNAL_STEPS_MAX);
    for (size_t i = 0; i < c->step_count; i++) {
        pack_array(r, 4, 4);
        c->steps[i].kind = (enum step_kind)pack_uint(r, STEP_KIND_COUNT - 1);
        c->steps[i].begun_s = pack_uint(r, UINT64_MAX);
        c->steps[i].ended_s = pack_uint(r, UINT64_MAX);
        c->steps[i].code = (int)pack_int(r, -64, 0);
    }
}

static void get_content(struct pack_reader *r, unsigned version, struct journal_content *c)
{
    uint32_t parts = version == 1 ? 8 : 9;

    pack_array(r, parts, parts);
    c->state.init_begun = pack_bool(r);
    c->state.init_done = pack_bool(r);
    c->state.join_begun = pack_bool(r);
    c->state.join_done = pack_bool(r);
    pack_str(r, c->state.cluster_id, sizeof(c->state.cluster_id));
    c->state.unfinished = (enum step_kind)pack_uint(r, STEP_KIND_COUNT - 1);
    c->state.changes = pack_array(r, 0, JOURNAL_CHANGES_MAX);
    /* Room for what there is: to clear a whole table costs more than all of the reading. */
    c->changes = calloc(c->state.changes + 1, sizeof(*c->changes));
    if (!c->changes) {
        pack_fail(r, KPEER_ENOMEM, "out of memory");
        return;
    }
    for (size_t i = 0; i < c->state.changes; i++)
        get_change(r, version, &c->changes[i]);
    get_steps(r, c);
    if (version > 1)
        get_folders(r, c);
}

/* The head says what the file is and of which version, a checksum that it is whole. */
static int check_head(const char *path, const uint8_t *bytes, size_t n, unsigned *version, struct err *err)
{
    size_t magic = sizeof(JOURNAL_MAGIC) - 1;
    uint8_t sum[JOURNAL_HASH_BYTES];

    if (n < magic || memcmp(bytes, JOURNAL_MAGIC, magic) != 0)
        return err_set(err, KPEER_EINVAL, "%s is not a journal of kpeer", path);
    if (n < HEAD_BYTES || bytes[magic] < '1' || bytes[magic] > JOURNAL_VERSION || bytes[magic + 1] != '\n')
        return err_set(err, KPEER_EVERSION, "%s was written by another version of kpeer", path);
    if (n < HEAD_BYTES + JOURNAL_HASH_BYTES)
        return err_set(err, KPEER_EINVAL, "%s is cut short", path);
    journal_store_hash(bytes + HEAD_BYTES + JOURNAL_HASH_BYTES, n - HEAD_BYTES - JOURNAL_HASH_BYTES, sum);
    if (sodium_memcmp(sum, bytes + HEAD_BYTES, JOURNAL_HASH_BYTES) != 0)
        return err_set(err, KPEER_EINVAL, "%s is damaged", path);
    *version = bytes[magic] - '0';
    return 0;
}

static void content_adopt(struct journal_content *to, const struct journal_content *from)
{
    struct journal_change *changes = to->changes;

    memcpy(changes, from->changes, from->state.changes * sizeof(*changes));
    *to = *from;
    to->changes = changes;
}

static int load(struct journal *j, const char *path, const uint8_t *bytes, size_t n, struct err *err)
{
    struct journal_content fresh = {.changes = NULL};
    struct pack_reader r;
    unsigned version = 0;
    int code = check_head(path, bytes, n, &version, err);

    if (code == 0)
        code = pack_open(&r, bytes + HEAD_BYTES + JOURNAL_HASH_BYTES, n - HEAD_BYTES - JOURNAL_HASH_BYTES, 4,
                         err);
    if (code == 0) {
        get_content(&r, version, &fresh);
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
    if (journal_store_path(j, "journal", path, sizeof(path)))
        return err_set(err, KPEER_ELIMIT, "the path %s is too long", j->dir);
    code = file_read(path, JOURNAL_MAX, &bytes, &n, err);
    if (code == KPEER_ENOTFOUND)
        return 0; /* nothing was ever done here */
    if (code == 0)
        code = load(j, path, (const uint8_t *)bytes, n, err);
    if (code)
        err_hint(err, "restore it from a copy, or move it away: kpeer then goes on by itself, but leave no "
                      "longer knows what to put back here");
    return code;
}

int journal_store_save(struct journal *j, struct err *err)
{
    const struct file_look look = {.mode = 0600, .uid = NO_OWNER, .gid = NO_OWNER};
    char path[PATH_MAX];
    cleanup_free uint8_t *body = NULL;
    cleanup_free uint8_t *file = NULL;
    struct pack_writer w;
    size_t n;
    int code;

    if (!j->dir[0])
        return 0;
    pack_writer_init(&w, JOURNAL_MAX - HEAD_BYTES - JOURNAL_HASH_BYTES);
    put_content(&w, &j->c);
    code = pack_writer_take(&w, &body, &n, err);
    pack_writer_fini(&w);
    if (code)
        return err_wrap(err, "journal");
    file = malloc(HEAD_BYTES + JOURNAL_HASH_BYTES + n);
    if (!file || journal_store_path(j, "journal", path, sizeof(path)))
        return err_set(err, KPEER_ENOMEM, "out of memory for the journal");
    memcpy(file, JOURNAL_MAGIC, sizeof(JOURNAL_MAGIC) - 1);
    file[HEAD_BYTES - 2] = JOURNAL_VERSION;
    file[HEAD_BYTES - 1] = '\n';
    journal_store_hash(body, n, file + HEAD_BYTES);
    memcpy(file + HEAD_BYTES + JOURNAL_HASH_BYTES, body, n);
    return file_write(path, file, HEAD_BYTES + JOURNAL_HASH_BYTES + n, &look, err);
}

int journal_store_enter(struct journal *j, struct err *err)
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

void journal_store_leave(struct journal *j)
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
    journal_store_path(j, "kept", path, sizeof(path));
    code = file_make_dirs(path, 0700, err);
    if (code)
        return code;
    journal_store_path(j, "lock", path, sizeof(path));
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
    j->c.changes = calloc(JOURNAL_CHANGES_MAX, sizeof(struct journal_change));
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

static void remember(struct journal_content *c, enum step_kind kind)
{
    struct timespec t;

    if (c->step_count == JOURNAL_STEPS_MAX) {
        memmove(c->steps, c->steps + 1, sizeof(c->steps[0]) * (JOURNAL_STEPS_MAX - 1));
        c->step_count--;
    }
    clock_gettime(CLOCK_REALTIME, &t);
    c->steps[c->step_count++] = (struct journal_step){.kind = kind, .begun_s = (uint64_t)t.tv_sec};
}

int journal_begin(struct journal *j, enum step_kind kind, const char *cluster_id, struct err *err)
{
    struct journal_state *s = &j->c.state;
    int code = journal_store_enter(j, err);

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
    code = code ? code : journal_store_save(j, err);
    journal_store_leave(j);
    return code;
}

int journal_end(struct journal *j, enum step_kind kind, int step_code, struct err *err)
{
    struct journal_state *s = &j->c.state;
    struct timespec t;
    int code = journal_store_enter(j, err);

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
    code = journal_store_save(j, err);
    journal_store_leave(j);
    return code;
}
