/* Preloaded into a host's agent by the tests: whatever the agent or its root side renames into place, which
 * is how everything that lasts is written, waits before and after the rename until the test says go on. So a
 * test can pull the plug at each persisted write, and order what happens around it. Other programs pass
 * unheld. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The test maps the same file: harness/hold.py knows the layout. */
struct board {
    _Atomic uint32_t armed;  /* set by the test; 0: nothing is held any more */
    _Atomic uint32_t turn;   /* the pid that is held or about to be; 0: nobody */
    _Atomic uint32_t serial; /* of the hold that the test is to look at */
    _Atomic uint32_t go;     /* the test's answer: the serial that may go on */
    uint32_t after;          /* 0: before the rename, 1: after it */
    char path[PATH_MAX];     /* what is replaced */
};

static struct board *board;

static __attribute__((constructor)) void begin(int argc, char **argv)
{
    const char *path = getenv("KPEER_TEST_HOLD");
    int fd = argc > 1 && path && strcmp(argv[1], "agent") == 0 ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (board == MAP_FAILED)
        board = NULL;
    close(fd);
}

/* A test answers within its own limits, which are shorter. Without an answer for so long it is gone, and who
 * is held ends, rather than to wait for ever or to go on as if it had been told to. */
static void wait_a_little(unsigned *waited_ms)
{
    if (++*waited_ms > 180000) {
        fprintf(stderr, "held for 180 s: the test does not answer\n");
        _exit(70);
    }
    usleep(1000);
}

static void hold(const char *path, uint32_t after)
{
    uint32_t nobody = 0, serial, saved = (uint32_t)errno;
    unsigned waited_ms = 0;
    while (board && board->armed &&
           !atomic_compare_exchange_strong(&board->turn, &nobody, (uint32_t)getpid())) {
        nobody = 0;
        wait_a_little(&waited_ms);
    }
    if (board && board->armed) {
        board->after = after;
        snprintf(board->path, sizeof board->path, "%s", path);
        serial = ++board->serial;
        while (board->armed && board->go != serial)
            wait_a_little(&waited_ms);
        board->turn = 0;
    }
    errno = (int)saved;
}

int rename(const char *from, const char *to)
{
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    hold(to, 0);
    int rc = real(from, to);
    hold(to, 1);
    return rc;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    int (*real)(int, const char *, int, const char *) =
        (int (*)(int, const char *, int, const char *))dlsym(RTLD_NEXT, "renameat");
    hold(to, 0);
    int rc = real(from_fd, from, to_fd, to);
    hold(to, 1);
    return rc;
}
