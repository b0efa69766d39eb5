#include "protocol/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/check_look.h"
#include "protocol/mem.h"

#define HOST_BYTES (STEP_NAME_BYTES + STEP_ADDRESS_BYTES)

void check_add(struct check_list *list, enum finding_level level, const char *check, const uint16_t *who,
               size_t count, const char *hint, const char *fmt, ...)
{
    va_list ap;
    if (check_full(list) || level < list->level)
        return;
    struct check_fault *f = &list->fault[list->count++];
    *f = (struct check_fault){.level = level, .host_count = count};
    mem_clip_text(f->check, sizeof f->check, check);
    if (count > 0)
        memcpy(f->host, who, (count < CHECK_NAMED_MAX ? count : CHECK_NAMED_MAX) * sizeof who[0]);
    va_start(ap, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, ap);
    va_end(ap);
    mem_clip_text(f->hint, sizeof f->hint, hint);
}

/* Room is kept for what is said of those who find none. */
#define MORE_BYTES sizeof " and 65535 more"

static void list_words(const struct check_host *host, const uint16_t *who, size_t count, bool addresses,
                       char *out, size_t bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        char one[HOST_BYTES + 8];
        const struct profile *p = host[who[i]].profile;
        const char *between = i == 0 ? "" : i + 1 < count ? ", " : " and ";
        if (addresses)
            snprintf(one, sizeof one, "%s%s", between, p->address);
        else
            snprintf(one, sizeof one, "%s%s (%s)", between, p->name, p->address);
        if (used + strlen(one) + MORE_BYTES > bytes) {
            snprintf(out + used, bytes - used, " and %zu more", count - i);
            return;
        }
        used += (size_t)snprintf(out + used, bytes - used, "%s", one);
    }
}

void check_names(const struct check_host *host, const uint16_t *who, size_t count, char *out, size_t bytes)
{
    list_words(host, who, count, false, out, bytes);
}

void check_addresses(const struct check_host *host, const uint16_t *who, size_t count, char *out,
                     size_t bytes)
{
    list_words(host, who, count, true, out, bytes);
}

bool check_fit_for_master(const struct profile *p)
{
    return p->has_facts && p->role != ROLE_WORKER && p->facts.cpus >= CHECK_MASTER_CPUS &&
           p->facts.memory_mb >= CHECK_MASTER_MEMORY_MB;
}

/* ---- clocks ---- */

static int compare_offsets(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* False where fewer than two clocks are known. */
static bool median_of(const struct look *l, int64_t *median)
{
    int64_t offset[CHECK_HOSTS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < l->count && n < CHECK_HOSTS_MAX; i++)
        if (l->host[i].has_offset)
            offset[n++] = l->host[i].clock_offset_ms;
    if (n < 2)
        return false;
    qsort(offset, n, sizeof offset[0], compare_offsets);
    *median = offset[(n - 1) / 2];
    return true;
}

static void look_at_clocks(struct look *l)
{
    int64_t median;
    if (!median_of(l, &median))
        return;
    for (size_t i = 0; i < l->count && !check_full(l->list); i++) {
        uint16_t who = (uint16_t)i;
        int64_t off = l->host[i].clock_offset_ms - median;
        if (l->host[i].has_offset && (off > CHECK_CLOCK_MS || off < -CHECK_CLOCK_MS))
            check_add(l->list, FINDING_RED, "clock", &who, 1,
                      "set its clock (timedatectl set-ntp true, or date -s), then kpeer goes on by itself",
                      "the clock of %s (%s) is %lld s %s the group's", look_at(l, i)->name,
                      look_at(l, i)->address, (long long)(off < 0 ? -off : off) / 1000,
                      off < 0 ? "behind" : "ahead of");
    }
}

/* ---- ranges ---- */

#define RANGES_HINT "choose other values for pod_cidr or service_cidr in kpeer.yaml, the same on every host"

static void look_at_own_ranges(struct look *l, size_t i, const char *pod, const char *service)
{
    uint16_t who = (uint16_t)i;
    if (check_cidr_overlap(pod, service))
        check_add(l->list, FINDING_RED, "ranges", &who, 1, RANGES_HINT,
                  "the pod range %s and the service range %s overlap", pod, service);
}

static bool has_net(const struct profile *p, const char *net)
{
    for (size_t i = 0; i < p->nets.net_count; i++)
        if (strcmp(p->nets.net[i], net) == 0)
            return true;
    return false;
}

/* A network that several hosts are on is told once, with all of them. */
static void look_at_network(struct look *l, size_t first, const char *net, const char *what,
                            const char *range)
{
    uint16_t who[CHECK_HOSTS_MAX];
    char names[120];
    size_t count = 0;
    for (size_t i = 0; i < first; i++)
        if (has_net(look_at(l, i), net))
            return;
    for (size_t i = first; i < l->count && count < CHECK_HOSTS_MAX; i++)
        if (has_net(look_at(l, i), net))
            who[count++] = (uint16_t)i;
    check_names(l->host, who, count, names, sizeof names);
    check_add(l->list, FINDING_RED, "network", who, count, RANGES_HINT,
              "the %s range %s overlaps the network %s of %s", what, range, net, names);
}

static void look_at_networks(struct look *l, size_t i, const char *pod, const char *service)
{
    const struct host_nets *nets = &look_at(l, i)->nets;
    for (size_t k = 0; k < nets->net_count && !check_full(l->list); k++) {
        if (check_cidr_overlap(pod, nets->net[k]))
            look_at_network(l, i, nets->net[k], "pod", pod);
        else if (check_cidr_overlap(service, nets->net[k]))
            look_at_network(l, i, nets->net[k], "service", service);
    }
}

static void look_at_ranges(struct look *l)
{
    for (size_t i = 0; i < l->count && !check_full(l->list); i++) {
        const struct profile *p = look_at(l, i);
        const struct profile *one = look_at(l, 0);
        if (i == 0 || strcmp(p->pod_cidr, one->pod_cidr) || strcmp(p->service_cidr, one->service_cidr))
            look_at_own_ranges(l, i, p->pod_cidr, p->service_cidr);
        look_at_networks(l, i, p->pod_cidr, p->service_cidr);
    }
}

/* ---- the whole group ---- */

static void look_for_a_master(struct look *l)
{
    size_t best = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (check_fit_for_master(look_at(l, i)))
            return;
        if (look_at(l, i)->facts.memory_mb > look_at(l, best)->facts.memory_mb)
            best = i;
    }
    const struct profile *p = look_at(l, best);
    uint16_t who = (uint16_t)best;
    check_add(l->list, FINDING_RED, "master", &who, 1,
              "give one host 2 CPUs and 1700 MB or more, or take role: worker away from one that has them",
              "no host here can be the master: that takes %d CPUs and %d MB; %s has %u and %u",
              CHECK_MASTER_CPUS, CHECK_MASTER_MEMORY_MB, p->name, p->facts.cpus, p->facts.memory_mb);
}

void check_hosts(const struct check_host *host, size_t count, bool complete, struct check_list *list)
{
    struct look l = {host, count < CHECK_HOSTS_MAX ? count : CHECK_HOSTS_MAX, list};
    if (count == 0)
        return;
    look_at_own(&l, false);
    look_at_traits(&l);
    look_at_ranges(&l);
    look_at_clocks(&l);
    if (complete)
        look_for_a_master(&l);
}

bool check_group(const struct check_host *host, size_t count, bool complete, struct check_fault *fault)
{
    struct check_list list = {.fault = fault, .room = 1, .level = FINDING_RED};
    memset(fault, 0, sizeof *fault);
    check_hosts(host, count, complete, &list);
    return list.count == 0;
}

static void look_at_record(struct look *l, const struct record *record)
{
    const struct profile *me = look_at(l, 0);
    const uint16_t who = 0;
    if (!look_same_minor(me->facts.kubernetes_version, record->kubernetes_version))
        check_add(l->list, FINDING_RED, "kubernetes", &who, 1,
                  "install the cluster's minor version of kubeadm and kubelet here",
                  "%s has Kubernetes %s, the cluster has %s", me->name,
                  me->facts.kubernetes_version[0] ? me->facts.kubernetes_version : "(no kubeadm)",
                  record->kubernetes_version);
    look_at_own_ranges(l, 0, record->pod_cidr, record->service_cidr);
    look_at_networks(&(struct look){l->host, 1, l->list}, 0, record->pod_cidr, record->service_cidr);
}

bool check_newcomer(const struct check_host *host, size_t count, const struct record *record,
                    struct check_fault *fault)
{
    struct check_list list = {.fault = fault, .room = 1, .level = FINDING_RED};
    struct look l = {host, count < CHECK_HOSTS_MAX ? count : CHECK_HOSTS_MAX, &list};
    memset(fault, 0, sizeof *fault);
    if (count == 0)
        return true;
    look_at_own(&l, true);
    look_at_record(&l, record);
    look_at_clocks(&l);
    return list.count == 0;
}
