"""The Grafana dashboard, and what the documents tell a Prometheus: its form, and that each metric and label value exists.

The form is the part of Grafana's dashboard model that is used here, closed: a key that is not listed is a fault, so that
a slip of the pen is one.
"""

import json
import re

TEXT, NUMBER, TRUTH = (str,), (int, float), (bool,)
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
TOP = {"title": TEXT, "uid": TEXT, "description": TEXT, "tags": (list,), "schemaVersion": NUMBER, "editable": TRUTH,
       "refresh": TEXT, "time": (dict,), "templating": (dict,), "panels": (list,)}
PANEL = {"id": NUMBER, "type": TEXT, "title": TEXT, "gridPos": (dict,), "datasource": (dict,), "targets": (list,)}
TARGET = {"refId": TEXT, "expr": TEXT}
MAY = {"fieldConfig": (dict,), "transformations": (list,), "legendFormat": TEXT, "format": TEXT, "instant": TRUTH}
KINDS = {"stat", "table", "timeseries", "bargauge"}
COLUMNS = 24

METRIC = re.compile(r"\b(?:kpeer|process)_[a-z_]+\b")
MATCHER = re.compile(r'\b(event|phase|role|state)=~?\\?"([a-z|-]+)\\?"')


def check_keys(where, what, found, wanted, faults, may=()):
    """`found` is an object with these keys, of these types."""
    if not isinstance(found, dict):
        faults.tell(where, f"{what} is no object")
        return False
    for key in sorted(wanted.keys() - found.keys()):
        faults.tell(where, f"{what}: {key} is not there")
    for key, value in found.items():
        kind = wanted.get(key) or (MAY[key] if key in may else None)
        if not kind:
            faults.tell(where, f"{what}: {key} is no key of it")
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not TRUTH):
            faults.tell(where, f"{what}: {key} is of the wrong type")
    return wanted.keys() <= found.keys()


def check_query(tables, where, text, faults):
    """The metrics that a query names, and the words that labels are compared with."""
    for name in sorted(set(METRIC.findall(text))):
        if name not in tables.words["metric"] and re.sub("_(sum|count)$", "", name) not in tables.words["metric"]:
            faults.tell(where, f"there is no metric {name}")
    for label, words in MATCHER.findall(text):
        known = tables.words[label] if label != "role" else {"undecided", "master", "worker"}
        known = known | {"up", "down"} if label == "state" else known
        for word in sorted(set(words.split("|")) - known):
            faults.tell(where, f"there is no {label} {word}")


def check_places(where, panels, faults):
    """Nothing lies over something else, or beyond the edge."""
    taken = {}
    for panel in panels:
        at = panel.get("gridPos", {})
        if sorted(at) != ["h", "w", "x", "y"] or at["x"] + at["w"] > COLUMNS or min(at.values()) < 0:
            faults.tell(where, f"panel {panel.get('id')}: it has no place")
            continue
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                if taken.setdefault((x, y), panel["id"]) != panel["id"]:
                    faults.tell(where, f"panel {panel['id']} lies over panel {taken[x, y]}")
                    return


def check_panel(tables, where, panel, faults):
    what = f"panel {panel.get('id') if isinstance(panel, dict) else panel}"
    if not check_keys(where, what, panel, PANEL, faults, ("fieldConfig", "transformations")):
        return
    if panel["type"] not in KINDS:
        faults.tell(where, f"{what}: there is no kind {panel['type']}")
    if panel["datasource"] != SOURCE:
        faults.tell(where, f"{what}: it has another source")
    for target in panel["targets"]:
        if check_keys(where, f"{what}, query", target, TARGET, faults, ("legendFormat", "format", "instant")):
            if 'job=~"$job"' not in target["expr"]:
                faults.tell(where, f"{what}: a query is not of the job that was chosen")
            if any(target["expr"].count(a) != target["expr"].count(b) for a, b in ("()", "{}", "[]")):
                faults.tell(where, f"{what}: brackets of a query do not match")
            check_query(tables, where, target["expr"], faults)


def check_dashboard(tables, tree, faults):
    path = tree / "docs/grafana/kpeer.json"
    where = path.relative_to(tree)
    try:
        board = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        faults.tell(where, f"it is no JSON: {error}")
        return
    if not check_keys(where, "the dashboard", board, TOP, faults):
        return
    for panel in board["panels"]:
        check_panel(tables, where, panel, faults)
    ids = [panel.get("id") for panel in board["panels"]]
    if len(set(ids)) < len(ids):
        faults.tell(where, "two panels have one id")
    check_places(where, board["panels"], faults)
    check_query(tables, where, json.dumps(board["templating"]), faults)
