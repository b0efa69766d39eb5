/*
 * The executor's memory: which steps were begun and done on this host, and what each put in place of what.
 *
 * One file, journal, in the executor's folder under the state folder: a header line, then sealed-by-checksum entries,
 * each appended and synced before what it announces is done. A torn last entry is what a crash leaves and is dropped;
 * any other damage and a newer version are errors. Copies of replaced files lie beside it. One worker at a time writes
 * (host-changing steps exclude each other); the executor and its workers alone use this module.
 */
#ifndef KPEER_JOURNAL_H
#define KPEER_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/err.h"
#include "protocol/step.h"

struct journal;

/* What the journal says of this host. */
struct journal_state {
    bool init_begun;  /* kubeadm init was begun here and no reset was done since */
    bool init_done;
    bool join_begun;  /* kubeadm join was begun here and no reset was done since */
    bool join_done;
    char cluster_id[STEP_ID_BYTES]; /* which cluster init or join was begun for; empty: none, or not known */
    enum step_kind unfinished;      /* a host-changing step that was begun and not ended (crash); STEP_NONE: none */
    size_t changes;                 /* files and settings that are kpeer's and not put back */
};

/* Opens (or makes) the journal in `dir`, an absolute path, made 0700 where it is not there. KPEER_EVERSION: written by
 * a newer kpeer; KPEER_EINVAL: not a journal or damaged before its end. Frees with journal_close. */
int journal_open(const char *dir, struct journal **out, struct err *err);
void journal_close(struct journal *j);

/* The state as of the last entry read or written. */
const struct journal_state *journal_state(const struct journal *j);

/* Reads what another process has appended since. */
int journal_refresh(struct journal *j, struct err *err);

/* Notes durably that a step begins or has ended with `code`. `cluster_id` may be NULL or empty. */
int journal_begin(struct journal *j, enum step_kind kind, const char *cluster_id, struct err *err);
int journal_end(struct journal *j, enum step_kind kind, int code, struct err *err);

/* Writes `path` (absolute, symbolic links in its last part are not followed) with `n` bytes and `mode` atomically, owner
 * root: new file, fsync, rename, fsync of the folder; folders that miss are made 0755. What was there before (content,
 * mode, owner, or that nothing was) is noted durably first, once per path. No change when it has this content already. */
int journal_replace_file(struct journal *j, const char *path, const void *bytes, size_t n, mode_t mode,
                         struct err *err);

/* Removes a file that is there, kept for journal_undo. Absent is success. */
int journal_remove_file(struct journal *j, const char *path, struct err *err);

/* Writes a kernel setting below /proc/sys ("net.ipv4.ip_forward" as "net/ipv4/ip_forward") and notes the old value. */
int journal_set_sysctl(struct journal *j, const char *proc_path, const char *value, struct err *err);

/* Puts back everything that is noted, the latest change first. A file that is no longer what kpeer wrote is left alone
 * and told through `left` (which may be NULL); what was put back is told through `done`. */
int journal_undo(struct journal *j, void (*done)(void *ctx, const char *path), void (*left)(void *ctx, const char *path),
                 void *ctx, struct err *err);

/* Whether `path` is a file that kpeer wrote here and that still is as written. */
bool journal_owns(const struct journal *j, const char *path);

#endif
