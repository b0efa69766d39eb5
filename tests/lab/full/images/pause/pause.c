/*
 * Stand-in for the pause image: the first process of every pod sandbox. It holds the pod's namespaces open,
 * reaps whatever is orphaned into it, and ends when told.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    sigset_t wanted;
    int signal_number;

    sigemptyset(&wanted);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &wanted, NULL) != 0)
        return 1;
    for (;;) {
        if (sigwait(&wanted, &signal_number) != 0)
            return 1;
        if (signal_number != SIGCHLD)
            return 0;
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}
