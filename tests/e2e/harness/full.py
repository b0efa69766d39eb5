"""Labs of full hosts, with containerd and all images of Kubernetes, and a registry that runs on one of them.

The registry is Debian's docker-registry, fetched once into the cache of full hosts (`registry/`).
"""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

from .lab import KEY, Lab, Skip, wait_until

CACHE = pathlib.Path(os.environ.get("KPEER_CACHE", "/var/cache/kpeer-lab"))
CONFIG = "/etc/kpeer/kpeer.yaml"
CTR = ("ctr", "-n", "k8s.io")


class FullLab(Lab):
    """One instance of full hosts; what they have beyond an installed Kubernetes is kpeer and the key."""

    def first_words(self):
        return ["--full"]

    def furnish(self, host, key=True):
        host.path("/usr/bin/kpeer").symlink_to(f"/opt/kpeer/{Lab.kpeer.name}")
        host.path("/etc/kpeer").mkdir(mode=0o755)
        if key:
            host.put(KEY, (self.key if key is True else key) + "\n", 0o600)
        wait_until(f"{host.name}: containerd answers", lambda: host.run("ctr", "version").status == 0, 60)


def registry_program():
    """Where docker-registry is; fetched and unpacked, not installed, where this machine has none."""
    found = shutil.which("docker-registry")
    kept = CACHE / "registry/docker-registry"
    if found or kept.exists():
        return pathlib.Path(found or kept)
    with tempfile.TemporaryDirectory(prefix="kpeer-registry-", dir=CACHE) as folder:
        fetched = subprocess.run(["apt-get", "download", "docker-registry"], cwd=folder, capture_output=True, text=True,
                                 check=False, timeout=300)
        packages = list(pathlib.Path(folder).glob("docker-registry_*.deb"))
        if fetched.returncode or not packages:
            raise Skip(f"Debian's docker-registry cannot be fetched: {fetched.stderr.strip()[-200:]}")
        subprocess.run(["dpkg-deb", "-x", packages[0], f"{folder}/tree"], check=True, timeout=120)
        kept.parent.mkdir(exist_ok=True)
        os.replace(f"{folder}/tree/usr/bin/docker-registry", kept)  # two that fetch at once put the same there
    return kept


class Registry:
    """docker-registry on a host: `address` is what others reach it by. certificate: the paths of one and its key."""

    def __init__(self, host, port=5000, certificate=None):
        self.host, self.port, self.address = host, port, f"{host.address}:{port}"
        self.job = self.config = None
        program = host.path("/usr/local/bin/docker-registry")
        if not program.exists():
            program.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(registry_program(), program)
        tls = ", tls: {certificate: %s, key: %s}" % certificate if certificate else ""
        self.config = f"/etc/registry-{port}.yml"
        host.put(self.config, "version: 0.1\nlog: {accesslog: {disabled: false}}\n"
                              "storage: {filesystem: {rootdirectory: /var/lib/registry}}\n"
                              f'http: {{addr: ":{port}"{tls}}}\n')
        self.start()

    def start(self):
        self.job = self.host.start("docker-registry", "serve", self.config)
        wait_until("the registry listens", lambda: "listening on" in self.job.text(), 30)

    def signal(self, number):
        for pid in self.host.pids():
            if self.host.arguments(pid)[-1] == self.config and "docker-registry" in self.host.arguments(pid)[0]:
                os.kill(pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        wait_until("the registry is gone", lambda: not self.job.running(), 20)

    def requests(self, word):
        """How often it was asked for something with this word in it."""
        return sum(word in line and "GET" in line for line in self.job.text().splitlines())

    def pushed(self, target):
        done = self.host.run(*CTR, "images", "push", "--plain-http", target, seconds=120)
        assert done.status == 0 or "unexpected EOF" in done.text, done
        return done.status == 0

    def push(self, source, path):
        """An image of the host's own containerd under another path here; `path` has the tag."""
        target = f"{self.host.address}:{self.port}/{path}"
        self.host.run(*CTR, "images", "tag", "--force", source, target).expect(0)
        # ctr's stream from its own containerd breaks off once in hundreds of times ("Internal: unexpected EOF", known
        # there as issue 5734); what was pushed before stays.
        wait_until(f"{path} is pushed", lambda: self.pushed(target), 60)
        self.host.run(*CTR, "images", "rm", target).expect(0)
