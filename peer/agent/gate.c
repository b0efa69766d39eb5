#include "peer/agent/gate.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/mem.h"

#define CONNS_MAX  (1 << 20)
#define RECHECK_MS 250 /* while somebody is turned away */
#define MILLI      1000

/* What may still be opened, in thousandths. */
struct bucket {
    uint64_t left;
    uint64_t at_ms;
};

struct source {
    uint32_t address;
    uint32_t open;
    struct bucket bucket;
    bool shut;
};

struct conn {
    bool open;
    bool member;
    uint32_t address;
};

struct gate {
    size_t open, strangers;
    struct bucket bucket; /* of all strangers */
    bool members_only;
    bool turning_away; /* somebody, since the last rule */
    size_t source_count;
    struct source source[GATE_SOURCES_MAX];
    size_t conn_room;
    struct conn *conn; /* by descriptor: the kernel gives the lowest free one, so it stays short */
};

int gate_new(struct gate **out, struct err *err)
{
    struct gate *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(err, KPEER_ENOMEM, "no memory to count connections");
    g->bucket.left = (uint64_t)GATE_STRANGERS_BURST * MILLI;
    *out = g;
    return 0;
}

void gate_free(struct gate *g)
{
    if (!g)
        return;
    free(g->conn);
    free(g);
}

static void refill(struct bucket *b, uint64_t now_ms, uint64_t per_second, uint64_t burst)
{
    uint64_t passed = now_ms > b->at_ms ? now_ms - b->at_ms : 0;
    uint64_t most = burst * MILLI;
    b->at_ms = now_ms;
    /* A thousandth for each millisecond and each one a second. */
    b->left = passed >= most / per_second || b->left + passed * per_second > most
                  ? most
                  : b->left + passed * per_second;
}

static void spend(struct bucket *b)
{
    b->left -= b->left < MILLI ? b->left : MILLI;
}

static void refill_source(struct source *s, uint64_t now_ms)
{
    refill(&s->bucket, now_ms, GATE_SOURCE_PER_SECOND, GATE_SOURCE_BURST);
}

static struct source *find_source(struct gate *g, uint32_t address)
{
    for (size_t i = 0; i < g->source_count; i++)
        if (g->source[i].address == address)
            return &g->source[i];
    return NULL;
}

/* An address of which nothing is left to remember. */
static bool forgotten(struct source *s, uint64_t now_ms)
{
    refill_source(s, now_ms);
    return s->open == 0 && !s->shut && s->bucket.left == (uint64_t)GATE_SOURCE_BURST * MILLI;
}

/* NULL when there are too many at once: then only the bounds for all strangers hold. */
static struct source *add_source(struct gate *g, uint32_t address, uint64_t now_ms)
{
    struct source *s = NULL;
    if (g->source_count < GATE_SOURCES_MAX)
        s = &g->source[g->source_count++];
    for (size_t i = 0; !s && i < g->source_count; i++)
        if (forgotten(&g->source[i], now_ms))
            s = &g->source[i];
    if (s)
        *s = (struct source){.address = address,
                             .bucket = {.left = (uint64_t)GATE_SOURCE_BURST * MILLI, .at_ms = now_ms}};
    return s;
}

static struct conn *room_for(struct gate *g, int fd)
{
    if (fd < 0 || fd >= CONNS_MAX)
        return NULL;
    if ((size_t)fd >= g->conn_room) {
        size_t room = 2 * ((size_t)fd + 32);
        struct conn *grown = realloc(g->conn, room * sizeof *grown);
        if (!grown)
            return NULL;
        memset(grown + g->conn_room, 0, (room - g->conn_room) * sizeof *grown);
        g->conn = grown;
        g->conn_room = room;
    }
    return &g->conn[fd];
}

void gate_closed(struct gate *g, int fd)
{
    struct conn *c = fd >= 0 && (size_t)fd < g->conn_room ? &g->conn[fd] : NULL;
    if (!c || !c->open)
        return;
    struct source *s = find_source(g, c->address);
    if (s && s->open)
        s->open--;
    g->open--;
    g->strangers -= !c->member;
    *c = (struct conn){0};
}

void gate_accepted(struct gate *g, int fd, uint32_t address, bool member, uint64_t now_ms)
{
    gate_closed(g, fd); /* a descriptor that is given anew was closed before */
    struct conn *c = room_for(g, fd);
    struct source *s = address ? find_source(g, address) : NULL;
    if (address && !s)
        s = add_source(g, address, now_ms);
    if (c) {
        *c = (struct conn){.open = true, .member = member, .address = s ? address : 0};
        g->open++;
        g->strangers += !member;
    }
    if (s) {
        refill_source(s, now_ms);
        spend(&s->bucket);
        s->open += c != NULL;
    }
    if (!member) {
        refill(&g->bucket, now_ms, GATE_STRANGERS_PER_SECOND, GATE_STRANGERS_BURST);
        spend(&g->bucket);
    }
}

/* Whoever was turned away comes in again when there is room for half of what it may have: not one by one. */
static bool too_much(bool was, size_t open, size_t most, const struct bucket *b, uint64_t burst)
{
    if (was)
        return open > most / 2 || b->left < burst * MILLI / 2;
    return open >= most || b->left < MILLI;
}

bool gate_rule(struct gate *g, uint64_t now_ms, struct gate_rule *rule)
{
    bool was = g->members_only;
    refill(&g->bucket, now_ms, GATE_STRANGERS_PER_SECOND, GATE_STRANGERS_BURST);
    g->members_only = too_much(was, g->strangers, GATE_STRANGERS_OPEN, &g->bucket, GATE_STRANGERS_BURST);
    bool changed = was != g->members_only;
    rule->members_only = g->members_only;
    rule->begun = g->members_only && !was;
    rule->shut_count = 0;
    for (size_t i = 0; i < g->source_count; i++) {
        struct source *s = &g->source[i];
        bool shut = s->shut;
        refill_source(s, now_ms);
        s->shut = too_much(shut, s->open, GATE_SOURCE_OPEN, &s->bucket, GATE_SOURCE_BURST);
        changed |= shut != s->shut;
        rule->begun += s->shut && !shut;
        if (s->shut)
            rule->shut[rule->shut_count++] = s->address;
    }
    g->turning_away = rule->members_only || rule->shut_count;
    return changed;
}

uint64_t gate_wake(const struct gate *g, uint64_t now_ms)
{
    return g->turning_away ? now_ms + RECHECK_MS : UINT64_MAX;
}

size_t gate_open(const struct gate *g, size_t *strangers)
{
    if (strangers)
        *strangers = g->strangers;
    return g->open;
}

/* ---- the kernel's part ---- */

int gate_listen(uint16_t port, int backlog, int *out, struct err *err)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd, (struct sockaddr *)&any, sizeof any) == 0 && listen(fd, backlog) == 0) {
        *out = fd;
        return 0;
    }
    err_set(err, KPEER_EIO, "cannot listen on TCP port %u: %s", port, strerror(errno));
    err_hint(err, "see what holds the port (ss -tlpn), or set another one (port)");
    if (fd >= 0)
        close(fd);
    return KPEER_EIO;
}

uint32_t gate_address(int fd)
{
    struct sockaddr_in sa = {0};
    socklen_t n = sizeof sa;
    if (getpeername(fd, (struct sockaddr *)&sa, &n) || sa.sin_family != AF_INET)
        return 0;
    return sa.sin_addr.s_addr;
}

#define INSTRUCTIONS_MAX (2 * (GATE_SOURCES_MAX + GATE_MEMBERS_MAX) + 2)
#define TAKE_ALL         UINT32_MAX
#define TAKE_NONE        0

struct program {
    unsigned short count;
    struct sock_filter code[INSTRUCTIONS_MAX];
};

static void add(struct program *p, struct sock_filter instruction)
{
    p->code[p->count++] = instruction;
}

/* "If it comes from this address, that is the answer." A return for each, since jumps are short. */
static void answer(struct program *p, uint32_t address, uint32_t verdict)
{
    add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohl(address), 0, 1));
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict));
}

int gate_filter(int fd, const struct gate_rule *rule, const uint32_t *members, size_t member_count)
{
    int unused = 0;
    if (!rule->members_only && rule->shut_count == 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused); /* there may be none */
        return 0;
    }
    cleanup_free struct program *p = calloc(1, sizeof *p);
    if (!p)
        return KPEER_ENOMEM;
    add(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + 12));
    for (size_t i = 0; i < rule->shut_count && i < GATE_SOURCES_MAX; i++)
        answer(p, rule->shut[i], TAKE_NONE);
    for (size_t i = 0; rule->members_only && i < member_count && i < GATE_MEMBERS_MAX; i++)
        answer(p, members[i], TAKE_ALL);
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, rule->members_only ? TAKE_NONE : TAKE_ALL));
    /* Both at once may be more than the kernel keeps for a socket. */
    (void)setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused);
    struct sock_fprog program = {.len = p->count, .filter = p->code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) ? KPEER_EIO : 0;
}
