"""What `micro` costs: nanoseconds by itself, instructions under callgrind.

Instructions of kpeer's own code are the same on every machine for one compiler; those of the libraries are not, since
libsodium and the C library choose their code by the processor. So they are kept apart, and the dear ones among the calls
of libsodium are counted.
"""

import dataclasses
import pathlib
import re
import shutil
import subprocess
import tempfile

from .figures import Refused

TOLERANCE = 0.10
TRIGGER = "desc: Trigger: Client Request: "


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one call."""

    own: int  # instructions of the program's own code
    whole: int  # with those of libraries
    crypto: float  # operations on curves and with ciphers


class CannotHere(Exception):
    """Nothing can be counted; the text says why."""


def parse(text, program):
    """A dump of callgrind's -> (name of the case, own instructions, all of them); None for other dumps."""
    name, here, own, whole, skip = None, "", 0, 0, False
    for line in text.splitlines():
        if line.startswith(TRIGGER):
            name = line.removeprefix(TRIGGER)
        elif line.startswith("ob="):
            here = line.removeprefix("ob=")
        elif line.startswith("calls="):
            skip = True  # the next line is the callee's, and counted there
        elif re.match(r"[0-9+*-]\S* \d+$", line):
            if not skip:
                count = int(line.split()[1])
                whole += count
                own += count * (here == program)
            skip = False
    return (name, own, whole) if name else None


def told(out):
    """What micro printed -> {case: (calls, nanoseconds, crypto)}."""
    rows = (line.split("\t") for line in out.splitlines())
    return {name: (int(calls), int(ns), float(crypto)) for name, calls, ns, crypto in rows}


def nanoseconds(program, times=200):
    """By case: the least mean of three runs."""
    found = {}
    for _ in range(3):
        out = subprocess.run([program, str(times)], capture_output=True, text=True, check=True).stdout
        for name, (_, ns, _) in told(out).items():
            found[name] = min(ns, found.get(name, ns))
    return found


def instructions(program):
    """Cost by case."""
    program = str(pathlib.Path(program).resolve())
    if not shutil.which("valgrind"):
        raise CannotHere("there is no valgrind on this machine")
    with tempfile.TemporaryDirectory(prefix="kpeer-micro-") as folder:
        words = ["valgrind", "-q", "--tool=callgrind", "--collect-atstart=no", "--compress-strings=no", "--compress-pos=no",
                 f"--callgrind-out-file={folder}/out", program, "1"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"valgrind: status {done.returncode}: {done.stderr[-2000:]}")
        dumps = [parse(path.read_text(errors="replace"), program) for path in pathlib.Path(folder).iterdir()]
    counted = {name: (own, whole) for name, own, whole in filter(None, dumps)}
    if not counted:
        raise CannotHere("micro was built without valgrind/callgrind.h")
    return {name: Cost(round(counted[name][0] / calls), round(counted[name][1] / calls), crypto)
            for name, (calls, _, crypto) in told(done.stdout).items()}


# --- the gate ------------------------------------------------------------------------------------------------------------


def read_expected(text):
    """The file of expected counts -> (what they were compiled by, {case: (instructions, crypto)})."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    rows = (line.split("\t") for line in lines[1:])
    return lines[0], {name: (int(own), float(crypto)) for name, own, crypto in rows}


def write_expected(compiled, costs):
    return "".join([
        "# For one of each: instructions of kpeer's own code, and operations of libsodium that are dear. The test\n",
        "# unit.instructions fails where they grow by more than a tenth. After a change that is meant:\n",
        "# tests/benchmark/instructions --renew, with the arguments that `ctest -R instructions -V` shows.\n",
        f"{compiled}\n", *(f"{name}\t{cost.own}\t{cost.crypto:g}\n" for name, cost in costs.items())])


def compare(expected, costs, tolerance=TOLERANCE):
    """(what is wrong, what got better by as much), in words."""
    worse, better = [], []
    for name in sorted(expected.keys() | costs.keys()):
        if name not in costs or name not in expected:
            worse.append(f"{name}: {'not run' if name in expected else 'there is no expected count'}")
            continue
        for now, then, what in ((costs[name].own, expected[name][0], "instructions"),
                                (costs[name].crypto, expected[name][1], "operations of libsodium")):
            if now > then * (1 + tolerance):
                worse.append(f"{name}: {now:g} {what}, {then:g} expected")
            elif now < then * (1 - tolerance):
                better.append(f"{name}: {now:g} {what}, {then:g} expected")
    return worse, better


def section(costs, ns):
    """`ns` are nanoseconds by case, or a Refused."""
    lines = ["## One piece of work", "",
             "Of each the least mean of three runs, and instructions counted by callgrind: of kpeer's own code, and with those of "
             "libraries, which differ from processor to processor. A step is one of a group of four, whatever it has to do then. "
             "The gate on instructions is `unit.instructions`.", "",
             "| | ns | instructions, own | instructions, all | operations of libsodium |", "| --- | --- | --- | --- | --- |"]
    refused = [f"Nanoseconds are {ns.reason}.", ""] if isinstance(ns, Refused) else []
    shown = {name: "–" if refused else f"{ns[name]:,}" for name in costs}
    return lines[:-2] + refused + lines[-2:] + [
        f"| {name} | {shown[name]} | {cost.own:,} | {cost.whole:,} | {cost.crypto:g} |" for name, cost in costs.items()]
