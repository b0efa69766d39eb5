"""`lab exec` without loading the rest of the lab: tests call it by the hundred, and most of its time was imports.

Takes the plain case alone, from a note that the host's last boot left: [--name N] [--dir D] [-q] exec HOST COMMAND...
Whatever is different or fails is left to cli, which knows the words for it.
"""

import os
import signal

DEFAULT_NAME = "kpeer"
DEFAULT_ROOT = "/var/tmp/kpeer-lab"
NOTE = "enter"


def _split(arguments):
    """The instance's folder, the host and the command, or None when this is not the plain case."""
    name, root, words = DEFAULT_NAME, DEFAULT_ROOT, list(arguments)
    while words and words[0] in ("--name", "--dir", "-q"):
        if words[0] == "-q":
            del words[0]
        elif len(words) > 1:
            name, root = (words[1], root) if words[0] == "--name" else (name, words[1])
            del words[:2]
        else:
            return None
    if len(words) < 3 or words[0] != "exec" or "/" in name + words[1] or words[1][0] == "-" or words[2][0:1] == "-":
        return None
    host = f"node{words[1]}" if words[1].isdigit() else words[1]
    return f"{os.path.abspath(root)}/{name}", host, words[2:]


def command(arguments):
    """The argument vector that these arguments of `lab` lead to, or None. Also for who starts many (tests/e2e/harness)."""
    plain = _split(arguments)
    if not plain:
        return None
    folder, host, words = plain
    try:
        with open(f"{folder}/hosts/{host}/{NOTE}", encoding="utf-8") as file:
            frozen_file, *enter = file.read().split("\n")
        with open(frozen_file, encoding="ascii") as file:
            state = file.read()
    except OSError:
        return None
    if "FROZEN" in state or "frozen 1" in state:
        return None
    return [*enter, "--", *words]


def try_exec(arguments):
    """Becomes the command, or returns."""
    vector = command(arguments)
    if vector:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and the command would inherit that
        os.execv(vector[0], vector)
