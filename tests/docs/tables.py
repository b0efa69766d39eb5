"""The command table and the configuration's schema, as the program tells them."""

import subprocess


class Tables:
    def __init__(self, program):
        self.commands, self.keys, self.environment = {}, {}, set()
        self.shared, self.agent, self.takes_agent, self.program = set(), set(), set(), program
        self.rows = set()
        for line in subprocess.run([program], check=True, text=True, capture_output=True).stdout.splitlines():
            kind, *words = line.split(" ", 2)
            if kind == "command":
                self.commands[words[0]] = set()
            elif kind == "flag":
                self.commands[words[0]].add(words[1])
            elif kind == "key":
                self.keys[words[0]] = words[1]
            elif kind == "takes":
                self.takes_agent.add(words[0])
            elif kind == "row":
                self.rows.add(" ".join(words))
            elif kind == "environment":
                self.environment.add(words[0])
            else:
                (self.shared if kind == "shared" else self.agent).add(words[0])

    def flags_of(self, command):
        own = self.commands[command] | self.shared
        return own | self.agent if command in self.takes_agent else own

    def example_faults(self, examples):
        """What the program says of each configuration file of one line; empty: it takes it."""
        return subprocess.run([self.program, "-"], input="\n".join(examples) + "\n", text=True, capture_output=True,
                              check=True).stdout.splitlines()
