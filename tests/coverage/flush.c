/*
 * Linked into everything that is built to count which lines run. Counts are written when a process ends by
 * _exit, too; and on lab hosts, which show a folder for them, there, apart for each user.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FOLDER "/coverage"

void __gcov_dump(void);
_Noreturn void __real__exit(int status);
_Noreturn void __wrap__exit(int status);

static void choose_folder(void)
{
    char folder[64];

    if (access(FOLDER, W_OK))
        return;
    snprintf(folder, sizeof folder, FOLDER "/%u", (unsigned)geteuid());
    setenv("GCOV_PREFIX", folder, 1);
}

__attribute__((constructor)) static void at_exit(void)
{
    atexit(choose_folder); /* before the counts are written, which is done by a destructor */
}

void __wrap__exit(int status)
{
    choose_folder();
    __gcov_dump();
    __real__exit(status);
}
