"""Who may do what: the administrators, nodes, bootstrap tokens, what everybody may read, and RBAC from the stored objects."""
ADMINS = {"system:masters", "kubeadm:cluster-admins"}
BOOTSTRAPPERS = "system:bootstrappers:kubeadm:default-node-token"
BOOTSTRAP_READS = {("configmaps", "kubeadm-config"), ("configmaps", "kube-proxy"), ("secrets", "")}


def denied(user, ask, tail=""):
    """The API server's words for a refusal."""
    what = ask["resource"] + ("/" + ask["sub"] if ask.get("sub") else "")
    name = f' "{ask["name"]}"' if ask.get("name") else ""
    full = f"{what}.{ask['group']}" if ask["group"] else what
    where = f'in the namespace "{ask["namespace"]}"' if ask.get("namespace") else "at the cluster scope"
    text = (
        f'{full}{name} is forbidden: User "{user}" cannot {ask["verb"]} resource "{what}" in API group "{ask["group"]}" '
        + where
    )
    return text + (": " + tail if tail else "")


def node_may(store, node, ask):
    """None when the node may; else why not."""
    resource, verb, name = ask["resource"], ask["verb"], ask.get("name")
    if resource == "nodes":
        if verb == "create" or name == node and verb in ("get", "patch", "update", "list", "watch"):
            return None
        if verb == "list":
            return (
                None
                if ask["fields"].get("metadata.name") == node
                else f"node '{node}' cannot read all nodes, only its own Node object"
            )
        if verb == "get":
            return f"node '{node}' cannot read '{name}', only its own Node object"
        return f"node '{node}' is not allowed to modify node '{name}'" if verb != "delete" else ""
    if resource == "pods":
        if verb == "create":
            return None
        if verb in ("list", "watch"):
            return (
                None
                if ask["fields"].get("spec.nodeName") == node
                else "can only list/watch pods with spec.nodeName field selector"
            )
        pod = store.get("Pod", ask.get("namespace"), name) if name else None
        if verb in ("get", "patch", "delete") and (pod is None or pod["spec"].get("nodeName") == node):
            return None
        return "no relationship found between node '%s' and this object" % node if pod else ""
    if resource == "certificatesigningrequests" and verb in ("create", "get"):
        return None
    if resource == "configmaps" and verb == "get" and name in ("kubeadm-config", "kube-proxy", "kube-root-ca.crt"):
        return None
    if resource == "configmaps" and verb == "get" and (name or "").startswith("kubelet-config"):
        return None
    return ""


def bootstrap_may(ask):
    resource, verb, name = ask["resource"], ask["verb"], ask.get("name") or ""
    if resource == "configmaps" and verb == "get" and ask.get("namespace") == "kube-system":
        return ("configmaps", name) in BOOTSTRAP_READS or name.startswith("kubelet-config")
    if resource == "nodes" and verb == "get":
        return True
    return resource == "certificatesigningrequests" and verb in ("create", "get", "list", "watch")


def covers(listed, value):
    return "*" in listed or value in listed


def rule_holds(rule, ask):
    what = ask["resource"] + ("/" + ask["sub"] if ask.get("sub") else "")
    return (
        covers(rule.get("verbs") or (), ask["verb"])
        and covers(rule.get("apiGroups") or (), ask["group"])
        and covers(rule.get("resources") or (), what)
        and (not rule.get("resourceNames") or ask.get("name") in rule["resourceNames"])
    )


def bound(binding, user, groups):
    for one in binding.get("subjects") or ():
        if (
            one.get("kind") == "User"
            and one.get("name") == user
            or one.get("kind") == "Group"
            and one.get("name") in groups
        ):
            return True
        if (
            one.get("kind") == "ServiceAccount"
            and user == f"system:serviceaccount:{one.get('namespace')}:{one.get('name')}"
        ):
            return True
    return False


def rbac_may(store, user, groups, ask):
    bindings = [(each, None) for each in store.all("ClusterRoleBinding")]
    bindings += [(each, each["metadata"]["namespace"]) for each in store.all("RoleBinding")]
    for binding, space in bindings:
        if not bound(binding, user, groups) or space is not None and space != ask.get("namespace"):
            continue
        ref = binding.get("roleRef") or {}
        role = store.get(
            ref.get("kind") if ref.get("kind") in ("Role", "ClusterRole") else "ClusterRole", space, ref.get("name")
        )
        if role and any(rule_holds(rule, ask) for rule in role.get("rules") or ()):
            return True
    return False


def refuse(store, user, groups, ask):
    """None when this user may; else the whole sentence. `ask` has verb, group, resource, sub, namespace, name, fields."""
    if ADMINS & set(groups):
        return None
    if (
        ask["resource"] == "configmaps"
        and ask["verb"] == "get"
        and ask.get("namespace") == "kube-public"
        and ask.get("name") == "cluster-info"
    ):
        return None
    if user.startswith("system:node:") and "system:nodes" in groups:
        why = node_may(store, user[len("system:node:") :], ask)
        return None if why is None else denied(user, ask, why)
    if BOOTSTRAPPERS in groups and bootstrap_may(ask):
        return None
    return None if rbac_may(store, user, groups, ask) else denied(user, ask)
