#include "tests/sim/faults.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/fault.h"
#include "tests/sim/run.h"

#define JOBS_MAX     64
#define RUN_MAX_S    60 /* for one seed: more is a simulator that hangs */
#define NO_INVARIANT (-1)

/* What the processes of one hunt tell each other. */
struct board {
    _Atomic uint64_t found;           /* lowest seed that broke what it should; UINT64_MAX: none yet */
    _Atomic uint64_t tried;           /* seeds that were run */
    _Atomic uint64_t others;          /* seeds that broke another invariant than the one in danger */
    _Atomic uint64_t at[JOBS_MAX];    /* the seed that each of them runs */
    struct outcome outcome[JOBS_MAX]; /* of the lowest seed that each of them found */
};

struct hunt {
    struct board *board;
    int invariant; /* that must break; NO_INVARIANT: any */
    uint64_t most;
    uint64_t jobs;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void lower(_Atomic uint64_t *to, uint64_t value)
{
    uint64_t is = atomic_load(to);
    while (value < is && !atomic_compare_exchange_weak(to, &is, value))
        ;
}

/* Every jobs-th seed, up to the lowest that anybody found: so the seed that is told is the first of all. */
static void work(const struct hunt *h, uint64_t job)
{
    static struct scenario s;
    struct board *b = h->board;
    for (uint64_t seed = 1 + job; seed <= h->most && seed < atomic_load(&b->found); seed += h->jobs) {
        struct outcome *o = &b->outcome[job];
        atomic_store(&b->at[job], seed);
        alarm(RUN_MAX_S);
        scenario_draw(&s, seed, 0);
        world_run(&s, NULL, o);
        atomic_fetch_add(&b->tried, 1);
        if (o->ok)
            continue;
        if (h->invariant == NO_INVARIANT || o->invariant == h->invariant) {
            lower(&b->found, seed);
            return;
        }
        atomic_fetch_add(&b->others, 1);
    }
}

/* Returns the seed at which a process died, or 0. */
static uint64_t run(struct hunt *h)
{
    struct board *b = h->board;
    pid_t pid[JOBS_MAX];
    uint64_t died = 0;
    memset(b, 0, sizeof *b);
    atomic_store(&b->found, UINT64_MAX);
    fflush(NULL);
    for (uint64_t j = 0; j < h->jobs; j++) {
        pid[j] = fork();
        if (pid[j] == 0) {
            work(h, j);
            _exit(0);
        }
    }
    for (uint64_t j = 0; j < h->jobs; j++) {
        int status = 0;
        if (pid[j] < 0 || waitpid(pid[j], &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
            died = atomic_load(&b->at[j]) | (pid[j] < 0);
    }
    return died;
}

/* One row; true when the fault was found as it should be. */
static bool tell(const struct hunt *h, const char *word, uint64_t died, double took)
{
    const struct board *b = h->board;
    uint64_t found = atomic_load(&b->found), tried = atomic_load(&b->tried);
    if (died) {
        printf("%-22s the simulator died or hung at seed %" PRIu64 "\n", word, died);
        return false;
    }
    if (found == UINT64_MAX) {
        printf("%-22s NOT FOUND in %" PRIu64 " seeds, %.1f s; %" PRIu64 " broke something else\n", word,
               tried, took, atomic_load(&b->others));
        return false;
    }
    const struct outcome *o = &b->outcome[(found - 1) % h->jobs];
    printf("%-22s %9d %7" PRIu64 " %7.1f  %s\n", word, o->invariant, found, took, o->fault);
    fflush(stdout);
    return true;
}

static bool hunt_fault(struct hunt *h, const struct fault_info *f, uint64_t *rarest)
{
    double began = now_s();
    if (!fault_select(f->word))
        return false;
    h->invariant = f->invariant;
    uint64_t died = run(h);
    bool good = tell(h, f->word, died, now_s() - began);
    uint64_t found = atomic_load(&h->board->found);
    if (found != UINT64_MAX && found > *rarest)
        *rarest = found;
    return good;
}

static bool hunt_nothing(struct hunt *h, uint64_t seeds)
{
    double began = now_s();
    fault_clear();
    h->invariant = NO_INVARIANT;
    h->most = seeds;
    uint64_t died = run(h);
    if (died || atomic_load(&h->board->found) != UINT64_MAX) {
        tell(h, "no fault", died, now_s() - began);
        return false;
    }
    printf("%-22s nothing broken in %" PRIu64 " seeds, %.1f s\n", "no fault", seeds, now_s() - began);
    return true;
}

int faults_hunt(const char *only, uint64_t most, uint64_t jobs)
{
    struct hunt h = {.most = most, .jobs = jobs < JOBS_MAX ? jobs : JOBS_MAX};
    uint64_t rarest = 1;
    size_t missed = 0, wanted = 0;
    if (fault_count() == 0) {
        fault_list(stderr);
        return 2;
    }
    h.board = mmap(NULL, sizeof *h.board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (h.board == MAP_FAILED) {
        perror("sim: mmap");
        return 1;
    }
    printf("%-22s invariant    seed seconds  what was seen\n", "fault");
    for (size_t i = 0; i < fault_count(); i++) {
        if (only && strcmp(only, fault_at(i)->word) != 0)
            continue;
        wanted++;
        missed += !hunt_fault(&h, fault_at(i), &rarest);
    }
    bool sound = hunt_nothing(&h, rarest);
    printf("%zu of %zu faults found, the rarest at seed %" PRIu64 "\n", wanted - missed, wanted, rarest);
    munmap(h.board, sizeof *h.board);
    return missed || !wanted || !sound;
}
