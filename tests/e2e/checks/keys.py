"""Group keys: none, wrong, open to others; and hosts that cannot take part as they are."""

import pathlib
import re

from harness.agree import one_cluster
from harness.lab import KEY, new_key, wait_until


def test_the_first_host_without_a_key_makes_one_and_the_second_is_told_the_ways_in(trial):
    lab = trial.lab(2, keys=False)
    first, second = lab.hosts
    job = first.up("--expect", "2", "--timeout", "270s")
    wait_until("the first host makes a key", lambda: first.has(KEY), 20)
    wait_until("its agent runs", first.phase, 20)
    assert first.path(KEY).stat().st_mode & 0o7777 == 0o600
    wait_until("it says how others get it", lambda: "scp" in job.text() and KEY in job.text(), 5)
    refused = second.kpeer("up", seconds=30).expect(6, "no group key", f"scp .*{first.address}.*{KEY}", "--trust-subnet")
    assert "invit" in refused.text or "trust" in refused.text, refused
    assert not second.has(KEY) and not second.agents(), "the refused host made a key of its own"
    error = second.kpeer("up", "-o", "json", seconds=30).expect(6).error()
    assert first.address in error["message"] + error["hint"], error
    second.put(KEY, first.get(KEY), 0o600)
    second.kpeer("up", "--expect", "2", "--timeout", "270s", seconds=100).expect(0)
    job.wait(60).expect(0)
    one_cluster(lab.hosts)


def code_in(job):
    """The code that `kpeer up --invite` shows."""
    found = wait_until("a code is shown", lambda: re.search(r"kpeer up --code (\S+)", job.text()), 30)
    return found.group(1)


def marks(host, code):
    """Files of the host that hold the code, and the same without its dashes."""
    words = [code, code.replace("-", "")]
    places = [place for top in (host.disk / "upper", host.path("/run")) for place in top.rglob("*") if place.is_file()]
    return [place for place in places if any(word.encode() in place.read_bytes() for word in words)]


def test_a_code_brings_the_key_to_one_host(trial):
    """The inviting host makes the group's key; a guest takes it by the code, and no second one does."""
    lab = trial.lab(3, keys=False)
    first, guest, late = lab.hosts
    guest.kpeer("up", "--code", "012-345-67", seconds=10).expect(2, "too short", "--invite")
    inviting = first.up("--invite", "--expect", "3", "--timeout", "360s")
    code = code_in(inviting)
    slip = ("1" if code[0] != "1" else "2") + code[1:]
    guest.kpeer("up", "--code", slip, seconds=10).expect(2, "mistyped")
    guest.kpeer("up", "--code", code, "--invite", seconds=10).expect(2, "goes without")
    guest.kpeer("up", "--code", code, "--trust-subnet", seconds=10).expect(2, "goes without")
    refused = guest.kpeer("up", seconds=30).expect(6, "no group key", "kpeer up --invite")
    assert first.address in refused.text, refused
    other = "000-000-000"  # the code of forty zeros: none that was drawn
    guest.kpeer("up", "--code", other, seconds=40).expect(1, "another code", "--invite")
    assert not guest.has(KEY)
    joining = guest.up("--code", code.upper().replace("-", " "), "--expect", "3", "--timeout", "360s")
    wait_until("the guest has the key", lambda: guest.has(KEY), 20)
    assert guest.get(KEY) == first.get(KEY) and guest.path(KEY).stat().st_mode & 0o7777 == 0o600
    wait_until("it is told where the key went", lambda: any(
        event["event"] == "key-given" and guest.address in event["text"] for event in first.events()), 10)
    late.kpeer("up", "--code", code, seconds=40).expect(1, "no host that invites was heard", "show a new one")
    assert not late.has(KEY) and not late.agents()
    # A new one, shown by the second host, of which the first knows nothing; the one before it is good no more.
    again = guest.start("kpeer", "up", "--invite", "--timeout", "360s")
    unused = code_in(again)
    third = guest.start("kpeer", "up", "--invite", "--timeout", "360s")
    newest = code_in(third)
    wait_until("the one before is withdrawn", lambda: "good no more" in third.text(), 5)
    late.kpeer("up", "--code", unused, seconds=40).expect(1, "another code")
    last = late.up("--code", newest, "--expect", "3", "--timeout", "360s")
    for job in (inviting, joining, again, third, last):
        job.wait(130).expect(0)
    one_cluster(lab.hosts)
    late.kpeer("up", "--code", newest, seconds=10).expect(6, "a member already")
    for host in lab.hosts:
        assert not marks(host, code) and not marks(host, newest), "a code is written somewhere"
    first.signal_agent(15)
    wait_until("its agent has ended", lambda: not first.agents(), 10)
    first.kpeer("up", "--code", newest, seconds=10).expect(6, "has a group key already")


def test_a_group_of_the_subnet_has_no_key_to_give(trial):
    host = trial.lab(1, keys=False).hosts[0]
    host.kpeer("up", "--trust-subnet", "--invite", seconds=10).expect(2, "no key that a code could give")
    host.up("--trust-subnet", "--expect", "2")
    wait_until("its agent runs", host.phase, 20)
    host.kpeer("up", "--invite", seconds=20).expect(1, "whoever is on the subnet may join", "--trust-subnet")


def test_two_hosts_without_keys_at_once(trial):
    """Neither makes a key while the other is heard: two keys would be two groups."""
    lab = trial.lab(2, keys=False)
    jobs = [host.up("--timeout", "20s") for host in lab.hosts]
    for job in jobs:
        job.wait(40).expect(6, "another host without one is starting", "kpeer key generate")
    assert not any(host.has(KEY) for host in lab.hosts)


def test_another_key_is_another_group(trial):
    lab = trial.lab(3)
    stranger = lab.hosts[2]
    stranger.put(KEY, new_key() + "\n", 0o600)
    jobs = [host.up("--expect", "2", "--timeout", "270s") for host in lab.hosts[:2]]
    lone = stranger.up("--expect", "2", "--timeout", "20s")
    for job in jobs:
        job.wait(100).expect(0)
    one_cluster(lab.hosts[:2])
    lone.wait(40).expect(4, "not ready after 20 s")
    assert stranger.cluster() is None
    assert [member["name"] for member in stranger.members()["members"]] == [stranger.name], "a stranger's members"
    for host in lab.hosts[:2]:
        assert len(host.members()["members"]) == 2, "a stranger is a member"
    status = stranger.kpeer("status").expect(1)
    trial.note("the stranger's status: " + " / ".join(line for line in status.out.splitlines() if "wait" in line or "error" in line))
    assert "key" in status.text, f"nothing says that another group's key is in use here: {status}"


def test_a_key_that_others_can_read_is_refused(trial):
    host = trial.lab(1).hosts[0]
    for mode in (0o644, 0o640, 0o604, 0o660):
        host.path(KEY).chmod(mode)
        host.kpeer("up", seconds=20).expect(6, f"mode {mode:04o}", f"chmod 600 {KEY}")
        host.kpeer("agent", seconds=20).expect(6, f"chmod 600 {KEY}")
    host.path(KEY).chmod(0o600)
    host.path(KEY).rename(host.path("/etc/kpeer/elsewhere"))
    host.path(KEY).symlink_to("/etc/kpeer/elsewhere")
    host.kpeer("up", seconds=20).expect(6, "symbolic link")
    assert not host.agents()


def test_a_damaged_key_is_refused(trial):
    lab = trial.lab(1)
    host = lab.hosts[0]
    place = len("kpeer-group-key-2:") + 7
    other = "A" if lab.key[place] != "A" else "B"
    for text in (lab.key[:place] + other + lab.key[place + 1:], lab.key[:-4], "rubbish", "", "\0" * 4000):
        host.put(KEY, text, 0o600)
        done = host.kpeer("up", seconds=20)
        assert done.status in (1, 2), done
        assert KEY in done.text and lab.key[20:40] not in done.text, done
        assert not host.agents(), done


def test_two_hosts_with_one_name(trial):
    """The group says so, names the name and what to do; nobody becomes a Node twice."""
    lab = trial.lab(3)
    double = lab.hosts[2]
    double.run("hostname", lab.hosts[1].name).expect(0)
    double.put("/etc/hostname", f"{lab.hosts[1].name}\n")
    jobs = [host.up("--expect", "3", "--timeout", "25s") for host in lab.hosts]
    done = [job.wait(60) for job in jobs]
    assert all(each.status != 0 for each in done), "\n".join(map(str, done))
    said = [host.kpeer("status").text + each.text for host, each in zip(lab.hosts, done)]
    assert all("called node2" in text for text in said), "\n".join(said)
    assert all(host.ran("kubeadm init") == 0 for host in lab.hosts), "a cluster was founded with one name twice"
    for host in lab.hosts:
        assert host.status()["hint"] or host.status()["error"] or host.status()["waiting"], host.status()
    trial.note(next(line for line in said[0].splitlines() if "called node2" in line).strip())
    double.run("hostname", "node3").expect(0)  # mended: that host's agent is started anew
    double.put("/etc/hostname", "node3\n")
    double.signal_agent(15)
    wait_until("its agent has ended", lambda: not double.agents(), 10)
    lab.form("--expect", "3")
    one_cluster(lab.hosts)


def test_a_host_too_small_does_not_become_master(trial):
    lab = trial.lab(2, settings={"init-seconds": 0, "join-seconds": 0})
    small = lab.add(memory="1100M", cpus=1)
    lab.form("--expect", "3")
    record, master = one_cluster(lab.hosts)
    assert master is not small, "the small host was elected"
    trial.note(f"{small.name} (1 CPU, 1100 MB) is a worker of {record['founder_name']}")


def test_all_hosts_too_small(trial):
    lab = trial.lab(2, memory="1100M", cpus="1")
    jobs = [host.up("--expect", "2", "--timeout", "25s") for host in lab.hosts]
    done = [job.wait(60) for job in jobs]
    for each in done:
        assert each.status in (4, 5), each
        assert "1700" in each.text or "2 CPU" in each.text, each
    assert all(host.ran("kubeadm init") == 0 for host in lab.hosts)
    status = lab.hosts[0].kpeer("status").expect(1)
    assert "small" in status.text or "1700" in status.text or "CPU" in status.text, status


def test_kubeadm_missing_everywhere(trial):
    lab = trial.lab(2)
    for host in lab.hosts:
        host.remove("/usr/bin/kubeadm")
    jobs = [host.up("--expect", "2", "--timeout", "40s") for host in lab.hosts]
    for job in jobs:
        job.wait(50).expect(5, "kubeadm")
    for host in lab.hosts:
        status = host.status()
        assert "kubeadm" in (status["error"] or "") and status["hint"], status


def test_kubeadm_missing_on_one_host(trial):
    """The others form; this one says what it lacks, and joins when it has it."""
    lab = trial.lab(3)
    poor, others = lab.hosts[1], [lab.hosts[0], lab.hosts[2]]
    program = poor.path("/usr/bin/kubeadm").readlink()
    poor.remove("/usr/bin/kubeadm")
    jobs = {host.name: host.up("--timeout", "270s", "--expect", "3") for host in lab.hosts}
    jobs[poor.name].wait(60).expect(5, "kubeadm")
    for host in others:
        jobs[host.name].wait(100).expect(0)
    record, _ = one_cluster(others)
    assert "kubeadm" in poor.kpeer("status").expect(1).text
    poor.path("/usr/bin/kubeadm").symlink_to(program)
    poor.kpeer("up", "--timeout", "180s", seconds=70).expect(0, "worker")
    assert one_cluster(lab.hosts)[0] == record


def test_a_key_from_the_environment_or_typed(trial):
    """It is kept in the file, and no process that is started has it in its environment."""
    lab = trial.lab(2)
    first, second = lab.hosts
    first.path(KEY).rename(first.path("/etc/kpeer/given"))
    second.remove(KEY)
    words = "read -r KPEER_KEY < /etc/kpeer/given; export KPEER_KEY; exec kpeer up --expect 2 --timeout 90s"
    job = first.start("sh", "-c", words)
    wait_until("the first host keeps its key", lambda: first.has(KEY), 20)
    second.sh("kpeer key import < /etc/hostname").expect(2, "no group key")
    for text, said in ((lab.key[:-1], "the key is cut"), (lab.key[:-1] + "x", "look for a typing error")):
        second.run("kpeer", "key", "import", text=text).expect(2, said)
    second.run("kpeer", "key", "import", text=lab.key + "\n").expect(0, "key of group")
    second.kpeer("up", "--expect", "2", "--timeout", "270s", seconds=100).expect(0)
    environments = [pathlib.Path(f"/proc/{pid}/environ").read_bytes() for pid in first.pids()]
    assert any(b"PATH=" in text for text in environments) and not any(lab.key[20:60].encode() in text for text in environments)
    job.wait(60).expect(0)
    one_cluster(lab.hosts)
    for host in lab.hosts:
        assert host.get(KEY).strip() == lab.key and host.path(KEY).stat().st_mode & 0o7777 == 0o600


def test_a_passphrase_gives_the_same_key_on_every_host(trial):
    lab = trial.lab(2, keys=False)
    for host in lab.hosts:
        host.put("/tmp/words", "lamp-violin-garden-copper-tram\n", 0o600)
        host.run("sh", "-c", "kpeer key generate --passphrase < /tmp/words").expect(0, "same passphrase")
        host.run("sh", "-c", "echo password1 | kpeer key generate --passphrase --force").expect(6, "too simple", "five or more words")
    assert lab.hosts[0].get(KEY) == lab.hosts[1].get(KEY)
