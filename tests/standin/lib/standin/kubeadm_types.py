"""The configuration structs of kubeadm's v1beta2, v1beta3 and v1beta4, and of the kubelet and kube-proxy documents beside them,
as shapes for schema.check."""

GROUP = "kubeadm.k8s.io"
TAINT = {"key": "str", "value": "str", "effect": "str", "timeAdded": "time"}
ENDPOINT = {"advertiseAddress": "str", "bindPort": "int"}
TOKEN = {"token": "str", "description": "str", "ttl": "dur", "expires": "time", "usages": ["str"], "groups": ["str"]}
VOLUME = {"name": "str", "hostPath": "str", "mountPath": "str", "readOnly": "bool", "pathType": "str"}
IMAGE = {"imageRepository": "str", "imageTag": "str"}
NETWORKING = {"serviceSubnet": "str", "podSubnet": "str", "dnsDomain": "str"}
PATCHES = {"directory": "str"}
TIMEOUTS = {
    name: "dur"
    for name in (
        "controlPlaneComponentHealthCheck",
        "kubeletHealthCheck",
        "kubernetesAPICall",
        "etcdAPICall",
        "tlsBootstrap",
        "discovery",
        "upgradeManifests",
    )
}
EXTERNAL_ETCD = {"endpoints": ["str"], "caFile": "str", "certFile": "str", "keyFile": "str", "httpEndpoints": ["str"]}


def versions(minor):
    """The kubeadm API versions that a kubeadm of this minor version reads."""
    return [
        name
        for name, first, last in (("v1beta2", 15, 26), ("v1beta3", 22, 99), ("v1beta4", 31, 99))
        if first <= minor <= last
    ]


def too_old(name, minor):
    """The kubeadm version to which a user of an API spec that is no longer read is sent; None where it is unknown or read."""
    ends = {"v1alpha1": "v1.11", "v1alpha2": "v1.12", "v1alpha3": "v1.14", "v1beta1": "v1.15"}
    if minor >= 27:
        ends["v1beta2"] = "v1.22"
    return ends.get(name)


def shapes(api):
    """{kind: struct} of one API version."""
    four, two = api == "v1beta4", api == "v1beta2"
    args = [{"name": "str", "value": "str"}] if four else ("map", "str")
    env = {"extraEnvs": ["any"]} if four else {}
    meta = {"apiVersion": "str", "kind": "str"}
    component = {"extraArgs": args, "extraVolumes": [VOLUME], **env}
    node = {
        "name": "str",
        "criSocket": "str",
        "taints": [TAINT],
        "kubeletExtraArgs": args,
        "ignorePreflightErrors": ["str"],
    }
    if not two:
        node["imagePullPolicy"] = "str"
    if four:
        node["imagePullSerial"] = "bool"
    late = {} if two else {"skipPhases": ["str"], "patches": PATCHES}
    if four:
        late.update(dryRun="bool", timeouts=TIMEOUTS)
    discovery = {
        "bootstrapToken": {
            "token": "str",
            "apiServerEndpoint": "str",
            "caCertHashes": ["str"],
            "unsafeSkipCAVerification": "bool",
        },
        "file": {"kubeConfigPath": "str"},
        "tlsBootstrapToken": "str",
    }
    server = {**component, "certSANs": ["str"]}
    if not four:
        discovery["timeout"] = "dur"
        server["timeoutForControlPlane"] = "dur"
    local = {**IMAGE, "dataDir": "str", "extraArgs": args, "serverCertSANs": ["str"], "peerCertSANs": ["str"], **env}
    cluster = {
        "etcd": {"local": local, "external": EXTERNAL_ETCD},
        "networking": NETWORKING,
        "kubernetesVersion": "str",
        "controlPlaneEndpoint": "str",
        "apiServer": server,
        "controllerManager": component,
        "scheduler": component,
        "dns": {**IMAGE, **({"type": "str"} if two else {}), **({"disabled": "bool"} if four else {})},
        "certificatesDir": "str",
        "imageRepository": "str",
        "featureGates": ("map", "bool"),
        "clusterName": "str",
    }
    if two:
        cluster["useHyperKubeImage"] = "bool"
    if four:
        cluster.update(
            proxy={"disabled": "bool"},
            encryptionAlgorithm="str",
            certificateValidityPeriod="dur",
            caCertificateValidityPeriod="dur",
        )
    found = {
        "InitConfiguration": {
            **meta,
            "bootstrapTokens": [TOKEN],
            "nodeRegistration": node,
            "localAPIEndpoint": ENDPOINT,
            "certificateKey": "str",
            **late,
        },
        "ClusterConfiguration": {**meta, **cluster},
        "JoinConfiguration": {
            **meta,
            "nodeRegistration": node,
            "caCertPath": "str",
            "discovery": discovery,
            "controlPlane": {"localAPIEndpoint": ENDPOINT, "certificateKey": "str"},
            **late,
        },
    }
    if two:
        found["ClusterStatus"] = {**meta, "apiEndpoints": ("map", ENDPOINT)}
    if four:
        found["ResetConfiguration"] = {
            **meta,
            "cleanupTmpDir": "bool",
            "certificatesDir": "str",
            "criSocket": "str",
            "dryRun": "bool",
            "force": "bool",
            "ignorePreflightErrors": ["str"],
            "skipPhases": ["str"],
            "timeouts": TIMEOUTS,
            "unmountFlags": ["str"],
        }
        found["UpgradeConfiguration"] = {
            **meta,
            "apply": "any",
            "diff": "any",
            "node": "any",
            "plan": "any",
            "timeouts": TIMEOUTS,
        }
    return found


def names(shape, text):
    return {name: shape for name in text.split()}


KUBELET = {
    **names(
        "str",
        """apiVersion kind staticPodPath staticPodURL address tlsCertFile tlsPrivateKeyFile tlsMinVersion
        healthzBindAddress clusterDomain kubeletCgroups systemCgroups cgroupRoot cgroupDriver cpuManagerPolicy
        memoryManagerPolicy topologyManagerPolicy topologyManagerScope hairpinMode podCIDR resolvConf contentType
        containerLogMaxSize systemReservedCgroup kubeReservedCgroup showHiddenMetricsForVersion volumePluginDir providerID
        containerRuntimeEndpoint imageServiceEndpoint podLogsDir reservedSystemCPUs""",
    ),
    **names(
        "int",
        """port readOnlyPort registryPullQPS registryBurst eventRecordQPS eventBurst healthzPort oomScoreAdj
        nodeLeaseDurationSeconds imageGCHighThresholdPercent imageGCLowThresholdPercent maxPods podPidsLimit maxOpenFiles
        kubeAPIQPS kubeAPIBurst evictionMaxPodGracePeriod podsPerCore iptablesMasqueradeBit iptablesDropBit
        containerLogMaxFiles nodeStatusMaxImages maxParallelImagePulls containerLogMaxWorkers""",
    ),
    **names(
        "bool",
        """rotateCertificates serverTLSBootstrap enableServer enableDebuggingHandlers
        enableContentionProfiling cgroupsPerQOS runOnce cpuCFSQuota serializeImagePulls protectKernelDefaults makeIPTablesUtilChains
        failSwapOn configMapAndSecretChangeDetectionStrategy enableSystemLogHandler enableSystemLogQuery
        enableProfilingHandler enableDebugFlagsHandler seccompDefault registerNode localStorageCapacityIsolation
        failCgroupV1""",
    ),
    **names(
        "dur",
        """syncFrequency fileCheckFrequency httpCheckFrequency streamingConnectionIdleTimeout
        nodeStatusUpdateFrequency nodeStatusReportFrequency imageMinimumGCAge imageMaximumGCAge volumeStatsAggPeriod
        cpuManagerReconcilePeriod memoryManagerReconcilePeriod runtimeRequestTimeout cpuCFSQuotaPeriod
        evictionPressureTransitionPeriod shutdownGracePeriod shutdownGracePeriodCriticalPods containerLogMonitorInterval""",
    ),
    **names(["str"], "tlsCipherSuites clusterDNS allowedUnsafeSysctls enforceNodeAllocatable"),
    **names(
        ("map", "str"),
        """staticPodURLHeader cpuManagerPolicyOptions topologyManagerPolicyOptions qosReserved evictionHard
        evictionSoft evictionSoftGracePeriod evictionMinimumReclaim systemReserved kubeReserved""",
    ),
    **names(("map", "bool"), "featureGates"),
    **names(
        "any",
        "reservedMemory shutdownGracePeriodByPodPriority registerWithTaints tracing logging memorySwap "
        "memoryThrottlingFactor crashLoopBackOff userNamespaces",
    ),
    "configMapAndSecretChangeDetectionStrategy": "str",
    "authentication": {
        "x509": {"clientCAFile": "str"},
        "webhook": {"enabled": "bool", "cacheTTL": "dur"},
        "anonymous": {"enabled": "bool"},
    },
    "authorization": {"mode": "str", "webhook": {"cacheAuthorizedTTL": "dur", "cacheUnauthorizedTTL": "dur"}},
}

PROXY = {
    **names(
        "str",
        """apiVersion kind bindAddress healthzBindAddress metricsBindAddress clusterCIDR hostnameOverride mode
        portRange showHiddenMetricsForVersion""",
    ),
    **names("bool", "enableProfiling bindAddressHardFail"),
    **names("dur", "configSyncPeriod udpIdleTimeout"),
    **names("any", "winkernel detectLocal logging windowsRunAsService"),
    "oomScoreAdj": "int",
    "detectLocalMode": "str",
    "nodePortAddresses": ["str"],
    "featureGates": ("map", "bool"),
    "clientConnection": {
        "kubeconfig": "str",
        "acceptContentTypes": "str",
        "contentType": "str",
        "qps": "number",
        "burst": "int",
    },
    "iptables": {
        "masqueradeBit": "int",
        "masqueradeAll": "bool",
        "localhostNodePorts": "bool",
        "syncPeriod": "dur",
        "minSyncPeriod": "dur",
    },
    "ipvs": {
        "syncPeriod": "dur",
        "minSyncPeriod": "dur",
        "scheduler": "str",
        "excludeCIDRs": ["str"],
        "strictARP": "bool",
        "tcpTimeout": "dur",
        "tcpFinTimeout": "dur",
        "udpTimeout": "dur",
    },
    "nftables": {"masqueradeBit": "int", "masqueradeAll": "bool", "syncPeriod": "dur", "minSyncPeriod": "dur"},
    "conntrack": {
        "maxPerCore": "int",
        "min": "int",
        "tcpEstablishedTimeout": "dur",
        "tcpCloseWaitTimeout": "dur",
        "tcpBeLiberal": "bool",
        "udpTimeout": "dur",
        "udpStreamTimeout": "dur",
    },
}

COMPONENTS = {
    ("kubelet.config.k8s.io", "v1beta1", "KubeletConfiguration"): KUBELET,
    ("kubeproxy.config.k8s.io", "v1alpha1", "KubeProxyConfiguration"): PROXY,
}
