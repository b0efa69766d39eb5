/* The agent's end of the local socket. Clients that broke off or misbehaved are marked dead where that is
 * seen and swept in dispatch, so that no call vanishes under the caller's hands. */
#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "peer/control_frame.h"
#include "peer/agent/control_state.h"
#include "protocol/mem.h"

/* What may be asked; what is not here is refused. */
static const struct {
    const char *cmd;
    bool changes;
} commands[] = {
    {"status", false}, {"members", false},   {"events", false}, {"version", false}, {"metrics", false},
    {"leave", true},   {"kubeconfig", true}, {"retry", true},   {"survey", true},   {"fix", true},
    {"rotate", true},  {"evict", true},      {"invite", true},  {"verify", true},
};

#define UID_NOBODY 65534

bool control_may_change(const struct control_server *s, const struct client *c)
{
    /* `nobody` is shared by whoever has no user of their own: not ours, even where the agent runs as it. */
    bool own = c->uid == geteuid() && c->uid != UID_NOBODY;

    return c->uid == 0 || own || (s->has_also && c->uid == s->also);
}

static void buffer_free(uint8_t **bytes, size_t *room)
{
    if (*bytes)
        sodium_memzero(*bytes, *room);
    free(*bytes);
    *bytes = NULL;
    *room = 0;
}

/* Grows to `need`; the old buffer is wiped, as a kubeconfig may have been in it. */
static int buffer_reserve(uint8_t **bytes, size_t used, size_t *room, size_t need)
{
    size_t size = *room ? *room : 1024;
    uint8_t *grown;

    if (need <= *room)
        return 0;
    while (size < need)
        size *= 2;
    grown = malloc(size);
    if (!grown)
        return KPEER_ENOMEM;
    if (used)
        memcpy(grown, *bytes, used);
    buffer_free(bytes, room);
    *bytes = grown;
    *room = size;
    return 0;
}

static void kill_client(struct client *c)
{
    c->dead = true;
    if (c->calling)
        c->left = c->call.id;
    c->calling = c->subscribed = false;
    /* Wakes the loop, which sweeps. */
    shutdown(c->fd, SHUT_RDWR);
}

static void watch(struct control_server *s, struct client *c)
{
    bool pending = c->out_at < c->out_used;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | (pending ? EPOLLOUT : 0u), .data.ptr = c};

    epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
}

static void write_out(struct control_server *s, struct client *c)
{
    while (!c->dead && c->out_at < c->out_used) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_used - c->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0) {
            kill_client(c);
            return;
        }
        c->out_at += (size_t)n;
    }
    if (c->out_at == c->out_used) {
        if (c->out)
            sodium_memzero(c->out, c->out_used);
        c->out_at = c->out_used = 0;
    }
    watch(s, c);
}

static void queue(struct control_server *s, struct client *c, const uint8_t *bytes, size_t n)
{
    if (c->dead)
        return;
    if (c->out_at) {
        memmove(c->out, c->out + c->out_at, c->out_used - c->out_at);
        c->out_used -= c->out_at;
        c->out_at = 0;
    }
    if (c->out_used + n > CONTROL_QUEUE_BYTES ||
        buffer_reserve(&c->out, c->out_used, &c->out_room, c->out_used + n)) {
        kill_client(c);
        return;
    }
    memcpy(c->out + c->out_used, bytes, n);
    c->out_used += n;
    write_out(s, c);
}

/* Takes over `frame`. */
static void queue_json(struct control_server *s, struct client *c, json_t *frame)
{
    uint8_t *bytes;
    size_t n;

    if (!frame || control_frame_encode(frame, CONTROL_REPLY_BYTES, &bytes, &n, NULL)) {
        kill_client(c);
    } else {
        queue(s, c, bytes, n);
        sodium_memzero(bytes, n);
        free(bytes);
    }
    json_decref(frame);
}

static struct client *client_of(struct control_call *call)
{
    return (struct client *)(void *)((char *)call - offsetof(struct client, call));
}

static void end_call(struct client *c)
{
    c->calling = c->subscribed = false;
    json_decref(c->args);
    c->args = NULL;
}

void control_send(struct control_call *call, json_t *data)
{
    queue_json(call->server, client_of(call), json_pack("{s:s, s:o}", "kind", "data", "data", data));
}

void control_send_event(struct control_call *call, json_t *event)
{
    queue_json(call->server, client_of(call), json_pack("{s:s, s:o}", "kind", "event", "event", event));
}

void control_reply(struct control_call *call, json_t *data)
{
    if (data)
        control_send(call, data);
    queue_json(call->server, client_of(call), json_pack("{s:s}", "kind", "done"));
    end_call(client_of(call));
}

/* What another program said may be no UTF-8, and jansson takes nothing else. */
static json_t *any_text(const char *text)
{
    json_t *value = json_string(text ? text : "");

    return value ? value : json_string("(unreadable)");
}

static void fail(struct control_server *s, struct client *c, int code, const char *text, const char *hint)
{
    queue_json(s, c,
               json_pack("{s:s, s:i, s:o, s:o}", "kind", "error", "code", code, "message", any_text(text),
                         "hint", any_text(hint)));
}

void control_fail(struct control_call *call, int code, const char *text, const char *hint)
{
    fail(call->server, client_of(call), code, text, hint);
    end_call(client_of(call));
}

void control_subscribe(struct control_call *call)
{
    client_of(call)->subscribed = true;
}

void control_broadcast_event(struct control_server *s, json_t *event)
{
    json_t *frame = json_pack("{s:s, s:o}", "kind", "event", "event", event);
    uint8_t *bytes;
    size_t n;

    if (frame && control_frame_encode(frame, CONTROL_REPLY_BYTES, &bytes, &n, NULL) == 0) {
        for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
            if (s->client[i].fd >= 0 && s->client[i].subscribed)
                queue(s, &s->client[i], bytes, n);
        free(bytes);
    }
    json_decref(frame);
}

struct control_call *control_find(struct control_server *s, uint64_t id)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (s->client[i].fd >= 0 && s->client[i].calling && s->client[i].call.id == id)
            return &s->client[i].call;
    return NULL;
}

static void refuse(struct control_server *s, struct client *c, bool change)
{
    if (change)
        fail(s, c, KPEER_EREFUSED, "only root may do this", "run it again with sudo");
    else
        fail(s, c, KPEER_EREFUSED, "only root and members of the group kpeer may ask the agent",
             "run it with sudo, or: usermod -aG kpeer YOU, and log in again");
}

/* A whole request is in `c->in`, from byte 4 on. */
static void serve(struct control_server *s, struct client *c, size_t n)
{
    json_t *request = NULL, *args;
    const char *cmd;
    size_t i;

    if (!c->reader && !control_may_change(s, c)) {
        refuse(s, c, false);
        return;
    }
    if (control_frame_decode(c->in + 4, n, &request, NULL)) {
        kill_client(c);
        return;
    }
    cmd = json_string_value(json_object_get(request, "cmd"));
    args = json_object_get(request, "args");
    for (i = 0; cmd && i < COUNT_OF(commands) && strcmp(commands[i].cmd, cmd) != 0; i++)
        ;
    if (!cmd || i == COUNT_OF(commands) || (args && !json_is_object(args))) {
        fail(s, c, KPEER_EINVAL, "the agent knows no such request", "is it of another version of kpeer?");
    } else if (commands[i].changes && !control_may_change(s, c)) {
        refuse(s, c, true);
    } else {
        snprintf(c->cmd, sizeof c->cmd, "%s", cmd);
        c->args = args ? json_incref(args) : json_object();
        c->calling = true;
        c->call = (struct control_call){
            .id = ++s->calls, .cmd = c->cmd, .args = c->args, .uid = c->uid, .server = s};
        s->callbacks->request(s->ctx, &c->call);
    }
    json_decref(request);
}

/* Length of the frame that `in` begins with; 0 while that is not known. SIZE_MAX: not allowed. */
static size_t frame_bytes(const struct client *c)
{
    size_t n = 0;

    if (c->in_used < 4)
        return 0;
    for (size_t i = 0; i < 4; i++)
        n = n << 8 | c->in[i];
    return n == 0 || n > CONTROL_REQUEST_BYTES ? SIZE_MAX : n;
}

/* Reads what is there, up to the end of one request: whoever writes one after the other, and anybody may,
 * must not keep the agent from all else. Never more than one frame is kept. */
static void read_in(struct control_server *s, struct client *c)
{
    while (!c->dead) {
        size_t frame = frame_bytes(c), want = frame ? 4 + frame : 4;
        ssize_t n;

        if (frame == SIZE_MAX || c->calling || buffer_reserve(&c->in, c->in_used, &c->in_room, want)) {
            char byte;

            /* While a request is open, silence and an end are all that may come. */
            if (c->calling && recv(c->fd, &byte, 1, MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR))
                return;
            kill_client(c);
            return;
        }
        n = recv(c->fd, c->in + c->in_used, want - c->in_used, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            kill_client(c);
            return;
        }
        c->in_used += (size_t)n;
        frame = frame_bytes(c);
        if (frame && frame != SIZE_MAX && c->in_used == 4 + frame) {
            c->in_used = 0;
            serve(s, c, frame);
            return;
        }
    }
}

void control_client_free(struct control_server *s, struct client *c)
{
    epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    close(c->fd);
    json_decref(c->args);
    buffer_free(&c->in, &c->in_room);
    buffer_free(&c->out, &c->out_room);
    memset(c, 0, sizeof *c);
    c->fd = -1;
}

static void sweep(struct control_server *s)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        uint64_t left = s->client[i].left;

        if (s->client[i].fd < 0 || !s->client[i].dead)
            continue;
        control_client_free(s, &s->client[i]);
        if (left && s->callbacks->gone)
            s->callbacks->gone(s->ctx, left);
    }
}

void control_server_dispatch(struct control_server *s)
{
    struct epoll_event ev[32];
    int n;

    sweep(s);
    n = epoll_wait(s->epoll_fd, ev, COUNT_OF(ev), 0);
    for (int i = 0; i < n; i++) {
        struct client *c = ev[i].data.ptr;

        if (!c || c->fd < 0 || c->dead)
            continue;
        if (ev[i].events & EPOLLOUT)
            write_out(s, c);
        if (ev[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            read_in(s, c);
    }
    sweep(s);
    /* Last, as a newcomer may take the slot of one that has an event in this round. */
    control_accept(s);
}

int control_server_fd(const struct control_server *s)
{
    return s->epoll_fd;
}

void control_server_allow(struct control_server *s, uid_t uid)
{
    s->also = uid;
    s->has_also = true;
}

void control_server_flush(struct control_server *s, int timeout_ms)
{
    struct timespec t;
    int64_t now, end = 0;

    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *c = &s->client[i];

        while (c->fd >= 0 && !c->dead && c->out_at < c->out_used) {
            struct pollfd p = {.fd = c->fd, .events = POLLOUT};

            clock_gettime(CLOCK_MONOTONIC, &t);
            now = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
            end = end ? end : now + timeout_ms;
            if (now >= end || poll(&p, 1, (int)(end - now)) == 0)
                return;
            write_out(s, c);
        }
    }
}

void control_server_free(struct control_server *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (s->client[i].fd >= 0)
            control_client_free(s, &s->client[i]);
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
        /* Where root was dropped this may not be possible; the next agent replaces it. */
        unlink(s->address.sun_path);
    }
    if (s->epoll_fd >= 0)
        close(s->epoll_fd);
    free(s);
}
