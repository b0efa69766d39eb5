"""How a group sees itself: twenty hosts that wait for one more, and what is wrong between them."""

import re

from harness.agree import one_cluster
from harness.hold import compiled
from harness.lab import wait_until
from harness.run import alone

HOSTS = 20
CLOCK = "/etc/standin/clock.so"


def up(host, *flags, clock=0):
    """`kpeer up` that waits for a host that never comes; its clock may be off."""
    if not clock:
        return host.up("--expect", HOSTS + 1, *flags)
    host.path(CLOCK).parent.mkdir(parents=True, exist_ok=True)
    host.path(CLOCK).write_bytes(compiled("clock"))
    return host.start("env", f"LD_PRELOAD={CLOCK}", f"KPEER_TEST_CLOCK={clock}", "kpeer", "up", "--expect", HOSTS + 1,
                      *flags)


def all_settled(host, count=HOSTS):
    """Everybody is known, and has done what can be done before the group is whole."""
    done = host.kpeer("members", "-o", "json")
    members = done.json()["members"] if done.status == 0 else []
    return len(members) == count and all(each["state"] == "alive" and each["kubernetes"] for each in members)


def look(host):
    """The group's part of a preflight, and how long all of it took."""
    done = host.kpeer("preflight", "-o", "json")
    assert done.status in (0, 5), done
    return done.json()["group"], done


def faults(group):
    return {(fault["check"], tuple(sorted(each["address"] for each in fault["hosts"]))): fault
            for fault in group["faults"]}


def quiet(host):
    """Nothing of a survey is left: no listener on Kubernetes' ports."""
    lines = host.sh("cat /proc/net/tcp /proc/net/udp").out.splitlines()
    return not any(re.search(rf":{port:04X} 00000000:0000 (0A|07)", line)
                   for port in (6443, 10250, 2379, 2380, 8472) for line in lines)


def wait_for_no_step(host):
    wait_until("its steps are done", lambda: host.status()["steps_running"] == 0, 60)


@alone
def test_twenty_hosts_in_order_report_nothing(trial):
    lab = trial.lab(HOSTS)
    for host in lab.hosts:
        up(host)
    asker = lab.hosts[3]
    wait_until("all are there", lambda: all_settled(asker), 120)
    for host in lab.hosts:
        wait_for_no_step(host)
    group, done = look(asker)
    assert group["faults"] == [] and group["green"], done
    assert len(group["hosts"]) == HOSTS and all(each["answer"] == "full" for each in group["hosts"]), done
    assert group["took_ms"] < 10000, done
    trial.note(f"{HOSTS} hosts looked at each other in {group['took_ms']} ms")
    for host in lab.hosts:
        wait_until(f"{host.name} listens no more", lambda host=host: quiet(host), 5)
    asker.kpeer("preflight").expect(0, "nothing is wrong between them")


@alone
def test_each_seeded_fault_is_found_and_nothing_else(trial):
    lab = trial.lab(HOSTS)
    named, late, clash, blocked, narrow = (lab.hosts[i] for i in (4, 7, 9, 12, 15))
    clash.sh("ip addr add 10.244.7.1/24 dev eth0").expect(0)
    blocked.sh("nft add table inet block && "
               "nft add chain inet block input '{ type filter hook input priority 0; }' && "
               "nft add rule inet block input tcp dport 10250 drop").expect(0)
    narrow.sh("ip link set eth1 mtu 1400").expect(0)
    for host in lab.hosts:
        up(host, *(("--name", lab.hosts[0].name) if host is named else ()), clock=420 if host is late else 0)
    asker = lab.hosts[18]
    wait_until("all are there", lambda: all_settled(asker), 120)
    for host in lab.hosts:
        wait_for_no_step(host)
    group, done = look(asker)
    assert done.status == 5 and not group["green"], done
    found = faults(group)
    wanted = {("name", tuple(sorted((lab.hosts[0].address, named.address)))): "two hosts are called node1",
              ("clock", (late.address,)): r"the clock of \S+ \(\S+\) is 4(19|20) s ahead of",
              ("network", (clash.address,)): r"the pod range 10\.244\.0\.0/16 overlaps the network 10\.244\.7\.0/24",
              ("port", (blocked.address,)): r"nobody reaches TCP 10250 of .*: no answer",
              ("mtu", (narrow.address,)): "has an MTU of 1400, the others' is 1500"}
    assert set(found) == set(wanted), done
    for key, text in wanted.items():
        assert re.search(text, found[key]["text"]) and found[key]["next"], found[key]
    assert group["took_ms"] < 10000, done
    trial.note(f"five faults found in {group['took_ms']} ms")
    shown = asker.kpeer("preflight").expect(5, "5 faults", "two hosts are called node1", "TCP 10250")
    members = {each["address"] for each in asker.members()["members"]}
    assert members == {host.address for host in lab.hosts}, members
    assert shown.seconds < 40


def names_of(host):
    return sorted(each["name"] for each in host.members()["members"])


def test_clones_rename_themselves_and_leave_as_they_were(trial):
    """One machine-id, product UUID and name for all, and `hostnames: auto`: a cluster without anybody's help."""
    lab = trial.lab(3, cloned=True)
    before = {host.name: (host.run("hostname").out, host.get("/etc/hostname"), host.get("/etc/machine-id"))
              for host in lab.hosts}
    for host in lab.hosts:
        host.put("/etc/kpeer/kpeer.yaml", "hostnames: auto\n")
    lab.form("--expect", "3")
    base = before[lab.hosts[0].name][0].strip()
    wanted = {host.name: f"{base}-{host.address.rpartition('.')[2]}" for host in lab.hosts}
    for host in lab.hosts:
        assert host.run("hostname").out.strip() == wanted[host.name], host.run("hostname").out
        assert host.get("/etc/hostname").strip() == wanted[host.name]
        assert re.search(rf"^127\.0\.1\.1\s+{wanted[host.name]}$", host.get("/etc/hosts"), re.M), host.get("/etc/hosts")
        assert names_of(host) == sorted(wanted.values())
    assert len({host.get("/etc/machine-id") for host in lab.hosts}) == 3
    record, master = one_cluster(lab.hosts)
    worker = next(host for host in lab.hosts if host is not master)
    assert record["founder_name"] == wanted[master.name]
    worker.signal_agent(15)  # a restart finds the same peer
    wait_until("the agent ended", lambda: not worker.agents(), 20)
    worker.kpeer("up", "--timeout", "180s", seconds=70).expect(0)
    assert names_of(master) == sorted(wanted.values())
    worker.kpeer("leave", seconds=90).expect(0)
    after = (worker.run("hostname").out, worker.get("/etc/hostname"), worker.get("/etc/machine-id"))
    assert after == before[worker.name], after


def test_a_shared_name_is_mended_on_request(trial):
    lab = trial.lab(2, cloned=True)
    jobs = [host.up("--expect", "2", "--timeout", "360s") for host in lab.hosts]
    first, second = lab.hosts
    wait_until("the shared name is told", lambda: first.agent() and "are called" in first.kpeer("status").text, 30)
    wait_until("the shared name is told", lambda: second.agent() and "are called" in second.kpeer("status").text, 30)
    assert {fault[0] for fault in faults(look(first)[0])} >= {"name", "machine-id"}
    done = second.kpeer("preflight", "--fix", seconds=120)
    assert done.status in (0, 5) and "a name and a machine-id of its own" in done.text, done
    for job in jobs:
        job.wait(130).expect(0)
    base = first.run("hostname").out.strip()
    assert second.run("hostname").out.strip() == f"{base}-{second.address.rpartition('.')[2]}"
    assert names_of(first) == names_of(second) == sorted([base, second.run("hostname").out.strip()])
