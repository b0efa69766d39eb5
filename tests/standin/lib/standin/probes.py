"""Readiness probes, made for real from the host's own network, and the CoreDNS of a pod that brings a Corefile."""
from standin import flannel

# The plugins of CoreDNS' image that a Corefile may name here.
PLUGINS = {"cache", "errors", "forward", "health", "kubernetes", "log", "loop", "prometheus", "ready", "reload", "whoami"}


def probed(pod):
    return any(each.get("readinessProbe") for each in pod["spec"]["containers"])


def answers(probe, address):
    """Whether one probe succeeds now. The kubelet goes to the pod's address where the probe names no host."""
    import http.client  # which brings all of email, and few pods have probes

    get = probe.get("httpGet")
    if not get:
        return False  # others are not played, and nothing that is not played succeeds
    line = http.client.HTTPConnection(
        get.get("host") or address, int(get["port"]), timeout=min(probe.get("timeoutSeconds", 1), 1)
    )
    try:
        line.request("GET", get.get("path", "/"))
        return 200 <= line.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        line.close()


def ready(pod, address):
    return all(
        answers(each["readinessProbe"], address) for each in pod["spec"]["containers"] if each.get("readinessProbe")
    )


def served(container, mounts):
    """{port: (path, text)} that CoreDNS serves in HTTP as its Corefile says; {} for other programs, and without one."""
    words = list(container.get("command") or ()) + list(container.get("args") or ())
    if not container["image"].rpartition("/")[2].startswith("coredns:") or "-conf" not in words[:-1]:
        return {}
    path = words[words.index("-conf") + 1]
    text = mounts.text(path)
    if text is None:
        raise flannel.Crash(f"open {path}: no such file or directory")
    found, depth = {}, 0
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if depth == 1 and words and words[0] not in PLUGINS | {"}"}:
            raise flannel.Crash(f"{path}:{number} - Error during parsing: Unknown directive '{words[0]}'")
        if depth == 1 and words and words[0] == "health":
            found[int((words[1:2] or [":8080"])[0].rpartition(":")[2])] = ("/health", "OK")
        depth += line.count("{") - line.count("}")
    if depth or "{" not in text:
        raise flannel.Crash(f"{path} - Error during parsing: Unexpected EOF")
    return found
