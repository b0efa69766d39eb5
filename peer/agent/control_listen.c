/* The local socket's making, and who is taken in. */
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/agent/control_state.h"
#include "protocol/mem.h"

#define GROUPS_MAX 256

static bool in_group(int fd, gid_t primary, gid_t group)
{
    gid_t groups[GROUPS_MAX];
    socklen_t bytes = sizeof groups;

    if (primary == group)
        return true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &bytes) != 0)
        return false;
    for (size_t i = 0; i < bytes / sizeof groups[0]; i++)
        if (groups[i] == group)
            return true;
    return false;
}

static int rank(const struct control_server *s, const struct client *c)
{
    return control_may_change(s, c) ? 2 : c->reader ? 1 : 0;
}

/* A free slot; when all are taken, that of the oldest of those who may less. */
static struct client *free_slot(struct control_server *s, const struct client *who)
{
    struct client *victim = NULL;

    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *c = &s->client[i];

        if (c->fd < 0)
            return c;
        if (rank(s, c) < rank(s, who) && (!victim || c->since < victim->since))
            victim = c;
    }
    if (victim)
        control_client_free(s, victim);
    return victim;
}

static void accept_one(struct control_server *s, int fd)
{
    struct ucred cred;
    socklen_t bytes = sizeof cred;
    struct client who = {.fd = fd}, *c;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP};

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &bytes) != 0) {
        close(fd);
        return;
    }
    who.uid = cred.uid;
    who.reader = s->has_group && in_group(fd, cred.gid, s->group);
    c = free_slot(s, &who);
    if (!c) {
        close(fd);
        return;
    }
    *c = who;
    c->since = ++s->accepted;
    ev.data.ptr = c;
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0)
        control_client_free(s, c);
}

void control_accept(struct control_server *s)
{
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
            return;
        accept_one(s, fd);
    }
}

/* Whether somebody listens at the address. */
static bool alive(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool answered;

    if (fd < 0)
        return false;
    answered = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN;
    close(fd);
    return answered;
}

/* With its mode from the start: in a folder that is the agent's user's, its name may be another file's once
 * it is bound. There is one thread yet, so the mask is nobody else's. */
static int bind_to(int fd, const struct sockaddr_un *address)
{
    mode_t mask = umask(0111);
    int rc = bind(fd, (const struct sockaddr *)address, sizeof *address);

    umask(mask);
    return rc;
}

static int listen_at(struct control_server *s, struct err *err)
{
    const char *path = s->address.sun_path;
    struct epoll_event ev = {.events = EPOLLIN};
    struct stat st;
    int fd;

    if (alive(&s->address))
        return err_set(err, KPEER_ESTATE, "an agent is running already, on %s", path);
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, errno, "local socket");
    if (bind_to(fd, &s->address) || listen(fd, CONTROL_CLIENTS_MAX) ||
        epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
        err_errno(err, errno, "local socket %s", path);
        close(fd);
        return KPEER_EIO;
    }
    s->listen_fd = fd;
    return 0;
}

int control_server_new(struct control_server **out, const char *path, const char *reader_group,
                       const struct control_callbacks *callbacks, void *ctx, struct err *err)
{
    struct control_server *s = calloc(1, sizeof *s);
    const struct group *group = getgrnam(reader_group ? reader_group : "kpeer");
    int code;

    if (!s)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    s->listen_fd = -1;
    s->callbacks = callbacks;
    s->ctx = ctx;
    s->has_group = group != NULL;
    s->group = group ? group->gr_gid : 0;
    s->address.sun_family = AF_UNIX;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        s->client[i].fd = -1;
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll_fd < 0)
        code = err_errno(err, errno, "local socket");
    else if (mem_copy_text(s->address.sun_path, sizeof s->address.sun_path, path))
        code = err_set(err, KPEER_EINVAL, "local socket %s: the path is too long", path);
    else
        code = listen_at(s, err);
    if (code) {
        control_server_free(s);
        return code;
    }
    *out = s;
    return 0;
}
