"""The agent as it runs has nothing left of root, reaches no file but its own and starts no program; the root side cannot be
looked into."""

import os
import pathlib
import re
import signal

from harness.hold import compiled
from harness.lab import STATE, wait_until

PROGRAM, ORDER, ANSWER = "/etc/standin/intruder.so", f"{STATE}/agent/order", f"{STATE}/agent/answer"
DYNAMIC = range(61184, 65520)


def status_of(pid):
    """The lines of /proc/PID/status by their names."""
    return dict(re.findall(r"^(\w+):[ \t]*(.*)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M))


def check_agent(pid, uid):
    for task in sorted(pathlib.Path(f"/proc/{pid}/task").iterdir()):
        found = status_of(f"{pid}/task/{task.name}")
        assert found["Uid"].split() == [str(uid)] * 4, f"{task.name}: {found['Uid']}"
        assert found["Gid"].split() == [str(uid)] * 4, f"{task.name}: {found['Gid']}"
        assert found["Groups"].strip() == "", f"{task.name}: {found['Groups']}"
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(found[name], 16) == 0, f"{task.name}: {name} {found[name]}"
        assert found["NoNewPrivs"] == "1" and found["Seccomp"] == "2", found


def check_closed(pid):
    """No core dump, and only root may look into it: what is not dumpable belongs to root in /proc."""
    assert os.stat(f"/proc/{pid}/environ").st_uid == 0, pid
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.M), limits


def test_agent_has_nothing_left_of_root(trial):
    trial.plain_build()
    lab = trial.lab(1)
    host = lab.hosts[0]
    host.up("--expect", "2")
    wait_until("the agent answers", lambda: host.kpeer("status", "-o", "json").out, 20)
    uid = os.stat(host.path(f"{STATE}/agent")).st_uid
    assert uid in DYNAMIC, uid
    pid = host.agent()
    assert len(os.listdir(f"/proc/{pid}/task")) > 1, "libzmq has no threads, so they were not looked at"
    check_agent(pid, uid)
    for each in host.agents():
        check_closed(each)
    wait_until("fenced in", lambda: "Landlock" in host.get(f"{STATE}/agent.log"), 5)
    # Another start: the same user; a user of its own takes the state over.
    host.signal_agent(signal.SIGTERM)
    wait_until("it has ended", lambda: not host.agents(), 20)
    assert not host.has("/run/kpeer/kpeer.sock")
    host.up("--expect", "2")
    wait_until("it is back", lambda: host.agent() and host.kpeer("status", "-o", "json").out, 20)
    check_agent(host.agent(), uid)
    host.signal_agent(signal.SIGTERM)
    wait_until("it has ended", lambda: not host.agents(), 20)
    host.start("env", "KPEER_USER=nobody", "kpeer", "up", "--expect", "2")
    wait_until("it is back as another user", lambda: host.agent() and host.kpeer("status", "-o", "json").out, 20)
    check_agent(host.agent(), 65534)
    assert os.stat(host.path(f"{STATE}/agent/identity")).st_uid == 65534
    trial.note(f"user {uid}; {len(os.listdir(f'/proc/{host.agent()}/task'))} threads")


def intruded(lab, order):
    """What the intruder in a host's agent met: its answer, or None where the agent has ended over it."""
    host = lab.hosts[0]
    for path in (ORDER, ANSWER):
        host.remove(path)
    uid = os.stat(host.path(f"{STATE}/agent")).st_uid
    host.put(ORDER, order)
    os.chown(host.path(ORDER), uid, uid)
    wait_until(f"{order}: an answer, or the end of the agent", lambda: host.has(ANSWER) or not host.agent(), 20)
    return host.get(ANSWER) if host.has(ANSWER) else None


def test_an_intruder_in_the_agent_gets_nowhere(trial):
    trial.plain_build()
    lab = trial.lab(1)
    host = lab.hosts[0]
    host.path(PROGRAM).parent.mkdir(parents=True, exist_ok=True)
    host.path(PROGRAM).write_bytes(compiled("intruder"))
    host.put("/etc/standin/bait", "x", 0o666)
    host.put("/tmp/readable", "x", 0o644)
    host.start("env", f"LD_PRELOAD={PROGRAM}", "kpeer", "up", "--expect", "2")
    wait_until("the agent answers", lambda: host.kpeer("status", "-o", "json").out, 20)
    assert intruded(lab, "write mine") == "done", "the intruder does not work, so it proves nothing"
    for order in ("write /etc/standin/bait", "write /tmp/made", "write /run/kpeer/made", f"write {STATE}/executor/journal",
                  "write /dev/null", "read /tmp/readable", "read /etc/passwd", "read /proc/1/status"):
        answer = intruded(lab, order)
        assert answer and "Permission denied" in answer, f"{order}: {answer}"
    answer = intruded(lab, "connect /run/kpeer/kpeer.sock")
    assert answer and "Operation not permitted" in answer, answer
    assert host.get("/etc/standin/bait") == "x"
    agent = host.agent()
    assert intruded(lab, "exec /bin/true") is None, "the agent could start a program"
    assert host.agent() != agent
    wait_until("its executor has ended", lambda: not host.agents(), 20)
