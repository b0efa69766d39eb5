"""Limits of the whole machine that many hosts would run into: raised while a lab is up, put back by the last.

They are kept outside the instances' folders, since several labs may hold them at once. Old values are written
down before anything is changed, so that a lab which is killed in between loses none.
"""

import contextlib
import json
import os
import pathlib

from . import cgroup
from .run import exclusive

FOLDER = pathlib.Path("/run/kpeer-lab")
RAISED = {
    "fs/inotify/max_user_instances": 8192,
    "fs/inotify/max_user_watches": 524288,
    "net/ipv4/neigh/default/gc_thresh1": 16384,
    "net/ipv4/neigh/default/gc_thresh2": 32768,
    "net/ipv4/neigh/default/gc_thresh3": 65536,
    "net/ipv6/neigh/default/gc_thresh1": 16384,
    "net/ipv6/neigh/default/gc_thresh2": 32768,
    "net/ipv6/neigh/default/gc_thresh3": 65536,
}

# kube-proxy wants this one to be exactly what it works out from the number of processors, and ends when it may
# not write it, as it may not within a host: a higher value is as bad as a lower one.
CONNTRACK = "net/netfilter/nf_conntrack_max"


def _conntrack_max():
    return max(131072, 32768 * len(os.sched_getaffinity(0)))


def _path(key):
    return pathlib.Path("/proc/sys") / key


class _Record:
    """Who holds the limits, and what was there before; used under a lock, gone when nobody holds anything."""

    def __init__(self):
        self.file = FOLDER / "limits.json"
        self.users, self.old, self.controllers = [], {}, []
        with contextlib.suppress(FileNotFoundError):
            kept = json.loads(self.file.read_text())
            self.users, self.old = kept["users"], kept["old"]
            self.controllers = kept.get("controllers", [])

    def save(self):
        if not self.users:
            self.file.unlink(missing_ok=True)
            return
        new = self.file.with_suffix(".new")
        kept = {"users": self.users, "old": self.old, "controllers": self.controllers}
        new.write_text(json.dumps(kept) + "\n")
        os.replace(new, self.file)


@contextlib.contextmanager
def _record():
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    with exclusive(FOLDER / "limits.lock"):
        record = _Record()
        yield record
        record.save()
        if not record.users:
            (FOLDER / "limits.lock").unlink()
            with contextlib.suppress(OSError):
                FOLDER.rmdir()


def _wanted(kind):
    """The limits to change, with their new values."""
    present = {key: value for key, value in RAISED.items() if _path(key).exists()}
    wanted = {key: value for key, value in present.items() if int(_path(key).read_text()) < value}
    if kind != "light" and _path(CONNTRACK).exists() and int(_path(CONNTRACK).read_text()) != _conntrack_max():
        wanted[CONNTRACK] = _conntrack_max()
    return wanted


def hold(instance):
    with _record() as record:
        user = str(instance.dir)
        if user not in record.users:
            record.users.append(user)
        wanted = _wanted(instance.options().kind)
        for key in wanted:
            record.old.setdefault(key, int(_path(key).read_text()))
        record.save()
        for key, value in wanted.items():
            _path(key).write_text(str(value))
        record.controllers += cgroup.enable_controllers()


def release(instance):
    if not (FOLDER / "limits.json").exists():
        return
    with _record() as record:
        user = str(instance.dir)
        # an instance whose folder is gone cannot release by itself any more
        record.users = [name for name in record.users if name != user and pathlib.Path(name).exists()]
        if not record.users:
            for key, old in record.old.items():
                _path(key).write_text(str(old))
            cgroup.disable_controllers(record.controllers)
