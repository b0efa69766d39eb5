#include "discovery/nic.h"

#include <errno.h>
#include <fnmatch.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "protocol/mem.h"

#define DUMP_TIMEOUT_MS 2000
#define DUMP_BYTES      (64 * 1024)

struct nic_watch {
    int fd;
};

bool nic_ignored(const char *name, const char *kind)
{
    static const char *const names[] = {"docker*", "br-[0-9a-f]*", "cni*",    "flannel*", "veth*", "virbr*",
                                        "cali*",   "tunl*",        "cilium*", "lxc*",     "weave", "vxlan*",
                                        "kube-*",  "nodelocaldns", "podman*", "vnet*",    "ifb*",  "sit*"};
    static const char *const kinds[] = {"vxlan", "geneve", "ipip", "sit", "gre", "ifb", "nlmon", "vcan"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (fnmatch(names[i], name, 0) == 0)
            return true;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(kinds[i], kind) == 0)
            return true;
    return false;
}

bool nic_usable(const struct nic *nic)
{
    return nic->up && !nic->loopback && nic->address_count > 0;
}

bool nic_identifies(const struct nic *nic)
{
    static const char *const kinds[] = {"", "veth", "macvlan", "ipvlan"};
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(kinds[i], nic->kind) == 0)
            return nic->have_mac && !nic->loopback;
    return false;
}

/* Walks over attributes: true and the next one's payload while there is a whole one left. */
struct attributes {
    const uint8_t *at;
    size_t left;
};

static bool next_attribute(struct attributes *a, unsigned *type, const uint8_t **payload, size_t *n)
{
    struct rtattr head;
    if (a->left < sizeof head)
        return false;
    memcpy(&head, a->at, sizeof head);
    if (head.rta_len < sizeof head || head.rta_len > a->left)
        return false;
    *type = head.rta_type & (unsigned)NLA_TYPE_MASK;
    *payload = a->at + sizeof head;
    *n = head.rta_len - sizeof head;
    size_t step = RTA_ALIGN((size_t)head.rta_len);
    step = step < a->left ? step : a->left;
    a->at += step;
    a->left -= step;
    return true;
}

/* A NUL-ended text attribute; what does not fit or is not ended leaves `dst` empty. */
static void copy_text(char *dst, size_t dst_bytes, const uint8_t *src, size_t n)
{
    size_t len = strnlen((const char *)src, n);
    if (len >= dst_bytes)
        len = 0;
    memcpy(dst, src, len);
    dst[len] = '\0';
}

static void take_link_info(struct nic *nic, const uint8_t *bytes, size_t n)
{
    struct attributes a = {bytes, n};
    unsigned type;
    const uint8_t *p;
    size_t len;
    while (next_attribute(&a, &type, &p, &len))
        if (type == IFLA_INFO_KIND)
            copy_text(nic->kind, sizeof nic->kind, p, len);
}

static void add_nic(struct nic_table *t, const struct nic *nic)
{
    if (!nic->name[0] || nic_ignored(nic->name, nic->kind))
        return;
    for (size_t i = 0; i < t->count; i++)
        if (t->nic[i].index == nic->index)
            return;
    if (t->count == NIC_MAX) {
        t->left_out++;
        return;
    }
    t->nic[t->count++] = *nic;
}

static int take_link(struct nic_table *t, const uint8_t *bytes, size_t n)
{
    struct ifinfomsg head;
    if (n < sizeof head)
        return KPEER_EINVAL;
    memcpy(&head, bytes, sizeof head);
    struct nic nic = {.index = (uint32_t)head.ifi_index,
                      .up = (head.ifi_flags & IFF_UP) != 0,
                      .multicast = (head.ifi_flags & IFF_MULTICAST) != 0,
                      .loopback = (head.ifi_flags & IFF_LOOPBACK) != 0};
    struct attributes a = {bytes + NLMSG_ALIGN(sizeof head), n - NLMSG_ALIGN(sizeof head)};
    unsigned type;
    const uint8_t *p;
    size_t len;
    while (next_attribute(&a, &type, &p, &len)) {
        if (type == IFLA_IFNAME)
            copy_text(nic.name, sizeof nic.name, p, len);
        else if (type == IFLA_LINKINFO)
            take_link_info(&nic, p, len);
        else if (type == IFLA_ADDRESS && len == sizeof nic.mac) {
            memcpy(nic.mac, p, len);
            nic.have_mac = true;
        }
    }
    if (head.ifi_index > 0)
        add_nic(t, &nic);
    return 0;
}

static void add_address(struct nic_table *t, uint32_t index, const struct network *net)
{
    for (size_t i = 0; i < t->count; i++) {
        struct nic *nic = &t->nic[i];
        if (nic->index != index)
            continue;
        if (nic->address_count == NIC_ADDRESSES_MAX)
            t->left_out++;
        else
            nic->address[nic->address_count++] = *net;
    }
}

/* The kernel sends the local address as IFA_LOCAL; on a point-to-point link IFA_ADDRESS is the other end's.
 */
static int take_address(struct nic_table *t, const uint8_t *bytes, size_t n)
{
    struct ifaddrmsg head;
    if (n < sizeof head)
        return KPEER_EINVAL;
    memcpy(&head, bytes, sizeof head);
    struct attributes a = {bytes + NLMSG_ALIGN(sizeof head), n - NLMSG_ALIGN(sizeof head)};
    struct network net = {.prefix = head.ifa_prefixlen};
    bool local = false;
    unsigned type;
    const uint8_t *p;
    size_t len;
    while (next_attribute(&a, &type, &p, &len)) {
        if (len != 4 || (type != IFA_LOCAL && (type != IFA_ADDRESS || local)))
            continue;
        local = type == IFA_LOCAL;
        net.address.n = 4;
        memcpy(net.address.b, p, 4);
    }
    if (head.ifa_family == AF_INET && net.address.n && net.prefix <= 32)
        add_address(t, head.ifa_index, &net);
    return 0;
}

static int take_message(struct nic_table *t, uint16_t type, const uint8_t *body, size_t n)
{
    switch (type) {
    case RTM_NEWLINK:
        return take_link(t, body, n);
    case RTM_NEWADDR:
        return take_address(t, body, n);
    case NLMSG_DONE:
        t->done = true;
        return 0;
    case NLMSG_ERROR: {
        int code;
        if (n < sizeof code)
            return KPEER_EINVAL;
        memcpy(&code, body, sizeof code);
        t->error = code < 0 && code > -4096 ? -code : EIO;
        return 0;
    }
    default:
        return 0;
    }
}

int nic_parse(struct nic_table *table, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    while (n > 0) {
        struct nlmsghdr head;
        if (n < sizeof head)
            return KPEER_EINVAL;
        memcpy(&head, at, sizeof head);
        if (head.nlmsg_len < sizeof head || head.nlmsg_len > n)
            return KPEER_EINVAL;
        int rc = take_message(table, head.nlmsg_type, at + sizeof head, head.nlmsg_len - sizeof head);
        if (rc)
            return rc;
        size_t step = NLMSG_ALIGN((size_t)head.nlmsg_len);
        step = step < n ? step : n;
        at += step;
        n -= step;
    }
    return 0;
}

static int open_netlink(uint32_t groups, int flags, struct err *err)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE);
    struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = groups};
    if (fd < 0)
        return err_errno(err, errno, "cannot ask the kernel for network interfaces");
    if (bind(fd, (struct sockaddr *)&addr, sizeof addr)) {
        err_errno(err, errno, "cannot listen to the kernel's word of network interfaces");
        close(fd);
        return KPEER_EIO;
    }
    return fd;
}

int nic_open(struct nic_watch **out, struct err *err)
{
    struct nic_watch *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(err, KPEER_ENOMEM, "no memory to watch network interfaces");
    w->fd = open_netlink(RTMGRP_LINK | RTMGRP_IPV4_IFADDR, SOCK_NONBLOCK, err);
    if (w->fd < 0) {
        free(w);
        return KPEER_EIO;
    }
    *out = w;
    return 0;
}

void nic_close(struct nic_watch *w)
{
    if (!w)
        return;
    close(w->fd);
    free(w);
}

int nic_fd(const struct nic_watch *w)
{
    return w->fd;
}

bool nic_drain(struct nic_watch *w)
{
    char buf[8192];
    bool any = false;
    for (int i = 0; i < 1000; i++) {
        ssize_t n = recv(w->fd, buf, sizeof buf, MSG_TRUNC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != ENOBUFS) /* ENOBUFS: word was lost, which is word of a change too */
            break;
        any = true;
    }
    return any;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* One datagram from the kernel itself into `buf`. */
static ssize_t receive(int fd, uint8_t *buf, size_t room, int64_t deadline_ms, struct err *err)
{
    for (;;) {
        int64_t left = deadline_ms - now_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (ready == 0)
            return err_set(err, KPEER_ETIMEOUT, "the kernel did not list the network interfaces in time");
        struct sockaddr_nl from = {0};
        socklen_t from_bytes = sizeof from;
        ssize_t n = recvfrom(fd, buf, room, MSG_TRUNC | MSG_DONTWAIT, (struct sockaddr *)&from, &from_bytes);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return err_errno(err, errno, "cannot read the list of network interfaces");
        if (from.nl_pid == 0 && (size_t)n <= room)
            return n;
    }
}

static int dump(int fd, uint16_t type, struct nic_table *table, struct err *err)
{
    struct {
        struct nlmsghdr head;
        struct rtgenmsg body;
    } request = {.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtgenmsg)),
                          .nlmsg_type = type,
                          .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                          .nlmsg_seq = type},
                 .body = {.rtgen_family = type == RTM_GETADDR ? AF_INET : AF_UNSPEC}};
    int64_t deadline = now_ms() + DUMP_TIMEOUT_MS;
    cleanup_free uint8_t *buf = malloc(DUMP_BYTES);
    if (!buf)
        return err_set(err, KPEER_ENOMEM, "no memory to list network interfaces");
    if (send(fd, &request, request.head.nlmsg_len, 0) < 0)
        return err_errno(err, errno, "cannot ask for the list of network interfaces");
    table->done = false;
    while (!table->done) {
        ssize_t n = receive(fd, buf, DUMP_BYTES, deadline, err);
        if (n < 0)
            return (int)n;
        if (nic_parse(table, buf, (size_t)n))
            return err_set(err, KPEER_EINVAL, "the kernel's list of network interfaces is malformed");
        if (table->error)
            return err_errno(err, table->error, "the kernel refused to list network interfaces");
    }
    return 0;
}

int nic_list(struct nic_table *out, struct err *err)
{
    cleanup_free struct nic_table *table = calloc(1, sizeof *table);
    if (!table)
        return err_set(err, KPEER_ENOMEM, "no memory to list network interfaces");
    int fd = open_netlink(0, 0, err);
    if (fd < 0)
        return fd;
    int rc = dump(fd, RTM_GETLINK, table, err);
    if (!rc)
        rc = dump(fd, RTM_GETADDR, table, err);
    close(fd);
    if (!rc)
        *out = *table;
    return rc;
}
