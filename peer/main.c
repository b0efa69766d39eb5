/* kpeer: Linux hosts that form a Kubernetes cluster by themselves. */
#include <sodium.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "peer/command/command.h"
#include "peer/keysource.h"

/* Keys are in this process's memory: it leaves no core behind. */
static void no_core_dumps(void)
{
    const struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
}

int main(int argc, char **argv)
{
    no_core_dumps();
    if (sodium_init() < 0) {
        fputs("kpeer: libsodium does not start\n", stderr);
        return 1;
    }
    keysource_take_environment();
    return command_main(argc, argv, environ);
}
