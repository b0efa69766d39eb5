"""Runs tests, side by side where asked, and tells of each in one line."""

import os
import queue
import signal
import sys
import threading
import time
import traceback

from .bare import BareLab
from .full import FullLab
from .lab import UNDER_MEMCHECK, Lab, Skip, Stopped


def alone(test):
    """Marks a test that takes all of the machine: nothing else runs beside it."""
    test.alone = True
    return test


class Trial:
    """What a test gets: labs of its own, and a place for its figures."""

    def __init__(self, name, options):
        self.name, self.options, self.labs, self.notes = name, options, [], []

    def lab(self, count=3, **options):
        lab = Lab(count, **options)
        self.labs.append(lab)
        return lab

    def bare(self, count=1, **options):
        """Bare hosts; see BareLab."""
        lab = BareLab(count, **options)
        self.labs.append(lab)
        return lab

    def full(self, count=1, **options):
        """Full hosts; see FullLab."""
        lab = FullLab(count, **options)
        self.labs.append(lab)
        return lab

    def note(self, text):
        self.notes.append(text)

    def plain_build(self):
        """For tests of the sandbox, and of memory: builds that check or count themselves have none, and need much."""
        program = Lab.kpeer.read_bytes()
        if UNDER_MEMCHECK or b"__asan_init" in program or b"__tsan_init" in program or b"__gcov_" in program:
            raise Skip("this build checks or counts itself: it has no sandbox, and needs more memory")

    def unharmed(self):
        for lab in self.labs:
            for host in lab.hosts:
                assert not host.harm(), f"{host.name}: {host.harm()}"

    def logs(self):
        for lab in self.labs:
            for host in lab.hosts:
                yield f"--- {host.name}: the end of agent.log"
                yield from host.log_tail()

    def close(self):
        for lab in self.labs:
            lab.down()


class Runner:
    def __init__(self, options):
        self.options, self.lock = options, threading.Lock()
        self.tally = {"passed": 0, "failed": 0, "skipped": 0}
        self.left = queue.SimpleQueue()

    def run(self, tests):
        """Runs all; returns the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.interrupted)
        self.together([each for each in tests if not hasattr(each[1], "alone")], self.options.jobs)
        self.together([each for each in tests if hasattr(each[1], "alone")], 1)
        print("{passed} passed, {failed} failed, {skipped} skipped".format(**self.tally), flush=True)
        return 1 if self.tally["failed"] else 0

    def together(self, tests, jobs):
        for test in tests:
            self.left.put(test)
        threads = [threading.Thread(target=self.work, daemon=True) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # signals are taken between

    def interrupted(self, number, _frame):
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # taking down is not to be interrupted in turn
        print(f"interrupted ({signal.Signals(number).name}): taking the labs down", file=sys.stderr, flush=True)
        Lab.stop_all()
        sys.stdout.flush()
        os._exit(130)

    def work(self):
        while True:
            try:
                name, test = self.left.get_nowait()
            except queue.Empty:
                return
            if Lab.stopping:
                return
            self.one(name, test)

    def one(self, name, test):
        trial, began = Trial(name, self.options), time.monotonic()
        lines, word = [], "passed"
        try:
            test(trial)
            trial.unharmed()
        except Stopped:
            return
        except Skip as reason:
            word, lines = "skipped", [f"    {reason}"]
        except Exception as error:  # noqa: BLE001 - any fault of a test is a failed test
            if Lab.stopping:
                return
            word = "failed"
            lines = str(error).splitlines() if isinstance(error, AssertionError) else []
            lines += traceback.format_exc(limit=-4 if isinstance(error, AssertionError) else None).splitlines()[:40]
            lines = [f"    {line}" for line in (*lines, *trial.logs())]
        finally:
            trial.close()
        with self.lock:
            self.tally[word] += 1
            shown = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}[word]
            print(f"{shown} {name} ({time.monotonic() - began:.1f} s)")
            for line in [f"    {note}" for note in trial.notes] + lines:
                print(line)
            sys.stdout.flush()
