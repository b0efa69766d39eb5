"""What is compared: how each is started, how it is asked to leave, and what its log says."""

import base64
import re
import secrets

PORT = 7946


FORMS_TO = 64  # hosts: with more of them on one machine forming fills its processors for minutes


class Kpeer:
    """The whole agent in a rehearsal: all that travels between hosts is as in earnest, from beacons to tickets; the
    executor tells what it would do. So the group forms meanwhile."""

    key, title = "kpeer", "kpeer"
    LINE = re.compile(r"\S+ (?:info|warn) +(agent-started|member-discovered|member-alive|member-failed|member-left|"
                      r"node-ready|record-committed) ([^\s:]+)")
    KINDS = {"agent-started": "ready", "member-discovered": "know", "member-alive": "know", "member-failed": "failed",
             "member-left": "left", "node-ready": "formed", "record-committed": "founded"}

    def whole(self, size):
        """Whether it is measured in every row, and not only as it starts and joins."""
        return size <= FORMS_TO

    def agent(self, host, first, size):
        return ["kpeer", "agent", "--dry-run", "--expect", str(size)]

    def leave(self):
        return ["kpeer", "leave"]

    def parse(self, line):
        found = self.LINE.match(line)
        if not found:
            return None
        kind = self.KINDS[found[1]]
        return kind, "" if kind == "ready" else found[2]


class KpeerAtOnce(Kpeer):
    """In earnest, with an executor that has done each step as soon as it is asked (steps_at_once.c)."""

    key, title = "kpeer-at-once", "kpeer, steps at once"

    def agent(self, host, first, size):
        return ["/opt/at-once/kpeer", "agent", "--expect", str(size)]


class KpeerAlone(Kpeer):
    """The same, kept from founding: it waits for more hosts than there are, and mends nothing. It still looks at its host."""

    key, title = "kpeer-alone", "kpeer, no founding"

    def whole(self, size):
        return size > FORMS_TO

    def agent(self, host, first, size):
        return ["kpeer", "agent", "--dry-run", "--no-fix", "--expect", "500"]


class Serf:
    """As Debian has it: LAN profile, encrypted, finding each other by mDNS."""

    key, title = "serf", "Serf, mDNS"
    LINE = re.compile(r"==> Serf agent (running)!|.* serf: EventMember(Join|Failed|Leave): (\S+)")
    KINDS = {"Join": "know", "Failed": "failed", "Leave": "left"}

    def __init__(self, program="serf"):
        self.program, self.secret = program, base64.b64encode(secrets.token_bytes(32)).decode()

    def whole(self, _size):
        return True

    def agent(self, host, first, size):
        return [self.program, "agent", "-node", host.name, "-bind", f"{host.address}:{PORT}", "-iface", "eth1", "-profile", "lan",
                "-encrypt", self.secret, *self.find(host, first)]

    def find(self, _host, _first):
        return ["-discover", "bench"]

    def leave(self):
        return [self.program, "leave"]

    def parse(self, line):
        found = self.LINE.match(line)
        if not found:
            return None
        return ("ready", "") if found[1] else (self.KINDS[found[2]], found[3])


class SerfJoined(Serf):
    """The same, told the address of one member. What comes after the joining is the same as well, so it is not measured
    again."""

    key, title = "serf-joined", "Serf, by address"

    def whole(self, _size):
        return False

    def find(self, host, first):
        return [] if host is first else ["-retry-join", f"{first.address}:{PORT}", "-retry-interval", "100ms"]
