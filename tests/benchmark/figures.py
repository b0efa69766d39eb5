"""Figures, how they are summed up, and when none is reported. Pure: what measures stands elsewhere.

A sample has its load: how busy the machine was meanwhile, and what share of it went to processes that have nothing to
do with the benchmark. A sample that was taken while others had more than the limit does not count; a figure without
samples that count is not reported, and says so.
"""

import dataclasses
import math
import statistics

LIMIT = 0.05  # of the machine: what others may have had of it


@dataclasses.dataclass(frozen=True)
class Load:
    """Shares of all processors together, from 0 to 1."""

    busy: float
    foreign: float


@dataclasses.dataclass(frozen=True)
class Sample:
    value: float  # inf: did not happen within its bound
    load: Load


@dataclasses.dataclass(frozen=True)
class Summary:
    median: float
    low: float
    high: float
    count: int
    busy: float


@dataclasses.dataclass(frozen=True)
class Refused:
    reason: str


def sum_up(samples, limit=LIMIT):
    """The samples of one figure as a Summary, or why there is none."""
    if not samples:
        return Refused("not measured")
    kept = [sample for sample in samples if sample.load.foreign <= limit]
    if not kept:
        least = min(sample.load.foreign for sample in samples)
        return Refused(f"not reported: others had {least:.0%} of the machine")
    values = [sample.value for sample in kept]
    return Summary(statistics.median(values), min(values), max(values), len(values),
                   statistics.median(sample.load.busy for sample in kept))


class Figures:
    """Samples by size of the group, program and row."""

    def __init__(self, limit=LIMIT):
        self.limit, self.samples = limit, {}

    def add(self, size, program, row, value, load):
        self.samples.setdefault((size, program, row), []).append(Sample(value, load))

    def good(self, size, program, row):
        """How many samples count."""
        return sum(sample.load.foreign <= self.limit for sample in self.samples.get((size, program, row), ()))

    def summary(self, size, program, row):
        return sum_up(self.samples.get((size, program, row), ()), self.limit)

    def rows(self):
        """All samples, for a file."""
        return [{"size": size, "program": program, "row": row, **dataclasses.asdict(sample)}
                for (size, program, row), samples in self.samples.items() for sample in samples]

    def sizes(self):
        return sorted({size for size, _, _ in self.samples})


def ahead(mine, theirs):
    """Who has the lower figure: a word for the table. `theirs` is a dict of rivals by name."""
    rivals = {name: each for name, each in theirs.items() if isinstance(each, Summary)}
    if not isinstance(mine, Summary) or not rivals:
        return "–"
    name, best = min(rivals.items(), key=lambda each: each[1].median)
    if mine.median == best.median:
        return "equal"
    winner, lower, higher = ("kpeer", mine, best) if mine.median < best.median else (name, best, mine)
    apart = "" if lower.high < higher.low or lower.count == higher.count == 1 else ", ranges overlap"
    return f"{winner}{times(lower.median, higher.median)}{apart}"


def times(lower, higher):
    """How many times, as far as that can be said."""
    return f", {higher / lower:.1f}×" if lower > 0 and math.isfinite(higher) else ""


@dataclasses.dataclass(frozen=True)
class Aim:
    """A row's figure is to be at most `most`, or at most `share` of the best rival's."""

    most: float | None = None
    share: float | None = None

    def bound(self, theirs):
        if self.most is not None:
            return self.most
        rivals = [each.median for each in theirs.values() if isinstance(each, Summary)]
        return self.share * min(rivals) if rivals else None

    def verdict(self, mine, theirs, show):
        """A cell for the table; `show` gives a value with its unit."""
        bound = self.bound(theirs)
        if not isinstance(mine, Summary) or bound is None:
            return "–"
        wanted = f"≤ {show(bound)}"
        if mine.median <= bound:
            return f"{wanted}: met"
        if not math.isfinite(mine.median) or bound == 0:
            return f"{wanted}: **missed**"
        return f"{wanted}: **missed, {mine.median / bound:.1f}×**"


def slope(points):
    """The exponent b of y = a·x^b that fits best (least squares of the logarithms); None for fewer than two points."""
    logs = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    if len({x for x, _ in logs}) < 2:
        return None
    return statistics.linear_regression(*zip(*logs)).slope
