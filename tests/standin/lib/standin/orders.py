"""Faults on order. /etc/standin/orders holds one order a line:

    COMMAND PHASE ACTION[=VALUE] [once|always]

COMMAND is kubeadm-init, kubeadm-join, kubeadm-reset, kubeadm-token, kubeadm-version, kubectl-apply, kubectl-get, …,
systemctl-start, …, or a pattern such as kubectl-*. PHASE is one of the command's own phases, `start`, `end` or `*`.
ACTION is fail, hang, take=SECONDS, kill, rubbish=binary|long|endless or skip (exit 0 with nothing done). An order holds
always unless it says once; a used-up order is remembered by the file's time and line, so that a file written anew counts anew."""
import os
import sys
import time

from standin import host

ACTIONS = ("fail", "hang", "take", "kill", "rubbish", "skip")
RUBBISH = ("binary", "long", "endless")
FILE = host.ETC + "/orders"
USED = host.RUN + "/orders-used"


class Skip(Exception):
    """The order was to end with 0 here and now."""


def parse(line, number):
    """(command, phase, action, value, once) of one line; None for an empty one."""
    words = line.split("#")[0].split()
    if not words:
        return None
    action, _, value = words[2].partition("=") if len(words) > 2 else ("", "", "")
    how = words[3] if len(words) > 3 else "always"
    if len(words) not in (3, 4) or action not in ACTIONS or how not in ("once", "always"):
        raise host.Failure(f"standin: {FILE}:{number}: not an order: {line.strip()!r}", 70)
    if action == "rubbish" and value not in RUBBISH:
        raise host.Failure(f"standin: {FILE}:{number}: rubbish is one of {', '.join(RUBBISH)}", 70)
    if action == "take":
        float(value)
    # Both names of this phase are in use.
    phase = "addon" if words[1] == "addons" else words[1]
    return words[0], phase, action, value, how == "once"


def use_up(mark):
    """True for the first to use this order; two processes at once cannot both be."""
    os.makedirs(USED, exist_ok=True)
    try:
        os.close(os.open(os.path.join(USED, mark), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        return True
    except FileExistsError:
        return False


def matching(command, phase):
    """The orders that hold for this command now, each with its mark."""
    try:
        changed = os.stat(FILE).st_mtime_ns
    except FileNotFoundError:
        return
    import fnmatch

    for number, line in enumerate(host.read(FILE).splitlines(), 1):
        order = parse(line, number)
        if order and fnmatch.fnmatch(command, order[0]) and fnmatch.fnmatch(phase, order[1]):
            if not order[4] or use_up(f"{changed}-{number}"):
                yield order


def rubbish(kind):
    out = sys.stdout.buffer
    if kind == "binary":
        out.write(bytes(range(256)) * 64 + b"\xff\xfe\x00\x1b[2J\x1b]0;x\x07\n")
    elif kind == "long":
        for _ in range(4):
            out.write(b"x" * (1 << 20) + b"\n")
    while kind == "endless":
        out.write(b"endless output without any meaning\n" * 1024)
    out.flush()


def obey(command, phase):
    """Carries out what was ordered for this phase of this command. `fail` comes back as text: the caller words the error."""
    for _, _, action, value, _ in matching(command, phase):
        host.note(order=action, value=value, command=command, phase=phase)
        sys.stdout.flush()
        if action == "take":
            time.sleep(float(value))
        elif action == "kill":
            import signal

            os.kill(os.getpid(), signal.SIGKILL)
        elif action == "rubbish":
            rubbish(value)
        elif action == "skip":
            raise Skip
        elif action == "fail":
            return f"failed by order in {phase}"
        while action == "hang":
            time.sleep(3600)
    return None


def enforce(command, phase):
    """Like obey, but a failure is the command's end."""
    text = obey(command, phase)
    if text:
        raise host.Failure(f"error: {text}")
