"""A terminal of a given size, tmux's, with a command of a lab host in it."""

import os
import shlex
import shutil
import subprocess

from .lab import Skip


class Screen:
    counter = 0

    def __init__(self, host, columns, rows, *words):
        if not shutil.which("tmux"):
            raise Skip("there is no tmux")
        Screen.counter += 1
        self.server = f"kpeer-e2e-{os.getpid()}-{Screen.counter}"
        command = shlex.join(host.lab.inside(host.name, *words))
        # It stays when the command has ended, so that the last of it can be looked at.
        self.tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), f"{command}; echo; echo ended with $?; exec sleep 600")

    def tmux(self, *words):
        return subprocess.run(["tmux", "-L", self.server, "-f", "/dev/null", *words], check=True, capture_output=True, text=True,
                              env={**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}).stdout

    def lines(self):
        """What is seen, from the top, blanks at the ends of lines left out."""
        return self.tmux("capture-pane", "-p").rstrip().split("\n")

    def key(self, name):
        self.tmux("send-keys", name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tmux("kill-server")
