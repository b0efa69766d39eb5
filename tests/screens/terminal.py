"""A terminal of a given size, tmux's, with a shell command in it."""

import os
import shutil
import subprocess


def is_there():
    return shutil.which("tmux") is not None


class Terminal:
    counter = 0

    def __init__(self, command, columns, rows):
        Terminal.counter += 1
        self.server = f"kpeer-{os.getpid()}-{Terminal.counter}"
        self.tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), command)

    def tmux(self, *words):
        return subprocess.run(["tmux", "-L", self.server, "-f", "/dev/null", *words], check=True, capture_output=True, text=True,
                              env={**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}).stdout

    def text(self, above=0):
        """What is seen, and up to so many lines that have gone out of sight above it."""
        return self.tmux("capture-pane", "-p", "-S", str(-above)).rstrip()

    def title(self):
        return self.tmux("display-message", "-p", "#{pane_title}").strip()

    def key(self, name):
        self.tmux("send-keys", name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tmux("kill-server")
