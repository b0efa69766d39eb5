"""How busy the machine is, and by whom.

Of the time that the processors were not idle, interrupts and the kernel's own threads are taken for nobody's, the lab's
control groups and this program with its children are ours; the rest is others'. Time that a hypervisor took away is
others', too.
"""

import os
import pathlib
import resource
import time

from harness import lab as _lab  # noqa: F401 - brings kpeerlab into reach
from kpeerlab import cgroup

from .figures import Load

SECONDS_MIN = 1.0  # the kernel counts in hundredths: what is shorter says little
TICK = os.sysconf("SC_CLK_TCK")
KERNEL_THREADS = 2  # the pid of their parent


def parse_stat(text):
    """/proc/stat -> seconds of all processors: idle, and those of interrupts."""
    fields = next(line for line in text.splitlines() if line.startswith("cpu ")).split()[1:]
    idle, iowait, irq, softirq = (int(fields[i]) / TICK for i in (3, 4, 5, 6))
    return idle + iowait, irq + softirq


def shares(wall, processors, idle, kernel, ours):
    """Load, from seconds that went by, and seconds of processors."""
    whole = wall * processors
    busy = max(whole - idle, 0)
    return Load(min(busy / whole, 1), min(max(busy - kernel - ours, 0) / whole, 1))


def _kernel_threads():
    total = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = pathlib.Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == KERNEL_THREADS:
                total += int(fields[11]) + int(fields[12])
    return total / TICK


def _ours(instance):
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used) + (cgroup.cpu_seconds(instance) if instance else 0)


class Meter:
    """The machine from its making to `load`. `instance` is the lab whose hosts are ours, if there is one."""

    def __init__(self, instance=None):
        self.instance, self.processors = instance, os.cpu_count()
        self.began = self._look()

    def _look(self):
        idle, interrupts = parse_stat(pathlib.Path("/proc/stat").read_text())
        return time.monotonic(), idle, interrupts + _kernel_threads(), _ours(self.instance)

    def load(self):
        wall, *rest = (now - then for now, then in zip(self._look(), self.began, strict=True))
        return shares(wall, self.processors, *rest)

    def missing(self):
        """Seconds until a load can be told."""
        return max(0, self.began[0] + SECONDS_MIN - time.monotonic())
