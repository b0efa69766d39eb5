"""A bare host with its owner's own settings, mended and put back: red, green, nothing more to do, and the disk as it was."""

import json
import random
import time

from harness.tree import Tree, assert_same

SECONDS = 400
FLAWS = ("swap", "docker", "sysctl")
CONFIG = "kubernetes: 1.20.2\npackages:\n  mirror: {url}\n"
# What a host is, or what only the group can tell, and no file mends.
NOT_OURS = {"cpu", "memory", "clock", "disk"}


def begin(trial):
    lab = trial.bare(1, mirrors=True, flaws=FLAWS)
    host = lab.hosts[0]
    host.path("/etc/kpeer").mkdir(mode=0o755, exist_ok=True)
    host.put("/etc/kpeer/kpeer.yaml", CONFIG.replace("{url}", lab.mirrors.url))
    return lab, host, Tree(host.root)


def preflight(host, *words):
    return host.kpeer("preflight", *words, "--role", "worker", "-o", "json", seconds=SECONDS)


def not_green(done):
    """Check: what it says, of all that is not green."""
    try:
        told = json.loads(done.out)
    except ValueError as fault:
        raise AssertionError(f"{fault}\n{done}") from fault
    found = told.get("findings") or told.get("checks") or []
    assert found, done
    return {f["check"]: f"{f['level']}: {f['detail']}" for f in found if f["level"] not in ("green", "ok")}


def assert_mended(host):
    left = {check: says for check, says in not_green(preflight(host, "--fix")).items() if check not in NOT_OURS}
    assert not left, left


def undo(host):
    return host.kpeer("preflight", "--undo", seconds=SECONDS).expect(0)


def test_red_green_nothing_more_and_put_back(trial):
    lab, host, before = begin(trial)
    red = not_green(preflight(host))
    for check in ("swap-boot", "docker", "packages"):
        assert check in red, red
    assert_same(before, Tree(host.root, before), "only looked at")
    assert_mended(host)
    mended = Tree(host.root, before)
    assert_mended(host)
    assert_same(mended, Tree(host.root, mended), "mended again")
    done = undo(host)
    assert "undo: left alone" not in done.out + done.err, done
    assert_same(before, Tree(host.root, before), "undone")


def test_power_cuts(trial):
    """The plug is pulled at any point of mending, and of undoing."""
    seed = trial.options.seed if trial.options.seed is not None else random.randrange(1 << 32)
    chance = random.Random(seed)
    trial.note(f"seed {seed}")
    lab, host, before = begin(trial)
    for cut in range(trial.options.cuts):
        job = host.start("kpeer", "preflight", "--fix", "--role", "worker")
        time.sleep(chance.uniform(0.2, 16))
        lab.power_cut(host)
        job.close()
        if cut % 2:
            assert_mended(host)
        job = host.start("kpeer", "preflight", "--undo")
        time.sleep(chance.uniform(0.1, 6))
        lab.power_cut(host)
        job.close()
        undo(host)
        assert_same(before, Tree(host.root, before), f"undone after cut {cut}")
