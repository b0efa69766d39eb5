"""Limits of the whole machine that many hosts would run into: raised while a lab is up, put back by the last one.

They are kept outside the instances' folders, since several labs may hold them at once.
"""

import contextlib
import json
import os
import pathlib

from . import cgroup
from .run import exclusive

FOLDER = pathlib.Path("/run/kpeer-lab")
RAISED = {
    "net/netfilter/nf_conntrack_max": 131072,
    "fs/inotify/max_user_instances": 8192,
    "fs/inotify/max_user_watches": 524288,
    "net/ipv4/neigh/default/gc_thresh1": 16384,
    "net/ipv4/neigh/default/gc_thresh2": 32768,
    "net/ipv4/neigh/default/gc_thresh3": 65536,
    "net/ipv6/neigh/default/gc_thresh1": 16384,
    "net/ipv6/neigh/default/gc_thresh2": 32768,
    "net/ipv6/neigh/default/gc_thresh3": 65536,
}

# kube-proxy wants this one to be exactly what it works out from the number of processors, and ends when it may not
# write it, as it may not within a host: a higher value is as bad as a lower one.
CONNTRACK = "net/netfilter/nf_conntrack_max"


def _conntrack_max():
    return max(131072, 32768 * len(os.sched_getaffinity(0)))


def _path(key):
    return pathlib.Path("/proc/sys") / key


def _change(record, key, wanted):
    record["old"].setdefault(key, int(_path(key).read_text()))
    _path(key).write_text(str(wanted))


@contextlib.contextmanager
def _record():
    """The users and old values, under a lock; the record goes when nobody holds anything."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    with exclusive(FOLDER / "limits.lock"):
        file = FOLDER / "limits.json"
        record = {"users": [], "old": {}, "controllers": []}
        if file.exists():
            record |= json.loads(file.read_text())
        yield record
        if record["users"]:
            file.write_text(json.dumps(record))
            return
        file.unlink(missing_ok=True)
        (FOLDER / "limits.lock").unlink()
        with contextlib.suppress(OSError):
            FOLDER.rmdir()


def hold(instance):
    with _record() as record:
        user = str(instance.dir)
        if user not in record["users"]:
            record["users"].append(user)
        for key, wanted in RAISED.items():
            if _path(key).exists() and int(_path(key).read_text()) < wanted:
                _change(record, key, wanted)
        if instance.options().kind == "full" and _path(CONNTRACK).exists():
            _change(record, CONNTRACK, _conntrack_max())
        record["controllers"] += cgroup.enable_controllers()


def release(instance):
    if not (FOLDER / "limits.json").exists():
        return
    with _record() as record:
        user = str(instance.dir)
        # an instance whose folder is gone cannot release by itself any more
        record["users"] = [name for name in record["users"] if name != user and pathlib.Path(name).exists()]
        if not record["users"]:
            for key, old in record["old"].items():
                _path(key).write_text(str(old))
            cgroup.disable_controllers(record["controllers"])
