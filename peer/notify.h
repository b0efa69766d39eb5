/*
 * Telling whoever started the agent how its start went: systemd through NOTIFY_SOCKET, or `kpeer up` through
 * a pipe. The agent says ready once; the `agent` command says why it failed.
 */
#ifndef KPEER_NOTIFY_H
#define KPEER_NOTIFY_H

#include "protocol/err.h"

/* The pipe of `kpeer up`; closed on exec. -1: none. */
void notify_use_pipe(int fd);

/* Opens the way to systemd where there is one, while local sockets may still be made; without it the first to
 * tell something does. */
void notify_open(void);

/* The agent answers on its socket from now on. Call it once, before or after root is dropped. */
void notify_ready(void);

/* The agent is about to stop. */
void notify_stopping(void);

/* The start failed: the error goes to the pipe (nothing where there is none, or after notify_ready). */
void notify_failed(const struct err *e);

/* Reads what the other end of the pipe says: 0 ready; else the code told, or KPEER_EIO when it ended without
 * a word; KPEER_ETIMEOUT after `timeout_ms`. */
int notify_wait(int fd, int timeout_ms, struct err *err);

#endif
