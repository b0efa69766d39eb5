/*
 * sim: hundreds of formations on a virtual clock. `sim --runs N` hunts through seeds, `sim --seed S` tells
 * the story of one of them, the same each time.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/world.h"

static void usage(FILE *to)
{
    fputs("usage: sim [--runs N] [--from SEED] [--jobs J] [--hosts N]   hunt; exit 1 if a seed breaks an "
          "invariant\n"
          "       sim --seed SEED [--hosts N]                           tell the story of one seed\n",
          to);
}

static bool number(const char *text, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && text[0] != '-';
}

static int tell(uint64_t seed, uint32_t hosts)
{
    struct scenario s;
    struct outcome o;
    scenario_draw(&s, seed, hosts);
    printf("seed %" PRIu64
           ": %u hosts, expect %u, spread %u ms, loss %u, doubled %u, slow %u, step faults %u per 1000, "
           "%u crashes, %u pauses, %u power cuts, %u partitions\n",
           seed, s.hosts, s.expect, s.spread_ms, s.loss, s.doubled, s.slow, s.step_faults, s.crashes,
           s.pauses, s.power_cuts, s.partitions);
    world_run(&s, stdout, &o);
    printf("%s after %" PRIu64 " ms, %" PRIu64 " steps, %" PRIu64 " messages, story %016" PRIx64 "\n",
           o.ok ? "all well" : o.fault, o.ready_ms, o.steps, o.messages, o.hash);
    return o.ok ? 0 : 1;
}

/* One worker's share: every jobs-th seed. Every hundredth is run twice: the same seed must give the same
 * story. */
static int hunt(uint64_t from, uint64_t runs, uint64_t job, uint64_t jobs, uint32_t hosts)
{
    int bad = 0;
    for (uint64_t i = job; i < runs; i += jobs) {
        struct scenario s;
        struct outcome o, again;
        scenario_draw(&s, from + i, hosts);
        world_run(&s, NULL, &o);
        if (o.ok && i % 100 == 0) {
            world_run(&s, NULL, &again);
            if (again.hash != o.hash) {
                o.ok = false;
                snprintf(o.fault, sizeof o.fault, "the same seed told two stories");
            }
        }
        if (!o.ok) {
            printf("seed %" PRIu64 ": %s\n", from + i, o.fault);
            fflush(stdout);
            if (++bad >= 5)
                break;
        }
    }
    return bad ? 1 : 0;
}

static int hunt_all(uint64_t from, uint64_t runs, uint64_t jobs, uint32_t hosts)
{
    struct timespec a, b;
    int bad = 0;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (uint64_t j = 0; j < jobs; j++) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid < 0) {
            perror("sim: fork");
            return 1;
        }
        if (pid == 0)
            _exit(hunt(from, runs, j, jobs, hosts));
    }
    for (uint64_t j = 0; j < jobs; j++) {
        int status = 0;
        if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
            bad = 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    double took = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
    printf("%" PRIu64 " seeds from %" PRIu64 ": %s, %.0f seeds a second\n", runs, from,
           bad ? "BROKEN" : "no invariant broken, all ready", (double)runs / took);
    return bad;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"runs", required_argument, NULL, 'r'},
                                            {"from", required_argument, NULL, 'f'},
                                            {"jobs", required_argument, NULL, 'j'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"hosts", required_argument, NULL, 'n'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    uint64_t runs = 1000, from = 1, seed = 0, hosts = 0, jobs = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
    int c;
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        uint64_t *to = c == 'r'   ? &runs
                       : c == 'f' ? &from
                       : c == 'j' ? &jobs
                       : c == 's' ? &seed
                       : c == 'n' ? &hosts
                                  : NULL;
        if (c == 'h') {
            usage(stdout);
            return 0;
        }
        if (!to || !number(optarg, to)) {
            usage(stderr);
            return 2;
        }
    }
    if (optind < argc || jobs == 0 || jobs > 256 || hosts > 64 || sodium_init() < 0) {
        usage(stderr);
        return 2;
    }
    return seed ? tell(seed, (uint32_t)hosts) : hunt_all(from, runs, jobs, (uint32_t)hosts);
}
