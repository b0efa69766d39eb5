"""The life of hosts: made, powered on, powered off, wiped, removed; many at a time."""

import contextlib
import os
import pathlib
import select
import selectors
import shutil
import subprocess
import time
import uuid

from . import cgroup, faults, network, quick, root, state, sysctl
from .errors import CannotHere, LabError, TimedOut, UsageError
from .run import run, wait_until

SOURCES = pathlib.Path(__file__).resolve().parents[1]
PROGRAMS = ("init", "enter")
LIGHT_SECONDS, FULL_SECONDS = 30, 90


def require_machine():
    """Says why this machine cannot carry a lab, if it cannot."""
    for program in ("ip", "tc", "gcc", "unshare"):
        if not shutil.which(program):
            raise CannotHere(f"{program} is not installed")
    done = subprocess.run(["unshare", "-mpuinC", "--fork", "true"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotHere(f"no namespaces here: {done.stderr.strip()}")
    if not cgroup.hierarchies():
        raise CannotHere("no control groups are mounted under /sys/fs/cgroup")


def _programs(cache):
    """The folder of init and enter, static so that they run over any root; compiled once for all labs, and again when they
    change."""
    import hashlib
    import tempfile

    command = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-static", "-s", "-o"]
    sources = [SOURCES / f"{name}.c" for name in PROGRAMS]
    told = hashlib.sha256(repr((command, [source.read_bytes() for source in sources])).encode())
    folder = pathlib.Path(cache) / "programs" / told.hexdigest()[:16]
    if folder.exists():
        return folder
    folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as new:
        _compile([[*command, f"{new}/{source.stem}", source] for source in sources])
        with contextlib.suppress(OSError):  # another lab was quicker
            os.rename(new, folder)
    return folder


def _compile(commands):
    jobs = []
    try:
        for words in commands:
            jobs.append(subprocess.Popen(words, stderr=subprocess.PIPE, text=True))
        said = [job.communicate()[1] for job in jobs]
    finally:
        for job in jobs:
            job.wait()  # short; a compiler that is killed leaves its parts running
    for job, errors in zip(jobs, said, strict=True):
        if job.returncode != 0:
            raise LabError(f"compiling {job.args[-1]}: {errors.strip()}")


def up(instance, count, options):
    """A new instance with `count` hosts; when anything fails or is interrupted, nothing of it stays."""
    require_machine()
    if instance.exists() or network.namespaces(instance) or cgroup.exists(instance):
        raise LabError(f"lab {instance.name!r} is up already, or left over: `down` first, or `add`")
    if options.boots_systemd():
        root.check_cache(options)
    try:
        instance.create(options)
        sysctl.hold(instance)
        shutil.copytree(_programs(options.cache), instance.dir / "bin")
        network.create_switch(instance, options)
        add(instance, count)
    except BaseException:
        down(instance)
        raise


def add(instance, count, memory=None, cpus=None):
    """Further hosts, numbered on from the last."""
    options = instance.options()
    first = max((host.number for host in instance.hosts()), default=0) + 1
    if first + count - 1 > state.HOSTS_MAX:
        raise UsageError(f"at most {state.HOSTS_MAX} hosts")
    hosts = [_new(number, options, memory, cpus) for number in range(first, first + count)]
    _refuse_taken_addresses(instance, hosts)
    try:
        root.with_cache_lock(options, lambda: [_create(instance, host, options) for host in hosts])
        boot(instance, hosts)
    except BaseException:
        remove(instance, hosts)
        raise
    return hosts


def _new(number, options, memory, cpus):
    """Identities: a host's own, or for clones those of the first host, derived so that later ones get them too."""
    clone = uuid.uuid5(uuid.NAMESPACE_DNS, "clone.kpeer-lab.invalid")
    identity = clone if options.cloned else uuid.uuid4()
    return state.Host(
        number=number,
        name=f"node{number}",
        hostname="node1" if options.cloned else f"node{number}",
        product_uuid=str(identity),
        machine_id=(clone if options.cloned else uuid.uuid4()).hex,
        address=network.default_address(number),
        memory=memory or options.memory,
        cpus=cpus or options.cpus,
    )


def _refuse_taken_addresses(instance, hosts):
    taken = {host.address: host.name for host in instance.hosts()}
    for host in hosts:
        if host.address in taken:
            raise LabError(f"{host.address}, the address of {host.name}, was given to {taken[host.address]}")


def _create(instance, host, options):
    instance.host_dir(host).mkdir(parents=True)
    root.make_disk(instance, host, options)
    instance.save(host)


# --- power --------------------------------------------------------------------------------------------------------


def boot(instance, hosts):
    """Powers hosts on, side by side, and returns when all are up."""
    options = instance.options()
    network.plug_in(instance, hosts, options)
    for host in hosts:
        cgroup.create(instance, host)
        if host.loss:
            faults.apply_loss(instance, host)
    seconds = FULL_SECONDS if options.boots_systemd() else LIGHT_SECONDS
    _Starts(instance, options, hosts, time.monotonic() + seconds).run()
    network.await_carrier(instance, hosts)
    if options.boots_systemd():
        for host in hosts:
            _await_systemd(instance, host, seconds)


class _Starts:
    """The starting programs of several hosts. Dropping them in the middle ends what they started."""

    def __init__(self, instance, options, hosts, deadline):
        self.instance, self.options, self.hosts, self.deadline = instance, options, hosts, deadline
        self.jobs = {}

    def run(self):
        try:
            for host in self.hosts:
                self.jobs[host.name] = self._start(host)
            for host in self.hosts:
                self._note_pid(host)
            for host in self.hosts:
                os.write(self.jobs[host.name].stdin.fileno(), b"g")
            for host in self.hosts:
                self._await_ready(host)
        finally:
            for job in self.jobs.values():
                job.stdin.close()
                job.stdout.close()
                job.wait()

    def _start(self, host):
        plan = root.write_plan(self.instance, host, self.options)
        with open(self.instance.host_dir(host) / "boot.log", "wb") as log:
            program = self.instance.dir / "bin/init"
            # a session of its own: ^C at the terminal is for the lab, which then undoes things in order
            return subprocess.Popen(
                [program, plan], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )

    def _line(self, host):
        """The next line that a host's starting program says."""
        fd, text = self.jobs[host.name].stdout.fileno(), b""
        while not text.endswith(b"\n"):
            left = self.deadline - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                raise TimedOut(f"{host.name} did not start in time")
            got = os.read(fd, 1)
            if not got:
                raise LabError(f"{host.name} did not start{_last_words(self.instance, host)}")
            text += got
        line = text.decode(errors="replace").strip()
        if line.startswith("error: "):
            raise LabError(f"{host.name} did not start: {line.removeprefix('error: ')}")
        return line

    def _note_pid(self, host):
        host.pid = int(self._line(host))
        host.start, host.boot = state.start_time(host.pid), state.boot_id()
        if not host.start:
            raise LabError(f"{host.name}: its first process ended at once")
        self.instance.save(host)
        _note_enter(self.instance, host)

    def _await_ready(self, host):
        line = self._line(host)
        if line != "ready":
            raise LabError(f"{host.name} said {line!r} instead of ready")


def _last_words(instance, host):
    """The end of what a host's first process wrote; its folder is about to go."""
    text = ""
    for name in ("boot.log", "console.log"):
        path = instance.host_dir(host) / name
        text += path.read_text(errors="replace") if path.exists() else ""
    return "".join(f"\n    {line}" for line in text.splitlines()[-10:])


def _await_systemd(instance, host, seconds):
    def booted():
        if not state.alive(host):
            raise LabError(f"{host.name}: systemd ended{_last_words(instance, host)}")
        command = enter_command(instance, host, ["systemctl", "is-system-running"])
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        return said in ("running", "degraded")

    wait_until(booted, seconds, f"{host.name}: systemd's boot", pause=0.1)


def power_off(instance, hosts):
    """Pulls the plug: everything on the hosts ends at once, the disks stay."""
    for host in hosts:
        cgroup.kill_all(instance, host)
    network.unplug(instance, hosts)
    for host in hosts:
        cgroup.remove(instance, host)
        if instance.host_dir(host).is_dir():
            (instance.host_dir(host) / quick.NOTE).unlink(missing_ok=True)
            host.pid = host.start = 0
            instance.save(host)


def power_on(instance, host):
    if state.alive(host):
        raise LabError(f"{host.name} is running already")
    power_off(instance, [host])  # a host that died by itself leaves its wires
    try:
        boot(instance, [host])
    except BaseException:
        power_off(instance, [host])
        raise


def wipe(instance, host):
    """Powers a host off and gives it an empty disk. Its hardware (product UUID, addresses) stays what it was."""
    options = instance.options()
    power_off(instance, [host])
    root.erase_disk(instance, host)
    if not options.cloned:
        host.machine_id = uuid.uuid4().hex
    root.with_cache_lock(options, lambda: root.make_disk(instance, host, options))
    instance.save(host)


def remove(instance, hosts):
    power_off(instance, hosts)
    for host in hosts:
        _remove_folder(instance.host_dir(host))


def down(instance):
    """Ends and removes everything that carries the instance's name, also what a crashed lab left."""
    cgroup.kill_all(instance)
    network.remove_all(instance)
    cgroup.remove(instance)
    _remove_folder(instance.dir)
    sysctl.release(instance)


def _remove_folder(folder):
    if folder.exists():
        run("rm", "-rf", "--one-file-system", "--", str(folder))


# --- commands inside ----------------------------------------------------------------------------------------------


def _enter_words(instance, host):
    words = [str(instance.dir / "bin/enter"), str(host.pid), str(host.start)]
    for file in cgroup.exec_files(instance, host):
        words += ["-c", str(file)]
    return words


def _note_enter(instance, host):
    """What quick.py goes by."""
    lines = [str(cgroup.frozen_file(instance, host)), *_enter_words(instance, host)]
    (instance.host_dir(host) / quick.NOTE).write_text("\n".join(lines))


def enter_command(instance, host, command, environment=()):
    """The argument vector which runs `command` inside a running host."""
    words = _enter_words(instance, host)
    for setting in environment:
        words += ["-e", setting]
    return [*words, "--", *command]


@contextlib.contextmanager
def _started_on_each(instance, chosen, command, environment):
    """A command under way on many hosts: pairs of host and process. What still runs at the end is ended."""
    jobs = []
    try:
        for host in chosen:
            words = enter_command(instance, host, command, environment)
            jobs.append((host, subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )))  # fmt: skip
        yield jobs
    finally:
        for _, job in jobs:
            if job.poll() is None:
                job.kill()
                job.wait()


def run_on_each(instance, chosen, command, environment=()):
    """Runs a command on many hosts at once; yields each host with its status and output, in their order."""
    with _started_on_each(instance, chosen, command, environment) as jobs:
        for host, job in jobs:
            output = job.communicate()[0].decode(errors="replace")
            yield host, job.returncode, output


def follow_on_each(instance, chosen, command, environment, tell):
    """The same, with tell(host, line) called for each line as it comes; returns each host with its status."""
    with _started_on_each(instance, chosen, command, environment) as jobs, selectors.DefaultSelector() as ready:
        for host, job in jobs:
            ready.register(job.stdout, selectors.EVENT_READ, [host, b""])
        while ready.get_map():
            for key, _ in ready.select():
                host, partial = key.data
                data = os.read(key.fd, 65536)
                *lines, key.data[1] = (partial + data).split(b"\n")
                if not data:
                    ready.unregister(key.fileobj)
                    lines = [key.data[1]] if key.data[1] else []
                for line in lines:
                    tell(host, line.decode(errors="replace"))
        return [(host, job.wait()) for host, job in jobs]


def copy_in(instance, host, source, target):
    """Copies a file or a folder from this machine into a host; a file replaces the old one in one step."""
    source = pathlib.Path(source)
    if source.is_dir():
        script = 'mkdir -p -- "$1" && exec tar -C "$1" -xf -'
        reader = subprocess.Popen(["tar", "-C", source, "-cf", "-", "."], stdout=subprocess.PIPE)
        feed, mode = reader.stdout, ""
    else:
        script = 't=$1; if [ -d "$t" ]; then t=$t/$3; fi; mkdir -p -- "$(dirname -- "$t")" && ' \
            'cat >"$t.new" && chmod "$2" "$t.new" && mv -f -- "$t.new" "$t"'
        reader, feed = contextlib.nullcontext(), open(source, "rb")
        mode = f"{source.stat().st_mode & 0o7777:o}"
    with reader, feed:
        command = enter_command(instance, host, ["sh", "-c", script, "sh", target, mode, source.name])
        done = subprocess.run(command, stdin=feed, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"copying {source} to {host.name}:{target}: {done.stderr.strip()}")


def status(instance, host):
    if not state.alive(host):
        return "off" if host.pid == 0 else "dead"
    return "paused" if cgroup.is_frozen(instance, host) else "running"
