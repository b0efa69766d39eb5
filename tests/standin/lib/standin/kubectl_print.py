"""How kubectl shows objects: tables, names, JSON, YAML, JSONPath, columns."""
import json
import time

from standin import host, jsonpath, resources
from standin.store import condition


def age(each):
    text = each["metadata"].get("creationTimestamp")
    if not text:
        return "<unknown>"
    import calendar

    seconds = max(0, int(time.time() - calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))))
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 7200:
        return f"{seconds // 60}m"
    return f"{seconds // 3600}h" if seconds < 172800 else f"{seconds // 86400}d"


def roles(node):
    found = [
        label.partition("/")[2]
        for label in node["metadata"].get("labels") or {}
        if label.startswith("node-role.kubernetes.io/")
    ]
    return ",".join(sorted(found)) or "<none>"


def node_status(node):
    state = {"True": "Ready", "False": "NotReady"}.get(condition(node, "Ready").get("status"), "NotReady")
    return state + (",SchedulingDisabled" if node["spec"].get("unschedulable") else "")


def address(node, kind):
    return next(
        (each["address"] for each in (node.get("status") or {}).get("addresses") or () if each["type"] == kind),
        "<none>",
    )


def pod_status(pod):
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for each in status.get("containerStatuses") or ():
        waiting = (each.get("state") or {}).get("waiting")
        if waiting:
            return waiting.get("reason", "Waiting")
    return status.get("phase", "Unknown")


def nodes(each):
    info = (each.get("status") or {}).get("nodeInfo") or {}
    return [
        ("NAME", each["metadata"]["name"]),
        ("STATUS", node_status(each)),
        ("ROLES", roles(each)),
        ("AGE", age(each)),
        ("VERSION", info.get("kubeletVersion", "")),
        ("+INTERNAL-IP", address(each, "InternalIP")),
        ("+EXTERNAL-IP", "<none>"),
        ("+OS-IMAGE", info.get("osImage", "")),
        ("+KERNEL-VERSION", info.get("kernelVersion", "")),
        ("+CONTAINER-RUNTIME", info.get("containerRuntimeVersion", "")),
    ]


def pods(each):
    states = (each.get("status") or {}).get("containerStatuses") or ()
    return [
        ("NAME", each["metadata"]["name"]),
        ("READY", f"{sum(bool(one.get('ready')) for one in states)}/{len(each['spec']['containers'])}"),
        ("STATUS", pod_status(each)),
        ("RESTARTS", "0"),
        ("AGE", age(each)),
        ("+IP", (each.get("status") or {}).get("podIP", "<none>")),
        ("+NODE", each["spec"].get("nodeName", "<none>")),
        ("+NOMINATED NODE", "<none>"),
        ("+READINESS GATES", "<none>"),
    ]


def daemon_sets(each):
    have = each.get("status") or {}
    selector = ",".join(
        f"{key}={value}"
        for key, value in (each["spec"].get("template", {}).get("spec", {}).get("nodeSelector") or {}).items()
    )
    number = [
        have.get(name, 0)
        for name in (
            "desiredNumberScheduled",
            "currentNumberScheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberAvailable",
        )
    ]
    heads = ("DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE")
    return [
        ("NAME", each["metadata"]["name"]),
        *zip(heads, map(str, number)),
        ("NODE SELECTOR", selector or "<none>"),
        ("AGE", age(each)),
    ]


def deployments(each):
    have = each.get("status") or {}
    return [
        ("NAME", each["metadata"]["name"]),
        ("READY", f"{have.get('readyReplicas', 0)}/{each['spec'].get('replicas', 1)}"),
        ("UP-TO-DATE", str(have.get("updatedReplicas", 0))),
        ("AVAILABLE", str(have.get("availableReplicas", 0))),
        ("AGE", age(each)),
    ]


def services(each):
    ports = ",".join(f"{one.get('port')}/{one.get('protocol', 'TCP')}" for one in each["spec"].get("ports") or ())
    return [
        ("NAME", each["metadata"]["name"]),
        ("TYPE", each["spec"].get("type", "ClusterIP")),
        ("CLUSTER-IP", each["spec"].get("clusterIP", "<none>")),
        ("EXTERNAL-IP", "<none>"),
        ("PORT(S)", ports or "<none>"),
        ("AGE", age(each)),
    ]


def others(each):
    return [("NAME", each["metadata"]["name"]), ("AGE", age(each))]


COLUMNS = {"Node": nodes, "Pod": pods, "DaemonSet": daemon_sets, "Deployment": deployments, "Service": services}


def table(kind, items, wide, spaces, head):
    rows = []
    for each in items:
        cells = [
            (name.lstrip("+"), value)
            for name, value in COLUMNS.get(kind, others)(each)
            if wide or not name.startswith("+")
        ]
        if spaces:
            cells.insert(0, ("NAMESPACE", each["metadata"].get("namespace", "")))
        if not rows and head:
            rows.append([name for name, _ in cells])
        rows.append([value for _, value in cells])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
    for row in rows:
        host.say("   ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def custom(spec, items, head):
    pairs = [part.partition(":")[::2] for part in spec.split(",")]
    rows = [[name for name, _ in pairs]] if head else []
    for each in items:
        rows.append(
            [",".join(jsonpath.shown(one) for one in jsonpath.walk([each], path)) or "<none>" for _, path in pairs]
        )
    widths = [max(len(row[at]) for row in rows) for at in range(len(pairs))] if rows else []
    for row in rows:
        host.say("   ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def show(kind, items, one, output, spaces=False, head=True):
    """Prints objects in the format asked for; `one`: an object was asked for by name, so no list is put round it."""
    how, _, spec = output.partition("=")
    value = (
        items[0]
        if one
        else {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": "", "selfLink": ""}}
    )
    if how == "json":
        host.say(json.dumps(value, indent=4))
    elif how == "yaml":
        import yaml

        host.say(yaml.safe_dump(value, default_flow_style=False).rstrip())
    elif how == "name":
        for each in items:
            host.say(f"{resources.qualified(kind)}/{each['metadata']['name']}")
    elif how in ("jsonpath", "jsonpath-as-json"):
        import sys

        sys.stdout.write(jsonpath.render(spec, value))
    elif how == "custom-columns":
        custom(spec, items, head)
    elif how in ("", "wide"):
        table(kind, items, how == "wide", spaces, head)
    else:
        raise host.Failure(
            f'error: unable to match a printer suitable for the output format "{how}", allowed formats are: '
            "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,"
            "jsonpath-file,name,template,templatefile,wide,yaml"
        )
