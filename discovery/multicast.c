#include "discovery/multicast.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE_BUFFER_BYTES (1024 * 1024)
#define ERRORS_MAX           64 /* pending errors of earlier sends that one call skips */

static struct sockaddr_in to_sockaddr(const struct address *a, uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    memcpy(&sa.sin_addr, a->b, 4);
    return sa;
}

static int set_option(int fd, int level, int name, int value, const char *what, struct err *err)
{
    if (setsockopt(fd, level, name, &value, sizeof value))
        return err_errno(err, errno, "cannot set %s on the discovery socket", what);
    return 0;
}

static int prepare(int fd, struct err *err)
{
    static const struct {
        int level, name, value;
        const char *what;
    } options[] = {
        {SOL_SOCKET, SO_REUSEADDR, 1, "address reuse"},
        {IPPROTO_IP, IP_PKTINFO, 1, "packet information"},
        {IPPROTO_IP, IP_MULTICAST_TTL, 1, "the multicast time to live"},
        {IPPROTO_IP, IP_MULTICAST_LOOP, 0, "multicast loop"},
        {IPPROTO_IP, IP_MULTICAST_ALL, 0, "multicast filtering"},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        int rc = set_option(fd, options[i].level, options[i].name, options[i].value, options[i].what, err);
        if (rc)
            return rc;
    }
    /* A larger buffer lets a burst of answers wait; not having it is no fault. */
    int room = RECEIVE_BUFFER_BYTES;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    return 0;
}

int multicast_open(struct multicast *m, const struct address *group, uint16_t port, struct err *err)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (group->n != 4 || !IN_MULTICAST(((uint32_t)group->b[0]) << 24))
        return err_set(err, KPEER_EINVAL, "the discovery group is not an IPv4 multicast address");
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, errno, "cannot open the discovery socket");
    int rc = prepare(fd, err);
    if (!rc && bind(fd, (struct sockaddr *)&any, sizeof any)) {
        rc = err_errno(err, errno, "cannot bind UDP port %u", port);
        err_hint(err, "see what holds the port (ss -ulpn) or set another one (multicast.port)");
    }
    if (rc) {
        close(fd);
        return rc;
    }
    *m = (struct multicast){.fd = fd, .group = *group, .port = port};
    return 0;
}

void multicast_close(struct multicast *m)
{
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
}

static bool membership(const struct multicast *m, uint32_t index, int option)
{
    struct ip_mreqn req = {.imr_ifindex = (int)index};
    memcpy(&req.imr_multiaddr, m->group.b, 4);
    return setsockopt(m->fd, IPPROTO_IP, option, &req, sizeof req) == 0 ||
           (option == IP_ADD_MEMBERSHIP && errno == EADDRINUSE);
}

static bool among(uint32_t index, const struct evidence_place *places, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (places[i].index == index)
            return true;
    return false;
}

static bool is_joined(const struct multicast *m, uint32_t index)
{
    for (size_t i = 0; i < m->joined_count; i++)
        if (m->joined[i] == index)
            return true;
    return false;
}

size_t multicast_join(struct multicast *m, const struct evidence_place *places, size_t n)
{
    size_t kept = 0, failed = 0;
    for (size_t i = 0; i < m->joined_count; i++) {
        if (among(m->joined[i], places, n))
            m->joined[kept++] = m->joined[i];
        else
            membership(m, m->joined[i], IP_DROP_MEMBERSHIP); /* fails when the interface itself is gone */
    }
    m->joined_count = kept;
    for (size_t i = 0; i < n && m->joined_count < EVIDENCE_PLACES_MAX; i++) {
        if (is_joined(m, places[i].index))
            continue;
        if (membership(m, places[i].index, IP_ADD_MEMBERSHIP))
            m->joined[m->joined_count++] = places[i].index;
        else
            failed++;
    }
    return failed;
}

/* With IP_PKTINFO a single socket chooses interface and source address for each datagram. */
static int send_from(const struct multicast *m, uint32_t index, const struct address *own,
                     const struct sockaddr_in *to, const uint8_t *bytes, size_t n)
{
    union {
        char room[CMSG_SPACE(sizeof(struct in_pktinfo))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
    struct msghdr msg = {.msg_name = (void *)(uintptr_t)to,
                         .msg_namelen = sizeof *to,
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof control.room};
    struct in_pktinfo info = {.ipi_ifindex = (int)index};
    memcpy(&info.ipi_spec_dst, own->b, 4);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = IPPROTO_IP;
    c->cmsg_type = IP_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(c), &info, sizeof info);
    /* An error of an earlier datagram (ICMP) may be reported here: once more then. */
    for (int i = 0; i < 2; i++)
        if (sendmsg(m->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)n)
            return 0;
    return KPEER_EIO;
}

int multicast_send(const struct multicast *m, const struct evidence_place *place, const uint8_t *bytes,
                   size_t n)
{
    struct sockaddr_in to = to_sockaddr(&m->group, m->port);
    return send_from(m, place->index, &place->net.address, &to, bytes, n);
}

int multicast_send_to(const struct multicast *m, const struct evidence_place *place, const struct address *to,
                      uint16_t port, const uint8_t *bytes, size_t n)
{
    if (to->n != 4)
        return KPEER_EINVAL;
    struct sockaddr_in sa = to_sockaddr(to, port);
    return send_from(m, 0, &place->net.address, &sa, bytes, n);
}

int multicast_route(const struct address *to, struct address *own)
{
    if (to->n != 4)
        return KPEER_EINVAL;
    struct sockaddr_in sa = to_sockaddr(to, 9), name = {0};
    socklen_t name_bytes = sizeof name;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return KPEER_EIO;
    int rc = connect(fd, (struct sockaddr *)&sa, sizeof sa) ||
                     getsockname(fd, (struct sockaddr *)&name, &name_bytes) || name.sin_addr.s_addr == 0
                 ? KPEER_EIO
                 : 0;
    close(fd);
    if (!rc)
        address_from_in(name.sin_addr, own);
    return rc;
}

static void read_from(struct msghdr *msg, const struct sockaddr_in *sa, const struct multicast *m,
                      struct multicast_from *from)
{
    *from = (struct multicast_from){.port = ntohs(sa->sin_port)};
    address_from_in(sa->sin_addr, &from->source);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        struct in_pktinfo info;
        if (c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_PKTINFO)
            continue;
        memcpy(&info, CMSG_DATA(c), sizeof info);
        from->index = (uint32_t)info.ipi_ifindex;
        from->to_group = memcmp(&info.ipi_addr, m->group.b, 4) == 0;
    }
}

int multicast_receive(const struct multicast *m, uint8_t buf[static MULTICAST_DATAGRAM_BYTES], size_t *n,
                      struct multicast_from *from)
{
    for (int i = 0; i < ERRORS_MAX; i++) {
        union {
            char room[256];
            struct cmsghdr align;
        } control;
        struct sockaddr_in sa = {0};
        struct iovec iov = {.iov_base = buf, .iov_len = MULTICAST_DATAGRAM_BYTES};
        struct msghdr msg = {.msg_name = &sa,
                             .msg_namelen = sizeof sa,
                             .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
        ssize_t got = recvmsg(m->fd, &msg, MSG_DONTWAIT);
        if (got >= 0) {
            *n = (size_t)got;
            read_from(&msg, &sa, m, from);
            return 1;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return 0;
        if (errno == EBADF || errno == ENOTSOCK)
            return KPEER_EIO;
        /* Anything else is word of an earlier datagram that did not arrive, or an interruption. */
    }
    return 0;
}
