"""crictl and ctr: which images this host has, and whether the runtime answers."""
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
        raise host.Failure(
            f'time="{host.stamp()}" level=fatal msg="connect: connect endpoint \'unix://{SOCKET}\', '
            "make sure you are running as root and the endpoint has been started: "
            'context deadline exceeded"'
        )
    if not runtime_answers():
        raise host.Failure(f'time="{host.stamp()}" level=fatal msg="connect: connection refused"')


def runtime_driver():
    """How the runtime groups processes, as its configuration says: systemd or cgroupfs."""
    text = host.read("/etc/containerd/config.toml", "")
    if "SystemdCgroup" not in text:
        return "cgroupfs"
    import tomllib

    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return "cgroupfs"
    for name in ("plugins", "io.containerd.grpc.v1.cri", "containerd", "runtimes", "runc", "options", "SystemdCgroup"):
        value = value.get(name) if isinstance(value, dict) else None
    return "systemd" if value is True else "cgroupfs"


def info():
    options = {"SystemdCgroup": runtime_driver() == "systemd"}
    return {
        "status": {
            "conditions": [
                {"type": "RuntimeReady", "status": True, "reason": "", "message": ""},
                {"type": "NetworkReady", "status": os.path.isdir("/etc/cni/net.d"), "reason": "", "message": ""},
            ]
        },
        "config": {
            "containerd": {
                "snapshotter": "overlayfs",
                "defaultRuntimeName": "runc",
                "runtimes": {"runc": {"runtimeType": "io.containerd.runc.v2", "options": options}},
            },
            "containerdEndpoint": SOCKET,
        },
    }


def list_pods(quiet):
    import json

    from standin import daemons

    ids = [images.digest(uid) for uid in json.loads(host.read(daemons.PODS, "{}"))]
    if not quiet:
        host.say("POD ID              CREATED             STATE               NAME                NAMESPACE")
    for each in ids:
        host.say(each if quiet else f"{each[:13]}       now                 Ready")


def remove_pod(word):
    import json

    from standin import daemons, podnet

    for uid in json.loads(host.read(daemons.PODS, "{}")):
        if images.digest(uid).startswith(word):
            podnet.remove(uid)
            host.say(f"Removed sandbox {word}")
            return
    raise host.Failure(
        f'time="{host.stamp()}" level=fatal msg="removing the pod sandbox "{word}": rpc error: code = NotFound"'
    )


def list_images(output):
    if output == "json":
        import json

        host.say(
            json.dumps(
                {
                    "images": [
                        {"id": "sha256:" + image_id, "repoTags": [name], "size": "1"}
                        for name, image_id in images.kept().items()
                    ]
                },
                indent=2,
            )
        )
        return
    host.say(f"{'IMAGE':<50} {'TAG':<20} {'IMAGE ID':<16} SIZE")
    for name, image_id in images.kept().items():
        base, _, tag = name.rpartition(":")
        host.say(f"{base:<50} {tag:<20} {image_id[:13]:<16} 1B")


def ctr_check(filters):
    """`ctr images check`: what is wanted are rows whose name is one of those asked for, all without a filter."""
    names = [word.removeprefix("name==") for word in filters]
    rows = [("REF", "TYPE", "DIGEST", "STATUS", "SIZE", "UNPACKED")]
    for name, image_id in sorted(images.kept().items()):
        if not names or name in names:
            kind = "application/vnd.docker.distribution.manifest.v2+json"
            rows.append((name, kind, "sha256:" + images.manifest(image_id), "complete (2/2)", "1.0 B/1.0 B", "true"))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        host.say(" ".join(text.ljust(width) for text, width in zip(row, widths)))


def ctr_content(words):
    """`ctr content get DIGEST`: the manifest of an image."""
    if len(words) != 2 or words[0] != "get":
        raise host.Failure("standin: ctr content knows get DIGEST")
    for image_id in images.kept().values():
        if words[1] == "sha256:" + images.manifest(image_id):
            host.say(host.in_json({"schemaVersion": 2, "config": {"digest": "sha256:" + image_id}, "layers": []}))
            return
    raise host.Failure(f"ctr: content digest {words[1]}: not found")


# Verb of `ctr images`: the flags it takes, and how many words must follow.
CTR_IMAGES = {
    "ls": ({"-q"}, None),
    "list": ({"-q"}, None),
    "check": (set(), None),
    "pull": ({"--plain-http"}, 1),
    "tag": ({"--force"}, 2),
    "rm": ({"--sync"}, None),
    "import": (set(), 1),
}


def ctr_images(words, argv):
    verb, words = (words + [""])[0], words[1:]
    if verb not in CTR_IMAGES:
        raise host.Failure(f"standin: ctr images knows {', '.join(CTR_IMAGES)}, not {verb!r}")
    known, count = CTR_IMAGES[verb]
    odd = [word for word in argv if word.startswith("-") and word not in known | {"-n", "--namespace"}]
    if odd:
        raise host.Failure(f"Incorrect Usage: flag provided but not defined: {odd[0]}")
    if count is not None and len(words) != count:
        raise host.Failure(f"standin: ctr images {verb} takes {count} words, not {words}")
    if verb in ("ls", "list"):
        names = images.present()
        host.say("\n".join(names) if "-q" in argv else "REF TYPE DIGEST SIZE PLATFORMS LABELS\n" + "\n".join(names))
    elif verb == "check":
        ctr_check(words)
    elif verb == "pull":
        images.pull(words[0])
    elif verb == "tag":
        images.tag(*words, "--force" in argv)
        host.say(words[1])
    elif verb == "rm":
        for word in words:
            images.remove(word)
            host.say(word)
    elif not os.path.exists(words[0]):
        raise host.Failure(f"ctr: open {words[0]}: no such file or directory")


def ctr(words, argv):
    if words[:2] in (["containers", "ls"], ["tasks", "ls"], ["c", "ls"], ["t", "ls"]):
        # Pods are addresses here; there are no containers to list.
        if "-q" not in argv:
            host.say("CONTAINER    IMAGE    RUNTIME" if words[0][0] == "c" else "TASK    PID    STATUS")
    elif words[:1] == ["content"]:
        ctr_content(words[1:])
    elif words[:1] in (["images"], ["image"], ["i"]):
        ctr_images(words[1:], argv)
    else:
        raise host.Failure("No help topic for " + repr(" ".join(words)), 3)


def command(name, argv):
    words, output, skip = [], "", False
    for at, word in enumerate(argv):
        if skip:
            skip = False
        elif word in (
            "-n",
            "--namespace",
            "-a",
            "--address",
            "-r",
            "--runtime-endpoint",
            "-i",
            "--image-endpoint",
            "-o",
            "--output",
            "-t",
            "--timeout",
        ):
            skip = True
            output = argv[at + 1] if word in ("-o", "--output") and at + 1 < len(argv) else output
        elif not word.startswith("-"):
            words.append(word)
    if words[:1] == ["--version"] or "--version" in argv:
        host.say("crictl version v1.20.0" if name == "crictl" else "ctr github.com/containerd/containerd 1.6.20")
        return
    need_runtime()
    if name == "ctr":
        ctr(words, argv)
    elif words[:1] in (["images"], ["image"]):
        list_images(output)
    elif words[:1] == ["pull"] and len(words) == 2:
        images.pull(words[1])
        host.say(f"Image is up to date for sha256:{images.digest(words[1])}")
    elif words[:1] == ["version"]:
        host.say("Version:  0.1.0\nRuntimeName:  containerd\nRuntimeVersion:  1.6.20~ds1\nRuntimeApiVersion:  v1alpha2")
    elif words[:1] == ["info"]:
        import json

        host.say(json.dumps(info(), indent=2))
    elif words[:1] == ["pods"]:
        list_pods("-q" in argv or "--quiet" in argv)
    elif words[:1] == ["ps"]:
        host.say("CONTAINER ID        IMAGE               CREATED             STATE")
    elif words[:1] == ["rmp"] and len(words) == 2:
        remove_pod(words[1])
    elif words[:1] == ["stopp"] and len(words) == 2:
        host.say(f"Stopped sandbox {words[1]}")
    else:
        raise host.Failure(
            f"standin: crictl knows images, pull, version, info, ps, pods, stopp and rmp, not {' '.join(words)!r}"
        )
