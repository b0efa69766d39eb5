"""The manual pages against the program's tables.

  kpeer(1)         each command with its page and its summary, the flags of every command, each exit status
  kpeer-*(1)       one page a command, with exactly its own flags, its arguments, and examples that the program parses;
                   kpeer-up(1) has the agent's flags as well. Lists of words are whole: events, phases, states, checks
  kpeer-protocol(7)  each reason for which something is dropped
  kpeer.yaml(5)    each key, with its default and an example that the program takes
  all of them      flags stand with a command that takes them, references lead to pages, scdoc has nothing to say
"""

import functools
import re
import shutil
import subprocess

from documents import FENCE, check_calls, check_environment, check_example, check_parses, flags_in

# A section whose entries are the words of one of the program's lists.
LISTS = [("kpeer-events.1", "EVENTS", "event"), ("kpeer-members.1", "STATES", "state"),
         ("kpeer-status.1", "PHASES", "phase"), ("kpeer-preflight.1", "CHECKS", "check"),
         ("kpeer-protocol.7", "DROPPED", "dropped"),
         ("kpeer-protocol.7", "HEARD", "heard"),
         ("kpeer-metrics.1", "METRICS", "metric"), ("kpeer-agent.1", "JOURNAL", "field")]
SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "FLAGS", "EXAMPLES", "SEE ALSO"]
OTHERS = {"containerd(8)", "journalctl(1)", "kubectl(1)", "systemctl(1)", "systemd.service(5)"}


class Page:
    def __init__(self, path, root):
        self.path, self.where, self.name = path, path.relative_to(root), path.name.removesuffix(".scd")
        self.raw = path.read_text(encoding="utf-8")
        self.text = self.raw.replace("\\_", "_")
        parts = re.split(r"^# (.+)$", self.text, flags=re.M)
        self.title, self.section = parts[0].strip(), dict(zip(parts[1::2], parts[2::2]))

    def entries(self, title):
        """Each word at the head of an entry of a section -> the entry's text."""
        found = {}
        for part in re.split(r"^(?=\*)", FENCE.sub("", self.section.get(title, "")), flags=re.M):
            head, _, rest = part.partition("\n")
            if head.startswith("*"):
                found |= {word: rest for word in re.findall(r"\*([^*]+)\*", head)}
        return found

    def references(self):
        return set(re.findall(r"\*([\w.-]+)\*(\([1-8]\))", self.text))


def check_set(where, of, there, wanted, faults):
    for word in sorted(wanted - there):
        faults.tell(where, f"{of}: {word} is not there")
    for word in sorted(there - wanted):
        faults.tell(where, f"{of}: there is no {word}")


def check_flags(page, wanted, faults):
    there = set().union(*map(flags_in, page.entries("FLAGS")))
    check_set(page.where, "FLAGS", {f"--{flag}" for flag in there}, {f"--{flag}" for flag in wanted}, faults)


def check_lists(tables, page, faults):
    for name, title, kind in LISTS:
        if page.name != name:
            continue
        there = page.entries(title)
        check_set(page.where, title, set(there), tables.words[kind], faults)
        for word in sorted(word for word, text in there.items() if not text.strip()):
            faults.tell(page.where, f"{title}: {word} is not explained")


def check_uses(tables, page, taken, faults):
    """Flags in text and code stand with a command that takes them; those that stand alone are of this page."""
    text, spans = FENCE.sub("", page.text), [block for _, block in FENCE.findall(page.text)]
    for paragraph in re.split(r"\n\s*\n", text):
        bold = re.findall(r"\*([^*]+)\*", paragraph)
        spans += [re.sub(r"\s+", " ", span) for span in bold if "kpeer " in span]
        alone = " ".join([span for span in bold if "kpeer " not in span] + [re.sub(r"\*[^*]+\*", " ", paragraph)])
        for flag in sorted(flags_in(alone) - taken):
            faults.tell(page.where, f"--{flag} is told of, and is no flag of this page's")
    for span in spans:
        check_calls(tables, page.where, span, faults)


def check_references(page, pages, faults):
    for name, section in sorted(page.references()):
        if f"{name}{section}" not in OTHERS and f"{name}.{section[1]}" not in pages:
            faults.tell(page.where, f"there is no page {name}{section}")


@functools.lru_cache(maxsize=None)
def render(text):
    """What scdoc says of a page, empty where that is nothing."""
    done = subprocess.run(["scdoc"], input=text, text=True, capture_output=True, check=False)
    return f"status {done.returncode}: {done.stderr.strip()}" if done.returncode or done.stderr else ""


def check_renders(page, faults):
    said = render(page.raw) if shutil.which("scdoc") else ""  # complete tells where it is missing
    if said:
        faults.tell(page.where, f"scdoc: {said}")


def check_synopsis(tables, page, command, faults):
    synopsis, args = page.section.get("SYNOPSIS", ""), tables.args.get(command, "")
    if f"*kpeer {command}*" not in synopsis:
        faults.tell(page.where, f"SYNOPSIS: *kpeer {command}* is not there")
    there = set(re.findall(r"\*([a-z]+)\*", synopsis))
    check_set(page.where, "SYNOPSIS", there, set(re.findall(r"\b[a-z]+\b", args)), faults)
    for word in re.findall(r"\b[A-Z]+\b", args):
        if f"_{word.lower()}_" not in synopsis:
            faults.tell(page.where, f"SYNOPSIS: _{word.lower()}_ is not there")


def check_command(tables, page, command, faults):
    told, wanted = page.section.get("NAME", "").strip(), f"kpeer-{command} - {tables.summary[command]}"
    if told != wanted:
        faults.tell(page.where, f"NAME is {told!r}, not {wanted!r}")
    for title in SECTIONS:
        if title not in page.section:
            faults.tell(page.where, f"there is no section {title}")
    check_synopsis(tables, page, command, faults)
    check_flags(page, tables.commands[command] | (tables.agent if command == "up" else set()), faults)
    for name in ["kpeer"] + ["kpeer-up"] * (command in tables.takes_agent - {"up"}):
        if f"*{name}*(1)" not in page.section.get("FLAGS", ""):
            faults.tell(page.where, f"FLAGS: it does not refer to {name}(1)")
    examples = "".join(block for _, block in FENCE.findall(page.section.get("EXAMPLES", "")))
    if command not in check_parses(tables, page.where, examples, faults):
        faults.tell(page.where, f"there is no example of kpeer {command}")
    check_uses(tables, page, tables.flags_of(command), faults)


def check_overview(tables, page, pages, faults):
    there = page.entries("COMMANDS")
    check_set(page.where, "COMMANDS", set(there), {f"kpeer-{command}" for command in tables.commands}, faults)
    for command, summary in tables.summary.items():
        told = there.get(f"kpeer-{command}", summary).strip()
        if told != summary:
            faults.tell(page.where, f"{command}: {told!r} is not its summary, {summary!r}")
    check_flags(page, tables.shared, faults)
    exits = page.entries("EXIT STATUS")
    check_set(page.where, "EXIT STATUS", set(exits), set(tables.exits), faults)
    for status in exits.keys() & tables.exits.keys():
        words = set(re.findall(r"_([a-z-]+)_", exits[status]))
        check_set(page.where, f"EXIT STATUS {status}", words, tables.exits[status], faults)
    for name in sorted(set(pages) - {"kpeer.1"} - {f"{name}.{section[1]}" for name, section in page.references()}):
        faults.tell(page.where, f"it does not refer to {name}")
    check_uses(tables, page, tables.shared | flags_in(" ".join(tables.summary.values())), faults)


def check_keys(tables, page, faults):
    there = page.entries("KEYS")
    for key in sorted(tables.keys.keys() - there.keys()):
        faults.tell(page.where, f"key {key} is not there")
    for key in sorted(there.keys() - tables.keys.keys()):
        faults.tell(page.where, f"there is no key {key}")
    for key in tables.keys.keys() & there.keys():
        told = re.search(r"Default: _(.+?)_\.", there[key])
        said = told.group(1) if told else "-"
        if said != tables.keys[key]:
            faults.tell(page.where, f"{key}: the default is {tables.keys[key]}, not {said}")
        for flag in sorted(flags_in(there[key]) - tables.shared - tables.agent):
            faults.tell(page.where, f"{key}: there is no flag --{flag}")
    check_key_examples(tables, page, there, faults)
    for _, block in FENCE.findall(page.section.get("EXAMPLE", "")):
        check_example(tables, page.where, block, faults)
    check_uses(tables, page, tables.shared | tables.agent, faults)


def check_key_examples(tables, page, there, faults):
    examples = {}
    for key, entry in sorted(there.items()):
        found = re.search(r"Example: _(.+)_\.$", entry, flags=re.M)
        map_of, _, last = key.rpartition(".")
        begins = f"{map_of}: {{{last}: " if map_of else f"{key}: "
        if not found:
            faults.tell(page.where, f"{key}: there is no example")
        elif not found.group(1).startswith(begins) and map_of != "tools":
            faults.tell(page.where, f"{key}: the example is of another key")
        else:
            examples[key] = found.group(1)
    for key, fault in zip(examples, tables.faults_of("keys", examples.values())):
        if fault:
            faults.tell(page.where, f"{key}: {fault}")


def check_pages(tables, tree, faults):
    """Returns how many pages there are."""
    pages = {page.name: page for page in (Page(path, tree) for path in sorted((tree / "docs/man").glob("*.scd")))}
    for command in sorted(tables.commands):
        if f"kpeer-{command}.1" not in pages:
            faults.tell("docs/man", f"command {command} has no page")
    for page in pages.values():
        name, _, section = page.name.rpartition(".")
        command = name.removeprefix("kpeer-") if section == "1" else ""
        if page.title != f"{name}({section})":
            faults.tell(page.where, f"it calls itself {page.title!r}")
        if page.name == "kpeer.1":
            check_overview(tables, page, pages, faults)
        elif page.name == "kpeer.yaml.5":
            check_keys(tables, page, faults)
        elif command in tables.commands:
            check_command(tables, page, command, faults)
        elif section == "1":
            faults.tell(page.where, f"there is no command {command}")
        else:
            check_uses(tables, page, set(), faults)
        check_lists(tables, page, faults)
        check_references(page, pages, faults)
        check_environment(tables, page.where, page.text, faults)
        check_renders(page, faults)
    return len(pages)
