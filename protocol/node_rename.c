/* Hosts that were cloned: names and machine-ids of their own, without anybody's help. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/check.h"
#include "protocol/mem.h"
#include "protocol/node_state.h"

#define OCTETS 4

/* What a Node was or will be made of stays as it is. */
static bool may_change(const struct node *n)
{
    const struct work *w = &n->work;
    return (n->cfg.rename || w->rename_once) && !n->cfg.name_fixed && n->address[0] && !w->joined[0] &&
           !w->inited && !w->founding[0] && !w->ca_hash[0] && !w->have_ticket;
}

static bool is_zero(const uint8_t id[static FACTS_ID_BYTES])
{
    static const uint8_t zero[FACTS_ID_BYTES];
    return memcmp(id, zero, sizeof zero) == 0;
}

static bool same_name(const struct node *n, const struct profile *p)
{
    return strcmp(n->cfg.name, p->name) == 0;
}

/* Who was quicker shares our name no more; yet what each is called must not hang on who was. */
static bool had_same_name(const struct node *n, const struct profile *p)
{
    return same_name(n, p) || (n->cfg.rename && strcmp(n->cfg.name, p->former_name) == 0);
}

static bool same_machine_id(const struct node *n, const struct profile *p)
{
    return p->has_facts && !is_zero(n->facts.machine_id) &&
           memcmp(n->facts.machine_id, p->facts.machine_id, FACTS_ID_BYTES) == 0;
}

static bool is_shared(const struct node *n, bool (*same)(const struct node *n, const struct profile *p))
{
    for (size_t i = 0; i < n->member_count; i++) {
        const struct member *m = n->member[i];
        bool here = !m->self && (m->state == STATE_ALIVE || m->state == STATE_SUSPECT);
        if (here && m->has_profile && m->profile.phase != PHASE_LEFT && same(n, &m->profile))
            return true;
    }
    return false;
}

enum step_kind rename_next(const struct node *n)
{
    if (!may_change(n))
        return STEP_NONE;
    if (is_shared(n, same_machine_id))
        return STEP_MACHINE_ID;
    return n->work.renames < OCTETS && is_shared(n, had_same_name) ? STEP_RENAME : STEP_NONE;
}

/* How many octets of our address tell the hosts of its network apart. */
static unsigned host_octets(const struct node *n)
{
    char own[STEP_CIDR_BYTES];
    snprintf(own, sizeof own, "%s/32", n->address);
    for (size_t i = 0; i < n->nets.net_count; i++) {
        const char *slash = strchr(n->nets.net[i], '/');
        unsigned long bits = slash ? strtoul(slash + 1, NULL, 10) : 32;
        if (check_cidr_overlap(n->nets.net[i], own) && bits < 32)
            return (unsigned)(32 - bits + 7) / 8;
    }
    return 1;
}

/* "ubuntu" at 192.168.56.12 in a /24 becomes "ubuntu-12": all who share a name do so alike, in whatever
 * order. Where that name is taken as well, more of the address goes into it. */
void rename_new_name(const struct node *n, char out[static STEP_NAME_BYTES])
{
    const char *base = n->work.first_name[0] ? n->work.first_name : n->cfg.name;
    unsigned char b[OCTETS] = {0};
    char tail[20] = "";
    unsigned octets = host_octets(n) + n->work.renames;
    const char *dot = strchr(base, '.');
    size_t used = 0, rest = dot ? strlen(dot) : 0, label = strlen(base) - rest;
    (void)inet_pton(AF_INET, n->address, b);
    for (unsigned i = octets < OCTETS ? OCTETS - octets : 0; i < OCTETS; i++)
        used += (size_t)snprintf(tail + used, sizeof tail - used, "-%u", b[i]);
    size_t room = STEP_NAME_BYTES - 1 - used;
    if (rest + 1 > room) /* a long domain goes first */
        rest = 0;
    if (label > room - rest)
        label = room - rest;
    snprintf(out, STEP_NAME_BYTES, "%.*s%s%.*s", (int)label, base, tail, (int)rest, dot ? dot : "");
}

void rename_done(struct node *n, enum step_kind kind)
{
    struct work *w = &n->work;
    w->stale_facts = true;
    if (kind != STEP_RENAME)
        return;
    if (!w->first_name[0])
        memcpy(w->first_name, n->cfg.name, sizeof w->first_name);
    w->renames++;
    memcpy(n->cfg.name, w->new_name, sizeof n->cfg.name);
    out_text(out_event(n, EVENT_RENAMED, &n->me->id), "this host was called %s, as another one",
             w->first_name);
}

void rename_request(struct node *n, uint64_t request)
{
    struct work *w = &n->work;
    bool was = w->rename_once;
    char text[160];
    w->rename_once = true;
    enum step_kind next = rename_next(n);
    if (next == STEP_NONE)
        w->rename_once = was;
    if (next == STEP_NONE && n->cfg.name_fixed && is_shared(n, same_name)) {
        out_reply(n, request, KPEER_EREFUSED, "another host has this name, which was told to kpeer",
                  "take `name` out of kpeer.yaml and --name away, or choose another one");
        return;
    }
    snprintf(text, sizeof text, "%s",
             next == STEP_NONE ? "nothing is shared that this host could change"
                               : "this host gets a name and a machine-id of its own");
    out_reply(n, request, 0, text, "");
}

void rename_tick(struct node *n)
{
    struct work *w = &n->work;
    if (w->rename_once && !w->main_step && w->have_facts && !w->stale_facts && rename_next(n) == STEP_NONE)
        w->rename_once = false;
}
