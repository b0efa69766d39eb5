"""Running the machine's programs, waiting for conditions, and locks."""

import contextlib
import fcntl
import os
import shlex
import subprocess
import time

from .errors import LabError, TimedOut


def run(*command, text=None, check=True):
    """Runs a program to its end and returns its output; a failure carries what it wrote to stderr."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{shlex.join(command[:6])}: {said or f'status {done.returncode}'}")
    return done.stdout


def wait_until(condition, seconds, what, pause=0.01):
    """Polls until condition() is true; its value is returned."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise TimedOut(f"{what}: not within {seconds:g} s")
        time.sleep(pause)


@contextlib.contextmanager
def exclusive(path):
    """Holds a lock file, alone. Its holder may unlink it: whoever waited for the old file then tries again."""
    while True:
        with open(path, "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(file.fileno()).st_ino == os.stat(path).st_ino:
                    yield
                    return
