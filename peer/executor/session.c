#include "peer/executor/session.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The session of a process, or -1. */
static pid_t session_of(const char *pid)
{
    char path[64], stat[512];
    char *at;
    int session = -1, fd;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    n = read(fd, stat, sizeof(stat) - 1);
    close(fd);
    if (n <= 0)
        return -1;
    stat[n] = 0;
    /* The name, in parentheses, may hold anything; after its end come state, parent, group and session. */
    at = strrchr(stat, ')');
    if (!at || sscanf(at + 1, " %*c %*d %*d %d", &session) != 1)
        return -1;
    return session;
}

int session_kill(pid_t leader)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    int count = 0;

    if (!proc)
        return 0;
    while ((entry = readdir(proc)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

        if (pid <= 1 || pid == getpid() || session_of(entry->d_name) != leader)
            continue;
        if (kill(pid, SIGKILL) == 0)
            count++;
    }
    closedir(proc);
    return count;
}
