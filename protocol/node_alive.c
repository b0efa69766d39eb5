#include "protocol/mem.h"
#include "protocol/node_state.h"

/* When something is due about a peer that is silent: in hundredths of the time after which it was to be heard
 * again, and in milliseconds since another found it silent, which finds out the same in a moment. A neighbour
 * of a host that is cut off has all others know it within two beats. */
struct due {
    uint16_t silent, doubted;
};
static const struct due ask_at[] = {{118, 0},   {128, 50},  {138, 100}, {148, 150},
                                    {158, 200}, {168, 250}, {178, 300}};
static const struct due suspect_at = {160, 150};
static const struct due fail_at = {195, 350};

#define ASK_OTHERS    3   /* at the second time of three its host and others are asked as well */
#define HELPERS       3   /* … so many */
#define CONFIRM_MS    200 /* from suspect to failed at least */
#define MISSED_GAP_MS 50  /* between beacons that tell of silent or failed ones */
#define TRY_GAP_MS    500 /* a member is tried at another's word so often at most */
#define CLEAR_GAP_MS  500 /* between bursts of beacons that say that we are there */
#define LATE_MS       50  /* later than this is not the clock's grain */
#define LATE_MAX_MS   1000
#define LATE_BEATS    4
#define LATE_MOST                                                                                            \
    2 /* beats that are allowed for in pieces, since it was heard: or overload would hide the dead */
#define NEXT_MOST_MS 120000 /* whatever a peer promises, it is missed after that */
#define BUSY_TIMES   2      /* whoever installs or starts Kubernetes may be slow to speak */
#define STOP_TIMES   5      /* an upgrade of kpeer, or a restart of its service, is no failure */
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
        m->since_ms += more;
        m->suspect_ms += more;
        m->doubted_ms += m->doubted_ms ? more : 0;
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

/* After how long it was to be heard again. */
static uint64_t promised_ms(const struct node *n, const struct member *m)
{
    uint64_t beat = n->cfg.beat_ms, busy = alive_beat_ms(n), most = busy > NEXT_MOST_MS ? busy : NEXT_MOST_MS;
    uint64_t ms = m->every_ms ? m->every_ms : m->near ? beat : m->next_ms;
    if (m->stopping)
        return busy;
    return ms < beat ? beat : ms < most ? ms : most;
}

static uint64_t due_ms(const struct node *n, const struct member *m, struct due due)
{
    uint64_t times = m->stopping ? STOP_TIMES : busy(m) ? BUSY_TIMES : 1;
    uint64_t silent = m->since_ms + n->late_ms + times * (promised_ms(n, m) * due.silent / 100);
    uint64_t doubted = m->doubted_ms + n->late_ms + times * due.doubted;
    return m->doubted_ms && doubted < silent ? doubted : silent;
}

/* When to look at this one again. */
static uint64_t look_ms(const struct node *n, const struct member *m)
{
    uint64_t fail_ms = due_ms(n, m, fail_at), next;
    if (m->self)
        return UINT64_MAX;
    if (m->state == STATE_LEFT && m->linked)
        return fail_ms;
    if (m->state == STATE_ALIVE)
        next = due_ms(n, m, suspect_at);
    else if (m->state == STATE_SUSPECT)
        next = fail_ms > m->suspect_ms + CONFIRM_MS ? fail_ms : m->suspect_ms + CONFIRM_MS;
    else
        return UINT64_MAX;
    uint64_t ask_ms = m->asked < COUNT_OF(ask_at) ? due_ms(n, m, ask_at[m->asked]) : UINT64_MAX;
    return ask_ms < next ? ask_ms : next;
}

static void look_soon(struct node *n, const struct member *m)
{
    uint64_t at = look_ms(n, m);
    if (at < n->alive_ms)
        n->alive_ms = at;
}

void alive_heard(struct node *n, struct member *m)
{
    enum member_state was = m->state;
    m->heard_ms = m->since_ms = n->now_ms;
    m->asked = 0;
    m->knocked = false;
    m->doubted_ms = 0;
    m->allowed_ms = 0;
    if (was == STATE_SUSPECT && peer_id_equal(&n->hello.failed, &m->id))
        n->missed_ms = 0; /* no more is to be told of it */
    if (m->has_profile && m->profile.phase == PHASE_LEFT)
        return; /* its goodbye stands until it says something newer */
    node_set_state(n, m, STATE_ALIVE);
    look_soon(n, m);
    if (was != STATE_ALIVE && m->has_profile && n->started)
        out_event(n, EVENT_MEMBER_ALIVE, &m->id);
}

void alive_stopping(struct node *n, struct member *m, bool stopping)
{
    if (m->stopping && !stopping)
        n->alive_ms = 0;
    if (stopping)
        m->every_ms = 0;
    m->stopping = stopping;
}

static void ask_host(struct node *n, struct member *m)
{
    if (!m->linked)
        return;
    m->knocked = true;
    out_action(n, ACT_KNOCK)->peer = m->id;
}

/* Asks the peer over its link, its host, and a few others whether it is there. */
static void ask_others(struct node *n, struct member *m)
{
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

static void probe(struct node *n, struct member *m)
{
    if (m->linked)
        pulse_send(n, m, PULSE_ANSWER);
    if (m->doubted_ms && !m->knocked)
        ask_host(n, m); /* all do, so each one goes by what it finds itself */
    else if (!m->doubted_ms && m->asked % ASK_OTHERS == 1)
        ask_others(n, m);
}

/* So that the others look at once, each for itself. */
static void tell_missed(struct node *n, const struct member *m)
{
    uint64_t at = n->missed_ms + MISSED_GAP_MS > n->now_ms ? n->missed_ms + MISSED_GAP_MS : n->now_ms;
    if (n->missed_ms == n->now_ms)
        return; /* another one is: this one when it has failed */
    n->hello.failed = m->id;
    n->hello.failed_instance = m->instance;
    n->missed_ms = n->now_ms;
    if (at < n->beacon_ms)
        n->beacon_ms = at;
}

static void suspect(struct node *n, struct member *m)
{
    node_set_state(n, m, STATE_SUSPECT);
    m->suspect_ms = n->now_ms;
    out_event(n, EVENT_MEMBER_SUSPECT, &m->id);
    if ((node_alive_count(n) > CLOSE_GROUP || m->every_ms) && !m->doubted_ms)
        tell_missed(n, m);
}

static void unlink_member(struct node *n, struct member *m)
{
    if (!m->linked)
        return;
    m->linked = false;
    out_action(n, ACT_UNLINK)->peer = m->id;
}

/* Others may have died with it, who are not watched by anybody who lives: from now on all are to be heard at
 * each beat, since all are told of this. */
static void miss_all(struct node *n)
{
    uint64_t beat = alive_beat_ms(n);
    for (size_t i = 0; i < n->member_count; i++) {
        struct member *m = n->member[i];
        if (m->state != STATE_ALIVE || m->every_ms || m->next_ms <= beat)
            continue;
        m->next_ms = (uint32_t)beat;
        m->since_ms = n->now_ms;
    }
}

static void fail(struct node *n, struct member *m)
{
    bool tell = !m->doubted_ms && (node_alive_count(n) > CLOSE_GROUP || m->every_ms);
    node_set_state(n, m, STATE_FAILED);
    m->heard = false; /* its next beacon is answered at once, like a newcomer's */
    m->every_ms = 0;
    m->doubted_ms = 0;
    n->lost_ms = n->now_ms;
    out_event(n, EVENT_MEMBER_FAILED, &m->id);
    unlink_member(n, m);
    miss_all(n);
    if (tell)
        tell_missed(n, m);
}

/* A process that dies closes its connections at once, and its host says that nobody listens there any more.
 */
void alive_link_down(struct node *n, struct member *m)
{
    if (m->self || m->state != STATE_ALIVE || !m->kept || m->stopping)
        return;
    ask_others(n, m);
}

/* The host's own word, which nobody else can give: but only where we had reason to ask. */
void alive_refused(struct node *n, struct member *m)
{
    if (node_lives(m) && m->knocked)
        fail(n, m);
}

/* Before all whom that was told have asked us each for itself. */
static void clear_ourselves(struct node *n)
{
    if (n->cleared_ms && n->now_ms < n->cleared_ms + CLEAR_GAP_MS)
        return;
    n->cleared_ms = n->now_ms;
    n->beacons_sent = 0; /* as at a start, several in a row: one may be lost */
    if (n->beacon_ms > n->now_ms + 1)
        n->beacon_ms = n->now_ms + 1;
}

/* Another's finding is a reason to look, no more. */
void alive_doubted(struct node *n, const struct hello *h)
{
    struct member *m = node_member(n, &h->failed);
    if (!m || m->instance != h->failed_instance)
        return;
    if (m->self) {
        clear_ourselves(n);
        return;
    }
    if (!node_lives(m) || m->doubted_ms || m->stopping ||
        (m->tried_ms && n->now_ms < m->tried_ms + TRY_GAP_MS))
        return;
    m->doubted_ms = m->tried_ms = n->now_ms;
    look_soon(n, m);
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

static void ask(struct node *n, struct member *m)
{
    if (m->asked == COUNT_OF(ask_at) || n->now_ms < due_ms(n, m, ask_at[m->asked]))
        return;
    probe(n, m);
    while (m->asked < COUNT_OF(ask_at) && n->now_ms >= due_ms(n, m, ask_at[m->asked]))
        m->asked++; /* those that were missed are not made up for */
}

static void look_at(struct node *n, struct member *m)
{
    if (node_lives(m))
        ask(n, m);
    if (m->state == STATE_ALIVE) {
        if (m->asked && n->now_ms >= due_ms(n, m, suspect_at))
            suspect(n, m);
    } else if (m->state == STATE_SUSPECT) {
        if (n->now_ms >= due_ms(n, m, fail_at) && n->now_ms >= m->suspect_ms + CONFIRM_MS)
            fail(n, m);
    } else if (m->state == STATE_LEFT && m->linked && n->now_ms >= due_ms(n, m, fail_at)) {
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

/* Whatever was heard since moved it further away, or nearer by look_soon, so it is looked for anew when it
 * has come. */
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
