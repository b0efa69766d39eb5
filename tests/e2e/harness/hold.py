"""Holding a host's agent at its persisted writes (hold.c), and reading what it has promised.

    with Hold(host) as hold:            # before its agent starts
        job = hold.up("--expect", "3")
        at = hold.reach(lambda at: at.name == "cluster")
        ...                             # the agent, or the worker of a step, stands before or after its rename
        hold.release()                  # and everything goes on unheld
"""

import mmap
import pathlib
import struct
import subprocess
import tempfile
import threading
import time

from .lab import STATE

BOARD, PROGRAM = "/etc/standin/hold", "/etc/standin/hold.so"
ARMED, SERIAL, GO, AFTER, PATH = 0, 8, 12, 16, 20
BYTES = PATH + 4096
PROMISES_HEAD, SUM = 32, 32  # of a file of the agent's: what comes before and after the content

_guard = threading.Lock()
_compiled = {}


def compiled(name="hold"):
    """The preloaded object's bytes, compiled once a run."""
    with _guard:
        if name not in _compiled:
            source = pathlib.Path(__file__).with_name(f"{name}.c")
            with tempfile.TemporaryDirectory(prefix="kpeer-e2e-") as folder:
                subprocess.run(["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o",
                                f"{folder}/hold.so", source, "-ldl"], check=True)
                _compiled[name] = pathlib.Path(f"{folder}/hold.so").read_bytes()
        return _compiled[name]


class At:
    """A write at which somebody is held: what is replaced, before or after its rename."""

    def __init__(self, host, path, after):
        self.host, self.path, self.after = host, path, after
        self.name = path.rpartition("/")[2]
        self.root = "/" in path  # the agent writes within its own folder alone

    def promises(self):
        """What this write promises, or None if it writes something else."""
        return promises(self.host, "promises" if self.after else "promises.new") if self.name == "promises" else None

    def __str__(self):
        return f"{'after' if self.after else 'before'} {self.path}"


class Hold:
    """Every persisted write of a host's agent stands still until it is told to go on."""

    def __init__(self, host):
        self.host = host
        host.path(PROGRAM).parent.mkdir(parents=True, exist_ok=True)
        host.path(PROGRAM).write_bytes(compiled())
        host.path(BOARD).write_bytes(struct.pack("<I", 1).ljust(BYTES, b"\0"))
        with open(host.path(BOARD), "r+b") as file:
            self.board = mmap.mmap(file.fileno(), BYTES)
        self.seen = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()
        self.board.close()

    def _get(self, at):
        return struct.unpack_from("<I", self.board, at)[0]

    def _put(self, at, value):
        struct.pack_into("<I", self.board, at, value)

    def up(self, *flags):
        """`kpeer up` whose agent is held."""
        return self.host.start("env", f"LD_PRELOAD={PROGRAM}", f"KPEER_TEST_HOLD={BOARD}", "kpeer", "up", *flags)

    def go(self):
        """Lets the one that is held go on to the next write."""
        self._put(GO, self._get(SERIAL))

    def look(self):
        """Where somebody is held now, or None."""
        if self._get(SERIAL) == self._get(GO):
            return None
        path = self.board[PATH:BYTES].split(b"\0", 1)[0].decode()
        return At(self.host, path, bool(self._get(AFTER)))

    def next(self, seconds=30, but=lambda: False):
        """Goes on to the next write and returns it; None when `but` has become true before."""
        end = time.monotonic() + seconds
        self.go()
        while not (at := self.look()):
            if but():
                return None
            if time.monotonic() > end:
                raise AssertionError(f"{self.host.name}: no persisted write within {seconds} s after "
                                     f"{self.seen[-1] if self.seen else 'its start'}")
            time.sleep(0.005)
        self.seen.append(at)
        return at

    def reach(self, wanted, seconds=60, but=lambda: False):
        """Goes on from write to write until `wanted(at)`."""
        end = time.monotonic() + seconds
        while True:
            at = self.next(max(end - time.monotonic(), 0.01), but)
            if at is None or wanted(at):
                return at

    def release(self):
        """Nothing is held any more, whoever is held goes on."""
        self._put(ARMED, 0)


def unpack(data, at=0):
    """One value of MessagePack, as far as kpeer uses it, and where it ends."""
    kind = data[at]
    at += 1
    if kind <= 0x7F:
        return kind, at
    if kind & 0xF0 == 0x90 or kind in (0xDC, 0xDD):
        size = {0xDC: 2, 0xDD: 4}.get(kind, 0)
        count = int.from_bytes(data[at:at + size], "big") if size else kind & 0x0F
        at, values = at + size, []
        for _ in range(count):
            value, at = unpack(data, at)
            values.append(value)
        return values, at
    if kind in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[kind], at
    if 0xCC <= kind <= 0xCF:
        size = 1 << (kind - 0xCC)
        return int.from_bytes(data[at:at + size], "big"), at + size
    if kind & 0xE0 == 0xA0:
        return data[at:at + (kind & 0x1F)].decode(), at + (kind & 0x1F)
    size = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}[kind]
    count = int.from_bytes(data[at:at + size], "big")
    value = bytes(data[at + size:at + size + count])
    return (value.decode() if kind >= 0xD9 else value), at + size + count


def promises(host, name="promises"):
    """What a host has promised, as node_persist_promises (protocol/node_store.c) writes it."""
    try:
        data = host.path(f"{STATE}/agent/{name}").read_bytes()
    except FileNotFoundError:
        data = b""
    if not data:
        return {}
    (_, boot, constituted, ballot, founding, proposed, joined, _leaving), _ = unpack(data[PROMISES_HEAD:-SUM])
    return {"boot": boot, "constituted": constituted, "bound": ballot[0] is not None, "floor": ballot[1],
            "term": ballot[2], "voted": any(ballot[3]), "accepted": ballot[4], "founding": founding, "proposed": proposed,
            "joined": joined}
