/*
 * A stranger without the key, as fast as this machine lets it:
 *
 *   flood udp DEVICE GROUP PER_SECOND SECONDS         forged beacons of the group (hex), from forged
 * addresses flood knock PER_SECOND SECONDS FROM TARGET...     connections that begin a key exchange and have
 * no key flood slow COUNT SECONDS FROM TARGET...           connections held open with a byte a second, or
 * with none
 *
 * FROM is how many source addresses to use, from 192.168.56.100 on. It ends with a line of what it reached.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORT       7373
#define BATCH      64
#define DATA_BYTES 700 /* as of a beacon in a group of some size */
#define CONNS_MAX  8192
#define GREETING   64
#define HELLO      202

static uint64_t now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t draw(void)
{
    static uint64_t x = 88172645463325252u;
    return x ^= x << 13, x ^= x >> 7, x ^= x << 17;
}

static void die(const char *what)
{
    perror(what);
    exit(2);
}

/* No faster than asked for; sleeps where it is ahead. */
static void pace(uint64_t began_us, uint64_t sent, uint64_t per_second)
{
    uint64_t due_us = began_us + sent * 1000000 / per_second, now = now_us();
    if (due_us > now + 200)
        usleep((useconds_t)(due_us - now));
}

/* ---- datagrams ---- */

struct frame {
    struct ether_header eth;
    struct iphdr ip;
    struct udphdr udp;
    uint8_t data[DATA_BYTES];
} __attribute__((packed));

static uint16_t ip_sum(const struct iphdr *ip)
{
    uint32_t sum = 0;
    uint16_t words[10];
    memcpy(words, ip, sizeof words);
    for (int i = 0; i < 10; i++)
        sum += words[i];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void forge(struct frame *f, const uint8_t *group)
{
    static const uint8_t to[6] = {0x01, 0x00, 0x5e, 0x7f, 0x49, 0x49};
    memcpy(f->eth.ether_dhost, to, 6);
    memcpy(f->eth.ether_shost, "\x0a\x00\x27\x01\x02\x03", 6);
    f->eth.ether_type = htons(ETHERTYPE_IP);
    struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 1, .protocol = IPPROTO_UDP};
    ip.tot_len = htons(sizeof *f - sizeof f->eth);
    ip.saddr = htonl(0xc0a8380au + (uint32_t)(draw() % 200)); /* members' addresses among them */
    ip.daddr = inet_addr("239.255.73.73");
    ip.check = ip_sum(&ip);
    f->ip = ip;
    f->udp = (struct udphdr){.source = htons(PORT), .dest = htons(PORT)};
    f->udp.len = htons(sizeof f->udp + sizeof f->data);
    for (size_t i = 0; i + 8 <= sizeof f->data; i += 8) {
        uint64_t word = draw();
        memcpy(f->data + i, &word, 8);
    }
    memcpy(f->data, "KP\x02\x01", 4); /* the datagram's version, and a beacon */
    memcpy(f->data + 4, group, 16);
}

static int udp(char **arg)
{
    static struct frame frame[BATCH];
    struct mmsghdr msg[BATCH] = {0};
    struct iovec iov[BATCH];
    uint8_t group[16];
    uint64_t per_second = strtoull(arg[2], NULL, 10), seconds = strtoull(arg[3], NULL, 10), sent = 0,
             lost = 0;
    struct sockaddr_ll to = {
        .sll_family = AF_PACKET, .sll_halen = 6, .sll_ifindex = (int)if_nametoindex(arg[0])};
    int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1;
    if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof to))
        die("packet socket");
    (void)setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
    for (size_t i = 0; i < sizeof group; i++)
        sscanf(arg[1] + 2 * i, "%2hhx", &group[i]);
    for (int i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){&frame[i], sizeof frame[i]};
        msg[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
    }
    uint64_t began = now_us(), end = began + seconds * 1000000;
    while (now_us() < end) {
        for (int i = 0; i < BATCH; i++)
            if (draw() % 8 == 0 || sent == 0)
                forge(&frame[i], group);
        int n = sendmmsg(fd, msg, BATCH, 0);
        lost += n < 0;
        sent += n > 0 ? (uint64_t)n : 0;
        pace(began, sent, per_second);
    }
    printf("%llu datagrams, %llu a second\n", (unsigned long long)sent,
           (unsigned long long)(sent * 1000000 / (now_us() - began)));
    return sent == 0 || lost > sent;
}

/* ---- connections ---- */

struct conn {
    int fd; /* negative: none */
    bool up;
    bool silent;
    uint64_t since_us;
    uint64_t said_us;
    size_t said;
};

static struct conn conn[CONNS_MAX];
static uint8_t opening[GREETING + HELLO];

/* ZMTP 3.0's greeting with CURVE, and a HELLO that no key has made. */
static void make_opening(void)
{
    for (size_t i = 0; i < sizeof opening; i++)
        opening[i] = (uint8_t)draw();
    memset(opening, 0, GREETING);
    memcpy(opening, "\xff\0\0\0\0\0\0\0\x01\x7f\x03\0CURVE", 17);
    memcpy(opening + GREETING, "\x04\xc8\x05HELLO\x01\0", 10);
    memset(opening + GREETING + 10, 0, 72);
}

static bool start(struct conn *c, unsigned from, const char *target)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)}, own = {.sin_family = AF_INET};
    int on = 1;
    to.sin_addr.s_addr = inet_addr(target);
    own.sin_addr.s_addr = htonl(0xc0a83800u + 100 + from);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return false;
    (void)setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(c->fd, (struct sockaddr *)&own, sizeof own) ||
        (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)) {
        close(c->fd);
        c->fd = -1;
        return false;
    }
    c->up = false;
    c->since_us = now_us();
    c->said = 0;
    c->said_us = 0;
    c->silent = draw() % 2;
    return true;
}

static void stop(struct conn *c)
{
    struct linger now = {1, 0}; /* no TIME_WAIT: ports would run out */
    (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(c->fd);
    c->fd = -1;
}

/* Tells of what became of them; each may say something more. Returns how many were up or closed by the other.
 */
static void look(size_t count, bool slow, uint64_t *opened, uint64_t *ended)
{
    static struct pollfd p[CONNS_MAX];
    uint8_t junk[512];
    for (size_t i = 0; i < count; i++)
        p[i] = (struct pollfd){.fd = conn[i].fd, .events = (short)(POLLIN | (conn[i].up ? 0 : POLLOUT))};
    if (poll(p, count, 1) < 0)
        die("poll");
    for (size_t i = 0; i < count; i++) {
        struct conn *c = &conn[i];
        if (c->fd < 0)
            continue;
        if (p[i].revents & POLLOUT && !(p[i].revents & (POLLERR | POLLHUP)) && !c->up) {
            c->up = true;
            ++*opened;
            if (!slow)
                (void)send(c->fd, opening, sizeof opening, MSG_NOSIGNAL);
        }
        bool over = p[i].revents & (POLLERR | POLLHUP) ||
                    (p[i].revents & POLLIN && recv(c->fd, junk, sizeof junk, 0) <= 0);
        if (over || (!slow && now_us() > c->since_us + 500000)) {
            *ended += over && c->up;
            stop(c);
        } else if (slow && c->up && !c->silent && c->said < sizeof opening &&
                   now_us() > c->said_us + 1000000) {
            (void)send(c->fd, opening + c->said++, 1, MSG_NOSIGNAL);
            c->said_us = now_us();
        }
    }
}

static int connections(char **arg, int n, bool slow)
{
    uint64_t rate = strtoull(arg[0], NULL, 10), seconds = strtoull(arg[1], NULL, 10), tried = 0, opened = 0,
             ended = 0;
    unsigned from = (unsigned)atoi(arg[2]);
    size_t room = slow && rate < CONNS_MAX ? rate : CONNS_MAX, held = 0, most = 0;
    for (size_t i = 0; i < CONNS_MAX; i++)
        conn[i].fd = -1;
    make_opening();
    uint64_t began = now_us(), end = began + seconds * 1000000;
    while (now_us() < end) {
        uint64_t want = slow ? UINT64_MAX : (now_us() - began) * rate / 1000000;
        for (size_t i = 0; i < room && tried < want; i++)
            if (conn[i].fd < 0)
                tried += start(&conn[i], (unsigned)(draw() % from), arg[3 + draw() % (unsigned)(n - 3)]);
        look(room, slow, &opened, &ended);
        held = 0;
        for (size_t i = 0; i < room; i++)
            held += conn[i].fd >= 0 && conn[i].up;
        most = held > most ? held : most;
    }
    printf("%llu tried, %llu opened (%llu a second), %llu ended by the other side, %zu open at most\n",
           (unsigned long long)tried, (unsigned long long)opened,
           (unsigned long long)(opened * 1000000 / (now_us() - began)), (unsigned long long)ended, most);
    return tried == 0;
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "udp") == 0)
        return udp(argv + 2);
    if (argc > 5 && strcmp(argv[1], "knock") == 0)
        return connections(argv + 2, argc - 2, false);
    if (argc > 5 && strcmp(argv[1], "slow") == 0)
        return connections(argv + 2, argc - 2, true);
    fprintf(stderr, "usage: see the source\n");
    return 2;
}
