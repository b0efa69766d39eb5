"""What is looked for in manual pages and Markdown alike: calls of kpeer with their flags, keys, variables."""

import re
import shlex

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
CALL = re.compile(r"(?:^|[\s;(])(?:sudo )?kpeer ([a-z]+)\b(?=([^\n]*))")
EXAMPLE = re.compile(r"(?:^|[\s;(])kpeer (?=[a-z])([^|;>&#)\n]*)", re.M)
BUILT_IN = {"help"}  # `kpeer help`, which is no command of the table


class Faults:
    def __init__(self):
        self.count = 0

    def tell(self, where, what):
        self.count += 1
        print(f"{where}: {what}")


def flags_in(text):
    return set(re.findall(r"--([a-z][a-z-]*[a-z])", text))


def check_calls(tables, where, code, faults):
    """Every `kpeer COMMAND --flag` in a piece of code; returns the commands that are named."""
    named = set()
    for command, rest in CALL.findall(code.replace("\\\n", " ")):
        if command in BUILT_IN:
            continue
        if command not in tables.commands:
            faults.tell(where, f"there is no command kpeer {command}")
            continue
        named.add(command)
        rest = re.split(r"\s#|[;|&]|\s\s\S", rest)[0]
        for flag in sorted(flags_in(rest) - tables.flags_of(command)):
            faults.tell(where, f"kpeer {command} has no flag --{flag}")
    return named


def check_parses(tables, where, code, faults):
    """Every whole command line in a block of code; returns the commands that are named."""
    calls = [call for call in map(shlex.split, EXAMPLE.findall(code)) if call[0] not in BUILT_IN]
    for call, fault in zip(calls, tables.faults_of("calls", map("\t".join, calls))):
        if fault:
            faults.tell(where, f"kpeer {' '.join(call)}: {fault}")
    return {call[0] for call in calls}


def exits_in(text, begins, between):
    """The statuses of a list such as "Exit status: 0 done, 1 failed", which ends with its paragraph."""
    listed = text.partition(begins)[2].partition("\n\n")[0]
    return [each.split(" ", 1)[0] for each in re.split(rf"{between}\s*", " ".join(listed.split()))]


def check_exits(tables, where, there, faults):
    wanted = sorted(tables.exits, key=int)
    if there != wanted:
        faults.tell(where, f"the exit statuses are {' '.join(wanted)}, not {' '.join(there)}")


def check_environment(tables, where, text, faults):
    known = tables.environment | tables.words["field"] | {"KPEER_CACHE"}
    for name in sorted(set(re.findall(r"\bKPEER_[A-Z_]+[A-Z]\b", text)) - known):
        faults.tell(where, f"there is no environment variable {name}")


def check_example(tables, where, block, faults):
    """Keys of a YAML example of one level of maps, such as ours."""
    above = ""
    for line in block.splitlines():
        found = re.match(r"^( *)([a-z_-]+):(.*)$", line)
        if not found:
            continue
        if not found.group(1):
            above = found.group(2)
        key = f"{above}.{found.group(2)}" if found.group(1) else above
        is_map = any(known.startswith(key + ".") for known in tables.keys)
        if key not in tables.keys and not is_map:
            faults.tell(where, f"the example has the key {key}, which does not exist")
