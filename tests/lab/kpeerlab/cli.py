"""The commands of `lab`."""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import sys
import time

from . import cgroup, faults, host as hosts, network, quick, root, state
from .errors import CannotHere, LabError, NotThere, UsageError

EXEC_FAULT = 125
EPILOG = """exit status: 0 done, 1 failed, 2 wrong usage, 3 no such lab or host or it is not running, 4 timed out,
77 this machine cannot carry the lab, 130 interrupted (everything undone).
`exec` gives that of the command; 125 when the lab itself failed, 126 or 127 when the command could not be run."""


# --- checked arguments --------------------------------------------------------------------------------------------


def _count(text):
    if not text.isdigit() or not 1 <= int(text) <= state.HOSTS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {state.HOSTS_MAX}")
    return int(text)


def _size(text):
    if not re.fullmatch(r"[1-9][0-9]*[KMGkmg]?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 1700M")
    return text


def _percent(text):
    with contextlib.suppress(ValueError):
        value = float(text.removesuffix("%"))
        if 0 <= value <= 100:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a percentage from 0 to 100")


def _bind(text):
    """SRC:DST[:rw], made absolute."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not parts[1].startswith("/") or (len(parts) == 3 and parts[2] != "rw"):
        raise argparse.ArgumentTypeError(f"{text!r} is not SOURCE:/TARGET or SOURCE:/TARGET:rw")
    source = pathlib.Path(parts[0]).resolve()
    if not source.exists():
        raise argparse.ArgumentTypeError(f"{source} does not exist")
    return ":".join([str(source), *parts[1:]])


def _folder(text):
    path = pathlib.Path(text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is not a folder")
    return str(path)


def _setting(text):
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.*", text, re.DOTALL):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return text


# --- commands -----------------------------------------------------------------------------------------------------


def _up(instance, args):
    if args.cloned and args.nics == 1:
        raise UsageError("--cloned needs two interfaces: clones differ in their host-only hardware address alone")
    if args.standin and args.kind != "light":
        raise UsageError("--standin is for light hosts: the others take the real programs")
    if args.flaw and args.kind != "bare":
        raise UsageError("--flaw is for bare hosts")
    options = state.Options(
        kind=args.kind,
        nics=args.nics,
        cloned=args.cloned,
        multicast=args.multicast,
        ipv6=args.ipv6,
        binds=args.bind,
        standin=args.standin,
        memory=args.memory,
        cpus=args.cpus,
        cache=args.cache,
        flaws=sorted(set(args.flaw)),
    )
    began = time.monotonic()
    with instance.lock():
        hosts.up(instance, args.count, options)
    _tell(args, f"{args.count} {options.kind} hosts up in {time.monotonic() - began:.1f} s")


def _add(instance, args):
    with instance.lock():
        made = hosts.add(instance, args.count, args.memory, args.cpus)
    _tell(args, "added " + " ".join(host.name for host in made))


def _down(instance, args):
    with instance.lock():
        if args.host:
            hosts.remove(instance, [instance.host(args.host)])
        else:
            hosts.down(instance)


def _exec(instance, args):
    host = instance.running(args.host)
    if cgroup.is_frozen(instance, host):
        raise LabError(f"{host.name} is paused")
    command = hosts.enter_command(instance, host, args.command or ["bash", "-l"], args.env)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and the command would inherit that
    os.execv(command[0], command)


def _each(instance, args):
    chosen = [instance.running(name) for name in args.hosts.split(",")] if args.hosts else instance.hosts()
    chosen = [host for host in chosen if hosts.status(instance, host) == "running"]
    if not chosen:
        instance.options()
        raise NotThere("no host is running")
    if not args.command:
        raise UsageError("each: no command")
    worst = 0
    for host, status in _run_on_each(instance, chosen, args):
        if status:
            print(f"lab: {host.name}: status {status}", file=sys.stderr)
        worst = max(worst, status)
    return worst


def _run_on_each(instance, chosen, args):
    """Each host with its status, its lines printed before: as they come, or host by host."""

    def tell(host, line):
        print(f"{host.name}: {line}", flush=args.live)

    if args.live:
        yield from hosts.follow_on_each(instance, chosen, args.command, args.env, tell)
        return
    for host, status, output in hosts.run_on_each(instance, chosen, args.command, args.env):
        for line in output.splitlines():
            tell(host, line)
        yield host, status


def _cp(instance, args):
    if not os.path.exists(args.source):
        raise LabError(f"{args.source} does not exist")
    hosts.copy_in(instance, instance.running(args.host), args.source, args.target)


def _stop(instance, args):
    with instance.lock():
        hosts.power_off(instance, [instance.host(name) for name in args.hosts])


def _start(instance, args):
    with instance.lock():
        for name in args.hosts:
            hosts.power_on(instance, instance.host(name))


def _wipe(instance, args):
    with instance.lock():
        for host in [instance.host(name) for name in args.hosts]:
            hosts.wipe(instance, host)


def _cut(instance, args):
    with instance.lock():
        faults.cut(instance, args.hosts)


def _heal(instance, _args):
    with instance.lock():
        instance.options()
        faults.heal(instance)


def _loss(instance, args):
    with instance.lock():
        instance.options()
        for host in [instance.host(args.host)] if args.host else instance.hosts():
            faults.set_loss(instance, host, args.percent)


def _pause(instance, args):
    for name in args.hosts:
        cgroup.freeze(instance, instance.running(name))


def _resume(instance, args):
    for name in args.hosts:
        cgroup.thaw(instance, instance.running(name))


def _address(instance, args):
    with instance.lock():
        host = instance.host(args.host)
        address = network.check_address(args.address)
        for other in instance.hosts():
            if other.address == address and other.number != host.number and not args.force:
                raise LabError(f"{address} is the address of {other.name} (--force gives it out twice)")
        if state.alive(host):
            network.change_address(instance, host, instance.options(), address)
        host.address = address
        instance.save(host)


def _inventory(instance, args):
    options = instance.options()
    rows = [_describe(instance, host, options) for host in instance.hosts()]
    if args.output == "json":
        print(json.dumps({"lab": instance.name, "options": dataclasses.asdict(options), "hosts": rows}, indent=2))
        return
    line = "{name:<9}{address:<17}{nat:<12}{state:<9}{pid:<9}{island:<8}{loss_percent}"
    print(line.format(name="NAME", address="ADDRESS", nat="NAT", state="STATE", pid="PID", island="ISLAND",
                      loss_percent="LOSS%"))  # fmt: skip
    for row in rows:
        print(line.format(**{key: "-" if value is None else value for key, value in row.items()}))


def _describe(instance, host, options):
    return {
        "name": host.name,
        "hostname": host.hostname,
        "kind": options.kind,
        "address": host.address,
        "interface": network.host_only_nic(options),
        "nat": network.NAT_HOST if options.nics > 1 else None,
        "state": hosts.status(instance, host),
        "pid": host.pid or None,
        "island": host.island,
        "loss_percent": host.loss,
        "product_uuid": host.product_uuid,
        "machine_id": host.machine_id,
        "memory_bytes": cgroup.memory_bytes(instance, host),
        "netns": network.host_ns(instance, host).name,
        "disk": str(instance.host_dir(host) / "disk"),
    }


def _tell(args, text):
    if not args.quiet:
        print(text)


# --- the command line ---------------------------------------------------------------------------------------------


def _parser():
    parser = argparse.ArgumentParser(
        prog="lab",
        description="Linux hosts with a network like VirtualBox's, on one machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--name", default=quick.DEFAULT_NAME, help="name of the instance (default: kpeer); several may be up")
    parser.add_argument("--dir", help=f"folder for the state of all instances (default: {quick.DEFAULT_ROOT})")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing when all goes well")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_up(commands)
    _add_life(commands)
    _add_use(commands)
    _add_faults(commands)
    return parser


def _command(commands, name, work, text, **more):
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", **more)
    command.set_defaults(work=work)
    return command


def _add_size_options(command):
    command.add_argument("--memory", type=_size, metavar="SIZE",
                         help="memory of each host, limited and told in meminfo")  # fmt: skip
    command.add_argument("--cpus", type=_count, metavar="N", help="processors of each host")


def _add_up(commands):
    up = _command(commands, "up", _up, "make a lab of COUNT hosts, node1 to nodeCOUNT, and power them on")
    up.add_argument("count", type=_count, metavar="COUNT", nargs="?", default=3, help="how many (default: 3)")
    kind = up.add_mutually_exclusive_group()
    kind.add_argument("--light", dest="kind", action="store_const", const="light", default="light",
                      help="a tiny init over this machine's programs (default)")  # fmt: skip
    kind.add_argument("--full", dest="kind", action="store_const", const="full",
                      help="systemd, containerd and kubelet from the cache")  # fmt: skip
    kind.add_argument("--bare", dest="kind", action="store_const", const="bare",
                      help="systemd on a minimal Debian: no runtime, no Kubernetes, a disk of its own")  # fmt: skip
    up.add_argument("--nics", type=int, choices=(1, 2, 3), default=2,
                    help="1: host-only; 2: NAT and host-only; 3: a further internal one (default: 2)")  # fmt: skip
    up.add_argument("--cloned", action="store_true",
                    help="one machine-id, product UUID, host name and NAT hardware address for all")  # fmt: skip
    up.add_argument("--no-multicast", dest="multicast", action="store_false", help="the switch drops multicast")
    up.add_argument("--ipv6", action="store_true", help="also fd00:56::<10+n>/64 on the host-only interface")
    up.add_argument("--bind", type=_bind, action="append", default=[], metavar="SRC:DST[:rw]",
                    help="show a file or folder of this machine on each host, read-only unless :rw")  # fmt: skip
    up.add_argument("--standin", type=_folder, metavar="DIR",
                    help="put the programs in DIR into /usr/bin of light hosts")  # fmt: skip
    up.add_argument("--flaw", choices=sorted(root.FLAWS), action="append", default=[],
                    help="what bare hosts shall suffer from; "
                    + "; ".join(f"{name}: {flaw[0]}" for name, flaw in sorted(root.FLAWS.items())))  # fmt: skip
    up.add_argument("--cache", default=os.environ.get("KPEER_CACHE", "/var/cache/kpeer-lab"), metavar="DIR",
                    help="where full hosts come from (default: $KPEER_CACHE or /var/cache/kpeer-lab)")  # fmt: skip
    _add_size_options(up)


def _add_life(commands):
    add = _command(commands, "add", _add, "add COUNT further hosts, made like the first ones")
    add.add_argument("count", type=_count, metavar="COUNT", nargs="?", default=1, help="how many (default: 1)")
    _add_size_options(add)
    down = _command(commands, "down", _down, "end and remove everything of this lab (or one host), crashed or not")
    down.add_argument("host", metavar="HOST", nargs="?")
    for name, work, text in (
        ("stop", _stop, "power hosts off, hard; their disks stay"),
        ("start", _start, "power hosts on again"),
    ):
        _command(commands, name, work, text).add_argument("hosts", metavar="HOST", nargs="+")
    wipe = _command(commands, "wipe", _wipe, "power hosts off and empty their disks; their hardware keeps its identity")
    wipe.add_argument("hosts", metavar="HOST", nargs="+")


def _add_use(commands):
    run = _command(commands, "exec", _exec, "run a command as root on a host (a shell when there is none)")
    run.add_argument("-e", "--env", type=_setting, action="append", default=[], metavar="NAME=VALUE",
                     help="put a variable into the otherwise clean environment")  # fmt: skip
    run.add_argument("host", metavar="HOST")
    run.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER)
    each = _command(commands, "each", _each, "run a command on all running hosts at once; lines are told by host")
    each.add_argument("-e", "--env", type=_setting, action="append", default=[], metavar="NAME=VALUE",
                      help="put a variable into the otherwise clean environment")  # fmt: skip
    each.add_argument("--live", action="store_true", help="print lines as they come, not host by host")
    each.add_argument("--hosts", metavar="HOST,HOST…", help="on these alone")
    each.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER)
    copy = _command(commands, "cp", _cp, "copy a file or folder from this machine into a host")
    copy.add_argument("host", metavar="HOST")
    copy.add_argument("source", metavar="SRC")
    copy.add_argument("target", metavar="DST")
    show = _command(commands, "inventory", _inventory, "list the hosts")
    show.add_argument("-o", dest="output", choices=("table", "json"), default="table")


def _add_faults(commands):
    for name, work, text in (
        ("cut", _cut, "separate these hosts from the rest; they still hear each other"),
        ("pause", _pause, "freeze all processes of hosts"),
        ("resume", _resume, "let paused hosts go on"),
    ):
        _command(commands, name, work, text).add_argument("hosts", metavar="HOST", nargs="+")
    _command(commands, "heal", _heal, "undo every cut")
    loss = _command(commands, "loss", _loss, "lose a share of the packets to each host, or to one; 0 ends it")
    loss.add_argument("percent", type=_percent, metavar="PERCENT")
    loss.add_argument("host", metavar="HOST", nargs="?")
    address = _command(commands, "address", _address, "give a host another host-only address, now and from now on")
    address.add_argument("host", metavar="HOST")
    address.add_argument("address", metavar="ADDRESS")
    address.add_argument("--force", action="store_true", help="even if another host has it")


def _interrupted(number, _frame):
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)  # undoing is not to be interrupted in turn
    raise KeyboardInterrupt(signal.Signals(number).name)


def main(arguments):
    args = _parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    try:
        if os.geteuid() != 0:
            raise CannotHere("hosts need root: run this as root")
        return args.work(state.Instance(args.name, args.dir), args) or 0
    except KeyboardInterrupt as interrupt:
        print(f"lab: interrupted ({interrupt}); what this command made is undone", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except (LabError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        if args.work is _exec:
            return EXEC_FAULT
        return error.status if isinstance(error, LabError) else 1
