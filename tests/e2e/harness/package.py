"""The package of the build under test on lab hosts, and what must hold while it is upgraded on all hosts of a cluster."""

import functools
import json
import pathlib
import shutil
import subprocess
import tempfile
import time

from .agree import nodes_of
from .lab import Lab, Skip, wait_until


@functools.cache
def make(version):
    """The .deb of the build under test. The version is the package's alone: the program is the same."""
    config = Lab.kpeer.parent / "CPackConfig.cmake"
    if not config.exists() or not shutil.which("dpkg-shlibdeps"):
        raise Skip("there is no CPackConfig.cmake beside the binary, or no dpkg-dev on this machine")
    folder = tempfile.TemporaryDirectory(prefix="kpeer-package-")
    subprocess.run(["cpack", "--config", config, "-B", folder.name, "-D", f"CPACK_PACKAGE_VERSION={version}"], check=True,
                   capture_output=True)
    made, = pathlib.Path(folder.name).glob("*.deb")
    return folder, made  # the folder goes when nobody holds it any more


def bring(host, version):
    """The package to the host's /tmp; returns its path there."""
    _, made = make(version)
    shutil.copy(made, host.path(f"/tmp/{made.name}"))
    return f"/tmp/{made.name}"


def ids_of(master):
    """Name of each Node: its uid, which another Node of that name would not have."""
    nodes = json.loads(master.kubectl("get", "nodes", "-o", "json").expect(0).out)["items"]
    return {node["metadata"]["name"]: node["metadata"]["uid"] for node in nodes}


def assert_upgrades(trial, hosts, master, version, force=()):
    """A newer package on one host after the other: each agent is another process with the same words, variables and
    identity, the cluster has the same Nodes, and nobody was lost on the way, but for what the restart took."""
    before = {host.name: host.status()["id"] for host in hosts}
    nodes, record = ids_of(master), master.cluster()
    for host in hosts:
        old, words = host.agent(), host.arguments(host.agent())
        others = [each for each in hosts if each is not host]
        package, began = bring(host, version), time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
        done = host.run("dpkg", "-i", *force, package, seconds=120).expect(0)
        wait_until(f"{host.name} is ready again", lambda host=host: host.agent() not in (0, old) and host.phase() == "ready", 60)
        assert not [pid for pid in host.agents() if pid == old], f"{host.name}: the old agent still runs"
        again = [word for word in words if not word.startswith("--ready-fd=")]
        assert host.arguments(host.agent()) == again, f"{host.arguments(host.agent())}, not {again}"
        assert host.status()["id"] == before[host.name], f"{host.name} is another member"
        for each in others:
            wait_until(f"{each.name} hears {host.name}", lambda each=each, host=host: is_alive(each, before[host.name]), 30)
            told = [event for event in each.events()
                    if event["mono_us"] > began and event.get("member") == before[host.name]]
            assert not lost(told, done.seconds), f"{each.name} on {host.name}: {told}\n{done}"
        back = next(event["mono_us"] for event in host.events() if event["event"] == "agent-started") - began
        trial.note(f"{host.name}: dpkg took {done.seconds:.1f} s, the new agent began after {back / 1e6:.1f} s")
    assert ids_of(master) == nodes and master.cluster() == record
    assert all(ready for ready, _ in nodes_of(master).values()), nodes_of(master)


def lost(told, seconds):
    """Whether a member left, or was held for failed and not found again within the time of its upgrade."""
    gone = None
    for event in told:
        if event["event"] == "member-left":
            return True
        if event["event"] == "member-failed":
            gone = event["mono_us"]
        if event["event"] == "member-alive" and gone:
            if event["mono_us"] - gone > seconds * 1e6:
                return True
            gone = None
    return gone is not None


def is_alive(host, member):
    return any(each["id"] == member and each["state"] == "alive" for each in host.members()["members"])
