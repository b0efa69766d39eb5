/*
 * What the two halves of the agent's end share: control_listen.c makes the socket and takes clients in,
 * control_server.c serves them. Nobody else includes this.
 */
#ifndef KPEER_CONTROL_STATE_H
#define KPEER_CONTROL_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include "peer/control.h"

struct client {
    int fd; /* -1: free slot */
    uid_t uid;
    bool reader; /* in the readers' group */
    bool calling;
    bool subscribed;
    bool dead;
    uint64_t left;  /* the call that was open when it went away; 0: none */
    uint64_t since; /* order of accepting */
    struct control_call call;
    char cmd[32];
    json_t *args;
    uint8_t *in;
    size_t in_used, in_room;
    uint8_t *out;
    size_t out_at, out_used, out_room;
};

struct control_server {
    int listen_fd;
    int epoll_fd;
    uid_t also; /* beside our own */
    bool has_also;
    bool has_group;
    gid_t group;
    uint64_t calls;
    uint64_t accepted;
    const struct control_callbacks *callbacks;
    void *ctx;
    struct sockaddr_un address;
    struct client client[CONTROL_CLIENTS_MAX];
};

/* Whether this client's user may change things. */
bool control_may_change(const struct control_server *s, const struct client *c);

/* Closes the client and frees its slot. */
void control_client_free(struct control_server *s, struct client *c);

/* Takes in all who wait. */
void control_accept(struct control_server *s);

#endif
