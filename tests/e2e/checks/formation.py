"""Hosts become one cluster: together, spread in time, through loss, and not before enough of them are there."""

import random
import re
import statistics
import threading
import time

from harness.agree import all_ready, master_of, one_cluster, record_of
from harness.lab import wait_until

MEMBER_FIELDS = {"id", "name", "address", "role", "state", "phase", "version", "self", "last_heard_ms"}
ROLES = {"master", "worker", "undecided"}
STATES = {"alive", "suspect", "failed", "left"}
PHASES = {"looking", "settling", "electing", "preparing", "initialising", "joining", "ready", "leaving", "failed"}
RECORD_FIELDS = {"id", "endpoint", "ca_hash", "kubernetes", "pod_cidr", "service_cidr", "founder", "term"}
MASTER_EVENTS = {"agent-started", "member-discovered", "address-proven", "election-started", "elected",
                 "init-started", "init-finished", "record-committed", "ticket-issued", "step-started",
                 "step-finished", "node-ready"}  # fmt: skip
WORKER_EVENTS = {"agent-started", "member-discovered", "address-proven", "elected", "record-committed",
                 "join-started", "join-finished", "step-started", "step-finished", "node-ready"}  # fmt: skip
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def test_three_hosts_form_one_cluster_and_tell_it_as_promised(trial):
    lab = trial.lab(3)
    done = lab.form("--expect", "3")
    for each in done:
        each.expect(0, "ready: node\\d is a (master|worker) of the cluster at 192.168.56")
    record, master = one_cluster(lab.hosts)
    assert RECORD_FIELDS <= record.keys(), f"fields are missing: {record}"
    assert re.fullmatch("sha256:[0-9a-f]{64}", record["ca_hash"]), record
    trial.note(f"all ready after {max(each.seconds for each in done):.1f} s")
    for host in lab.hosts:
        check_members(host, lab.hosts, master)
        check_status(host, record)
        check_events(host, MASTER_EVENTS if host is master else WORKER_EVENTS)
        check_files(host)
        host.kpeer("members").expect(0, "NAME .*STATE", *(each.name for each in lab.hosts))


def check_members(host, hosts, master):
    answer = host.members()
    assert {"group", "cluster", "members"} <= answer.keys(), answer.keys()
    by_name = {member["name"]: member for member in answer["members"]}
    assert by_name.keys() == {each.name for each in hosts}, by_name.keys()
    for each in hosts:
        member = by_name[each.name]
        assert MEMBER_FIELDS <= member.keys(), f"fields are missing: {member}"
        assert member["role"] == ("master" if each is master else "worker"), member
        assert member["state"] == "alive" and member["address"] == each.address, member
        assert member["self"] is (each is host) and isinstance(member["last_heard_ms"], int), member
        assert member["role"] in ROLES and member["state"] in STATES and member["phase"] in PHASES, member
    wait_until(f"{host.name} sees all ready",
               lambda: all(member["phase"] == "ready" for member in host.members()["members"]), 15)


def check_status(host, record):
    done = host.kpeer("status", "-o", "json").expect(0)
    status = done.json()
    assert status["phase"] == "ready" and status["healthy"] is True, status
    assert status["cluster"] == record and status["address"] == host.address, status
    assert status["interface"] == "eth1" and status["error"] is None, status
    host.kpeer("status").expect(0, "ready", host.address)


def check_events(host, kinds):
    events = host.events()
    for event in events:
        assert STAMP.fullmatch(event["t"]), event
        assert isinstance(event["mono_us"], int) and event["event"], event
        if event["event"].startswith("member-"):
            assert re.fullmatch("[0-9a-f]+", event["member"]) and "name" in event, event
    assert kinds <= {event["event"] for event in events}, f"{host.name}: never told: {kinds - {e['event'] for e in events}}"
    order = [event["mono_us"] for event in events]
    assert order == sorted(order), "events are not in the order of time"
    ready = [event for event in events if event["event"] == "node-ready"]
    assert len(ready) >= 1, ready
    recent = host.kpeer("events", "--since", "1ms", "--no-follow", "-o", "json").expect(0).out.splitlines()
    assert len(recent) < len(events), "--since 1ms replays everything"


def check_files(host):
    assert host.path("/etc/kpeer/group.key").stat().st_mode & 0o7777 == 0o600
    assert host.path("/var/lib/kpeer").is_dir() and host.path("/run/kpeer/kpeer.sock").is_socket()
    listening = host.run("ss", "-Hlnt").out
    assert ":7373 " in listening, listening
    assert ":7373 " in host.run("ss", "-Hlnu").out, "nobody listens on UDP 7373"


def test_yaml_output_is_the_same_as_json(trial):
    try:
        import yaml
    except ImportError:
        from harness.lab import Skip

        raise Skip("python3-yaml is not installed") from None
    lab = trial.lab(1)
    lab.form("--expect", "1", "--interface", "eth1")
    host = lab.hosts[0]
    passing = {"last_heard_ms", "phase_ms", "lease_left_ms", "dropped"}

    def still(value):
        if isinstance(value, dict):
            return {key: still(each) for key, each in value.items() if key not in passing}
        return [still(each) for each in value] if isinstance(value, list) else value

    for words in (["members"], ["status"], ["version"]):
        told = host.kpeer(*words, "-o", "yaml").expect(0)
        plain = host.kpeer(*words, "-o", "json").expect(0)
        assert still(yaml.safe_load(told.out)) == still(plain.json()), f"{words}: {told}{plain}"
    events = list(yaml.safe_load_all(host.kpeer("events", "--no-follow", "-o", "yaml").expect(0).out))
    assert "node-ready" in [event["event"] for event in events if event], events
    told = host.kpeer("status", "--run-dir", "/run/none", "-o", "yaml").expect(3)
    error = next(each for each in yaml.safe_load_all(told.err) if each)
    assert error["error"]["message"] and error["error"]["hint"], error


def test_without_a_number_the_hosts_settle(trial):
    lab = trial.lab(3)
    lab.form()
    one_cluster(lab.hosts)


def test_a_lone_host_founds_alone(trial):
    lab = trial.lab(1)
    lab.form("--expect", "1", "--interface", "eth1")
    one_cluster(lab.hosts)


def test_two_of_three_form_nothing_and_say_what_they_wait_for(trial):
    lab = trial.lab(3)
    early, late = lab.hosts[:2], lab.hosts[2]
    jobs = [host.up("--expect", "3", "--timeout", "300s") for host in early]
    for host in early:
        wait_until("both are heard", lambda h=host: h.phase() and len(h.members()["members"]) == 2, 20)
    wait_until("`up` says what it waits for", lambda: all(re.search("2 of 3|1 more|3 hosts", job.text()) for job in jobs), 15)
    time.sleep(8)  # longer than the settling: this is the time in which nothing may happen
    for host in early:
        assert host.cluster() is None and host.ran("kubeadm init") == 0, "two hosts formed a cluster of three"
        status = host.kpeer("status").expect(1, "waiting +.*3")
        assert host.status()["waiting"], status
    assert all(job.running() for job in jobs)
    jobs.append(late.up("--expect", "3", "--timeout", "300s"))
    for job in jobs:
        job.wait(110).expect(0)
    one_cluster(lab.hosts)


def test_a_quarter_of_all_packets_lost(trial):
    lab = trial.lab(3)
    lab.tool("loss", 25)
    done = lab.form("--expect", "3", seconds=240)
    trial.note(f"all ready after {max(each.seconds for each in done):.1f} s at 25 % loss")
    lab.tool("loss", 0)
    all_ready(lab.hosts)
    one_cluster(lab.hosts)


def test_a_pinned_role_decides_who_founds(trial):
    lab = trial.lab(3)
    roles = {"node1": "worker", "node2": "auto", "node3": "master"}
    jobs = [host.up("--expect", "3", "--role", roles[host.name], "--timeout", "270s") for host in lab.hosts]
    for job in jobs:
        job.wait(100).expect(0)
    record, _ = one_cluster(lab.hosts)
    assert record["founder_name"] == "node3", record


def test_workers_alone_found_nothing(trial):
    lab = trial.lab(2)
    jobs = [host.up("--expect", "2", "--role", "worker", "--timeout", "15s") for host in lab.hosts]
    for job in jobs:
        job.wait(40).expect(4, "worker|master")
    assert not any(host.cluster() or host.ran("kubeadm init") for host in lab.hosts)


def test_hosts_with_one_interface(trial):
    lab = trial.lab(2, nics=1)
    lab.form("--expect", "2")
    one_cluster(lab.hosts)


def test_hosts_with_three_interfaces(trial):
    """Two of them lead to the other hosts: all agree on one, whichever."""
    lab = trial.lab(3, nics=3)
    lab.form("--expect", "3", "--subnet", "192.168.56.0/24")
    one_cluster(lab.hosts)


def test_without_multicast_seeds_lead_to_the_others(trial):
    lab = trial.lab(3, no_multicast=True)
    lab.form("--expect", "3", "--seed", lab.hosts[0].address)
    one_cluster(lab.hosts)


def test_cloned_hosts_are_told_apart_and_refused(trial):
    """One machine-id, product UUID and name for all: said in words, and no cluster is built on it."""
    lab = trial.lab(2, cloned=True)
    jobs = [host.up("--expect", "2", "--timeout", "15s") for host in lab.hosts]
    done = [job.wait(40) for job in jobs]
    for each in done:
        assert each.status in (4, 5, 6), each
        assert re.search("called|machine-id|product UUID", each.text), each
    assert not any(host.ran("kubeadm init") for host in lab.hosts)


def test_formations_in_a_row_started_at_once(trial):
    repeat(trial, lambda _: [0, 0, 0])


def test_formations_in_a_row_started_over_five_seconds(trial):
    repeat(trial, lambda random_: [random_.uniform(0, 5) for _ in range(3)])


def repeat(trial, draw):
    """The same again and again, every round on new disks: one master and one record each time."""
    rounds, seed = 3 if trial.options.quick else 20, random.SystemRandom().randrange(1 << 32)
    random_, took, founders = random.Random(seed), [], []
    lab = trial.lab(3)
    for count in range(rounds):
        if count:
            lab.fresh()
        starts = draw(random_)
        try:
            took.append(one_round(lab, starts))
            record, master = one_cluster(lab.hosts)
        except AssertionError as error:
            raise AssertionError(f"round {count + 1} of {rounds}, starts {starts}: {error}") from None
        founders.append(master.name)
        assert record["founder_name"] == master.name
    trial.note(f"{rounds} rounds, from the last start to all ready: median {statistics.median(took):.1f} s, "
               f"worst {max(took):.1f} s; founders {' '.join(f'{name}:{founders.count(name)}' for name in sorted(set(founders)))}")


def one_round(lab, starts):
    """Starts each host at its time; the seconds from the last start until all were ready."""
    done, errors = {}, []

    def begin(host, after):
        time.sleep(after)
        try:
            done[host.name] = host.up("--expect", "3", "--timeout", "360s")
        except Exception as error:  # noqa: BLE001 - told below, in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=begin, args=pair) for pair in zip(lab.hosts, starts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    last = max(job.began for job in done.values())
    for job in done.values():
        job.wait(130).expect(0)
    return time.monotonic() - last


def test_only_who_may_be_console_gets_the_kubeconfig(trial):
    """By name, by id, or nobody; what is given and refused is told on the master."""
    lab = trial.lab(3)
    for host in lab.hosts:
        host.put("/etc/kpeer/kpeer.yaml", "roles: {console: [node1]}\n")
    lab.form("--expect", "3", "--role", "auto")
    record, master = one_cluster(lab.hosts)
    others = [host for host in lab.hosts if host is not master]
    for host in others:
        if host.name == "node1":
            host.kpeer("kubeconfig").expect(0, "kind: Config")
        else:
            host.kpeer("kubeconfig").expect(6, "to other hosts alone", "roles.console")
            host.kpeer("kubeconfig", "--install").expect(6)
            assert not host.has("/root/.kube/config")
    master.kpeer("kubeconfig").expect(0, "kind: Config")
    refused = [event["name"] for event in master.events() if event["event"] == "console-refused"]
    served = [event["name"] for event in master.events() if event["event"] == "console-served"]
    assert set(refused) == {host.name for host in others if host.name != "node1"}, refused
    assert set(served) == {host.name for host in others if host.name == "node1"}, served
    ids = {member["name"]: member["id"] for member in master.members()["members"]}
    for words, host, status in ((ids[others[0].name], others[0], 0), (ids[others[0].name], others[1], 6), ("none", others[0], 6)):
        master.put("/etc/kpeer/kpeer.yaml", f"roles: {{console: [{words}]}}\n")
        master.signal_agent(15)
        wait_until("its agent has ended", lambda: not master.agents(), 20)
        master.up()
        all_ready(lab.hosts)
        wait_until(f"{host.name} is answered as the master's file says", lambda h=host, s=status: h.kpeer("kubeconfig").status == s, 20)


def test_a_worker_gives_out_a_kubeconfig_that_works(trial):
    lab = trial.lab(2)
    lab.form("--expect", "2")
    master = master_of(lab.hosts)
    worker = next(host for host in lab.hosts if host is not master)
    text = worker.kpeer("kubeconfig").expect(0).out
    assert f"server: https://{master.address}:6443" in text, text
    worker.put("/root/admin.conf", text, 0o600)
    done = worker.run("kubectl", "--kubeconfig", "/root/admin.conf", "get", "nodes", "-o", "json").expect(0)
    assert {item["metadata"]["name"] for item in done.json()["items"]} == {host.name for host in lab.hosts}
    worker.kpeer("kubeconfig", "--install").expect(0, "/root/.kube/config")
    assert worker.path("/root/.kube/config").stat().st_mode & 0o7777 == 0o600
    worker.run("kubectl", "get", "nodes").expect(0, "node1", "node2")
    worker.kpeer("kubeconfig", "--install").expect(0)
    worker.put("/root/.kube/config", "another: one\n", 0o600)
    worker.kpeer("kubeconfig", "--install").expect(6, "--force")
    worker.kpeer("kubeconfig", "--install", "--force").expect(0)
    assert record_of(lab.hosts)["endpoint"].rpartition(":")[0] in worker.get("/root/.kube/config")
