/*
 * The executor's memory: which steps were begun and done on this host, and what each put in place of what.
 *
 * It is one file, `journal`, in the executor's folder, written anew (new file, fsync, rename) before what it
 * announces is done; copies of replaced files lie beside it in `kept`. So a crash leaves the old or the new
 * journal, never half of one, and any damage is an error. Writers take a lock and read it again first. The
 * executor's workers alone use this module. The folder and the one it is in must be this user's or root's and
 * not writable by others, since what is in it is later put back with root's rights.
 */
#ifndef KPEER_JOURNAL_H
#define KPEER_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/err.h"
#include "protocol/step.h"

#define JOURNAL_FILE_MAX    (1024 * 1024) /* the largest file that is replaced */
#define JOURNAL_CHANGES_MAX 1024
#define JOURNAL_STEPS_MAX   64 /* the last steps that are remembered */
#define JOURNAL_DEED_BYTES  256

struct journal;

/* What was done to the host that is no file and no kernel setting. */
enum journal_deed_kind {
    DEED_UNIT,     /* a unit enabled, disabled, masked, started, stopped */
    DEED_HOLD,     /* a package held */
    DEED_PACKAGE,  /* a package installed, or another version of it */
    DEED_MODULE,   /* a kernel module loaded */
    DEED_SWAP,     /* a swap area switched off */
    DEED_HOSTNAME, /* the host renamed */
    DEED_RULE,     /* a firewall rule added */
    DEED_KIND_COUNT
};

/* `before` and `after` are words of whoever does it: how it was found, how it was left. */
struct journal_deed {
    enum journal_deed_kind kind;
    char name[JOURNAL_DEED_BYTES];
    char before[JOURNAL_DEED_BYTES];
    char after[JOURNAL_DEED_BYTES];
};

/* How undoing one thing went. */
enum journal_undone {
    JOURNAL_BACK, /* it is now as it was found */
    JOURNAL_LEFT, /* somebody changed it since, so it was left alone */
    JOURNAL_SAME, /* it was as it was found already: never done, or undone before a crash */
};

/* Undoes one deed, done or not done; must not call the journal. A failure keeps the deed noted. */
typedef int journal_undoer(void *ctx, const struct journal_deed *d, enum journal_undone *how,
                           struct err *err);

/* What the journal says of this host. */
struct journal_state {
    bool init_begun; /* kubeadm init was begun here and no reset was done since */
    bool init_done;
    bool join_begun; /* kubeadm join was begun here and no reset was done since */
    bool join_done;
    char cluster_id[STEP_ID_BYTES]; /* which cluster init or join was begun for; empty: none, or not known */
    enum step_kind
        unfinished; /* a host-changing step that was begun and not ended (crash); STEP_NONE: none */
    size_t changes; /* files, folders, settings and deeds that are kpeer's and not put back */
};

/* Opens (or makes) the journal in `dir`, an absolute path, made 0700 where it is not there. KPEER_EVERSION:
 * written by a newer kpeer; KPEER_EINVAL: not a journal, or damaged; KPEER_EREFUSED: others could write in
 * the folder. With a NULL `dir` it lives in memory alone, for a rehearsal, and changes to the host are
 * refused. journal_close frees it. */
int journal_open(const char *dir, struct journal **out, struct err *err);
void journal_close(struct journal *j);

/* The state as last read or written. */
const struct journal_state *journal_state(const struct journal *j);

/* Reads it again, as another process may have written it. */
int journal_refresh(struct journal *j, struct err *err);

/* Notes durably that a step begins or has ended with `code`. `cluster_id` may be NULL or empty. */
int journal_begin(struct journal *j, enum step_kind kind, const char *cluster_id, struct err *err);
int journal_end(struct journal *j, enum step_kind kind, int code, struct err *err);

/* Writes `path` (absolute; a symbolic link there is refused) with `n` bytes and `mode` atomically, owned by
 * this user; folders that miss are made 0755 and noted as by journal_make_dir. What was there before
 * (content, mode, owner, time, or that nothing was) is noted durably first: once per path, and again if
 * somebody else has changed the file since. No change when it has this content already. Files of up to
 * JOURNAL_FILE_MAX bytes. */
int journal_replace_file(struct journal *j, const char *path, const void *bytes, size_t n, mode_t mode,
                         struct err *err);

/* Removes a file that is there, kept for journal_undo. Absent is success. */
int journal_remove_file(struct journal *j, const char *path, struct err *err);

/* Notes that what others will put at `path` (absolute), where nothing is now, comes of kpeer's doing:
 * journal_undo removes it, of any content, as long as it is a regular file. No change where something is
 * there already. */
int journal_expect_file(struct journal *j, const char *path, struct err *err);

/* Writes a kernel setting, `path` the absolute path of its file ("/proc/sys/net/ipv4/ip_forward"), and notes
 * the old value. No change when it has this value already. */
int journal_set_sysctl(struct journal *j, const char *path, const char *value, struct err *err);

/* Makes the folder `path` (absolute) with `mode`, and the missing ones above it with 0755. journal_undo
 * removes each of them that is empty by then. No change where it is there already; KPEER_EREFUSED: something
 * else is. */
int journal_make_dir(struct journal *j, const char *path, mode_t mode, struct err *err);

/* Notes durably what is about to be done. Of what was noted of the same kind and name before, `before` stays
 * as it was. */
int journal_note_deed(struct journal *j, const struct journal_deed *d, struct err *err);

/* Finds what is noted of this kind and name; false: nothing. `out` may be NULL. */
bool journal_find_deed(const struct journal *j, enum journal_deed_kind kind, const char *name,
                       struct journal_deed *out);

/* Puts back everything that is noted, the latest change first, deeds through `undoers` (NULL: there are
 * none; a deed without an undoer is a failure). `done` is told each path or deed ("unit kubelet") that was
 * put back, `left` each that is no longer as kpeer left it and was therefore left alone (both may be NULL);
 * either is forgotten then. Folders get their old time back where nobody but kpeer changed them. A failure
 * stays noted, the rest is still tried, the first failure is returned. */
int journal_undo(struct journal *j, journal_undoer *const undoers[DEED_KIND_COUNT],
                 void (*done)(void *ctx, const char *path), void (*left)(void *ctx, const char *path),
                 void *ctx, struct err *err);

/* Tells what is noted, a line of words each: the last steps, then files, settings and deeds by their names.
 * What files hold, or held, is not told. */
void journal_list(const struct journal *j, void (*line)(void *ctx, const char *text), void *ctx);

/* Whether `path` is a file that kpeer wrote here and that still is as written. */
bool journal_owns(const struct journal *j, const char *path);

#endif
