"""systemctl's stand-in for the two units a host of a cluster needs: containerd and kubelet."""
import os
import sys

from standin import daemons, flags, host, orders

BIN = {"containerd": "/lib/systemd/system/containerd.service", "kubelet": "/lib/systemd/system/kubelet.service"}
ABOUT = {"containerd": "containerd container runtime", "kubelet": "kubelet: The Kubernetes Node Agent"}


def unit(word):
    """(short name, known) of a unit given with or without its suffix."""
    name = word.removesuffix(".service")
    return name, name in BIN


def wanted(name):
    return os.path.exists(f"{host.RUN}/{name}.wanted")


def state(name):
    """(active, sub) as systemd would say; a kubelet that cannot run yet is forever about to be started again."""
    if daemons.running(name):
        return "active", "running"
    if wanted(name):
        return ("activating", "auto-restart") if name == "kubelet" else ("failed", "failed")
    return "inactive", "dead"


def start(name):
    host.write(f"{host.RUN}/{name}.wanted", "")
    daemons.start(name)
    if name == "containerd":
        host.wait_for(lambda: os.path.exists("/run/containerd/containerd.sock") or not daemons.running(name), 5, 0.005)


def stop(name):
    host.remove(f"{host.RUN}/{name}.wanted")
    daemons.stop(name)


def change(verb, words):
    if not words:
        raise host.Failure("Too few arguments.")
    status = 0
    for word in words:
        name, known = unit(word)
        if not known:
            tail = "not loaded" if verb == "stop" else "not found"
            sys.stderr.write(f"Failed to {verb} {name}.service: Unit {name}.service {tail}.\n")
            status = 5
            continue
        text = orders.obey("systemctl-" + verb, name)
        if text:
            raise host.Failure(
                f"Job for {name}.service failed because the control process exited with error code.\nSee "
                f'"systemctl status {name}.service" and "journalctl -xeu {name}.service" for details.'
            )
        if verb in ("stop", "restart", "try-restart"):
            again = daemons.running(name) or verb == "restart"
            stop(name)
            if verb == "try-restart" and not again:
                continue
        if verb != "stop":
            start(name)
    return status


def is_active(words, quiet):
    status = 3
    for word in words:
        name, known = unit(word)
        active = state(name)[0] if known else "inactive"
        if not quiet:
            host.say(active)
        status = 0 if active == "active" else status if status == 0 else 3 if known else 4
    return status


def is_enabled(words, quiet):
    status = 1
    for word in words:
        name, known = unit(word)
        if not known:
            sys.stderr.write(f"Failed to get unit file state for {name}.service: No such file or directory\n")
            continue
        yes = daemons.enabled(name)
        if not quiet:
            host.say("enabled" if yes else "disabled")
        status = 0 if yes else status
    return status


def enable(verb, words, now):
    for word in words:
        name, known = unit(word)
        if not known:
            raise host.Failure(f"Failed to {verb} unit: Unit file {name}.service does not exist.")
    for word in words:
        name, _ = unit(word)
        link = f"/etc/systemd/system/multi-user.target.wants/{name}.service"
        if verb == "enable" and not daemons.enabled(name):
            sys.stderr.write(f"Created symlink {link} → {BIN[name]}.\n")
        if verb == "disable" and daemons.enabled(name):
            sys.stderr.write(f"Removed {link}.\n")
        daemons.enable(name, verb == "enable")
    return change("start" if verb == "enable" else "stop", words) if now else 0


def properties(name, known):
    active, sub = state(name) if known else ("inactive", "dead")
    pid = daemons.running(name) if known else None
    return {
        "Id": name + ".service",
        "LoadState": "loaded" if known else "not-found",
        "ActiveState": active,
        "SubState": sub,
        "MainPID": str(pid or 0),
        "UnitFileState": ("enabled" if daemons.enabled(name) else "disabled") if known else "",
        "FragmentPath": BIN.get(name, ""),
        "Description": ABOUT.get(name, name + ".service"),
        "NRestarts": "0",
        "Result": "exit-code" if known and active in ("activating", "failed") else "success",
        "Type": "simple",
    }


def show(words, asked, value):
    names = [part for each in asked for part in each.split(",")]
    for at, word in enumerate(words):
        have = properties(*unit(word))
        if at:
            host.say()
        for name in names or have:
            if name in have:
                host.say(have[name] if value else f"{name}={have[name]}")
    return 0


def status(words):
    for word in words:
        name, known = unit(word)
        if not known:
            sys.stderr.write(f"Unit {name}.service could not be found.\n")
            return 4
        active, sub = state(name)
        host.say(
            f"● {name}.service - {ABOUT[name]}\n     Loaded: loaded ({BIN[name]}; "
            f"{'enabled' if daemons.enabled(name) else 'disabled'}; preset: enabled)\n     Active: {active} ({sub})"
        )
        if active != "active":
            return 3
    return 0


def command(_name, argv):
    def words(text):
        return host.Failure("systemctl: " + text)

    found, rest = flags.parse(
        argv,
        {
            "now": False,
            "quiet": False,
            "no-pager": False,
            "no-block": False,
            "property": [],
            "value": False,
            "version": False,
            "system": False,
            "no-legend": False,
            "plain": False,
            "full": False,
            "no-ask-password": False,
            "force": False,
            "all": False,
            "no-reload": False,
        },
        {"q": "quiet", "p": "property", "l": "full", "f": "force", "a": "all"},
        words,
    )
    verb, names = rest[0] if rest else "", rest[1:]
    if found["version"]:
        host.say("systemd 252 (252.39-1~deb12u1)\nstandin")
        return 0
    try:
        orders.enforce("systemctl-" + (verb or "list"), "start")
        return act(verb, names, found)
    except orders.Skip:
        return 0


def act(verb, names, found):
    if verb in ("start", "stop", "restart", "try-restart", "reload-or-restart"):
        return change("restart" if verb == "reload-or-restart" else verb, names)
    if verb == "is-active":
        return is_active(names, found["quiet"])
    if verb == "is-enabled":
        return is_enabled(names, found["quiet"])
    if verb == "is-failed":
        active = state(unit(names[0])[0])[0] if names else "inactive"
        host.say(active)
        return 0 if active == "failed" else 1
    if verb in ("enable", "disable"):
        return enable(verb, names, found["now"])
    if verb == "show":
        return show(names, found["property"], found["value"])
    if verb == "status":
        return status(names)
    if verb == "is-system-running":
        host.say("running")
        return 0
    if verb in ("daemon-reload", "reset-failed", "daemon-reexec"):
        return 0
    if verb == "default":
        daemons.boot(True)
        return 0
    raise host.Failure(f"Unknown command verb {verb}." if verb else "standin: no list of units")
