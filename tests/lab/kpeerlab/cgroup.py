"""A control group per host in every hierarchy of the machine, v1 or v2.

The groups are also the truth about which processes belong to an instance: even those of a lab that crashed half-way are
found and ended through them.
"""

import contextlib
import os
import pathlib
import signal

from .run import wait_until

BASE = pathlib.Path("/sys/fs/cgroup")
WANTED = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "unified")
KUBELET_NEEDS = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids")


def unified():
    """Whether the machine has cgroup v2 alone."""
    return (BASE / "cgroup.controllers").exists()


def hierarchies():
    if unified():
        return [BASE]
    return [BASE / name for name in WANTED if (BASE / name / "cgroup.procs").exists()]


def controllers():
    """The v1 hierarchies by name, to be mounted again inside a full host."""
    return [] if unified() else [path.name for path in hierarchies()]


def enable_controllers():
    """Hands the controllers that kubelet needs down from the root of v2; returns those which were not before."""
    if not unified():
        return []
    control = BASE / "cgroup.subtree_control"
    available = (BASE / "cgroup.controllers").read_text().split()
    missing = set(available) & set(KUBELET_NEEDS) - set(control.read_text().split())
    return [name for name in sorted(missing) if _switch_controller(f"+{name}")]


def disable_controllers(names):
    for name in names:
        _switch_controller(f"-{name}")


def _switch_controller(word):
    control = BASE / "cgroup.subtree_control"
    if not control.exists():
        return False
    try:
        control.write_text(word)
    except OSError:  # somebody else holds it
        return False
    return True


def _top(instance):
    return f"kpeer-lab.{instance.name}"


def _prepare(group):
    """A new cpuset takes nobody until it has processors and memory nodes; a v2 group hands its controllers down."""
    group.mkdir(exist_ok=True)
    if group.parent.name == "cpuset" or group.parent.parent.name == "cpuset":
        for name in ("cpuset.cpus", "cpuset.mems"):
            (group / name).write_text((group.parent / name).read_text())
    if unified():
        available = (group / "cgroup.controllers").read_text().split()
        with contextlib.suppress(OSError):
            (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in available))


def create(instance, host):
    for base in hierarchies():
        _prepare(base / _top(instance))
        group = base / _top(instance) / host.name
        if unified():
            group.mkdir(exist_ok=True)
        else:
            _prepare(group)
    _limit(instance, host)


def _limit(instance, host):
    """Holds a host to its size, where the machine has the controller for it."""
    file = _group(instance, host, "memory") / ("memory.max" if unified() else "memory.limit_in_bytes")
    if host.memory and file.exists():
        file.write_text(str(size_bytes(host.memory)))
    group = _group(instance, host, "cpuset")
    source = group.parent / ("cpuset.cpus.effective" if unified() else "cpuset.cpus")
    if host.cpus and source.exists():
        (group / "cpuset.cpus").write_text(",".join(map(str, _cpu_list(source.read_text())[: host.cpus])))


def _cpu_list(text):
    cpus = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def size_bytes(text):
    """"1700M" -> bytes; K, M and G count in 1024s."""
    unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper(), 1)
    return int(text if unit == 1 else text[:-1]) * unit


def _group(instance, host, hierarchy):
    base = BASE if unified() else BASE / hierarchy
    return base / _top(instance) / host.name


def boot_files(instance, host):
    """The cgroup.procs files that process 1 of a host writes itself into."""
    return [base / _top(instance) / host.name / "cgroup.procs" for base in hierarchies()]


def exec_files(instance, host):
    """The files for a command from outside. In v2 a group that hands controllers down takes no processes itself."""
    if not unified():
        return boot_files(instance, host)
    group = _group(instance, host, "") / "lab-exec"
    group.mkdir(exist_ok=True)
    return [group / "cgroup.procs"]


def freeze(instance, host):
    _set_frozen(instance, host, True)


def thaw(instance, host):
    _set_frozen(instance, host, False)


def _set_frozen(instance, host, frozen):
    group = _group(instance, host, "freezer")

    def set_so():
        # v1 overlooks who begins to wait for a vfork in that moment, and is FREEZING until it is told again.
        if unified():
            (group / "cgroup.freeze").write_text(str(int(frozen)))
        else:
            (group / "freezer.state").write_text("FROZEN" if frozen else "THAWED")
        return is_frozen(instance, host) == frozen

    wait_until(set_so, 10, f"{host.name}: {'freeze' if frozen else 'thaw'}")


def frozen_file(instance, host):
    """The file that says whether a host is frozen: "FROZEN" in v1, "frozen 1" in v2."""
    return _group(instance, host, "freezer") / ("cgroup.events" if unified() else "freezer.state")


def is_frozen(instance, host):
    with contextlib.suppress(FileNotFoundError):
        state = frozen_file(instance, host).read_text()
        return "frozen 1" in state or state.strip() == "FROZEN"
    return False


def memory_bytes(instance, host):
    """Memory charged to a host now, page cache included; None where it cannot be told."""
    file = "memory.current" if unified() else "memory.usage_in_bytes"
    try:
        return int((_group(instance, host, "memory") / file).read_text())
    except OSError:
        return None


def cpu_seconds(instance, host=None):
    """Processor time that a host (or all) has used, those of its processes that have ended among it."""
    top = (BASE if unified() else BASE / "cpuacct") / _top(instance) / (host.name if host else "")
    if unified():
        return int((top / "cpu.stat").read_text().split()[1]) / 1e6
    return int((top / "cpuacct.usage").read_text()) / 1e9


def _tops(instance, host):
    """The groups of one host, or those of the whole instance when host is None."""
    for base in hierarchies():
        top = base / _top(instance)
        group = top / host.name if host else top
        if group.is_dir():
            yield group


def _tree(group):
    """A group and those below it, deepest first."""
    return [pathlib.Path(folder) for folder, _, _ in os.walk(group, topdown=False)]


def _processes(instance, host):
    found = set()
    for top in _tops(instance, host):
        for group in _tree(top):
            with contextlib.suppress(OSError):
                found.update(map(int, (group / "cgroup.procs").read_text().split()))
    # 0 stands for a process of a pid namespace that cannot be seen from here
    return found - {0}


def kill_all(instance, host=None):
    """Ends every process of a host (or of all), frozen ones too, and returns when none is left."""

    def none_left():
        left = _processes(instance, host)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for top in _tops(instance, host):
            for group in _tree(top):
                _thaw_group(group)
        return not left

    wait_until(none_left, 15, "ending the processes of " + (host.name if host else f"lab {instance.name}"))


def _thaw_group(group):
    for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        with contextlib.suppress(OSError):
            if (group / name).exists():
                (group / name).write_text(value)


def remove(instance, host=None):
    """Removes the groups of a host (or of all). Groups stay busy for a moment after their last process ended."""

    def gone():
        for top in _tops(instance, host):
            for group in _tree(top):
                with contextlib.suppress(OSError):
                    group.rmdir()
        return not list(_tops(instance, host))

    wait_until(gone, 15, f"removing the control groups of {host.name if host else instance.name}")


def exists(instance):
    return bool(list(_tops(instance, None)))
