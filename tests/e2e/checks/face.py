"""What a person sees on a terminal."""

import re
import signal
import time

from harness.agree import all_ready
from harness.lab import wait_until
from harness.screen import Screen

SPINNER = re.compile(r"^[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏|/\\-] ")
MEMBER = re.compile(r"^  node(\d+) +(master|worker)?")


def look(screen, columns, seen):
    """One look: nothing is wider than the terminal, there is one live line at most, and members stand right below it."""
    lines = screen.lines()
    assert all(len(line) <= columns for line in lines), lines
    live = [at for at, line in enumerate(lines) if SPINNER.match(line)]
    assert len(live) <= 1, "a live line was left behind:\n" + "\n".join(lines)
    members = [at for at, line in enumerate(lines) if MEMBER.match(line)]
    if members:
        assert live and members == list(range(live[0] + 1, live[0] + 1 + len(members))), "torn:\n" + "\n".join(lines)
        seen.append({MEMBER.match(lines[at])[1] for at in members})
    return lines


def formation(trial, count, columns, rows):
    lab = trial.lab(count)
    jobs = [host.up("--expect", str(count), "--timeout", "300s") for host in lab.hosts[1:]]
    seen = []
    with Screen(lab.hosts[0], columns, rows, "kpeer", "up", "--expect", str(count), "--timeout", "300s") as screen:
        end = time.monotonic() + 300
        while "ended with 0" not in "\n".join(lines := look(screen, columns, seen)):
            assert time.monotonic() < end and not any("ended with" in line for line in lines), "\n".join(lines)
            time.sleep(0.1)
        assert any(re.search("ready: node1 is a (master|worker)", line) for line in lines), "\n".join(lines)
        assert any("next: kpeer members" in line for line in lines), "\n".join(lines)
    for job in jobs:
        job.wait(110).expect(0)
    assert seen, "the group was never shown"
    assert {str(host.number) for host in lab.hosts} in seen, f"never all of the group: {seen[-1]}"
    trial.note(f"{len(seen)} looks at the board")
    return lab


def test_a_formation_of_three_on_80_columns(trial):
    lab = formation(trial, 3, 80, 24)
    watching(lab)


def test_a_formation_of_twelve_on_200_columns(trial):
    formation(trial, 12, 200, 50)


def watching(lab):
    """`members --watch`: in one place on a terminal, a line on each change in a pipe."""
    all_ready(lab.hosts)
    host, other = lab.hosts[0], lab.hosts[-1]
    job = host.start("kpeer", "members", "--watch", "-o", "json")
    with Screen(host, 80, 24, "kpeer", "members", "--watch") as screen:
        wait_until("all are seen alive", lambda: sum(" alive " in line for line in screen.lines()) == len(lab.hosts), 10)
        before = len(job.texts()[0].splitlines())
        other.signal_agent(signal.SIGKILL)
        wait_until("one is not", lambda: sum(" alive " in line for line in screen.lines()) < len(lab.hosts), 40)
        assert sum(line.startswith("NAME") for line in screen.lines()) == 1, screen.lines()
        screen.key("C-c")
        wait_until("it ends", lambda: any("ended with 0" in line for line in screen.lines()), 10)
    wait_until("a line for the change", lambda: len(job.texts()[0].splitlines()) > before, 10)
    job.process.send_signal(signal.SIGINT)
    lines = job.wait(10).expect(0).out.splitlines()
    assert len(lines) < 20, f"{len(lines)} lines, where a handful of things changed"
