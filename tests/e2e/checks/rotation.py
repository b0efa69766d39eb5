"""The group's key is rotated, and hosts are evicted, while the group lives: nobody is lost, the old key is good for nothing."""

from harness.agree import all_ready, master_of, nodes_of, one_cluster
from harness.lab import KEY, wait_until
from harness.run import alone


def living(hosts, away):
    return [host for host in hosts if host is not away]


def states(host):
    return {member["name"]: member["state"] for member in host.members()["members"]}


def has_new_key(hosts, old):
    """They hold one key that is not the old one, each closed to others."""
    texts = {host.get(KEY).strip() for host in hosts}
    return len(texts) == 1 and old not in texts and all(host.path(KEY).stat().st_mode & 0o7777 == 0o600 for host in hosts)


def worker_of(hosts):
    return next(host for host in hosts if host is not master_of(hosts))


def rotate_with_one_away(trial, count, seconds):
    lab = trial.lab(count)
    hosts = list(lab.hosts)
    lab.form("--expect", str(count), seconds=seconds)
    record, master = one_cluster(hosts)
    away = worker_of(hosts)
    here = living(hosts, away)
    away.signal_agent(15)
    wait_until("its agent has ended", lambda: not away.agents(), 20)
    wait_until("it is missed", lambda: states(master)[away.name] == "failed", 60)
    done = master.kpeer("key", "rotate", seconds=100).expect(0, f"key 1: {count - 2} other members have it", "1 are away")
    trial.note(f"{count} hosts, one away: {done.seconds:.1f} s until the old key is refused")
    wait_until("all key files hold the new key", lambda: has_new_key(here, lab.key), 30)
    assert away.get(KEY).strip() == lab.key
    for host in here:
        lost = [event for event in host.events() if event["event"] in ("member-suspect", "member-failed") and event.get("name") != away.name]
        after = [event for event in host.events() if event["event"] == "key-rotated"]
        assert after and not [event for event in lost if event["t"] >= after[0]["t"]], f"{host.name} lost somebody: {lost}"
        wait_until(f"{host.name} refuses the old key", lambda h=host: any(e["event"] == "key-closed" for e in h.events()), 70)
        assert {name: state for name, state in states(host).items() if name != away.name} == {h.name: "alive" for h in here}
    stranger = lab.add()  # a new host with the old key
    stranger.up("--timeout", "12s").wait(40).expect(4, "not ready after 12 s")
    assert [member["name"] for member in stranger.members()["members"]] == [stranger.name]
    assert not any(stranger.name in states(host) for host in here), "the old key still lets a stranger in"
    stranger.signal_agent(15)
    away.kpeer("up", "--timeout", "180s", seconds=70).expect(0)
    wait_until("the one that was away has the new key in its file", lambda: has_new_key(hosts, lab.key), 30)
    for host in hosts:
        wait_until(f"{host.name} sees all", lambda h=host: states(h) == {each.name: "alive" for each in hosts}, 30)
    all_ready(hosts)
    assert one_cluster(hosts)[0] == record
    return lab, hosts, record


def test_rotation_with_one_host_away(trial):
    lab, hosts, record = rotate_with_one_away(trial, 4, 120)
    worker = worker_of(hosts)
    worker.kpeer("key", "rotate").expect(6, "only the master", f"on {master_of(hosts).name}")
    lab.power_off()  # after a power cut of all, with the files and what the agents keep
    lab.power_on()
    hosts = lab.hosts[:4]
    lab.form(hosts=hosts)
    assert one_cluster(hosts)[0] == record
    for host in hosts:
        assert states(host) == {each.name: "alive" for each in hosts}


@alone
def test_rotation_of_twenty_hosts_with_one_away(trial):
    rotate_with_one_away(trial, 20, 300)


def test_an_evicted_host_is_refused_by_all_and_knows_it(trial):
    lab = trial.lab(4)
    lab.form("--expect", "4")
    record, master = one_cluster(lab.hosts)
    bad = worker_of(lab.hosts)
    here = living(lab.hosts, bad)
    master.kpeer("evict", master.name).expect(6, "is the master", "kpeer leave --force")
    master.kpeer("evict", "nobody").expect(1, "no such member")
    worker_of(here).kpeer("evict", bad.name).expect(6, "only the master")
    master.kpeer("evict", bad.name, seconds=100).expect(0, "key 1: 2 other members have it")
    wait_until("all key files hold the new key", lambda: has_new_key(here, lab.key), 30)
    wait_until("it knows", lambda: bad.kpeer("status").status == 1, 30)  # it is told when it next calls on somebody
    bad.kpeer("status").expect(1, "was evicted")
    wait_until("its Node is gone", lambda: bad.name not in nodes_of(master), 60)
    for host in here:
        wait_until(f"{host.name} calls it gone", lambda h=host: states(h)[bad.name] == "left", 30)
        assert any(event["event"] == "evicted" and event["name"] == bad.name for event in host.events())
    assert bad.get(KEY).strip() == lab.key
    bad.put(KEY, here[0].get(KEY), 0o600)  # the new key does not help that identity
    bad.signal_agent(15)
    wait_until("its agent has ended", lambda: not bad.agents(), 20)
    bad.up("--timeout", "8s").wait(30)
    assert all(states(host)[bad.name] == "left" for host in here)
    bad.kpeer("leave", "--force", seconds=60).expect(0)
    bad.kpeer("up", "--timeout", "180s", seconds=70).expect(0)  # as a new member, which somebody gave the new key
    assert one_cluster(lab.hosts)[0] == record
