#include "discovery/evidence.h"

#include <stdlib.h>
#include <string.h>

#define CLAIMS_MAX    4
#define CLAIMANTS_MAX 8
#define EXPIRY_BEATS  10
#define SILENT_BEATS  3 /* whoever was silent so long since another took over its address has gone */
#define NEW_BEATS     3 /* so long a newcomer is named in each beacon */
#define TURNS         8 /* the others in one of so many: before evidence expires, and one proof is enough */
#define OTHERS_LEAST  2

/* A peer at an address, as heard on one of our interfaces. */
struct claim {
    struct address address; /* n 0: unused */
    uint32_t index;
    uint64_t counter; /* the last one heard here */
    uint64_t first_ms;
    uint64_t last_ms;
    uint64_t heard;      /* how many of the peer's beacons had been heard by then, wherever */
    uint32_t next_ms;    /* it said then that its next beacon comes after so long … */
    uint32_t slow_ms;    /* … or lately: this falls by a quarter with each beacon */
    struct address echo; /* where it said it hears us on that interface */
    uint64_t echo_ms;
};

struct peer {
    struct peer_id id;
    uint64_t boot;
    uint64_t instance;
    uint64_t first_ms;
    uint64_t last_ms;
    uint64_t counter; /* the last beacon */
    uint64_t heard;   /* how many */
    uint32_t next_ms, slow_ms;
    struct address chosen;
    struct claim claim[CLAIMS_MAX];
};

struct evidence {
    struct peer_id me;
    uint64_t instance;
    struct evidence_pin pin;
    uint32_t beat_ms;
    size_t place_count;
    struct evidence_place place[EVIDENCE_PLACES_MAX];
    uint64_t disputed_ms[EVIDENCE_PLACES_MAX]; /* when somebody last told of another peer at this address; 0
                                                  never */
    size_t turn;                               /* whose it is in evidence_heard: a place in the table */
    struct evidence_place chosen;              /* index 0: none */
    uint64_t first_proof_ms;                   /* 0: none yet */
    uint64_t unproven_ms; /* since when another place has proofs and the chosen one none */
    size_t peer_count;
    struct peer peer[EVIDENCE_PEERS_MAX];
};

int evidence_new(struct evidence **out, const struct peer_id *me, uint64_t instance,
                 const struct evidence_pin *pin, uint32_t beat_ms, struct err *err)
{
    struct evidence *ev = calloc(1, sizeof *ev);
    if (!ev)
        return err_set(err, KPEER_ENOMEM, "no memory for the table of peers heard");
    ev->me = *me;
    ev->instance = instance;
    if (pin)
        ev->pin = *pin;
    evidence_set_beat(ev, beat_ms);
    *out = ev;
    return 0;
}

void evidence_free(struct evidence *ev)
{
    free(ev);
}

void evidence_set_beat(struct evidence *ev, uint32_t beat_ms)
{
    ev->beat_ms = beat_ms ? beat_ms : 1;
}

static bool within(uint64_t then_ms, uint64_t now_ms, uint64_t limit_ms)
{
    return then_ms != 0 && (then_ms >= now_ms || now_ms - then_ms < limit_ms);
}

/* A peer at rest speaks more seldom than we do, or we than it. */
static uint64_t expiry_ms(const struct evidence *ev, uint32_t slow_ms)
{
    return (uint64_t)EXPIRY_BEATS * (slow_ms > ev->beat_ms ? slow_ms : ev->beat_ms);
}

static bool heard_lately(const struct evidence *ev, const struct claim *c, uint64_t now_ms)
{
    return within(c->last_ms, now_ms, expiry_ms(ev, c->slow_ms));
}

/* It says that it hears us there. */
static bool proves(const struct evidence *ev, const struct claim *c, uint64_t now_ms)
{
    return within(c->echo_ms, now_ms, expiry_ms(ev, c->slow_ms));
}

static bool pinned(const struct evidence *ev)
{
    return ev->pin.interface[0] || ev->pin.have_subnet;
}

static bool fits_pin(const struct evidence *ev, const struct evidence_place *p)
{
    if (ev->pin.interface[0] && strcmp(ev->pin.interface, p->name) != 0)
        return false;
    return !ev->pin.have_subnet || network_contains(&ev->pin.subnet, &p->net.address);
}

static bool same_place(const struct evidence_place *a, const struct evidence_place *b)
{
    return a->index == b->index && address_equal(&a->net.address, &b->net.address);
}

void evidence_set_places(struct evidence *ev, const struct evidence_place *places, size_t n)
{
    struct evidence_place next[EVIDENCE_PLACES_MAX];
    uint64_t disputed[EVIDENCE_PLACES_MAX] = {0};
    size_t count = 0;
    for (size_t i = 0; i < n && count < EVIDENCE_PLACES_MAX; i++) {
        if (!fits_pin(ev, &places[i]))
            continue;
        for (size_t k = 0; k < ev->place_count; k++)
            if (same_place(&ev->place[k], &places[i]))
                disputed[count] = ev->disputed_ms[k];
        next[count++] = places[i];
    }
    memcpy(ev->place, next, count * sizeof next[0]);
    memcpy(ev->disputed_ms, disputed, sizeof disputed);
    ev->place_count = count;
}

size_t evidence_places(const struct evidence *ev, const struct evidence_place **out)
{
    *out = ev->place;
    return ev->place_count;
}

static struct peer *find_peer(struct evidence *ev, const struct peer_id *id)
{
    for (size_t i = 0; i < ev->peer_count; i++)
        if (peer_id_equal(&ev->peer[i].id, id))
            return &ev->peer[i];
    return NULL;
}

/* A slot for a new peer: an unused one, or that of the peer silent longest if its evidence has expired. */
static struct peer *add_peer(struct evidence *ev, const struct hello *h, uint64_t now_ms)
{
    struct peer *slot = NULL;
    if (ev->peer_count < EVIDENCE_PEERS_MAX) {
        slot = &ev->peer[ev->peer_count++];
    } else {
        for (size_t i = 0; i < ev->peer_count; i++)
            if (!slot || ev->peer[i].last_ms < slot->last_ms)
                slot = &ev->peer[i];
        if (within(slot->last_ms, now_ms, expiry_ms(ev, slot->slow_ms)))
            return NULL;
    }
    *slot = (struct peer){
        .id = h->id, .boot = h->boot, .instance = h->instance, .first_ms = now_ms, .last_ms = now_ms};
    return slot;
}

/* A peer that restarted counts from the beginning, has to hear us anew, and is where it is heard now. What
 * comes of an earlier start is replayed; two instances of one start are copies of one disk, which the core
 * sorts out. */
static bool enter_instance(struct peer *p, uint64_t boot, uint64_t instance, uint64_t now_ms)
{
    if (boot < p->boot)
        return false;
    if (p->boot == boot && p->instance == instance)
        return true;
    p->boot = boot;
    p->instance = instance;
    p->first_ms = now_ms;
    p->counter = p->heard = 0;
    memset(p->claim, 0, sizeof p->claim);
    return true;
}

/* The claim on this address as heard on this interface; a new one in the slot unused longest. */
static struct claim *enter_claim(struct evidence *ev, struct peer *p, const struct address *a, uint32_t index,
                                 uint64_t now_ms)
{
    struct claim *slot = &p->claim[0];
    for (size_t i = 0; i < CLAIMS_MAX; i++) {
        struct claim *c = &p->claim[i];
        if (c->index == index && address_equal(&c->address, a)) {
            /* Back after a long silence is a new beginning: others may have had the address since. */
            if (!heard_lately(ev, c, now_ms))
                c->first_ms = now_ms;
            return c;
        }
        if (c->last_ms < slot->last_ms)
            slot = c;
    }
    *slot = (struct claim){.address = *a, .index = index, .first_ms = now_ms};
    return slot;
}

/* Whether `old` fell silent when `young` took its address over (the host was wiped, or handed its lease on).
 */
static bool superseded(const struct claim *old, const struct claim *young)
{
    return old->last_ms <= young->first_ms;
}

static uint64_t silent_ms(const struct evidence *ev, uint32_t next_ms)
{
    return (uint64_t)SILENT_BEATS * (next_ms > ev->beat_ms ? next_ms : ev->beat_ms);
}

static bool claims_conflict(const struct evidence *ev, const struct claim *a, const struct claim *b,
                            uint64_t now_ms)
{
    if (!superseded(a, b) && !superseded(b, a))
        return true;
    const struct claim *silent = a->last_ms < b->last_ms ? a : b;
    return within(silent->last_ms, now_ms, silent_ms(ev, silent->next_ms));
}

/* Fresh claims of different peers on one address, at most one a peer: that heard last. */
static size_t claimants(const struct evidence *ev, const struct address *a, uint64_t now_ms,
                        const struct claim *out[static CLAIMANTS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < ev->peer_count && n < CLAIMANTS_MAX; i++) {
        const struct claim *last = NULL;
        for (size_t k = 0; k < CLAIMS_MAX; k++) {
            const struct claim *c = &ev->peer[i].claim[k];
            if (heard_lately(ev, c, now_ms) && address_equal(&c->address, a) &&
                (!last || c->last_ms > last->last_ms))
                last = c;
        }
        if (last)
            out[n++] = last;
    }
    return n;
}

bool evidence_conflicted(const struct evidence *ev, const struct address *address, uint64_t now_ms)
{
    const struct claim *list[CLAIMANTS_MAX];
    size_t n = claimants(ev, address, now_ms, list);
    for (size_t i = 0; i < ev->place_count; i++)
        if (address_equal(&ev->place[i].net.address, address) &&
            (n > 0 || within(ev->disputed_ms[i], now_ms, expiry_ms(ev, 0))))
            return true;
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++)
            if (claims_conflict(ev, list[i], list[k], now_ms))
                return true;
    return false;
}

static bool place_on(const struct evidence *ev, uint32_t index)
{
    for (size_t i = 0; i < ev->place_count; i++)
        if (ev->place[i].index == index)
            return true;
    return false;
}

/* What the sender says it heard: us (proof of our address), or somebody else under an address of ours (a
 * dispute). */
static void take_heard(struct evidence *ev, struct claim *c, const struct beacon *b, uint64_t now_ms)
{
    for (size_t i = 0; i < b->heard_count; i++) {
        const struct beacon_heard *h = &b->heard[i];
        bool us = peer_id_equal(&h->id, &ev->me);
        if (us && h->instance != (uint32_t)ev->instance)
            continue;
        for (size_t k = 0; k < ev->place_count; k++) {
            if (!address_equal(&ev->place[k].net.address, &h->address))
                continue;
            if (!us) {
                ev->disputed_ms[k] = now_ms;
            } else if (ev->place[k].index == c->index) {
                c->echo = h->address;
                c->echo_ms = now_ms;
            }
        }
    }
}

/* When the sender is to be heard again, as it says. */
static void take_pace(const struct evidence *ev, struct peer *p, struct claim *c, const struct hello *h)
{
    uint32_t next = h->next_ms ? h->next_ms : ev->beat_ms;
    next = next < NODE_REST_MS ? next : NODE_REST_MS;
    if (h->counter > p->counter) {
        p->counter = h->counter;
        p->heard++;
        p->next_ms = next;
        p->slow_ms -= p->slow_ms / 4;
        p->slow_ms = p->slow_ms > next ? p->slow_ms : next;
    }
    c->heard = p->heard;
    c->next_ms = p->next_ms;
    c->slow_ms = p->slow_ms;
}

int evidence_hear(struct evidence *ev, const struct beacon *beacon, uint32_t index,
                  const struct address *source, uint64_t now_ms)
{
    const struct hello *h = &beacon->hello;
    bool us = peer_id_equal(&h->id, &ev->me);
    if (us && h->instance == ev->instance)
        return KPEER_EREPLAY;
    if (!address_equal(source, &beacon->address))
        return KPEER_EAUTH;
    if (!place_on(ev, index))
        return KPEER_EREFUSED;
    if (us)
        return 0;
    struct peer *p = find_peer(ev, &h->id);
    if (!p)
        p = add_peer(ev, h, now_ms);
    if (!p)
        return KPEER_ELIMIT;
    if (!enter_instance(p, h->boot, h->instance, now_ms))
        return KPEER_EREPLAY;
    struct claim *c = enter_claim(ev, p, source, index, now_ms);
    if (h->counter <= c->counter && c->counter != 0)
        return KPEER_EREPLAY;
    c->counter = h->counter;
    c->last_ms = now_ms;
    p->last_ms = now_ms;
    take_pace(ev, p, c, h);
    take_heard(ev, c, beacon, now_ms);
    struct address usable;
    return evidence_peer(ev, &h->id, now_ms, &usable) ? 0 : KPEER_EREFUSED;
}

/* How many peers prove this place now. */
static size_t proofs(const struct evidence *ev, const struct evidence_place *place, uint64_t now_ms)
{
    size_t n = 0;
    for (size_t i = 0; i < ev->peer_count; i++)
        for (size_t k = 0; k < CLAIMS_MAX; k++) {
            const struct claim *c = &ev->peer[i].claim[k];
            if (c->index == place->index && proves(ev, c, now_ms) &&
                address_equal(&c->echo, &place->net.address)) {
                n++;
                break;
            }
        }
    return n;
}

/* The place that most peers prove, the lowest interface among equals; a pinned place needs no proof. */
static const struct evidence_place *best_place(const struct evidence *ev, uint64_t now_ms)
{
    const struct evidence_place *best = NULL;
    size_t best_proofs = 0;
    for (size_t i = 0; i < ev->place_count; i++) {
        const struct evidence_place *p = &ev->place[i];
        if (evidence_conflicted(ev, &p->net.address, now_ms))
            continue;
        size_t n = proofs(ev, p, now_ms) + (pinned(ev) ? 1 : 0);
        if (n > best_proofs || (best && n > 0 && n == best_proofs && p->index < best->index)) {
            best = p;
            best_proofs = n;
        }
    }
    return best;
}

/* Whether the chosen place is still there and nobody else claims its address. */
static bool chosen_stands(const struct evidence *ev, uint64_t now_ms)
{
    for (size_t i = 0; i < ev->place_count; i++)
        if (same_place(&ev->place[i], &ev->chosen))
            return !evidence_conflicted(ev, &ev->chosen.net.address, now_ms);
    return false;
}

static bool heard_on(const struct evidence *ev, uint32_t index, uint64_t now_ms)
{
    for (size_t i = 0; i < ev->peer_count; i++)
        for (size_t k = 0; k < CLAIMS_MAX; k++)
            if (ev->peer[i].claim[k].index == index && heard_lately(ev, &ev->peer[i].claim[k], now_ms))
                return true;
    return false;
}

/* How long the first choice waits for other places: as a peer speaks on all of its interfaces at once, a
 * place where nobody was heard by now most likely leads nowhere, as VirtualBox's NAT does. */
static uint64_t dwell_ms(const struct evidence *ev, uint64_t now_ms)
{
    size_t live = 0;
    if (pinned(ev) || ev->place_count < 2)
        return 0;
    for (size_t i = 0; i < ev->place_count; i++)
        live += heard_on(ev, ev->place[i].index, now_ms);
    return live > 1 ? EVIDENCE_DWELL_MS : EVIDENCE_QUIET_MS;
}

/* Whether the first choice has waited; who was heard where is looked at only while that is open. */
static bool has_dwelt(const struct evidence *ev, uint64_t now_ms)
{
    return now_ms >= ev->first_proof_ms + EVIDENCE_DWELL_MS ||
           now_ms >= ev->first_proof_ms + dwell_ms(ev, now_ms);
}

bool evidence_own(struct evidence *ev, uint64_t now_ms, struct evidence_place *out)
{
    const struct evidence_place *best = best_place(ev, now_ms);
    if (best && !ev->first_proof_ms)
        ev->first_proof_ms = now_ms;
    bool stands = ev->chosen.index != 0 && chosen_stands(ev, now_ms);
    bool keep = stands && (!best || proofs(ev, &ev->chosen, now_ms) > 0 || pinned(ev));
    if (keep || !stands)
        ev->unproven_ms = 0;
    else if (!ev->unproven_ms)
        ev->unproven_ms = now_ms;
    /* A beacon's copy for another interface came first: that for this one comes in a moment. */
    if (!keep && !within(ev->unproven_ms, now_ms, EVIDENCE_DWELL_MS)) {
        ev->chosen = (struct evidence_place){0};
        ev->unproven_ms = 0;
        if (best && has_dwelt(ev, now_ms))
            ev->chosen = *best;
    }
    if (ev->chosen.index == 0)
        return false;
    *out = ev->chosen;
    return true;
}

static int claim_score(const struct evidence *ev, const struct peer *p, const struct claim *c,
                       uint64_t now_ms)
{
    return (ev->chosen.index && c->index == ev->chosen.index ? 4 : 0) + (proves(ev, c, now_ms) ? 2 : 0) +
           (address_equal(&c->address, &p->chosen) ? 1 : 0);
}

/* Fresh, and not left behind: a peer that is heard elsewhere, several times, and no more here has got another
 * address. */
static bool claim_lives(const struct evidence *ev, const struct peer *p, const struct claim *c,
                        uint64_t now_ms)
{
    bool behind =
        p->heard - c->heard >= SILENT_BEATS && p->last_ms - c->last_ms >= (uint64_t)SILENT_BEATS * p->next_ms;
    return heard_lately(ev, c, now_ms) && !behind;
}

bool evidence_peer(struct evidence *ev, const struct peer_id *id, uint64_t now_ms, struct address *out)
{
    struct peer *p = find_peer(ev, id);
    const struct claim *best = NULL;
    int best_score = -1;
    for (size_t i = 0; p && i < CLAIMS_MAX; i++) {
        const struct claim *c = &p->claim[i];
        if (!claim_lives(ev, p, c, now_ms) || evidence_conflicted(ev, &c->address, now_ms))
            continue;
        int score = claim_score(ev, p, c, now_ms);
        if (score > best_score) {
            best = c;
            best_score = score;
        }
    }
    if (!best)
        return false;
    p->chosen = best->address;
    *out = best->address;
    return true;
}

/* Whether another peer has taken this claim's address over. */
static bool taken_over(const struct evidence *ev, const struct claim *c, uint64_t now_ms)
{
    const struct claim *list[CLAIMANTS_MAX];
    size_t n = claimants(ev, &c->address, now_ms, list);
    for (size_t i = 0; i < n; i++)
        if (list[i] != c && list[i]->last_ms > c->last_ms && superseded(c, list[i]))
            return true;
    return false;
}

/* Where it was heard last on that interface: it may have got another address. NULL: nowhere now. */
static const struct claim *last_here(const struct evidence *ev, const struct peer *p, uint32_t index,
                                     uint64_t now_ms)
{
    const struct claim *last = NULL;
    for (size_t i = 0; i < CLAIMS_MAX; i++) {
        const struct claim *c = &p->claim[i];
        if (c->index == index && within(c->last_ms, now_ms, expiry_ms(ev, c->slow_ms) / 2) &&
            (!last || c->last_ms > last->last_ms))
            last = c;
    }
    return last;
}

/* Those who are new there, or those who are not; how many. */
static size_t put_heard(const struct evidence *ev, bool newcomers, uint32_t index, uint64_t now_ms,
                        struct beacon_heard *out, size_t max)
{
    uint64_t new_ms = (uint64_t)NEW_BEATS * ev->beat_ms;
    size_t from = newcomers ? NEW_BEATS * ev->turn : ev->turn; /* they are new for so long only */
    size_t n = 0;
    for (size_t i = 0; i < ev->peer_count && n < max; i++) {
        const struct peer *p = &ev->peer[(from + i) % ev->peer_count];
        const struct claim *c = last_here(ev, p, index, now_ms);
        if (c && within(c->first_ms, now_ms, new_ms) == newcomers && !taken_over(ev, c, now_ms))
            out[n++] =
                (struct beacon_heard){.id = p->id, .instance = (uint32_t)p->instance, .address = c->address};
    }
    return n;
}

/* How many of those who are not new one beacon names. */
static size_t share(const struct evidence *ev)
{
    size_t n = (ev->peer_count + TURNS - 1) / TURNS;
    return n < OTHERS_LEAST ? OTHERS_LEAST : n > BEACON_HEARD_MAX ? BEACON_HEARD_MAX : n;
}

size_t evidence_heard(const struct evidence *ev, uint32_t index, uint64_t now_ms, struct beacon_heard *out,
                      size_t max)
{
    size_t n = put_heard(ev, true, index, now_ms, out, max);
    size_t others = max - n < share(ev) ? max - n : share(ev);
    return n + put_heard(ev, false, index, now_ms, out + n, others);
}

void evidence_next(struct evidence *ev)
{
    if (ev->peer_count)
        ev->turn = (ev->turn + share(ev)) % ev->peer_count;
}

/* Where a peer was heard last; NULL: nowhere now. */
static const struct claim *last_claim(const struct evidence *ev, const struct peer *p, uint64_t now_ms)
{
    const struct claim *last = NULL;
    for (size_t i = 0; i < CLAIMS_MAX; i++)
        if (heard_lately(ev, &p->claim[i], now_ms) && (!last || p->claim[i].last_ms > last->last_ms))
            last = &p->claim[i];
    return last;
}

/* How long somebody may leave us out: beacons are lost, five in a row hardly, and in a larger group it names
 * us in every eighth alone. */
static uint64_t unnamed_ms(const struct evidence *ev, uint32_t slow_ms)
{
    size_t turns = (ev->peer_count + share(ev) - 1) / share(ev);
    return expiry_ms(ev, slow_ms) / 2 * (turns > 2 ? turns : 2);
}

static bool hears_us(const struct evidence *ev, const struct peer *p, uint64_t now_ms)
{
    for (size_t i = 0; i < CLAIMS_MAX; i++)
        if (within(p->claim[i].echo_ms, now_ms, unnamed_ms(ev, p->slow_ms)))
            return true;
    return false;
}

bool evidence_deaf(const struct evidence *ev, uint64_t now_ms, struct address *out, bool *all)
{
    size_t here = 0, deaf = 0;
    for (size_t i = 0; i < ev->peer_count; i++) {
        const struct peer *p = &ev->peer[i];
        const struct claim *last = last_claim(ev, p, now_ms);
        here += last != NULL;
        if (!last || hears_us(ev, p, now_ms) || within(p->first_ms, now_ms, unnamed_ms(ev, p->slow_ms)) ||
            deaf++)
            continue;
        *out = last->address;
    }
    if (deaf == 0 || here > BEACON_HEARD_MAX)
        return false;
    *all = deaf == here;
    return true;
}

uint64_t evidence_wake(const struct evidence *ev, uint64_t now_ms)
{
    if (ev->first_proof_ms && !has_dwelt(ev, now_ms))
        return ev->first_proof_ms + dwell_ms(ev, now_ms);
    if (ev->unproven_ms)
        return ev->unproven_ms + EVIDENCE_DWELL_MS;
    return ev->peer_count ? now_ms + ev->beat_ms : UINT64_MAX;
}
