"""What the API server refuses in objects that are well-formed: names, selectors, containers, rules."""
import base64
import binascii
import re

from standin import resources

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


class Invalid(Exception):
    @staticmethod
    def kind(kind):
        return f"{kind}.{resources.group(kind)}" if resources.group(kind) else kind


def required(value, field, words=""):
    if value in (None, "", [], {}):
        raise Invalid(f"{field}: Required value" + (": " + words if words else ""))


def pod_spec(spec, field):
    required(spec.get("containers"), field + ".containers")
    volumes = {each.get("name") for each in spec.get("volumes") or ()}
    seen = set()
    for part in ("initContainers", "containers"):
        for at, each in enumerate(spec.get(part) or ()):
            where = f"{field}.{part}[{at}]"
            required(each.get("name"), where + ".name")
            required(each.get("image"), where + ".image")
            if not LABEL.fullmatch(each["name"]):
                raise Invalid(
                    f'{where}.name: Invalid value: "{each["name"]}": a lowercase RFC 1123 label must consist of lower '
                    "case alphanumeric characters or '-', and must start and end with an alphanumeric character"
                )
            if each["name"] in seen:
                raise Invalid(f'{where}.name: Duplicate value: "{each["name"]}"')
            seen.add(each["name"])
            for mount, one in enumerate(each.get("volumeMounts") or ()):
                if one.get("name") not in volumes:
                    raise Invalid(f'{where}.volumeMounts[{mount}].name: Not found: "{one.get("name")}"')
                required(one.get("mountPath"), f"{where}.volumeMounts[{mount}].mountPath")
            for port in each.get("ports") or ():
                if not 0 < (port.get("containerPort") or 0) < 65536:
                    raise Invalid(
                        f"{where}.ports[0].containerPort: Invalid value: {port.get('containerPort')}: must be between "
                        "1 and 65535, inclusive"
                    )
    for at, each in enumerate(spec.get("tolerations") or ()):
        if not each.get("key") and each.get("operator") != "Exists":
            raise Invalid(
                f'{field}.tolerations[{at}].operator: Invalid value: "{each.get("operator", "")}": operator must be '
                'Exists when `key` is empty, which means "match all values and all keys"'
            )
        if each.get("operator") == "Exists" and each.get("value"):
            raise Invalid(
                f"{field}.tolerations[{at}].operator: Invalid value: core.Toleration: value must be empty when "
                "`operator` is 'Exists'"
            )
        if each.get("effect") not in (None, "", "NoSchedule", "PreferNoSchedule", "NoExecute"):
            raise Invalid(
                f'{field}.tolerations[{at}].effect: Unsupported value: "{each["effect"]}": supported values: '
                '"NoSchedule", "PreferNoSchedule", "NoExecute"'
            )
    if spec.get("restartPolicy") not in (None, "Always", "OnFailure", "Never"):
        raise Invalid(
            f'{field}.restartPolicy: Unsupported value: "{spec["restartPolicy"]}": supported values: "Always", '
            '"OnFailure", "Never"'
        )


def workload(each, before):
    spec = each.get("spec") or {}
    selector = spec.get("selector") or {}
    required(selector, "spec.selector")
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    wanted = selector.get("matchLabels") or {}
    if not wanted and not selector.get("matchExpressions"):
        raise Invalid(f"spec.selector: Invalid value: {selector}: empty selector is invalid for {each['kind'].lower()}")
    if any(labels.get(name) != value for name, value in wanted.items()):
        shown = ", ".join(f'"{name}":"{value}"' for name, value in labels.items())
        raise Invalid(
            f"spec.template.metadata.labels: Invalid value: map[string]string{{{shown}}}: `selector` does not match "
            "template `labels`"
        )
    if before and before.get("spec", {}).get("selector") != selector:
        raise Invalid("spec.selector: Invalid value: v1.LabelSelector{...}: field is immutable")
    pod = template.get("spec") or {}
    if pod.get("restartPolicy") not in (None, "Always"):
        raise Invalid(
            f'spec.template.spec.restartPolicy: Unsupported value: "{pod["restartPolicy"]}": supported values: '
            '"Always"'
        )
    pod_spec(pod, "spec.template.spec")


def rules(each):
    for at, rule in enumerate(each.get("rules") or ()):
        required(rule.get("verbs"), f"rules[{at}].verbs", "verbs must contain at least one value")
        if not rule.get("nonResourceURLs"):
            required(
                rule.get("apiGroups"), f"rules[{at}].apiGroups", "resource rules must supply at least one api group"
            )
            required(
                rule.get("resources"), f"rules[{at}].resources", "resource rules must supply at least one resource"
            )


def binding(each, before):
    ref = each.get("roleRef") or {}
    required(ref.get("name"), "roleRef.name")
    if ref.get("kind") not in ("ClusterRole", "Role"):
        raise Invalid(f'roleRef.kind: Unsupported value: "{ref.get("kind")}": supported values: "Role", "ClusterRole"')
    if ref.get("apiGroup") not in (None, "", "rbac.authorization.k8s.io"):
        raise Invalid(
            f'roleRef.apiGroup: Unsupported value: "{ref["apiGroup"]}": supported values: '
            '"rbac.authorization.k8s.io"'
        )
    if before and before.get("roleRef") != ref:
        raise Invalid(f'roleRef: Invalid value: rbac.RoleRef{{Name:"{ref.get("name")}"}}: cannot change roleRef')
    for at, one in enumerate(each.get("subjects") or ()):
        required(one.get("name"), f"subjects[{at}].name")
        if one.get("kind") == "ServiceAccount":
            required(one.get("namespace"), f"subjects[{at}].namespace")


def validate(each, kind, before):
    """Raises Invalid; `before` is the object as it stood, None for a new one."""
    meta = each.get("metadata") or {}
    name = meta.get("name")
    if not name and not meta.get("generateName"):
        raise Invalid("metadata.name: Required value: name or generateName is required")
    rbac = "Role" in kind
    if name and not rbac and not SUBDOMAIN.fullmatch(str(name)):
        raise Invalid(f'metadata.name: Invalid value: "{name}": {WORDS}')
    if kind in ("DaemonSet", "Deployment"):
        workload(each, before)
    elif kind == "Pod":
        if before and frozen(before) != frozen(each):
            raise Invalid(
                "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`, "
                "`spec.initContainers[*].image`, `spec.activeDeadlineSeconds` or `spec.tolerations` (only additions to "
                "existing tolerations)"
            )
        pod_spec(each.get("spec") or {}, "spec")
    elif kind in ("ClusterRole", "Role"):
        rules(each)
    elif kind in ("ClusterRoleBinding", "RoleBinding"):
        binding(each, before)
    elif kind == "Secret":
        if before and before.get("type") != each.get("type"):
            raise Invalid(f'type: Invalid value: "{each.get("type")}": field is immutable')
        for key, value in (each.get("data") or {}).items():
            try:
                base64.b64decode(value, validate=True)
            except (binascii.Error, TypeError, ValueError) as error:
                raise Invalid(f"data[{key}]: illegal base64 data at input byte 0") from error
    elif kind == "Service" and (each.get("spec") or {}).get("clusterIP") != "None":
        required((each.get("spec") or {}).get("ports"), "spec.ports")


def frozen(pod):
    spec = {
        name: value
        for name, value in (pod.get("spec") or {}).items()
        if name not in ("tolerations", "activeDeadlineSeconds", "nodeName")
    }
    spec["containers"] = [{**each, "image": ""} for each in spec.get("containers") or ()]
    return spec
