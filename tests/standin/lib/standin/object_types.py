"""Shapes of the objects that `kubectl apply` takes, for schema.check; the key "!" lists what must be there."""

STRINGS = ("map", "str")
META = {
    "name": "str",
    "generateName": "str",
    "namespace": "str",
    "labels": STRINGS,
    "annotations": STRINGS,
    "uid": "str",
    "resourceVersion": "str",
    "generation": "int",
    "creationTimestamp": "any",
    "deletionTimestamp": "any",
    "ownerReferences": ["any"],
    "finalizers": ["str"],
    "managedFields": ["any"],
    "selfLink": "str",
    "deletionGracePeriodSeconds": "int",
    "clusterName": "str",
}
EXPRESSION = {"key": "str", "operator": "str", "values": ["str"], "!": ("key", "operator")}
SELECTOR = {"matchLabels": STRINGS, "matchExpressions": [EXPRESSION]}
KEY_TO_PATH = {"key": "str", "path": "str", "mode": "int", "!": ("key", "path")}
KEY_REF = {"name": "str", "key": "str", "optional": "bool"}
ENV = {
    "name": "str",
    "value": "str",
    "valueFrom": {
        "fieldRef": {"apiVersion": "str", "fieldPath": "str"},
        "configMapKeyRef": KEY_REF,
        "secretKeyRef": KEY_REF,
        "resourceFieldRef": {"containerName": "str", "resource": "str", "divisor": "quantity"},
    },
    "!": ("name",),
}
ENV_FROM = {
    "prefix": "str",
    "configMapRef": {"name": "str", "optional": "bool"},
    "secretRef": {"name": "str", "optional": "bool"},
}
HANDLER = {
    "exec": {"command": ["str"]},
    "httpGet": {
        "path": "str",
        "port": "intstr",
        "host": "str",
        "scheme": "str",
        "httpHeaders": [{"name": "str", "value": "str"}],
        "!": ("port",),
    },
    "tcpSocket": {"port": "intstr", "host": "str", "!": ("port",)},
    "grpc": {"port": "int", "service": "str"},
}
PROBE = {
    **HANDLER,
    "initialDelaySeconds": "int",
    "timeoutSeconds": "int",
    "periodSeconds": "int",
    "successThreshold": "int",
    "failureThreshold": "int",
    "terminationGracePeriodSeconds": "int",
}
SELINUX = {"user": "str", "role": "str", "type": "str", "level": "str"}
SECCOMP = {"type": "str", "localhostProfile": "str"}
SECURITY = {
    "capabilities": {"add": ["str"], "drop": ["str"]},
    "privileged": "bool",
    "seLinuxOptions": SELINUX,
    "runAsUser": "int",
    "runAsGroup": "int",
    "runAsNonRoot": "bool",
    "readOnlyRootFilesystem": "bool",
    "allowPrivilegeEscalation": "bool",
    "procMount": "str",
    "seccompProfile": SECCOMP,
    "appArmorProfile": SECCOMP,
    "windowsOptions": "any",
}
RESOURCES = {"limits": ("map", "quantity"), "requests": ("map", "quantity"), "claims": ["any"]}
CONTAINER = {
    "name": "str",
    "image": "str",
    "command": ["str"],
    "args": ["str"],
    "workingDir": "str",
    "ports": [
        {
            "name": "str",
            "hostPort": "int",
            "containerPort": "int",
            "protocol": "str",
            "hostIP": "str",
            "!": ("containerPort",),
        }
    ],
    "envFrom": [ENV_FROM],
    "env": [ENV],
    "resources": RESOURCES,
    "volumeMounts": [
        {
            "name": "str",
            "readOnly": "bool",
            "mountPath": "str",
            "subPath": "str",
            "mountPropagation": "str",
            "subPathExpr": "str",
            "recursiveReadOnly": "str",
            "!": ("name", "mountPath"),
        }
    ],
    "volumeDevices": ["any"],
    "livenessProbe": PROBE,
    "readinessProbe": PROBE,
    "startupProbe": PROBE,
    "lifecycle": {"postStart": HANDLER, "preStop": HANDLER},
    "terminationMessagePath": "str",
    "terminationMessagePolicy": "str",
    "imagePullPolicy": "str",
    "securityContext": SECURITY,
    "stdin": "bool",
    "stdinOnce": "bool",
    "tty": "bool",
    "restartPolicy": "str",
    "resizePolicy": ["any"],
    "!": ("name",),
}
ITEMS = {"items": [KEY_TO_PATH], "optional": "bool", "defaultMode": "int"}
VOLUME = {
    "name": "str",
    "hostPath": {"path": "str", "type": "str", "!": ("path",)},
    "emptyDir": {"medium": "str", "sizeLimit": "quantity"},
    "configMap": {"name": "str", **ITEMS},
    "secret": {"secretName": "str", **ITEMS},
    "downwardAPI": "any",
    "projected": "any",
    "persistentVolumeClaim": "any",
    "nfs": "any",
    "csi": "any",
    "ephemeral": "any",
    "!": ("name",),
}
TOLERATION = {"key": "str", "operator": "str", "value": "str", "effect": "str", "tolerationSeconds": "int"}
NODE_TERM = {"matchExpressions": [EXPRESSION], "matchFields": [EXPRESSION]}
POD_TERM = {
    "labelSelector": SELECTOR,
    "namespaces": ["str"],
    "topologyKey": "str",
    "namespaceSelector": SELECTOR,
    "!": ("topologyKey",),
}
POD_AFFINITY = {
    "requiredDuringSchedulingIgnoredDuringExecution": [POD_TERM],
    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": "int", "podAffinityTerm": POD_TERM}],
}
AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [NODE_TERM],
            "!": ("nodeSelectorTerms",),
        },
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": "int", "preference": NODE_TERM}],
    },
    "podAffinity": POD_AFFINITY,
    "podAntiAffinity": POD_AFFINITY,
}
POD_SPEC = {
    "volumes": [VOLUME],
    "initContainers": [CONTAINER],
    "containers": [CONTAINER],
    "ephemeralContainers": ["any"],
    "restartPolicy": "str",
    "terminationGracePeriodSeconds": "int",
    "activeDeadlineSeconds": "int",
    "dnsPolicy": "str",
    "nodeSelector": STRINGS,
    "serviceAccountName": "str",
    "serviceAccount": "str",
    "automountServiceAccountToken": "bool",
    "nodeName": "str",
    "hostNetwork": "bool",
    "hostPID": "bool",
    "hostIPC": "bool",
    "shareProcessNamespace": "bool",
    "securityContext": {
        "seLinuxOptions": SELINUX,
        "windowsOptions": "any",
        "runAsUser": "int",
        "runAsGroup": "int",
        "runAsNonRoot": "bool",
        "supplementalGroups": ["int"],
        "fsGroup": "int",
        "sysctls": [{"name": "str", "value": "str"}],
        "fsGroupChangePolicy": "str",
        "seccompProfile": SECCOMP,
        "appArmorProfile": SECCOMP,
    },
    "imagePullSecrets": [{"name": "str"}],
    "hostname": "str",
    "subdomain": "str",
    "affinity": AFFINITY,
    "schedulerName": "str",
    "tolerations": [TOLERATION],
    "hostAliases": [{"ip": "str", "hostnames": ["str"]}],
    "priorityClassName": "str",
    "priority": "int",
    "dnsConfig": {"nameservers": ["str"], "searches": ["str"], "options": [{"name": "str", "value": "str"}]},
    "readinessGates": ["any"],
    "runtimeClassName": "str",
    "enableServiceLinks": "bool",
    "preemptionPolicy": "str",
    "overhead": ("map", "quantity"),
    "topologySpreadConstraints": ["any"],
    "setHostnameAsFQDN": "bool",
    "os": {"name": "str"},
    "hostUsers": "bool",
    "schedulingGates": ["any"],
    "resourceClaims": ["any"],
    "!": ("containers",),
}
TEMPLATE = {"metadata": META, "spec": POD_SPEC}
RULE = {
    "verbs": ["str"],
    "apiGroups": ["str"],
    "resources": ["str"],
    "resourceNames": ["str"],
    "nonResourceURLs": ["str"],
    "!": ("verbs",),
}
ROLE_REF = {"apiGroup": "str", "kind": "str", "name": "str", "!": ("kind", "name")}
SUBJECT = {"kind": "str", "apiGroup": "str", "name": "str", "namespace": "str", "!": ("kind", "name")}
BASE = {"apiVersion": "str", "kind": "str", "metadata": META}

SHAPES = {
    "Namespace": {**BASE, "spec": {"finalizers": ["str"]}, "status": "any"},
    "ServiceAccount": {
        **BASE,
        "secrets": ["any"],
        "imagePullSecrets": [{"name": "str"}],
        "automountServiceAccountToken": "bool",
    },
    "ConfigMap": {**BASE, "data": STRINGS, "binaryData": STRINGS, "immutable": "bool"},
    "Secret": {**BASE, "data": STRINGS, "stringData": STRINGS, "type": "str", "immutable": "bool"},
    "ClusterRole": {**BASE, "rules": [RULE], "aggregationRule": "any"},
    "Role": {**BASE, "rules": [RULE]},
    "ClusterRoleBinding": {**BASE, "subjects": [SUBJECT], "roleRef": ROLE_REF, "!": ("roleRef",)},
    "RoleBinding": {**BASE, "subjects": [SUBJECT], "roleRef": ROLE_REF, "!": ("roleRef",)},
    "Pod": {**BASE, "spec": POD_SPEC, "status": "any"},
    "DaemonSet": {
        **BASE,
        "status": "any",
        "spec": {
            "selector": SELECTOR,
            "template": TEMPLATE,
            "minReadySeconds": "int",
            "revisionHistoryLimit": "int",
            "updateStrategy": {"type": "str", "rollingUpdate": {"maxUnavailable": "intstr", "maxSurge": "intstr"}},
            "!": ("selector", "template"),
        },
    },
    "Deployment": {
        **BASE,
        "status": "any",
        "spec": {
            "replicas": "int",
            "selector": SELECTOR,
            "template": TEMPLATE,
            "minReadySeconds": "int",
            "revisionHistoryLimit": "int",
            "paused": "bool",
            "progressDeadlineSeconds": "int",
            "strategy": {"type": "str", "rollingUpdate": {"maxUnavailable": "intstr", "maxSurge": "intstr"}},
            "!": ("selector", "template"),
        },
    },
    "Service": {
        **BASE,
        "status": "any",
        "spec": {
            "ports": [
                {
                    "name": "str",
                    "protocol": "str",
                    "appProtocol": "str",
                    "port": "int",
                    "targetPort": "intstr",
                    "nodePort": "int",
                    "!": ("port",),
                }
            ],
            "selector": STRINGS,
            "clusterIP": "str",
            "clusterIPs": ["str"],
            "type": "str",
            "externalIPs": ["str"],
            "sessionAffinity": "str",
            "loadBalancerIP": "str",
            "loadBalancerSourceRanges": ["str"],
            "externalName": "str",
            "externalTrafficPolicy": "str",
            "healthCheckNodePort": "int",
            "publishNotReadyAddresses": "bool",
            "sessionAffinityConfig": "any",
            "ipFamilies": ["str"],
            "ipFamilyPolicy": "str",
            "internalTrafficPolicy": "str",
            "allocateLoadBalancerNodePorts": "bool",
            "loadBalancerClass": "str",
        },
    },
    "PodSecurityPolicy": {**BASE, "spec": "any"},
    "Node": {**BASE, "spec": "any", "status": "any"},
    "CertificateSigningRequest": {**BASE, "spec": "any", "status": "any"},
}

MODELS = {
    "": "io.k8s.api.core.v1",
    "apps": "io.k8s.api.apps.v1",
    "rbac.authorization.k8s.io": "io.k8s.api.rbac.v1",
    "policy": "io.k8s.api.policy.v1beta1",
    "certificates.k8s.io": "io.k8s.api.certificates.v1",
}
