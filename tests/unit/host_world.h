/*
 * A made-up host below a root of its own, with programs that are played by functions or are scripts, on which
 * everything that kpeer can mend is wrong; and a picture of it that is compared byte by byte. For the tests
 * of fixes alone.
 */
#ifndef KPEER_HOST_WORLD_H
#define KPEER_HOST_WORLD_H

#include "peer/executor/context.h"
#include "peer/executor/spawn.h"
#include "protocol/step.h"

struct world {
    char root[64];
    char journal_dir[96];
    struct executor_config cfg;
    struct exec_ctx ctx;
    struct step_result result;
    char said[16384]; /* what was told, a line each */
};

/* Makes the host and opens its journal. 0 or -1. */
int world_open(struct world *w);
void world_close(struct world *w);

/* Ends and opens the journal, as a restart does. */
void world_reopen(struct world *w);

void world_write(const struct world *w, const char *name, const char *text, mode_t mode);
void world_socket(const struct world *w, const char *name);

/* A program that is a script, run as a process; $R is the root. */
void world_tool(struct world *w, enum executor_tool tool, const char *script);

/* The programs that every made-up host has: empty files, which world_play knows by their names. */
void world_make_programs(struct world *w);

/* What spawn_check does, for a program that is played: true, `code` is what it returns. False where it is
 * none. */
bool world_play(const struct spawn_request *req, struct spawn_result *res, int *code, struct err *err);

/* Removes a file or a folder with all in it. */
void world_remove(const char *path);

/* The text of a file; the caller frees it; NULL where there is none. */
char *world_read(const struct world *w, const char *name);
bool world_has(const struct world *w, const char *name, const char *part);

/* All names, kinds, modes, owners and contents below the root without journal and tools; times of files in
 * /etc too, those of its folders where `folders`. The caller frees it. */
char *world_picture(const struct world *w, bool folders);

int world_fix(struct world *w);
int world_undo(struct world *w);
const struct finding *world_finding(struct world *w, const char *check);

#endif
