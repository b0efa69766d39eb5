/*
 * What programs said of themselves a moment ago: a version, the images that go with one.
 *
 * Making a host ready asks kubeadm a dozen times for its version, from workers that know nothing of each
 * other, and each time costs a start of the program. An answer is kept by the program's file (inode, size,
 * times) and arguments, for ANSWERS_MS alone, since the file may be a wrapper around what changes. Memory
 * that the executor shares with its workers; a slot that two write at once is no answer. spawn.c is the one
 * user.
 */
#ifndef KPEER_ANSWERS_H
#define KPEER_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>

#define ANSWERS_MS    30000
#define ANSWERS_BYTES 4000 /* longer ones are not kept */
#define ANSWERS_MAX   16

/* Opens the memory, once, before there are workers. Without it, or where there is none, nothing is kept. */
void answers_open(void);

/* The kept answer of the program at `path` to `argv` (NULL-ended), copied into `out`. False: there is none.
 */
bool answers_find(const char *path, const char *const *argv, char out[static ANSWERS_BYTES], size_t *n);

void answers_keep(const char *path, const char *const *argv, const char *bytes, size_t n);

#endif
