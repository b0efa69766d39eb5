"""The program's own tables, as the program tells them."""

import collections
import functools
import subprocess


class Tables:
    def __init__(self, program):
        self.program, self.said, self.version = program, {}, ""
        self.commands, self.summary, self.args, self.keys = {}, {}, {}, {}
        self.shared, self.agent, self.takes_agent = set(), set(), set()
        self.environment, self.rows = set(), set()
        self.exits, self.words = collections.defaultdict(set), collections.defaultdict(set)
        for line in subprocess.run([program], check=True, text=True, capture_output=True).stdout.splitlines():
            kind, first, rest = (line.split(" ", 2) + [""])[:3]
            if kind == "command":
                self.commands[first], self.summary[first] = set(), rest
            elif kind == "args":
                self.args[first] = rest
            elif kind == "flag":
                self.commands[first].add(rest)
            elif kind == "key":
                self.keys[first] = rest
            elif kind == "takes":
                self.takes_agent.add(first)
            elif kind == "row":
                self.rows.add(f"{first} {rest}")
            elif kind == "exit":
                self.exits[first] |= {rest} - {"-"}
            elif kind == "version":
                self.version = first
            elif kind == "word":
                self.words[first].add(rest)
            else:
                {"environment": self.environment, "shared": self.shared, "agent": self.agent}[kind].add(first)

    @functools.cache
    def help_of(self, *command):
        """What `kpeer --help` says, or `kpeer COMMAND --help`. It is asked once for each."""
        return subprocess.run([self.program, "help", *command], check=True, text=True, capture_output=True).stdout

    def flags_of(self, command):
        own = self.commands[command] | self.shared
        return own | self.agent if command in self.takes_agent else own

    def faults_of(self, what, lines):
        """What the program says of each line: a configuration file ("keys"), or the words of a call, separated by
        tabs ("calls"); empty: it takes it. It is asked once for each."""
        lines = list(lines)
        new = [line for line in lines if (what, line) not in self.said]
        if new:
            done = subprocess.run([self.program, what], input="\n".join(new) + "\n", text=True, capture_output=True,
                                  check=True)
            self.said |= {(what, line): fault for line, fault in zip(new, done.stdout.splitlines())}
        return [self.said[what, line] for line in lines]
