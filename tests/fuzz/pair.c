/* Two nodes that found a cluster between them, and somebody with the key in the middle, who alters what one
 * says to the other before it is sealed, keeps it back, or says it again. */
#include <stdlib.h>

#include "protocol/node_state.h"
#include "protocol/record.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/node_world.h"

/* An input is a row of changes, [messages let pass, what, where in two bytes, value]. */
#define CHANGE_BYTES 5
#define RUN_MS       20000
#define KEPT         8
/* No time goes by between what is said and heard here, so nodes that answered each other without waiting
 * would do so for ever. An undisturbed pair says some 120 messages. */
#define HEARD_MAX 2000

enum change {
    CHANGE_BYTE,
    CHANGE_CUT,
    CHANGE_GROW,
    CHANGE_DROP,
    CHANGE_AGAIN, /* an earlier message in its place */
    CHANGE_TURN,  /* the same, of the other one's */
    CHANGE_SPAN,
    CHANGE_HELLO, /* a beacon that is heard instead says so */
    CHANGE_KINDS
};

struct middle {
    const uint8_t *at;
    size_t left;
    uint8_t pass; /* so many since the last change */
    unsigned heard;
    size_t kept_next[2];
    uint8_t *kept[2][KEPT];
    size_t kept_bytes[2][KEPT];
};

static void keep(struct middle *x, size_t from, const uint8_t *plain, size_t n)
{
    size_t i = x->kept_next[from]++ % KEPT;
    free(x->kept[from][i]);
    x->kept[from][i] = (uint8_t *)fuzz_text(plain, n);
    x->kept_bytes[from][i] = n;
}

static void take_kept(const struct middle *x, size_t from, uint8_t which, uint8_t **plain, size_t *n)
{
    const uint8_t *old = x->kept[from][which % KEPT];
    if (!old)
        return;
    size_t bytes = x->kept_bytes[from][which % KEPT];
    free(*plain);
    *plain = (uint8_t *)fuzz_text(old, bytes);
    *n = bytes;
}

static void alter(const struct middle *x, size_t from, uint8_t **plain, size_t *n)
{
    size_t where = ((size_t)x->at[2] << 8 | x->at[3]) % (*n ? *n : 1);
    uint8_t value = x->at[4];
    switch ((enum change)(x->at[1] % CHANGE_KINDS)) {
    case CHANGE_BYTE:
        (*plain)[where] = value;
        break;
    case CHANGE_CUT:
        *n = where;
        break;
    case CHANGE_GROW:
        *plain = realloc(*plain, *n + value + 1u);
        FUZZ_MUST(*plain);
        memmove(*plain + where + value, *plain + where, *n - where);
        *n += value;
        break;
    case CHANGE_DROP:
        *n = 0;
        break;
    case CHANGE_AGAIN:
        take_kept(x, from, value, plain, n);
        break;
    case CHANGE_TURN:
        take_kept(x, 1 - from, value, plain, n);
        break;
    case CHANGE_SPAN:
        for (size_t i = where; i < *n && i < where + 8; i++)
            (*plain)[i] = (uint8_t)(value * (i - where + 1));
        break;
    case CHANGE_HELLO:
    case CHANGE_KINDS:
        break;
    }
}

static void alter_hello(const struct middle *x, struct hello *h)
{
    uint64_t value = (uint64_t)x->at[3] << x->at[4] % 57;
    uint64_t *const field[] = {&h->boot,   &h->instance,    &h->counter,        &h->age_ms,
                               &h->digest, &h->outbid_boot, &h->outbid_instance};
    *field[x->at[2] % COUNT_OF(field)] = value;
    h->boot &= UINT32_MAX; /* as what decodes a beacon's number and a message's have in common */
    if (x->at[4] % 5 == 0)
        h->outbid = h->id;
}

static bool due(struct middle *x)
{
    if (x->left < CHANGE_BYTES)
        return false;
    if (x->pass++ < x->at[0] % 64)
        return false;
    x->pass = 0;
    return true;
}

static void between(struct world *w, const struct world_mail *mail)
{
    struct world_mail *m = (struct world_mail *)(uintptr_t)mail; /* the world's copy, about to be delivered */
    struct middle *x = w->ctx;
    uint8_t *plain = NULL;
    size_t n = 0;
    bool now = due(x);
    FUZZ_MUST(x->heard++ < HEARD_MAX);
    if (!m->bytes) {
        if (now)
            alter_hello(x, &m->hello);
    } else {
        world_open(w, m->bytes, m->n, &plain, &n);
        keep(x, m->from, plain, n);
        if (now) {
            alter(x, m->from, &plain, &n);
            free(m->bytes);
            world_seal(w, plain, n, &m->bytes, &m->n);
        }
        free(plain);
    }
    if (now) {
        x->at += CHANGE_BYTES;
        x->left -= CHANGE_BYTES;
    }
}

/* Whatever was said: there is one cluster or none, and both can say what they wait for. */
static void judge(const struct world *w)
{
    const struct record *record[2] = {NULL, NULL};
    for (size_t i = 0; i < 2; i++) {
        struct node_status status;
        if (!w->peer[i].node)
            continue;
        node_status_view(w->peer[i].node, w->now_ms, &status);
        FUZZ_MUST(status.phase < PHASE_COUNT && fuzz_ends(status.waiting, sizeof status.waiting));
        record[i] = node_record(w->peer[i].node);
    }
    FUZZ_MUST(!record[0] || !record[1] || record_equal(record[0], record[1]));
}

static void node_pair(const uint8_t *bytes, size_t n)
{
    struct middle x = {.at = bytes, .left = n};
    struct world *w = world_new(2, 2);
    w->ctx = &x;
    w->on_message = between;
    world_start(w, 0);
    world_start(w, 1);
    world_run(w, RUN_MS);
    judge(w);
    for (size_t i = 0; i < 2; i++) { /* and what they stored is good for a start */
        world_stop(w, i);
        if (!w->peer[i].stopped)
            world_start(w, i);
    }
    world_run(w, RUN_MS / 10);
    judge(w);
    world_free(w);
    for (size_t i = 0; i < 2 * KEPT; i++)
        free(x.kept[i / KEPT][i % KEPT]);
}

static void seed_pair(struct fuzz_sink *sink)
{
    static const uint8_t first[] = {0, CHANGE_BYTE, 0, 1,  3, 2, CHANGE_AGAIN, 0, 0,  1,
                                    3, CHANGE_DROP, 0, 0,  0, 1, CHANGE_HELLO, 1, 7,  9,
                                    4, CHANGE_TURN, 0, 0,  0, 1, CHANGE_CUT,   0, 60, 0,
                                    5, CHANGE_SPAN, 0, 30, 1, 2, CHANGE_GROW,  0, 40, 9};
    fuzz_give(sink, first, sizeof first);
    for (uint8_t kind = 0; kind < CHANGE_KINDS;
         kind += 4) { /* each run is two nodes' founding: few are enough */
        uint8_t row[20 * CHANGE_BYTES];
        for (size_t i = 0; i < sizeof row; i += CHANGE_BYTES)
            memcpy(row + i, (const uint8_t[]){2, kind, 0, (uint8_t)(i * 3), (uint8_t)i}, CHANGE_BYTES);
        fuzz_give(sink, row, sizeof row);
    }
}

const struct fuzz_target fuzz_pair[] = {
    {"node_pair", "what two nodes say to each other, altered before it is sealed", 512, node_pair, seed_pair},
    {0},
};
