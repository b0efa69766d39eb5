/*
 * What the hosts of a group see of each other: ports, paths, clocks. Data of a survey and its judgement.
 *
 * On a user's request each member opens listeners for a moment, tries the others, and tells what it saw
 * (protocol/node_survey.c carries that; discovery/reach.c has the sockets). Here the answers become faults
 * that name the hosts to look at. Pure.
 *
 * The hosts stand in a ring, in the order in which the asker named them. Each tries the SURVEY_SPREAD hosts
 * that follow it, so that a large group costs each host no more than a small one.
 */
#ifndef KPEER_SURVEY_H
#define KPEER_SURVEY_H

#include "protocol/check.h"

#define SURVEY_TCP_PORTS   4
#define SURVEY_PORTS       5 /* the last one is Flannel's, UDP */
#define SURVEY_UDP         SURVEY_TCP_PORTS
#define SURVEY_SPREAD      32
#define SURVEY_FAULTS_MAX  64
#define SURVEY_KEY_BYTES   32
#define SURVEY_SIZES       6   /* datagrams of so many sizes are sent */
#define SURVEY_SMALL_BYTES 200 /* the smallest of them, headers included */
#define SURVEY_MTU_MAX     65535

/* 6443, 10250, 2379, 2380, 8472 */
extern const uint16_t survey_port[SURVEY_PORTS];

/* Who answers on a port of a host. */
enum survey_listen {
    LISTEN_NOT = 0,  /* nobody, and no listener could be opened: not tested */
    LISTEN_OURS = 1, /* the survey's own listener */
    LISTEN_LIVE = 2, /* somebody listened already */
    LISTEN_COUNT
};

/* What became of one try. */
enum survey_reach {
    REACH_UNTRIED = 0,
    REACH_OK,
    REACH_REFUSED,  /* turned away */
    REACH_FILTERED, /* no answer */
    REACH_OTHER,    /* somebody else answered */
    REACH_COUNT
};

/* What one host saw of the next ones in the ring: how TCP went to each, and the longest IP packet that came
 * from each of those before it (0: none). `[0]` is its neighbour. */
struct survey_seen {
    uint8_t tcp[SURVEY_SPREAD][SURVEY_TCP_PORTS];
    uint16_t heard[SURVEY_SPREAD];
};

enum survey_answer {
    ANSWER_NONE = 0, /* nothing was heard of it in time */
    ANSWER_BUSY,     /* a step runs there that needs the ports, or another survey */
    ANSWER_FULL,
};

struct survey_host {
    struct check_host check;
    enum survey_answer answer;
    bool serves;  /* may serve the API: its ports matter */
    uint16_t mtu; /* of the interface with its proven address; 0: not known */
    uint8_t listen[SURVEY_PORTS];
    struct survey_seen seen;
};

/* ---- between the core and the sockets (discovery/reach.c) ---- */

enum reach_what {
    REACH_OPEN, /* listen on the ports, at our address; reported at once */
    REACH_TRY,  /* try the next hosts in the ring, note who comes from before; reported when that is done */
    REACH_CLOSE /* end it all; not reported */
};

struct reach_host {
    struct peer_id id;
    char address[STEP_ADDRESS_BYTES];
    uint16_t mtu;
    uint8_t listen[SURVEY_PORTS];
};

struct reach_order {
    enum reach_what what;
    uint64_t survey;
    uint8_t key[SURVEY_KEY_BYTES]; /* with which listeners prove that they are this survey's */
    struct peer_id me;
    char address[STEP_ADDRESS_BYTES];     /* our proven one; empty: none, so nothing is opened */
    char interface[STEP_INTERFACE_BYTES]; /* that carries it */
    uint16_t mtu;                         /* of it, as reported */
    uint32_t limit_ms;                    /* REACH_TRY: report by then */
    size_t count;
    struct reach_host next[SURVEY_SPREAD];
    struct reach_host before[SURVEY_SPREAD];
};

struct reach_report {
    enum reach_what what;
    uint64_t survey;
    uint16_t mtu;                 /* REACH_OPEN: of the interface, 0: not known */
    uint8_t listen[SURVEY_PORTS]; /* REACH_OPEN */
    struct survey_seen seen;      /* REACH_TRY */
};

/* ---- the answer to whoever asked ---- */

struct survey_report {
    uint32_t took_ms;
    size_t count;
    const struct survey_host *host;
    size_t fault_count;
    const struct check_fault *fault;
};

/* How many hosts each one tries in a ring of `count`. */
size_t survey_spread(size_t count);

/* The sizes of IP packets to send on a path whose ends carry `mtu`, the largest first; returns how many. */
size_t survey_sizes(uint16_t mtu, uint16_t out[static SURVEY_SIZES]);

/* Everything that is wrong with these hosts together, the hosts' own facts included, each fault once. The
 * first `ring` of them tried each other. Returns 0 or KPEER_ENOMEM. */
int survey_judge(const struct survey_host *host, size_t ring, size_t count, struct check_list *list);

#endif
