/* The list of system calls, with a reason each. */
#include <seccomp.h>

#include "peer/agent/filter.h"

/* clang-format off: a table */
#define CALL(name, when, reason)                                                                             \
    {                                                                                                        \
        SCMP_SYS(name), #name, when, reason                                                                  \
    }

const struct filter_call filter_allowed[] = {
    /* files: which ones is Landlock's matter and that of their modes */
    CALL(openat, FILTER_ALWAYS, "state files, machine-id"),
    CALL(open, FILTER_ALWAYS, "openat in older C libraries"),
    CALL(close, FILTER_ALWAYS, "files, sockets"),
    CALL(read, FILTER_ALWAYS, "state files, signals, libzmq's wake-ups"),
    CALL(write, FILTER_ALWAYS, "state files, the log, libzmq's wake-ups"),
    CALL(writev, FILTER_ALWAYS, "how the C library tells its last words"),
    CALL(pwrite64, FILTER_ALWAYS, "why this agent ended"),
    CALL(ftruncate, FILTER_ALWAYS, "the same, emptied"),
    CALL(lseek, FILTER_ALWAYS, "buffered files of the C library"),
    CALL(fstat, FILTER_ALWAYS, "files are judged on their descriptor"),
    CALL(newfstatat, FILTER_ALWAYS, "the same under another name"),
    CALL(statx, FILTER_ALWAYS, "the same in newer C libraries"),
    CALL(faccessat, FILTER_ALWAYS, "is there state of an earlier identity"),
    CALL(faccessat2, FILTER_ALWAYS, "the same in newer C libraries"),
    CALL(fsync, FILTER_ALWAYS, "what is promised is on disk before it is told"),
    CALL(renameat, FILTER_ALWAYS, "a state file takes the place of the one before"),
    CALL(renameat2, FILTER_ALWAYS, "the same on architectures without renameat"),
    CALL(mkdirat, FILTER_ALWAYS, "a folder for the state of another identity"),
    CALL(unlinkat, FILTER_ALWAYS, "state that is forgotten"),
    CALL(unlink, FILTER_ALWAYS, "the local socket, at the end"),
    CALL(fcntl, FILTER_ALWAYS, "libzmq makes its sockets non-blocking"),

    /* the network, and the local sockets that were opened before */
    CALL(socket, FILTER_SOCKET, "beacons, links, tries of ports; interfaces by netlink"),
    CALL(bind, FILTER_ALWAYS, "listening"),
    CALL(listen, FILTER_ALWAYS, "listening"),
    CALL(accept, FILTER_ALWAYS, "links and local clients; older libzmq"),
    CALL(accept4, FILTER_ALWAYS, "links and local clients"),
    CALL(connect, FILTER_ALWAYS, "links, tries of ports"),
    CALL(shutdown, FILTER_ALWAYS, "a local client is sent away after its answer"),
    CALL(sendto, FILTER_ALWAYS, "beacons, links, steps for the executor, readiness and log for systemd"),
    CALL(sendmsg, FILTER_ALWAYS, "beacons and pulses by a chosen interface"),
    CALL(recvfrom, FILTER_ALWAYS, "links, the executor's answers, local clients"),
    CALL(recvmsg, FILTER_ALWAYS, "beacons with the interface they came by; netlink"),
    CALL(getsockname, FILTER_ALWAYS, "which port was bound"),
    CALL(getpeername, FILTER_ALWAYS, "libzmq: who is at the other end"),
    CALL(getsockopt, FILTER_ALWAYS, "did a connection come about; who is the local client"),
    CALL(setsockopt, FILTER_ALWAYS, "multicast groups, buffers, keep-alive"),
    CALL(ioctl, FILTER_IOCTL, "the size of packets on an interface; does an error go to a terminal"),

    /* waiting and time */
    CALL(poll, FILTER_ALWAYS, "the loop"),
    CALL(ppoll, FILTER_ALWAYS, "the same on architectures without poll"),
    CALL(epoll_create1, FILTER_ALWAYS, "libzmq's threads, tries of ports"),
    CALL(epoll_ctl, FILTER_ALWAYS, "the same; local clients"),
    CALL(epoll_wait, FILTER_ALWAYS, "the same"),
    CALL(epoll_pwait, FILTER_ALWAYS, "the same on architectures without epoll_wait"),
    CALL(eventfd2, FILTER_ALWAYS, "how libzmq's threads wake each other"),
    CALL(clock_gettime, FILTER_ALWAYS, "time, where the kernel does not lend its own page for it"),
    CALL(gettimeofday, FILTER_ALWAYS, "the same in libzmq"),
    CALL(time, FILTER_ALWAYS, "the same in other libraries"),
    CALL(clock_nanosleep, FILTER_ALWAYS, "libzmq waits with nothing to watch"),
    CALL(nanosleep, FILTER_ALWAYS, "the same in older C libraries"),
    CALL(restart_syscall, FILTER_ALWAYS, "the kernel takes up a wait that a stop broke off"),

    /* memory */
    CALL(mmap, FILTER_NO_EXEC, "memory; never code"),
    CALL(mprotect, FILTER_NO_EXEC, "libsodium's guarded pages; never code"),
    CALL(munmap, FILTER_ALWAYS, "memory given back"),
    CALL(mremap, FILTER_ALWAYS, "large memory grows"),
    CALL(brk, FILTER_ALWAYS, "memory"),
    CALL(madvise, FILTER_ALWAYS, "keys stay out of core files; stacks of threads given back"),
    CALL(mlock, FILTER_ALWAYS, "keys are not swapped out"),
    CALL(munlock, FILTER_ALWAYS, "their pages given back"),
    CALL(getrandom, FILTER_ALWAYS, "keys, nonces"),
    CALL(sysinfo, FILTER_ALWAYS, "how much memory there is: sorting in older C libraries"),

    /* threads: libzmq starts its own after the filter is on */
    CALL(clone, FILTER_THREAD, "a thread"),
    CALL(set_robust_list, FILTER_ALWAYS, "a thread begins"),
    CALL(rseq, FILTER_ALWAYS, "a thread begins"),
    CALL(prctl, FILTER_NAME, "libzmq names its threads"),
    CALL(sched_getparam, FILTER_ALWAYS, "libzmq gives its threads the usual priority"),
    CALL(sched_getscheduler, FILTER_ALWAYS, "the same"),
    CALL(sched_setscheduler, FILTER_ALWAYS, "the same; without a capability it can only give up"),
    CALL(sched_getaffinity, FILTER_ALWAYS, "how many processors: arenas of the C library"),
    CALL(sched_yield, FILTER_ALWAYS, "threads wait for each other"),
    CALL(futex, FILTER_ALWAYS, "threads wait for each other"),
    CALL(gettid, FILTER_ALWAYS, "which thread this is"),
    CALL(exit, FILTER_ALWAYS, "a thread ends"),

    /* the process itself */
    CALL(exit_group, FILTER_ALWAYS, "the agent ends"),
    CALL(getpid, FILTER_ALWAYS, "libzmq looks whether it was forked"),
    CALL(getuid, FILTER_ALWAYS, "who we are"),
    CALL(geteuid, FILTER_ALWAYS, "is the local client the agent's own user"),
    CALL(getgid, FILTER_ALWAYS, "who we are"),
    CALL(getegid, FILTER_ALWAYS, "who we are"),
    CALL(uname, FILTER_ALWAYS, "the host's name"),
    CALL(prlimit64, FILTER_OURSELVES, "how many descriptors there may be"),
    CALL(getrlimit, FILTER_ALWAYS, "the same in older C libraries"),
    CALL(wait4, FILTER_ALWAYS, "how the executor ended"),
    CALL(kill, FILTER_EXECUTOR, "an executor that hangs, in a rehearsal without root"),
    CALL(tgkill, FILTER_SELF, "the process ends itself: abort"),
    CALL(rt_sigaction, FILTER_ALWAYS, "signals of the C library's threads"),
    CALL(rt_sigprocmask, FILTER_ALWAYS, "threads begin with signals blocked"),
    CALL(rt_sigreturn, FILTER_ALWAYS, "the way back from a signal"),
};
const size_t filter_allowed_count = sizeof filter_allowed / sizeof filter_allowed[0];

const struct filter_call filter_deadly[] = {
    CALL(execve, FILTER_ALWAYS, "another program"),
    CALL(execveat, FILTER_ALWAYS, "another program"),
    CALL(fork, FILTER_ALWAYS, "another process"),
    CALL(vfork, FILTER_ALWAYS, "another process"),
    CALL(ptrace, FILTER_ALWAYS, "another process's memory"),
    CALL(process_vm_readv, FILTER_ALWAYS, "another process's memory"),
    CALL(process_vm_writev, FILTER_ALWAYS, "another process's memory"),
    CALL(pidfd_getfd, FILTER_ALWAYS, "another process's descriptors"),
    CALL(memfd_create, FILTER_ALWAYS, "a program without a file"),
    CALL(userfaultfd, FILTER_ALWAYS, "a tool for attacks on the kernel"),
    CALL(io_uring_setup, FILTER_ALWAYS, "system calls past this filter"),
    CALL(bpf, FILTER_ALWAYS, "code in the kernel"),
    CALL(perf_event_open, FILTER_ALWAYS, "a look into the kernel"),
    CALL(init_module, FILTER_ALWAYS, "code in the kernel"),
    CALL(finit_module, FILTER_ALWAYS, "code in the kernel"),
    CALL(kexec_load, FILTER_ALWAYS, "another kernel"),
    CALL(kexec_file_load, FILTER_ALWAYS, "another kernel"),
    CALL(mount, FILTER_ALWAYS, "other files in the place of these"),
    CALL(pivot_root, FILTER_ALWAYS, "other files in the place of these"),
    CALL(chroot, FILTER_ALWAYS, "other files in the place of these"),
    CALL(unshare, FILTER_ALWAYS, "namespaces, and with them capabilities"),
    CALL(setns, FILTER_ALWAYS, "namespaces, and with them capabilities"),
    CALL(open_by_handle_at, FILTER_ALWAYS, "files past their folders"),
    CALL(add_key, FILTER_ALWAYS, "the kernel's keyrings"),
    CALL(keyctl, FILTER_ALWAYS, "the kernel's keyrings"),
};
const size_t filter_deadly_count = sizeof filter_deadly / sizeof filter_deadly[0];
/* clang-format on */

const char *filter_when_text(enum filter_when when)
{
    static const char *const texts[] = {
        [FILTER_ALWAYS] = "",
        [FILTER_NO_EXEC] = "not executable",
        [FILTER_THREAD] = "threads alone",
        [FILTER_NAME] = "PR_SET_NAME alone",
        [FILTER_EXECUTOR] = "the executor alone",
        [FILTER_SELF] = "itself alone",
        [FILTER_OURSELVES] = "itself alone",
        [FILTER_SOCKET] = "IPv4 and routing netlink alone",
        [FILTER_IOCTL] = "SIOCGIFMTU and TCGETS alone",
    };
    return (size_t)when < sizeof texts / sizeof texts[0] ? texts[when] : "";
}
