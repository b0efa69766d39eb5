#include "discovery/reach.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "discovery/address.h"
#include "protocol/mem.h"

#define PROOF_BYTES   16
#define IP_UDP_BYTES  28 /* headers in front of a datagram */
#define GUESTS_MAX    128
#define TRIES_MAX     (SURVEY_SPREAD * SURVEY_TCP_PORTS)
#define ENDS_MAX      (SURVEY_PORTS + 1 + GUESTS_MAX + TRIES_MAX)
#define EVENTS        64
#define DATAGRAMS     256 /* taken in at once */
#define RECEIVE_BYTES (1024 * 1024)

/* Datagrams are sent at once, and again for as long as nobody says that it is enough. */
static const uint32_t round_ms[] = {0, 300, 900, 1800};

enum end_kind { END_FREE = 0, END_LISTENER, END_GUEST, END_HEARER, END_SENDER, END_TRY };

struct end {
    enum end_kind kind;
    int fd;
    unsigned host, port; /* of a try: its place in the order; of a listener: its port's place */
    uint8_t got[PROOF_BYTES];
    size_t got_bytes;
};

struct datagram {
    uint8_t proof[PROOF_BYTES];
    uint8_t sender[PEER_ID_BYTES];
    uint8_t length[2]; /* of the IP packet */
    uint8_t rest[];
};

struct reach {
    int epoll_fd;
    reach_callback *report;
    void *ctx;
    struct reach_order order; /* survey 0: none */
    struct reach_report told;
    bool due; /* to be reported at the next tick */
    bool reported;
    uint64_t begun_ms;
    size_t rounds; /* of datagrams that were sent */
    size_t tries;  /* that go on */
    uint64_t now_ms;
    struct end end[ENDS_MAX];
    uint8_t buffer[SURVEY_MTU_MAX];
};

/* ---- ends ---- */

static struct end *add_end(struct reach *r, enum end_kind kind, int fd, uint32_t events)
{
    size_t i = 0;
    while (i < ENDS_MAX && r->end[i].kind != END_FREE)
        i++;
    if (i == ENDS_MAX)
        return NULL;
    struct epoll_event ev = {.events = events, .data.u32 = (uint32_t)i};
    if (epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, fd, &ev))
        return NULL;
    r->end[i] = (struct end){.kind = kind, .fd = fd};
    return &r->end[i];
}

/* A reset leaves nothing behind: the port is free at once for whoever needs it. */
static void close_hard(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static void drop_end(struct reach *r, struct end *e)
{
    r->tries -= e->kind == END_TRY;
    if (e->kind == END_TRY || e->kind == END_GUEST)
        close_hard(e->fd);
    else
        close(e->fd);
    e->kind = END_FREE;
}

static void close_all(struct reach *r)
{
    for (size_t i = 0; i < ENDS_MAX; i++)
        if (r->end[i].kind != END_FREE)
            drop_end(r, &r->end[i]);
    sodium_memzero(&r->order, sizeof r->order);
    r->due = r->reported = false;
    r->rounds = 0;
}

static bool to_sockaddr(const char *text, uint16_t port, struct sockaddr_in *out)
{
    struct address a;
    *out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    if (address_parse(text, &a) || a.n != 4)
        return false;
    memcpy(&out->sin_addr, a.b, 4);
    return true;
}

/* Bound to our proven address, so that it is that network which is tried; -1 with errno. */
static int bound(const struct reach *r, int type, uint16_t port)
{
    struct sockaddr_in own;
    int fd, on = 1;
    if (!to_sockaddr(r->order.address, port, &own)) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && type == SOCK_STREAM && port)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&own, sizeof own) == 0)
        return fd;
    int why = errno;
    if (fd >= 0)
        close(fd);
    errno = why;
    return -1;
}

/* ---- opening ---- */

static uint8_t open_tcp(struct reach *r, unsigned port)
{
    int fd = bound(r, SOCK_STREAM, survey_port[port]);
    if (fd < 0)
        return errno == EADDRINUSE ? LISTEN_LIVE : LISTEN_NOT;
    struct end *e = listen(fd, GUESTS_MAX) == 0 ? add_end(r, END_LISTENER, fd, EPOLLIN) : NULL;
    if (!e) {
        close(fd);
        return LISTEN_NOT;
    }
    e->port = port;
    return LISTEN_OURS;
}

static uint8_t open_udp(struct reach *r)
{
    int room = RECEIVE_BYTES, fd = bound(r, SOCK_DGRAM, survey_port[SURVEY_UDP]);
    if (fd < 0)
        return LISTEN_NOT; /* Flannel's device, or whoever has the port: left alone */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (add_end(r, END_HEARER, fd, 0)) /* what comes waits until we know who may come */
        return LISTEN_OURS;
    close(fd);
    return LISTEN_NOT;
}

static uint16_t mtu_of(const char *interface)
{
    struct ifreq req = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), mtu = 0;
    if (fd >= 0 && interface[0] && !mem_copy_text(req.ifr_name, sizeof req.ifr_name, interface) &&
        ioctl(fd, SIOCGIFMTU, &req) == 0)
        mtu = req.ifr_mtu;
    if (fd >= 0)
        close(fd);
    return (uint16_t)(mtu < 0 ? 0 : mtu > SURVEY_MTU_MAX ? SURVEY_MTU_MAX : mtu);
}

static void do_open(struct reach *r, const struct reach_order *order)
{
    close_all(r);
    r->order = *order;
    r->told = (struct reach_report){.what = REACH_OPEN, .survey = order->survey};
    r->told.mtu = mtu_of(order->interface);
    for (unsigned p = 0; p < SURVEY_TCP_PORTS; p++)
        r->told.listen[p] = open_tcp(r, p);
    r->told.listen[SURVEY_UDP] = open_udp(r);
    r->due = true;
}

/* ---- proofs ---- */

static void prove(const struct reach *r, const struct peer_id *who, uint16_t number,
                  uint8_t out[static PROOF_BYTES])
{
    static const char text[] = "kpeer reach 1";
    uint8_t in[sizeof text + PEER_ID_BYTES + 2];
    memcpy(in, text, sizeof text);
    memcpy(in + sizeof text, who->b, PEER_ID_BYTES);
    in[sizeof text + PEER_ID_BYTES] = (uint8_t)(number >> 8);
    in[sizeof text + PEER_ID_BYTES + 1] = (uint8_t)number;
    crypto_generichash(out, PROOF_BYTES, in, sizeof in, r->order.key, sizeof r->order.key);
}

/* ---- trying ---- */

static void note(struct reach *r, unsigned host, unsigned port, enum survey_reach what)
{
    r->told.seen.tcp[host][port] = (uint8_t)what;
}

static enum survey_reach reach_of(int why)
{
    return why == ECONNREFUSED || why == ECONNRESET ? REACH_REFUSED : REACH_FILTERED;
}

static void begin_try(struct reach *r, unsigned host, unsigned port)
{
    const struct reach_host *to = &r->order.next[host];
    struct sockaddr_in sa;
    if (to->listen[port] == LISTEN_NOT || !to_sockaddr(to->address, survey_port[port], &sa))
        return;
    int fd = bound(r, SOCK_STREAM, 0);
    if (fd < 0)
        return;
    note(r, host, port, REACH_FILTERED); /* until we know better */
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) && errno != EINPROGRESS) {
        note(r, host, port, reach_of(errno));
        close(fd);
        return;
    }
    struct end *e = add_end(r, END_TRY, fd, EPOLLOUT);
    if (!e) {
        note(r, host, port, REACH_UNTRIED);
        close(fd);
        return;
    }
    e->host = host;
    e->port = port;
    r->tries++;
}

static void end_try(struct reach *r, struct end *e, enum survey_reach what)
{
    note(r, e->host, e->port, what);
    drop_end(r, e);
}

static void read_proof(struct reach *r, struct end *e)
{
    const struct reach_host *to = &r->order.next[e->host];
    uint8_t proof[PROOF_BYTES];
    ssize_t n = recv(e->fd, e->got + e->got_bytes, sizeof e->got - e->got_bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        end_try(r, e, REACH_OTHER);
        return;
    }
    e->got_bytes += (size_t)n;
    if (e->got_bytes < sizeof e->got)
        return;
    prove(r, &to->id, survey_port[e->port], proof);
    end_try(r, e, sodium_memcmp(proof, e->got, sizeof proof) == 0 ? REACH_OK : REACH_OTHER);
}

/* A try that is through waits for the proof, unless somebody else listens there, who owes us none. */
static void try_ready(struct reach *r, struct end *e, uint32_t events)
{
    int why = 0;
    socklen_t n = sizeof why;
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (uint32_t)(e - r->end)};
    if (!(events & EPOLLOUT)) {
        read_proof(r, e);
        return;
    }
    if (getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &why, &n) || why)
        end_try(r, e, reach_of(why));
    else if (r->order.next[e->host].listen[e->port] == LISTEN_LIVE)
        end_try(r, e, REACH_OK);
    else if (epoll_ctl(r->epoll_fd, EPOLL_CTL_MOD, e->fd, &ev))
        end_try(r, e, REACH_UNTRIED);
}

static void send_datagram(struct reach *r, int fd, const struct reach_host *to, uint16_t length)
{
    struct datagram *d = (struct datagram *)r->buffer;
    struct sockaddr_in sa;
    if (!to_sockaddr(to->address, survey_port[SURVEY_UDP], &sa))
        return;
    prove(r, &r->order.me, length, d->proof);
    memcpy(d->sender, r->order.me.b, sizeof d->sender);
    d->length[0] = (uint8_t)(length >> 8);
    d->length[1] = (uint8_t)length;
    (void)sendto(fd, d, length - IP_UDP_BYTES, 0, (struct sockaddr *)&sa, sizeof sa);
}

/* The longest and the shortest first; the sizes between them only where that was not enough. */
static void send_round(struct reach *r, int fd)
{
    uint16_t size[SURVEY_SIZES];
    bool all = r->rounds > 0;
    memset(r->buffer, 0, sizeof r->buffer);
    for (size_t i = 0; i < r->order.count; i++) {
        const struct reach_host *to = &r->order.next[i];
        uint16_t mtu = to->mtu && to->mtu < r->order.mtu ? to->mtu : r->order.mtu;
        size_t count = survey_sizes(mtu, size);
        for (size_t k = 0; k < count && to->listen[SURVEY_UDP] == LISTEN_OURS; k++)
            if (all || k == 0 || k + 1 == count)
                send_datagram(r, fd, to, size[k]);
    }
}

static struct end *sender(struct reach *r)
{
    int whole = IP_PMTUDISC_PROBE; /* never in pieces, whatever was learnt of the path before */
    for (size_t i = 0; i < ENDS_MAX; i++)
        if (r->end[i].kind == END_SENDER)
            return &r->end[i];
    int fd = bound(r, SOCK_DGRAM, 0);
    if (fd < 0)
        return NULL;
    struct end *e = setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &whole, sizeof whole) == 0
                        ? add_end(r, END_SENDER, fd, 0)
                        : NULL;
    if (!e)
        close(fd);
    return e;
}

static void do_try(struct reach *r, const struct reach_order *order, uint64_t now_ms)
{
    if (r->order.survey != order->survey || r->told.what == REACH_TRY || order->count > SURVEY_SPREAD)
        return;
    r->order = *order;
    r->told.what = REACH_TRY;
    r->begun_ms = now_ms;
    for (uint32_t i = 0; i < ENDS_MAX; i++)
        if (r->end[i].kind == END_HEARER)
            (void)epoll_ctl(r->epoll_fd, EPOLL_CTL_MOD, r->end[i].fd,
                            &(struct epoll_event){.events = EPOLLIN, .data.u32 = i});
    for (unsigned host = 0; host < order->count; host++)
        for (unsigned port = 0; port < SURVEY_TCP_PORTS; port++)
            begin_try(r, host, port);
}

/* ---- what comes in ---- */

static void welcome(struct reach *r, const struct end *listener)
{
    uint8_t proof[PROOF_BYTES];
    int fd;
    prove(r, &r->order.me, survey_port[listener->port], proof);
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        if (send(fd, proof, sizeof proof, MSG_NOSIGNAL) != (ssize_t)sizeof proof ||
            !add_end(r, END_GUEST, fd, EPOLLIN | EPOLLRDHUP))
            close_hard(fd);
    }
}

static void note_datagram(struct reach *r, const struct datagram *d, size_t bytes)
{
    uint8_t proof[PROOF_BYTES];
    uint16_t length = (uint16_t)(d->length[0] << 8 | d->length[1]);
    struct peer_id from;
    memcpy(from.b, d->sender, sizeof from.b);
    prove(r, &from, length, proof);
    if (bytes + IP_UDP_BYTES != length || sodium_memcmp(proof, d->proof, sizeof proof) != 0)
        return;
    for (size_t i = 0; i < r->order.count; i++)
        if (peer_id_equal(&r->order.before[i].id, &from) && r->told.seen.heard[i] < length)
            r->told.seen.heard[i] = length;
}

static void hear(struct reach *r, const struct end *e)
{
    for (int i = 0; i < DATAGRAMS; i++) {
        ssize_t n = recv(e->fd, r->buffer, sizeof r->buffer, 0);
        if (n < 0)
            return;
        if ((size_t)n >= sizeof(struct datagram))
            note_datagram(r, (const struct datagram *)r->buffer, (size_t)n);
    }
}

static void end_ready(struct reach *r, struct end *e, uint32_t events)
{
    switch (e->kind) {
    case END_LISTENER:
        welcome(r, e);
        break;
    case END_GUEST:
        drop_end(r, e); /* it has its proof, and we want nothing of it */
        break;
    case END_HEARER:
        hear(r, e);
        break;
    case END_TRY:
        try_ready(r, e, events);
        break;
    case END_SENDER: {
        int why;
        socklen_t n = sizeof why;
        (void)getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &why, &n); /* a refusal is seen by who hears nothing */
        break;
    }
    case END_FREE:
        break;
    }
}

/* ---- reporting ---- */

static bool hears(const struct reach *r)
{
    return r->told.listen[SURVEY_UDP] == LISTEN_OURS;
}

static bool all_heard(const struct reach *r)
{
    for (size_t i = 0; i < r->order.count && hears(r); i++) {
        const struct reach_host *from = &r->order.before[i];
        uint16_t mtu = from->mtu && from->mtu < r->order.mtu ? from->mtu : r->order.mtu;
        uint16_t most = mtu > SURVEY_SMALL_BYTES ? mtu : SURVEY_SMALL_BYTES;
        if (from->address[0] && r->told.seen.heard[i] < most)
            return false;
    }
    return true;
}

static void report(struct reach *r)
{
    struct reach_report told = r->told;
    r->due = false;
    r->reported |= told.what == REACH_TRY;
    r->report(r->ctx, &told);
}

static uint64_t tick_try(struct reach *r)
{
    uint64_t end_ms = r->begun_ms + r->order.limit_ms;
    if (r->rounds < COUNT_OF(round_ms) && r->now_ms >= r->begun_ms + round_ms[r->rounds]) {
        struct end *e = sender(r);
        if (e)
            send_round(r, e->fd);
        r->rounds++;
    }
    if (!r->reported && (r->now_ms >= end_ms || (r->tries == 0 && all_heard(r))))
        report(r);
    uint64_t round = r->rounds < COUNT_OF(round_ms) ? r->begun_ms + round_ms[r->rounds] : UINT64_MAX;
    return r->reported || round < end_ms ? round : end_ms;
}

uint64_t reach_tick(struct reach *r, uint64_t now_ms)
{
    r->now_ms = now_ms;
    if (r->order.survey == 0)
        return UINT64_MAX;
    if (r->due)
        report(r);
    return r->order.survey && r->told.what == REACH_TRY ? tick_try(r) : UINT64_MAX;
}

void reach_readable(struct reach *r, uint64_t now_ms)
{
    struct epoll_event ev[EVENTS];
    int n = epoll_wait(r->epoll_fd, ev, EVENTS, 0);
    for (int i = 0; i < n; i++)
        if (ev[i].data.u32 < ENDS_MAX)
            end_ready(r, &r->end[ev[i].data.u32], ev[i].events);
    (void)reach_tick(r, now_ms);
}

/* ---- from the outside ---- */

void reach_do(struct reach *r, const struct reach_order *order, uint64_t now_ms)
{
    r->now_ms = now_ms;
    if (order->what == REACH_OPEN)
        do_open(r, order);
    else if (order->what == REACH_TRY)
        do_try(r, order, now_ms);
    else
        close_all(r);
}

int reach_fd(const struct reach *r)
{
    return r->epoll_fd;
}

int reach_new(struct reach **out, reach_callback *callback, void *ctx, struct err *err)
{
    struct reach *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, KPEER_ENOMEM, "no memory for surveys");
    r->report = callback;
    r->ctx = ctx;
    r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (r->epoll_fd < 0) {
        int rc = err_errno(err, errno, "cannot set up surveys");
        free(r);
        return rc;
    }
    *out = r;
    return 0;
}

void reach_free(struct reach *r)
{
    if (!r)
        return;
    close_all(r);
    close(r->epoll_fd);
    free(r);
}
