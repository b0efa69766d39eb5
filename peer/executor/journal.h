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
#define JOURNAL_CHANGES_MAX 256
#define JOURNAL_STEPS_MAX   64 /* the last steps that are remembered */

struct journal;

/* What the journal says of this host. */
struct journal_state {
    bool init_begun; /* kubeadm init was begun here and no reset was done since */
    bool init_done;
    bool join_begun; /* kubeadm join was begun here and no reset was done since */
    bool join_done;
    char cluster_id[STEP_ID_BYTES]; /* which cluster init or join was begun for; empty: none, or not known */
    enum step_kind
        unfinished; /* a host-changing step that was begun and not ended (crash); STEP_NONE: none */
    size_t changes; /* files and settings that are kpeer's and not put back */
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
 * this user; folders that miss are made 0755. What was there before (content, mode, owner, or that nothing
 * was) is noted durably first: once per path, and again if somebody else has changed the file since. No
 * change when it has this content already. Files of up to JOURNAL_FILE_MAX bytes. */
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

/* Puts back everything that is noted, the latest change first. `done` is told each path that was put back,
 * `left` each that is no longer as kpeer wrote it and was therefore left alone (both may be NULL); either is
 * forgotten then. A failure stays noted, the rest is still tried, the first failure is returned. */
int journal_undo(struct journal *j, void (*done)(void *ctx, const char *path),
                 void (*left)(void *ctx, const char *path), void *ctx, struct err *err);

/* Whether `path` is a file that kpeer wrote here and that still is as written. */
bool journal_owns(const struct journal *j, const char *path);

#endif
