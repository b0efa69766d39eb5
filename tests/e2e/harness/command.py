"""What the programs beside this folder have in common: finding tests and the binary, options, running."""

import argparse
import os
import pathlib
import sys

from .lab import Lab
from .run import Runner

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]


def all_tests(modules):
    for module in modules:
        for name, test in vars(module).items():
            if name.startswith("test_"):
                yield f"{module.__name__.partition('.')[2]}.{name.removeprefix('test_')}", test


def find_kpeer(path):
    """The binary under test, or an end with a word on where it was looked for."""
    tried = [pathlib.Path(path)] if path else sorted(CHECKOUT.glob("build*/kpeer")) + sorted(
        CHECKOUT.glob("build*/*/kpeer"))
    found = [each.resolve() for each in tried if each.is_file() and os.access(each, os.X_OK)]
    if not found:
        sys.exit(f"no kpeer at {path or 'build*/ of this checkout'}: build it, or tell where: --kpeer PATH")
    return max(found, key=lambda each: each.stat().st_mtime)


def parser(text, jobs, why):
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("-k", metavar="PATTERN", default="", help="only tests whose name holds PATTERN (a|b: either)")
    made.add_argument("--kpeer", metavar="PATH", help="the binary (default: the newest below build*/)")
    made.add_argument("--jobs", type=int, default=jobs, metavar="N", help=f"tests side by side (default: {why})")
    made.add_argument("--list", action="store_true", help="only tell the tests' names")
    return made


def main(made, modules):
    """Runs what the command line asks for; returns the exit status."""
    options = made.parse_args()
    tests = [(name, test) for name, test in all_tests(modules) if any(part in name for part in options.k.split("|"))]
    if options.list:
        print("\n".join(name for name, _ in tests))
        return 0
    if options.jobs < 1:
        made.error("--jobs: one at least")
    if os.geteuid() != 0:
        print(f"skipped {len(tests)} tests: lab hosts need root")
        print(f"0 passed, 0 failed, {len(tests)} skipped")
        return 0
    Lab.kpeer = find_kpeer(options.kpeer)
    return Runner(options).run(tests)
