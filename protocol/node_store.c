#include <stdlib.h>
#include <string.h>

#include "protocol/fault.h"
#include "protocol/node_state.h"

#define PROMISES_VERSION 2
#define PROMISES_FIELDS  8
#define MEMBERS_VERSION  1
#define SNAPSHOT_MAX     (4 * 1024 * 1024)

static void persist(struct node *n, enum store_key key, struct pack_writer *w)
{
    uint8_t *bytes = NULL;
    size_t bytes_n = 0;
    if (pack_writer_take(w, &bytes, &bytes_n, NULL) != 0) {
        n->no_memory = true;
        return;
    }
    if (!out_own(n, bytes, bytes_n))
        return;
    struct action *a = out_action(n, ACT_PERSIST);
    a->store = key;
    a->bytes = bytes;
    a->n = bytes_n;
}

void node_persist_promises(struct node *n)
{
    struct pack_writer w;
    pack_writer_init(&w, STATEMENT_WIRE_MAX + 4096);
    pack_put_array(&w, PROMISES_FIELDS);
    pack_put_uint(&w, PROMISES_VERSION);
    pack_put_uint(&w, n->boot);
    pack_put_bool(&w, n->formation.constituted);
    ballot_pack(&w, &n->formation.mine);
    pack_put_str(&w, n->work.founding);
    pack_put_bool(&w, n->work.proposed);
    pack_put_str(&w, n->work.joined);
    pack_put_uint(&w, work_leave_stored(n));
    persist(n, STORE_PROMISES, &w);
    pack_writer_fini(&w);
}

int node_load_promises(struct node *n, const struct stored *s, struct err *err)
{
    struct pack_reader r;
    if (!s->bytes)
        return 0;
    int rc = pack_open(&r, s->bytes, s->n, 4, err);
    if (rc)
        return err_wrap(err, "stored promises");
    uint32_t fields = pack_array(&r, 1, 16);
    if (pack_uint(&r, UINT32_MAX) != PROMISES_VERSION)
        pack_fail(&r, KPEER_EVERSION, "version");
    if (fields != PROMISES_FIELDS)
        pack_fail(&r, KPEER_EINVAL, "fields");
    n->boot = pack_uint(&r, UINT32_MAX);
    n->formation.constituted = pack_bool(&r);
    ballot_unpack(&r, &n->formation.mine);
    pack_str(&r, n->work.founding, sizeof n->work.founding);
    n->work.proposed = pack_bool(&r);
    pack_str(&r, n->work.joined, sizeof n->work.joined);
    work_leave_load(n, pack_uint(&r, 2));
    rc = pack_close(&r, err);
    if (FAULT(PROMISES_FORGOTTEN))
        memset(&n->formation.mine, 0, sizeof n->formation.mine);
    return rc ? err_wrap(err, "stored promises") : 0;
}

void node_persist_members(struct node *n)
{
    struct pack_writer w;
    size_t count = 0;
    for (size_t i = 0; i < n->gossip.count; i++)
        count += n->gossip.item[i].kind == STATEMENT_PROFILE;
    pack_writer_init(&w, SNAPSHOT_MAX);
    pack_put_array(&w, 2);
    pack_put_uint(&w, MEMBERS_VERSION);
    pack_put_array(&w, count);
    for (size_t i = 0; i < n->gossip.count; i++)
        if (n->gossip.item[i].kind == STATEMENT_PROFILE)
            pack_put_raw(&w, n->gossip.item[i].wire, n->gossip.item[i].wire_bytes);
    persist(n, STORE_MEMBERS, &w);
    pack_writer_fini(&w);
    n->members_dirty_ms = 0;
}

int node_load_members(struct node *n, const struct stored *s, struct err *err)
{
    struct pack_reader r;
    if (!s->bytes)
        return 0;
    int rc = pack_open(&r, s->bytes, s->n, 4, err);
    if (rc)
        return err_wrap(err, "stored members");
    pack_array(&r, 2, 2);
    if (pack_uint(&r, UINT32_MAX) != MEMBERS_VERSION)
        pack_fail(&r, KPEER_EVERSION, "version");
    uint32_t count = pack_array(&r, 0, GOSSIP_ITEMS_MAX);
    for (uint32_t i = 0; i < count && !pack_bad(&r); i++) {
        size_t bytes = 0;
        const uint8_t *wire = pack_raw(&r, &bytes);
        if (!pack_bad(&r))
            net_take(n, wire, bytes, true);
    }
    rc = pack_close(&r, err);
    return rc ? err_wrap(err, "stored members") : 0;
}

/* Stored before anybody is told, and before anything is done with it. */
static void tell_commit(struct node *n, const struct committed *c)
{
    const struct ballot *mine = &n->formation.mine;
    struct action *a = out_action(n, ACT_PERSIST);
    a->store = STORE_CLUSTER;
    a->bytes = n->cluster_blob;
    a->n = n->cluster_bytes;
    if (FAULT(RECORD_NOT_STORED))
        n->action_count--;
    /* The rest of our set elected and decided before we heard of either: at most we stood in vain. */
    bool unaware =
        peer_id_is_zero(&mine->vote) || (peer_id_equal(&mine->vote, &n->me->id) && !n->formation.leading);
    if (unaware && !node_is_founder(n) && electorate_equal(&mine->set, &c->set))
        out_event(n, EVENT_ELECTED, &n->record.founder)->term = c->term;
    a = out_event(n, EVENT_RECORD_COMMITTED, &n->record.founder);
    a->term = c->term;
    out_text(a, "cluster %s at %s, founded by %s", n->record.cluster_id, n->record.endpoint,
             n->record.founder_name);
    if (node_is_founder(n))
        node_persist_members(n); /* a new key is for each of them, also if the power fails now */
}

/* Our own set may have decided what we accepted: another set's record is then a second cluster, not an
 * answer. */
static bool second_cluster(const struct node *n, const struct committed *c)
{
    const struct ballot *mine = &n->formation.mine;
    return n->committed || (mine->accepted && !record_equal(&mine->record, &c->record) &&
                            !electorate_equal(&mine->set, &c->set));
}

/* Nothing is decided under our own set by us any more, so those who still count on us there must know. */
static void leave_other_set(struct node *n, const struct committed *c)
{
    if (!n->started || electorate_equal(&n->formation.mine.set, &c->set) || !formation_leave(&n->formation))
        return;
    node_persist_promises(n);
    net_publish_ballot(n);
}

static int keep_record(struct node *n, const struct committed *c, const uint8_t *blob, size_t bytes)
{
    uint8_t hash[32];
    leave_other_set(n, c);
    n->cluster_blob = malloc(bytes);
    if (!n->cluster_blob) {
        n->no_memory = true;
        return KPEER_ENOMEM;
    }
    memcpy(n->cluster_blob, blob, bytes);
    n->cluster_bytes = bytes;
    n->record = c->record;
    record_hash(&n->record, hash);
    memcpy(&n->record_digest, hash, sizeof n->record_digest);
    n->committed = true;
    /* What kept the group from founding, and the pause after a founding that failed here, are over with it.
     */
    n->work.blocked[0] = n->work.blocked_hint[0] = '\0';
    n->work.retry_ms = n->work.able_ms = 0;
    if (n->started)
        tell_commit(n, c);
    return 1;
}

int node_adopt(struct node *n, const uint8_t *blob, size_t bytes)
{
    struct committed *c = malloc(sizeof *c);
    if (!c) {
        n->no_memory = true;
        return KPEER_ENOMEM;
    }
    int rc = committed_read(blob, bytes, c, NULL);
    if (rc == 0 && memcmp(c->group_id, n->group_id, sizeof n->group_id) != 0)
        rc = KPEER_EREFUSED;
    /* The same record with other signatures changes nothing, so they need no look. */
    bool known = rc == 0 && n->committed && record_equal(&n->record, &c->record);
    if (rc == 0 && !known && !FAULT(RECORD_UNVERIFIED))
        rc = committed_verify(c, NULL);
    if (rc == 0 && !known)
        rc = second_cluster(n, c) ? KPEER_ESTATE : keep_record(n, c, blob, bytes);
    free(c);
    return rc;
}
