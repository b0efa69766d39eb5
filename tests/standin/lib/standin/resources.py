"""The kinds of object the stand-in API knows: names, groups, the versions that serve them, and their paths."""
from standin import host

# kind: (plural, short names, namespaced, [(group, version, first minor, last minor)])
KINDS = {
    "Namespace": ("namespaces", ("ns",), False, [("", "v1", 0, 99)]),
    "Node": ("nodes", ("no",), False, [("", "v1", 0, 99)]),
    "Pod": ("pods", ("po",), True, [("", "v1", 0, 99)]),
    "Service": ("services", ("svc",), True, [("", "v1", 0, 99)]),
    "ServiceAccount": ("serviceaccounts", ("sa",), True, [("", "v1", 0, 99)]),
    "ConfigMap": ("configmaps", ("cm",), True, [("", "v1", 0, 99)]),
    "Secret": ("secrets", (), True, [("", "v1", 0, 99)]),
    "DaemonSet": ("daemonsets", ("ds",), True, [("apps", "v1", 0, 99)]),
    "Deployment": ("deployments", ("deploy",), True, [("apps", "v1", 0, 99)]),
    "ClusterRole": (
        "clusterroles",
        (),
        False,
        [("rbac.authorization.k8s.io", "v1", 0, 99), ("rbac.authorization.k8s.io", "v1beta1", 0, 21)],
    ),
    "ClusterRoleBinding": (
        "clusterrolebindings",
        (),
        False,
        [("rbac.authorization.k8s.io", "v1", 0, 99), ("rbac.authorization.k8s.io", "v1beta1", 0, 21)],
    ),
    "Role": (
        "roles",
        (),
        True,
        [("rbac.authorization.k8s.io", "v1", 0, 99), ("rbac.authorization.k8s.io", "v1beta1", 0, 21)],
    ),
    "RoleBinding": (
        "rolebindings",
        (),
        True,
        [("rbac.authorization.k8s.io", "v1", 0, 99), ("rbac.authorization.k8s.io", "v1beta1", 0, 21)],
    ),
    "PodSecurityPolicy": ("podsecuritypolicies", ("psp",), False, [("policy", "v1beta1", 0, 24)]),
    "CertificateSigningRequest": (
        "certificatesigningrequests",
        ("csr",),
        False,
        [("certificates.k8s.io", "v1", 19, 99)],
    ),
}


def served(kind, minor):
    """[(group, version)] in which this kind is served."""
    return [(group, version) for group, version, first, last in KINDS[kind][3] if first <= minor <= last]


def by_api(api, kind, minor):
    """Whether `kind` exists under apiVersion `api` (`v1`, `apps/v1`)."""
    return kind in KINDS and any(
        (f"{group}/{version}" if group else version) == api for group, version in served(kind, minor)
    )


def by_name(word):
    """The kind for a word a person types: nodes, node, no, Node, nodes.v1.; None for an unknown one."""
    word = word.lower().partition(".")[0]
    for kind, (plural, short, _, _) in KINDS.items():
        if word in (plural, kind.lower(), *short):
            return kind
    return None


def by_plural(group, version, plural, minor):
    for kind, (name, *_) in KINDS.items():
        if name == plural and (group, version) in served(kind, minor):
            return kind
    return None


def plural(kind):
    return KINDS[kind][0]


def namespaced(kind):
    return KINDS[kind][2]


def group(kind):
    return KINDS[kind][3][0][0]


def api_version(kind):
    name, version = KINDS[kind][3][0][:2]
    return f"{name}/{version}" if name else version


def path(kind, namespace=None, name=None):
    """The URL path of an object, of a namespace's list or of the whole list."""
    name_of_group, version = served(kind, host.minor())[0] if served(kind, host.minor()) else KINDS[kind][3][0][:2]
    text = f"/apis/{name_of_group}/{version}" if name_of_group else f"/api/{version}"
    if namespaced(kind) and namespace:
        text += "/namespaces/" + namespace
    text += "/" + plural(kind)
    return f"{text}/{name}" if name else text


def qualified(kind):
    """The resource as kubectl prints it: daemonset.apps."""
    name = kind.lower()
    return f"{name}.{group(kind)}" if group(kind) else name
