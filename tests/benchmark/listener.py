"""Hears what programs write to their own logs, line by line, and when.

kpeer's agent and Serf's write a line to standard error or output as something becomes known to them. Both go through
a pipe to this process, which sleeps until one comes and takes CLOCK_MONOTONIC as it wakes: one clock for all hosts,
which are namespaces of one kernel, no polling, and no client that would cost processor time on each host.
"""

import dataclasses
import os
import selectors
import time


@dataclasses.dataclass(frozen=True)
class Event:
    at: float
    host: str
    kind: str
    name: str


class Listener:
    def __init__(self):
        self.selector, self.events = selectors.DefaultSelector(), []

    def add(self, fd, host, parse):
        """Lines from `fd` are `host`'s; parse(line) gives (kind, name) or None. Closes `fd` at its end."""
        self.selector.register(fd, selectors.EVENT_READ, [host, parse, b""])

    def pump(self, seconds):
        """Takes what comes within so long, at once if something is there."""
        for key, _ in self.selector.select(max(seconds, 0)):
            at, data = time.monotonic(), os.read(key.fd, 1 << 16)
            if not data:
                self.selector.unregister(key.fd)
                os.close(key.fd)
                continue
            host, parse, partial = key.data
            *lines, key.data[2] = (partial + data).split(b"\n")
            for line in lines:
                found = parse(line.decode(errors="replace"))
                if found:
                    self.events.append(Event(at, host, *found))

    def mark(self):
        """A place in what was heard so far."""
        self.pump(0)
        return len(self.events)

    def idle(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.pump(left)

    def wait_for(self, kind, pairs, since, seconds):
        """Until each (host, name) of `pairs` was heard after `since`; when each was, for those that were in time."""
        end, at, found, missing = time.monotonic() + seconds, since, {}, set(pairs)
        while True:
            for event in self.events[at:]:
                if event.kind == kind and (event.host, event.name) in missing:
                    missing.discard((event.host, event.name))
                    found[event.host, event.name] = event.at
            at = len(self.events)
            left = end - time.monotonic()
            if not missing or left <= 0:
                return found
            self.pump(left)

    def close(self):
        for key in list(self.selector.get_map().values()):
            self.selector.unregister(key.fd)
            os.close(key.fd)
        self.events.clear()
