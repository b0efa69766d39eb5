"""Labs of light hosts with kpeer in /usr/bin, and what a test does to them.

A test asks its trial for a lab; each has a name of its own, so that several run side by side, and is taken down when
the test ends, however it ends. Files of a host are reached through /proc/PID/root of its process 1, which costs
nothing; commands go the way of `lab exec`, by its compiled half alone where that will do.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time

TESTS = pathlib.Path(__file__).resolve().parents[2]
TOOL = TESTS / "lab/lab"
sys.path.append(str(TESTS / "lab"))

from kpeerlab import quick, state  # noqa: E402

STANDIN = TESTS / "standin/bin"
KEY = "/etc/kpeer/group.key"
STATE = "/var/lib/kpeer"
CANNOT_HERE = 77
QUICK = {"init-seconds": 0, "join-seconds": 0}  # the stand-in's own waiting, which tests nothing


class Skip(Exception):
    """This machine cannot carry the test; the text says why."""


class Stopped(Exception):
    """The whole run was interrupted."""


# Set by tests/memcheck: the agents and commands run under valgrind.
UNDER_MEMCHECK = bool(os.environ.get("KPEER_MEMCHECK"))

# How much longer a test waits than it says before it gives up: it says what a machine needs that does nothing else. Bounds
# end what hangs; no test measures by them.
SLACK = 3 if not UNDER_MEMCHECK else 15


# What a build with sanitizers, and valgrind, say when they find something.
HARM = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error: |^==\d+== .*", re.MULTILINE)

# kpeer under valgrind, but no program that it runs; each process writes what is wrong with it to a file of its own.
LAUNCHER = """#!/bin/sh
exec valgrind -q --vgdb=no --trace-children=yes --trace-children-skip='/usr/*,/bin/*,/sbin/*,/opt/standin/*' --leak-check=full \\
    --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect --log-file=/memcheck/%s/%%p \\
    /opt/kpeer/%s "$@"
"""


def wait_until(what, check, seconds):
    """Polls `check` until it returns something true, and returns that. `what` says what was waited for in vain."""
    seconds *= SLACK
    end = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        # What is waited for needs the processors, too: asking takes a third of the time at most.
        time.sleep(min(max(0.05, 2 * (time.monotonic() - began)), 0.5))


class Done:
    """What a command did."""

    def __init__(self, words, status, out, err, seconds):
        self.words, self.status, self.out, self.err, self.seconds = words, status, out, err, seconds
        self.text = out + err
        assert not HARM.search(self.text), str(self)

    def json(self):
        try:
            return json.loads(self.out)
        except ValueError as error:
            raise AssertionError(f"no JSON ({error}) from {self}") from None

    def error(self):
        """The error object that -o json gives on stderr."""
        lines = [line for line in self.err.splitlines() if line.startswith("{")]
        assert lines, f"no error object on stderr of {self}"
        return json.loads("".join(self.err[self.err.index("{"):]))["error"]

    def expect(self, status=0, *texts):
        """Asserts the status, and that each text (a regular expression) is in the output."""
        assert self.status == status, f"status {status} wanted of {self}"
        for text in texts:
            assert re.search(text, self.text), f"{text!r} wanted in {self}"
        return self

    def __str__(self):
        return f"`{' '.join(self.words)}` (status {self.status}, {self.seconds:.1f} s):\n{self.text[-3000:]}"


class Job:
    """A command that runs on a host while the test goes on."""

    def __init__(self, host, words):
        self.host, self.words, self.began = host, words, time.monotonic()
        self.files = [tempfile.TemporaryFile() for _ in range(2)]  # not pipes: nobody has to read meanwhile
        self.process = subprocess.Popen(host.lab.inside(host.name, *words), stdin=subprocess.DEVNULL,
                                        stdout=self.files[0], stderr=self.files[1])

    def texts(self):
        return [os.pread(file.fileno(), 1 << 24, 0).decode(errors="replace") for file in self.files]

    def text(self):
        return "".join(self.texts())

    def running(self):
        return self.process.poll() is None

    def wait(self, seconds=90):
        """Its outcome; a command that does not end in time is a failure."""
        seconds *= SLACK
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(f"{self.host.name}: {' '.join(self.words)} did not end in {seconds} s:\n"
                                 f"{self.text()[-3000:]}") from None
        done = Done((f"{self.host.name}:", *self.words), self.process.returncode, *self.texts(),
                    time.monotonic() - self.began)
        self.close()
        return done

    def end(self):
        if self.running():
            self.process.kill()
            self.process.wait()

    def close(self):
        for file in self.files:
            file.close()


class Host:
    """One host of a lab."""

    def __init__(self, lab, row):
        self.lab, self.name, self.address = lab, row.name, row.address
        self.number, self.pid = row.number, row.pid
        self.disk = lab.instance.host_dir(row) / "disk"

    # --- files ------------------------------------------------------------------------------------------------------

    def path(self, inside):
        return pathlib.Path(f"/proc/{self.pid}/root{inside}")

    def put(self, path, text, mode=0o644):
        where = self.path(path)
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text)
        where.chmod(mode)

    def get(self, path):
        return self.path(path).read_text(errors="replace")

    def has(self, path):
        return os.path.lexists(self.path(path))

    def remove(self, path):
        where = self.path(path)
        if where.is_dir() and not where.is_symlink():
            shutil.rmtree(where)
        else:
            where.unlink(missing_ok=True)

    # --- commands ---------------------------------------------------------------------------------------------------

    def run(self, *words, seconds=60, text=None):
        seconds *= SLACK
        began = time.monotonic()
        command = self.lab.inside(self.name, *words)
        try:
            done = subprocess.run(command, input=text or "", capture_output=True, text=True, errors="replace",
                                  check=False, timeout=seconds)
        except subprocess.TimeoutExpired as late:
            said = b"".join(part for part in (late.stdout, late.stderr) if part).decode(errors="replace")
            raise AssertionError(f"{self.name}: {' '.join(words)} did not end in {seconds} s: {said[-2000:]}") from None
        return Done((f"{self.name}:", *words), done.returncode, done.stdout, done.stderr, time.monotonic() - began)

    def sh(self, line, **more):
        return self.run("sh", "-c", line, **more)

    def kpeer(self, *words, **more):
        return self.run("kpeer", *words, **more)

    def start(self, *words):
        job = Job(self, words)
        self.lab.jobs.append(job)
        return job

    def up(self, *flags):
        """`kpeer up` in the background."""
        return self.start("kpeer", "up", *flags)

    def status(self):
        return self.kpeer("status", "-o", "json").json()

    def members(self):
        return self.kpeer("members", "-o", "json").expect(0).json()

    def events(self):
        lines = self.kpeer("events", "--no-follow", "-o", "json").expect(0).out.splitlines()
        return [json.loads(line) for line in lines]

    def phase(self):
        done = self.kpeer("status", "-o", "json")
        return done.json()["phase"] if done.status in (0, 1) and done.out else ""

    def cluster(self):
        """The record that this host holds, or None."""
        return self.members()["cluster"]

    def kubectl(self, *words, seconds=30):
        return self.run("kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", *words, seconds=seconds)

    # --- processes --------------------------------------------------------------------------------------------------

    def pids(self):
        """Processes of this host, as the machine counts them."""
        mine = os.stat(f"/proc/{self.pid}/ns/pid").st_ino
        found = []
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if name.isdigit() and os.stat(f"/proc/{name}/ns/pid").st_ino == mine:
                    found.append(int(name))
        return found

    def arguments(self, pid):
        with contextlib.suppress(OSError):
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            return words if "valgrind" not in words[0] else words[words.index(f"/opt/kpeer/{Lab.kpeer.name}"):]
        return [""]

    def parent(self, pid):
        with contextlib.suppress(OSError):
            return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return 0

    def agents(self):
        """The pids of the agent and of its executor."""
        return [pid for pid in self.pids() if self.arguments(pid)[1:2] == ["agent"]
                and self.arguments(pid)[0].endswith("kpeer")]

    def running(self, program):
        """Whether a program of this name runs here: as itself, or as the script of a stand-in."""
        for pid in self.pids():
            if any(os.path.basename(word) == program for word in self.arguments(pid)[:3]):
                return True
        return False

    def agent(self):
        """The pid of the agent itself: the one that is no child of another one."""
        pids = self.agents()
        return next((pid for pid in pids if self.parent(pid) not in pids), 0)

    def executor(self):
        """The pid of the root side: the agent's child."""
        agent = self.agent()
        return next((pid for pid in self.agents() if self.parent(pid) == agent), 0)

    def signal_agent(self, number, everything=False):
        for pid in self.agents() if everything else [self.agent()]:
            self.signal(pid, number)

    def signal(self, pid, number):
        assert pid, f"{self.name}: no agent runs"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    # --- the stand-ins ----------------------------------------------------------------------------------------------

    def orders(self, *lines):
        self.put("/etc/standin/orders", "".join(f"{line}\n" for line in lines))

    def ran(self, command):
        """How often a stand-in was run, by its own log: `kubeadm init`, say."""
        if not self.has("/var/log/standin.log"):
            return 0
        count = 0
        for line in self.get("/var/log/standin.log").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                count += "run" in entry and " ".join([entry["run"], *entry.get("argv", [])]).startswith(command)
        return count

    def obeyed(self, word):
        """Whether the stand-in noted that it obeyed an order with this word in it."""
        return self.has("/var/log/standin.log") and word in self.get("/var/log/standin.log")

    def harm(self):
        """What sanitizers say in the agent's log, and valgrind in its own."""
        for path in [self.path(f"{STATE}/agent.log"), *self.lab.reports(self.name)]:
            with contextlib.suppress(OSError):
                text = path.read_text(errors="replace")
                if found := HARM.search(text):
                    return text[found.start():][:6000]
        return ""

    def log_tail(self, lines=25):
        path = f"{STATE}/agent.log"
        with contextlib.suppress(OSError):
            return self.get(path).splitlines()[-lines:]
        return ["(no agent.log)"]


class Lab:
    """One instance of the lab."""

    counter = 0
    guard = threading.RLock()  # held while labs are made, so that an interruption finds all of them
    alive = []
    stopping = False
    kpeer = None  # the binary under test

    def __init__(self, count, settings=None, keys=True, **options):
        with Lab.guard:
            if Lab.stopping:
                raise Stopped
            Lab.counter += 1
            self.name = f"e2e{os.getpid()}-{Lab.counter}"
            self.instance = state.Instance(self.name)
            self.jobs, self.hosts, self.folder = [], [], None
            Lab.alive.append(self)
            words = ["up", count, *self.first_words(), "--bind", f"{Lab.kpeer.parent}:/opt/kpeer"]
            if os.environ.get("KPEER_COVERAGE"):  # where tests/coverage wants the counts of its build
                words += ["--bind", f"{os.environ['KPEER_COVERAGE']}:/coverage:rw"]
            if UNDER_MEMCHECK:
                self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kpeer-memcheck-"))
                self.folder.chmod(0o755)
                words += ["--bind", f"{self.folder}:/memcheck:rw"]
            for name, value in options.items():
                words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [value])
            self.tool(*words)
        self.settings, self.key = settings or QUICK, new_key()
        try:
            self.refresh()
            for host in self.hosts:
                self.furnish(host, key=keys)
        except BaseException:
            self.down()  # nobody has it yet who would
            raise

    def first_words(self):
        """The kind of hosts."""
        return ["--standin", STANDIN]

    def command(self, *words):
        return [str(TOOL), "--name", self.name, "-q", *map(str, words)]

    def inside(self, host, *words):
        """The argument vector that runs a command on a host: what `lab exec` becomes, without its start in Python."""
        whole = self.command("exec", host, *words)
        return quick.command(whole[1:]) or whole

    def tool(self, *words, seconds=120):
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False, timeout=seconds * SLACK)
        if Lab.stopping:
            raise Stopped
        if done.returncode == CANNOT_HERE and words[0] == "up":
            raise Skip(done.stderr.strip())
        assert done.returncode == 0, f"lab {' '.join(map(str, words))}: {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout

    def refresh(self):
        """Learns the hosts and their pids anew."""
        old = {host.name: host for host in self.hosts}
        self.hosts = []
        for row in self.instance.hosts():
            host = old.get(row.name) or Host(self, row)
            host.pid, host.address = row.pid, row.address
            self.hosts.append(host)

    def furnish(self, host, key=True):
        """What a host has before kpeer comes: forwarding, now and after a restart, the program, the key."""
        host.put("/etc/rc.local", "#!/bin/sh\necho 1 >/proc/sys/net/ipv4/ip_forward\nsystemctl default\n", 0o755)
        host.put("/etc/standin/settings", "".join(f"{name}={value}\n" for name, value in self.settings.items()))
        host.put("/etc/standin/forbid-token-argv", "")
        if UNDER_MEMCHECK:
            host.put("/usr/bin/kpeer", LAUNCHER % (host.name, Lab.kpeer.name), 0o755)
            (self.folder / host.name).mkdir(exist_ok=True)
            (self.folder / host.name).chmod(0o1777)  # a rehearsal needs no root
        else:
            host.path("/usr/bin/kpeer").symlink_to(f"/opt/kpeer/{Lab.kpeer.name}")
        host.path("/etc/kpeer").mkdir(mode=0o755)
        if key:
            host.put(KEY, (self.key if key is True else key) + "\n", 0o600)
        host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward").expect(0)

    def reports(self, host):
        """Files of what valgrind says of this host's processes."""
        return (self.folder / host).glob("*") if self.folder else ()

    # --- all hosts --------------------------------------------------------------------------------------------------

    def form(self, *flags, hosts=None, seconds=120):
        """`kpeer up` on all (or these) at once, until each has ended well."""
        jobs = [host.up("--timeout", f"{seconds * SLACK}s", *flags) for host in hosts or self.hosts]
        return [job.wait(seconds + 10).expect(0) for job in jobs]

    def add(self, key=True, **options):
        """One more host."""
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.tool("add", 1, *words)
        self.refresh()
        self.furnish(self.hosts[-1], key=key)
        return self.hosts[-1]

    def fresh(self):
        """All hosts as new: their disks emptied, powered on again."""
        self.end_jobs()
        self.tool("wipe", *(host.name for host in self.hosts))
        self.power_on()
        for host in self.hosts:
            self.furnish(host)

    def power_off(self):
        self.tool("stop", *(host.name for host in self.hosts))
        self.end_jobs()

    def power_on(self):
        self.tool("start", *(host.name for host in self.hosts))
        self.refresh()

    def cut(self, *hosts):
        self.tool("cut", *(host.name for host in hosts))

    def heal(self):
        self.tool("heal")

    def end_jobs(self):
        for job in self.jobs:
            job.end()
            with contextlib.suppress(OSError):
                job.close()
        self.jobs.clear()

    def down(self):
        """Leaves nothing, and may be called twice and by another thread."""
        subprocess.run(self.command("down"), capture_output=True, check=False, timeout=120 * SLACK, start_new_session=True)
        self.end_jobs()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        with Lab.guard:
            if self in Lab.alive:
                Lab.alive.remove(self)

    @classmethod
    def stop_all(cls):
        """The run is interrupted: no new lab, and none of the living ones is left."""
        cls.stopping = True
        with cls.guard:
            for lab in list(cls.alive):
                lab.down()


def new_key():
    """A group key, as a host has it in its file."""
    with tempfile.TemporaryDirectory(prefix="kpeer-e2e-") as folder:
        path = f"{folder}/group.key"
        done = subprocess.run([Lab.kpeer, "key", "generate", "--key-file", path], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, f"kpeer key generate: {done.stderr}"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        return pathlib.Path(path).read_text().strip()
