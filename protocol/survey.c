#include "protocol/survey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

const uint16_t survey_port[SURVEY_PORTS] = {6443, 10250, 2379, 2380, 8472};

#define LINE_PATH  SURVEY_PORTS /* beside the ports: do the longest packets get through? */
#define LINES      (SURVEY_PORTS + 1)
#define LINE(p)    (1u << (p))
#define PORT_LINES (LINE(SURVEY_PORTS) - 1)
#define API_LINES  (LINE(0) | LINE(2) | LINE(3)) /* 6443, 2379, 2380: of who may serve the API */

size_t survey_spread(size_t count)
{
    size_t others = count ? count - 1 : 0;
    return others < SURVEY_SPREAD ? others : SURVEY_SPREAD;
}

size_t survey_sizes(uint16_t mtu, uint16_t out[static SURVEY_SIZES])
{
    static const uint16_t usual[] = {1450, 1400, 1280, 1000};
    size_t n = 0;
    if (mtu > SURVEY_SMALL_BYTES)
        out[n++] = mtu;
    for (size_t i = 0; i < COUNT_OF(usual); i++)
        if (usual[i] < mtu)
            out[n++] = usual[i];
    out[n++] = SURVEY_SMALL_BYTES;
    return n;
}

/* ---- what was seen, as a table of tries ---- */

enum outcome { NOT_TRIED, GOOD, BAD };

struct judge {
    const struct survey_host *host;
    size_t ring; /* the first ones tried each other */
    size_t count;
    struct check_host *check; /* the same hosts, as the group's check wants them */
    struct check_list *list;
    uint32_t all; /* lines on which nobody reaches anybody */
    uint8_t *in;  /* by host: lines on which nobody reaches it */
    uint8_t *out; /* … and on which it reaches nobody */
};

static size_t behind(const struct judge *j, size_t from, size_t to)
{
    return (to + j->ring - from) % j->ring - 1;
}

static uint16_t both_mtu(const struct survey_host *a, const struct survey_host *b)
{
    return a->mtu < b->mtu ? a->mtu : b->mtu;
}

static enum outcome outcome(const struct judge *j, size_t from, size_t to, unsigned line)
{
    const struct survey_host *a = &j->host[from], *b = &j->host[to];
    size_t d = behind(j, from, to), port = line == LINE_PATH ? SURVEY_UDP : line;
    if (from == to || d >= survey_spread(j->ring) || a->answer != ANSWER_FULL || b->answer != ANSWER_FULL ||
        (!b->serves && LINE(line) & API_LINES))
        return NOT_TRIED;
    if (port < SURVEY_TCP_PORTS) {
        uint8_t seen = b->listen[port] == LISTEN_NOT ? REACH_UNTRIED : a->seen.tcp[d][port];
        return seen == REACH_UNTRIED ? NOT_TRIED : seen == REACH_OK ? GOOD : BAD;
    }
    uint16_t most = b->seen.heard[d];
    if (b->listen[port] != LISTEN_OURS || (line == LINE_PATH && most == 0))
        return NOT_TRIED;
    return most >= (line == LINE_PATH ? both_mtu(a, b) : 1) ? GOOD : BAD;
}

/* Where the spread begins and ends, a host's tries are a part of the ring. */
static size_t nth_after(const struct judge *j, size_t i, size_t d)
{
    return (i + 1 + d) % j->ring;
}

static size_t nth_before(const struct judge *j, size_t i, size_t d)
{
    return (i + j->ring - 1 - d) % j->ring;
}

struct tally {
    size_t tried, failed;
};

static void add_try(const struct judge *j, size_t from, size_t to, unsigned line, struct tally *t)
{
    enum outcome o = outcome(j, from, to, line);
    t->tried += o != NOT_TRIED;
    t->failed += o == BAD;
}

/* All tries to reach a host (`in`) or by it, but those that the other end is to blame for. */
static struct tally tally_of(const struct judge *j, size_t i, unsigned line, bool in)
{
    struct tally t = {0};
    for (size_t d = 0; d < survey_spread(j->ring); d++) {
        size_t other = in ? nth_before(j, i, d) : nth_after(j, i, d);
        if ((in ? j->out : j->in)[other] & LINE(line))
            continue;
        add_try(j, in ? other : i, in ? i : other, line, &t);
    }
    return t;
}

/* ---- whose fault ---- */

/* The host that explains most of what failed, as long as there is one for which all fails. */
static bool blame_one(struct judge *j, unsigned line)
{
    size_t best = 0, who = 0;
    bool in = true;
    for (size_t i = 0; i < j->ring; i++)
        for (int way = 1; way >= 0; way--) {
            if ((way ? j->in : j->out)[i] & LINE(line))
                continue;
            struct tally t = tally_of(j, i, line, way);
            if (t.failed >= 2 && t.failed == t.tried && t.failed > best) {
                best = t.failed;
                who = i;
                in = way;
            }
        }
    if (best)
        (in ? j->in : j->out)[who] |= (uint8_t)LINE(line);
    return best > 0;
}

static void blame(struct judge *j)
{
    for (unsigned line = 0; line < LINES; line++) {
        struct tally t = {0};
        for (size_t i = 0; i < j->ring; i++)
            for (size_t d = 0; d < survey_spread(j->ring); d++)
                add_try(j, i, nth_after(j, i, d), line, &t);
        if (t.failed >= 3 && t.failed == t.tried)
            j->all |= LINE(line);
        else
            for (int n = 0; n < SURVEY_FAULTS_MAX && t.failed > 0 && blame_one(j, line);)
                n++;
    }
}

/* Lines on which `from` does not reach `to`, and neither host alone is to blame for it. */
static uint32_t between(const struct judge *j, size_t from, size_t to)
{
    uint32_t lines = 0, known = j->all | j->out[from] | j->in[to];
    for (unsigned line = 0; line < LINES; line++)
        if (!(known & LINE(line)) && outcome(j, from, to, line) == BAD)
            lines |= LINE(line);
    return lines;
}

/* ---- in words ---- */

static void port_words(uint32_t lines, char *out, size_t bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (unsigned p = 0; p < SURVEY_PORTS; p++) {
        if (!(lines & LINE(p)) || used >= bytes)
            continue;
        bool more = (lines & PORT_LINES) >> (p + 1);
        used += (size_t)snprintf(out + used, bytes - used, "%s%s%u",
                                 used == 0 ? ""
                                 : more    ? ", "
                                           : " and ",
                                 p == SURVEY_UDP ? "UDP "
                                 : p && used     ? ""
                                                 : "TCP ",
                                 survey_port[p]);
    }
}

static const char *how_word(uint8_t reach)
{
    return reach == REACH_REFUSED ? "refused" : reach == REACH_OTHER ? "somebody else answers" : "no answer";
}

/* How the first of these tries went that failed. */
static const char *how(const struct judge *j, size_t from, size_t to, uint32_t lines)
{
    for (unsigned p = 0; p < SURVEY_TCP_PORTS; p++)
        if (lines & LINE(p) && outcome(j, from, to, p) == BAD)
            return how_word(j->host[from].seen.tcp[behind(j, from, to)][p]);
    return "no answer";
}

static const char *how_one(const struct judge *j, size_t i, uint32_t lines, bool in)
{
    for (size_t d = 0; d < survey_spread(j->ring); d++) {
        size_t other = in ? nth_before(j, i, d) : nth_after(j, i, d);
        size_t from = in ? other : i, to = in ? i : other;
        for (unsigned p = 0; p < SURVEY_PORTS; p++)
            if (lines & LINE(p) && outcome(j, from, to, p) == BAD)
                return how(j, from, to, lines);
    }
    return "no answer";
}

/* The longest packet that got through on one of these paths that carry less than they should. */
static unsigned longest(const struct judge *j, size_t i, bool in)
{
    unsigned most = 0;
    for (size_t d = 0; d < survey_spread(j->ring); d++) {
        size_t other = in ? nth_before(j, i, d) : nth_after(j, i, d);
        size_t from = in ? other : i, to = in ? i : other;
        if (outcome(j, from, to, LINE_PATH) == BAD && j->host[to].seen.heard[behind(j, from, to)] > most)
            most = j->host[to].seen.heard[behind(j, from, to)];
    }
    return most;
}

#define FIREWALL_HINT                                                                                        \
    "open it there (nft list ruleset, iptables -S, ufw status), and in whatever filters between"
#define PATH_HINT                                                                                            \
    "look at the MTU of what lies between (virtual switch, VPN, tunnel), or set the same smaller one on "    \
    "all "                                                                                                   \
    "hosts"

static const char *name(const struct judge *j, size_t i, char out[static 120])
{
    const struct profile *p = j->host[i].check.profile;
    snprintf(out, 120, "%s (%s)", p->name, p->address);
    return out;
}

static size_t first_failed(const struct judge *j, uint32_t lines)
{
    size_t i = 0;
    for (; i + 1 < j->ring; i++)
        for (unsigned line = 0; line < LINES; line++)
            if (lines & LINE(line) && tally_of(j, i, line, true).failed)
                return i;
    return i;
}

static void tell_all(struct judge *j)
{
    char ports[64];
    unsigned most = 0;
    if (j->all == 0)
        return;
    port_words(j->all, ports, sizeof ports);
    if (j->all & PORT_LINES)
        check_add(j->list, FINDING_RED, "port", NULL, 0, FIREWALL_HINT, "no host reaches another on %s: %s",
                  ports, how_one(j, first_failed(j, j->all), j->all, true));
    for (size_t i = 0; i < j->ring; i++)
        most = longest(j, i, true) > most ? longest(j, i, true) : most;
    if (j->all & LINE(LINE_PATH))
        check_add(j->list, FINDING_RED, "mtu", NULL, 0, PATH_HINT,
                  "between the hosts, packets of up to %u bytes get through, longer ones do not", most);
}

static void tell_one(struct judge *j, size_t i)
{
    char ports[64], who[120];
    uint16_t at = (uint16_t)i;
    name(j, i, who);
    port_words(j->in[i], ports, sizeof ports);
    if (j->in[i] & PORT_LINES)
        check_add(j->list, FINDING_RED, "port", &at, 1, FIREWALL_HINT, "nobody reaches %s of %s: %s", ports,
                  who, how_one(j, i, j->in[i], true));
    port_words(j->out[i], ports, sizeof ports);
    if (j->out[i] & PORT_LINES)
        check_add(j->list, FINDING_RED, "port", &at, 1, FIREWALL_HINT, "%s reaches %s of no other host: %s",
                  who, ports, how_one(j, i, j->out[i], false));
    for (int in = 1; in >= 0; in--)
        if ((in ? j->in : j->out)[i] & LINE(LINE_PATH))
            check_add(j->list, FINDING_RED, "mtu", &at, 1, PATH_HINT,
                      "packets %s %s get through up to %u bytes, longer ones do not", in ? "to" : "from", who,
                      longest(j, i, in));
}

static void tell_ports_between(struct judge *j, const uint16_t *from, size_t count, size_t to, uint32_t lines)
{
    char ports[64], who[120], names[100];
    uint16_t pair[] = {from[0], (uint16_t)to}, at = (uint16_t)to;
    port_words(lines, ports, sizeof ports);
    check_names(j->check, from, count, names, sizeof names);
    if (count == 1)
        check_add(j->list, FINDING_RED, "port", pair, 2, FIREWALL_HINT, "%s does not reach %s of %s: %s",
                  names, ports, name(j, to, who), how(j, from[0], to, lines));
    else
        check_add(j->list, FINDING_RED, "port", &at, 1, FIREWALL_HINT,
                  "%s of %s: %s, from %s; others reach it", ports, name(j, to, who),
                  how(j, from[0], to, lines), names);
}

static void tell_path_between(struct judge *j, const uint16_t *from, size_t count, size_t to)
{
    char who[120], names[100];
    uint16_t pair[] = {from[0], (uint16_t)to}, at = (uint16_t)to;
    unsigned most = j->host[to].seen.heard[behind(j, from[0], to)];
    check_names(j->check, from, count, names, sizeof names);
    check_add(j->list, FINDING_RED, "mtu", count == 1 ? pair : &at, count == 1 ? 2 : 1, PATH_HINT,
              "packets from %s to %s get through up to %u bytes, longer ones do not", names, name(j, to, who),
              most);
}

/* Those for whom the same fails on the way to one host are told together. */
static void tell_between(struct judge *j, size_t to)
{
    uint16_t from[SURVEY_SPREAD];
    size_t spread = survey_spread(j->ring);
    for (size_t d = 0; d < spread && !check_full(j->list); d++) {
        uint32_t lines = between(j, nth_before(j, to, d), to);
        size_t count = 0;
        bool told = lines == 0;
        for (size_t e = 0; e < d && !told; e++)
            told = between(j, nth_before(j, to, e), to) == lines;
        for (size_t e = d; e < spread && !told; e++)
            if (between(j, nth_before(j, to, e), to) == lines)
                from[count++] = (uint16_t)nth_before(j, to, e);
        if (!told && lines & PORT_LINES)
            tell_ports_between(j, from, count, to, lines & PORT_LINES);
        if (!told && lines & LINE(LINE_PATH))
            tell_path_between(j, from, count, to);
    }
}

/* ---- what each said of itself ---- */

static void judge_answers(struct judge *j)
{
    uint16_t who[CHECK_HOSTS_MAX];
    char names[160];
    for (enum survey_answer a = ANSWER_NONE; a < ANSWER_FULL; a++) {
        size_t count = 0;
        for (size_t i = 0; i < j->count && i < CHECK_HOSTS_MAX; i++)
            if (j->host[i].answer == a)
                who[count++] = (uint16_t)i;
        if (count == 0)
            continue;
        check_names(j->check, who, count, names, sizeof names);
        if (a == ANSWER_BUSY)
            check_add(j->list, FINDING_WARN, "answer", who, count, "look again in a moment",
                      "not looked at, a step runs there: %s", names);
        else
            check_add(j->list, FINDING_RED, "answer", who, count,
                      "see `kpeer members`; on each of them: kpeer status", "no answer in time from %s",
                      names);
    }
}

static uint16_t common_mtu(const struct judge *j)
{
    uint16_t best = 0;
    size_t best_count = 0;
    for (size_t i = 0; i < j->count && 2 * best_count <= j->count; i++) {
        size_t count = 0;
        uint16_t mtu = j->host[i].mtu;
        for (size_t k = 0; k < j->count && mtu; k++)
            count += j->host[k].mtu == mtu;
        if (count > best_count || (count == best_count && mtu > best)) {
            best = mtu;
            best_count = count;
        }
    }
    return best;
}

static void judge_mtu(struct judge *j)
{
    uint16_t common = common_mtu(j);
    char who[120];
    for (size_t i = 0; i < j->count && !check_full(j->list); i++) {
        uint16_t at = (uint16_t)i, mtu = j->host[i].mtu;
        if (mtu && mtu != common)
            check_add(
                j->list, FINDING_RED, "mtu", &at, 1,
                "give its interface the MTU of the others (ip link set dev NAME mtu N, and in its network "
                "configuration)",
                "the interface of %s has an MTU of %u, the others' is %u", name(j, i, who), mtu, common);
    }
}

int survey_judge(const struct survey_host *host, size_t ring, size_t count, struct check_list *list)
{
    struct judge j = {.host = host, .ring = ring, .count = count, .list = list};
    cleanup_free struct check_host *check = calloc(count + 1, sizeof *check);
    cleanup_free uint8_t *blamed = calloc(2, count + 1);
    if (!check || !blamed)
        return KPEER_ENOMEM;
    for (size_t i = 0; i < count; i++)
        check[i] = host[i].check;
    j.check = check;
    j.in = blamed;
    j.out = blamed + count;
    check_hosts(check, count, false, list);
    judge_answers(&j);
    judge_mtu(&j);
    blame(&j);
    tell_all(&j);
    for (size_t i = 0; i < ring; i++)
        tell_one(&j, i);
    for (size_t i = 0; i < ring; i++)
        tell_between(&j, i);
    return 0;
}
