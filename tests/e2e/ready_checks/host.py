"""One host, bare and with what its owner left: told what is red, mended, and put back as if nothing had been, also when the
power goes in the middle."""

import os
import random
import signal
import time

from harness.lab import SLACK, STATE, wait_until
from harness.tree import Tree, assert_same

FLAWS = ("swap", "docker", "sysctl")
CONFIG = "kubernetes: 1.20.2\npackages:\n  mirror: http://192.168.56.1/kubernetes\n  layout: legacy\n"
RED = 5
SECONDS = 180
# What must hold of a host that is ready, as a shell's conditions: each is told by itself when it does not. (No apt-mark:
# it leaves a cache of its own.)
READY = (
    "test $(cat /proc/sys/net/ipv4/ip_forward) = 1",
    "test $(cat /proc/sys/net/bridge/bridge-nf-call-iptables) = 1",
    "test $(cat /proc/sys/net/bridge/bridge-nf-call-ip6tables) = 1",
    "! grep -E '^[^#]*[[:space:]]swap[[:space:]]' /etc/fstab",
    "systemctl is-active containerd",
    "systemctl is-enabled kubelet",
    "test \"$(kubeadm version -o short)\" = v1.20.2",
    "kubelet --version | grep -qxF 'Kubernetes v1.20.2'",
    "dpkg-query -W -f '${Status}' kubelet | grep -qx 'hold ok installed'",
    "dpkg-query -W -f '${Status}' kubeadm | grep -qx 'hold ok installed'",
    "dpkg-query -W -f '${Status}' kubectl | grep -qx 'hold ok installed'",
    "crictl info > /dev/null",
)
# What no file shows and must be as it was: settings of the kernel, units, rules, modules.
RUNNING = """
sysctl -a 2> /dev/null | grep -E '^net[.](ipv4[.](ip_forward|conf[.]all[.]rp_filter)|bridge[.])'
systemctl list-unit-files --no-legend --no-pager
systemctl list-units --plain --no-legend --no-pager --state active,failed --type service,swap,mount |
    awk '$1 !~ /tmpfiles|^run-credentials|^systemd-/ { print $1, $3 }'
nft list ruleset
hostname
ls /sys/class/net
cat /proc/swaps
"""


def bare(trial, count=1, **more):
    """Bare hosts with all flaws, and the mirrors."""
    return trial.bare(count, flaws=FLAWS, mirrors=True, config=CONFIG, **more)


def fix(host):
    return host.kpeer("preflight", "--fix", seconds=SECONDS)


def undo(host):
    return host.kpeer("preflight", "--undo", seconds=SECONDS)


def checks(host):
    """Level by name of check."""
    return {each["check"]: each["level"] for each in host.kpeer("preflight", "-o", "json").json()["checks"]}


def assert_ready(host):
    for condition in READY:
        host.sh(condition).expect(0)
    red = [name for name, level in checks(host).items() if level == "red"]
    assert not red, f"{host.name}: red after --fix: {red}"


def running(host):
    return host.sh(RUNNING).expect(0).out


def assert_running_same(before, host, what):
    now = set(running(host).splitlines())
    then = set(before.splitlines())
    lines = [f"    - {line}" for line in sorted(then - now)] + [f"    + {line}" for line in sorted(now - then)]
    assert not lines, f"{what}: what runs is different:\n" + "\n".join(lines[:40])


def test_made_ready_and_put_back(trial):
    lab = bare(trial)
    host = lab.hosts[0]
    before, ran_before = Tree(host.root), running(host)
    host.kpeer("preflight").expect(RED, "preflight --fix")
    red = {name for name, level in checks(host).items() if level == "red"}
    for name in ("kubeadm", "kubelet", "kubectl", "programs", "runtime", "ip-forward", "bridge-netfilter", "swap-boot"):
        assert name in red, f"{name} is not among what is red: {sorted(red)}"
    assert_same(before, Tree(host.root, before), "looking changed the disk")

    done = fix(host).expect(0)
    trial.note(f"--fix {done.seconds:.1f} s")
    assert_ready(host)
    mended = Tree(host.root, before)
    trial.note(f"{len(list(mended.differences(before)))} files are different when it is ready")
    done = fix(host).expect(0)
    trial.note(f"--fix again {done.seconds:.1f} s")
    assert_same(mended, Tree(host.root, mended), "--fix on a host that is ready")
    lab.power_cut(host)
    wait_until("containerd after a power cut", lambda: host.sh("crictl info").status == 0, 20)
    assert_ready(host)

    done = undo(host).expect(0)
    trial.note(f"--undo {done.seconds:.1f} s")
    assert_same(before, Tree(host.root, before), "--undo")
    assert_running_same(ran_before, host, "--undo")
    host.kpeer("preflight").expect(RED)
    undo(host).expect(0)
    assert_same(before, Tree(host.root, before), "--undo again")


def test_what_somebody_changed_stays(trial):
    """Files that were changed after a fix are theirs: left as they are, and named."""
    lab = bare(trial)
    host = lab.hosts[0]
    before = Tree(host.root)
    fix(host).expect(0)
    fstab = host.get("/etc/fstab") + "\n# by the owner\n"
    host.put("/etc/fstab", fstab)
    undo(host).expect(0, "/etc/fstab")
    assert host.get("/etc/fstab") == fstab
    found = list(Tree(host.root, before).differences(before))
    assert len(found) == 1 and found[0].startswith("/etc/fstab: "), f"more than that is different: {found[:20]}"


# --- power cuts -----------------------------------------------------------------------------------------------------


class Cut:
    """A point at which the power goes: after some time, or after so many writes of the journal, and a moment."""

    def __init__(self, draw, length):
        seconds, writes = length
        self.after_writes = draw.randint(1, max(writes, 1)) if draw.random() < 0.6 else None
        self.seconds = draw.random() * (0.05 if self.after_writes else seconds)

    def __str__(self):
        if self.after_writes:
            return f"{self.seconds * 1000:.0f} ms after write {self.after_writes} of the journal"
        return f"after {self.seconds:.2f} s"


def journal_mark(host):
    """Different after each write of the journal, which is a new file each time."""
    for path in host.root.glob(f"{STATE.removeprefix('/')}/**/journal"):
        try:
            found = os.stat(path)
            return found.st_ino, found.st_ctime_ns
        except FileNotFoundError:
            continue
    return None


def work(host, word, cut=None):
    """`kpeer preflight WORD`, to its end or to the cut. Returns its seconds, and how often the journal was written."""
    job = host.start("kpeer", "preflight", word)
    mark, writes, end = journal_mark(host), 0, None
    if cut and not cut.after_writes:
        end = time.monotonic() + cut.seconds
    while job.running() and not (end and time.monotonic() >= end):
        now = journal_mark(host)
        writes, mark = writes + (now != mark), now
        if cut and cut.after_writes and not end and writes >= cut.after_writes:
            end = time.monotonic() + cut.seconds
        assert time.monotonic() - job.began < SECONDS * SLACK, f"{word} did not end: {job.text()[-2000:]}"
        time.sleep(0.001)
    ended = not job.running()
    if cut:
        os.kill(host.pid, signal.SIGKILL)  # process 1: all others of the host end in the same moment
        job.end()
        host.lab.power_cut(host)
    else:
        job.wait().expect(0)
    return time.monotonic() - job.began, writes, ended


def power_cuts(trial, word):
    seed = trial.options.seed if trial.options.seed is not None else random.randrange(1 << 32)
    draw = random.Random(f"{seed} {word}")
    trial.note(f"--seed {seed} --cuts {trial.options.cuts}")
    lab = bare(trial)
    host = lab.hosts[0]
    before = Tree(host.root)
    length = {each: work(host, each)[:2] for each in ("--fix", "--undo")}
    assert_same(before, Tree(host.root, before), "--undo without a cut")
    for number in range(1, trial.options.cuts + 1):
        cut, then = Cut(draw, length[word]), draw.choice(("--fix", "--undo"))
        what = f"--seed {seed}, cut {number}: {word} cut {cut}, then {then}"
        try:
            if word == "--undo":
                work(host, "--fix")
            _, _, ended = work(host, word, cut)
            what += ", which had ended" if ended else ""
            if then == "--fix":
                fix(host).expect(0)
                assert_ready(host)
            undo(host).expect(0)
            assert_same(before, Tree(host.root, before), "after --undo")
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from None


def test_power_cuts_in_fix(trial):
    power_cuts(trial, "--fix")


def test_power_cuts_in_undo(trial):
    power_cuts(trial, "--undo")
