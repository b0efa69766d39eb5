"""Hosts that are not who or where they were: other addresses, copied disks, two groups that meet."""

import re
import shutil
import signal
import subprocess

from harness.agree import all_ready, master_of, one_cluster, record_of, worker_of
from harness.hold import Hold
from harness.lab import STATE, wait_until

from .cuts import CONSTITUTED, FLAGS, FOUNDING, inits, start

COPIED = ("/etc/kpeer", STATE, "/etc/kubernetes", "/var/lib/kubelet", "/etc/cni", "/etc/machine-id")


def move(host, address):
    host.lab.tool("address", host.name, address)
    host.address = address


# --- addresses ----------------------------------------------------------------------------------------------------------


def test_a_workers_address_changes_while_the_group_stands(trial):
    lab = trial.lab(3)
    lab.form("--expect", "3")
    record, worker, master = record_of(lab.hosts), worker_of(lab.hosts), master_of(lab.hosts)
    old = worker.address
    move(worker, "192.168.56.77")

    def seen():
        return next(m for m in master.members()["members"] if m["name"] == worker.name)

    wait_until("the others know its new address", lambda: (seen()["address"], seen()["state"]) == (worker.address, "alive"), 60)
    told = [f"at {worker.address} now, but its Node is at {old}", "try .*kpeer leave, then kpeer up"]
    worker.kpeer("status").expect(1, *told)
    worker.signal_agent(signal.SIGTERM)
    wait_until("its agent has ended", lambda: not worker.agents(), 20)
    worker.kpeer("up", "--timeout", "5s", seconds=20).expect(4, f"InternalIP is {old}.*it must be {worker.address}")
    worker.kpeer("status").expect(1, f"InternalIP is {old}.*it must be {worker.address}")
    worker.kpeer("leave", seconds=100).expect(0)
    worker.kpeer("up", "--timeout", "270s", seconds=100).expect(0)
    assert one_cluster(lab.hosts)[0] == record and inits(lab) == 1


def test_the_masters_address_changes_while_the_group_stands(trial):
    """The endpoint cannot be moved: all say so until the master has its address again."""
    lab = trial.lab(3)
    lab.form("--expect", "3")
    decided, master = one_cluster(lab.hosts)
    old, new = master.address, "192.168.56.76"

    def all_say(*patterns):
        return all(each.status == 1 and all(re.search(pattern, each.text) for pattern in patterns)
                   for each in [host.kpeer("status") for host in lab.hosts])

    move(master, new)
    told = (f"error +the master {master.name} is at {new} now, but the cluster's endpoint is {old}:6443", "try +give .*its address")
    wait_until("all say so", lambda: all_say(*told), 60)
    master.signal_agent(signal.SIGTERM)
    wait_until("its agent has ended", lambda: not master.agents(), 20)
    master.kpeer("up", "--timeout", "3s", seconds=20).expect(4)
    wait_until("all say so after a restart too", lambda: all_say(*told), 60)
    move(master, old)
    all_ready(lab.hosts)
    wait_until("nobody complains", lambda: all(host.kpeer("status").status == 0 for host in lab.hosts), 60)
    assert one_cluster(lab.hosts) == (decided, master)


def test_addresses_change_while_the_group_forms(trial):
    """A voter's before the vote, and the founder's in the middle of its founding."""
    lab = trial.lab(3)
    with Hold(lab.hosts[0]) as hold:
        jobs = start(lab, hold)
        hold.reach(CONSTITUTED)
        move(lab.hosts[1], "192.168.56.78")
        hold.reach(FOUNDING)
        move(lab.hosts[0], "192.168.56.79")
    for job in jobs:
        job.wait(110)
    all_ready(lab.hosts)
    one_cluster(lab.hosts)


# --- two clusters -------------------------------------------------------------------------------------------------------


def test_two_clusters_meet_and_one_is_given_up(trial):
    """Formed apart without a number, each keeps its own; all say so, and what the documents tell ends it."""
    lab = trial.lab(4)
    here, there = lab.hosts[:2], lab.hosts[2:]
    lab.cut(*there)
    lab.form()
    (ours, _), (theirs, lost) = one_cluster(here), one_cluster(there)
    assert ours["id"] != theirs["id"]
    lab.heal()
    for host in lab.hosts:
        wait_until(f"{host.name} reports the conflict", lambda h=host: h.status()["error"], 60)
        status = host.kpeer("status").expect(1, ours["id"][:8], theirs["id"][:8], "try +.*leave")
        assert "conflict" in [event["event"] for event in host.events()], status
    trial.note(re.search("error +(.*)", status.out).group(1))
    assert record_of(here) == ours and record_of(there) == theirs, "somebody gave up its cluster unasked"
    worker = next(host for host in there if host is not lost)
    worker.kpeer("leave", seconds=100).expect(0)
    lost.kpeer("leave", "--force", seconds=100).expect(0)
    for job in [host.up("--timeout", "300s") for host in there]:
        job.wait(110).expect(0)
    assert one_cluster(lab.hosts)[0] == ours
    for host in lab.hosts:
        wait_until(f"{host.name} is content", lambda h=host: h.kpeer("status").status == 0, 30)


# --- copied disks -------------------------------------------------------------------------------------------------------


def copy_disk(source, target):
    """The other host is powered off and gets a copy of the first one's disk."""
    target.lab.tool("stop", target.name)
    for path in COPIED:
        place = target.disk / f"upper{path}"
        if place.is_dir():
            shutil.rmtree(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", source.path(path), place], check=True)


def test_a_copied_disk_on_another_machine_is_another_member(trial):
    """The copy has its own machine-id and hardware addresses: it forgets who it was and joins as a host of its own."""
    lab = trial.lab(2)
    lab.form("--expect", "2")
    worker, record = worker_of(lab.hosts), record_of(lab.hosts)
    copy = lab.add()
    machine_id = copy.get("/etc/machine-id")
    copy_disk(worker, copy)
    (copy.disk / "upper/etc/machine-id").write_text(machine_id)
    lab.tool("start", copy.name)
    lab.refresh()
    done = copy.kpeer("up", "--timeout", "270s", seconds=100)
    status = copy.kpeer("status")
    trial.note(f"{done.status}: {done.text.splitlines()[-2:]}")
    done.expect(0)
    assert one_cluster(lab.hosts)[0] == record, status


def test_a_copied_disk_on_a_twin_renews_itself(trial):
    """Machine-id and a hardware address are the same, both run: the younger one gives the identity up, says why it does
    not join, and does when somebody makes it a host of its own."""
    lab = trial.lab(2)
    lab.form("--expect", "2")
    worker, master, record = worker_of(lab.hosts), master_of(lab.hosts), record_of(lab.hosts)
    copy = lab.add()
    machine_id = copy.get("/etc/machine-id")
    copy_disk(worker, copy)
    lab.tool("start", copy.name)
    lab.refresh()
    twin = worker.get("/sys/class/net/eth0/address").strip()
    copy.sh(f"ip link set eth0 down; ip link set eth0 address {twin}; ip link set eth0 up").expect(0)
    job = copy.up("--timeout", "180s")
    wait_until("it says why it does not join", lambda: "the same machine-id" in job.text(), 60)
    copy.kpeer("status").expect(1, "error +.*the same machine-id", "try +.*machine-id")
    assert "conflict" in [event["event"] for event in copy.events()], "the copied identity was not noticed"
    for host in (worker, master):
        host.kpeer("status").expect(0)
        assert host.cluster() == record
    copy.signal_agent(signal.SIGTERM)
    wait_until("its agent has ended", lambda: not copy.agents(), 20)
    lab.tool("stop", copy.name)
    (copy.disk / "upper/etc/machine-id").write_text(machine_id)
    lab.tool("start", copy.name)
    lab.refresh()
    copy.kpeer("up", "--timeout", "270s", seconds=100).expect(0)
    assert one_cluster(lab.hosts)[0] == record
