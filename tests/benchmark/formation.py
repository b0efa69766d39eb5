"""Formation of a real cluster of three full hosts: kpeer beside the scripts that do the same by hand.

Each round forms three clusters on new hosts: by `kpeer up` typed on all of them at once, by the sequential script and by the
parallel one (tests/lab/full/reference). Their phases differ, so each has a table of its own beside the common rows.
"""

import datetime
import itertools
import re
import statistics
import subprocess
import time

from harness.full import FullLab
from harness.lab import SLACK, TESTS
from kpeerlab import state

from . import report
from .figures import ahead
from .load import Meter

HOSTS = 3
SECONDS = 400
KPEER, SEQUENTIAL, PARALLEL = WAYS = ("kpeer up on each", "sequential script", "parallel script")
PHASE = re.compile(r"^(.+?) +([0-9.]+) s +\(at +([0-9.]+) s\)$")
READY, PROVEN = "all Nodes Ready", "pods of all hosts reached from others"
# What kpeer's phases are: from one event of the group to another one, the first of its kind or the last.
PHASES = (
    ("found each other, looked at themselves, elected", None, ("elected", min)),
    ("kubeadm init, Flannel's manifest, first ticket", ("elected", min), ("ticket-issued", min)),
    ("tickets, all kubeadm joins", ("ticket-issued", min), ("join-finished", max)),
    ("until the last host is proven", ("join-finished", max), ("node-ready", max)),
)


def parse_reference(text):
    """The phases of a script: [(what, seconds, at)]."""
    return [(found[1], float(found[2]), float(found[3])) for line in text.splitlines() if (found := PHASE.match(line))]


def of_script(text, way):
    """The common rows, and the phases until all Nodes are Ready."""
    phases = parse_reference(text)
    ready = [at for what, _, at in phases if what == f"all {HOSTS} nodes Ready"]
    if not ready or not re.search(rf"^{way}: {HOSTS} hosts Ready after", text, re.M):
        raise ValueError(f"{way}: no end in {text[-1000:]}")
    return {READY: ready[0], PROVEN: phases[-1][2]}, [(what, seconds) for what, seconds, at in phases if at <= ready[0]]


def moment(text):
    """RFC 3339 -> seconds of the wall clock, which all hosts of one machine share."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def of_kpeer(events, began, ready, ended):
    """The same of kpeer, from all events of all hosts, and times of one clock."""
    def at(mark):
        if mark is None:
            return began
        times = [moment(event["t"]) for event in events if event["event"] == mark[0]]
        if not times:
            raise ValueError(f"no event {mark[0]}")
        return mark[1](times)

    phases = [(what, at(end) - at(start)) for what, start, end in PHASES]
    return {READY: ready - began, PROVEN: ended - began}, phases


def ready_at(lab, end):
    """When the last Node became Ready, as the control plane tells it: in whole seconds, so up to one early."""
    for host in lab.hosts:
        if host.has("/etc/kubernetes/admin.conf"):
            times = host.kubectl("get", "nodes", "-o", 'jsonpath={range .items[*].status.conditions[?(@.type=="Ready")]}'
                                                       "{.lastTransitionTime}{'\\n'}{end}").expect(0).out.split()
            assert len(times) == HOSTS, times
            return min(end, max(map(moment, times)))
    raise AssertionError("no control plane")


def by_kpeer(lab):
    began = time.time()
    lab.form(seconds=SECONDS)
    ended = time.time()
    return of_kpeer([event for host in lab.hosts for event in host.events()], began, ready_at(lab, ended), ended)


def by_script(lab, way):
    words = [TESTS / "lab/full/reference", "--name", lab.name, *(["--parallel"] if way == PARALLEL else []), str(HOSTS)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=SECONDS * SLACK)
    if done.returncode:
        raise AssertionError(f"{way}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    return of_script(done.stdout, way)


def measure(figures, rounds, tell):
    """Adds the common rows to the figures; the phases by way, each a list of samples."""
    phases = {way: {} for way in WAYS}
    for _, way in itertools.product(range(rounds), WAYS):
        lab = FullLab(HOSTS)
        try:
            meter = Meter(state.Instance(lab.name))
            rows, parts = by_kpeer(lab) if way == KPEER else by_script(lab, way)
            load = meter.load()
        finally:
            lab.down()
        for row, value in rows.items():
            figures.add(HOSTS, way, row, value, load)
        for what, seconds in parts:
            phases[way].setdefault(what, []).append(seconds)
        tell(f"formed, {way}: " + ", ".join(f"{row} after {value:.1f} s" for row, value in rows.items()))
    return phases


def section(figures, phases):
    """Lines of Markdown."""
    lines = ["## A real cluster of three hosts", "",
             "Three full hosts of the lab on one machine ([tests/lab/full](../tests/lab/full/README.md)), with containerd, kubeadm, "
             "kubelet and all images there; new ones for each sample, the three ways in turns. Time runs from the first word typed. The "
             "scripts have no thinking time; the parallel one chooses its token before, applies Flannel as soon as the control plane "
             "answers, and begins all joins at once as soon as the token is signed. kpeer's is all that `kpeer up` does: discovery, "
             "preflight, election and the proof that pods of each host are reached. When Nodes became Ready is told by the control plane, "
             "in whole seconds, for kpeer.", "",
             report.line(["", *WAYS, "ahead"]), report.line(["---"] * (len(WAYS) + 2))]
    for row in (READY, PROVEN):
        sums = {way: figures.summary(HOSTS, way, row) for way in WAYS}
        lines.append(report.line([row, *(report.cell(each, report.seconds) for each in sums.values()),
                                  ahead(sums[KPEER], {way: sums[way] for way in (SEQUENTIAL, PARALLEL)})]))
    for way in WAYS:
        lines += ["", report.line([way, "median", "spread"]), report.line(["---"] * 3)]
        for what, samples in phases[way].items():
            lines.append(report.line([what, report.seconds(statistics.median(samples)),
                                      report.spread(report.seconds(min(samples)), report.seconds(max(samples)))]))
    return lines
