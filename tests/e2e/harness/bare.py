"""Labs of bare hosts: systemd on a minimal Debian, nothing installed, and the package mirrors that they may reach.

A bare host's root is a plain folder of this machine, `host.root`, also while the host is off: `tree.py` compares two
states of it.
"""

import contextlib
import json
import pathlib
import select
import signal
import subprocess

from .lab import KEY, TESTS, Lab

APTREPO = TESTS / "lab/aptrepo"
MIRROR_SECONDS = 60


class Mirrors:
    """A running tests/lab/aptrepo: `url` is for `packages.mirror`, `folder` what is served (free to be changed)."""

    def __init__(self, lab, *options):
        words = [str(APTREPO), "--name", lab.name, *map(str, options)]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                        start_new_session=True)
        ready, _, _ = select.select([self.process.stdout], [], [], MIRROR_SECONDS)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.close()
            raise AssertionError(f"{' '.join(words)} did not say what it serves")
        told = json.loads(line)
        self.url, self.folder = told["url"], pathlib.Path(told["folder"])
        self.key, self.stranger = pathlib.Path(told["key"]), pathlib.Path(told["stranger"])
        self.log = pathlib.Path(told["requests"])

    def sign(self, repository, signer="signer"):
        """Indices and signatures anew of one repository below `folder`: `kubernetes/apt`, say."""
        subprocess.run([str(APTREPO), "--sign", str(self.folder / repository), "--signer", signer], check=True,
                       capture_output=True, text=True)

    def requests(self):
        """What hosts asked for, as lines: `"GET /debian/dists/bookworm/InRelease HTTP/1.1" 200 -`."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(MIRROR_SECONDS)
        self.process.stdout.close()


class BareLab(Lab):
    """One instance of bare hosts. `flaws`: names of `lab up --flaw`. `config`: text for each host's kpeer.yaml."""

    def __init__(self, count=1, flaws=(), mirrors=False, config=None, **options):
        self.flaws, self.config, self.mirrors = flaws, config, None
        super().__init__(count, **options)
        if mirrors:
            try:
                with Lab.guard:
                    self.mirrors = None if Lab.stopping else Mirrors(self)
            except BaseException:
                self.down()
                raise

    def first_words(self):
        return ["--bare", *(word for flaw in self.flaws for word in ("--flaw", flaw))]

    def refresh(self):
        super().refresh()
        for host in self.hosts:
            host.root = host.disk / "upper"

    def furnish(self, host, key=True):
        """The program and, where wanted, the key and a configuration: all that a user brings."""
        host.path("/usr/bin/kpeer").symlink_to(f"/opt/kpeer/{Lab.kpeer.name}")
        if key or self.config is not None:
            host.path("/etc/kpeer").mkdir(mode=0o755)
        if key:
            host.put(KEY, (self.key if key is True else key) + "\n", 0o600)
        if self.config is not None:
            host.put("/etc/kpeer/kpeer.yaml", self.config)

    def power_cut(self, host):
        """The plug of one host is pulled and put in again."""
        self.tool("stop", host.name)
        self.tool("start", host.name)
        self.refresh()

    def down(self):
        if self.mirrors:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self.mirrors.close()
        super().down()
