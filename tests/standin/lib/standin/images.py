"""Which images kubeadm needs in a version, and which of them this host has. A host has every image that kubeadm needs, and
Flannel's, except those whose names match a line (a shell pattern) of /etc/standin/images-absent, which have to be pulled first, or of
/etc/standin/images-missing, which cannot be pulled either."""
import os

from standin import host

# minor version: (etcd, coredns, pause)
TAGS = {
    20: ("3.4.13-0", "1.7.0", "3.2"),
    21: ("3.4.13-0", "v1.8.0", "3.4.1"),
    22: ("3.5.0-0", "v1.8.4", "3.5"),
    23: ("3.5.1-0", "v1.8.6", "3.6"),
    24: ("3.5.3-0", "v1.8.6", "3.7"),
    25: ("3.5.4-0", "v1.9.3", "3.8"),
    26: ("3.5.6-0", "v1.9.3", "3.9"),
    27: ("3.5.7-0", "v1.10.1", "3.9"),
    28: ("3.5.9-0", "v1.10.1", "3.9"),
    29: ("3.5.10-0", "v1.11.1", "3.9"),
    30: ("3.5.12-0", "v1.11.1", "3.9"),
    31: ("3.5.15-0", "v1.11.1", "3.10"),
}


FLANNEL = ["docker.io/flannel/flannel:v0.22.3", "docker.io/flannel/flannel-cni-plugin:v1.2.0"]


def repository(version):
    return "registry.k8s.io" if host.minor(version) >= 25 else "k8s.gcr.io"


def needed(version, source=None):
    """The names `kubeadm config images list` prints, in its order."""
    etcd, dns, rest = TAGS[min(max(host.minor(version), min(TAGS)), max(TAGS))]
    at = source or repository(version)
    names = [f"{at}/kube-{part}:{version}" for part in ("apiserver", "controller-manager", "scheduler", "proxy")]
    coredns = f"{at}/coredns:{dns}" if host.minor(version) == 20 or source else f"{at}/coredns/coredns:{dns}"
    end = [f"{at}/pause:{rest}", f"{at}/etcd:{etcd}", coredns]
    return names + (end if host.minor(version) < 27 else [coredns, end[0], end[1]])


def digest(name):
    import hashlib

    return hashlib.sha256(name.encode()).hexdigest()


def listed(name, file):
    """Whether a pattern in a file of /etc/standin, where it is there at all, fits an image's name."""
    lines = host.read(f"{host.ETC}/{file}", "").split()
    if not lines:
        return False
    import fnmatch

    return any(fnmatch.fnmatch(name, line) for line in lines)


def missing(name):
    return listed(name, "images-missing")


def pulled_file():
    return "/var/lib/containerd/standin-images"


def is_absent(name):
    return listed(name, "images-absent")


def manifest(image_id):
    """The digest of the manifest that leads to an image's id."""
    return digest("manifest of " + image_id)


def kept():
    """Name: id of every image of this host."""
    found = {name: digest(name) for name in needed(host.version()) + FLANNEL if not is_absent(name)}
    for line in host.read(pulled_file(), "").splitlines():
        name, _, image_id = line.partition(" ")
        if image_id == "-":
            found.pop(name, None)
        else:
            found[name] = image_id or digest(name)
    return {name: image_id for name, image_id in found.items() if not missing(name)}


def present():
    return list(kept())


def note(name, image_id):
    """Remembers that the name stands for this image from now on; "-": for none."""
    os.makedirs(os.path.dirname(pulled_file()), exist_ok=True)
    with open(pulled_file(), "a", encoding="utf-8") as file:
        file.write(f"{name} {image_id}\n")


def tag(source, target, force):
    here = kept()
    if source not in here:
        raise host.Failure(f'ctr: image "{source}": not found')
    if target in here and not force:
        raise host.Failure(f'ctr: image "{target}": already exists')
    note(target, here[source])


def remove(name):
    """containerd only warns of a name that is not there."""
    if name in kept():
        note(name, "-")
        return True
    return False


def pull(name):
    """Remembers the image as pulled, or fails in containerd's words."""
    if missing(name):
        raise host.Failure(
            f'time="{host.stamp()}" level=fatal msg="pulling image: rpc error: code = Unknown desc = failed to '
            f'pull and unpack image \\"{name}\\": failed to resolve reference \\"{name}\\": failed to do '
            'request: dial tcp: lookup: Temporary failure in name resolution"'
        )
    note(name, digest(name))
