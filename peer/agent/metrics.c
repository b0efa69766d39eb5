#include "peer/agent/metrics.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "discovery/discovery.h"
#include "peer/writer.h"
#include "protocol/keyring.h"
#include "protocol/mem.h"

void metrics_init(struct metrics *m, int64_t wall_ms)
{
    *m = (struct metrics){.start_wall_ms = wall_ms};
    m->memory_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
}

void metrics_fini(struct metrics *m)
{
    if (m->memory_fd >= 0)
        close(m->memory_fd);
    m->memory_fd = -1;
}

static void count_step(struct metrics *m, const struct action *act)
{
    for (int kind = 0; kind < STEP_KIND_COUNT; kind++) {
        if (strcmp(step_word((enum step_kind)kind), act->name) != 0)
            continue;
        bool failed = act->event == EVENT_STEP_FAILED;
        m->step[kind].finished += !failed;
        m->step[kind].failed += failed;
        *(failed ? &m->step[kind].failed_ms : &m->step[kind].finished_ms) += act->took_ms;
    }
}

void metrics_event(struct metrics *m, const struct action *act, bool bad, int64_t wall_ms)
{
    m->event[act->event]++;
    if (act->event == EVENT_STEP_FINISHED || act->event == EVENT_STEP_FAILED)
        count_step(m, act);
    if (bad)
        m->error_wall_ms = wall_ms;
}

void metrics_write(struct metrics *m, enum store_key key, uint64_t us)
{
    m->write[key].count++;
    m->write[key].us += us;
}

/* ---- the page ---- */

struct page {
    FILE *to;
    const struct metrics_source *src;
    struct node_status status;
    size_t members[STATE_LEFT + 1], ready;
    const char *name; /* of the metric that is being written */
};

static void count_members(struct page *p)
{
    for (size_t i = 0; i < node_member_count(p->src->node); i++) {
        struct member_view view;

        memset(&view, 0, sizeof view);
        node_member_view(p->src->node, i, p->src->now_ms, &view);
        p->members[view.state]++;
        p->ready += view.state == STATE_ALIVE && view.phase == PHASE_READY;
    }
}

const char *metrics_label(char out[static METRICS_LABEL_BYTES], const char *name, const char *value)
{
    char safe[METRICS_LABEL_BYTES / 2 - 32]; /* twice that still fits */
    size_t n = (size_t)snprintf(out, METRICS_LABEL_BYTES, "%.24s=\"", name);

    writer_safe(safe, sizeof safe, value);
    for (const char *at = safe; *at; at++) {
        if (*at == '"' || *at == '\\')
            out[n++] = '\\';
        out[n++] = *at;
    }
    memcpy(out + n, "\"", 2);
    return out;
}

static void number(struct page *p, uint64_t n)
{
    fprintf(p->to, "%s %" PRIu64 "\n", p->name, n);
}

static void labelled(struct page *p, const char *name, const char *value, uint64_t n)
{
    char text[METRICS_LABEL_BYTES];

    fprintf(p->to, "%s{%s} %" PRIu64 "\n", p->name, metrics_label(text, name, value), n);
}

/* Micro- or milliseconds as seconds. */
static void seconds(struct page *p, const char *suffix, const char *labels, uint64_t n, unsigned per_second)
{
    fprintf(p->to, "%s%s%s %" PRIu64 ".%0*" PRIu64 "\n", p->name, suffix, labels, n / per_second,
            per_second == 1000 ? 3 : 6, n % per_second);
}

static void put_build(struct page *p)
{
    labelled(p, "version", KPEER_VERSION, 1);
}

static void put_phase(struct page *p)
{
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        labelled(p, "phase", phase_word((enum phase)phase), p->status.phase == (enum phase)phase);
}

static void put_role(struct page *p)
{
    for (int role = 0; role <= MEMBER_WORKER; role++)
        labelled(p, "role", role_word((enum member_role)role), p->status.role == (enum member_role)role);
}

static void put_healthy(struct page *p)
{
    number(p, p->status.healthy);
}

static void put_members(struct page *p)
{
    for (int state = 0; state <= STATE_LEFT; state++)
        labelled(p, "state", state_word((enum member_state)state), p->members[state]);
}

static void put_ready(struct page *p)
{
    number(p, p->ready);
}

static void put_electorate(struct page *p)
{
    number(p, p->status.electorate);
}

static void put_term(struct page *p)
{
    number(p, p->status.term);
}

static void put_lease(struct page *p)
{
    seconds(p, "", "", p->status.lease_left_ms, 1000);
}

static void put_cluster(struct page *p)
{
    char id[METRICS_LABEL_BYTES], version[METRICS_LABEL_BYTES];
    const struct record *r = node_record(p->src->node);

    if (r)
        fprintf(p->to, "%s{%s,%s} 1\n", p->name, metrics_label(id, "id", r->cluster_id),
                metrics_label(version, "kubernetes", r->kubernetes_version));
}

static void put_key(struct page *p)
{
    number(p, keyring_newest(node_keyring(p->src->node)));
}

static void put_events(struct page *p)
{
    for (int kind = 0; kind < EVENT_KIND_COUNT; kind++)
        labelled(p, "event", event_word((enum event_kind)kind), p->src->counted->event[kind]);
}

static void put_error(struct page *p)
{
    seconds(p, "", "", (uint64_t)p->src->counted->error_wall_ms, 1000);
}

static void put_running(struct page *p)
{
    number(p, p->status.steps_running);
}

static void put_outcome(struct page *p, int kind, const char *outcome, uint64_t count, uint64_t ms)
{
    char step[METRICS_LABEL_BYTES], how[METRICS_LABEL_BYTES], both[2 * METRICS_LABEL_BYTES + 8];

    if (!count)
        return;
    snprintf(both, sizeof both, "{%s,%s}", metrics_label(step, "step", step_word((enum step_kind)kind)),
             metrics_label(how, "outcome", outcome));
    seconds(p, "_sum", both, ms, 1000);
    fprintf(p->to, "%s_count%s %" PRIu64 "\n", p->name, both, count);
}

static void put_steps(struct page *p)
{
    const struct metrics *m = p->src->counted;

    for (int kind = 0; kind < STEP_KIND_COUNT; kind++) {
        put_outcome(p, kind, "finished", m->step[kind].finished, m->step[kind].finished_ms);
        put_outcome(p, kind, "failed", m->step[kind].failed, m->step[kind].failed_ms);
    }
}

static void put_writes(struct page *p)
{
    static const char *const words[STORE_KEY_COUNT] = {"promises", "cluster", "members", "keys"};
    char file[METRICS_LABEL_BYTES], text[METRICS_LABEL_BYTES + 2];

    for (int key = 0; key < STORE_KEY_COUNT; key++) {
        snprintf(text, sizeof text, "{%s}", metrics_label(file, "file", words[key]));
        seconds(p, "_sum", text, p->src->counted->write[key].us, 1000000);
        fprintf(p->to, "%s_count%s %" PRIu64 "\n", p->name, text, p->src->counted->write[key].count);
    }
}

static void put_links(struct page *p)
{
    labelled(p, "state", "up", p->src->links_up);
    labelled(p, "state", "down", p->src->link_count - p->src->links_up);
}

static void put_handshakes(struct page *p)
{
    labelled(p, "outcome", "succeeded", p->src->links->handshakes);
    labelled(p, "outcome", "failed", p->src->links->handshakes_failed);
}

static void put_refused(struct page *p)
{
    number(p, p->src->links->refused);
}

static void put_gate(struct page *p)
{
    number(p, p->src->links->members_only);
}

static void put_shut(struct page *p)
{
    number(p, p->src->links->shut);
}

static void put_sent(struct page *p)
{
    number(p, p->src->links->sent);
}

static void put_sent_bytes(struct page *p)
{
    number(p, p->src->links->sent_bytes);
}

static void put_received(struct page *p)
{
    number(p, p->src->links->received);
}

static void put_received_bytes(struct page *p)
{
    number(p, p->src->links->received_bytes);
}

static void put_unsent(struct page *p)
{
    number(p, p->src->links->dropped);
}

static void put_dropped(struct page *p)
{
    for (size_t i = 0; i < COUNT_OF(p->status.dropped); i++)
        labelled(p, "reason", node_drop_word(i), p->status.dropped[i]);
}

static void put_heard(struct page *p)
{
    for (int why = 0; why < DROP_COUNT; why++)
        labelled(p, "reason", discovery_drop_word((enum discovery_drop)why), p->src->heard[why]);
}

static void put_start(struct page *p)
{
    seconds(p, "", "", (uint64_t)p->src->counted->start_wall_ms, 1000);
}

static void put_cpu(struct page *p)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    seconds(p, "", "", (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000, 1000000);
}

/* Pages of all, then pages that are resident. */
static void put_memory(struct page *p)
{
    char text[128];
    unsigned long all, resident;
    int fd = p->src->counted->memory_fd;
    ssize_t n = fd < 0 || lseek(fd, 0, SEEK_SET) ? -1 : read(fd, text, sizeof text - 1);

    text[n > 0 ? n : 0] = '\0';
    if (sscanf(text, "%lu %lu", &all, &resident) == 2)
        number(p, (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE));
}

static const struct metric {
    const char *name;
    const char *type;
    const char *help;
    void (*put)(struct page *p);
} table[] = {
    {"kpeer_build_info", "gauge", "The version that runs; always 1.", put_build},
    {"kpeer_healthy", "gauge", "1 where this host is ready and nothing is amiss.", put_healthy},
    {"kpeer_phase", "gauge", "1 for the phase that this host is in, 0 for the others.", put_phase},
    {"kpeer_role", "gauge", "1 for the role that this host has, 0 for the others.", put_role},
    {"kpeer_members", "gauge", "Members that this host knows, by state.", put_members},
    {"kpeer_ready_members", "gauge", "Members that are alive and ready.", put_ready},
    {"kpeer_cluster_info", "gauge", "The cluster that was decided; absent before.", put_cluster},
    {"kpeer_electorate_members", "gauge", "Members of the set that decides; 0: none yet.", put_electorate},
    {"kpeer_election_term", "gauge", "The election's term.", put_term},
    {"kpeer_lease_remaining_seconds", "gauge", "What is left of this host's own lease.", put_lease},
    {"kpeer_key_epoch", "gauge", "How often the group's key was rotated.", put_key},
    {"kpeer_events_total", "counter", "What happened, by kind of event.", put_events},
    {"kpeer_last_error_timestamp_seconds", "gauge", "When something last went wrong; 0: never.", put_error},
    {"kpeer_steps_running", "gauge", "Steps that the root side is at.", put_running},
    {"kpeer_step_duration_seconds", "summary", "How long steps took, by step and outcome.", put_steps},
    {"kpeer_state_write_duration_seconds", "summary", "How long it took to store a state file.", put_writes},
    {"kpeer_links", "gauge", "Connections with other members: those that stand, and those that should.",
     put_links},
    {"kpeer_link_handshakes_total", "counter", "Handshakes of this host's own links.", put_handshakes},
    {"kpeer_links_refused_total", "counter", "Links refused to unknown keys.", put_refused},
    {"kpeer_strangers_shut_out", "gauge", "1 while members alone may connect.", put_gate},
    {"kpeer_shut_outs_total", "counter", "How often somebody was turned away.", put_shut},
    {"kpeer_messages_sent_total", "counter", "Messages sent over links.", put_sent},
    {"kpeer_messages_sent_bytes_total", "counter", "Bytes of messages sent over links.", put_sent_bytes},
    {"kpeer_messages_received_total", "counter", "Messages taken from links.", put_received},
    {"kpeer_messages_received_bytes_total", "counter", "Bytes of messages taken from links.",
     put_received_bytes},
    {"kpeer_messages_unsent_total", "counter", "Messages for which there was no link, or no room.",
     put_unsent},
    {"kpeer_input_dropped_total", "counter", "What came over links and was not taken, by reason.",
     put_dropped},
    {"kpeer_datagrams_dropped_total", "counter", "Datagrams that were not taken, by reason.", put_heard},
    {"process_start_time_seconds", "gauge", "When the agent started.", put_start},
    {"process_cpu_seconds_total", "counter", "Processor time of the agent, all its threads.", put_cpu},
    {"process_resident_memory_bytes", "gauge", "Resident memory of the agent.", put_memory},
};

const char *metrics_name(size_t i)
{
    return i < COUNT_OF(table) ? table[i].name : NULL;
}

char *metrics_page(const struct metrics_source *src, size_t *n)
{
    char *text = NULL;
    struct page p = {.to = open_memstream(&text, n), .src = src};

    if (!p.to)
        return NULL;
    node_status_view(src->node, src->now_ms, &p.status);
    count_members(&p);
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        p.name = table[i].name;
        fprintf(p.to, "# HELP %s %s\n# TYPE %s %s\n", p.name, table[i].help, p.name, table[i].type);
        table[i].put(&p);
    }
    bool bad = ferror(p.to) != 0;
    if (fclose(p.to) || bad) {
        free(text);
        return NULL;
    }
    return text;
}
