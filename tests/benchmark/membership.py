"""Membership, measured: rounds of what happens to a group, for each program in turn."""

import dataclasses
import math
import statistics
import time

from . import bed as beds
from .bed import Bed, Group
from .load import Meter
from .programs import FORMS_TO

BOUND = {"join": 120, "notice": 60, "heal": 90}  # seconds, after which something did not happen
CUT_SECONDS = 10  # a cut lasts so long, or until all have noticed it
READY_SIZE = 1  # the row "start to ready" is of a host alone


@dataclasses.dataclass
class Plan:
    """How much is measured: how often each part, at least; and for how long."""

    sizes: tuple
    often: dict
    settle: float
    rest: float
    loss: tuple  # per cent
    loss_sizes: tuple
    loss_seconds: float = 60
    rounds: int = 8  # at most
    seconds: float = math.inf  # for all of it
    large: int = 1 << 30  # from so many hosts on a part is measured as often as `seldom` says
    seldom: dict = dataclasses.field(default_factory=dict)

    def times(self, size):
        return self.seldom if size >= self.large else self.often


QUICK = Plan(sizes=(3, 8),
             often={"converge": 4, "join": 4, "rest": 1, "kill": 2, "cut": 2, "leave": 2, "halves": 0, "loss": 1},
             settle=4, rest=8, loss=(25,), loss_sizes=(8,), rounds=5, seconds=400)
FULL = Plan(sizes=(3, 8, 32, 64, 128),
            often={"converge": 7, "join": 7, "rest": 2, "kill": 3, "cut": 3, "leave": 3, "halves": 3, "loss": 1},
            settle=15, rest=30, loss=(10, 25), loss_sizes=(8, 32, 64, 128), rounds=10, seconds=2400, large=32,
            seldom={"converge": 4, "join": 4, "rest": 1, "kill": 2, "cut": 2, "leave": 2, "halves": 2, "loss": 1})


class Round:
    """One group of one program, from its start to its end."""

    def __init__(self, bed, program, size, plan, figures, tell, end):
        self.bed, self.program, self.size, self.plan, self.figures, self.tell = bed, program, size, plan, figures, tell
        self.end = end  # when nothing more is begun
        self.group = Group(bed, program, size)
        self.listener, self.hosts = self.group.listener, bed.hosts[:size]

    def wanted(self, part, rows=None):
        """Whether there are too few samples that count, and there is time for another one."""
        least = min(self.figures.good(self.size, self.program.key, row) for row in rows or ROWS_OF[part])
        return least < self.plan.times(self.size)[part] and time.monotonic() < self.end

    def measured(self, action):
        """Runs it; its figures, by row, are noted with the load meanwhile."""
        meter = Meter(self.bed.instance)
        values = action()
        self.listener.idle(meter.missing())
        load = meter.load()
        for row, value in values.items():
            self.figures.add(self.size, self.program.key, row, value, load)
        shown = ", ".join(f"{row} {value:.4g}" for row, value in values.items())
        self.tell(f"{self.size} hosts, {self.program.title}: {shown} (machine {load.busy:.0%}, others {load.foreign:.0%})")

    def run(self):
        try:
            self.measured(self.converge)
            self.measured(self.join)
            if not self.program.whole(self.size):
                return
            if self.wanted("rest"):
                self.listener.idle(self.plan.settle)
                self.measured(self.rest)
            for part, action in (("kill", self.kill), ("cut", self.cut), ("halves", self.halves)):
                if self.wanted(part):
                    self.measured(action)
                    self.whole_again()
            if self.size in self.plan.loss_sizes:
                for percent in self.plan.loss:
                    if self.wanted("loss", [f"loss{percent}"]):
                        self.measured(lambda percent=percent: self.loss(percent))
                        self.whole_again()
            if self.wanted("leave"):
                self.measured(self.leave)
        finally:
            self.group.close()

    # --- the parts ---------------------------------------------------------------------------------------------------

    def others(self, *hosts):
        """Pairs of each other member and each of these."""
        names = {host.name for host in hosts}
        return {(name, host.name) for host in hosts for name in self.there if name not in names}

    def worker(self, skip=0):
        """Any member but the founder, which is not like the others."""
        return [host for host in self.hosts[1:] + self.hosts[:1] if host.name != self.group.founder()][skip]

    def times(self, kind, pairs, since, began, bound):
        """Seconds from `began` for each pair; inf for those that came to nothing in time."""
        found = self.listener.wait_for(kind, pairs, since, BOUND[bound])
        missing = sorted(set(pairs) - found.keys())
        if missing:
            self.tell(f"{len(missing)} of {len(pairs)} never came: {kind}, on {missing[0][0]} of {missing[0][1]} and so on")
        return [found.get(pair, math.inf) - began for pair in pairs]

    def converge(self):
        self.there = [host.name for host in self.hosts]
        mark = self.listener.mark()
        began = self.group.start(self.hosts)
        values = {"converge": max(self.times("know", self.others_all(), mark, began, "join"))}
        if self.program.key == "kpeer" and self.program.whole(self.size):
            values["formed"] = max(self.times("formed", {(name, name) for name in self.there}, mark, began, "join"))
        return values

    def others_all(self):
        return {(one, other) for one in self.there for other in self.there if one != other}

    def join(self):
        newcomer = self.bed.hosts[self.size]
        mark, others = self.listener.mark(), list(self.there)
        began = self.group.start([newcomer])
        known = {(name, newcomer.name) for name in others}
        knows = {(newcomer.name, name) for name in others}
        found = self.listener.wait_for("know", known | knows, mark, BOUND["join"])
        self.there.append(newcomer.name)
        return {"join-knows": max(found.get(pair, math.inf) for pair in knows) - began,
                "join-known": max(found.get(pair, math.inf) for pair in known) - began}

    def noticed(self, what, kind, host, began, mark):
        times = sorted(self.times(kind, self.others(host), mark, began, "notice"))
        return {f"{what}-first": times[0], f"{what}-median": statistics.median(times), f"{what}-last": times[-1]}

    def kill(self):
        host, mark = self.worker(), self.listener.mark()
        self.down = host
        return self.noticed("kill", "failed", host, self.group.kill(host), mark)

    def cut(self):
        host, mark = self.worker(1), self.listener.mark()  # not the one that has just been started anew
        began = time.monotonic()
        self.bed.cut(host)
        values = self.noticed("cut", "failed", host, began, mark)
        self.listener.idle(began + CUT_SECONDS - time.monotonic())
        return values | {"cut-heal": self.healed()}

    def halves(self):
        half = self.hosts[: self.size // 2]
        names, mark, began = {host.name for host in half}, self.listener.mark(), time.monotonic()
        self.bed.cut(*half)
        across = {(one, other) for one, other in self.others_all() if (one in names) != (other in names)}
        self.listener.wait_for("failed", across, mark, BOUND["notice"])
        self.listener.idle(began + CUT_SECONDS - time.monotonic())
        return {"halves-heal": self.healed()}

    def lost(self):
        """Pairs of which the first takes the second for failed."""
        latest = {(event.host, event.name): event.kind for event in self.listener.events
                  if event.kind in ("know", "failed", "left")}
        return {pair for pair, kind in latest.items() if kind == "failed"}

    def healed(self):
        mark, began = self.listener.mark(), time.monotonic()
        pairs = self.lost()
        self.bed.heal()
        return max(self.times("know", pairs, mark, began, "heal"))

    def leave(self):
        host, mark = self.worker(), self.listener.mark()
        began = self.group.leave(host)
        values = self.noticed("leave", "left", host, began, mark)
        return {"leave": values["leave-last"]}

    def loss(self, percent):
        mark = self.listener.mark()
        self.bed.loss(percent)
        self.listener.idle(self.plan.loss_seconds)
        self.bed.loss(0)
        wrong = {event.name for event in self.listener.events[mark:]
                 if event.kind == "failed" and event.name != event.host}
        return {f"loss{percent}": len(wrong)}

    def rest(self):
        processes = self.group.members()
        hosts = [host for host in self.bed.hosts if host.name in processes]
        before, began = [self.used(host) for host in hosts], time.monotonic()
        self.listener.idle(self.plan.rest)
        after, took = [self.used(host) for host in hosts], time.monotonic() - began

        def rate(i):
            return sum(late[i] - early[i] for late, early in zip(after, before, strict=True)) / took / len(hosts)

        def each(count):
            return sum(count(pid) for pids in processes.values() for pid in pids) / len(hosts)

        return {"rest-pss": each(beds.memory_bytes), "rest-cpu": rate(0), "rest-bytes": rate(1) + rate(3),
                "rest-bytes-in": rate(1), "rest-bytes-out": rate(3), "rest-packets": rate(2) + rate(4),
                "rest-threads": each(beds.threads), "rest-descriptors": each(beds.descriptors)}

    def used(self, host):
        return [self.bed.cpu_seconds(host), *beds.network_bytes(host)]

    # --- between the parts -------------------------------------------------------------------------------------------

    down = None

    def whole_again(self):
        """Starts what was killed, and waits until everybody knows everybody, as far as it was lost."""
        if self.down:
            host, self.down, mark = self.down, None, self.listener.mark()
            self.group.start([host])
            pairs = self.others(host)
            self.listener.wait_for("know", pairs | {(b, a) for a, b in pairs}, mark, BOUND["heal"])
            return
        self.listener.wait_for("know", self.lost(), self.listener.mark(), BOUND["heal"])


ROWS_OF = {"converge": ["converge"], "join": ["join-known"], "rest": ["rest-cpu"], "kill": ["kill-last"],
           "cut": ["cut-last"], "halves": ["halves-heal"], "leave": ["leave"], "loss": []}


def start_to_ready(bed, program, figures, tell):
    """Of a host alone."""
    group = Group(bed, program, READY_SIZE)
    try:
        meter, host = Meter(bed.instance), bed.hosts[0]
        began = group.start([host])
        found = group.listener.wait_for("ready", {(host.name, "")}, 0, BOUND["join"])
        group.listener.idle(meter.missing())
        load = meter.load()
        value = min(found.values(), default=math.inf) - began
        figures.add(READY_SIZE, program.key, "ready", value, load)
        tell(f"{program.title}: ready after {value * 1000:.1f} ms (machine {load.busy:.0%}, others {load.foreign:.0%})")
    finally:
        group.close()


def own_share(bed, program, size, figures, tell):
    """Of a formation: the time until all are ready, where steps take none."""
    group = Group(bed, program, size)
    try:
        meter, hosts = Meter(bed.instance), bed.hosts[:size]
        began = group.start(hosts)
        pairs = {(host.name, host.name) for host in hosts}
        found = group.listener.wait_for("formed", pairs, 0, BOUND["join"])
        group.listener.idle(meter.missing())
        load = meter.load()
        value = max(found.get(pair, math.inf) for pair in pairs) - began
        figures.add(size, "kpeer", "own", value, load)
        tell(f"{size} hosts, {program.title}: own {value:.4g} (machine {load.busy:.0%}, others {load.foreign:.0%})")
    finally:
        group.close()


def measure(plan, programs, at_once, figures, tell):
    """All rounds. A part that was disturbed is measured again in a later one, as long as there is time."""
    began = time.monotonic()
    for number, size in enumerate(plan.sizes):
        end = began + plan.seconds * (number + 1) / len(plan.sizes)
        bed = Bed(size + 1)
        try:
            if number == 0:
                for _ in range(plan.often["converge"]):
                    for program in programs:
                        if program.whole(READY_SIZE):
                            start_to_ready(bed, program, figures, tell)
            for _ in range(plan.rounds):
                often = plan.times(size)["converge"] if size <= FORMS_TO else 1
                if figures.good(size, "kpeer", "own") < often and time.monotonic() < end:
                    own_share(bed, at_once, size, figures, tell)
                for program in programs:
                    if missing(plan, program, size, figures) and time.monotonic() < end:
                        Round(bed, program, size, plan, figures, tell, end).run()
        finally:
            bed.down()


def missing(plan, program, size, figures):
    """Whether a part has too few samples that count."""
    times = plan.times(size)
    parts = times if program.whole(size) else ("converge", "join")
    return any(figures.good(size, program.key, row) < times[part] for part in parts for row in ROWS_OF[part])
