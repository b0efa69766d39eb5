"""The group key and the bootstrap tokens are seen nowhere: no output, log, argument, environment, loose file."""

import base64
import contextlib
import os
import pathlib
import re
import stat
import threading
import time

from harness.agree import all_ready, master_of, one_cluster
from harness.lab import KEY, wait_until

TOKEN = re.compile(rb"(?<![a-z0-9.])[a-z0-9]{6}\.[a-z0-9]{16}(?![a-z0-9])")
SLOW_JOIN = "kubeadm-join tls-bootstrap take=3"  # time to read the living tokens from the API


def shapes(key):
    """Every way in which the group key might be written."""
    whole = base64.urlsafe_b64decode(key.split(":")[1] + "==")
    assert len(whole) == 52  # the key, the id of its group, its epoch
    raw = whole[:32]
    plain = base64.b64encode(raw).rstrip(b"=")
    text = key.split(":")[1].encode()[:42]  # of the key alone; the characters after that hold parts of the id
    return [raw, text, raw.hex().encode(), raw.hex().upper().encode(), plain, plain.translate(bytes.maketrans(b"+/", b"-_"))]


class Watch:
    """Reads arguments and environments of all processes of the hosts, again and again."""

    def __init__(self, hosts, marks):
        self.hosts, self.marks, self.found, self.seen, self.rounds = hosts, marks, [], {}, 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def work(self):
        while not self.over.is_set():
            for host in self.hosts:
                for pid in host.pids():
                    for name in ("cmdline", "environ"):
                        with contextlib.suppress(OSError):
                            self.look(host, name, pathlib.Path(f"/proc/{pid}/{name}").read_bytes())
            self.rounds += 1
            time.sleep(0.01)

    def look(self, host, name, text):
        self.seen.setdefault(name, set()).add(text)
        if TOKEN.search(text) or any(mark in text for mark in self.marks):
            self.found.append(f"{host.name}: {name} {text!r}")


def minted(master):
    """The bootstrap tokens that live now and their descriptions, as the API tells them."""
    done = master.kubectl("get", "secrets", "-n", "kube-system", "-o", "json")
    found = {}
    for item in done.json()["items"] if done.status == 0 else []:
        if item.get("type") == "bootstrap.kubernetes.io/token":
            part = {key: base64.b64decode(value) for key, value in item["data"].items()}
            found[part["token-id"] + b"." + part["token-secret"]] = part.get("description", b"").decode()
    return found


def for_joiners(tokens):
    """Those that a joiner was told of: the one that init makes dies unused."""
    return [token for token, text in tokens.items() if "init" not in text]


def files(host):
    """All files that a host has written, its /run and /tmp included."""
    for top in (host.disk / "upper", host.path("/run"), host.path("/tmp")):
        for folder, _, names in os.walk(top):
            for name in names:
                path = pathlib.Path(folder, name)
                with contextlib.suppress(OSError):
                    if stat.S_ISREG(path.lstat().st_mode):
                        yield path, "/" + str(path.relative_to(top if top.name == "upper" else top.parent))


def closed(path, top):
    """Whether only the owner can read the file, by its own mode or by that of a folder above it."""
    while path != top and path != path.parent:
        if path.stat().st_mode & 0o077 == 0:
            return True
        path = path.parent
    return False


def test_key_and_tokens_are_seen_nowhere(trial):
    lab = trial.lab(3)
    marks = shapes(lab.key)
    for host in lab.hosts:
        host.orders(SLOW_JOIN)
    with Watch(lab.hosts, marks) as watch:
        jobs = [host.up("--expect", "3", "--log-level", "debug", "--timeout", "270s") for host in lab.hosts]
        master = wait_until("a host joins", lambda: next(
            (host for host in lab.hosts if host.has("/etc/kubernetes/admin.conf") and host.ran("kubeadm token")), None), 60)
        tokens = wait_until("the API tells tokens", lambda: for_joiners(minted(master)), 20)
        done = [job.wait(100).expect(0) for job in jobs]
        said = [each.text for each in done]
        for host in lab.hosts:
            for words in (["status"], ["members"], ["events", "--no-follow"]):
                said += [host.kpeer(*words, "-o", form).text for form in ("wide", "json", "yaml")]
            said.append(host.kpeer("up").text)
    assert master is master_of(lab.hosts)
    one_cluster(lab.hosts)
    assert not watch.found, "\n".join(watch.found)
    arguments = b"".join(watch.seen["cmdline"])
    for word in (b"kubeadm\0init", b"kubeadm\0join", b"kubeadm\0token", b"kpeer\0agent"):
        assert word in arguments, f"the watch never saw {word}, so it proves nothing"
    assert any(b"PATH=" in text for text in watch.seen["environ"]), "no environment could be read"
    trial.note(f"{watch.rounds} looks at {len(watch.seen['cmdline'])} argument lists and "
               f"{len(watch.seen['environ'])} environments; {len(tokens)} tokens known")
    for text in said:
        check_text("output", text.encode(), marks, tokens)
    for host in lab.hosts:
        check_files(host, marks, tokens)


def check_text(where, text, marks, tokens):
    shown = [mark for mark in (*marks, *tokens) if mark in text] + TOKEN.findall(text)
    assert not shown, f"{where} shows a secret: {shown}"


def check_files(host, marks, tokens):
    for path, inside in files(host):
        text = path.read_bytes()
        if inside.endswith(".log"):
            check_text(f"{host.name}:{inside}", text, marks, tokens)
        if inside == KEY:
            assert path.stat().st_mode & 0o7777 == 0o600
        else:
            assert not any(mark in text for mark in marks), f"{host.name}:{inside} holds the group key"
        if any(token in text for token in tokens):
            assert closed(path, host.disk / "upper"), f"{host.name}:{inside} holds a token and others can read it"
            assert inside.startswith("/var/lib/etcd"), f"{host.name}:{inside} still holds a token"
        if inside.startswith("/var/lib/kpeer/") and not inside.endswith(".log"):
            assert closed(path, host.disk / "upper"), f"{host.name}:{inside} can be read by others"
    assert host.path("/var/lib/kpeer/agent.log").stat().st_mode & 0o007 == 0


def test_tokens_are_revoked_after_use(trial):
    lab = trial.lab(3)
    lab.form("--expect", "3")
    master = master_of(lab.hosts)
    wait_until("no joiner's token is left", lambda: not for_joiners(minted(master)), 10)
    all_ready(lab.hosts, 5)
    wait_until("init's own token is gone", lambda: not minted(master), 75)
