/* Putting back what the journal holds, the latest change first. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "peer/executor/file.h"
#include "peer/executor/journal_store.h"
#include "protocol/mem.h"

static const char *const deed_words[DEED_KIND_COUNT] = {
    [DEED_UNIT] = "unit",     [DEED_HOLD] = "hold of", [DEED_PACKAGE] = "package",
    [DEED_MODULE] = "module", [DEED_SWAP] = "swap",    [DEED_HOSTNAME] = "host name,",
    [DEED_RULE] = "rule",
};

/* What undoing is told to, and told by. */
struct undo {
    struct journal *j;
    journal_undoer *const *undoers;
    void *ctx;
};

static bool looks_as_found(const struct journal_change *c, const struct journal_present *p)
{
    return (p->st.st_mode & 07777) == c->mode &&
           (geteuid() != 0 || (p->st.st_uid == c->uid && p->st.st_gid == c->gid));
}

/* What is there is already what had been there where nothing was changed, or it was put back before a crash.
 * Where kpeer changed the mode alone, the content does not tell. */
static enum journal_undone judge(const struct journal_change *c, const struct journal_present *p,
                                 const char *kept, size_t kept_bytes)
{
    if (!p->there && !c->had)
        return JOURNAL_SAME;
    if (p->there && c->had && p->n == kept_bytes && memcmp(p->bytes, kept, kept_bytes) == 0 &&
        (looks_as_found(c, p) || !journal_change_as_written(c, p)))
        return JOURNAL_SAME;
    return journal_change_as_written(c, p) ? JOURNAL_BACK : JOURNAL_LEFT;
}

static int put_back(const struct journal_change *c, const char *kept, size_t n, struct err *err)
{
    /* Where this is not root, an owner of somebody else's could not have been taken away either. */
    const struct file_look look = {.mode = c->mode,
                                   .uid = geteuid() ? (uid_t)-1 : c->uid,
                                   .gid = geteuid() ? (gid_t)-1 : c->gid,
                                   .dated = c->dated,
                                   .mtime = c->mtime};
    int code;

    if (!c->had)
        return file_remove(c->path, err);
    code = file_make_parents(c->path, err);
    return code ? code : file_write(c->path, kept, n, &look, err);
}

static int undo_file(const struct journal *j, const struct journal_change *c, enum journal_undone *how,
                     struct err *err)
{
    cleanup_present struct journal_present p = {0};
    cleanup_free char *kept = NULL;
    char path[PATH_MAX];
    size_t n = 0;
    int code = journal_kept_path(j, c->path, path, sizeof(path), err);

    code = code ? code : journal_present_read(c->path, &p, err);
    if (code == KPEER_EREFUSED) {
        *how = JOURNAL_LEFT;
        return 0;
    }
    code = code ? code : file_sweep(c->path, err);
    if (code == 0 && c->had)
        code = file_read(path, JOURNAL_FILE_MAX, &kept, &n, err);
    if (code)
        return code;
    *how = judge(c, &p, kept, n);
    return *how == JOURNAL_BACK ? put_back(c, kept, n, err) : 0;
}

static int undo_sysctl(const struct journal_change *c, enum journal_undone *how, struct err *err)
{
    char now[JOURNAL_VALUE_BYTES];
    int code = journal_sysctl_read(c->path, now, sizeof(now), err);

    if (code == KPEER_ENOTFOUND) {
        *how = JOURNAL_LEFT; /* a setting of a module or interface that is gone */
        return 0;
    }
    if (code)
        return code;
    *how = strcmp(now, c->old_value) == 0   ? JOURNAL_SAME
           : strcmp(now, c->new_value) == 0 ? JOURNAL_BACK
                                            : JOURNAL_LEFT;
    return *how == JOURNAL_BACK ? journal_sysctl_write(c->path, c->old_value, err) : 0;
}

/* It was never kpeer's own, so there is nothing to compare: what is known is that nothing was there before.
 */
static int undo_guest(const struct journal_change *c, enum journal_undone *how, struct err *err)
{
    struct stat st;

    if (lstat(c->path, &st)) {
        *how = JOURNAL_SAME;
        return errno == ENOENT || errno == ENOTDIR ? 0 : err_errno(err, errno, "cannot look at %s", c->path);
    }
    *how = S_ISREG(st.st_mode) ? JOURNAL_BACK : JOURNAL_LEFT;
    return *how == JOURNAL_BACK ? file_remove(c->path, err) : 0;
}

static int undo_dir(const struct journal_change *c, enum journal_undone *how, struct err *err)
{
    if (rmdir(c->path) == 0) {
        *how = JOURNAL_BACK;
        return file_sync_folder(c->path, err);
    }
    *how = errno == ENOENT ? JOURNAL_SAME : JOURNAL_LEFT; /* others have put something there since */
    if (errno == ENOENT || errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR || errno == EBUSY)
        return 0;
    return err_errno(err, errno, "cannot remove the folder %s", c->path);
}

static int undo_deed(const struct undo *u, const struct journal_change *c, enum journal_undone *how,
                     struct err *err)
{
    struct journal_deed d = {.kind = c->deed};

    if (!u->undoers || !u->undoers[c->deed])
        return err_set(err, KPEER_ESTATE, "nothing here can undo %s %s", deed_words[c->deed], c->path);
    memcpy(d.name, c->path, sizeof(d.name));
    memcpy(d.before, c->old_value, sizeof(d.before));
    memcpy(d.after, c->new_value, sizeof(d.after));
    return u->undoers[c->deed](u->ctx, &d, how, err);
}

static int undo_kind(const struct undo *u, const struct journal_change *c, enum journal_undone *how,
                     struct err *err)
{
    switch (c->kind) {
    case CHANGE_FILE:
        return undo_file(u->j, c, how, err);
    case CHANGE_SYSCTL:
        return undo_sysctl(c, how, err);
    case CHANGE_GUEST:
        return undo_guest(c, how, err);
    case CHANGE_DIR:
        return undo_dir(c, how, err);
    case CHANGE_DEED:
        return undo_deed(u, c, how, err);
    }
    return err_set(err, KPEER_EINVAL, "not a change that kpeer makes");
}

static int undo_one(const struct undo *u, struct journal_change *c, enum journal_undone *how, struct err *err)
{
    bool is_file = c->kind == CHANGE_FILE;
    bool is_path = is_file || c->kind == CHANGE_DIR;
    struct journal_folder *f = is_path ? journal_folder_steady(u->j, c->path) : NULL;
    char kept[PATH_MAX];
    int code = undo_kind(u, c, how, err);

    if (f)
        journal_folder_seen(f);
    if (code)
        return code;
    code = journal_kept_path(u->j, c->path, kept, sizeof(kept), err);
    journal_change_forget(u->j, c);
    code = code ? code : journal_store_save(u->j, err);
    return code || !is_file ? code : file_remove(kept, err);
}

static void change_text(const struct journal_change *c, char *out, size_t n)
{
    snprintf(out, n, "%s%s%s", c->kind == CHANGE_DEED ? deed_words[c->deed] : "",
             c->kind == CHANGE_DEED ? " " : "", c->path);
}

static void step_text(const struct journal_step *s, char *out, size_t n)
{
    time_t begun = (time_t)s->begun_s;
    struct tm tm;
    char stamp[32];

    gmtime_r(&begun, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (!s->ended_s)
        snprintf(out, n, "%s %s: not ended", stamp, step_word(s->kind));
    else
        snprintf(out, n, "%s %s: %s after %llu s", stamp, step_word(s->kind),
                 s->code ? err_word(s->code) : "done", (unsigned long long)(s->ended_s - s->begun_s));
}

void journal_list(const struct journal *j, void (*line)(void *ctx, const char *text), void *ctx)
{
    char text[JOURNAL_PATH_BYTES + 2 * JOURNAL_VALUE_BYTES + 64];

    for (size_t i = 0; i < j->c.step_count; i++) {
        step_text(&j->c.steps[i], text, sizeof(text));
        line(ctx, text);
    }
    for (size_t i = 0; i < j->c.state.changes; i++) {
        const struct journal_change *c = &j->c.changes[i];
        char what[JOURNAL_PATH_BYTES + 32];

        change_text(c, what, sizeof(what));
        if (c->kind == CHANGE_DEED || c->kind == CHANGE_SYSCTL)
            snprintf(text, sizeof(text), "%s: \"%s\" in place of \"%s\"", what, c->new_value, c->old_value);
        else
            snprintf(text, sizeof(text), "%s: %s, %s", what, c->had ? "replaced" : "made",
                     c->removed ? "now nothing" : "to be put back");
        line(ctx, text);
    }
}

int journal_undo(struct journal *j, journal_undoer *const undoers[DEED_KIND_COUNT],
                 void (*done)(void *ctx, const char *path), void (*left)(void *ctx, const char *path),
                 void *ctx, struct err *err)
{
    const struct undo u = {.j = j, .undoers = undoers, .ctx = ctx};
    int first = journal_store_enter(j, err);
    int code;

    if (first)
        return first;
    for (size_t i = j->c.state.changes; i-- > 0;) {
        char what[JOURNAL_PATH_BYTES + 32];
        enum journal_undone how = JOURNAL_SAME;
        struct err e = {0};

        change_text(&j->c.changes[i], what, sizeof(what));
        if (undo_one(&u, &j->c.changes[i], &how, &e)) {
            if (!first && err)
                *err = e;
            first = first ? first : e.code;
        } else if (how == JOURNAL_LEFT && left) {
            left(ctx, what);
        } else if (how == JOURNAL_BACK && done) {
            done(ctx, what);
        }
    }
    code = journal_folder_undo(j, first ? NULL : err);
    journal_store_leave(j);
    return first ? first : code;
}
