"""What the commands say and how they end, apart from forming."""

import json
import os
import signal
import time

from harness.lab import wait_until


def test_without_an_agent(trial):
    lab = trial.lab(1)
    host = lab.hosts[0]
    for word in ("status", "members", "events", "leave", "kubeconfig"):
        host.kpeer(word).expect(3, "no agent|not running|agent")
        error = host.kpeer(word, "-o", "json").expect(3).error()
        assert error.keys() >= {"code", "message", "hint"} and error["message"], error
    version = host.kpeer("version", "-o", "json").expect(0).json()
    assert version["version"] and version["libraries"]["libzmq"], version


def test_preflight_of_one_host(trial):
    """Fit with the stand-ins there; without them it says what misses, and leaves nothing behind."""
    host = trial.lab(1).hosts[0]
    told = host.kpeer("preflight", "-o", "json").expect(0).json()
    assert told["fit"] and told["role"] in ("master", "worker") and told["host"] == host.name, told
    assert {"root", "cpu", "memory", "hostname", "swap"} <= {each["check"] for each in told["checks"]}, told
    assert all(each["level"] != "red" and each["detail"] for each in told["checks"]), told
    red = host.kpeer("preflight", "-o", "json", "--no-fix", "--role", "worker", "--config", "/dev/null").expect(0).json()
    assert red["role"] == "worker", red
    host.path("/etc/kpeer/other.yaml").parent.mkdir(parents=True, exist_ok=True)
    host.path("/etc/kpeer/other.yaml").write_text("tools:\n  kubelet: /usr/bin/no-kubelet\n")
    told = host.kpeer("preflight", "-o", "json", "--config", "/etc/kpeer/other.yaml").expect(5).json()
    reds = {each["check"] for each in told["checks"] if each["level"] == "red"}
    assert not told["fit"] and "kubelet" in reds and reds <= {"kubelet", "packages"}, reds
    host.kpeer("preflight", "--config", "/etc/kpeer/other.yaml").expect(5, "kubelet +red +there is no program", "not fit", "try: sudo kpeer preflight --fix")
    host.kpeer("preflight", "--fix", "--undo").expect(2, "exclude")
    host.kpeer("preflight", "--undo").expect(0, "is undone")


def test_configuration_is_printed_and_validated(trial):
    host = trial.lab(1).hosts[0]
    file = host.path("/etc/kpeer/kpeer.yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("expect: 3\nflannel:\n  backend: host-gw\ntools:\n  kubeadm: /nowhere/kubeadm\n")
    out = host.kpeer("config", "print", "--role", "worker").expect(0, "expect +3 +file", "role +worker +flag", "port +7373 +default").out
    told = host.kpeer("config", "print", "-o", "json").expect(0).json()
    assert told["expect"] == 3 and told["flannel"]["backend"] == "host-gw" and "name" not in told, (told, out)
    printed = host.kpeer("config", "print", "-o", "yaml").expect(0).out
    host.path("/etc/kpeer/again.yaml").write_text(printed)
    assert host.kpeer("config", "print", "-o", "json", "--config", "/etc/kpeer/again.yaml").expect(0).json() == told
    host.kpeer("config", "validate").expect(0, "kpeer.yaml: valid", "warning: tools.kubeadm: /nowhere/kubeadm: No such file")
    assert host.kpeer("config", "validate", "-o", "json").expect(0).json()["warnings"] == 1
    file.write_text("expect: 3\nexpct: 4\n")
    host.kpeer("config", "validate").expect(2, "kpeer.yaml:2:1", "expct")
    file.unlink()
    host.kpeer("config", "shout").expect(2, "none of print, validate")
    host.kpeer("config", "validate").expect(0, "not there: the defaults are in force")


def test_up_waits_for_an_agent_that_stands_still(trial):
    """As on a disk that is busy for a while: longer than any single answer may take."""
    host = trial.lab(1).hosts[0]
    flags = ("--expect", "1", "--interface", "eth1")
    job = host.up("--timeout", "8s", *flags)
    wait_until("its phase is shown", lambda: "→" in job.text(), 30)
    host.signal_agent(signal.SIGSTOP)
    job.wait(30).expect(4, "does not answer: waiting", "does not answer, and 8 s are over", "agent.log")
    job = host.up("--timeout", "300s", *flags)
    pause = time.monotonic() + 6
    wait_until("it asks in vain", lambda: time.monotonic() > pause, 10)
    host.signal_agent(signal.SIGCONT)
    job.wait(110).expect(0, "ready")


ENDS = """
import os, socket
os.makedirs("/run/kpeer", exist_ok=True)
server = socket.socket(socket.AF_UNIX)
server.bind("/run/kpeer/kpeer.sock")
server.listen()
print("listens", flush=True)
caller, _ = server.accept()
caller.recv(1, socket.MSG_PEEK)
os._exit(0)
"""


def test_up_starts_where_an_agent_has_just_ended(trial):
    """It still took the call, and went away without a word: one is started, as where nobody took it."""
    host = trial.lab(1).hosts[0]
    ending = host.start("python3", "-c", ENDS)
    wait_until("it listens", lambda: "listens" in ending.text(), 10)
    job = host.up("--expect", "1", "--interface", "eth1", "--timeout", "300s")
    job.wait(110).expect(0, "ready")
    ending.wait(10).expect(0)


def test_wrong_usage(trial):
    host = trial.lab(1).hosts[0]
    host.kpeer("up", "--expct", "3").expect(2, "--expct", "--expect|--help")
    host.kpeer("ups").expect(2, "ups")
    host.kpeer().expect(2)
    host.kpeer("up", "--expect", "none").expect(2, "--expect")
    host.kpeer("up", "--timeout", "10").expect(2, "--timeout")
    host.kpeer("up", "--role", "boss").expect(2, "--role")
    host.kpeer("up", "--subnet", "192.168.56.0/33").expect(2, "--subnet")
    host.kpeer("members", "-o", "xml").expect(2, "xml")
    host.kpeer("key").expect(2)
    error = host.kpeer("members", "--bogus", "-o", "json").expect(2).error()
    assert "bogus" in error["message"], error
    assert not host.agents() and not host.has("/var/lib/kpeer"), "a wrong call left something behind"
    for word in ("up", "members", "status", "events", "leave", "key", "kubeconfig", "preflight", "config", "agent", "version"):
        host.kpeer(word, "--help").expect(0, f"kpeer {word}", "--")


def test_wrong_configuration_is_refused_by_line_and_column(trial):
    host = trial.lab(1).hosts[0]
    path = "/etc/kpeer/kpeer.yaml"
    wrong = {
        "expect: 3\nbogus: 1\n": "2:1",
        "expect: many\n": "1:9",
        "flannel:\n  backend: vxlan\n  bogus: x\n": "3:3",
        "expect: 3\nexpect: 4\n": "2:1",
        "pod_cidr: 10.244.0.0\n": "1:11",
        "expect: [3]\n": "1:9",
        "expect: \"3\n": "2:1",
        "timeout: 10\n": "1:10",
    }
    for text, place in wrong.items():
        host.put(path, text)
        for words in (["up"], ["status"], ["agent"]):
            host.kpeer(*words, seconds=10).expect(2, f"{path}:{place}:")
        error = host.kpeer("up", "-o", "json").expect(2).error()
        assert f"{path}:{place}:" in error["message"], error
    host.remove(path)
    host.kpeer("up", "--config", "/etc/kpeer/none.yaml").expect(1, "none.yaml")
    assert not host.agents(), "an agent was started on a wrong configuration"


def test_up_again_says_that_all_is_well(trial):
    lab = trial.lab(2)
    lab.form("--expect", "2")
    for host in lab.hosts:
        again = host.kpeer("up").expect(0, "all is well")
        assert again.seconds < 5, again
        assert len([pid for pid in host.agents() if host.parent(pid) not in host.agents()]) == 1, "two agents"
        said = host.kpeer("up", "-o", "json").expect(0)
        assert json.loads(said.out.splitlines()[-1])["phase"] == "ready", said
    assert sum(host.ran("kubeadm init") for host in lab.hosts) == 1
    assert sum(host.ran("kubeadm join") for host in lab.hosts) == 1


def test_up_gives_up_when_told_and_the_agent_goes_on(trial):
    lab = trial.lab(2)
    host, other = lab.hosts
    late = host.kpeer("up", "--expect", "2", "--timeout", "1s", seconds=20).expect(4, "not ready after 1 s", "kpeer")
    assert late.seconds < 10, late
    assert host.agent(), "the agent ended with `up`"
    host.kpeer("status").expect(1, "waiting")
    error = host.kpeer("up", "--timeout", "1s", "-o", "json", seconds=20).expect(4).error()
    assert error["hint"], error
    other.kpeer("up", "--expect", "2", "--timeout", "180s", seconds=70).expect(0)
    host.kpeer("up", "--timeout", "180s", seconds=70).expect(0)


def test_interrupted_up_detaches(trial):
    lab = trial.lab(1)
    host = lab.hosts[0]
    job = host.up("--expect", "2")
    wait_until("the agent runs", host.phase, 20)
    up = next(pid for pid in host.pids() if host.arguments(pid)[1:2] == ["up"])
    os.kill(up, 2)
    job.wait(10).expect(130, "detached", "Come back with: sudo kpeer up")
    agent = host.agent()
    assert agent, "the agent ended with `up`"
    host.kpeer("up", "--timeout", "1s").expect(4, "the agent runs already: going on where it is")
    assert host.agent() == agent, "another agent was started"


def test_up_interrupted_while_the_agent_starts_detaches(trial):
    host = trial.lab(1).hosts[0]
    host.put("/usr/local/bin/kpeer-systemd", "#!/bin/sh\n[ \"$1\" != start ] || { trap 'exit 130' INT; sleep 60 & wait; }\n", 0o755)
    host.put("/etc/kpeer/kpeer.yaml", "tools:\n  systemctl: /usr/local/bin/kpeer-systemd\n")
    host.path("/run/systemd/system").mkdir(parents=True)
    job = host.up()
    waits = wait_until("systemctl starts the unit", lambda: [pid for pid in host.pids() if "start" in host.arguments(pid)], 20)
    # A terminal signals both before either can end; so the one that waits for the other is first here.
    for pid in [*(pid for pid in host.pids() if host.arguments(pid)[1:2] == ["up"]), *waits]:
        host.signal(pid, signal.SIGINT)
    job.wait(10).expect(130, "detached: the agent goes on")
    assert host.has("/etc/systemd/system/kpeer.service"), "what systemd was told to start was taken away"


def test_rehearsal_changes_nothing(trial):
    """Without kubeadm, without root."""
    lab = trial.lab(3)
    before = {}
    for host in lab.hosts:
        for name in ("kubeadm", "kubelet", "kubectl", "containerd", "crictl", "ctr", "systemctl"):
            host.remove(f"/usr/bin/{name}")
        host.sh("mkdir -m 700 /home/guest && cp /etc/kpeer/group.key /home/guest/ && chown -R 1000:1000 /home/guest")
        before[host.name] = tree(host)
    rehearse = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "kpeer", "up", "--dry-run", "--expect", "3",
                "--key-file", "/home/guest/group.key", "--state-dir", "/home/guest/state", "--run-dir",
                "/home/guest/run", "--timeout", "180s")  # fmt: skip
    jobs = [host.start(*rehearse) for host in lab.hosts]
    for job in jobs:
        job.wait(70).expect(0, "rehearsed: node\\d is a (master|worker)", "ready so far: \\d host",
                            "kpeer leave --force --state-dir /home/guest/state --run-dir /home/guest/run")
    shown = "".join(host.get("/home/guest/state/agent.log") + host.kpeer("events", "--run-dir", "/home/guest/run", "--no-follow")
                    .expect(0).text for host in lab.hosts)
    assert "kubeadm" in shown, "the rehearsal does not show what it would run"
    records = [host.kpeer("members", "--run-dir", "/home/guest/run", "-o", "json").expect(0).json()["cluster"]
               for host in lab.hosts]
    assert records[0] and all(record == records[0] for record in records), records
    for host in lab.hosts:
        assert tree(host) == before[host.name], f"{host.name}: {before[host.name] ^ tree(host)}"


def tree(host):
    """Everything that was written on the host's disk, but for the state that the rehearsal was given."""
    found = set()
    for folder, folders, files in os.walk(host.disk / "upper"):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            info = os.lstat(path)
            inside = path.removeprefix(str(host.disk / "upper"))
            if not inside.startswith("/home/guest") and not os.path.isdir(path):
                found.add((inside, info.st_mode, info.st_size, info.st_mtime_ns))
    return found


def test_events_follow_until_interrupted(trial):
    lab = trial.lab(2)
    host, other = lab.hosts
    host.kpeer("up", "--expect", "2", "--timeout", "1s", seconds=20).expect(4)
    job = host.start("kpeer", "events", "-o", "json")
    began = time.monotonic()
    other.up("--expect", "2")
    wait_until("the newcomer is told of as it comes", lambda: "member-discovered" in job.text(), 20)
    trial.note(f"told {time.monotonic() - began:.2f} s after the other host's start")
    kpeer = next(pid for pid in host.pids() if host.arguments(pid)[1:2] == ["events"])
    os.kill(kpeer, 2)
    done = job.wait(5).expect(0)
    assert all(json.loads(line)["event"] for line in done.out.splitlines())


def test_images_are_pulled_before_init_and_join(trial):
    lab = trial.lab(2)
    for host in lab.hosts:
        host.put("/etc/standin/images-absent", "*/kube-proxy:*\n*/pause:*\n")
        listed = host.kpeer("images", "list", "-o", "json").expect(0).json()
        here = {each["image"]: each["here"] for each in listed["images"]}
        assert here["k8s.gcr.io/kube-proxy:v1.20.2"] is False, here
    lab.form()
    for host in lab.hosts:
        assert host.ran("ctr -n k8s.io images pull k8s.gcr.io/kube-proxy:v1.20.2") == 1, "kube-proxy was not pulled once"
        listed = host.kpeer("images", "list", "--worker", "-o", "json").expect(0).json()
        assert all(each["here"] for each in listed["images"]) and len(listed["images"]) == 5, listed


def test_images_that_cannot_be_pulled_are_named(trial):
    host = trial.lab(1).hosts[0]
    host.put("/etc/kpeer/kpeer.yaml", "images:\n  retries: 1\n  mirror: mirror.example/k8s\n")
    host.put("/etc/standin/images-missing", "*pause:*\n")
    error = host.kpeer("images", "pull", "-o", "json").expect(1).error()
    assert "1 of 9 images" in error["message"] and "k8s.gcr.io/pause:3.2 from mirror.example/k8s/pause:3.2" in error["message"]
    assert error["hint"], error
    assert host.ran("ctr -n k8s.io images pull mirror.example/k8s/pause:3.2") == 2, "one further try was to be made"
    host.remove("/etc/standin/images-missing")
    host.put("/etc/standin/images-absent", "*pause:*\n")
    host.kpeer("images", "pull").expect(0, r"9 of 9: k8s.gcr.io/pause:3.2 from mirror.example/k8s/pause:3.2")
    names = host.run("ctr", "-n", "k8s.io", "images", "ls", "-q").out.split()
    assert "k8s.gcr.io/pause:3.2" in names and not any(name.startswith("mirror.example") for name in names), names


def test_images_other_than_wanted_are_refused(trial):
    host = trial.lab(1).hosts[0]
    host.put("/etc/kpeer/digests", f"k8s.gcr.io/pause:3.2 sha256:{'0' * 64}\n")
    host.put("/etc/kpeer/kpeer.yaml", "images:\n  digests: /etc/kpeer/digests\n")
    host.kpeer("images", "verify").expect(1, r"pause:3\.2 .* different", r"kube-proxy:v1\.20\.2 .* missing")
    host.kpeer("images", "pull").expect(1, "not the image wanted", "another mirror")
    assert "k8s.gcr.io/pause:3.2" not in host.run("ctr", "-n", "k8s.io", "images", "ls", "-q").out.split()
    listed = host.kpeer("images", "list", "-o", "json").expect(0).json()["images"]
    wanted = [f"{each['image']} {each['id']}" for each in listed if each["here"]]
    host.remove("/etc/standin/images-absent")
    host.put("/etc/kpeer/digests", "\n".join(wanted) + "\n")
    host.kpeer("images", "pull").expect(0)
