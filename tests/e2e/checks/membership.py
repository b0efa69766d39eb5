"""Coming later, leaving, coming back, and a power cut of the whole group."""

import os
import re
import signal

from harness.agree import all_ready, master_of, nodes_of, one_cluster, record_of, worker_of
from harness.hold import unpack
from harness.lab import STATE, wait_until

JOURNAL_HEAD = len("kpeer-journal 1\n") + 32  # then comes the content

# What is no trace of kpeer's: the stand-ins' own notes, and what the test itself puts there.
NOT_KPEERS = re.compile(r"/(etc|var/lib|var/log|run|tmp)/standin.*|/var/log/standin.*|.*/__pycache__(/.*)?")


def disk(host):
    """What was written on a host's disk: path, kind and mode, size, contents of small files."""
    found, top = {}, str(host.disk / "upper")
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            inside, info = path.removeprefix(top), os.lstat(path)
            if NOT_KPEERS.fullmatch(inside):
                continue
            whole = name in files and os.path.isfile(path) and not os.path.islink(path)
            found[inside] = (oct(info.st_mode), open(path, "rb").read() if whole else None)
    return found


def system(host):
    """What the kernel was told: links, addresses and routes, rules of the packet filter, mounts, settings."""
    lines = host.sh("ip -o link | sed 's/^[0-9]*: //; s/@.*//; s/: .*//'; ip -o -4 addr | awk '{print $2, $4}'; ip route; "
                    "iptables-save | grep -v '^#' | sed 's/\\[[0-9:]*\\]//'; "
                    "sysctl -e net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables; cut -d' ' -f2,3 /proc/mounts")  # fmt: skip
    return set(lines.expect(0).out.splitlines())


def compare(host, before, after):
    """Every file is as it was. Folders may have stayed (kubeadm reset leaves some), and kpeer's own state folder."""
    gone = {path for path in before if path not in after}
    changed = {path for path in before if path in after and before[path] != after[path]}
    new = {path for path, (mode, _) in after.items() if path not in before and not mode.startswith("0o4")
           and not path.startswith("/var/lib/kpeer/")}  # fmt: skip
    assert not gone and not changed and not new, (
        f"{host.name} is not as it was: gone {sorted(gone)}, changed {sorted(changed)}, new {sorted(new)}"
    )


def test_a_fourth_host_joins_and_a_worker_leaves_and_returns(trial):
    lab = trial.lab(3)
    lab.form("--expect", "3")
    record = record_of(lab.hosts)
    late = lab.add()
    files, kernel = disk(late), system(late)
    done = late.kpeer("up", "--timeout", "270s", seconds=100).expect(0, "worker")
    trial.note(f"the fourth host was ready after {done.seconds:.1f} s")
    assert one_cluster(lab.hosts)[0] == record, "another record"
    master = master_of(lab.hosts)

    left = late.kpeer("leave", seconds=100).expect(0, "left the group")
    trial.note(f"leaving took {left.seconds:.1f} s")
    wait_until("its Node is gone", lambda: late.name not in nodes_of(master), 10)
    assert not late.agents(), "its agent still runs"
    for path in ("/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/config.yaml", "/run/kpeer/kpeer.sock", "/var/lib/cni",
                 "/run/flannel"):  # fmt: skip
        assert not late.has(path), f"{path} is left"
    assert not late.running("kubelet"), "the kubelet still runs"
    assert "cni0" not in late.run("ip", "-o", "link").out, "cni0 is left"
    compare(late, files, disk(late))
    assert system(late) == kernel, f"{late.name}: {sorted(system(late) ^ kernel)}"
    others = [host for host in lab.hosts if host is not late]
    for host in others:
        member = next(m for m in host.members()["members"] if m["name"] == late.name)
        assert member["state"] == "left", member
        host.kpeer("status").expect(0)
    one_cluster(others)
    assert "member-left" in [event["event"] for event in others[0].events()]

    back = late.kpeer("up", "--timeout", "270s", seconds=100).expect(0, "worker")
    trial.note(f"it was back after {back.seconds:.1f} s")
    assert one_cluster(lab.hosts)[0] == record, "another record after it came back"


def test_the_only_control_plane_does_not_leave_unforced(trial):
    lab = trial.lab(2)
    lab.form("--expect", "2")
    master = master_of(lab.hosts)
    master.kpeer("leave", seconds=30).expect(6, "--force|control plane")
    error = master.kpeer("leave", "-o", "json", seconds=30).expect(6).error()
    assert error["message"] and error["hint"], error
    one_cluster(lab.hosts)
    all_ready(lab.hosts, 10)


def test_leaving_spares_a_cluster_that_others_made(trial):
    """What is there of another cluster makes `up` refuse; the `leave` that follows must not end that cluster."""
    lab = trial.lab(2)
    host = lab.hosts[0]
    files = {"/etc/kubernetes/kubelet.conf": "kind: Config\n", "/etc/kubernetes/manifests/etcd.yaml": "kind: Pod\n",
             "/var/lib/etcd/member/data": "of others\n"}
    for path, text in files.items():
        host.put(path, text)
    host.up("--timeout", "40s").wait(60).expect(5, "cluster")
    host.kpeer("leave").expect(0)
    for path, text in files.items():
        assert host.get(path) == text, path
    assert not host.ran("kubeadm reset")


# systemd for kpeer's unit alone: it starts what the unit says, and knows whether it would at the next boot.
SYSTEMD = """#!/bin/sh
unit=/etc/systemd/system/kpeer.service on=/etc/systemd/system/multi-user.target.wants/kpeer.service
case "$*" in
"enable --quiet kpeer.service") mkdir -p "${on%/*}" && ln -sf "$unit" "$on" ;;
"disable --now kpeer.service") rm -f "$on" ;; # the agent has stopped by itself
"is-enabled --quiet kpeer.service") test -L "$on" ;;
"is-active --quiet kpeer.service") readlink "/proc/$(cat /run/kpeer.pid)/exe" >/dev/null ;;
"start kpeer.service")
    eval "setsid $(sed -n 's/^ExecStart=//p' "$unit") >/var/log/kpeer.log 2>&1 &"
    echo $! >/run/kpeer.pid
    looks=0
    until test -S /run/kpeer/kpeer.sock || test -S /run/other/kpeer.sock; do
        [ $((looks += 1)) -lt 900 ] || exit 1
        sleep 0.1
    done ;;
daemon-reload) ;;
*) exec /usr/bin/systemctl "$@" ;;
esac
"""
UNIT, ENABLED = "/etc/systemd/system/kpeer.service", "/etc/systemd/system/multi-user.target.wants/kpeer.service"


def break_off_a_leave(host):
    """Ends the command while the agent resets the host, which takes a while."""
    host.orders("kubeadm-reset start take=10 once")
    job = host.start("kpeer", "leave")
    wait_until("it resets this host", lambda: host.running("kubeadm"), 60)
    host.signal(next(pid for pid in host.pids() if host.arguments(pid)[1:2] == ["leave"]), signal.SIGINT)
    job.wait(20).expect(130, "goes on leaving", "sudo kpeer leave")
    assert host.agent(), "the agent ended with the command"


def give_systemd(host):
    host.put("/usr/local/bin/kpeer-systemd", SYSTEMD, 0o755)
    host.put("/etc/kpeer/kpeer.yaml", "tools:\n  systemctl: /usr/local/bin/kpeer-systemd\n")
    host.path("/run/systemd/system").mkdir(parents=True)


def test_a_leave_that_asks_in_the_wrong_place_takes_nothing_away(trial):
    """The agent has other folders, and the unit that runs it is the same: it is no unit of one that has left."""
    host = trial.lab(1).hosts[0]
    give_systemd(host)
    folders = ("--state-dir", "/var/lib/other", "--run-dir", "/run/other")
    host.kpeer("up", "--expect", "1", "--interface", "eth1", "--timeout", "180s", *folders, seconds=100).expect(0)
    for _ in ("never used", "used once"):
        host.kpeer("leave").expect(3, "no agent", "--state-dir")
        assert host.has(UNIT) and host.has(ENABLED) and host.agents()
        host.path("/var/lib/kpeer/agent").mkdir(parents=True, exist_ok=True)
    host.kpeer("leave", "--force", *folders, seconds=100).expect(0, "left the group")
    assert not host.has(UNIT) and not host.has(ENABLED) and not host.agents()


def test_a_leave_that_was_broken_off_is_ended_by_another_one(trial):
    lab = trial.lab(2)
    for host in lab.hosts:
        give_systemd(host)
    lab.form("--expect", "2")
    worker = worker_of(lab.hosts)
    assert worker.has(UNIT) and worker.has(ENABLED)
    break_off_a_leave(worker)
    worker.kpeer("leave", seconds=100).expect(0, "left the group")
    assert not worker.has(UNIT) and not worker.has(ENABLED) and not worker.agents()

    worker.kpeer("up", "--expect", "2", "--timeout", "180s", seconds=70).expect(0)
    assert worker.has(UNIT) and worker.has(ENABLED)
    break_off_a_leave(worker)
    wait_until("the agent has left and stopped", lambda: not worker.agents(), 90)
    assert worker.has(UNIT) and worker.has(ENABLED), "who took the unit away?"
    worker.kpeer("leave").expect(0, "left the group")
    assert not worker.has(UNIT) and not worker.has(ENABLED)
    worker.kpeer("leave").expect(3, "no agent")


def test_a_forced_leave_works_without_a_control_plane(trial):
    lab = trial.lab(2)
    lab.form("--expect", "2")
    worker, master = worker_of(lab.hosts), master_of(lab.hosts)
    lab.tool("stop", master.name)
    worker.kpeer("leave", "--force", seconds=90).expect(0, "left the group")
    assert not worker.has("/etc/kubernetes/kubelet.conf") and not worker.agents()


def test_power_cut_of_all_hosts(trial):
    """Disks stay, everything else is gone: no second election, the same record, all ready."""
    lab = trial.lab(3)
    lab.form("--expect", "3")
    record, terms = record_of(lab.hosts), terms_of(lab.hosts)
    lab.power_off()
    lab.power_on()
    done = lab.form("--expect", "3")
    trial.note(f"all ready {max(each.seconds for each in done):.1f} s after power came back")
    assert one_cluster(lab.hosts)[0] == record, "another record"
    check_no_election(lab.hosts, terms)
    assert sum(host.ran("kubeadm init") for host in lab.hosts) == 1
    assert sum(host.ran("kubeadm join") for host in lab.hosts) == 2


def steps_done(host):
    """The steps in the executor's journal, which only a step that changes the host adds to."""
    data = host.path(f"{STATE}/executor/journal").read_bytes()
    return unpack(data[JOURNAL_HEAD:])[0][7]


def elections_of(host):
    log = host.get(f"{STATE}/agent.log")
    return [log.count(f" {kind}") for kind in ("election-started", "elected", "init-started")]


def test_ten_power_cuts_of_all_hosts(trial):
    """Ten times off and on: no election, nothing is done again, and all are there."""
    lab = trial.lab(3)
    lab.form("--expect", "3")
    record, journals = record_of(lab.hosts), {host.name: steps_done(host) for host in lab.hosts}
    elections, terms, slowest = {host.name: elections_of(host) for host in lab.hosts}, terms_of(lab.hosts), 0
    for _ in range(10):
        lab.power_off()
        lab.power_on()
        slowest = max(slowest, *(each.seconds for each in lab.form("--expect", "3")))
        assert record_of(lab.hosts) == record, "another record"
        check_no_election(lab.hosts, terms)
        for host in lab.hosts:
            assert {m["name"]: m["state"] for m in host.members()["members"]} == dict.fromkeys(journals, "alive"), host.name
    assert one_cluster(lab.hosts)[0] == record
    for host in lab.hosts:
        assert steps_done(host) == journals[host.name], f"{host.name}: a step was run again: {steps_done(host)}"
        assert host.get(f"{STATE}/agent.log").count("agent-started") == 11
        assert elections_of(host) == elections[host.name], f"{host.name} elected again"
    assert sum(host.ran("kubeadm init") for host in lab.hosts) == 1
    assert sum(host.ran("kubeadm join") for host in lab.hosts) == 2
    trial.note(f"ten times; all ready at the latest {slowest:.1f} s after power came back")


def test_agents_started_at_boot_bring_all_back(trial):
    lab = trial.lab(3)
    lab.form("--expect", "3")
    record, terms = record_of(lab.hosts), terms_of(lab.hosts)
    for host in lab.hosts:
        host.put("/etc/rc.local", host.get("/etc/rc.local") + "kpeer agent --expect 3 >>/var/lib/kpeer/agent.log 2>&1 &\n",
                 0o755)  # fmt: skip
    lab.power_off()
    lab.power_on()
    wait_until("all agents run", lambda: all(host.agent() for host in lab.hosts), 30)
    all_ready(lab.hosts)
    assert one_cluster(lab.hosts)[0] == record, "another record"
    check_no_election(lab.hosts, terms)


def terms_of(hosts):
    """The term of each host, which a busy machine may have moved past that of the record before it was committed."""
    return {host.name: host.status()["election"]["term"] for host in hosts}


def check_no_election(hosts, terms):
    for host in hosts:
        kinds = {event["event"] for event in host.events()}
        assert not kinds & {"election-started", "elected", "init-started"}, f"{host.name} elected again: {kinds}"
        assert host.status()["election"]["term"] == terms[host.name], host.status()["election"]


def test_a_killed_agent_is_noticed_and_comes_back(trial):
    lab = trial.lab(3)
    lab.form("--expect", "3")
    record = record_of(lab.hosts)
    worker, master = worker_of(lab.hosts), master_of(lab.hosts)
    worker.signal_agent(9)
    wait_until("the agent and its executor are gone", lambda: not worker.agents(), 10)

    def state():
        return next(m["state"] for m in master.members()["members"] if m["name"] == worker.name)

    wait_until("the others notice", lambda: state() in ("suspect", "failed"), 30)
    wait_until("they call it failed", lambda: state() == "failed", 60)
    kinds = {event["event"] for event in master.events() if event.get("name") == worker.name}
    assert "member-failed" in kinds, kinds
    worker.kpeer("up", "--timeout", "180s", seconds=70).expect(0)
    wait_until("the others hear it again", lambda: state() == "alive", 20)
    kinds = {event["event"] for event in master.events() if event.get("name") == worker.name}
    assert "member-alive" in kinds, kinds
    assert one_cluster(lab.hosts)[0] == record


def test_a_frozen_host_becomes_suspect_and_is_cleared(trial):
    lab = trial.lab(3)
    lab.form("--expect", "3")
    record = record_of(lab.hosts)
    worker, master = worker_of(lab.hosts), master_of(lab.hosts)
    lab.tool("pause", worker.name)

    def state():
        return next(m["state"] for m in master.members()["members"] if m["name"] == worker.name)

    try:
        wait_until("it is called failed", lambda: state() == "failed", 60)  # that it was suspect before is in the events
    finally:
        lab.tool("resume", worker.name)
    wait_until("it is alive again", lambda: state() == "alive", 20)
    told = [event["event"] for event in master.events() if event.get("name") == worker.name]
    order = [told.index(kind) for kind in ("member-discovered", "member-suspect", "member-failed")]
    assert order == sorted(order) and "member-alive" in told[order[-1]:], told
    all_ready(lab.hosts, 20)
    assert record_of(lab.hosts) == record
    worker.kpeer("status").expect(0)


def test_a_wiped_host_comes_back_under_its_name(trial):
    """Its disk is empty but for the key; the Node of its former life is cleared first."""
    lab = trial.lab(3)
    lab.form("--expect", "3")
    record, worker = record_of(lab.hosts), worker_of(lab.hosts)
    lab.tool("wipe", worker.name)
    lab.tool("start", worker.name)
    lab.refresh()
    lab.furnish(worker)
    worker.kpeer("up", "--expect", "3", "--timeout", "270s", seconds=100).expect(0, "worker")
    found, _ = one_cluster(lab.hosts)
    assert found == record, "another record"
