"""What others get to see of a group: figures for a monitor, entries of the journal, a report of a fault. No secret is in them."""

import base64
import io
import json
import pathlib
import re
import shutil
import socket
import subprocess
import tarfile
import threading

from checks.secrets import TOKEN, minted, shapes
from harness.agree import all_ready, master_of
from harness.lab import STATE, wait_until

PORT = 7374
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\d+(?:\.\d+)?)")
MARK = "MARKER5ecret"
PEM = f"-----BEGIN EC PRIVATE KEY-----\n{MARK}\n-----END EC PRIVATE KEY-----"
SECRETS = [f"token: {MARK}", f"kubeadm join --token=a1b2c3.{'m' * 16}", f"http://user:{MARK}@proxy:3128/", PEM,
           f"Authorization: Bearer {MARK}{MARK}", f'"client-key-data": "{MARK}"', "kpeer up --code 4k7-x2m-9q9",
           f"Environment=KPEER_NAME={MARK}", f"KPEER_KEY={MARK}", f'passphrase: "{MARK} of five words"']

# Asks, inside a host, as a monitor would.
ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as link:
    link.sendall(sys.argv[3].encode())
    while part := link.recv(65536):
        sys.stdout.write(part.decode())
"""


def read_metrics(page):
    """The samples of a page in the text format 0.0.4: (name, labels) -> value. Strict: each family with HELP and TYPE,
    once, its samples behind them and none twice."""
    assert page.endswith("\n")
    family, kind, seen, found = None, None, set(), {}
    for line in page.splitlines():
        if line.startswith("# HELP "):
            family, kind = line.split(" ", 3)[2], None
            assert family not in seen, line
            seen.add(family)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family and kind in ("counter", "gauge", "summary"), line
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample and kind, line
            ends = ("_sum", "_count") if kind == "summary" else ("",)
            assert sample.group(1) in [family + end for end in ends], line
            key = (sample.group(1), frozenset(re.findall(LABEL, sample.group(2) or "")))
            assert key not in found, line
            found[key] = float(sample.group(3))
    return found


def value(samples, name, **labels):
    return samples[name, frozenset(f'{label}="{word}"' for label, word in labels.items())]


def ask(host, address, request):
    return host.run("python3", "-c", ASK, address, str(PORT), request)


def check_http(host, other):
    got = ask(host, "127.0.0.1", "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").expect(0).out
    head, _, page = got.partition("\n\n")  # as Python reads the ends of lines
    assert head.startswith("HTTP/1.1 200 OK") and "version=0.0.4" in head, head
    served, asked = read_metrics(page), read_metrics(host.kpeer("metrics").expect(0).out)
    assert {name for name, _ in served} == {name for name, _ in asked}
    for request, status in (("GET /", 404), ("POST /metrics", 405), ("PUT /etc/passwd", 404), ("\x16\x03\x01", 400)):
        ask(host, "127.0.0.1", f"{request} HTTP/1.1\r\nHost: localhost:{PORT}\r\n\r\n").expect(0, f"^HTTP/1.1 {status} ")
    ask(host, "127.0.0.1", "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").expect(0, "^HTTP/1.1 400 ")
    for where in (host, other):  # on loopback alone
        refused = ask(where, host.address, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert refused.status != 0 and "refused" in refused.err, refused
    ask(other, "127.0.0.1", "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").expect(1, "refused")


def check_metrics(lab, trial):
    cluster, handshakes = lab.hosts[0].cluster(), 0
    for host in lab.hosts:
        page = host.kpeer("metrics").expect(0).out
        found = read_metrics(page)
        assert value(found, "kpeer_healthy") == 1 and value(found, "kpeer_phase", phase="ready") == 1, page
        assert sum(n for (name, _), n in found.items() if name == "kpeer_phase") == 1, page
        assert value(found, "kpeer_members", state="alive") == value(found, "kpeer_ready_members") == 3, page
        assert value(found, "kpeer_cluster_info", id=cluster["id"], kubernetes=cluster["kubernetes"]) == 1, page
        assert value(found, "kpeer_election_term") == host.status()["election"]["term"], page
        assert value(found, "kpeer_events_total", event="node-ready") == 1, page
        assert value(found, "kpeer_links", state="up") == 2, page
        handshakes += value(found, "kpeer_link_handshakes_total", outcome="succeeded")
        sent, received = (value(found, f"kpeer_messages_{way}_total") for way in ("sent", "received"))
        assert sent > 10 and value(found, "kpeer_messages_sent_bytes_total") > 10 * sent, page
        assert received > 10 and value(found, "kpeer_messages_received_bytes_total") > 10 * received, page
        assert value(found, "kpeer_state_write_duration_seconds_count", file="promises") >= 1, page
        assert 1e6 < value(found, "process_resident_memory_bytes") < 1e9, page
        assert value(found, "process_cpu_seconds_total") > 0, page
        for mark in shapes(lab.key):
            assert mark not in page.encode()
        if shutil.which("promtool"):
            told = subprocess.run(["promtool", "check", "metrics"], input=page, text=True, capture_output=True, check=False)
            assert told.returncode == 0 and not told.stdout and not told.stderr, told
    assert handshakes >= len(lab.hosts), handshakes  # one for each pair
    master, joiner = master_of(lab.hosts), next(host for host in lab.hosts if host is not master_of(lab.hosts))
    steps = [read_metrics(host.kpeer("metrics").expect(0).out) for host in (master, joiner)]
    assert value(steps[0], "kpeer_role", role="master") == value(steps[1], "kpeer_role", role="worker") == 1
    assert value(steps[0], "kpeer_step_duration_seconds_count", step="kubeadm-init", outcome="finished") == 1
    assert value(steps[1], "kpeer_step_duration_seconds_count", step="kubeadm-join", outcome="finished") == 1
    assert value(steps[0], "kpeer_events_total", event="ticket-issued") >= 2
    trial.note("promtool agrees" if shutil.which("promtool") else "there is no promtool here")
    joiner.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "kpeer", "metrics").expect(6, "kpeer")


class Journal:
    """Stands in for the journal's socket on a host, and is strict about its native protocol."""

    def __init__(self, host):
        self.entries, self.faults, self.over = [], [], False
        path = host.path("/run/systemd/journal/socket")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        path.chmod(0o666)
        self.socket.settimeout(0.2)
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while not self.over:
            try:
                self.take(self.socket.recv(1 << 18))
            except TimeoutError:
                continue
            except (ValueError, IndexError) as error:
                self.faults.append(error)

    def take(self, entry):
        raw, found = entry, {}
        while raw:
            name, end, raw = re.match(rb"([A-Z][A-Z0-9_]{0,63})([=\n])(.*)", raw, re.S).groups()
            if end == b"=":
                text, _, raw = raw.partition(b"\n")
            else:
                size = int.from_bytes(raw[:8], "little")
                text, raw = raw[8:8 + size], raw[8 + size:]
                if len(text) != size or raw[:1] != b"\n":
                    raise ValueError(f"{entry!r}")
                raw = raw[1:]
            if name in found:
                raise ValueError(f"{name} twice: {entry!r}")
            found[name.decode()] = text.decode()
        self.entries.append(found)

    def close(self):
        self.over = True
        self.thread.join()
        self.socket.close()


def start_with_journal(host):
    journal = Journal(host)
    host.start("sh", "-c", "exec 2>/var/log/stream; JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec kpeer agent --expect 3")
    wait_until("the agent answers", lambda: host.kpeer("status").status in (0, 1), 20)
    return journal


def check_journal(lab, host, journal):
    journal.close()
    assert not journal.faults, journal.faults
    events = [entry for entry in journal.entries if "KPEER_EVENT" in entry]
    for entry in journal.entries:
        assert entry["MESSAGE"] and entry["PRIORITY"] in "3467" and entry["SYSLOG_IDENTIFIER"] == "kpeer", entry
        for mark in shapes(lab.key):
            assert mark not in repr(entry).encode(), entry
    told = [event["event"] for event in host.events() if event["event"] != "step-progress"]
    assert [entry["KPEER_EVENT"] for entry in events][:len(told)] == told, (events, told)
    ready = next(entry for entry in events if entry["KPEER_EVENT"] == "node-ready")
    assert ready["KPEER_PHASE"] == "ready" and int(ready["KPEER_TERM"]) >= 1, ready
    met = [entry for entry in events if entry["KPEER_EVENT"] == "member-discovered"]
    assert {entry["KPEER_MEMBER"] for entry in met} == {each["id"] for each in host.members()["members"] if not each["self"]}, met
    assert any(entry.get("KPEER_STEP") == "kubeadm-join" or entry.get("KPEER_STEP") == "kubeadm-init" for entry in events)
    assert host.get("/var/log/stream") == "", "a line went both ways, or only the other one"


def unpack(archive):
    """The files of a report, by their names below its folder."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        tops = {member.name.partition("/")[0] for member in tar.getmembers()}
        assert len(tops) == 1 and all(member.isfile() or member.isdir() for member in tar.getmembers()), tops
        return {member.name.partition("/")[2]: tar.extractfile(member).read() for member in tar.getmembers() if member.isfile()}


def check_no_secret(files, marks):
    assert len(files) > 20
    for name, text in files.items():
        shown = [mark for mark in marks if mark in text] + TOKEN.findall(text)
        assert not shown, f"{name} shows a secret: {shown}\n{text[-3000:]}"


def client_key(host):
    """What is secret of the admin's kubeconfig."""
    return re.search(r"client-key-data: *(\S+)", host.get("/etc/kubernetes/admin.conf")).group(1).encode()


def check_report(lab, host):
    with host.path(f"{STATE}/agent.log").open("a", encoding="utf-8") as log:
        log.write("\n".join([*SECRETS, lab.key, "the last line", ""]))
    host.path("/etc/hosts").write_text(f"127.0.0.1 localhost\n# token={MARK}\n", encoding="utf-8")
    marks = [*shapes(lab.key), MARK.encode(), client_key(host), base64.b64decode(client_key(host)), b"4k7-x2m-9q9",
             *minted(host), host.path(f"{STATE}/agent/identity").read_bytes()[8:40]]
    done = host.sh("cd /root && SUDO_UID=1234 SUDO_GID=1234 kpeer report", seconds=180).expect(0, r"\d+ files, \d+ secrets taken out")
    path = host.path("/root/" + pathlib.PurePath(done.out.splitlines()[0]).name)
    assert re.fullmatch(rf"kpeer-report-{host.name}-\d{{8}}T\d{{6}}Z.tar.gz", path.name), path
    assert path.stat().st_uid == 1234 and path.stat().st_mode & 0o777 == 0o600
    files = unpack(path.read_bytes())
    check_no_secret(files, marks)
    assert json.loads(files["kpeer/status.json"])["phase"] == "ready"
    assert len(json.loads(files["kpeer/members.json"])["members"]) == 3
    assert json.loads(files["kpeer/preflight.json"])["host"] == host.name
    assert json.loads(files["kpeer/config.json"])["metrics"]["from"] == "file"
    assert b"node-ready" in files["kpeer/events.jsonl"]
    assert read_metrics(files["kpeer/metrics.txt"].decode())
    assert re.search(rb"Z kubeadm-init: done", files["kpeer/journal.txt"]), files["kpeer/journal.txt"]
    assert files["kpeer/agent.log"].rstrip().endswith(b"the last line")
    assert files["kpeer/agent.log"].count(b"[removed]") > len(SECRETS) and b"# token=[removed]" in files["network/hosts"]
    assert b"identity" in files["kpeer/files.txt"] and host.address.encode() in files["network/addresses.txt"]
    assert all(each.name.encode() in files["cluster/nodes.txt"] for each in lab.hosts), files["cluster/nodes.txt"]
    assert b"no such program" in files["contents.txt"] or b"exit " in files["contents.txt"], files["contents.txt"]
    host.kpeer("report", "/root/" + path.name).expect(6, "there already")
    assert not list(host.path("/tmp").glob("kpeer-report-*")), "a folder is left behind"


def check_report_of_a_poor_host(host):
    """Without root, without an agent, with programs that hang and that are not there."""
    host.put("/usr/local/bin/lscpu", "#!/bin/sh\ntrap '' TERM\nsleep 1000\n", 0o755)
    host.put("/etc/kpeer/poor.yaml", "run_dir: /run/nowhere\ntools:\n  kubectl: /nowhere/kubectl\n")
    host.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "kpeer", "report", "--config", "/etc/kpeer/poor.yaml",
             "/tmp/poor.tgz", seconds=180).expect(0, "files")
    files = unpack(host.path("/tmp/poor.tgz").read_bytes())
    assert re.search(rb"status.json +exit 3", files["contents.txt"]), files["contents.txt"]
    assert re.search(rb"cpu.txt +not done after 10 s", files["contents.txt"]), files["contents.txt"]
    assert re.search(rb"kubectl.txt +no such program", files["contents.txt"]), files["contents.txt"]
    assert "kpeer/journal.txt" not in files
    assert re.search(rb"standard error ---\n.*(ermission denied|No such file)", files["kpeer/agent.log"]), files["kpeer/agent.log"]
    assert not host.running("lscpu"), "a program that hung goes on"


def test_what_others_see(trial):
    lab = trial.lab(3)
    for host in lab.hosts:  # another port on the last
        host.put("/etc/kpeer/kpeer.yaml", f'metrics: "127.0.0.1:{PORT + (host is lab.hosts[2])}"\n')
    journal = start_with_journal(lab.hosts[2])
    lab.form("--expect", "3")
    all_ready(lab.hosts, 5)
    check_metrics(lab, trial)
    check_http(lab.hosts[0], lab.hosts[2])
    check_journal(lab, lab.hosts[2], journal)
    check_report(lab, master_of(lab.hosts))
    check_report_of_a_poor_host(lab.hosts[1])
