"""Packages on bare hosts: the wanted version installed and held from either layout or a folder, what goes wrong told
and the host left as it was, and an undo that gives back the disk."""

import os
import random
import shutil
import signal
import time

from harness.document import block, furnish, play
from harness.lab import wait_until
from harness.tree import Tree, assert_same

KUBE = ("kubeadm", "kubelet", "kubectl", "cri-tools", "kubernetes-cni")
SECONDS = 400
LOCKED = """use Fcntl; open(my $f, '+<', '/var/lib/dpkg/lock-frontend') or die;
my $lock = pack('s s x4 q q i x4', F_WRLCK, 0, 0, 0, 0); fcntl($f, F_SETLK, $lock) or die;
$| = 1; print "held\\n"; sleep 12;"""


def begin(trial, config, left_out=(), **more):
    """One bare host with mirrors; {url} in `config` is theirs."""
    lab = trial.bare(1, mirrors=True, **more)
    host = lab.hosts[0]
    configure(lab, config)
    return lab, host, Tree(host.root, left_out=left_out)


def configure(lab, config):
    host = lab.hosts[0]
    host.path("/etc/kpeer").mkdir(mode=0o755, exist_ok=True)
    host.put("/etc/kpeer/kpeer.yaml", config.replace("{url}", lab.mirrors.url if lab.mirrors else ""))


def fix(host):
    return host.kpeer("preflight", "--fix", "--role", "worker", seconds=SECONDS)


def undo(host):
    return host.kpeer("preflight", "--undo", seconds=SECONDS).expect(0)


def assert_undone(host, before):
    assert_same(before, Tree(host.root, before, before.left_out), "undone")


def versions(host):
    """Package: (version, selection), of Kubernetes' own packages."""
    out = host.run("dpkg-query", "-W", "-f", "${Package} ${Version} ${Status}\n", *KUBE).out
    lines = [line.split() for line in out.splitlines()]
    return {words[0]: (words[1], words[2]) for words in lines if words[-1] == "installed"}


def assert_installed(host, done, version):
    have = versions(host)
    for name in KUBE[:3]:
        assert have.get(name) == (version, "hold"), f"{have}\n{done}"
    for name in KUBE[3:]:
        assert have.get(name, ("", ""))[1] == "hold", f"{have}\n{done}"
    host.sh("command -v containerd && command -v runc && command -v conntrack").expect(0)
    assert not host.has("/var/cache/kpeer-packages")


def refused(trial, config, *texts, spoil=None, mend=None):
    """Nothing gets installed, the texts are told, and the disk is as it was."""
    lab, host, before = begin(trial, config)
    if spoil:
        spoil(lab, host)
    done = fix(host)
    told = done.out + done.err
    if mend:
        mend(host)
    for text in texts:
        assert text in told, f"{text!r} is not told\n{done}"
    assert not versions(host), done
    assert not host.has("/etc/apt/sources.list.d/kpeer-kubernetes.list"), done
    assert not host.has("/var/cache/kpeer-packages"), done
    undo(host)
    assert_undone(host, before)


def test_legacy_layout_and_no_upgrade(trial):
    apt = ("/var/lib/apt/lists", "/var/cache/apt")  # of the update in this test
    lab, host, before = begin(trial, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n", apt)
    done = fix(host)
    trial.note(f"{done.seconds:.0f} s")
    assert_installed(host, done, "1.20.2-00")
    host.sh("apt-get update && apt-get -y upgrade").expect(0)
    assert_installed(host, done, "1.20.2-00")
    host.sh("apt-cache policy kubeadm").expect(0, "1.23.3-00", "1.20.2-00 990")
    asked = len(lab.mirrors.requests())
    fix(host)
    assert len(lab.mirrors.requests()) == asked, "asked the mirror again"
    undo(host)
    assert_undone(host, before)


def test_minor_layout(trial):
    lab, host, before = begin(trial, "kubernetes: 1.31\npackages:\n  mirror: {url}\n")
    done = fix(host)
    assert_installed(host, done, "1.31.5-1.1")
    assert versions(host)["cri-tools"][0] == "1.31.0-1.1"
    assert any("/core:/stable:/v1.31/deb/Release.key" in line for line in lab.mirrors.requests())
    undo(host)
    assert_undone(host, before)


def test_stable_and_then_another(trial):
    lab, host, before = begin(trial, "kubernetes: stable\npackages:\n  mirror: {url}\n")
    assert_installed(host, fix(host), "1.31.5-1.1")
    configure(lab, "kubernetes: 1.31.4\npackages:\n  mirror: {url}\n")
    assert_installed(host, fix(host), "1.31.4-1.1")
    undo(host)
    host.remove("/etc/kpeer/kpeer.yaml")
    configure(lab, "kubernetes: stable\npackages:\n  mirror: {url}\n")
    assert_undone(host, before)


def test_newest_patch_of_a_minor_in_legacy_layout(trial):
    _, host, before = begin(trial, "kubernetes: v1.20\npackages:\n  mirror: {url}\n  layout: legacy\n")
    assert_installed(host, fix(host), "1.20.4-00")
    undo(host)
    assert_undone(host, before)


def test_docker_for_who_wants_it(trial):
    _, host, _ = begin(trial, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n  runtime: docker\n")
    host.put("/usr/sbin/policy-rc.d", "#!/bin/sh\n[ \"$1\" != docker ] || exit 101\n", 0o755)  # no dockerd in a namespace
    before = Tree(host.root)
    assert_installed(host, fix(host), "1.20.2-00")
    host.sh("command -v dockerd && getent group docker").expect(0)
    undo(host)
    assert_undone(host, before)


def test_docker_is_refused_where_it_cannot_be(trial):
    refused(trial, "kubernetes: 1.31\npackages:\n  mirror: {url}\n  runtime: docker\n", "cri-dockerd",
            "packages.runtime: containerd")


def test_wrong_signature(trial):
    refused(trial, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n", "NO_PUBKEY", "packages.keyring",
            spoil=lambda lab, host: lab.mirrors.sign("kubernetes/apt", "stranger"))


def test_wrong_key(trial):
    def spoil(lab, host):
        shutil.copy(lab.mirrors.stranger, host.root / "etc/stranger.asc")

    def mend(host):
        host.remove("/etc/stranger.asc")

    refused(trial, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n  keyring: /etc/stranger.asc\n", "NO_PUBKEY",
            spoil=spoil, mend=mend)


def test_key_that_is_pinned(trial):
    refused(trial, f"kubernetes: 1.20.2\npackages:\n  mirror: {{url}}\n  key: '{'12' * 20}'\n",
            "where packages.key wants 1212")


def test_no_key_at_all(trial):
    def spoil(lab, _):
        (lab.mirrors.folder / "kubernetes/apt/doc/apt-key.gpg").write_text("<html>Sign in to go on</html>\n")

    refused(trial, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n  layout: legacy\n", "is none", spoil=spoil)


def test_damaged_package(trial):
    def spoil(lab, _):
        for path in (lab.mirrors.folder / "kubernetes/apt").rglob("kubelet_1.20.2-00_*.deb"):
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.unlink()
            path.write_bytes(content)

    refused(trial, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n", "Hash Sum mismatch", spoil=spoil)


def test_missing_version(trial):
    refused(trial, "kubernetes: 1.20.9\npackages:\n  mirror: {url}\n", "there is no kubeadm v1.20.9")


def test_missing_minor(trial):
    refused(trial, "kubernetes: 1.29\npackages:\n  mirror: {url}\n", "Kubernetes v1.29", "packages.layout")


def test_unreachable_mirror(trial):
    refused(trial, "kubernetes: 1.20.2\npackages:\n  mirror: http://192.168.56.77/kubernetes\n", "Could not connect",
            "packages.mirror")


def test_no_space(trial):
    refused(trial, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n", "space", "make room",
            spoil=lambda _, host: host.sh("mount -t tmpfs -o size=8m small /var/cache").expect(0),
            mend=lambda host: host.sh("umount /var/cache").expect(0))


def test_not_to_be_installed(trial):
    lab, host, before = begin(trial, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n  install: false\n")
    done = fix(host)
    assert "packages.install" in done.out + done.err, done
    assert not versions(host) and not lab.mirrors.requests(), done
    undo(host)
    assert_undone(host, before)


def test_folder_without_any_network(trial):
    lab = trial.bare(1, mirrors=True)
    host = lab.hosts[0]
    configure(lab, "kubernetes: 1.23.3\npackages:\n  folder: /root/debs\n")
    debs = host.root / "root/debs"
    debs.mkdir(mode=0o700)
    for path in sorted(lab.mirrors.folder.rglob("*.deb")):
        if "/core:/" not in str(path):
            shutil.copy(path, debs / path.name)
    (debs / "odd name.deb").write_text("no package\n")
    before = Tree(host.root)
    lab.mirrors.close()
    done = fix(host)
    assert_installed(host, done, "1.23.3-00")
    assert "not checked" in done.out + done.err and "passed over odd name.deb" in done.out + done.err, done
    assert not host.has("/etc/apt/sources.list.d/kpeer-kubernetes.list")
    undo(host)
    assert_undone(host, before)


def test_waits_for_another_dpkg(trial):
    _, host, before = begin(trial, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n")
    other = host.start("perl", "-e", LOCKED)
    wait_until("another dpkg has the lock", lambda: "held" in other.text(), 20)
    done = fix(host)
    assert "lock-frontend" in done.out + done.err, done
    assert_installed(host, done, "1.20.2-00")
    undo(host)
    assert_undone(host, before)


def test_what_others_need_stays(trial):
    _, host, _ = begin(trial, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n")
    assert_installed(host, fix(host), "1.20.2-00")
    host.sh("apt-get update && apt-get -y --no-install-recommends install docker.io").expect(0)
    done = undo(host)
    assert "left alone package containerd" in done.out + done.err, done
    assert not versions(host)
    host.sh("dpkg -s containerd runc docker.io iptables && ! dpkg -s socat && ! dpkg --audit | grep .").expect(0)


def test_what_somebody_holds(trial):
    lab, host, _ = begin(trial, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n  install: false\n")
    shutil.copytree(lab.mirrors.folder / "kubernetes/apt/pool", host.root / "root/pool")
    host.sh("dpkg -i --force-depends $(find /root/pool -name 'kubectl_1.21.1-00_*.deb') && apt-mark hold kubectl").expect(0)
    configure(lab, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n")
    done = fix(host)
    assert "somebody holds kubectl at 1.21.1-00" in done.out + done.err, done
    assert versions(host) == {"kubectl": ("1.21.1-00", "hold")}


def test_dpkg_is_killed_while_it_unpacks(trial):
    """As when memory runs out: what it had unpacked by then goes, at once by undo or after another run."""
    _, host, before = begin(trial, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n")
    for again in (False, True):
        job = host.start("kpeer", "preflight", "--fix", "--role", "worker")
        wait_until("containerd is being unpacked", (host.root / "usr/bin/containerd.dpkg-new").exists, SECONDS)
        for pid in host.pids():
            if "dpkg" in os.path.basename(host.arguments(pid)[0]):
                host.signal(pid, signal.SIGKILL)
        done = job.wait(SECONDS)
        assert done.status and "the downloads are kept" in done.text, done
        host.sh("dpkg-query -W -f '${Status}' containerd | grep reinstreq").expect(0)
        if again:
            assert_installed(host, fix(host), "1.20.2-00")
        undo(host)
        assert_undone(host, before)


def test_a_removal_that_was_cut_short_is_ended(trial):
    """dpkg's own word on a package whose files it was taking away; apt would take it for installed, and unpack nothing."""
    _, host, before = begin(trial, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n")
    assert_installed(host, fix(host), "1.20.2-00")
    host.sh("rm /usr/bin/kubelet").expect(0)
    host.sh("sed -i '/^Package: kubelet$/,/^$/s/^Status: .*/Status: purge ok half-installed/' /var/lib/dpkg/status").expect(0)
    host.sh("dpkg-query -W -f '${Status}' kubelet").expect(0, "purge ok half-installed")
    assert_installed(host, fix(host), "1.20.2-00")
    undo(host)
    assert_undone(host, before)


def test_power_cuts(trial):
    """Cut at any point of installing: the next run finishes, and undo, itself cut, gives back the disk."""
    seed = trial.options.seed if trial.options.seed is not None else random.randrange(1 << 32)
    chance = random.Random(seed)
    trial.note(f"seed {seed}")
    lab, host, before = begin(trial, "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n")
    # The pauses are no waits: they draw the moment at which the power goes.
    for cut in range(trial.options.cuts):
        job = host.start("kpeer", "preflight", "--fix", "--role", "worker")
        time.sleep(chance.uniform(0.5, 14))
        lab.power_cut(host)
        job.close()
        if cut % 2:
            assert_installed(host, fix(host), "1.20.2-00")
        job = host.start("kpeer", "preflight", "--undo")
        time.sleep(chance.uniform(0.1, 8))
        lab.power_cut(host)
        job.close()
        state = host.run("dpkg-query", "-W", "-f", "${Package} ${Status}\\n", *KUBE).out
        done = undo(host)
        try:
            assert_undone(host, before)
        except AssertionError as error:
            raise AssertionError(f"cut {cut}: {error}\n{state}{done}") from None


def test_a_runtime_as_the_tutorial_installs_it(trial):
    """By hand, and kpeer finds nothing to mend in it."""
    lab, host, _ = begin(trial, "")
    furnish(host)
    host.run("apt-get", "update").expect(0)
    play(lab, host, block("tutorial runtime"), seconds=SECONDS)
    host.run("systemctl", "is-active", "containerd").expect(0)
    told = {each["check"]: each for each in host.kpeer("preflight", "-o", "json").json()["checks"]}
    for check in ("runtime", "containerd"):
        assert told[check]["level"] != "red", told[check]
