"""What is looked for in manual pages and Markdown alike: calls of kpeer with their flags, keys, variables."""

import re
import shlex

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
CALL = re.compile(r"(?:^|[\s;(])(?:sudo )?kpeer ([a-z]+)\b(?=([^\n]*))")
EXAMPLE = re.compile(r"(?:^|[\s;(])kpeer (?=[a-z])([^|;>&#)\n]*)", re.M)
BUILT_IN = {"help"}  # `kpeer help`, which is no command of the table


# Documents whose shell blocks are run by tests, as their marks tell: a line above each, which a reader does not see.
#   <!-- run: NAME -->          a test has block("NAME") or lines("NAME") in it
#   <!-- not run: REASON -->
MARKED = ("README.md", "README.zh.md", "docs/tutorial.md", "docs/tutorial.zh.md")
MARK = re.compile(r"^(?:<!-- (run|not run): ([^\n]+) -->\n)?```(\w*)\n(.*?)^```", re.M | re.S)
USED = re.compile(r"\b(?:block|lines)\(\"([a-z -]+)\"\)")


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


def used_in(tests):
    """The names of blocks that tests run."""
    return {name for path in tests.glob("e2e/*checks/*.py") for name in USED.findall(path.read_text(encoding="utf-8"))}


def check_marks(where, text, used, faults):
    """Each shell block is run by a test, or says why not; returns the names of those that are run."""
    named = set()
    for kind, told, language, block in MARK.findall(text):
        first = block.splitlines()[0] if block else ""
        if language == "sh" and not kind:
            faults.tell(where, f"the block that begins with {first!r} is marked neither as run nor as not run")
        elif kind and language != "sh":
            faults.tell(where, f"the block that begins with {first!r} is marked, and is none for a shell")
        elif not language:
            faults.tell(where, f"the block that begins with {first!r} does not say what it is: sh, text, yaml …")
        elif kind == "run" and told not in used:
            faults.tell(where, f"no test runs the block {told!r}")
        elif kind == "run" and told in named:
            faults.tell(where, f"there are two blocks {told!r}")
        named |= {told} if kind == "run" else set()
    return named


def check_version(tables, where, text, faults):
    for version in sorted(set(re.findall(r"\bkpeer[_-](\d[\w.]*?)(?:_|\.tar)", text)) - {tables.version}):
        faults.tell(where, f"kpeer is of version {tables.version}, not {version}")


def check_packages(tree, where, text, faults):
    """What is to be installed before kpeer is built is what the tests install."""
    listed = re.search(r"apt-get install (gcc .*?[^\\])\n", text, re.S)
    wanted = set((tree / "tests/common.sh").read_text(encoding="utf-8").split())
    for name in sorted(set(listed.group(1).replace("\\\n", " ").split() if listed else ["gcc"]) - wanted):
        faults.tell(where, f"the tests do without the package {name}")


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
