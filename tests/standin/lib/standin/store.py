"""The stand-in's etcd: objects in memory, saved as one file after each change, so that a power cut keeps them.
Whoever holds `lock` may read and change; `changed` wakes those who wait."""
import copy
import json
import os
import threading
import time

from standin import host, resources


class Conflict(Exception):
    """An object of this name exists."""


class Store:
    def __init__(self, folder):
        self.file = folder + "/member/snap/db"
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.objects = {kind: {} for kind in resources.KINDS}
        self.version = 1
        self.dirty = False
        # What a kubelet has to hear of: one counter for what all nodes see, one a node for its own pods.
        self.network = 1
        self.pods_of = {}
        self.load()

    def load(self):
        text = host.read(self.file, "")
        if not text:
            return
        saved = json.loads(text)
        self.version = saved["version"]
        for kind, name, each in saved["objects"]:
            self.objects[kind][tuple(name)] = each

    def save_forever(self):
        """Writes what changed, soon after it changed; runs in a thread of its own."""
        os.makedirs(os.path.dirname(self.file), mode=0o700, exist_ok=True)
        while True:
            with self.lock:
                self.changed.wait_for(lambda: self.dirty)
                self.dirty = False
                text = json.dumps(
                    {
                        "version": self.version,
                        "objects": [
                            (kind, name, each) for kind, table in self.objects.items() for name, each in table.items()
                        ],
                    }
                )
            try:
                host.write(self.file, text, 0o600)
            except OSError:
                # The folder went away under a reset that is about to end this process too.
                time.sleep(0.1)
            time.sleep(0.02)

    def touch(self, kind, each):
        """To be called with the lock held after any change of an object."""
        self.version += 1
        each["metadata"]["resourceVersion"] = str(self.version)
        if kind == "Pod":
            node = each.get("spec", {}).get("nodeName")
            self.pods_of[node] = self.pods_of.get(node, 0) + 1
        self.dirty = True
        self.changed.notify_all()

    @staticmethod
    def key(kind, namespace, name):
        return (namespace if resources.namespaced(kind) else "", name)

    def get(self, kind, namespace, name):
        return self.objects[kind].get(self.key(kind, namespace, name))

    def all(self, kind, namespace=None):
        return [each for (space, _), each in sorted(self.objects[kind].items()) if namespace in (None, "", space)]

    def add(self, kind, each):
        """Stores a new object and completes its metadata."""
        import uuid

        meta = each.setdefault("metadata", {})
        if resources.namespaced(kind):
            meta.setdefault("namespace", "default")
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + uuid.uuid4().hex[:5]
        key = self.key(kind, meta.get("namespace"), meta["name"])
        if key in self.objects[kind]:
            raise Conflict(meta["name"])
        each["apiVersion"], each["kind"] = resources.api_version(kind), kind
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = host.stamp()
        meta["generation"] = 1
        self.objects[kind][key] = each
        self.touch(kind, each)
        return each

    def drop(self, kind, each):
        meta = each["metadata"]
        if self.objects[kind].pop(self.key(kind, meta.get("namespace"), meta["name"]), None) is not None:
            self.touch(kind, each)
            if kind == "Node":
                self.network += 1

    def merge(self, kind, each, patch):
        """A merge patch (RFC 7396) on one object; what is the server's own stays as it is."""
        before = copy.deepcopy(each)
        kept = {
            name: each["metadata"].get(name) for name in ("uid", "creationTimestamp", "name", "namespace", "generation")
        }
        merge(each, patch)
        each["metadata"].update({name: value for name, value in kept.items() if value is not None})
        each["kind"], each["apiVersion"] = kind, resources.api_version(kind)
        before["metadata"]["resourceVersion"] = each["metadata"].get("resourceVersion")
        if before == each:
            return False
        if before.get("spec") != each.get("spec"):
            each["metadata"]["generation"] = each["metadata"].get("generation", 0) + 1
        if kind == "Node" and seen_by_nodes(before) != seen_by_nodes(each):
            self.network += 1
        self.touch(kind, each)
        return True


def seen_by_nodes(node):
    return node.get("spec", {}).get("podCIDR"), node["metadata"].get("annotations", {}).get(PUBLIC_IP)


PUBLIC_IP = "flannel.alpha.coreos.com/public-ip"


def merge(into, patch):
    for name, value in patch.items():
        if value is None:
            into.pop(name, None)
        elif isinstance(value, dict) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[name] = copy.deepcopy(value)


def condition(each, kind):
    """One condition of an object's status, or {}."""
    for one in (each.get("status") or {}).get("conditions") or ():
        if one.get("type") == kind:
            return one
    return {}


def set_condition(each, kind, status, reason, message):
    """Sets a condition in place; whether anything changed."""
    conditions = each.setdefault("status", {}).setdefault("conditions", [])
    found = next((one for one in conditions if one.get("type") == kind), None)
    wanted = {"type": kind, "status": status, "reason": reason, "message": message}
    if found and all(found.get(name) == value for name, value in wanted.items()):
        return False
    if not found:
        found = {"lastTransitionTime": host.stamp()}
        conditions.append(found)
    elif found.get("status") != status:
        found["lastTransitionTime"] = host.stamp()
    found.update(wanted, lastHeartbeatTime=host.stamp())
    return True
