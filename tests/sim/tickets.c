/*
 * Invariant 6 at its source: a ticket is made for one host alone, and what is left of it when it was used.
 */
#include <string.h>

#include "protocol/node_state.h"
#include "tests/sim/world.h"

#define REVOKE_MS 30000 /* after its joiner is ready a token is revoked by then, failures included */

/* As its issuer has just sealed it: no key seals two of them, and its joiner can open it. */
void ticket_issued(struct world *w, struct host *h, const struct peer_id *joiner)
{
    uint8_t plain[TICKET_BOX_MAX];
    const struct member *m = node_member(h->node, joiner);
    int64_t holder = watch_holder(w, joiner);
    if (!m || m->job.grant.ticket_bytes == 0)
        return;
    const struct grant *g = &m->job.grant;
    for (size_t i = 0; i < h->node->member_count; i++) {
        const struct member *o = h->node->member[i];
        if (o != m && o->job.grant.ticket_bytes && memcmp(o->job.grant.ticket, g->ticket, BOX_PK_BYTES) == 0)
            broken(w, 6, "%s seals two tickets with one key", h->name);
    }
    if (holder >= 0 && seal_box_open(w->host[holder].identity, g->ticket, g->ticket_bytes, plain) != 0)
        broken(w, 6, "%s seals a ticket that %s cannot open", h->name, w->host[holder].name);
}

bool ticket_used(struct world *w, struct host *h, const struct token *k)
{
    if (k && w->now_ms >= k->until_ms)
        broken(w, 6, "%s begins join with a ticket whose time is over", h->name);
    return k && !k->revoked && w->now_ms < k->until_ms;
}

static const struct host *joined_with(const struct world *w, const struct token *k)
{
    for (uint32_t i = 0; i < w->slots; i++)
        if (strcmp(w->host[i].name, k->joiner) == 0)
            return w->host[i].ready && w->host[i].identities == 1 ? &w->host[i] : NULL;
    return NULL;
}

static bool owed(const struct world *w, const struct token *k)
{
    const struct host *cp = &w->host[k->issuer];
    const struct host *h = joined_with(w, k);
    return k->used && !k->revoked && !liar_is(w, cp) && w->now_ms < k->until_ms && cp->up &&
           cp->generation == k->generation && h && strcmp(h->kube.joined, cp->kube.built) == 0;
}

bool ticket_outstanding(const struct world *w)
{
    for (uint32_t i = 0; i < w->token_count; i++)
        if (owed(w, &w->token[i]) && w->now_ms < joined_with(w, &w->token[i])->ready_ms + REVOKE_MS)
            return true;
    return false;
}

void tickets_end(struct world *w)
{
    for (uint32_t i = 0; i < w->token_count; i++)
        if (owed(w, &w->token[i]))
            broken(w, 6, "the token that %s joined with was not revoked", w->token[i].joiner);
}
