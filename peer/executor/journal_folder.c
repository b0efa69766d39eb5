/* The times of folders in which kpeer changed something: exact undo means that nothing tells it was here. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "peer/executor/journal_store.h"
#include "protocol/mem.h"

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool folder_of(const char *path, char out[static JOURNAL_PATH_BYTES])
{
    char *slash;

    if (mem_copy_text(out, JOURNAL_PATH_BYTES, path))
        return false;
    slash = strrchr(out, '/');
    if (!slash || slash == out)
        return false;
    *slash = 0;
    return true;
}

static struct journal_folder *find_folder(struct journal *j, const char *dir)
{
    for (size_t i = 0; i < j->c.folder_count; i++) {
        if (strcmp(j->c.folders[i].path, dir) == 0)
            return &j->c.folders[i];
    }
    return NULL;
}

void journal_folder_begin(struct journal *j, const char *path)
{
    char dir[JOURNAL_PATH_BYTES] = "";
    struct journal_folder *f;
    struct stat st;

    /* A folder that kpeer made goes away as a whole. */
    if (!folder_of(path, dir) || stat(dir, &st) || journal_change_find(j, CHANGE_DIR, dir))
        return;
    f = find_folder(j, dir);
    if (f && same_time(&f->after, &st.st_mtim))
        return;
    if (!f && j->c.folder_count == JOURNAL_FOLDERS_MAX)
        return;
    f = f ? f : &j->c.folders[j->c.folder_count++];
    memcpy(f->path, dir, sizeof(dir));
    f->before = f->after = st.st_mtim;
}

void journal_folder_seen(struct journal_folder *f)
{
    struct stat st;

    if (stat(f->path, &st) == 0)
        f->after = st.st_mtim;
}

void journal_folder_end(struct journal *j, const char *path)
{
    char dir[JOURNAL_PATH_BYTES];
    struct journal_folder *f = folder_of(path, dir) ? find_folder(j, dir) : NULL;

    if (!f)
        return;
    journal_folder_seen(f);
    journal_store_save(j, NULL);
}

struct journal_folder *journal_folder_steady(struct journal *j, const char *path)
{
    char dir[JOURNAL_PATH_BYTES];
    struct journal_folder *f = folder_of(path, dir) ? find_folder(j, dir) : NULL;
    struct stat st;

    return f && stat(dir, &st) == 0 && same_time(&f->after, &st.st_mtim) ? f : NULL;
}

static bool still_used(const struct journal *j, const struct journal_folder *f)
{
    char dir[JOURNAL_PATH_BYTES];

    for (size_t i = 0; i < j->c.state.changes; i++) {
        if (j->c.changes[i].kind != CHANGE_DEED && folder_of(j->c.changes[i].path, dir) &&
            strcmp(dir, f->path) == 0)
            return true;
    }
    return false;
}

int journal_folder_undo(struct journal *j, struct err *err)
{
    size_t kept = 0;

    for (size_t i = 0; i < j->c.folder_count; i++) {
        struct journal_folder *f = &j->c.folders[i];
        struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, f->before};
        struct stat st;

        if (still_used(j, f))
            j->c.folders[kept++] = *f;
        else if (stat(f->path, &st) == 0 && same_time(&f->after, &st.st_mtim))
            (void)utimensat(AT_FDCWD, f->path, times, 0); /* not root's business: not ours to set back */
    }
    if (kept == j->c.folder_count)
        return 0;
    j->c.folder_count = kept;
    return journal_store_save(j, err);
}
