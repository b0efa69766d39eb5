#include "peer/agent/knock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 1000
#define TRIES       4
#define EVENTS      16

struct
try {
    int fd; /* -1: free */
    struct peer_id peer;
    uint32_t ipv4; /* in network order */
    uint16_t port;
    bool refused; /* at once */
    int left;     /* tries */
    uint64_t until_ms;
};

struct knocks {
    int epoll_fd;
    knock_refused *refused;
    void *ctx;
    struct try list[KNOCKS_MAX];
};

int knocks_new(struct knocks **out, knock_refused *refused, void *ctx, struct err *err)
{
    struct knocks *k = calloc(1, sizeof *k);
    if (!k)
        return err_set(err, KPEER_ENOMEM, "no memory to knock at peers");
    k->refused = refused;
    k->ctx = ctx;
    for (size_t i = 0; i < KNOCKS_MAX; i++)
        k->list[i].fd = -1;
    k->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (k->epoll_fd < 0) {
        int rc = err_errno(err, errno, "cannot set up knocking at peers");
        free(k);
        return rc;
    }
    *out = k;
    return 0;
}

static void end(struct try *t)
{
    close(t->fd);
    t->fd = -1;
}

void knocks_free(struct knocks *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < KNOCKS_MAX; i++)
        if (k->list[i].fd >= 0)
            end(&k->list[i]);
    close(k->epoll_fd);
    free(k);
}

int knocks_fd(const struct knocks *k)
{
    return k->epoll_fd;
}

/* A free one; NULL: there is none, or the peer is being tried. */
static struct try *take(struct knocks *k, const struct peer_id *peer, uint64_t now_ms)
{
    struct try *free = NULL;
    for (size_t i = 0; i < KNOCKS_MAX; i++) {
        struct try *t = &k->list[i];
        if (t->fd >= 0 && now_ms >= t->until_ms)
            end(t);
        if (t->fd >= 0 && peer_id_equal(&t->peer, peer))
            return NULL;
        if (t->fd < 0)
            free = t;
    }
    return free;
}

static void begin(struct knocks *k, struct try *t)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(t->port), .sin_addr = {.s_addr = t->ipv4}};
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (uint32_t)(t - k->list)};
    t->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (t->fd < 0)
        return;
    int why = connect(t->fd, (struct sockaddr *)&sa, sizeof sa) ? errno : 0;
    t->refused = why == ECONNREFUSED; /* told by knocks_serve all the same */
    if ((why && why != EINPROGRESS && !t->refused) || epoll_ctl(k->epoll_fd, EPOLL_CTL_ADD, t->fd, &ev))
        end(t);
}

void knock(struct knocks *k, const struct peer_id *peer, uint32_t ipv4, uint16_t port, uint64_t now_ms)
{
    struct try *t = ipv4 ? take(k, peer, now_ms) : NULL;
    if (!t)
        return;
    *t = (struct try){
        .fd = -1, .peer = *peer, .ipv4 = ipv4, .port = port, .until_ms = now_ms + PATIENCE_MS, .left = TRIES};
    begin(k, t);
}

/* A process that is just ending may still have taken the connection, which is reset then: so it is tried
 * again. One that lives says something. */
static void heard(struct knocks *k, struct try *t, uint64_t now_ms)
{
    int why = 0;
    uint8_t word;
    socklen_t size = sizeof why;
    struct peer_id peer = t->peer;
    if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &why, &size))
        why = errno;
    errno = 0;
    bool refused = t->refused || why == ECONNREFUSED;
    bool again =
        !refused && (why == ECONNRESET || (why == 0 && recv(t->fd, &word, 1, 0) <= 0 && errno != EAGAIN));
    end(t);
    if (now_ms >= t->until_ms)
        return;
    if (refused)
        k->refused(k->ctx, &peer);
    else if (again && --t->left > 0)
        begin(k, t);
}

void knocks_serve(struct knocks *k, uint64_t now_ms)
{
    struct epoll_event ev[EVENTS];
    int n = epoll_wait(k->epoll_fd, ev, EVENTS, 0);
    for (int i = 0; i < n; i++)
        if (k->list[ev[i].data.u32].fd >= 0)
            heard(k, &k->list[ev[i].data.u32], now_ms);
}
