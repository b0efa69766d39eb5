"""Each command in each form that `-o` names: data that are the same in JSON and YAML, or a word on what there is."""

import json
import re

import yaml
from harness.agree import all_ready

STATUSES = {0, 1, 2, 3, 4, 5, 6, 130}  # of kpeer(1)
DATA = ("json", "yaml")
OTHER_KEY, SECOND = "/etc/kpeer/other.key", "/etc/kpeer/second.yaml"

# Each command that prints data, with the words after it, on the host that is named; what is done once alone has a host of
# its own for each form. Whether it streams: an object a line, or a document each.
USES = [
    ("up", "", "master", True),
    ("members", "", "master", False),
    ("status", "", "worker", False),
    ("events", "--no-follow", "worker", True),
    ("preflight", "", "master", False),
    ("preflight", "--fix", "worker", False),
    ("images", "list", "worker", False),
    ("images", "pull", "worker", False),
    ("images", f"verify --config {SECOND}", "worker", False),
    ("key", f"generate --force --key-file {OTHER_KEY}", "worker", False),
    ("key", f"show --key-file {OTHER_KEY}", "worker", False),
    ("key", "rotate", "master", False),
    ("config", "print", "worker", False),
    ("config", "validate", "worker", False),
    ("kubeconfig", "", "worker", False),
    ("kubeconfig", "--install --force", "worker", False),
    ("version", "", "worker", False),
    ("verify", "", "worker", False),
    ("why", "", "worker", False),
    ("report", "", "worker", False),
]
ONCE = [("evict", "master", False), ("leave", "itself", True)]
NO_DATA = {"completion": "bash", "agent": "", "metrics": ""}


def shape(value):
    """What is the same of two answers at two moments: names of fields, and kinds of values."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(each), sort_keys=True) for each in value})
    return type(value).__name__


def read(form, streams, text):
    """The documents in an output."""
    if form == "yaml":
        return list(yaml.safe_load_all(text))
    return [json.loads(line) for line in text.splitlines()] if streams else [json.loads(text)]


def ask(host, words, form, streams):
    done = host.kpeer(*words.split(), "-o", form, seconds=100)
    assert done.status in STATUSES and done.out, done
    return done.status, read(form, streams, done.out)


def assert_same_data(words, streams, first, second):
    """`first` and `second` are what ask() gave for JSON and for YAML."""
    assert first[0] == second[0], f"{words}: status {first[0]} with JSON, {second[0]} with YAML"
    one, other = ([shape(each) for each in found[1]] for found in (first, second))
    if streams:  # what happens differs from time to time; how it is told does not
        named = [{each["event"]: shape(each).keys() for each in found[1] if "event" in each} for found in (first, second)]
        both = named[0].keys() & named[1].keys()
        assert both or not named[0], f"{words}: no event in both: {named}"
        assert all(named[0][event] >= {"t", "mono_us", "event"} <= named[1][event] for event in both), named
        one, other = [found[-1:] if "event" not in found[-1] else [] for found in (one, other)]
    assert one == other, f"{words}: JSON has {one}, YAML has {other}"


def commands_of(host):
    """The command table, as help shows it."""
    listed = host.kpeer("--help").expect(0).out.partition("Commands:\n")[2].partition("\n\n")[0]
    return re.findall(r"^  ([a-z]+) ", listed, flags=re.M)


def test_every_command_in_every_form(trial):
    lab = trial.lab(6)
    lab.form("--expect", "6", seconds=180)
    all_ready(lab.hosts)
    master = next(host for host in lab.hosts if host.has("/etc/kubernetes/admin.conf"))
    *spare, worker = (host for host in lab.hosts if host is not master)
    used = {each[0] for each in (*USES, *ONCE)} | NO_DATA.keys()
    assert set(commands_of(worker)) == used, f"not in this test, or gone: {set(commands_of(worker)) ^ used}"

    worker.put(SECOND, "images:\n  second: /etc/kpeer/digests\n")
    worker.put("/etc/kpeer/digests", f"k8s.gcr.io/pause:3.2 sha256:{'0' * 64}\n")
    for command in used:
        done = worker.kpeer(command, "-o", "xml").expect(2, "-o xml: table, wide, json or yaml is expected")
        assert "try: " in done.err, done
    for command, word in NO_DATA.items():
        for form in DATA:
            error = read(form, False, worker.kpeer(command, *word.split(), "-o", form).expect(2).err)[0]["error"]
            assert "table or wide" in error["message"] and error["code"] == "invalid", error
    worker.kpeer("completion", "bash", "-o", "wide").expect(0)

    for command, words, where, streams in USES:
        host, line = {"master": master, "worker": worker}[where], f"{command} {words}".strip()
        assert_same_data(line, streams, *(ask(host, line, form, streams) for form in DATA))
        if line != "key rotate":  # as the others, and long
            lines = [host.kpeer(*line.split(), "-o", form, seconds=100) for form in ("table", "wide")]
            assert all(each.status in STATUSES and each.out and not each.out.startswith(("{", "---")) for each in lines), lines
    for command, where, streams in ONCE:
        told = []
        for form in DATA:
            gone = spare.pop()
            host, line = (gone, command) if where == "itself" else (master, f"{command} {gone.name}")
            told.append(ask(host, line, form, streams))
            assert told[-1][0] == 0, told
        assert_same_data(command, streams, *told)
    assert told[0][1][-1] == {"left": True}, told


def test_errors_in_every_form(trial):
    host = trial.lab(1).hosts[0]
    for command in ("members", "status", "events", "leave", "kubeconfig", "evict node2", "key rotate"):
        told = [read(form, False, host.kpeer(*command.split(), "-o", form).expect(3).err)[0] for form in DATA]
        assert told[0] == told[1] and told[0]["error"].keys() == {"code", "message", "hint"}, told
        assert told[0]["error"]["code"] == "no-agent", told
