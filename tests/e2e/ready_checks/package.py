"""The package on a bare host: installed, it waits to be told; upgraded, its agent is the same member; after a purge the disk
is as before. On all hosts of a cluster an upgrade loses nobody."""

import time

from harness.document import furnish, lines, play
from harness.lab import KEY, STATE, wait_until
from harness.package import assert_upgrades, bring
from harness.tree import Tree, assert_same

from .formation import CACHE, IMAGES, UP_SECONDS, master_of
from .host import CONFIG as MENDED

# Three hosts are expected and there are two, so that nothing is formed; what kpeer would mend is not what is looked at.
CONFIG = "expect: 3\nfix: false\ntimeout: 5s\n"
UNIT = "/usr/lib/systemd/system/kpeer.service"
OWN_UNIT, DROPIN = "/etc/systemd/system/kpeer.service", "/etc/systemd/system/kpeer.service.d/up.conf"
# What the tools that change the lists of users keep of them as they were.
BACKUPS = ("/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-")


def unit(host, word):
    return host.run("systemctl", word, "kpeer.service").out.strip()


def assert_off(host, enabled):
    assert not host.agents() and unit(host, "is-active") == "inactive", host.agents()
    assert unit(host, "is-enabled") == enabled, unit(host, "is-enabled")


def assert_runs(host, *told):
    """The package's unit, with a drop-in where `up` was told something, as the user that the package made."""
    assert unit(host, "is-active") == "active" and unit(host, "is-enabled") == "enabled"
    assert not host.has(OWN_UNIT) and host.has(DROPIN) == bool(told)
    words = host.arguments(host.agent())
    assert words[1:] == ["agent", *told], words
    assert host.status()["phase"], "no phase"
    uid = host.run("id", "-u", "kpeer").expect(0).out.strip()
    host.sh(f"grep -qE '^Uid:\\s{uid}\\s{uid}\\s{uid}' /proc/$(systemctl show -P MainPID kpeer)/status").expect(0)


def alive_since(host, member, moment):
    """Whether a host holds a member for alive, and has heard it since a moment."""
    ago = (time.monotonic() - moment) * 1000
    return any(each["id"] == member and each["state"] == "alive" and each["last_heard_ms"] < ago
               for each in host.members()["members"])


def up(host, *flags):
    """It waits for hosts that do not come, or for somebody to mend this one."""
    done = host.kpeer("up", *flags)
    assert done.status in (4, 5), done


def test_installed_upgraded_removed_purged(trial):
    lab = trial.bare(2, config=CONFIG)
    host, other = lab.hosts
    for path in ("/usr/bin/kpeer", "/etc/kpeer"):  # the package and the administrator bring theirs
        host.remove(path)
    first, second = bring(host, "7.0"), bring(host, "7.1")
    before = Tree(host.root, left_out=BACKUPS)

    host.run("dpkg", "-i", first).expect(0)
    assert_off(host, "disabled")
    host.put(KEY, lab.key + "\n", 0o600)
    host.put("/etc/kpeer/kpeer.yaml", CONFIG)
    other.up()
    wait_until("the other host's unit", lambda: other.has(OWN_UNIT) and other.agent(), 30)
    host.put(OWN_UNIT, other.get(OWN_UNIT))  # as of a kpeer that was here before the package
    up(host)
    assert_runs(host)
    me, old, began = host.status()["id"], host.agent(), time.monotonic()

    wait_until("the other host hears this one", lambda: alive_since(other, me, began), 30)
    host.run("dpkg", "-i", second).expect(0)
    new, now = host.agent(), time.monotonic()
    assert new not in (0, old), "the agent was not started again"
    wait_until("the other host hears this one again", lambda: alive_since(other, me, now), 10)
    trial.note(f"heard {time.monotonic() - now:.1f} s after the upgrade")
    assert_runs(host)
    assert host.status()["id"] == me
    told = [each["event"] for each in other.events() if each["event"] in ("member-failed", "member-left")]
    assert not told, told

    other.kpeer("leave").expect(0)
    assert not other.agents() and not other.has(OWN_UNIT)
    host.kpeer("leave").expect(0)
    assert_off(host, "disabled")
    assert host.has(UNIT) and not host.has(OWN_UNIT)
    up(host, "--role", "worker")
    assert_runs(host, "--role=worker")
    host.kpeer("leave").expect(0)
    assert not host.has(DROPIN)
    up(host, "--role", "worker")
    me = host.status()["id"]

    host.run("dpkg", "-r", "kpeer").expect(0, "has not left its group")
    assert not host.agents() and not host.has("/usr/bin/kpeer") and host.has(f"{STATE}/agent/identity")
    host.run("dpkg", "-i", second).expect(0)
    assert_off(host, "enabled")
    host.run("systemctl", "start", "kpeer").expect(0)
    assert_runs(host, "--role=worker")
    assert host.status()["id"] == me

    host.run("dpkg", "-P", "kpeer").expect(0)
    assert not host.agents() and not host.has(STATE) and not host.has("/run/kpeer")
    assert_same(before, Tree(host.root, before, before.left_out), "purged")


def test_upgraded_while_the_cluster_stands(trial):
    lab = trial.bare(3, mirrors=True, bind=f"{CACHE}/images:{IMAGES}", config=f"{MENDED}images:\n  archives: {IMAGES}\n")
    for host in lab.hosts:
        host.remove("/usr/bin/kpeer")
        host.run("dpkg", "-i", bring(host, "7.0")).expect(0)
    lab.form("--expect", "3", seconds=UP_SECONDS)
    assert_upgrades(trial, lab.hosts, master_of(lab), "7.1")
    for host in lab.hosts:
        assert_runs(host, *(word for word in host.arguments(host.agent())[2:]))


def test_installed_as_the_readme_says(trial):
    lab = trial.bare(1, mirrors=True)
    host, = lab.hosts
    furnish(host)
    version = host.kpeer("version", "-o", "json").expect(0).json()["version"]
    host.remove("/usr/bin/kpeer")
    host.run("apt-get", "update").expect(0)
    path = bring(host, version)
    _, install = lines("package")
    play(lab, host, f"cd {path.rpartition('/')[0]}; yes | {install}", seconds=200)
    assert_off(host, "disabled")
    host.run("/usr/bin/kpeer", "version").expect(0, f"kpeer {version}")
