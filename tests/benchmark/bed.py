"""Light hosts to be measured on, and a group of one program's agents on them."""

import contextlib
import os
import pathlib
import signal
import subprocess
import time

from harness.lab import Lab, wait_until
from kpeerlab import cgroup, faults, state

from .listener import Listener

# The words after sh -c: waits for its standard input to be closed, which is so for all hosts at the same moment.
GATE = 'read -r _; exec "$@" </dev/null 2>&1'
STATE = ("/var/lib/kpeer", "/run/kpeer")


class Bed(Lab):
    """A lab without stand-ins, the faults of which take no time to begin."""

    serf = at_once = None  # the folders of Serf's program, and of the kpeer whose steps take no time

    def __init__(self, count):
        super().__init__(count)
        wait_until("addresses of IPv6, by which Serf finds its like", self.settled, 20)

    def first_words(self):
        return ["--bind", f"{Bed.serf}:/opt/serf", "--bind", f"{Bed.at_once}:/opt/at-once"]

    def settled(self):
        """No address is tentative any more: sending fails from such a one."""
        flags = [line.split()[4] for host in self.hosts
                 for line in pathlib.Path(f"/proc/{host.pid}/net/if_inet6").read_text().splitlines()]
        return not any(int(each, 16) & 0x40 for each in flags)

    def cut(self, *hosts):
        with self.instance.lock():
            faults.cut(self.instance, [host.name for host in hosts])

    def heal(self):
        with self.instance.lock():
            faults.heal(self.instance)

    def loss(self, percent):
        with self.instance.lock():
            for host in self.instance.hosts():
                faults.set_loss(self.instance, host, percent)

    def processes(self):
        """The pids of each host's processes but for its first, by the host's name: one look at all of /proc."""
        spaces = {os.stat(f"/proc/{host.pid}/ns/pid").st_ino: host for host in self.hosts}
        found = {host.name: [] for host in self.hosts}
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                host = name.isdigit() and spaces.get(os.stat(f"/proc/{name}/ns/pid").st_ino)
                if host and int(name) != host.pid:
                    found[host.name].append(int(name))
        return found

    def cpu_seconds(self, host):
        return cgroup.cpu_seconds(self.instance, host)


class Group:
    """Agents of one program on hosts of a bed. Nothing of them is left on the hosts after `close`."""

    def __init__(self, bed, program, size):
        self.bed, self.program, self.size = bed, program, size
        self.listener, self.jobs, self.first = Listener(), [], bed.hosts[0]

    def start(self, hosts):
        """An agent on each of these, at the same moment: that moment."""
        inner, gate = os.pipe()
        try:
            for host in hosts:
                words = self.program.agent(host, self.first, self.size)
                out = self._spawn(host, words, inner)
                self.listener.add(out, host.name, self.program.parse)
            self.listener.idle(0.2 + 0.01 * len(hosts))  # until all wait at the gate
        finally:
            os.close(inner)
            at = time.monotonic()
            os.close(gate)
        return at

    def leave(self, host):
        """Has a host say goodbye: the moment at which the command begins."""
        inner, gate = os.pipe()
        try:
            os.close(self._spawn(host, self.program.leave(), inner))
            self.listener.idle(0.2)
        finally:
            os.close(inner)
            at = time.monotonic()
            os.close(gate)
        return at

    def _spawn(self, host, words, gate):
        out, inner = os.pipe()
        command = self.bed.inside(host.name, "sh", "-c", GATE, "sh", *words)
        try:
            self.jobs.append(subprocess.Popen(command, stdin=gate, stdout=inner, stderr=inner, start_new_session=True))
        finally:
            os.close(inner)
        return out

    def kill(self, host):
        """SIGKILL to the agent, which is the one that no other process of the host's started; the moment."""
        pids = self.bed.processes()[host.name]
        pid = next(each for each in pids if host.parent(each) not in pids)
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return at

    def founder(self):
        """Who founded the cluster, where the program forms one."""
        return next((event.name for event in self.listener.events if event.kind == "founded"), None)

    def members(self):
        """Hosts on which an agent runs, with its processes."""
        return {name: pids for name, pids in self.bed.processes().items() if pids}

    def close(self):
        self.listener.close()
        for pids in self.bed.processes().values():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        # Not before: what is reaped counts as processor time of our own, though it is the lab's.
        for job in self.jobs:
            job.wait(30)
        wait_until("no agent is left", lambda: not self.members(), 10)
        for host in self.bed.hosts:
            for path in STATE:
                host.remove(path)


def network_bytes(host):
    """(bytes in, packets in, bytes out, packets out) of a host's interfaces but lo."""
    sums = [0, 0, 0, 0]
    for line in pathlib.Path(f"/proc/{host.pid}/net/dev").read_text().splitlines()[2:]:
        name, _, rest = line.partition(":")
        fields = rest.split()
        if name.strip() != "lo":
            sums = [total + int(fields[i]) for total, i in zip(sums, (0, 1, 8, 9), strict=True)]
    return sums


def memory_bytes(pid):
    """The proportional set size: pages that several processes share are divided among them."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
