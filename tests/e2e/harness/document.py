"""Shell blocks of README and tutorial, run as a reader would type them: `block("NAME")` is the one below
`<!-- run: NAME -->`. What the lab lacks of a reader's machines, sudo and scp, is played (`furnish`)."""

import re
import shlex
import shutil

from .lab import TESTS, wait_until

MARK = re.compile(r"^<!-- run: ([^\n]+) -->\n```sh\n(.*?)^```", re.M | re.S)
CODE = re.compile(r"--code (\w{3}-\w{3}-\w{3})")  # a new one each time
ASKED, ANSWERED = "/run/scp-asked", "/run/scp-answered"
# The test carries the file and answers: see carry().
SCP = f"""#!/bin/sh
printf '%s\\n' "$@" >{ASKED}.new && mv {ASKED}.new {ASKED}
until test -e {ANSWERED}; do sleep 0.05; done
read -r status <{ANSWERED} && rm {ANSWERED} && exit "$status"
"""


def block(name):
    found = [text for document in ("README.md", "docs/tutorial.md")
             for mark, text in MARK.findall((TESTS.parent / document).read_text(encoding="utf-8")) if mark == name]
    assert len(found) == 1, f"{len(found)} blocks are marked as {name!r}"
    return found[0]


def lines(name):
    """The block's lines, continued ones as one, without their comments."""
    return [re.sub(r"\s+#.*", "", line) for line in block(name).replace("\\\n", " ").splitlines()]


def furnish(host):
    host.put("/usr/local/bin/sudo", "#!/bin/sh\nexec \"$@\"\n", 0o755)
    host.put("/usr/local/bin/scp", SCP, 0o755)


def place(lab, host, path):
    """Where a path of scp's is: HOST:PATH or USER@HOST:PATH, by name or address, else on `host` itself."""
    at, _, inside = path.rpartition(":")
    at = at.rpartition("@")[2]
    there = next((each for each in lab.hosts if at in (each.name, each.address)), None) if at else host
    assert there, f"scp: there is no host {at}"
    return there.path(inside if inside.startswith("/") else f"/root/{inside}")


def carry(lab, host):
    """What scp on this host was asked for, as scp would: the folder has to be there."""
    if not host.has(ASKED):
        return
    source, target = (place(lab, host, path) for path in host.get(ASKED).split())
    host.remove(ASKED)
    good = source.is_file() and target.parent.is_dir()
    if good:
        shutil.copy(source, target)
    host.put(ANSWERED, "0\n" if good else "1\n")


def play(lab, host, text, seconds=100, **instead):
    """Runs shell text on a host, each key of `instead` replaced by its value, until it ends well."""
    for word, value in instead.items():
        assert word in text, f"there is no {word} in {text!r}"
        text = text.replace(word, value)

    def ended():
        carry(lab, host)
        return not job.running()

    job = host.start("bash", "-ec", f"export HOME=/root; cd; {text}")
    wait_until(f"the end of {shlex.quote(text)}", ended, seconds)
    return job.wait(10).expect(0)


def play_on_all(hosts, text, seconds=120):
    """At once."""
    jobs = [host.start("bash", "-ec", text) for host in hosts]
    return [job.wait(seconds).expect(0) for job in jobs]


def invite(lab, host, other, inviting, invited):
    """A code is shown on one host, and taken on the other: the code of the document stands for it."""
    job = host.start("bash", "-ec", inviting)
    wait_until("a code is shown", lambda: CODE.search(job.text()), 60)
    code = CODE.search(invited)
    assert code, f"no code in {invited!r}"
    play(lab, other, invited.replace(code[1], CODE.search(job.text())[1]))
    job.wait(100).expect(0)
