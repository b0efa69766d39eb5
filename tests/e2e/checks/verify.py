"""`kpeer verify`: what it says of a sound cluster and of a broken one, and that nothing of it stays in any ending."""

import re
import signal

from harness.agree import all_ready, master_of
from harness.lab import wait_until

LABEL = ("-n", "kpeer-system", "-l", "app=kpeer-verify", "-o", "name")


def left(master):
    return master.kubectl("get", "pod,configmap", *LABEL).expect(0).out.split()


def nothing_is_left(master):
    wait_until("nothing of the test pod is left", lambda: not left(master), 10)


def checks(done):
    """{check: [(level, detail)]} of -o json."""
    found = {}
    for each in done.json()["checks"]:
        assert each["level"] != "red" or each["next"], each
        found.setdefault(each["check"], []).append((each["level"], each["detail"]))
    return found


def without_image(hosts):
    """The test pod's image is not there and cannot be pulled."""
    for host in hosts:
        host.put("/etc/standin/images-missing", "*coredns*\n")


def verifying(host):
    return next((pid for pid in host.pids() if host.arguments(pid)[1:2] == ["verify"]), 0)


def begun(host, master):
    """A trial that does not come to its end by itself; asked for again while the one before is new, or not quite gone."""
    jobs = [host.start("kpeer", "verify", "--timeout", "5m")]

    def there():
        if not jobs[-1].running():
            jobs[-1].wait(1).expect(1, "just now|being tried already")
            jobs.append(host.start("kpeer", "verify", "--timeout", "5m"))
        return left(master)

    wait_until("there is a test pod", there, 30)
    return jobs[-1]


def test_from_each_host(trial):
    lab = trial.lab(3)
    lab.form("--expect", "3")
    master = master_of(lab.hosts)
    for host in lab.hosts:
        done = host.kpeer("verify", "-o", "json").expect(0)
        assert done.json()["passed"], done
        found = checks(done)
        tried = re.fullmatch(r"the test pod is on (\S+), a worker", found["scheduled"][0][1])[1]
        assert tried in {each.name for each in lab.hosts if each is not master}, done
        assert re.match(r"10\.244\.\d+\.\d+ is in the range of " + tried, found["address"][0][1]), done
        callers = {detail.split()[0] for level, detail in found["reached"]}
        assert callers == {each.name for each in lab.hosts} - {tried}, done
        assert {level for rows in found.values() for level, _ in rows} == {"ok"}, done
        assert set(found) == {"scheduled", "serves", "address", "reached", "removed"}, done
        assert not left(master), f"{host.name}: {left(master)}"
    asked = [event["name"] for event in master.events() if event["event"] == "verify-started"]
    assert asked == [host.name for host in lab.hosts], asked
    host = next(each for each in lab.hosts if each is not master)
    for _ in range(2):
        host.kpeer("verify").expect(0, "scheduled +ok", "removed +ok", "its hosts reach it")
    host.kpeer("verify", "--timeout", "1s").expect(2, "from 20s to 10m")
    trial.note(f"{host.name} was answered after {done.seconds:.1f} s")


def test_one_host_alone(trial):
    lab = trial.lab(1)
    host = lab.hosts[0]
    host.kpeer("verify").expect(3, "no agent|agent")
    lab.form("--expect", "1", "--interface", "eth1")
    found = checks(host.kpeer("verify", "-o", "json").expect(0))
    assert found["scheduled"] == [("warn", f"the test pod is on {host.name}, the master: there is no worker")], found
    assert found["reached"] == [("warn", "there is no other host to call it")], found
    assert found["removed"][0][0] == "ok" and not left(host), found


def test_before_there_is_a_cluster(trial):
    host = trial.lab(1).hosts[0]
    host.up("--expect", "2")
    wait_until("its agent answers", lambda: host.kpeer("status", "-o", "json").status in (0, 1), 30)
    host.kpeer("verify").expect(1, "there is no cluster yet")


def test_a_pod_that_never_starts(trial):
    """It is said why, within the time that was given, and all is as before."""
    lab = trial.lab(2)
    lab.form("--expect", "2")
    master = master_of(lab.hosts)
    worker = next(host for host in lab.hosts if host is not master)
    without_image([worker])
    done = worker.kpeer("verify", "--timeout", "20s").expect(1, f"serves +red +the test pod on {worker.name} does not answer: ImagePull",
                                                               "kpeer images pull", "removed +ok", "does not do what it should")
    assert not left(master), done
    worker.remove("/etc/standin/images-missing")
    worker.kpeer("verify").expect(0)


def test_a_worker_that_takes_no_pods(trial):
    lab = trial.lab(2)
    lab.form("--expect", "2")
    master = master_of(lab.hosts)
    worker = next(host for host in lab.hosts if host is not master)
    master.kubectl("cordon", worker.name).expect(0)
    master.kpeer("verify", "--timeout", "20s").expect(1, "scheduled +red +no Node takes the test pod: 0/2 nodes are available", "cordoned")
    assert not left(master)


def test_a_host_that_gets_no_answer(trial):
    lab = trial.lab(3)
    lab.form("--expect", "3")
    master = master_of(lab.hosts)
    master.sh("nft add table inet block && nft add chain inet block output '{ type filter hook output priority 0; }' && "
              "nft add rule inet block output tcp dport 8080 drop").expect(0)
    done = master.kpeer("verify", "--timeout", "40s", "-o", "json").expect(1)
    found = checks(done)
    assert not done.json()["passed"], done
    reached = {detail.split()[0]: level for level, detail in found["reached"]}
    assert reached.pop(master.name) == "red" and set(reached.values()) == {"ok"}, done
    assert f"{master.name} gets no answer of 10.244." in done.out and "UDP 8472" in done.out, done
    assert not left(master), done


def test_one_at_a_time_and_broken_off(trial):
    """Others are told for whom; ^C takes the pod away, and the next one has its turn."""
    lab = trial.lab(3)
    lab.form("--expect", "3")
    master = master_of(lab.hosts)
    workers = [host for host in lab.hosts if host is not master]
    without_image(workers)
    for host in (workers[0], master):
        job = begun(host, master)
        workers[1].kpeer("verify").expect(1, f"a test pod is being tried already, for {host.name}")
        host.signal(verifying(host), signal.SIGINT)
        job.wait(30).expect(130, "stopped: the test pod is taken away")
        nothing_is_left(master)
    for host in workers:
        host.remove("/etc/standin/images-missing")
    workers[1].kpeer("verify").expect(0)


def test_the_asker_goes_away(trial):
    """Killed, or its host without power: the master sees it, and takes the pod away."""
    lab = trial.lab(3)
    lab.form("--expect", "3")
    master = master_of(lab.hosts)
    workers = [host for host in lab.hosts if host is not master]
    without_image(workers)
    begun(workers[0], master)
    workers[0].signal(verifying(workers[0]), signal.SIGKILL)
    nothing_is_left(master)
    begun(workers[0], master)
    workers[0].signal_agent(signal.SIGKILL, everything=True)
    wait_until("nothing of the test pod is left", lambda: not left(master), 30)


def test_the_master_goes_away(trial):
    """What it leaves behind is taken away by the next one."""
    lab = trial.lab(2)
    lab.form("--expect", "2")
    master = master_of(lab.hosts)
    worker = next(host for host in lab.hosts if host is not master)
    without_image([worker])
    job = begun(worker, master)
    for number in (signal.SIGSTOP, signal.SIGKILL):  # all at once: none has time to tidy up
        master.signal_agent(number, everything=True)
    job.wait(60).expect(1, "the master went away meanwhile", "goes with the next kpeer verify")
    assert left(master), "the test pod is gone: this test shows nothing"
    worker.remove("/etc/standin/images-missing")
    master.up()
    all_ready(lab.hosts)
    worker.kpeer("verify").expect(0)
    assert not left(master)


def test_a_worker_that_died_with_the_pod(trial):
    """Nobody ends the pod there: the next one forces it away, and tries the worker that is left."""
    lab = trial.lab(3)
    lab.form("--expect", "3")
    master = master_of(lab.hosts)
    workers = [host for host in lab.hosts if host is not master]
    without_image(workers)
    job = begun(master, master)
    node = ("get", "pod", "-n", "kpeer-system", "kpeer-verify", "-o", "jsonpath={.spec.nodeName}")
    wait_until("the test pod is on a Node", lambda: master.kubectl(*node).out, 10)
    name = master.kubectl(*node).out
    alive = next(host for host in workers if host.name != name)
    lab.tool("stop", name)
    master.signal(verifying(master), signal.SIGINT)
    job.wait(30).expect(130)
    assert left(master), "the test pod is gone: this test shows nothing"
    alive.remove("/etc/standin/images-missing")
    wait_until("the Node that died is not Ready", lambda: "NotReady" in master.kubectl("get", "node", name).out, 60)
    done = master.kpeer("verify", "--timeout", "60s", "-o", "json").expect(1)
    found = checks(done)
    assert found["scheduled"] == [("ok", f"the test pod is on {alive.name}, a worker")], done
    assert [level for level, detail in found["reached"] if detail.startswith(name)] == ["red"], done
    assert found["removed"][0][0] == "ok" and not left(master), done
