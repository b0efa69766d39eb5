"""How cost grows with the group, by the simulator: runs in which nothing goes wrong, of more and more hosts."""

import re
import subprocess

from .figures import slope

NOTHING_WRONG = ",".join(["loss", "doubled", "slow", "steps", "spread", "liar", "rotate", *(f"i{i}" for i in range(24))])
REST_MS = 30000
EXPECT = 9  # who decide: as a large group is best told
FITTED = 3  # of the largest sizes: small groups follow other rules
BEYOND = 5000  # hosts, more than a core knows of: told by the fit alone

NUMBER = r"([0-9.]+)"
PATTERN = re.compile(
    rf"per peer {NUMBER} ms, {NUMBER} kB.*"
    rf"all know all {NUMBER} s, elected {NUMBER} s, recorded {NUMBER} s, held by all {NUMBER} s, all ready {NUMBER} s.*"
    rf"toll: per peer {NUMBER} messages and {NUMBER} kB.*at rest {NUMBER} messages and {NUMBER} kB", re.S)
NAMES = ("cpu", "memory", "known", "elected", "recorded", "held", "ready", "messages", "bytes", "rest-messages", "rest-bytes")

# Title of the column, its value from a row, digits after the point.
COLUMNS = (
    ("all know all, s", lambda row: row["known"], 2),
    ("elected, s", lambda row: row["elected"], 2),
    ("record from the first to all, s", lambda row: row["held"] - row["recorded"], 3),
    ("messages of a peer until all are ready", lambda row: row["messages"], 0),
    ("kB of a peer until then", lambda row: row["bytes"], 0),
    ("messages of a peer at rest, in a second", lambda row: row["rest-messages"], 1),
    ("kB of a peer at rest, in a second", lambda row: row["rest-bytes"], 2),
    ("CPU of a peer, ms", lambda row: row["cpu"], 1),
    ("memory of a peer, kB", lambda row: row["memory"], 0),
)


def parse(text):
    """What sim printed -> figures by name."""
    found = PATTERN.search(text)
    if not found or "all well" not in text:
        raise ValueError(f"the simulator said: {text[-1000:]}")
    return dict(zip(NAMES, map(float, found.groups()), strict=True))


def measure(program, sizes, tell):
    rows = {}
    for size in sizes:
        # By a shell, as the greatest memory of a process counts that of the one which became it: that would be Python.
        words = ["sh", "-c", '"$@"; exit $?', "sh", program, "--seed", "1", "--hosts", str(size), "--expect", str(min(EXPECT, size)), "--quiet",
                 "--rest", str(REST_MS), "--cut", NOTHING_WRONG]
        rows[size] = parse(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        tell(f"simulated {size} hosts: all know all after {rows[size]['known']:.2f} s, {rows[size]['cpu']:.1f} ms of CPU a peer")
    return rows


def table(rows):
    """Lines of Markdown: a row a size, the growth that fits best, and what it leads to."""
    lines = ["| hosts | " + " | ".join(title for title, _, _ in COLUMNS) + " |", "|" + " --- |" * (len(COLUMNS) + 1)]
    for size, row in rows.items():
        lines.append(f"| {size:,} | " + " | ".join(f"{value(row):,.{places}f}" for _, value, places in COLUMNS) + " |")
    fitted = sorted(rows)[-FITTED:]
    fits = [slope([(size, value(rows[size])) for size in fitted]) for _, value, _ in COLUMNS]
    lines.append("| growth | " + " | ".join("–" if fit is None else f"n^{fit:.2f}" for fit in fits) + " |")
    largest = max(rows)
    ahead = [None if fit is None else value(rows[largest]) * (BEYOND / largest) ** fit
             for fit, (_, value, _) in zip(fits, COLUMNS, strict=True)]
    lines.append(f"| {BEYOND:,}, by the fit | " + " | ".join("–" if each is None else f"{each:,.3g}" for each in ahead) + " |")
    return lines


def section(rows):
    return ["## Scale, by the simulator", "",
            f"Runs in which nothing goes wrong, of seed 1, with `--expect {EXPECT}`: few decide, the others join. Times are virtual, "
            "and the simulator's steps of Kubernetes take time, so that only what comes before them and between them is told. Messages "
            "are counted as they arrive, a beacon once for each that hears it. CPU and memory are the simulator's, which plays "
            "network and disks and checks the invariants after each step. A peer keeps at most 1,024 members: "
            f"growth is fitted to the {FITTED} largest sizes, and the row of {BEYOND:,} hosts is what it leads to, and was not run.", "", *table(rows)]
