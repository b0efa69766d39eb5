/* The commands' end of the local socket. */
#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "peer/control.h"
#include "peer/control_frame.h"
#include "protocol/mem.h"

struct control_client {
    int fd;
    uint8_t *in; /* wiped when it moves or goes: a kubeconfig may be in it */
    size_t used, room;
};

int control_connect(struct control_client **out, const char *path, struct err *err)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct control_client *c;

    if (mem_copy_text(to.sun_path, sizeof to.sun_path, path))
        return err_set(err, KPEER_EINVAL, "local socket %s: the path is too long", path);
    c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd >= 0 && connect(c->fd, (struct sockaddr *)&to, sizeof to) == 0) {
        *out = c;
        return 0;
    }
    if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR) {
        err_set(err, KPEER_ENOAGENT, "no agent is running on this host (nobody answers at %s)", path);
        err_hint(err, "start it: sudo kpeer up");
        control_close(c);
        return KPEER_ENOAGENT;
    }
    err_errno(err, errno, "local socket %s", path);
    control_close(c);
    return KPEER_EIO;
}

void control_close(struct control_client *c)
{
    if (!c)
        return;
    if (c->fd >= 0)
        close(c->fd);
    if (c->in)
        sodium_memzero(c->in, c->room);
    free(c->in);
    free(c);
}

int control_client_fd(const struct control_client *c)
{
    return c->fd;
}

int control_request(struct control_client *c, const char *cmd, json_t *args, struct err *err)
{
    json_t *request = json_pack("{s:s, s:o}", "cmd", cmd, "args", args ? args : json_object());
    cleanup_free uint8_t *bytes = NULL;
    size_t n = 0, sent = 0;
    int code;

    if (!request)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    code = control_frame_encode(request, CONTROL_REQUEST_BYTES, &bytes, &n, err);
    json_decref(request);
    while (!code && sent < n) {
        ssize_t put = send(c->fd, bytes + sent, n - sent, MSG_NOSIGNAL);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return err_errno(err, errno, "asking the agent");
        sent += (size_t)put;
    }
    return code;
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* KPEER_ETIMEOUT, without a text, when time runs out: control_next does not pass it on. */
static int wait_readable(struct control_client *c, int64_t end, struct err *err)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    int64_t left = end < 0 ? -1 : end - now_ms();
    int n = poll(&p, 1, end < 0 ? -1 : left > 0 ? (int)left : 0);

    if (n > 0)
        return 0;
    if (n == 0)
        return KPEER_ETIMEOUT;
    if (errno == EINTR)
        return err_set(err, KPEER_ECANCELED, "interrupted");
    return err_errno(err, errno, "waiting for the agent");
}

static int reserve(struct control_client *c, size_t need, struct err *err)
{
    uint8_t *grown;

    if (need <= c->room)
        return 0;
    grown = malloc(need);
    if (!grown)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    if (c->used)
        memcpy(grown, c->in, c->used);
    if (c->in)
        sodium_memzero(c->in, c->room);
    free(c->in);
    c->in = grown;
    c->room = need;
    return 0;
}

/* Reads until `need` bytes are there. What came stays for the next call, when time runs out in between. */
static int fill(struct control_client *c, size_t need, int64_t end, struct err *err)
{
    int code = reserve(c, need, err);

    while (!code && c->used < need) {
        ssize_t n = recv(c->fd, c->in + c->used, need - c->used, MSG_DONTWAIT);

        if (n > 0)
            c->used += (size_t)n;
        else if (n == 0)
            return err_set(err, KPEER_EIO, "the agent went away");
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            code = wait_readable(c, end, err);
        else if (errno != EINTR)
            return err_errno(err, errno, "the agent went away");
    }
    return code;
}

static int read_frame(struct control_client *c, int64_t end, json_t **out, struct err *err)
{
    size_t n = 0;
    int code = fill(c, 4, end, err);

    if (code)
        return code;
    for (size_t i = 0; i < 4; i++)
        n = n << 8 | c->in[i];
    if (n == 0 || n > CONTROL_REPLY_BYTES)
        return err_set(err, KPEER_EINVAL, "the agent's answer is malformed");
    code = fill(c, 4 + n, end, err);
    if (code)
        return code;
    c->used = 0;
    if (control_frame_decode(c->in + 4, n, out, err))
        return err_wrap(err, "the agent's answer");
    return 0;
}

/* Copies the error that the agent told. */
static int told_error(const json_t *frame, struct err *err)
{
    int code = (int)json_integer_value(json_object_get(frame, "code"));
    const char *message = json_string_value(json_object_get(frame, "message"));
    const char *hint = json_string_value(json_object_get(frame, "hint"));

    err_set(err, code < 0 ? code : KPEER_EIO, "%s", message ? message : "the agent failed");
    if (hint && *hint)
        err_hint(err, "%s", hint);
    return code < 0 ? code : KPEER_EIO;
}

int control_next(struct control_client *c, int timeout_ms, enum control_kind *kind, json_t **out,
                 struct err *err)
{
    json_t *frame = NULL;
    const char *word;
    int code = read_frame(c, timeout_ms < 0 ? -1 : now_ms() + timeout_ms, &frame, err);

    *out = NULL;
    if (code == KPEER_ETIMEOUT)
        *kind = CONTROL_NOTHING;
    if (code)
        return code == KPEER_ETIMEOUT ? 0 : code;
    word = json_string_value(json_object_get(frame, "kind"));
    if (word && strcmp(word, "error") == 0) {
        code = told_error(frame, err);
    } else if (word && strcmp(word, "done") == 0) {
        *kind = CONTROL_DONE;
    } else if (word && (strcmp(word, "data") == 0 || strcmp(word, "event") == 0) &&
               json_object_get(frame, word)) {
        *kind = *word == 'd' ? CONTROL_DATA : CONTROL_EVENT;
        *out = json_incref(json_object_get(frame, word));
    } else {
        code = err_set(err, KPEER_EINVAL, "the agent's answer is malformed");
    }
    json_decref(frame);
    return code;
}

int control_ask(struct control_client *c, const char *cmd, json_t *args, int timeout_ms, json_t **out,
                struct err *err)
{
    enum control_kind kind = CONTROL_DATA;
    json_t *data = NULL, *end = NULL;
    int code = control_request(c, cmd, args, err);

    if (!code)
        code = control_next(c, timeout_ms, &kind, &data, err);
    if (!code && kind == CONTROL_DATA)
        code = control_next(c, timeout_ms, &kind, &end, err);
    if (!code && kind == CONTROL_NOTHING)
        code = err_set(err, KPEER_ETIMEOUT, "the agent did not answer in time");
    if (!code && (kind != CONTROL_DONE || !data))
        code = err_set(err, KPEER_EINVAL, "the agent's answer is malformed");
    json_decref(end);
    if (code) {
        json_decref(data);
        return code;
    }
    *out = data;
    return 0;
}
