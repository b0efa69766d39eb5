#include "peer/agent/exporter.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/mem.h"

#define PATH       "/metrics"
#define HEAD_BYTES 320

struct client {
    int fd; /* -1: free slot */
    uint64_t since_ms;
    size_t in_used;
    char in[EXPORTER_REQUEST_BYTES];
    char *out; /* the answer, head and body; NULL: not yet */
    size_t out_at, out_bytes;
};

struct exporter {
    int listen_fd;
    int epoll_fd;
    exporter_page *page;
    void *ctx;
    struct client client[EXPORTER_CLIENTS_MAX];
};

/* ---- what is asked ---- */

/* What is left of the head. */
struct text {
    const char *at, *end;
};

static bool is_token(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_visible(char c)
{
    return c > ' ' && c < 0x7f;
}

static size_t span(const struct text *t, bool (*of)(char c))
{
    size_t n = 0;

    while (t->at + n < t->end && of(t->at[n]))
        n++;
    return n;
}

static bool take(struct text *t, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(t->end - t->at) < n || memcmp(t->at, word, n) != 0)
        return false;
    t->at += n;
    return true;
}

static bool is_value(char c)
{
    return c == '\t' || (c >= ' ' && c != 0x7f) || (c & 0x80);
}

/* Whether a value of Host names the loopback, with a port or without. A web page can make its own name lead
 * here, but not ask by another one. */
static bool names_loopback(const char *at, size_t n)
{
    char name[16]; /* of the longest address */
    struct in_addr in;
    size_t digits = 0;

    for (; n && (*at == ' ' || *at == '\t'); n--)
        at++;
    while (n && (at[n - 1] == ' ' || at[n - 1] == '\t'))
        n--;
    while (digits < n && isdigit((unsigned char)at[n - 1 - digits]))
        digits++;
    if (digits < n && at[n - 1 - digits] == ':')
        n -= digits + 1;
    if (n >= sizeof name)
        return false;
    memcpy(name, at, n);
    name[n] = '\0';
    return strcasecmp(name, "localhost") == 0 || strcmp(name, "[::1]") == 0 ||
           (inet_pton(AF_INET, name, &in) == 1 && ntohl(in.s_addr) >> 24 == 127);
}

/* One field, "Name: value" and its end of line; *hosts counts the fields Host, which name the loopback. */
static bool take_field(struct text *t, unsigned *hosts)
{
    size_t name = span(t, is_token), value;
    bool host = name == 4 && strncasecmp(t->at, "Host", 4) == 0;

    if (name == 0)
        return false;
    *hosts += host;
    t->at += name;
    if (!take(t, ":"))
        return false;
    value = span(t, is_value);
    if (host && !names_loopback(t->at, value))
        return false;
    t->at += value;
    return take(t, "\r\n");
}

/* A query is ignored, as a monitor may be told to send one. */
static bool is_path(const char *target, size_t n)
{
    size_t path = strlen(PATH);

    return n >= path && memcmp(target, PATH, path) == 0 && (n == path || target[path] == '?');
}

/* RFC 9112, 3 and 5, without what it allows for the sake of old peers. */
static int judge_head(struct text t)
{
    const char *method = t.at, *target;
    size_t method_bytes = span(&t, is_token), target_bytes;
    unsigned hosts = 0, minor;

    t.at += method_bytes;
    if (method_bytes == 0 || !take(&t, " "))
        return 400;
    target = t.at;
    target_bytes = span(&t, is_visible);
    t.at += target_bytes;
    if (target_bytes == 0 || !take(&t, " HTTP/"))
        return 400;
    if (t.end - t.at < 5 || !isdigit((unsigned char)t.at[0]) || t.at[1] != '.' ||
        !isdigit((unsigned char)t.at[2]) || t.at[3] != '\r' || t.at[4] != '\n')
        return 400;
    if (t.at[0] != '1')
        return 505;
    minor = (unsigned)(t.at[2] - '0');
    t.at += 5;
    while (!take(&t, "\r\n"))
        if (!take_field(&t, &hosts))
            return 400;
    if (hosts > 1 || (minor > 0 && hosts == 0))
        return 400;
    if (!is_path(target, target_bytes))
        return 404;
    return method_bytes == 3 && memcmp(method, "GET", 3) == 0 ? 200 : 405;
}

int exporter_judge(const char *bytes, size_t n)
{
    const char *end = memmem(bytes, n, "\r\n\r\n", 4);

    if (end)
        return judge_head((struct text){bytes, end + 4});
    return n < EXPORTER_REQUEST_BYTES ? 0 : 431;
}

/* ---- what is answered ---- */

static const char *reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 431:
        return "Request Header Fields Too Large";
    case 503:
        return "Service Unavailable";
    default:
        return "HTTP Version Not Supported";
    }
}

static void answer(struct exporter *e, struct client *c, int status)
{
    char head[HEAD_BYTES], words[64];
    size_t body_bytes = 0;
    cleanup_free char *page = status == 200 ? e->page(e->ctx, &body_bytes) : NULL;
    const char *body = page;
    int n;

    if (status == 200 && !page)
        status = 503;
    if (!page) {
        body = words;
        body_bytes = (size_t)snprintf(words, sizeof words, "%d %s\n", status, reason(status));
    }
    n = snprintf(head, sizeof head,
                 "HTTP/1.1 %d %s\r\nContent-Type: text/plain; %scharset=utf-8\r\nContent-Length: %zu\r\n"
                 "%sCache-Control: no-store\r\nConnection: close\r\n\r\n",
                 status, reason(status), page ? "version=0.0.4; " : "", body_bytes,
                 status == 405 ? "Allow: GET\r\n" : "");
    c->out = malloc((size_t)n + body_bytes);
    if (!c->out)
        return; /* its time will be over */
    memcpy(c->out, head, (size_t)n);
    memcpy(c->out + n, body, body_bytes);
    c->out_bytes = (size_t)n + body_bytes;
}

/* ---- connections ---- */

static void end(struct exporter *e, struct client *c)
{
    epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    close(c->fd);
    free(c->out);
    c->out = NULL;
    c->fd = -1;
}

static bool watch(struct exporter *e, struct client *c, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};

    return epoll_ctl(e->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) == 0;
}

/* Everything that can be sent now; false: the connection is of no use any more. */
static bool send_out(struct exporter *e, struct client *c)
{
    while (c->out_at < c->out_bytes) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_bytes - c->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return watch(e, c, EPOLLIN | EPOLLOUT);
        if (n < 0 && errno != EINTR)
            return false;
        c->out_at += n > 0 ? (size_t)n : 0;
    }
    /* The other side closes; were it done here, what it still sends would take the answer away from it. */
    return watch(e, c, EPOLLIN) && shutdown(c->fd, SHUT_WR) == 0;
}

/* What comes after the head is thrown away. */
static bool receive(struct exporter *e, struct client *c)
{
    char rest[512];
    bool more = c->in_used < sizeof c->in && !c->out;
    ssize_t n = recv(c->fd, more ? c->in + c->in_used : rest, more ? sizeof c->in - c->in_used : sizeof rest,
                     MSG_DONTWAIT);
    int status;

    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    if (n == 0) /* it says no more, and may still listen */
        return c->out_at < c->out_bytes && watch(e, c, EPOLLOUT);
    if (!more)
        return true;
    c->in_used += (size_t)n;
    status = exporter_judge(c->in, c->in_used);
    if (!status)
        return true;
    answer(e, c, status);
    return c->out && send_out(e, c);
}

static struct client *free_slot(struct exporter *e)
{
    struct client *oldest = &e->client[0];

    for (size_t i = 0; i < EXPORTER_CLIENTS_MAX; i++) {
        if (e->client[i].fd < 0)
            return &e->client[i];
        if (e->client[i].since_ms < oldest->since_ms)
            oldest = &e->client[i];
    }
    end(e, oldest);
    return oldest;
}

static void let_in(struct exporter *e, uint64_t now_ms)
{
    for (int i = 0; i < EXPORTER_CLIENTS_MAX; i++) {
        int fd = accept4(e->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        struct client *c = fd < 0 ? NULL : free_slot(e);
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

        if (!c)
            return;
        c->fd = fd;
        c->since_ms = now_ms;
        c->in_used = c->out_at = c->out_bytes = 0;
        if (epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, fd, &ev))
            end(e, c);
    }
}

void exporter_dispatch(struct exporter *e, uint64_t now_ms)
{
    struct epoll_event ev[EXPORTER_CLIENTS_MAX + 1];
    int n = epoll_wait(e->epoll_fd, ev, COUNT_OF(ev), 0);

    for (int i = 0; i < n; i++) {
        struct client *c = ev[i].data.ptr;
        bool good = true;

        if (!c)
            continue;
        if (ev[i].events & EPOLLOUT)
            good = send_out(e, c);
        if (good && ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            good = receive(e, c);
        if (!good)
            end(e, c);
    }
    let_in(e, now_ms); /* last, as a newcomer may take the slot of one that has an event in this round */
}

uint64_t exporter_tick(struct exporter *e, uint64_t now_ms)
{
    uint64_t wake = UINT64_MAX;

    for (size_t i = 0; e && i < EXPORTER_CLIENTS_MAX; i++) {
        struct client *c = &e->client[i];

        if (c->fd >= 0 && now_ms - c->since_ms >= EXPORTER_TIME_MS)
            end(e, c);
        if (c->fd >= 0 && c->since_ms + EXPORTER_TIME_MS < wake)
            wake = c->since_ms + EXPORTER_TIME_MS;
    }
    return wake;
}

int exporter_fd(const struct exporter *e)
{
    return e->epoll_fd;
}

/* ---- start and end ---- */

static socklen_t fill_address(struct sockaddr_storage *to, const char *address, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    if (inet_pton(AF_INET, address, &in.sin_addr) == 1) {
        memcpy(to, &in, sizeof in);
        return sizeof in;
    }
    if (inet_pton(AF_INET6, address, &in6.sin6_addr) != 1)
        return 0;
    memcpy(to, &in6, sizeof in6);
    return sizeof in6;
}

static int listen_at(struct exporter *e, const char *address, uint16_t port, struct err *err)
{
    struct sockaddr_storage at = {0};
    struct epoll_event ev = {.events = EPOLLIN};
    socklen_t n = fill_address(&at, address, port);
    int one = 1;

    if (n == 0)
        return err_set(err, KPEER_EINVAL, "metrics: %s is no address", address);
    e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    e->listen_fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (e->epoll_fd < 0 || e->listen_fd < 0 ||
        setsockopt(e->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
        bind(e->listen_fd, (struct sockaddr *)&at, n) || listen(e->listen_fd, EXPORTER_CLIENTS_MAX) ||
        epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, e->listen_fd, &ev)) {
        err_errno(err, errno, "cannot serve metrics at %s port %u", address, port);
        err_hint(err, "set another port for metrics in kpeer.yaml");
        return KPEER_EIO;
    }
    return 0;
}

int exporter_open(struct exporter **out, const char *address, uint16_t port, exporter_page *page, void *ctx,
                  struct err *err)
{
    struct exporter *e = calloc(1, sizeof *e);
    int code;

    if (!e)
        return err_set(err, KPEER_ENOMEM, "no memory to serve metrics");
    e->listen_fd = e->epoll_fd = -1;
    e->page = page;
    e->ctx = ctx;
    for (size_t i = 0; i < EXPORTER_CLIENTS_MAX; i++)
        e->client[i].fd = -1;
    code = listen_at(e, address, port, err);
    if (code) {
        exporter_close(e);
        return code;
    }
    *out = e;
    return 0;
}

void exporter_close(struct exporter *e)
{
    if (!e)
        return;
    for (size_t i = 0; i < EXPORTER_CLIENTS_MAX; i++)
        if (e->client[i].fd >= 0)
            end(e, &e->client[i]);
    if (e->listen_fd >= 0)
        close(e->listen_fd);
    if (e->epoll_fd >= 0)
        close(e->epoll_fd);
    free(e);
}
