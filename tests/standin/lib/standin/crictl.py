"""crictl and ctr: which images this host has, and whether the runtime answers."""
import json
import os
import socket

from standin import host, images

SOCKET = "/run/containerd/containerd.sock"


def runtime_answers(path=SOCKET):
    """Whether something accepts connections on the runtime's socket."""
    path = path.removeprefix("unix://")
    with socket.socket(socket.AF_UNIX) as plug:
        try:
            plug.connect(path)
        except OSError:
            return False
    return True


def need_runtime():
    if not os.path.exists(SOCKET):
        raise host.Failure(f'time="{host.stamp()}" level=fatal msg="connect: connect endpoint \'unix://{SOCKET}\', '
                           'make sure you are running as root and the endpoint has been started: '
                           'context deadline exceeded"')
    if not runtime_answers():
        raise host.Failure(f'time="{host.stamp()}" level=fatal msg="connect: connection refused"')


def list_images(output):
    if output == "json":
        host.say(json.dumps({"images": [{"id": "sha256:" + images.digest(name), "repoTags": [name], "size": "1"}
                                        for name in images.present()]}, indent=2))
        return
    host.say(f"{'IMAGE':<50} {'TAG':<20} {'IMAGE ID':<16} SIZE")
    for name in images.present():
        base, _, tag = name.rpartition(":")
        host.say(f"{base:<50} {tag:<20} {images.digest(name)[:13]:<16} 1B")


def ctr(words):
    if words[:1] not in (["images"], ["image"], ["i"]):
        raise host.Failure("No help topic for " + repr(" ".join(words)), 3)
    verb = words[1] if len(words) > 1 else ""
    if verb in ("ls", "list"):
        names = images.present()
        host.say("\n".join(names) if "-q" in words else "REF TYPE DIGEST SIZE PLATFORMS LABELS\n" + "\n".join(names))
    elif verb == "pull" and len(words) > 2:
        images.pull(words[-1])
    elif verb == "import" and len(words) > 2:
        if not os.path.exists(words[-1]):
            raise host.Failure(f"ctr: open {words[-1]}: no such file or directory")
    else:
        raise host.Failure("standin: ctr images knows ls, pull and import")


def command(name, argv):
    words, output, skip = [], "", False
    for at, word in enumerate(argv):
        if skip:
            skip = False
        elif word in ("-n", "--namespace", "-a", "--address", "-r", "--runtime-endpoint", "-i", "--image-endpoint", "-o",
                      "--output", "-t", "--timeout"):
            skip = True
            output = argv[at + 1] if word in ("-o", "--output") and at + 1 < len(argv) else output
        elif not word.startswith("--"):
            words.append(word)
    if words[:1] == ["--version"] or "--version" in argv:
        host.say("crictl version v1.20.0" if name == "crictl" else "ctr github.com/containerd/containerd 1.6.20")
        return
    need_runtime()
    if name == "ctr":
        ctr(words)
    elif words[:1] in (["images"], ["image"]):
        list_images(output)
    elif words[:1] == ["pull"] and len(words) == 2:
        images.pull(words[1])
        host.say(f"Image is up to date for sha256:{images.digest(words[1])}")
    elif words[:1] == ["version"]:
        host.say("Version:  0.1.0\nRuntimeName:  containerd\nRuntimeVersion:  1.6.20~ds1\nRuntimeApiVersion:  v1alpha2")
    elif words[:1] == ["info"]:
        host.say(json.dumps({"status": {"conditions": [{"type": "RuntimeReady", "status": True}]}}))
    elif words[:1] in (["ps"], ["pods"]):
        host.say("CONTAINER ID        IMAGE               CREATED             STATE" if words[0] == "ps" else
                 "POD ID              CREATED             STATE               NAME                NAMESPACE")
    else:
        raise host.Failure(f"standin: crictl knows images, pull, version, info, ps and pods, not {' '.join(words)!r}")
