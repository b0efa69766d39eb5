#include "protocol/mem.h"
#include "protocol/node_state.h"

/* In hundredths of a beat of silence, so that all is over within two. */
#define ASK_AT     118
#define ASK_AGAIN  148
#define SUSPECT_AT 172
#define FAIL_AT    195

#define CONFIRM_MS    200 /* … and so long after it became suspect at least */
#define HELPERS       3   /* members asked to probe for us */
#define FAILED_GAP_MS 50  /* between beacons that tell of failed ones */
#define LATE_MS       50  /* later than this is not the clock's grain */
#define LATE_MAX_MS   1000
#define LATE_BEATS    4
#define LATE_MOST                                                                                            \
    2 /* beats that are allowed for in pieces, since it was heard: or overload would hide the dead */
#define BUSY_TIMES 2 /* whoever installs or starts Kubernetes may be slow to speak */
#define STOP_TIMES 5 /* an upgrade of kpeer, or a restart of its service, is no failure */
#define BEAT_MEMBERS                                                                                         \
    32 /* up to this many members the beat is as configured; beyond it slows in proportion                   \
        */

uint64_t alive_beat_ms(const struct node *n)
{
    uint64_t members = node_alive_count(n);
    return n->cfg.beat_ms * (members > BEAT_MEMBERS ? members : BEAT_MEMBERS) / BEAT_MEMBERS;
}

/* A host that was itself held up, by its processor or for having been paused, has not listened meanwhile, and
 * does not take it out on others; whoever shares its processor may go on being slow. */
void alive_late(struct node *n, uint64_t due_ms)
{
    uint64_t late = due_ms && n->now_ms > due_ms + LATE_MS ? n->now_ms - due_ms : 0;
    uint64_t beat = alive_beat_ms(n), most = late < beat ? LATE_MOST * beat : UINT64_MAX;
    for (size_t i = 0; late && i < n->member_count; i++) {
        struct member *m = n->member[i];
        uint64_t more = m->allowed_ms < most && late <= most - m->allowed_ms ? late : 0;
        m->allowed_ms += more;
        m->heard_ms += more;
        m->suspect_ms += more;
    }
    if (late > LATE_MAX_MS)
        late = LATE_MAX_MS;
    if (late < n->late_ms && n->now_ms < n->late_until_ms)
        return;
    if (late != n->late_ms)
        n->alive_ms = 0;
    n->late_ms = late;
    n->late_until_ms = n->now_ms + LATE_BEATS * alive_beat_ms(n);
}

static bool busy(const struct member *m)
{
    return m->has_profile && m->profile.phase >= PHASE_PREPARING && m->profile.phase < PHASE_READY;
}

/* When so many hundredths of a beat of silence are over. */
static uint64_t silent_ms(const struct node *n, const struct member *m, uint64_t hundredths)
{
    uint64_t patience = alive_beat_ms(n) * hundredths / 100;
    uint64_t times = m->stopping ? STOP_TIMES : busy(m) ? BUSY_TIMES : 1;
    return m->heard_ms + n->late_ms + times * patience;
}

void alive_heard(struct node *n, struct member *m)
{
    enum member_state was = m->state;
    m->heard_ms = n->now_ms;
    m->asked = 0;
    m->knocked = m->told_failed = false;
    m->allowed_ms = 0;
    if (m->has_profile && m->profile.phase == PHASE_LEFT)
        return; /* its goodbye stands until it says something newer */
    node_set_state(n, m, STATE_ALIVE);
    if (was != STATE_ALIVE && silent_ms(n, m, ASK_AT) < n->alive_ms)
        n->alive_ms = silent_ms(n, m, ASK_AT);
    if (was != STATE_ALIVE && m->has_profile && n->started)
        out_event(n, EVENT_MEMBER_ALIVE, &m->id);
}

void alive_stopping(struct node *n, struct member *m, bool stopping)
{
    if (m->stopping && !stopping)
        n->alive_ms = 0;
    m->stopping = stopping;
}

static void ask_host(struct node *n, struct member *m)
{
    if (!m->linked)
        return;
    m->knocked = true;
    out_action(n, ACT_KNOCK)->peer = m->id;
}

/* Asks the peer itself, its host, and a few others whether it is there. */
static void probe(struct node *n, struct member *m)
{
    m->asked++;
    ask_host(n, m);
    net_probe(n, m, &m->id, &n->me->id);
    uint64_t from = n->member_count ? node_random(n) % n->member_count : 0;
    size_t asked = 0;
    for (size_t i = 0; i < n->member_count && asked < HELPERS; i++) {
        const struct member *h = n->member[(from + i) % n->member_count];
        if (h == m || h->self || h->state != STATE_ALIVE || !h->linked)
            continue;
        net_probe(n, h, &m->id, &n->me->id);
        asked++;
    }
}

static void suspect(struct node *n, struct member *m)
{
    node_set_state(n, m, STATE_SUSPECT);
    m->suspect_ms = n->now_ms;
    out_event(n, EVENT_MEMBER_SUSPECT, &m->id);
}

static void unlink_member(struct node *n, struct member *m)
{
    if (!m->linked)
        return;
    m->linked = false;
    out_action(n, ACT_UNLINK)->peer = m->id;
}

static void fail(struct node *n, struct member *m)
{
    node_set_state(n, m, STATE_FAILED);
    m->heard = false; /* its next beacon is answered at once, like a newcomer's */
    out_event(n, EVENT_MEMBER_FAILED, &m->id);
    unlink_member(n, m);
    if (node_alive_count(n) <= SMALL_GROUP || m->told_failed)
        return; /* everybody sees it, or has heard it from where we did */
    n->hello.failed = m->id;
    n->hello.failed_instance = m->instance;
    uint64_t at = n->failed_ms + FAILED_GAP_MS > n->now_ms ? n->failed_ms + FAILED_GAP_MS : n->now_ms;
    n->failed_ms = n->now_ms;
    if (at < n->beacon_ms)
        n->beacon_ms = at;
}

/* A process that dies closes its connections at once, and its host says that nobody listens there any more.
 */
void alive_link_down(struct node *n, struct member *m)
{
    if (m->self || m->state != STATE_ALIVE || !m->kept || m->stopping)
        return;
    probe(n, m);
}

/* The host's own word, which nobody else can give: but only where we had reason to ask. */
void alive_refused(struct node *n, struct member *m)
{
    if (node_lives(m) && m->knocked)
        fail(n, m);
}

/* Another's finding is a reason to look, no more. */
void alive_told_failed(struct node *n, const struct hello *h)
{
    struct member *m = node_member(n, &h->failed);
    if (!m || m->self || m->state != STATE_ALIVE || m->instance != h->failed_instance || m->knocked ||
        m->stopping)
        return;
    m->told_failed = true;
    ask_host(n, m);
}

void alive_left(struct node *n, struct member *m)
{
    if (m->state == STATE_LEFT)
        return;
    node_set_state(n, m, STATE_LEFT);
    if (n->started)
        out_event(n, EVENT_MEMBER_LEFT, &m->id);
}

void alive_evicted(struct node *n, struct member *m)
{
    node_set_state(n, m, STATE_LEFT);
    m->heard = false;
    unlink_member(n, m);
    if (n->started)
        out_event(n, EVENT_EVICTED, &m->id);
}

static void look_at(struct node *n, struct member *m)
{
    if (m->state == STATE_ALIVE) {
        uint8_t due = n->now_ms >= silent_ms(n, m, ASK_AGAIN) ? 2 : n->now_ms >= silent_ms(n, m, ASK_AT);
        if (m->asked < due)
            probe(n, m);
        m->asked = m->asked < due ? due : m->asked;
        if (m->asked && n->now_ms >= silent_ms(n, m, SUSPECT_AT))
            suspect(n, m);
    } else if (m->state == STATE_SUSPECT) {
        if (n->now_ms >= silent_ms(n, m, FAIL_AT) && n->now_ms >= m->suspect_ms + CONFIRM_MS)
            fail(n, m);
    } else if (m->state == STATE_LEFT && m->linked && n->now_ms >= silent_ms(n, m, FAIL_AT)) {
        unlink_member(n, m);
    }
}

void alive_tick(struct node *n)
{
    if (n->now_ms < n->alive_ms)
        return;
    uint32_t alive;
    do { /* the fewer there are, the faster is the beat by which the others are looked at */
        alive = n->alive_count;
        for (size_t i = 0; i < n->member_count; i++)
            if (!n->member[i]->self)
                look_at(n, n->member[i]);
    } while (n->alive_count != alive);
}

/* When to look at this one again. */
static uint64_t look_ms(const struct node *n, const struct member *m)
{
    static const uint16_t next[] = {ASK_AT, ASK_AGAIN, SUSPECT_AT};
    uint64_t fail_ms = silent_ms(n, m, FAIL_AT);
    if (m->self)
        return UINT64_MAX;
    if (m->state == STATE_ALIVE)
        return silent_ms(n, m, next[m->asked < COUNT_OF(next) ? m->asked : COUNT_OF(next) - 1]);
    if (m->state == STATE_SUSPECT)
        return fail_ms > m->suspect_ms + CONFIRM_MS ? fail_ms : m->suspect_ms + CONFIRM_MS;
    return m->state == STATE_LEFT && m->linked ? fail_ms : UINT64_MAX;
}

/* Whatever was heard since only moved it further away, so it is looked for anew when it has come. */
uint64_t alive_wake(struct node *n)
{
    if (n->now_ms < n->alive_ms)
        return n->alive_ms;
    n->alive_ms = UINT64_MAX;
    for (size_t i = 0; i < n->member_count; i++) {
        uint64_t at = look_ms(n, n->member[i]);
        if (at < n->alive_ms)
            n->alive_ms = at;
    }
    return n->alive_ms;
}
