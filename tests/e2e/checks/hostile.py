"""Whoever has no key, and means harm: floods, recorded traffic, connections that say nothing, bytes that claim much."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading

from harness.agree import all_ready, one_cluster
from harness.lab import wait_until
from harness.run import alone

HARNESS = pathlib.Path(__file__).resolve().parents[1] / "harness"
BRIDGE = "h0"
RSS_MB = 96  # an agent's memory, whatever strangers do
DESCRIPTORS = 4096  # an agent's: strangers may hold 128, and what comes at once until the gate is shut gets in as well

_guard = threading.Lock()
_flood = []


def flood_program():
    """harness/flood.c, compiled once a run."""
    with _guard:
        if not _flood:
            folder = tempfile.TemporaryDirectory(prefix="kpeer-e2e-")
            subprocess.run(["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-o", f"{folder.name}/flood",
                            HARNESS / "flood.c"], check=True)
            _flood.append(folder)
        return f"{_flood[0].name}/flood"


class Stranger:
    """Somebody on the hosts' network, in the switch's namespace, with addresses of its own."""

    def __init__(self, lab):
        self.lab, self.space, self.running = lab, f"lab.{lab.name}.switch", []

    def __enter__(self):
        for last in range(100, 150):
            self.run("ip", "addr", "add", f"192.168.56.{last}/24", "dev", BRIDGE)
        return self

    def __exit__(self, *_):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()

    def run(self, *words):
        done = subprocess.run(["ip", "netns", "exec", self.space, *map(str, words)], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
        return done.stdout.strip()

    def start(self, *words):
        process = subprocess.Popen(["ip", "netns", "exec", self.space, *map(str, words)], stdout=subprocess.PIPE, text=True)
        self.running.append(process)
        return process

    def flood(self, *words):
        return self.start(flood_program(), *words)

    def tape(self, *words):
        return (sys.executable, "-B", HARNESS / "tape.py", *words)


class Watch:
    """What the agents cost: their largest memory and number of descriptors, and their processor time."""

    def __init__(self, hosts):
        self.hosts, self.most_mb, self.most_fds, self.ticks = hosts, 0, 0, {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look_on, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def look_on(self):
        while not self.over.wait(0.2):
            for host in self.hosts:
                with contextlib.suppress(OSError, IndexError, AttributeError):
                    self.look(host.agent())

    def look(self, pid):
        if not pid:
            return
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        self.most_mb = max(self.most_mb, int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024)
        self.most_fds = max(self.most_fds, len(os.listdir(f"/proc/{pid}/fd")))
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        self.ticks[pid] = int(fields[11]) + int(fields[12])

    def told(self):
        seconds = " + ".join(f"{ticks / os.sysconf('SC_CLK_TCK'):.1f}" for ticks in self.ticks.values())
        return f"agents: {self.most_mb} MB and {self.most_fds} descriptors at most, {seconds} s of processor time"

    def bounded(self):
        assert self.most_mb <= RSS_MB, self.told()
        assert self.most_fds <= DESCRIPTORS, self.told()


def group_of(host):
    done = host.kpeer("key", "show", "-o", "json").expect(0)
    return done.json()["group"]


def heard(host):
    status = host.status()
    return sum(status["heard"].values()) + sum(status["dropped"].values())


# --- floods -------------------------------------------------------------------------------------------------------------


@alone
def test_a_group_forms_under_a_flood(trial):
    """Forged beacons of the very group from forged addresses, members' among them, and key exchanges without a key."""
    trial.plain_build()
    lab = trial.lab(3)
    seconds = 60
    group = group_of(lab.hosts[0])
    with Stranger(lab) as stranger, Watch(lab.hosts) as watch:
        stormed = [stranger.flood("udp", BRIDGE, group, 100000, seconds),
                   stranger.flood("knock", 20000, seconds, 50, *(host.address for host in lab.hosts))]
        jobs = lab.form("--expect", "3", seconds=120)
        rates = [process.communicate(timeout=seconds + 30)[0].strip() for process in stormed]
        trial.note(f"formed in {max(job.seconds for job in jobs):.1f} s; {'; '.join(rates)} in {seconds} s")
        all_ready(lab.hosts)
        one_cluster(lab.hosts)
        wait_until("strangers' connections are closed", lambda: all(
            len(os.listdir(f"/proc/{host.agent()}/fd")) < 100 for host in lab.hosts), 30)
    trial.note(watch.told())
    trial.note(str({host.name: host.status()["heard"] for host in lab.hosts}))
    watch.bounded()


@alone
def test_connections_that_say_nothing(trial):
    """Thousands that are held open with a byte a second or none: members find each other, and the rest is bounded."""
    trial.plain_build()
    lab = trial.lab(3)
    with Stranger(lab) as stranger, Watch(lab.hosts) as watch:
        held = stranger.flood("slow", 6000, 25, 50, *(host.address for host in lab.hosts))
        jobs = lab.form("--expect", "3", seconds=120)
        trial.note(f"formed in {max(job.seconds for job in jobs):.1f} s; {held.communicate(timeout=60)[0].strip()}")
        one_cluster(lab.hosts)
    trial.note(watch.told())
    watch.bounded()
    assert any(host.status()["heard"].get("shut-out") for host in lab.hosts), "nobody was turned away"


# --- recorded traffic -----------------------------------------------------------------------------------------------------


def picture(lab):
    """What must not change: who is there and in what state, the record, the phases."""
    def one(host):
        members = host.members()
        return (host.phase(), json.dumps(members["cluster"], sort_keys=True), sorted(
            (m["id"], m["name"], m["address"], m["role"], m["state"], m["phase"]) for m in members["members"]))
    return [one(host) for host in lab.hosts]


def restart(lab):
    for host in lab.hosts:
        host.signal_agent(signal.SIGTERM)
        wait_until(f"{host.name}: its agent has ended", lambda h=host: not h.agents(), 20)
    for job in [host.up("--timeout", "270s") for host in lab.hosts]:
        job.wait(100).expect(0)
    all_ready(lab.hosts)


def play(stranger, path, lab):
    before, drops = picture(lab), [heard(host) for host in lab.hosts]
    count, streams, answered = map(int, stranger.run(*stranger.tape("play", path, BRIDGE)).split())
    assert count > 20 and streams >= 3, (count, streams)  # one for each pair of hosts
    wait_until("what was played is counted", lambda: all(
        heard(host) > was for host, was in zip(lab.hosts, drops)), 20)
    assert picture(lab) == before
    changed = {"member-suspect", "member-failed", "member-left", "elected", "init-started", "record-committed", "conflict"}
    return f"{count} datagrams, {streams} streams, {answered} bytes answered", changed


def quiet(host, since, changed):
    events = [event["event"] for event in host.events()[since:]]
    assert not changed & set(events), f"{host.name}: {events}"


def test_recorded_traffic_changes_nothing(trial):
    """A whole formation, datagrams and streams, played again: to the same group, to it after a restart, to another one."""
    lab, other = trial.lab(3), trial.lab(3)
    with tempfile.TemporaryDirectory(prefix="kpeer-e2e-") as folder, Stranger(lab) as here, Stranger(other) as there:
        path = f"{folder}/tape"
        recorder = here.start(*here.tape("record", path))
        recorder.stdout.readline()
        lab.form("--expect", "3")
        recorder.terminate()
        recorder.wait(10)
        other.form("--expect", "3")
        one_cluster(lab.hosts), one_cluster(other.hosts)
        for name, stranger, hosts, before in (("same group", here, lab, None), ("after a restart", here, lab, restart),
                                              ("another group", there, other, None)):
            if before:
                before(hosts)
            since = [len(host.events()) for host in hosts.hosts]
            told, changed = play(stranger, path, hosts)
            trial.note(f"{name}: {told}")
            for host, number in zip(hosts.hosts, since):
                quiet(host, number, changed)
            one_cluster(hosts.hosts)


# --- bytes that claim much ------------------------------------------------------------------------------------------------

BOMBS = (b"\xdd\x0f\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdf\x0f\xff\xff\xff", b"\x91" * 4000,
         b"\xdc\xff\xff" + b"\xdd\x0f\xff\xff\xff" * 700, b"\x85\xa3cmd" + b"\x81" * 3000, b"")


def test_bytes_that_claim_much(trial):
    """At the local socket: five bytes that tell of 268 million entries, nesting without end, lengths of 4 GiB."""
    host = trial.lab(1).hosts[0]
    job = host.up()
    wait_until("the agent answers", lambda: host.kpeer("status").status in (0, 1), 20)
    with Watch([host]) as watch:
        for bomb in BOMBS:
            for length in (len(bomb), 0, 0xFFFFFFFF, 0x7FFFFFFF, len(bomb) + 1):
                with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                    link.settimeout(5 if length == len(bomb) else 0.05)
                    link.connect(str(host.path("/run/kpeer/kpeer.sock")))
                    link.sendall(struct.pack(">I", length) + bomb)
                    assert link.recv(1) == b"", f"an answer to {bomb[:8]!r}"
        host.kpeer("status").expect(1)
        wait_until("it was looked at", lambda: watch.most_mb > 0, 10)
    trial.note(watch.told())
    assert watch.most_mb <= 32, watch.told()
    assert job.running()
