#include "protocol/check.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

static bool fail(struct check_fault *f, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static bool fail(struct check_fault *f, const char *hint, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, ap);
    va_end(ap);
    snprintf(f->hint, sizeof f->hint, "%s", hint);
    return false;
}

struct range {
    int family;
    unsigned char b[16];
    unsigned bits;
};

static bool parse_cidr(const char *text, struct range *r)
{
    char address[STEP_CIDR_BYTES];
    if (mem_copy_text(address, sizeof address, text) != 0)
        return false;
    char *slash = strchr(address, '/');
    if (!slash || slash[1] < '0' || slash[1] > '9')
        return false;
    *slash = '\0';
    r->family = strchr(address, ':') ? AF_INET6 : AF_INET;
    r->bits = (unsigned)strtoul(slash + 1, NULL, 10);
    if (inet_pton(r->family, address, r->b) != 1)
        return false;
    return r->bits <= (r->family == AF_INET ? 32u : 128u);
}

static bool overlap(const struct range *x, const struct range *y)
{
    if (x->family != y->family)
        return false;
    unsigned bits = x->bits < y->bits ? x->bits : y->bits;
    if (memcmp(x->b, y->b, bits / 8) != 0)
        return false;
    unsigned rest = bits % 8;
    unsigned char mask = (unsigned char)(0xff00u >> rest);
    return rest == 0 || ((x->b[bits / 8] ^ y->b[bits / 8]) & mask) == 0;
}

bool check_cidr_overlap(const char *a, const char *b)
{
    struct range x, y;
    return parse_cidr(a, &x) && parse_cidr(b, &y) && overlap(&x, &y);
}

bool check_fit_for_master(const struct profile *p)
{
    return p->has_facts && p->role != ROLE_WORKER && p->facts.cpus >= CHECK_MASTER_CPUS &&
           p->facts.memory_mb >= CHECK_MASTER_MEMORY_MB;
}

static bool is_zero(const uint8_t id[static FACTS_ID_BYTES])
{
    static const uint8_t zero[FACTS_ID_BYTES];
    return memcmp(id, zero, sizeof zero) == 0;
}

static bool has_mac(const struct host_nets *nets, size_t count, const uint8_t mac[static 6])
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(nets->mac[i], mac, sizeof nets->mac[i]) == 0)
            return true;
    return false;
}

static bool holds_macs(const struct host_nets *nets, const struct host_nets *of)
{
    for (size_t i = 0; i < of->mac_count; i++)
        if (!has_mac(nets, nets->mac_count, of->mac[i]))
            return false;
    return true;
}

/* What no two hosts of a cluster may share. A NAT interface has the same hardware address on every cloned VM
 * and does no harm there, so hosts are only at fault when they share all of them: then they were cloned. */
static bool same_all_macs(const struct host_nets *a, const struct host_nets *b)
{
    if (a->mac_count == 0 || a->mac_count != b->mac_count)
        return false;
    return holds_macs(a, b) && holds_macs(b, a);
}

static bool check_pair(const struct profile *a, const struct profile *b, struct check_fault *f)
{
    const char *at_a = a->address, *at_b = b->address;
    if (strcmp(a->name, b->name) == 0)
        return fail(
            f, "give one of them another name (hostnamectl set-hostname NAME), then kpeer up again there",
            "two hosts are called %s: %s and %s", a->name, at_a, at_b);
    if (!is_zero(a->facts.machine_id) &&
        memcmp(a->facts.machine_id, b->facts.machine_id, FACTS_ID_BYTES) == 0)
        return fail(f, "on one of them: rm /etc/machine-id && systemd-machine-id-setup, then reboot it",
                    "%s (%s) and %s (%s) have the same machine-id: one was cloned from the other", a->name,
                    at_a, b->name, at_b);
    if (!is_zero(a->facts.product_uuid) &&
        memcmp(a->facts.product_uuid, b->facts.product_uuid, FACTS_ID_BYTES) == 0)
        return fail(f, "give the cloned VM a hardware UUID of its own in its hypervisor",
                    "%s (%s) and %s (%s) have the same product UUID: one was cloned from the other", a->name,
                    at_a, b->name, at_b);
    if (same_all_macs(&a->nets, &b->nets))
        return fail(f, "give the cloned VM new hardware addresses in its hypervisor",
                    "%s (%s) and %s (%s) have the same hardware addresses", a->name, at_a, b->name, at_b);
    return true;
}

static int compare_offsets(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static bool check_clocks(const struct check_host *host, size_t count, struct check_fault *f)
{
    int64_t offset[ELECTORATE_MAX];
    size_t n = 0;
    for (size_t i = 0; i < count && n < ELECTORATE_MAX; i++)
        if (host[i].has_offset)
            offset[n++] = host[i].clock_offset_ms;
    if (n < 2)
        return true;
    qsort(offset, n, sizeof offset[0], compare_offsets);
    int64_t median = offset[(n - 1) / 2];
    for (size_t i = 0; i < count; i++) {
        int64_t off = host[i].clock_offset_ms - median;
        if (host[i].has_offset && (off > CHECK_CLOCK_MS || off < -CHECK_CLOCK_MS))
            return fail(f,
                        "set its clock (timedatectl set-ntp true, or date -s), then kpeer goes on by itself",
                        "the clock of %s (%s) is %lld s %s the group's", host[i].profile->name,
                        host[i].profile->address, (long long)(off < 0 ? -off : off) / 1000,
                        off < 0 ? "behind" : "ahead of");
    }
    return true;
}

static bool check_ranges(const struct profile *p, const char *pod, const char *service, struct check_fault *f)
{
    if (check_cidr_overlap(pod, service))
        return fail(f,
                    "choose other values for pod_cidr or service_cidr in kpeer.yaml, the same on every host",
                    "the pod range %s and the service range %s overlap", pod, service);
    for (size_t i = 0; i < p->nets.net_count; i++) {
        const char *what = check_cidr_overlap(pod, p->nets.net[i])       ? "pod"
                           : check_cidr_overlap(service, p->nets.net[i]) ? "service"
                                                                         : NULL;
        if (what)
            return fail(
                f, "choose other values for pod_cidr or service_cidr in kpeer.yaml, the same on every host",
                "the %s range %s overlaps the network %s of %s (%s)", what, what[0] == 'p' ? pod : service,
                p->nets.net[i], p->name, p->address);
    }
    return true;
}

/* "v1.20.2" -> "v1.20": kubelets and control planes of one minor version always fit. */
static size_t minor_length(const char *version)
{
    const char *dot = strchr(version, '.');
    dot = dot ? strchr(dot + 1, '.') : NULL;
    return dot ? (size_t)(dot - version) : strlen(version);
}

static bool same_minor(const char *a, const char *b)
{
    size_t n = minor_length(a);
    return n == minor_length(b) && strncmp(a, b, n) == 0;
}

static bool check_alike(const struct profile *a, const struct profile *b, struct check_fault *f)
{
    /* A host without kubeadm fails its own preflight; it does not keep the others from founding. */
    bool both = a->facts.kubernetes_version[0] && b->facts.kubernetes_version[0];
    if (both && !same_minor(a->facts.kubernetes_version, b->facts.kubernetes_version))
        return fail(f, "install the same minor version of kubeadm and kubelet on all hosts",
                    "%s has Kubernetes %s and %s has %s", a->name, a->facts.kubernetes_version, b->name,
                    b->facts.kubernetes_version);
    if (strcmp(a->pod_cidr, b->pod_cidr) != 0 || strcmp(a->service_cidr, b->service_cidr) != 0)
        return fail(f, "use the same kpeer.yaml on all hosts",
                    "%s is configured for %s and %s, %s for %s and %s", a->name, a->pod_cidr, a->service_cidr,
                    b->name, b->pod_cidr, b->service_cidr);
    return true;
}

static bool check_somebody_fit(const struct check_host *host, size_t count, struct check_fault *f)
{
    const struct profile *best = host[0].profile;
    for (size_t i = 0; i < count; i++) {
        const struct profile *p = host[i].profile;
        if (check_fit_for_master(p))
            return true;
        if (p->facts.memory_mb > best->facts.memory_mb)
            best = p;
    }
    return fail(
        f, "give one host 2 CPUs and 1700 MB or more, or take role: worker away from one that has them",
        "no host here can be the master: that takes %d CPUs and %d MB; %s has %u and %u", CHECK_MASTER_CPUS,
        CHECK_MASTER_MEMORY_MB, best->name, best->facts.cpus, best->facts.memory_mb);
}

/* ---- the whole group ---- */

#define NUMBERS 4096 /* twice as many as the largest group has things of its own */

/* Numbers for what hosts must not share: equal things have equal numbers, and others hardly ever. */
struct numbers {
    uint64_t slot[NUMBERS]; /* 0: free */
};

enum own { OWN_NAME = 1, OWN_MACHINE_ID, OWN_PRODUCT_UUID, OWN_MACS, OWN_COUNT };

static uint64_t number_of(enum own own, const void *p, size_t n)
{
    uint64_t v = 0xcbf29ce484222325u ^ own; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        v = (v ^ ((const uint8_t *)p)[i]) * 0x100000001b3u;
    return v;
}

/* Hosts with the same addresses have the same number, in whatever order they name them. */
static uint64_t number_of_macs(const struct host_nets *nets)
{
    uint64_t v = nets->mac_count;
    for (size_t i = 0; i < nets->mac_count; i++)
        if (!has_mac(nets, i, nets->mac[i]))
            v += number_of(OWN_MACS, nets->mac[i], sizeof nets->mac[i]);
    return v;
}

/* True if it was there before. */
static bool put_number(struct numbers *s, uint64_t v)
{
    size_t at = (size_t)(v ^ v >> 32) % NUMBERS;
    v |= 1;
    while (s->slot[at] && s->slot[at] != v)
        at = (at + 1) % NUMBERS;
    bool there = s->slot[at] == v;
    s->slot[at] = v;
    return there;
}

static bool may_share(const struct check_host *host, size_t count)
{
    struct numbers s = {0};
    bool found = false;
    if (count > NUMBERS / 2 / (OWN_COUNT - 1))
        return true;
    for (size_t i = 0; i < count && !found; i++) {
        const struct profile *p = host[i].profile;
        const struct facts *f = &p->facts;
        found |= put_number(&s, number_of(OWN_NAME, p->name, strlen(p->name)));
        if (!is_zero(f->machine_id))
            found |= put_number(&s, number_of(OWN_MACHINE_ID, f->machine_id, FACTS_ID_BYTES));
        if (!is_zero(f->product_uuid))
            found |= put_number(&s, number_of(OWN_PRODUCT_UUID, f->product_uuid, FACTS_ID_BYTES));
        if (p->nets.mac_count > 0)
            found |= put_number(&s, number_of_macs(&p->nets));
    }
    return found;
}

/* Being alike passes on from one to the next among those that have kubeadm, so one of them stands for all. */
static bool all_alike(const struct check_host *host, size_t count)
{
    struct check_fault unused;
    const struct profile *one = host[0].profile;
    for (size_t i = 0; i < count; i++) {
        const struct profile *p = host[i].profile;
        if (!check_alike(one, p, &unused))
            return false;
        if (one->facts.kubernetes_version[0] == '\0')
            one = p;
    }
    return true;
}

/* Every host against every other: what tells whose fault it is, and costs most. */
static bool check_pairs(const struct check_host *host, size_t count, struct check_fault *fault)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count; k++)
            if (!check_pair(host[i].profile, host[k].profile, fault) ||
                !check_alike(host[i].profile, host[k].profile, fault))
                return false;
    return true;
}

bool check_group(const struct check_host *host, size_t count, bool complete, struct check_fault *fault)
{
    memset(fault, 0, sizeof *fault);
    if (count == 0)
        return true;
    if ((may_share(host, count) || !all_alike(host, count)) && !check_pairs(host, count, fault))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!check_ranges(host[i].profile, host[i].profile->pod_cidr, host[i].profile->service_cidr, fault))
            return false;
    return check_clocks(host, count, fault) && (!complete || check_somebody_fit(host, count, fault));
}

bool check_newcomer(const struct check_host *host, size_t count, const struct record *record,
                    struct check_fault *fault)
{
    memset(fault, 0, sizeof *fault);
    if (count == 0)
        return true;
    const struct profile *me = host[0].profile;
    for (size_t i = 1; i < count; i++)
        if (!check_pair(me, host[i].profile, fault))
            return false;
    if (!same_minor(me->facts.kubernetes_version, record->kubernetes_version))
        return fail(fault, "install the cluster's minor version of kubeadm and kubelet here",
                    "%s has Kubernetes %s, the cluster has %s", me->name,
                    me->facts.kubernetes_version[0] ? me->facts.kubernetes_version : "(no kubeadm)",
                    record->kubernetes_version);
    return check_ranges(me, record->pod_cidr, record->service_cidr, fault) &&
           check_clocks(host, count, fault);
}
