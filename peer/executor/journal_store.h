/*
 * What the journal's two halves share: journal.c keeps the file and the steps, journal_change.c the changes.
 * No others.
 */
#ifndef KPEER_JOURNAL_STORE_H
#define KPEER_JOURNAL_STORE_H

#include "peer/executor/journal.h"

#define JOURNAL_HASH_BYTES  32
#define JOURNAL_PATH_BYTES  512
#define JOURNAL_VALUE_BYTES 128

enum change_kind { CHANGE_FILE = 1, CHANGE_SYSCTL = 2, CHANGE_GUEST = 3 };

struct journal_change {
    enum change_kind kind;
    char path[JOURNAL_PATH_BYTES];
    bool had; /* something was there */
    uint32_t mode, uid, gid;
    bool removed;                        /* what is there now is nothing */
    uint8_t now[JOURNAL_HASH_BYTES];     /* of what kpeer puts there */
    uint8_t before[JOURNAL_HASH_BYTES];  /* of what kpeer had put there before, as a crash may have left that;
                                            else zero */
    char old_value[JOURNAL_VALUE_BYTES]; /* CHANGE_SYSCTL */
    char new_value[JOURNAL_VALUE_BYTES];
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

void journal_store_hash(const void *bytes, size_t n, uint8_t out[static JOURNAL_HASH_BYTES]);

#endif
