"""The root of a host: its disk, and the plan by which init.c puts the root together.

A light host sees this machine's /usr and /etc through an overlay, and empty folders of its own in place of /var,
/root, /home and the rest; a full host sees the base root from the cache. What a host writes lands in disk/upper (and,
for full hosts, in disk/data, since containerd needs folders that are no overlay). A bare host's disk/upper is its whole
root, a copy of the bare root from the cache. The disk is what power-off keeps and a wipe removes.
"""

import os
import pathlib
import shutil

from . import cgroup, network
from .errors import CannotHere, LabError
from .run import exclusive, run

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
PRIVATE = ("boot", "dev", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "var")
SHARED = ("bin", "sbin", "usr", "etc")
PROGRAM_FOLDERS = ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")
# what kpeer looks for on a host: a light host has none of these, or the stand-in
HIDDEN_PROGRAMS = (
    "containerd crictl cri-dockerd ctr docker dockerd kubeadm kubectl kubelet nerdctl podman runc"
).split()
HIDDEN_SETTINGS = ("etc/cni", "etc/containerd", "etc/docker", "etc/kpeer", "etc/kubernetes", "etc/crictl.yaml",
                   "etc/rc.local")  # fmt: skip
DEVICES = (
    ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9),
    ("tty", 5, 0), ("kmsg", 1, 11), ("fuse", 10, 229), ("net/tun", 10, 200),
)  # fmt: skip
DATA = {"containerd": "var/lib/containerd", "kubelet": "var/lib/kubelet", "etcd": "var/lib/etcd", "log": "var/log"}
# kubelet sets these and the kernel has one of each for the whole machine: every host gets files of its own instead
OWN_SYSCTLS = {"kernel/panic": 10, "kernel/panic_on_oops": 1, "vm/overcommit_memory": 1, "vm/panic_on_oom": 0}


# --- what a light host sees of this machine ---------------------------------------------------------------------


def _whiteout(path):
    """Hides what lies below at this place, the way overlayfs notes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(path):
        os.mknod(path, 0o020000, 0)


def _cover_machine(layer, standin):
    """Prepares the upper layer of a light host: hides of this machine what is not the host's, adds the stand-ins.

    (A layer between, shared by all hosts, would lie inside the machine's root, and overlayfs refuses nested layers.)
    """
    for name in os.listdir("/"):
        if name in PRIVATE:
            (layer / name).mkdir(parents=True)
            os.setxattr(layer / name, "trusted.overlay.opaque", b"y")
        elif name not in SHARED and not name.startswith("lib") and not os.path.islink(f"/{name}"):
            _whiteout(layer / name)
    for name in ("cache", "lib", "log", "spool", "tmp"):
        (layer / "var" / name).mkdir()
    (layer / "var/run").symlink_to("/run")
    (layer / "root").chmod(0o700)
    (layer / "var/tmp").chmod(0o1777)
    programs = _standin_programs(standin)
    for folder in PROGRAM_FOLDERS:
        for name in (*HIDDEN_PROGRAMS, *programs):
            if os.path.lexists(f"/{folder}/{name}") and not (folder == "usr/bin" and name in programs):
                _whiteout(layer / folder / name)
    for name in HIDDEN_SETTINGS:
        if os.path.lexists(f"/{name}"):
            _whiteout(layer / name)
    (layer / "usr/bin").mkdir(parents=True, exist_ok=True)
    for name, path in programs.items():
        (layer / "usr/bin" / name).symlink_to(path)


def _standin_programs(folder):
    if not folder:
        return {}
    found = {path.name: path for path in sorted(pathlib.Path(folder).iterdir()) if path.is_file()}
    programs = {name: path for name, path in found.items() if os.access(path, os.X_OK)}
    if not programs:
        raise LabError(f"no programs in {folder}")
    return programs


# --- disks --------------------------------------------------------------------------------------------------------


def check_cache(options):
    stamp = pathlib.Path(options.cache) / "stamps/ready"
    if not stamp.exists():
        raise CannotHere(f"no complete cache of full hosts in {options.cache}: run tests/lab/full/build")


# What the owner of a bare host has done to it before anybody thought of Kubernetes: `up --flaw`.
FLAWS = {
    "swap": ("a swap line in /etc/fstab", "etc/fstab",
             "# <file system> <mount point> <type> <options> <dump> <pass>\n"
             "/dev/vda1\t/\text4\terrors=remount-ro\t0\t1\n"
             "/swapfile   none\tswap    sw   0  0\n"
             "tmpfs /srv/scratch tmpfs noauto,size=1m 0 0"),  # the last line ends without a newline
    "docker": ("/etc/docker/daemon.json with keys of the owner's", "etc/docker/daemon.json",
               '{\n    "debug": true,\n    "log-opts": {"max-file": "7"},\n    "storage-driver": "vfs",\n'
               '    "exec-opts": ["native.cgroupdriver=cgroupfs"],\n'
               '    "insecure-registries": ["registry.example:5000"]\n}\n'),
    "sysctl": ("settings in /etc/sysctl.d which Kubernetes cannot live with", "etc/sysctl.d/50-owner.conf",
               "net.ipv4.ip_forward = 0\nnet.bridge.bridge-nf-call-iptables=0\n"
               "net.bridge.bridge-nf-call-ip6tables=0\nnet.ipv4.conf.all.rp_filter = 2\n"),
}  # fmt: skip


def make_disk(instance, host, options):
    """A new disk, with what an installer would have written on it."""
    folder = instance.host_dir(host)
    upper = folder / "disk/upper"
    if options.kind == "light":
        _cover_machine(upper, options.standin)
    elif options.kind == "bare":
        _copy_bare(upper, options)
    (upper / "etc").mkdir(parents=True, exist_ok=True)
    for path in (folder / "disk/work", folder / "root", folder / "dmi"):
        path.mkdir()
    (upper / "etc/hostname").write_text(host.hostname + "\n")
    (upper / "etc/machine-id").write_text(host.machine_id + "\n")
    (upper / "etc/hosts").write_text(
        f"127.0.0.1 localhost\n127.0.1.1 {host.hostname}\n::1 localhost ip6-localhost ip6-loopback\n"
    )
    (upper / "etc/resolv.conf").write_text(f"nameserver {network.NAT_DNS}\n")
    _make_dmi(folder / "dmi", host)
    if options.kind == "full":
        _make_data(folder / "disk/data", pathlib.Path(options.cache))


def _copy_bare(disk, options):
    """A whole root of the host's own, trusting the mirror of the cache's packages, with the flaws asked for."""
    disk.mkdir(parents=True)
    run("cp", "-a", f"{options.cache}/bare/.", str(disk))
    keyring = pathlib.Path(options.cache) / "debs/debian/keyring.gpg"
    if keyring.exists():
        shutil.copy(keyring, disk / "usr/share/keyrings/lab-archive-keyring.gpg")
    for name in options.flaws:
        _, path, text = FLAWS[name]
        (disk / path).parent.mkdir(parents=True, exist_ok=True)
        (disk / path).write_text(text)


def _make_dmi(folder, host):
    for name, value in {"product_name": "VirtualBox", "sys_vendor": "innotek GmbH"}.items():
        (folder / name).write_text(value + "\n")
    (folder / "product_uuid").write_text(host.product_uuid + "\n")
    (folder / "product_uuid").chmod(0o400)


def _make_data(data, cache):
    """Data folders; the images are hard links to the template, but for the data bases, which are written in place."""
    for name in DATA:
        (data / name).mkdir(parents=True)
    template, copy = cache / "containerd", data / "containerd"
    linked = os.stat(template).st_dev == os.stat(data).st_dev
    run("cp", "-al" if linked else "-a", f"{template}/.", str(copy))
    if linked:
        for path in template.rglob("*.db"):
            own = copy / path.relative_to(template)
            own.unlink()
            shutil.copy2(path, own)


def erase_disk(instance, host):
    folder = instance.host_dir(host)
    for name in ("disk", "root", "dmi", "console.log", "boot.log", "plan"):
        run("rm", "-rf", "--one-file-system", "--", str(folder / name))


# --- the plan -----------------------------------------------------------------------------------------------------


class Plan:
    """The lines of a plan; see init.c for what each step does."""

    def __init__(self):
        self.lines = []

    def add(self, *fields):
        texts = [str(field) for field in fields]
        if any("\t" in text or "\n" in text or not text for text in texts):
            raise LabError(f"a tab, a new line or an empty text in {texts}")
        self.lines.append("\t".join(texts))

    def mount(self, kind, source, target, flags="-", data="-"):
        self.add("mount", kind, source, target, flags, data)

    def bind(self, source, target, writable=False):
        self.add("mountpoint", source, target)
        self.mount("none", source, target, "bind")
        if not writable:
            self.mount("none", "none", target, "remount,bind,ro")

    def tmpfs(self, target, mode="755"):
        self.add("mkdir", mode, target)
        self.mount("tmpfs", "tmpfs", target, "-", f"mode={mode}")


def write_plan(instance, host, options):
    plan = Plan()
    for file in cgroup.boot_files(instance, host):
        plan.add("cgroup", file)
    plan.add("netns", network.host_ns(instance, host))
    plan.add("spawn")
    plan.mount("none", "none", "/", "rprivate")
    folder = instance.host_dir(host)
    root = folder / "root"
    _plan_disk(plan, folder, root, options)
    _plan_kernel(plan, folder, root, host, options)
    _plan_devices(plan, folder, root)
    _plan_binds(plan, root, options)
    plan.add("hostname", host.hostname)
    plan.add("root", root)
    plan.add("console", "/dev/console")
    _plan_init(plan, host, options)
    path = folder / "plan"
    path.write_text("\n".join(plan.lines) + "\n")
    return path


def _plan_disk(plan, folder, root, options):
    if options.kind == "bare":
        plan.mount("none", folder / "disk/upper", root, "bind")
    else:
        lower = f"{options.cache}/base" if options.kind == "full" else "/"
        data = f"lowerdir={lower},upperdir={folder}/disk/upper,workdir={folder}/disk/work"
        plan.mount("overlay", "overlay", root, "-", data)
    if options.kind == "full":
        for name, target in DATA.items():
            plan.bind(folder / "disk/data" / name, root / target, writable=True)
    plan.tmpfs(root / "run")
    plan.tmpfs(root / "tmp", "1777")


def _plan_kernel(plan, folder, root, host, options):
    """/proc and /sys. What belongs to the whole machine is read-only; identity and size of the host are its own."""
    proc, sys = root / "proc", root / "sys"
    plan.mount("proc", "proc", proc)
    plan.mount("none", proc / "sys", proc / "sys", "bind")
    plan.mount("none", proc / "sys/net", proc / "sys/net", "bind")
    plan.mount("none", "none", proc / "sys", "remount,bind,ro")
    plan.mount("sysfs", "sysfs", sys)
    if options.boots_systemd():
        _plan_sysctls(plan, folder, proc / "sys")
    _plan_cgroups(plan, sys / "fs/cgroup")
    _plan_dmi(plan, folder, root, options)
    if host.memory:
        _plan_memory(plan, folder, proc, host)
    if host.cpus:
        (folder / "cpus").write_text(f"0-{host.cpus - 1}\n" if host.cpus > 1 else "0\n")
        plan.bind(folder / "cpus", sys / "devices/system/cpu/online")


def _plan_sysctls(plan, folder, target):
    for key, value in OWN_SYSCTLS.items():
        file = folder / "sysctl" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
        plan.mount("none", file, target / key, "bind")


def _plan_cgroups(plan, target):
    """Fresh mounts inside the host's cgroup namespace show its own groups as the roots."""
    if cgroup.unified():
        plan.mount("cgroup2", "cgroup2", target)
        return
    plan.mount("tmpfs", "tmpfs", target, "-", "mode=755")
    for name in cgroup.controllers():
        plan.add("mkdir", "755", target / name)
        if name == "unified":
            plan.mount("cgroup2", "cgroup2", target / name)
        else:
            plan.mount("cgroup", "cgroup", target / name, "-", "none,name=systemd" if name == "systemd" else name)


def _plan_dmi(plan, folder, root, options):
    """Where the machine has no DMI, /sys/class is put together anew with one."""
    target = root / "sys/class"
    if os.path.exists("/sys/class/dmi/id/product_uuid"):
        for name in os.listdir(folder / "dmi"):
            plan.bind(folder / "dmi" / name, target / "dmi/id" / name)
        return
    staging = root / "run/class"
    plan.tmpfs(staging)
    names = ("net", "block") if options.kind == "light" else sorted(os.listdir("/sys/class"))
    for name in names:
        plan.bind(target / name, staging / name, writable=True)
    plan.bind(folder / "dmi", staging / "dmi/id")
    plan.mount("none", staging, target, "move")


def _plan_memory(plan, folder, proc, host):
    size = cgroup.size_bytes(host.memory) >> 10
    values = {"MemTotal": size, "MemFree": size // 2, "MemAvailable": size * 3 // 4, "SwapTotal": 0, "SwapFree": 0}
    (folder / "meminfo").write_text("".join(f"{name + ':':<16}{value:>8} kB\n" for name, value in values.items()))
    plan.bind(folder / "meminfo", proc / "meminfo")


def _plan_devices(plan, folder, root):
    dev = root / "dev"
    plan.tmpfs(dev)
    for name in ("net", "pts", "shm", "mqueue"):
        plan.add("mkdir", "755", dev / name)
    for name, major, minor in DEVICES:
        plan.add("node", "666", dev / name, major, minor)
    plan.mount("devpts", "devpts", dev / "pts", "-", "newinstance,ptmxmode=0666,mode=620,gid=5")
    plan.mount("tmpfs", "tmpfs", dev / "shm", "-", "mode=1777")
    plan.mount("mqueue", "mqueue", dev / "mqueue")
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, where in links.items():
        plan.add("link", where, dev / name)
    (folder / "console.log").touch(mode=0o600)
    plan.bind(folder / "console.log", dev / "console", writable=True)


def _plan_binds(plan, root, options):
    """The checkout, read-only at its own place, and what the user asked for."""
    binds = [f"{CHECKOUT}:{CHECKOUT}"] if options.kind == "light" else []
    if options.standin:
        binds.append(f"{options.standin}:{options.standin}")
    for text in binds + options.binds:
        source, target, *mode = text.split(":")
        plan.bind(source, f"{root}{target}", writable=mode == ["rw"])


def _plan_init(plan, host, options):
    plan.add("env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if options.kind == "light":
        plan.add("reap")
        return
    plan.mount("none", "none", "/", "rshared")
    plan.add("env", "container=kpeer-lab")
    plan.add("env", f"container_uuid={host.machine_id}")
    plan.add("exec", "/lib/systemd/systemd", "--log-target=journal", "--show-status=false")


def with_cache_lock(options, work):
    """Makes disks from the cache while nobody rebuilds it."""
    if not options.boots_systemd():
        return work()
    with exclusive(pathlib.Path(options.cache) / "lock"):
        return work()
