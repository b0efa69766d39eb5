/*
 * What is the same for each of libzmq's sockets: options, the socket that watches another one, frames.
 */
#ifndef KPEER_ZSOCKET_H
#define KPEER_ZSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zmq.h>

#include "protocol/err.h"

struct zsocket_option {
    int name;
    int value;
};

/* KPEER_EIO with libzmq's own words for what failed last. */
int zsocket_error(struct err *err, const char *what);

/* Errors of these two: KPEER_EIO. */
int zsocket_set(void *socket, const struct zsocket_option *options, size_t n, struct err *err);
int zsocket_set_key(void *socket, int name, const uint8_t key[static 32], struct err *err);

/* *watcher becomes a socket from which `events` of `socket` are received; `queue` of them wait, 0: any
 * number. `endpoint` is an inproc address of its own. Closed by zsocket_close, also after an error.
 * KPEER_EIO. */
int zsocket_watch(void *context, void *socket, const char *endpoint, int events, int queue, void **watcher,
                  struct err *err);

/* The descriptor that becomes readable when the socket is to be looked at, which zsocket_has_some does:
 * whether a message can be received. It tells of what comes, so a socket is looked at after each use as well.
 */
int zsocket_fd(void *socket);
bool zsocket_has_some(void *socket);

/* Closes what is open, and forgets it. */
void zsocket_close(void **socket);

/* One message of up to `max` frames, without waiting; returns their number, 0 when there is none. Frames
 * beyond are thrown away. Freed by zsocket_free. */
size_t zsocket_receive(void *socket, zmq_msg_t *frames, size_t max);
void zsocket_free(zmq_msg_t *frames, size_t n);

/* An event that a watcher tells, its endpoint being the second frame; 0 when there is none, otherwise the
 * frames are to be freed. */
size_t zsocket_receive_event(void *watcher, zmq_msg_t frames[static 2], uint16_t *event, uint32_t *value);

/* Whether a frame is exactly this text. */
bool zsocket_is(zmq_msg_t *frame, const char *text);

#endif
