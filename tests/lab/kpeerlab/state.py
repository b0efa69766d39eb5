"""What an instance of the lab remembers on disk: its options, its hosts and the process 1 of each.

Each file is replaced whole, so that a reader without the lock never sees half of one. A process is known by its
pid, its start time and the machine's boot together: a pid that was given to somebody else is never taken for a host.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import stat

from . import quick
from .errors import LabError, NotThere, UsageError
from .run import exclusive

HOSTS_MAX = 240


@dataclasses.dataclass
class Options:
    """How the hosts of an instance are made; told once at `up`, used again by `add` and `start`."""

    kind: str = "light"
    nics: int = 2
    cloned: bool = False
    multicast: bool = True
    ipv6: bool = False
    binds: list = dataclasses.field(default_factory=list)
    standin: str | None = None
    memory: str | None = None
    cpus: int | None = None
    cache: str | None = None
    flaws: list = dataclasses.field(default_factory=list)

    def boots_systemd(self):
        """Full and bare hosts do; a light host has a tiny process 1."""
        return self.kind != "light"


@dataclasses.dataclass
class Host:
    number: int
    name: str
    hostname: str
    product_uuid: str
    machine_id: str
    address: str
    memory: str | None = None
    cpus: int | None = None
    island: int = 0
    loss: float = 0.0
    pid: int = 0
    start: int = 0
    boot: str = ""


def boot_id():
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid):
    """Field 22 of /proc/PID/stat, or 0 when there is no such process or it is a zombie."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def alive(host):
    return host.pid > 0 and host.boot == boot_id() and start_time(host.pid) == host.start


def write_json(path, value):
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(temporary, path)


class Instance:
    """One lab: its name marks every namespace, cgroup and folder that belongs to it."""

    def __init__(self, name=quick.DEFAULT_NAME, root=None):
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", name):
            raise UsageError(f"bad instance name {name!r}: 1 to 20 of a-z, 0-9 and inner dashes")
        self.name = name
        self.root = pathlib.Path(root or quick.DEFAULT_ROOT).absolute()
        if not re.fullmatch(r"[A-Za-z0-9._/+@-]+", str(self.root)):
            raise UsageError(f"bad state folder {str(self.root)!r}: overlayfs wants a plain name")
        self.dir = self.root / name

    # --- folders ------------------------------------------------------------------------------------------------

    def exists(self):
        return (self.dir / "lab.json").exists()

    def create(self, options):
        """Makes the state folder, which must be root's own: it holds what will run as root."""
        for folder in (self.root, self.dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = os.lstat(folder)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
                raise LabError(f"{folder} is not a folder of our own: refusing to use it")
        self.save_options(options)

    def host_dir(self, host):
        return self.dir / "hosts" / host.name

    @contextlib.contextmanager
    def lock(self):
        """One command at a time changes an instance. The lock file lies beside the folder, which may go away."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.root / f".{self.name}.lock"
        with exclusive(path):
            try:
                yield
            finally:
                if not self.dir.exists():
                    path.unlink()
                    with contextlib.suppress(OSError):
                        self.root.rmdir()

    # --- contents -----------------------------------------------------------------------------------------------

    def save_options(self, options):
        write_json(self.dir / "lab.json", dataclasses.asdict(options))

    def options(self):
        try:
            return Options(**json.loads((self.dir / "lab.json").read_text()))
        except FileNotFoundError:
            raise NotThere(f"no lab {self.name!r} is up in {self.root}") from None

    def save(self, host):
        write_json(self.host_dir(host) / "host.json", dataclasses.asdict(host))

    def hosts(self):
        found = []
        for path in (self.dir / "hosts").glob("*/host.json"):
            with contextlib.suppress(FileNotFoundError):
                found.append(Host(**json.loads(path.read_text())))
        return sorted(found, key=lambda host: host.number)

    def host(self, name):
        """The host called `name`, which may be a bare number."""
        name = f"node{name}" if name.isdigit() else name
        path = self.dir / "hosts" / name / "host.json"
        if re.fullmatch(r"node[0-9]+", name) and path.exists():
            return Host(**json.loads(path.read_text()))
        self.options()
        known = " ".join(host.name for host in self.hosts())
        raise NotThere(f"no host {name} in lab {self.name!r} (there are: {known or 'none'})")

    def running(self, name):
        host = self.host(name)
        if not alive(host):
            raise NotThere(f"{host.name} is not running")
        return host
