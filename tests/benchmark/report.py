"""The figures as tables and plots."""

import dataclasses
import math
import subprocess

from .figures import Aim, Refused, ahead

PROGRAMS = {"kpeer": "kpeer", "kpeer-alone": "kpeer, no founding", "serf": "Serf, mDNS", "serf-joined": "Serf, by address"}
MINE, INSTEAD, RIVALS = "kpeer", "kpeer-alone", ("serf", "serf-joined")


# --- values with their units ---------------------------------------------------------------------------------------------


def digits(value, unit):
    if not math.isfinite(value):
        return "never"
    text = f"{value:.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"
    return f"{text} {unit}".strip()


def seconds(value):
    return digits(value, "s") if value >= 1 else digits(value * 1000, "ms")


def data(value):
    for factor, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= factor:
            return digits(value / factor, unit)
    return digits(value, "B")


def rate(value):
    return digits(value / 1000, "kB/s") if value >= 1000 else digits(value, "B/s")


def cpu(value):
    return digits(value * 1000, "ms/s")


def plain(value):
    return digits(value, "")


@dataclasses.dataclass(frozen=True)
class Row:
    key: str
    words: str
    show: callable
    aims: dict = dataclasses.field(default_factory=dict)  # by size; None: each size

    def aim(self, size):
        return self.aims.get(size, self.aims.get(None))


ALONE = (
    Row("ready", "start to ready, a host alone", seconds, {None: Aim(0.010)}),
    Row("binary", "binary, stripped", data, {None: Aim(1 << 20)}),
)
ROWS = (
    Row("converge", "all started at once: everyone knows all", seconds, {64: Aim(0.3), 128: Aim(1.0)}),
    Row("formed", "… and all are ready (rehearsal)", seconds),
    Row("own", "… and all are ready, with steps that take no time", seconds, {3: Aim(0.150)}),
    Row("join-knows", "one more joins: it knows all", seconds),
    Row("join-known", "one more joins: all know it", seconds, {32: Aim(0.030)}),
    Row("kill-first", "SIGKILL of a process: the first has noticed", seconds),
    Row("kill-median", "… half of them", seconds),
    Row("kill-last", "… all", seconds, {None: Aim(0.1)}),
    Row("cut-first", "a host is cut off: the first has noticed", seconds),
    Row("cut-median", "… half of them", seconds),
    Row("cut-last", "… all", seconds, {None: Aim(2.0)}),
    Row("cut-heal", "… healed: whole again", seconds, {None: Aim(1.0)}),
    Row("halves-heal", "cut into halves, healed: whole again", seconds, {None: Aim(1.0)}),
    Row("leave", "a leave: all know of it", seconds),
    Row("loss10", "members wrongly failed in 60 s of 10 % loss", plain),
    Row("loss25", "members wrongly failed in 60 s of 25 % loss", plain, {None: Aim(0)}),
    Row("rest-pss", "at rest: memory of a host (PSS)", data, {32: Aim(3e6)}),
    Row("rest-cpu", "at rest: processor time of a host", cpu, {32: Aim(0.001)}),
    Row("rest-bytes", "at rest: bytes of a host, in and out", rate, {8: Aim(share=1), 64: Aim(share=0.5)}),
    Row("rest-bytes-in", "… in", rate),
    Row("rest-bytes-out", "… out", rate),
    Row("rest-packets", "at rest: packets of a host and second", plain),
    Row("rest-threads", "threads of a host", plain),
    Row("rest-descriptors", "descriptors of a host", plain),
)


# --- tables --------------------------------------------------------------------------------------------------------------


def cell(summary, show):
    """The median; in brackets the spread, the number of samples, and how busy the machine was."""
    if isinstance(summary, Refused):
        return summary.reason if summary.reason != "not measured" else "–"
    if summary.count == 1:
        return f"{show(summary.median)} (1; {summary.busy:.0%})"
    return f"{show(summary.median)} ({spread(show(summary.low), show(summary.high))}; {summary.count}; {summary.busy:.0%})"


def spread(low, high):
    """"98 ms", "120 ms" -> "98–120 ms"."""
    number, _, unit = low.partition(" ")
    return f"{number if unit and high.endswith(f' {unit}') else low}–{high}"


def line(cells):
    return "| " + " | ".join(cells) + " |"


def mine(figures, size, row):
    """What stands for kpeer: the whole of it, or where that is not measured the one that founds nothing."""
    whole = figures.summary(size, MINE, row)
    return figures.summary(size, INSTEAD, row) if whole == Refused("not measured") else whole


def table(figures, size, rows):
    """The rows of which anything was measured, as lines of Markdown."""
    lines = [line(["", *PROGRAMS.values(), "ahead", "aim for kpeer"]), line(["---"] * (len(PROGRAMS) + 3))]
    for row in rows:
        sums = {key: figures.summary(size, key, row.key) for key in PROGRAMS}
        if all(each == Refused("not measured") for each in sums.values()):
            continue
        rivals, aim = {PROGRAMS[key]: sums[key] for key in RIVALS}, row.aim(size)
        ours = mine(figures, size, row.key)
        lines.append(line([row.words, *(cell(each, row.show) for each in sums.values()), ahead(ours, rivals),
                           aim.verdict(ours, rivals, row.show) if aim else ""]))
    return lines


def refused(figures, rows):
    """What is not reported, each with its reason: what the run ends with."""
    found = []
    for size in figures.sizes():
        for row in rows:
            for key, title in PROGRAMS.items():
                each = figures.summary(size, key, row.key)
                if isinstance(each, Refused) and each.reason != "not measured":
                    found.append(f"{row.words}, {size} hosts, {title}: {each.reason.removeprefix('not reported: ')}")
    return found


# --- plots ---------------------------------------------------------------------------------------------------------------

PLOTS = {
    "bench-forming": ("Seconds until everyone knows all, and until all know a newcomer", 1,
                      (("converge", PROGRAMS), ("join-known", ("kpeer", "serf")))),
    "bench-noticing": ("Seconds until all have noticed a killed process and a host that was cut off", 1,
                       (("kill-last", ("kpeer", "serf")), ("cut-last", ("kpeer", "serf")))),
    "bench-rest": ("Bytes a second of a host at rest, in and out", 1, (("rest-bytes", ("kpeer", "serf")),)),
}
WORDS = {"converge": "all know all", "join-known": "newcomer known", "kill-last": "killed", "cut-last": "cut off",
         "rest-bytes": "at rest"}


def gnuplot(path, title, x, y, lines):
    """Draws `lines`, {name: [(x, y) …]}, with logarithmic axes. Lines without two points are left out."""
    lines = {name: [point for point in points if point[1] > 0] for name, points in lines.items()}
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    if not lines:
        return False
    ticks = ", ".join(f"{each:g}" for each in sorted({point[0] for points in lines.values() for point in points}))
    script = [f'set terminal svg size 760,460 font "sans-serif,13" background "white"; set output "{path}"',
              f'set title "{title}"; set xlabel "{x}"; set ylabel "{y}"; set logscale xy; set grid',
              "set key outside bottom center horizontal maxcols 3",
              f"set xtics ({ticks}); set border 3; set tics nomirror"]
    for number, points in enumerate(lines.values()):
        script += [f"$data{number} << END", *(f"{a:g} {b:g}" for a, b in points), "END"]
    drawn = [f'$data{number} with linespoints linewidth 2 pointtype 7 title "{name}"' for number, name in enumerate(lines)]
    script.append("plot " + ", ".join(drawn))
    subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True, check=True)
    return True


def plots(figures, folder):
    """Draws what there are figures for; the names of the files."""
    drawn = []
    for name, (title, scale, rows) in PLOTS.items():
        lines = {}
        for row, programs in rows:
            for program in programs:
                sums = [(size, mine(figures, size, row) if program == MINE else figures.summary(size, program, row))
                        for size in figures.sizes()]
                lines[f"{PROGRAMS[program]}: {WORDS[row]}"] = [
                    (size, each.median * scale) for size, each in sums
                    if not isinstance(each, Refused) and math.isfinite(each.median)]
        if gnuplot(folder / f"{name}.svg", title, "hosts", "", lines):
            drawn.append(name)
    return drawn
