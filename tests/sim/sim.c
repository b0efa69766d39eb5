/*
 * sim: formations by the thousand on a virtual clock. `sim --runs N` hunts through seeds; `sim --seed S`
 * tells the story of one of them, the same each time; `sim --shrink S` makes a shorter one of it.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/fault.h"
#include "tests/sim/faults.h"
#include "tests/sim/run.h"
#include "tests/sim/shrink.h"

#define JOBS_MAX 64
#define BAD_MAX  5   /* a worker that has found so many stops */
#define TWICE    100 /* every so manyth seed is run twice */

/* What one worker has to tell, in memory that it shares with the one who asked it. */
struct tally {
    uint64_t runs;
    uint64_t bad;
    uint64_t bad_seed[BAD_MAX];
    uint64_t peer_ms;
    uint64_t steps;
    uint64_t messages;
    uint64_t excused[EXCUSE_COUNT];
};

struct hunt {
    uint64_t from;
    uint64_t runs;
    uint64_t jobs;
    uint32_t hosts;
};

static void usage(FILE *to)
{
    fputs("usage: sim [--runs N] [--from SEED] [--jobs J] [--hosts N]   hunt; exit 1 if a seed breaks an "
          "invariant\n"
          "       sim --seed SEED [--hosts N] [--expect N] [--cut CUT] [--rest MS] [--quiet]   tell the "
          "story of one seed\n"
          "       sim --shrink SEED [--hosts N]                         find a shorter run that breaks the "
          "same\n"
          "\n"
          "CUT is what --shrink prints: parts of the scenario to leave out, as in hosts=3,loss,i0,i2.\n"
          "sim-faulty takes --fault NAME besides, and --list-faults names them. With --faults it hunts each "
          "fault\n"
          "(or the one of --fault) through at most --runs seeds, and fails if one is not found.\n",
          to);
}

static bool number(const char *text, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && text[0] >= '0' && text[0] <= '9';
}

static double since(const struct timespec *began)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - began->tv_sec) + (double)(now.tv_nsec - began->tv_nsec) / 1e9;
}

/* ---- one seed ---- */

static void print_scenario(const struct scenario *s)
{
    static const char *const liar[] = {"", ", the last of the first group lies",
                                       ", the last of the first group lies and breaks its promises"};
    printf("seed %" PRIu64 ": %u hosts", s->seed, s->hosts);
    if (s->group_of_second < s->hosts)
        printf(", the last %u of another group", s->hosts - s->group_of_second);
    printf(", expect %u, spread %u ms; of 1000: %u lost, %u doubled, %u slow, %u steps fail%s%s\n", s->expect,
           s->spread_ms, s->loss, s->doubled, s->slow, s->step_faults, s->slow_init ? ", init is slow" : "",
           liar[s->liar]);
    if (s->rotations)
        printf("  the key is rotated %s, %.3f s after the record\n", s->rotations == 1 ? "once" : "twice",
               (double)s->rotate_ms / 1000);
    for (uint32_t i = 0; i < s->incident_count; i++) {
        const struct incident *in = &s->incident[i];
        printf("  i%u: %s%s", i, incident_word(in->kind), in->cut ? " (left out)" : "");
        if (in->trigger == NO_TRIGGER)
            printf(" at %.3f s", (double)in->at_ms / 1000);
        else
            printf(" %" PRIu64 " ms after %s the %u. time", in->at_ms, event_word(in->trigger), in->nth);
        if (in->many)
            printf(", many hosts but not that one:");
        if (in->host == HOST_OF_EVENT)
            printf(", where that happened\n");
        else
            printf(", node%u\n", in->host + 1);
    }
}

static void print_outcome(const struct outcome *o)
{
    if (!o->ok)
        printf("BROKEN, invariant %d: %s\n", o->invariant, o->fault);
    else if (o->excuse)
        printf("no cluster for all, and none was owed: %s\n", excuse_word(o->excuse));
    else
        printf("all well\n");
    printf("after %.3f s, %" PRIu64 " steps, %" PRIu64 " messages, %" PRIu64 " bytes, story %016" PRIx64 "\n",
           (double)o->ended_ms / 1000, o->steps, o->messages, o->bytes, o->hash);
}

/* What it cost, of interest with many hosts. */
static void print_cost(const struct scenario *s, const struct outcome *o)
{
    struct rusage use;
    double peer_s = (double)o->peer_ms / 1000;
    getrusage(RUSAGE_SELF, &use);
    double took_s = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                    (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
    printf("cost: %.1f s of a CPU, %.0f MB in all; per peer %.2f ms, %.0f kB; per peer and virtual second "
           "%.1f steps, "
           "%.1f messages and %.2f kB in\n",
           took_s, (double)use.ru_maxrss / 1024, took_s * 1000 / s->hosts, (double)use.ru_maxrss / s->hosts,
           (double)o->steps / peer_s, (double)o->messages / peer_s, (double)o->bytes / 1024 / peer_s);
    printf("milestones: all know all %.3f s, elected %.3f s, recorded %.3f s, held by all %.3f s, all ready "
           "%.3f s\n",
           (double)o->known.ms / 1000, (double)o->elected.ms / 1000, (double)o->recorded.ms / 1000,
           (double)o->held.ms / 1000, (double)o->ready.ms / 1000);
    printf("toll: per peer %.1f messages and %.1f kB, %.1f and %.1f of them beacons",
           (double)o->messages / s->hosts, (double)o->bytes / 1000 / s->hosts,
           (double)o->beacons.messages / s->hosts, (double)o->beacons.bytes / 1000 / s->hosts);
    if (s->rest_ms) {
        double rest_s = (double)s->rest_ms / 1000 * s->hosts;
        printf("; at rest %.2f messages and %.3f kB a second", (double)o->rest.messages / rest_s,
               (double)o->rest.bytes / 1000 / rest_s);
    }
    printf("\n");
}

static int tell_one(uint64_t seed, uint32_t hosts, uint32_t expect, const struct cut *cut, uint64_t rest_ms,
                    bool quiet)
{
    struct scenario s;
    struct outcome o;
    scenario_draw(&s, seed, hosts);
    if (expect)
        s.expect = expect;
    s.rest_ms = rest_ms;
    scenario_cut(&s, cut);
    print_scenario(&s);
    world_run(&s, quiet ? NULL : stdout, &o);
    print_outcome(&o);
    if (hosts)
        print_cost(&s, &o);
    return o.ok ? 0 : 1;
}

static int shrink_one(uint64_t seed, uint32_t hosts)
{
    struct cut cut;
    struct outcome o;
    char text[CUT_TEXT_BYTES], with_hosts[32] = "";
    unsigned tries = 0;
    if (!shrink(seed, hosts, &cut, &o, &tries)) {
        printf("seed %" PRIu64 " breaks nothing\n", seed);
        return 0;
    }
    cut_text(&cut, text);
    if (hosts)
        snprintf(with_hosts, sizeof with_hosts, " --hosts %u", hosts);
    printf("seed %" PRIu64 ", after %u runs: invariant %d after %.3f s: %s\n  sim --seed %" PRIu64
           "%s --cut '%s'\n",
           seed, tries, o.invariant, (double)o.ended_ms / 1000, o.fault, seed, with_hosts, text);
    return 1;
}

/* ---- many ---- */

static void note_bad(struct tally *t, uint64_t seed, const struct outcome *o)
{
    printf("seed %" PRIu64 ": invariant %d: %s\n", seed, o->invariant, o->fault);
    fflush(stdout);
    t->bad_seed[t->bad++] = seed;
}

/* One worker's share: every jobs-th seed. Some are run twice: the same seed must give the same story. */
static void hunt_share(const struct hunt *h, uint64_t job, struct tally *t)
{
    for (uint64_t i = job; i < h->runs && t->bad < BAD_MAX; i += h->jobs) {
        struct scenario s;
        struct outcome o, again;
        scenario_draw(&s, h->from + i, h->hosts);
        world_run(&s, NULL, &o);
        if (o.ok && i % TWICE == 0) {
            world_run(&s, NULL, &again);
            if (again.hash != o.hash) {
                o.ok = false;
                snprintf(o.fault, sizeof o.fault, "the same seed told two stories");
            }
        }
        t->runs++;
        t->peer_ms += o.peer_ms;
        t->steps += o.steps;
        t->messages += o.messages;
        t->excused[o.excuse]++;
        if (!o.ok)
            note_bad(t, h->from + i, &o);
    }
}

static void add_up(struct tally *sum, const struct tally *t)
{
    sum->runs += t->runs;
    sum->bad += t->bad;
    sum->peer_ms += t->peer_ms;
    sum->steps += t->steps;
    sum->messages += t->messages;
    for (int i = 0; i < EXCUSE_COUNT; i++)
        sum->excused[i] += t->excused[i];
}

static void print_sum(const struct hunt *h, const struct tally *sum, double took_s)
{
    double peer_hours = (double)sum->peer_ms / 3600000;
    printf("%" PRIu64 " seeds from %" PRIu64 ": %s\n", sum->runs, h->from,
           sum->bad ? "BROKEN" : "no invariant broken");
    printf("%.0f s: %.0f seeds, %.1f peer-hours and %.0f steps a second; %.0f peer-hours in all\n", took_s,
           (double)sum->runs / took_s, peer_hours / took_s, (double)sum->steps / took_s, peer_hours);
    for (int i = 1; i < EXCUSE_COUNT; i++)
        if (sum->excused[i])
            printf("%" PRIu64 " without a cluster for all, by the rules: %s\n", sum->excused[i],
                   excuse_word((enum excuse)i));
}

static int hunt_all(const struct hunt *h)
{
    struct timespec began;
    struct tally sum = {0};
    int dead = 0;
    clock_gettime(CLOCK_MONOTONIC, &began);
    struct tally *t =
        mmap(NULL, JOBS_MAX * sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (t == MAP_FAILED) {
        perror("sim: mmap");
        return 1;
    }
    for (uint64_t j = 0; j < h->jobs; j++) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid < 0) {
            perror("sim: fork");
            return 1;
        }
        if (pid == 0) {
            hunt_share(h, j, &t[j]);
            _exit(0);
        }
    }
    for (uint64_t j = 0; j < h->jobs; j++) {
        int status = 0;
        dead += wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    }
    for (uint64_t j = 0; j < h->jobs; j++)
        add_up(&sum, &t[j]);
    print_sum(h, &sum, since(&began));
    if (dead)
        printf("BROKEN: %d of the workers died\n", dead);
    for (uint64_t j = 0; j < h->jobs; j++)
        if (t[j].bad) {
            shrink_one(t[j].bad_seed[0], h->hosts);
            break;
        }
    munmap(t, JOBS_MAX * sizeof *t);
    return sum.bad || dead ? 1 : 0;
}

int main(int argc, char **argv)
{
    enum { OPT_CUT = 256, OPT_FAULT, OPT_LIST, OPT_FAULTS, OPT_QUIET, OPT_EXPECT, OPT_REST };
    static const struct option options[] = {{"runs", required_argument, NULL, 'r'},
                                            {"from", required_argument, NULL, 'f'},
                                            {"jobs", required_argument, NULL, 'j'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"shrink", required_argument, NULL, 'k'},
                                            {"hosts", required_argument, NULL, 'n'},
                                            {"expect", required_argument, NULL, OPT_EXPECT},
                                            {"rest", required_argument, NULL, OPT_REST},
                                            {"cut", required_argument, NULL, OPT_CUT},
                                            {"fault", required_argument, NULL, OPT_FAULT},
                                            {"list-faults", no_argument, NULL, OPT_LIST},
                                            {"faults", no_argument, NULL, OPT_FAULTS},
                                            {"quiet", no_argument, NULL, OPT_QUIET},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    uint64_t runs = 1000, from = 1, seed = 0, small = 0, hosts = 0, expect = 0, rest_ms = 0;
    uint64_t jobs = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
    struct cut cut = {0};
    const char *fault = NULL;
    bool good = true, quiet = false, faults = false;
    for (int c; good && (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        uint64_t *to = c == 'r'          ? &runs
                       : c == 'f'        ? &from
                       : c == 'j'        ? &jobs
                       : c == 's'        ? &seed
                       : c == 'k'        ? &small
                       : c == 'n'        ? &hosts
                       : c == OPT_EXPECT ? &expect
                       : c == OPT_REST   ? &rest_ms
                                         : NULL;
        if (c == 'h' || c == OPT_LIST) {
            c == 'h' ? usage(stdout) : fault_list(stdout);
            return 0;
        }
        if (c == OPT_CUT)
            good = cut_parse(optarg, &cut);
        else if (c == OPT_FAULT)
            good = fault_select(fault = optarg);
        else if (c == OPT_FAULTS)
            faults = true;
        else if (c == OPT_QUIET)
            quiet = true;
        else
            good = to && number(optarg, to);
    }
    if (!good || optind < argc || jobs == 0 || jobs > JOBS_MAX || hosts > HOSTS_MAX || expect > HOSTS_MAX ||
        sodium_init() < 0) {
        usage(stderr);
        return 2;
    }
    if (faults)
        return faults_hunt(fault, runs, jobs);
    if (small)
        return shrink_one(small, (uint32_t)hosts);
    if (seed)
        return tell_one(seed, (uint32_t)hosts, (uint32_t)expect, &cut, rest_ms, quiet);
    return hunt_all(&(struct hunt){.from = from, .runs = runs, .jobs = jobs, .hosts = (uint32_t)hosts});
}
