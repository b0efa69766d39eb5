"""A full disk and damaged files: a clear error that stays, with the cause and a way out that works, and one cluster."""

import random
import re
import signal

from harness.agree import all_ready, master_of, one_cluster, record_of, worker_of
from harness.hold import Hold
from harness.lab import KEY, STATE, wait_until

from .cuts import COMMITTED, FLAGS, PROPOSED, VOTED, VOTING

AGENTS_FILES = ("identity", "promises", "cluster", "members")


def fill(host):
    host.sh(f"cat /dev/zero >{STATE}/filler 2>/dev/null; true").expect(0)


def small_disk(host):
    host.sh(f"mkdir -p {STATE} && mount -t tmpfs -o size=1m,mode=0755 none {STATE}").expect(0)


def end_agent(host):
    host.signal_agent(signal.SIGKILL)
    wait_until("the agent and its executor are gone", lambda: not host.agents(), 20)


def says(host, *patterns):
    """Where the agent does not start, `up` and then `status` name the cause and what to do."""
    for done in (host.kpeer("up", *FLAGS).expect(1), host.kpeer("status").expect(3)):
        for pattern in (*patterns, r"try: \S"):
            assert re.search(pattern, done.text), f"{pattern!r} wanted in {done}"
    error = host.kpeer("status", "-o", "json").expect(3).error()
    assert error["message"] and error["hint"], error


def full_at(trial, number, where, founded_anew=False):
    """The disk of one host is full from there on: its agent ends rather than break a promise, and says so."""
    lab = trial.lab(3)
    host, others = lab.hosts[number], [each for each in lab.hosts if each is not lab.hosts[number]]
    small_disk(host)
    flags = ("--role", "master" if number == 0 else "worker", *FLAGS)
    with Hold(host) as hold:
        job, jobs = hold.up(*flags), [each.up(*FLAGS) for each in others]
        hold.reach(where)
        fill(host)
    told = job.wait(60).expect(1, "No space left on device", r"try: .*disk")
    trial.note(next(line for line in told.text.splitlines() if line.startswith("kpeer:")))
    host.kpeer("status").expect(3, "No space left on device", "try: .*free the disk")
    says(host, "No space left on device")
    if founded_anew:
        for each in jobs:
            each.wait(110).expect(0)
        one_cluster(others)
        jobs = []
    decided = record_of(others) if any(each.cluster() for each in others) else None
    host.remove(f"{STATE}/filler")
    for each in (host.up(*flags), *jobs):
        each.wait(110).expect(0)
    all_ready(lab.hosts)
    record, master = one_cluster(lab.hosts)
    assert decided in (None, record), "its return changed the cluster"
    assert (master is host) == (number == 0 and not founded_anew), master.name


def test_the_founders_disk_is_full_after_its_vote(trial):
    full_at(trial, 0, VOTED, founded_anew=True)


def test_the_founders_disk_is_full_after_its_proposal(trial):
    full_at(trial, 0, PROPOSED)


def test_a_workers_disk_is_full_before_it_joins(trial):
    full_at(trial, 1, COMMITTED)


def cut_short(data):
    return data[:random.randrange(len(data))]


def altered(data):
    at = random.randrange(8 * len(data))
    return data[:at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1:]


def files_of(host):
    return [path for name in AGENTS_FILES if host.has(path := f"{STATE}/agent/{name}")]


def test_damaged_state_is_told_and_its_copy_brings_the_host_back(trial):
    """On the master and on a worker, each file cut short and altered."""
    lab = trial.lab(3)
    lab.form("--expect", "3")
    decided = one_cluster(lab.hosts)
    for host in (worker_of(lab.hosts), master_of(lab.hosts)):
        wait_until("the members are stored", lambda h=host: h.has(f"{STATE}/agent/members"), 20)
        end_agent(host)
        for path in files_of(host):
            good = host.path(path).read_bytes()
            for damage in (cut_short, altered):
                host.path(path).write_bytes(damage(good))
                says(host, re.escape(path), "restore|move")
                assert not host.agents(), "an agent runs on damaged state"
            host.path(path).write_bytes(good)
        host.kpeer("up", *FLAGS, seconds=110).expect(0)
    all_ready(lab.hosts)
    assert one_cluster(lab.hosts) == decided


def test_the_ways_out_of_damaged_state_work(trial):
    """What the hints name, on a worker: a file moved away, or the folder. On the master the latter is refused."""
    lab = trial.lab(3)
    lab.form("--expect", "3")
    decided, worker, master = one_cluster(lab.hosts)[0], worker_of(lab.hosts), master_of(lab.hosts)
    for host, name, hint in ((worker, "members", "move that file"), (worker, "cluster", "move that file"),
                             (master, "cluster", "move that file"), (worker, "promises", f"move {STATE}/agent away")):  # fmt: skip
        path = f"{STATE}/agent/{name}"
        wait_until("the file is there", lambda h=host, p=path: h.has(p), 20)
        end_agent(host)
        host.path(path).write_bytes(altered(host.path(path).read_bytes()))
        says(host, re.escape(path), hint)
        away = path if "file" in hint else f"{STATE}/agent"
        host.path(away).rename(host.path(f"{away}.old"))
        host.kpeer("up", *FLAGS, seconds=110).expect(0)
        assert one_cluster(lab.hosts)[0] == decided, "another record"
    end_agent(master)
    master.path(f"{STATE}/agent").rename(master.path(f"{STATE}/agent.old"))
    done = master.kpeer("up", "--timeout", "20s", seconds=40)
    done.expect(4, "the master .* has this host's address")
    master.kpeer("status").expect(1, "try .*put that back")
    assert master.ran("kubeadm reset") == 0 and master.has("/etc/kubernetes/admin.conf"), "the control plane is gone"
    end_agent(master)
    master.remove(f"{STATE}/agent")
    master.path(f"{STATE}/agent.old").rename(master.path(f"{STATE}/agent"))
    master.kpeer("up", *FLAGS, seconds=110).expect(0)
    one_cluster(lab.hosts)


def test_a_damaged_journal_is_told_and_can_be_moved_away(trial):
    lab = trial.lab(2)
    lab.form("--expect", "2")
    decided = one_cluster(lab.hosts)
    for host in lab.hosts:
        path = f"{STATE}/executor/journal"
        end_agent(host)
        host.path(path).write_bytes(altered(host.path(path).read_bytes()))
        host.kpeer("up", "--timeout", "3s").expect(4, re.escape(path), "move it away")
        host.kpeer("status").expect(1, f"error +{re.escape(path)}", "try +.*move it away")
        host.remove(path)
        host.kpeer("up", *FLAGS, seconds=110).expect(0)
    all_ready(lab.hosts)
    assert one_cluster(lab.hosts) == decided


def test_state_damaged_while_the_group_forms(trial):
    """A voter's promises are damaged in the middle: the others go on, and it comes back as another member."""
    lab = trial.lab(3)
    voter, others = lab.hosts[2], lab.hosts[:2]
    with Hold(voter) as hold:
        jobs = [hold.up(*FLAGS)] + [host.up(*FLAGS) for host in others]
        hold.reach(VOTING)
        end_agent(voter)
    path = f"{STATE}/agent/promises"
    voter.path(path).write_bytes(altered(voter.path(path).read_bytes()))
    says(voter, re.escape(path), f"move {STATE}/agent away")
    for job in jobs[1:]:
        job.wait(110).expect(0)
    decided = record_of(others)
    voter.path(f"{STATE}/agent").rename(voter.path(f"{STATE}/agent.old"))
    voter.kpeer("up", *FLAGS, seconds=110).expect(0)
    assert one_cluster(lab.hosts)[0] == decided
    assert voter.get(KEY) == others[0].get(KEY)
