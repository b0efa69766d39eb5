/*
 * A line for each member of the group, as a person watches it while a cluster forms: who, what it does now,
 * and for how long. `kpeer up` alone uses it, below its live line.
 */
#ifndef KPEER_BOARD_H
#define KPEER_BOARD_H

#include <jansson.h>
#include <stddef.h>

#include "peer/writer.h"

struct board;

struct board *board_new(void); /* NULL: out of memory */
void board_free(struct board *b);

/* Takes the agent's answer to "members", in which each says how long it is in its phase, or was not heard.
 * `now_ms` is any clock that goes on. Without memory the board stays as it was. */
void board_take(struct board *b, const json_t *answer, long long now_ms);

/* Writes at most `rows` lines of at most `columns` columns, each ended by a newline, to w->to; returns how
 * many. Where there are more members than rows, those that are ready make room first, and the last line says
 * how many are not shown. */
size_t board_put(const struct board *b, const struct writer *w, size_t rows, size_t columns,
                 long long now_ms);

#endif
