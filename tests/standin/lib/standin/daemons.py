"""The long-lived stand-ins of a host: started, found again by a file with pid and start time, ended. Light hosts have no systemd: the
first stand-in program that runs after power-on starts what is enabled (`boot`)."""
import os
import sys

from standin import host

# What is needed seldom is imported where it is needed: every call of a stand-in comes through here, and starts with it.

UNITS = ("containerd", "kubelet")
PODS = host.RUN + "/pods.json"


def pid_file(name):
    return f"{host.RUN}/{name}.pid"


def start_time(pid):
    """Field 22 of /proc/PID/stat; None for a process that is gone or a zombie."""
    try:
        text = host.read(f"/proc/{pid}/stat", "").rpartition(")")[2].split()
    except ProcessLookupError:  # it ended between the opening and the reading
        return None
    return text[19] if len(text) > 19 and text[0] not in "ZX" else None


def running(name):
    """The pid of a daemon that lives, or None."""
    words = host.read(pid_file(name), "").split()
    if len(words) == 2 and start_time(words[0]) == words[1]:
        return int(words[0])
    return None


def start(name):
    """Starts a daemon unless it runs; it outlives whoever asked."""
    if running(name):
        return
    import subprocess

    os.makedirs(host.RUN, exist_ok=True)
    os.makedirs("/var/log", exist_ok=True)
    with open(f"/var/log/standin-{name}.log", "ab") as out:
        child = subprocess.Popen(
            [host.tool(name)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
    host.write(pid_file(name), f"{child.pid} {start_time(child.pid)}\n")


def stop(name, seconds=5.0):
    """Ends a daemon: asked first, then killed."""
    import signal

    for number in (signal.SIGTERM, signal.SIGKILL):
        pid = running(name)
        if not pid:
            break
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
        reap(pid)
        if host.wait_for(lambda: not running(name) or reap(pid), seconds, 0.005):
            break
    host.remove(pid_file(name))


def reap(pid):
    """Takes in a child of this very process; True when there was one to take."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False


def enabled(name):
    return not os.path.exists(f"/var/lib/standin/disabled-{name}")


def enable(name, yes):
    path = f"/var/lib/standin/disabled-{name}"
    if yes:
        host.remove(path)
    else:
        host.write(path, "")


def boot(force=False):
    """What systemd does at power-on, done once; not on a machine where the stand-ins are merely called by their path."""
    if (
        os.geteuid() != 0
        or os.path.dirname(os.path.abspath(sys.argv[0])) != "/usr/bin"
        or not force
        and (host.read(host.BOOTED, "") or os.path.exists(host.ETC + "/no-boot"))
    ):
        return
    import fcntl

    os.makedirs(host.RUN, exist_ok=True)
    with open(host.BOOTED, "a+", encoding="utf-8") as mark:
        # Others wait until it is done, and do it themselves where whoever began was killed in the middle of it.
        fcntl.flock(mark, fcntl.LOCK_EX)
        mark.seek(0)
        if mark.read() and not force:
            return
        start_enabled()
        mark.write("done\n")


def start_enabled():
    for name in UNITS:
        if not enabled(name):
            continue
        host.write(f"{host.RUN}/{name}.wanted", "")
        start(name)
        if name == "containerd":
            host.wait_for(lambda: os.path.exists("/run/containerd/containerd.sock"), 5.0, 0.005)


def remove_pods():
    """Takes the addresses of all pods off this host, as removing their sandboxes does; cni0 itself stays."""
    import json

    from standin import net

    for address in json.loads(host.read(PODS, "{}")).values():
        net.batch([f"addr del {address}/32 dev cni0"])
    host.remove(PODS)
