/*
 * Figures for a monitor: what the agent counts as it happens, and the page of all of it in Prometheus' text
 * format 0.0.4.
 *
 * One const table names each metric; the page and the check of the manual page go by it. The agent alone
 * counts and makes pages; whoever asks for one, over the local socket or HTTP, gets the same. No secret is
 * ever counted, and a label's value that came from outside is made harmless.
 */
#ifndef KPEER_METRICS_H
#define KPEER_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "peer/agent/transport.h"
#include "protocol/node.h"

struct metrics {
    int64_t start_wall_ms;
    int64_t error_wall_ms; /* when something last went wrong; 0: never */
    uint64_t event[EVENT_KIND_COUNT];
    struct {
        uint64_t finished, failed, finished_ms, failed_ms;
    } step[STEP_KIND_COUNT];
    struct {
        uint64_t count, us;
    } write[STORE_KEY_COUNT];
    int memory_fd; /* what the kernel says of this process's memory; -1: cannot be told */
};

/* While files of /proc may still be opened. metrics_fini closes what is open. */
void metrics_init(struct metrics *m, int64_t wall_ms);
void metrics_fini(struct metrics *m);

/* An ACT_EVENT happened; `bad`: it is one of those that are warned of. */
void metrics_event(struct metrics *m, const struct action *act, bool bad, int64_t wall_ms);

/* A state file was written in so many microseconds. */
void metrics_write(struct metrics *m, enum store_key key, uint64_t us);

/* What else goes onto the page, as of now. */
struct metrics_source {
    const struct metrics *counted;
    const struct node *node;
    const struct transport_stats *links;
    size_t link_count, links_up;
    const uint64_t *heard; /* discovery_dropped */
    uint64_t now_ms;
};

/* The page, which the caller frees; NULL when out of memory. */
char *metrics_page(const struct metrics_source *src, size_t *n);

#define METRICS_LABEL_BYTES 256

/* NAME="VALUE", escaped, without control characters and cut to fit. Returns `out`. */
const char *metrics_label(char out[static METRICS_LABEL_BYTES], const char *name, const char *value);

/* The i-th metric's name; NULL: there are no more. */
const char *metrics_name(size_t i);

#endif
