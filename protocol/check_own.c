/* What no two hosts of a group may share, and what all of them must have alike. */
#include <stdio.h>
#include <string.h>

#include "protocol/check_look.h"
#include "protocol/mem.h"

/* ---- what no two hosts may share ---- */

static bool is_zero(const uint8_t id[static FACTS_ID_BYTES])
{
    static const uint8_t zero[FACTS_ID_BYTES];
    return memcmp(id, zero, sizeof zero) == 0;
}

static bool same_id(const uint8_t a[static FACTS_ID_BYTES], const uint8_t b[static FACTS_ID_BYTES])
{
    return !is_zero(a) && memcmp(a, b, FACTS_ID_BYTES) == 0;
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

static bool same_name(const struct profile *a, const struct profile *b)
{
    return strcmp(a->name, b->name) == 0;
}

static bool same_machine_id(const struct profile *a, const struct profile *b)
{
    return same_id(a->facts.machine_id, b->facts.machine_id);
}

static bool same_product_uuid(const struct profile *a, const struct profile *b)
{
    return same_id(a->facts.product_uuid, b->facts.product_uuid);
}

/* A NAT interface has the same hardware address on every cloned VM and does no harm there, so hosts are only
 * at fault when they share all of them: then they were cloned. */
static bool same_all_macs(const struct profile *pa, const struct profile *pb)
{
    const struct host_nets *a = &pa->nets, *b = &pb->nets;
    if (a->mac_count == 0 || a->mac_count != b->mac_count)
        return false;
    return holds_macs(a, b) && holds_macs(b, a);
}

/* A proof of a Node goes by machine-id where product UUIDs are alike, so hosts that differ in that are told
 * apart all the same. */
static bool told_apart(const struct look *l, const uint16_t *who, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < count; k++)
            if (is_zero(look_at(l, who[i])->facts.machine_id) ||
                (i != k && same_machine_id(look_at(l, who[i]), look_at(l, who[k]))))
                return false;
    return true;
}

enum own { OWN_NAME, OWN_MACHINE_ID, OWN_PRODUCT_UUID, OWN_MACS, OWN_COUNT };

struct mark {
    const char *check;
    bool (*same)(const struct profile *a, const struct profile *b);
    const char *what;
    const char *hint;
};

static const struct mark marks[OWN_COUNT] = {
    [OWN_NAME] = {"name", same_name, NULL,
                  "on one of them: kpeer preflight --fix (or hostnamectl set-hostname NAME, then kpeer up "
                  "again); for all "
                  "clones at once: hostnames: auto in kpeer.yaml"},
    [OWN_MACHINE_ID] = {"machine-id", same_machine_id, "the same machine-id",
                        "on one of them: rm /etc/machine-id && systemd-machine-id-setup, then reboot it"},
    [OWN_PRODUCT_UUID] = {"product-uuid", same_product_uuid, "the same product UUID",
                          "give the cloned VM a hardware UUID of its own in its hypervisor"},
    [OWN_MACS] = {"hardware", same_all_macs, "the same hardware addresses",
                  "give the cloned VM new hardware addresses in its hypervisor"},
};

static void tell_shared(struct look *l, const struct mark *mark, const uint16_t *who, size_t count)
{
    char names[180];
    bool harmless = mark->same == same_product_uuid && told_apart(l, who, count);
    if (mark->what)
        check_names(l->host, who, count, names, sizeof names);
    else
        check_addresses(l->host, who, count, names, sizeof names);
    if (mark->what)
        check_add(l->list, harmless ? FINDING_WARN : FINDING_RED, mark->check, who, count, mark->hint,
                  "%s have %s: %s", names, mark->what,
                  count == 2 ? "one was cloned from the other" : "they are clones");
    else if (count == 2)
        check_add(l->list, FINDING_RED, mark->check, who, count, mark->hint, "two hosts are called %s: %s",
                  look_at(l, who[0])->name, names);
    else
        check_add(l->list, FINDING_RED, mark->check, who, count, mark->hint, "%zu hosts are called %s: %s",
                  count, look_at(l, who[0])->name, names);
}

/* Those who share it with the first one in `from`; told once, at the first of them. */
static void look_at_shared(struct look *l, const struct mark *mark, size_t from)
{
    uint16_t who[CHECK_HOSTS_MAX];
    size_t count = 0;
    const struct profile *p = look_at(l, from);
    for (size_t i = 0; i < from; i++)
        if (mark->same(look_at(l, i), p))
            return;
    for (size_t i = from; i < l->count && count < CHECK_HOSTS_MAX; i++)
        if (i == from || mark->same(p, look_at(l, i)))
            who[count++] = (uint16_t)i;
    if (count > 1)
        tell_shared(l, mark, who, count);
}

/* ---- what must be alike ---- */

/* "v1.20.2" -> "v1.20": kubelets and control planes of one minor version always fit. */
static size_t minor_length(const char *version)
{
    const char *dot = strchr(version, '.');
    dot = dot ? strchr(dot + 1, '.') : NULL;
    return dot ? (size_t)(dot - version) : strlen(version);
}

bool look_same_minor(const char *a, const char *b)
{
    size_t n = minor_length(a);
    return n == minor_length(b) && strncmp(a, b, n) == 0;
}

/* A host without kubeadm fails its own preflight; it does not keep the others from founding. */
static bool like_version(const struct profile *a, const struct profile *b)
{
    return !a->facts.kubernetes_version[0] || !b->facts.kubernetes_version[0] ||
           look_same_minor(a->facts.kubernetes_version, b->facts.kubernetes_version);
}

static bool like_ranges(const struct profile *a, const struct profile *b)
{
    return strcmp(a->pod_cidr, b->pod_cidr) == 0 && strcmp(a->service_cidr, b->service_cidr) == 0;
}

static bool has_version(const struct profile *p)
{
    return p->facts.kubernetes_version[0] != '\0';
}

static bool has_ranges(const struct profile *p)
{
    return p->pod_cidr[0] != '\0';
}

static void say_version(const struct profile *p, char *out, size_t bytes)
{
    snprintf(out, bytes, "Kubernetes %s", p->facts.kubernetes_version);
}

static void say_ranges(const struct profile *p, char *out, size_t bytes)
{
    snprintf(out, bytes, "pod_cidr %s and service_cidr %s", p->pod_cidr, p->service_cidr);
}

struct trait {
    const char *check;
    bool (*has)(const struct profile *p);
    bool (*like)(const struct profile *a, const struct profile *b);
    void (*say)(const struct profile *p, char *out, size_t bytes);
    const char *hint;
};

static const struct trait traits[] = {
    {"kubernetes", has_version, like_version, say_version,
     "install the same minor version of kubeadm and kubelet on all hosts"},
    {"ranges", has_ranges, like_ranges, say_ranges, "use the same kpeer.yaml on all hosts"},
};

static size_t count_like(const struct look *l, const struct trait *t, size_t as)
{
    size_t count = 0;
    for (size_t i = 0; i < l->count; i++)
        count += t->has(look_at(l, i)) && t->like(look_at(l, as), look_at(l, i));
    return count;
}

/* Whoever is like most of them is right; the earliest where there is no most. */
static size_t commonest(const struct look *l, const struct trait *t)
{
    size_t best = 0, best_count = 0;
    for (size_t i = 0; i < l->count && 2 * best_count <= l->count; i++) {
        size_t count = t->has(look_at(l, i)) ? count_like(l, t, i) : 0;
        if (count > best_count) {
            best = i;
            best_count = count;
        }
    }
    return best;
}

static void look_at_trait(struct look *l, const struct trait *t)
{
    uint16_t who[CHECK_HOSTS_MAX];
    char names[100], theirs[48 + 2 * STEP_CIDR_BYTES], most[48 + 2 * STEP_CIDR_BYTES];
    size_t right = commonest(l, t);
    for (size_t i = 0; i < l->count && !check_full(l->list); i++) {
        size_t count = 0;
        const struct profile *p = look_at(l, i);
        bool told = !t->has(p) || t->like(look_at(l, right), p);
        for (size_t k = 0; k < i && !told; k++)
            told = t->has(look_at(l, k)) && t->like(look_at(l, k), p);
        for (size_t k = i; k < l->count && !told && count < CHECK_HOSTS_MAX; k++)
            if (t->has(look_at(l, k)) && t->like(p, look_at(l, k)))
                who[count++] = (uint16_t)k;
        if (told)
            continue;
        check_names(l->host, who, count, names, sizeof names);
        t->say(p, theirs, sizeof theirs);
        t->say(look_at(l, right), most, sizeof most);
        check_add(l->list, FINDING_RED, t->check, who, count, t->hint, "%s: %s; %s: %s", names, theirs,
                  l->count == 2 ? look_at(l, right)->name : "most others", most);
    }
}

static bool all_alike(const struct look *l, const struct trait *t)
{
    /* Being alike passes on from one to the next among those that have it, so one of them stands for all. */
    const struct profile *one = look_at(l, 0);
    for (size_t i = 0; i < l->count; i++) {
        if (!t->like(one, look_at(l, i)))
            return false;
        if (!t->has(one))
            one = look_at(l, i);
    }
    return true;
}

/* ---- many hosts ---- */

#define NUMBERS 4096 /* twice as many as the largest group has things of its own */

/* Numbers for what hosts must not share: equal things have equal numbers, and others hardly ever. */
struct numbers {
    uint64_t slot[NUMBERS]; /* 0: free */
};

static uint64_t number_of(enum own own, const void *p, size_t n)
{
    uint64_t v = 0xcbf29ce484222325u ^ own; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        v = (v ^ ((const uint8_t *)p)[i]) * 0x100000001b3u;
    v = (v ^ v >> 33) * 0xff51afd7ed558ccdu; /* a last byte alone moves few bits: sums would be alike */
    return v ^ v >> 33;
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

/* Which of a host's own things several of them may have; the others nobody shares. */
static void may_share(const struct look *l, bool shared[static OWN_COUNT])
{
    struct numbers s = {0};
    bool too_many = l->count > NUMBERS / 2 / OWN_COUNT;
    for (size_t own = 0; own < OWN_COUNT; own++)
        shared[own] = too_many;
    for (size_t i = 0; i < l->count && !too_many; i++) {
        const struct profile *p = look_at(l, i);
        const struct facts *f = &p->facts;
        shared[OWN_NAME] |= put_number(&s, number_of(OWN_NAME, p->name, strlen(p->name)));
        if (!is_zero(f->machine_id))
            shared[OWN_MACHINE_ID] |=
                put_number(&s, number_of(OWN_MACHINE_ID, f->machine_id, FACTS_ID_BYTES));
        if (!is_zero(f->product_uuid))
            shared[OWN_PRODUCT_UUID] |=
                put_number(&s, number_of(OWN_PRODUCT_UUID, f->product_uuid, FACTS_ID_BYTES));
        if (p->nets.mac_count > 0)
            shared[OWN_MACS] |= put_number(&s, number_of_macs(&p->nets));
    }
}

void look_at_own(struct look *l, bool first)
{
    bool shared[OWN_COUNT] = {true, true, true, true};
    if (!first)
        may_share(l, shared);
    for (size_t own = 0; own < OWN_COUNT; own++)
        for (size_t i = 0; shared[own] && i < (first ? 1 : l->count) && !check_full(l->list); i++)
            look_at_shared(l, &marks[own], i);
}

void look_at_traits(struct look *l)
{
    for (size_t k = 0; k < COUNT_OF(traits); k++)
        if (!all_alike(l, &traits[k]))
            look_at_trait(l, &traits[k]);
}
