/*
 * Invariant 7 for what a host keeps of the others' words: it never goes back, and each word is its owner's.
 */
#include <stdlib.h>
#include <string.h>

#include "protocol/node_state.h"
#include "tests/sim/world.h"

#define HOSTS_HEARD 64 /* in a larger world the looking on would be most of the work */

struct kept {
    struct peer_id owner, subject;
    enum statement_kind kind;
    uint64_t version;
};

static int compare(const struct kept *a, const struct gossip_item *b)
{
    int c = peer_id_compare(&a->owner, &b->owner);
    if (c == 0)
        c = (int)a->kind - (int)b->kind;
    return c ? c : peer_id_compare(&a->subject, &b->subject);
}

static void check_word(struct world *w, const struct host *h, const struct gossip_item *it)
{
    struct statement s;
    if (w->s->liar != LIAR_NONE &&
        statement_decode(it->wire, it->wire_bytes, h->node->group_id, true, &s, NULL) != 0)
        broken(w, 7, "%s keeps a statement that its owner has not signed", h->name);
}

void heard_forget(struct host *h)
{
    free(h->kept);
    h->kept = NULL;
    h->kept_count = 0;
    h->kept_digest = 0;
}

static void keep(struct host *h, const struct gossip *g)
{
    h->kept = realloc(h->kept, (g->count + 1) * sizeof *h->kept);
    if (!h->kept)
        abort();
    for (size_t i = 0; i < g->count; i++)
        h->kept[i] = (struct kept){.owner = g->item[i].owner,
                                   .subject = g->item[i].subject,
                                   .kind = g->item[i].kind,
                                   .version = g->item[i].version};
    h->kept_count = g->count;
    h->kept_digest = g->digest;
}

/* Both are in the same order. */
void heard_after(struct world *w, struct host *h)
{
    const struct gossip *g = &h->node->gossip;
    size_t was = 0;
    if (w->slots > HOSTS_HEARD || (g->digest == h->kept_digest && g->count == h->kept_count))
        return;
    for (size_t i = 0; i < g->count; i++) {
        const struct gossip_item *it = &g->item[i];
        while (was < h->kept_count && compare(&h->kept[was], it) < 0)
            was++;
        bool known = was < h->kept_count && compare(&h->kept[was], it) == 0;
        if (known && it->version < h->kept[was].version)
            broken(w, 7, "%s goes back to an older statement", h->name);
        if (!known || it->version != h->kept[was].version)
            check_word(w, h, it);
    }
    keep(h, g);
}
