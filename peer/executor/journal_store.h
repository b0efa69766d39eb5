/*
 * What the parts of the journal share: journal.c keeps the file and the steps, journal_change.c notes and
 * makes changes, journal_folder.c remembers the times of folders, journal_undo.c puts back. No others.
 */
#ifndef KPEER_JOURNAL_STORE_H
#define KPEER_JOURNAL_STORE_H

#include <sys/stat.h>
#include <time.h>

#include "peer/executor/journal.h"

#define JOURNAL_HASH_BYTES  32
#define JOURNAL_PATH_BYTES  512
#define JOURNAL_VALUE_BYTES JOURNAL_DEED_BYTES
#define JOURNAL_FOLDERS_MAX 64 /* the times of further ones are not put back */

enum change_kind { CHANGE_FILE = 1, CHANGE_SYSCTL = 2, CHANGE_GUEST = 3, CHANGE_DEED = 4, CHANGE_DIR = 5 };

struct journal_change {
    enum change_kind kind;
    enum journal_deed_kind deed;   /* CHANGE_DEED */
    char path[JOURNAL_PATH_BYTES]; /* of a deed its name */
    bool had;                      /* something was there */
    uint32_t mode, uid, gid;
    bool dated; /* mtime is known: not so in a journal of version 1 */
    struct timespec mtime;
    bool removed;                        /* what is there now is nothing */
    uint8_t now[JOURNAL_HASH_BYTES];     /* of what kpeer puts there */
    uint8_t before[JOURNAL_HASH_BYTES];  /* of what kpeer had put there before, as a crash may have left that;
                                            else zero */
    char old_value[JOURNAL_VALUE_BYTES]; /* CHANGE_SYSCTL, CHANGE_DEED */
    char new_value[JOURNAL_VALUE_BYTES];
};

/* A folder in which kpeer changed something, and its mtime before that and as kpeer left it. */
struct journal_folder {
    char path[JOURNAL_PATH_BYTES];
    struct timespec before, after;
};

struct journal_step {
    enum step_kind kind;
    uint64_t begun_s, ended_s; /* CLOCK_REALTIME, to be shown only; 0: not ended */
    int code;
};

/* What the file holds. */
struct journal_content {
    struct journal_state state;
    struct journal_change *changes; /* JOURNAL_CHANGES_MAX of them */
    struct journal_folder folders[JOURNAL_FOLDERS_MAX];
    size_t folder_count;
    struct journal_step steps[JOURNAL_STEPS_MAX];
    size_t step_count;
};

struct journal {
    char dir[JOURNAL_PATH_BYTES]; /* empty: in memory alone */
    int lock_fd;
    struct journal_content c;
};

/* "<folder>/<name>"; -1: too long. */
int journal_store_path(const struct journal *j, const char *name, char *out, size_t n);

/* Takes the lock and reads what others wrote; journal_store_leave is due after success. */
int journal_store_enter(struct journal *j, struct err *err);
void journal_store_leave(struct journal *j);

/* Writes the whole of it durably; nothing for one in memory alone. */
int journal_store_save(struct journal *j, struct err *err);

/* The change that is noted of this kind for this path; NULL: none. journal_change_forget takes it out. */
struct journal_change *journal_change_find(const struct journal *j, enum change_kind kind, const char *path);
void journal_change_forget(struct journal *j, struct journal_change *c);

/* What is at a path now. */
struct journal_present {
    bool there;
    struct stat st;
    char *bytes;
    size_t n;
    uint8_t hash[JOURNAL_HASH_BYTES];
};

/* Reads it; KPEER_EREFUSED: something that is not a regular file. */
int journal_present_read(const char *path, struct journal_present *p, struct err *err);
void journal_present_fini(struct journal_present *p);

#define cleanup_present __attribute__((cleanup(journal_present_fini)))

/* Whether what is there is what kpeer put there, this time or, should a crash have come between, the time
 * before. */
bool journal_change_as_written(const struct journal_change *c, const struct journal_present *p);

/* Where the copy of what was at `path` is kept. */
int journal_kept_path(const struct journal *j, const char *path, char *out, size_t n, struct err *err);

int journal_sysctl_read(const char *path, char *value, size_t n, struct err *err);
int journal_sysctl_write(const char *path, const char *value, struct err *err);

/* The folder of `path` is about to be changed by kpeer; the next save holds how it was. And: it was changed,
 * which is saved, since another's change must be told from it; a failure to save costs the time alone. */
void journal_folder_begin(struct journal *j, const char *path);
void journal_folder_end(struct journal *j, const char *path);

/* The noted folder of `path` if nobody but kpeer changed it; NULL: none, or somebody did. Then, after the
 * change: its time is again kpeer's doing. */
struct journal_folder *journal_folder_steady(struct journal *j, const char *path);
void journal_folder_seen(struct journal_folder *f);

/* Puts back the times of the folders in which nothing is noted any more, and forgets them. */
int journal_folder_undo(struct journal *j, struct err *err);

void journal_store_hash(const void *bytes, size_t n, uint8_t out[static JOURNAL_HASH_BYTES]);

#endif
