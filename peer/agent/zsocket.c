#include "peer/agent/zsocket.h"

#include <string.h>

#include "protocol/mem.h"

int zsocket_error(struct err *err, const char *what)
{
    return err_set(err, KPEER_EIO, "%s: %s", what, zmq_strerror(zmq_errno()));
}

int zsocket_set(void *socket, const struct zsocket_option *options, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (zmq_setsockopt(socket, options[i].name, &options[i].value, sizeof options[i].value))
            return zsocket_error(err, "cannot set up a link's socket");
    return 0;
}

int zsocket_set_key(void *socket, int name, const uint8_t key[static 32], struct err *err)
{
    return zmq_setsockopt(socket, name, key, 32) ? zsocket_error(err, "cannot set a link's key") : 0;
}

int zsocket_watch(void *context, void *socket, const char *endpoint, int events, int queue, void **watcher,
                  struct err *err)
{
    const struct zsocket_option options[] = {{ZMQ_LINGER, 0}, {ZMQ_RCVHWM, queue}};
    *watcher = zmq_socket(context, ZMQ_PAIR);
    if (!*watcher || zsocket_set(*watcher, options, COUNT_OF(options), err) ||
        zmq_socket_monitor(socket, endpoint, events) || zmq_connect(*watcher, endpoint))
        return zsocket_error(err, "cannot watch a socket");
    return 0;
}

int zsocket_fd(void *socket)
{
    int fd = -1;
    size_t n = sizeof fd;
    zmq_getsockopt(socket, ZMQ_FD, &fd, &n);
    return fd;
}

bool zsocket_has_some(void *socket)
{
    int events = 0;
    size_t n = sizeof events;
    return zmq_getsockopt(socket, ZMQ_EVENTS, &events, &n) == 0 && (events & ZMQ_POLLIN);
}

void zsocket_close(void **socket)
{
    if (*socket)
        zmq_close(*socket);
    *socket = NULL;
}

size_t zsocket_receive(void *socket, zmq_msg_t *frames, size_t max)
{
    size_t n = 0;
    for (bool more = true; more;) {
        zmq_msg_t extra, *frame = n < max ? &frames[n] : &extra;
        zmq_msg_init(frame);
        if (zmq_msg_recv(frame, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(frame);
            return n;
        }
        more = zmq_msg_more(frame) != 0;
        if (n < max)
            n++;
        else
            zmq_msg_close(frame);
    }
    return n;
}

size_t zsocket_receive_event(void *watcher, zmq_msg_t frames[static 2], uint16_t *event, uint32_t *value)
{
    size_t n = zsocket_receive(watcher, frames, 2);
    *event = 0;
    *value = 0;
    if (n > 0 && zmq_msg_size(&frames[0]) >= sizeof *event + sizeof *value) {
        memcpy(event, zmq_msg_data(&frames[0]), sizeof *event);
        memcpy(value, (const uint8_t *)zmq_msg_data(&frames[0]) + sizeof *event, sizeof *value);
    }
    return n;
}

void zsocket_free(zmq_msg_t *frames, size_t n)
{
    for (size_t i = 0; i < n; i++)
        zmq_msg_close(&frames[i]);
}

bool zsocket_is(zmq_msg_t *frame, const char *text)
{
    return zmq_msg_size(frame) == strlen(text) && memcmp(zmq_msg_data(frame), text, strlen(text)) == 0;
}
