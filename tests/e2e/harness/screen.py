"""A command of a lab host on a terminal."""

import pathlib
import shlex
import sys

from .lab import Skip

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "screens"))
from terminal import Terminal, is_there  # noqa: E402


class Screen(Terminal):
    def __init__(self, host, columns, rows, *words):
        if not is_there():
            raise Skip("there is no tmux")
        # It stays when the command has ended, so that the last of it can be looked at.
        super().__init__(f"{shlex.join(host.lab.inside(host.name, *words))}; echo; echo ended with $?; exec sleep 600", columns,
                         rows)

    def lines(self):
        return self.text().split("\n")
