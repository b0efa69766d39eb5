"""What the controller manager and the scheduler do: pod ranges for nodes, pods for DaemonSets and Deployments, a node for each pod,
nodes that fell silent, tokens signed, services' addresses. All of it looks at the store when it changed, and once a second."""
import base64
import copy
import hashlib
import ipaddress
import json
import time
import uuid

from standin import bootstrap, host, resources
from standin.store import condition, set_condition
from standin.validate import Invalid, validate as check

__all__ = ["Invalid", "begin", "delete", "facts", "validate", "work"]

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
# What the DaemonSet controller lets its pods bear on any node.
DAEMON_BEARS = [
    (NOT_READY, "NoExecute"),
    (UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (UNSCHEDULABLE, "NoSchedule"),
]


def flags(name):
    """The arguments of a static pod's command as a dict; {} where there is no such manifest."""
    import yaml

    text = host.read(f"{host.KUBE}/manifests/{name}.yaml", "")
    if not text:
        return {}
    words = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]["containers"][0]["command"]
    return dict(word[2:].partition("=")[::2] for word in words[1:] if word.startswith("--"))


def facts():
    """How this control plane is set up, as its manifests say."""
    server, manager, etcd = flags("kube-apiserver"), flags("kube-controller-manager"), flags("etcd")
    return {
        "advertise": server.get("advertise-address", "0.0.0.0"),
        "port": int(server.get("secure-port", 6443)),
        "services": server.get("service-cluster-ip-range", "10.96.0.0/12").split(",")[0],
        "pods": manager.get("cluster-cidr", "").split(",")[0] if manager.get("allocate-node-cidrs") == "true" else "",
        "mask": int(manager.get("node-cidr-mask-size", 24)),
        "data": etcd.get("data-dir", "/var/lib/etcd"),
    }


def validate(store, kind, each, before):
    """Defaults, then checks."""
    if kind == "Secret":
        for name, value in (each.pop("stringData", None) or {}).items():
            each.setdefault("data", {})[name] = base64.b64encode(value.encode()).decode()
        each.setdefault("type", "Opaque")
    elif kind == "Pod":
        each.setdefault("spec", {}).setdefault("restartPolicy", "Always")
        if before is None:
            each["status"] = (
                {"phase": "Pending"}
                if not each["metadata"].get("annotations", {}).get("kubernetes.io/config.mirror")
                else each.get("status") or {"phase": "Pending"}
            )
            account = each["spec"].setdefault("serviceAccountName", "default")
            space = each["metadata"].get("namespace", "default")
            if account != "default" and store.get("ServiceAccount", space, account) is None:
                raise Invalid(
                    f'error looking up service account {space}/{account}: serviceaccount "{account}" not found'
                )
    elif kind == "Namespace":
        each.setdefault("status", {"phase": "Active"})
    elif kind == "Deployment":
        each.get("spec", {}).setdefault("replicas", 1)
    check(each, kind, before)


def begin(store, known):
    """The objects every cluster has from its start."""
    store.born = {}
    for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
        if store.get("Namespace", None, name) is None:
            store.add("Namespace", {"metadata": {"name": name}, "status": {"phase": "Active"}})
    if store.get("Service", "default", "kubernetes") is None:
        first = str(ipaddress.ip_network(known["services"], strict=False)[1])
        store.add(
            "Service",
            {
                "metadata": {"name": "kubernetes", "namespace": "default"},
                "spec": {
                    "type": "ClusterIP",
                    "clusterIP": first,
                    "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": known["port"]}],
                },
            },
        )


def delete(store, kind, each, grace):
    """Removes an object and what belongs to it. A pod on a node is only marked: its kubelet ends it, unless grace is 0."""
    meta = each["metadata"]
    if kind == "Pod" and each["spec"].get("nodeName") and str(grace) != "0":
        if not meta.get("deletionTimestamp"):
            meta["deletionTimestamp"] = host.stamp()
            store.touch(kind, each)
        return
    store.drop(kind, each)
    if kind == "Namespace":
        for other in resources.KINDS:
            if resources.namespaced(other):
                for one in store.all(other, meta["name"]):
                    delete(store, other, one, 0 if other != "Pod" else None)
    elif kind in ("DaemonSet", "Deployment"):
        for pod in owned(store, each):
            delete(store, "Pod", pod, None)


def owned(store, owner):
    return [
        pod
        for pod in store.all("Pod", owner["metadata"]["namespace"])
        if any(ref.get("uid") == owner["metadata"]["uid"] for ref in pod["metadata"].get("ownerReferences") or ())
    ]


def bears(tolerations, taint):
    for one in tolerations:
        if one.get("effect") and one["effect"] != taint["effect"]:
            continue
        if not one.get("key") and one.get("operator") == "Exists":
            return True
        if one.get("key") == taint["key"] and (
            one.get("operator") == "Exists" or one.get("value", "") == taint.get("value", "")
        ):
            return True
    return False


def fits(spec, node, daemon):
    """Whether a pod of this spec may be placed on a node."""
    tolerations = list(spec.get("tolerations") or ())
    if daemon:
        tolerations += [{"key": key, "operator": "Exists", "effect": effect} for key, effect in DAEMON_BEARS]
        if spec.get("hostNetwork"):
            tolerations.append(
                {"key": "node.kubernetes.io/network-unavailable", "operator": "Exists", "effect": "NoSchedule"}
            )
    taints = [taint for taint in node["spec"].get("taints") or () if taint["effect"] != "PreferNoSchedule"]
    labels = node["metadata"].get("labels") or {}
    return (
        all(bears(tolerations, taint) for taint in taints)
        and all(labels.get(name) == value for name, value in (spec.get("nodeSelector") or {}).items())
        and affine(spec, node)
    )


def affine(spec, node):
    """Required node affinity, its terms ORed, their expressions ANDed."""
    wanted = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not wanted:
        return True
    labels = node["metadata"].get("labels") or {}
    return any(
        all(expression(one, labels) for one in term.get("matchExpressions") or ())
        and all(expression(one, {"metadata.name": node["metadata"]["name"]}) for one in term.get("matchFields") or ())
        for term in wanted.get("nodeSelectorTerms") or ()
    )


def expression(one, labels):
    have, values = labels.get(one.get("key")), one.get("values") or ()
    return {
        "In": have in values,
        "NotIn": have not in values,
        "Exists": one.get("key") in labels,
        "DoesNotExist": one.get("key") not in labels,
    }.get(one.get("operator"), False)


def new_pod(store, owner, prefix, node=None):
    template = owner["spec"]["template"]
    meta, owner_meta = copy.deepcopy(template.get("metadata") or {}), owner["metadata"]
    pod = {
        "metadata": {
            **meta,
            "name": f"{prefix}-{uuid.uuid4().hex[:5]}",
            "namespace": owner_meta["namespace"],
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": owner["kind"],
                    "name": owner_meta["name"],
                    "uid": owner_meta["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": copy.deepcopy(template["spec"]),
    }
    pod["metadata"].setdefault("labels", {})["pod-template-generation"] = template_hash(owner)
    if node:
        pod["spec"]["nodeName"] = node
    try:
        validate(store, "Pod", pod, None)
    except Invalid:
        return
    store.add("Pod", pod)


def template_hash(owner):
    text = json.dumps(owner["spec"]["template"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def current(pod, owner):
    return (pod["metadata"].get("labels") or {}).get("pod-template-generation") == template_hash(owner)


def is_ready(pod):
    return condition(pod, "Ready").get("status") == "True" and not pod["metadata"].get("deletionTimestamp")


def daemon_sets(store):
    nodes = store.all("Node")
    for owner in store.all("DaemonSet"):
        pods, wanted = owned(store, owner), 0
        have = {pod["spec"].get("nodeName"): pod for pod in pods}
        for node in nodes:
            name = node["metadata"]["name"]
            if fits(owner["spec"]["template"]["spec"], node, True):
                wanted += 1
                if name not in have:
                    new_pod(store, owner, owner["metadata"]["name"], name)
                elif not current(have[name], owner):
                    delete(store, "Pod", have[name], None)
        count(
            store,
            "DaemonSet",
            owner,
            {
                "desiredNumberScheduled": wanted,
                "currentNumberScheduled": len(pods),
                "numberReady": sum(map(is_ready, pods)),
                "numberAvailable": sum(map(is_ready, pods)),
                "updatedNumberScheduled": sum(current(pod, owner) for pod in pods),
            },
        )


def count(store, kind, owner, numbers):
    numbers["observedGeneration"] = owner["metadata"].get("generation", 1)
    if (owner.get("status") or {}) != numbers:
        owner["status"] = numbers
        store.touch(kind, owner)


def deployments(store):
    for owner in store.all("Deployment"):
        name, pods = owner["metadata"]["name"], owned(store, owner)
        live = [pod for pod in pods if current(pod, owner) and not pod["metadata"].get("deletionTimestamp")]
        wanted = owner["spec"].get("replicas", 1)
        for _ in range(wanted - len(live)):
            new_pod(store, owner, f"{name}-{template_hash(owner)}")
        for pod in live[wanted:] + [pod for pod in pods if not current(pod, owner)]:
            delete(store, "Pod", pod, None)
        ready = sum(map(is_ready, live))
        count(
            store,
            "Deployment",
            owner,
            {
                "replicas": len(live),
                "readyReplicas": ready,
                "availableReplicas": ready,
                "updatedReplicas": len(live),
                "unavailableReplicas": wanted - ready,
                "conditions": [{"type": "Available", "status": "True" if ready >= wanted else "False"}],
            },
        )


def schedule(store):
    nodes = [node for node in store.all("Node") if condition(node, "Ready").get("status") == "True"]
    load = {node["metadata"]["name"]: 0 for node in nodes}
    pods = store.all("Pod")
    for pod in pods:
        if pod["spec"].get("nodeName") in load:
            load[pod["spec"]["nodeName"]] += 1
    for pod in pods:
        if pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            continue
        fit = [node["metadata"]["name"] for node in nodes if fits(pod["spec"], node, False)]
        if fit:
            best = min(fit, key=lambda name: (load[name], name))
            load[best] += 1
            pod["spec"]["nodeName"] = best
            store.touch("Pod", pod)
        else:
            text = f"0/{len(store.all('Node'))} nodes are available"
            if set_condition(pod, "PodScheduled", "False", "Unschedulable", text):
                store.touch("Pod", pod)


def pod_ranges(store, known):
    """Gives each node that has none the next free range, in the order in which they came."""
    if not known["pods"]:
        return
    nodes = store.all("Node")
    taken = {node["spec"].get("podCIDR") for node in nodes}
    bare = [node for node in nodes if not node["spec"].get("podCIDR")]
    for node in sorted(bare, key=lambda each: int(each["metadata"]["resourceVersion"])):
        whole = ipaddress.ip_network(known["pods"], strict=False)
        free = next((str(net) for net in whole.subnets(new_prefix=known["mask"]) if str(net) not in taken), None)
        if free:
            taken.add(free)
            store.merge("Node", node, {"spec": {"podCIDR": free, "podCIDRs": [free]}})


def lifecycle(core, grace):
    """Marks nodes that fell silent, and keeps the taints that follow from a node's condition."""
    store, now = core.store, time.monotonic()
    for node in store.all("Node"):
        name = node["metadata"]["name"]
        if now - core.seen.setdefault(name, now) > grace and condition(node, "Ready").get("status") != "Unknown":
            if set_condition(node, "Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."):
                store.touch("Node", node)
        state = condition(node, "Ready").get("status")
        wanted = []
        if state != "True":
            wanted.append({"key": UNREACHABLE if state == "Unknown" else NOT_READY, "effect": "NoSchedule"})
        if node["spec"].get("unschedulable"):
            wanted.append({"key": UNSCHEDULABLE, "effect": "NoSchedule"})
        have = node["spec"].get("taints") or []
        mine = [each for each in have if each["key"] in (NOT_READY, UNREACHABLE, UNSCHEDULABLE)]
        if mine != wanted:
            store.merge(
                "Node", node, {"spec": {"taints": [each for each in have if each not in mine] + wanted or None}}
            )


def collect(store):
    """Pods whose node is gone."""
    names = {node["metadata"]["name"] for node in store.all("Node")}
    for pod in store.all("Pod"):
        node = pod["spec"].get("nodeName")
        mirror = (pod["metadata"].get("annotations") or {}).get("kubernetes.io/config.mirror")
        if node and node not in names and not mirror:
            store.drop("Pod", pod)


def services(store, known):
    """A cluster address for each service that wants one."""
    taken = {(each.get("spec") or {}).get("clusterIP") for each in store.all("Service")}
    for each in store.all("Service"):
        if not each["spec"].get("clusterIP") and each["spec"].get("type") != "ExternalName":
            whole = ipaddress.ip_network(known["services"], strict=False)
            free = next(str(whole[at]) for at in range(20, whole.num_addresses) if str(whole[at]) not in taken)
            taken.add(free)
            store.merge("Service", each, {"spec": {"clusterIP": free, "type": each["spec"].get("type", "ClusterIP")}})


def note_births(store):
    for secret in store.all("Secret", "kube-system"):
        store.born.setdefault(secret["metadata"]["uid"], time.monotonic())


def work(core, known):
    """The thread that does all of it."""
    store = core.store
    grace, delay = host.setting("node-monitor-grace-seconds"), host.setting("token-sign-seconds")
    while True:
        with store.lock:
            before = store.version
            note_births(store)
            pod_ranges(store, known)
            lifecycle(core, grace)
            daemon_sets(store)
            deployments(store)
            schedule(store)
            collect(store)
            services(store, known)
            waiting = bootstrap.sign_tokens(store, delay)
            if store.version == before:
                store.changed.wait_for(lambda: store.version != before, 0.05 if waiting else 1.0)
        # Leaves room for those who bring more: a burst of changes is worked off together.
        time.sleep(0.01)
