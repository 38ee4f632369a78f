"""Values that people give, by what they want."""

from __future__ import annotations

from pathlib import Path

import yaml
from tests.chart.helm import Values

PLATFORM = Path(__file__).parents[2] / "examples/helm/platform-values.yaml"
LABELS = {"release": "kube-prometheus-stack"}
VARIANTS: dict[str, Values] = {
    "the defaults": {},
    "one replica": {"replicas": 1},
    "two namespaces": {"namespaces": ["shop", "bank"], "crds": {"install": False}, "userRoles": {"create": False}},
    "a CRD that goes with the release": {"crds": {"keep": False}},
    "rights and account by somebody else": {
        "rbac": {"create": False}, "userRoles": {"create": False},
        "serviceAccount": {"create": False, "name": "models"},
    },
    "images by digest": {
        "image": {"registry": "registry.example.com:5000/ml/", "digest": f"sha256:{'a' * 64}", "pullPolicy": "Always",
                  "pullSecrets": ["registry"]},
        "runtimeImage": {"registry": "other.example.com", "digest": f"sha256:{'b' * 64}"},
    },
    "everything of monitoring": {
        "monitoring": {
            "serviceMonitor": {"create": True, "labels": LABELS}, "podMonitor": {"create": True, "labels": LABELS},
            "alerts": {"create": True, "labels": LABELS, "runbook": "https://wiki.example.com/tidegate"},
            "dashboards": {"create": True, "labels": {"grafana_dashboard": "yes"}},
        },
    },
    "monitoring of two namespaces": {
        "namespaces": ["shop", "bank"], "monitoring": {"podMonitor": {"create": True}},
    },
    "Prometheus as evidence": {
        "prometheus": {
            "servers": {"main": "https://prometheus.monitoring:9090", "far": "https://metrics.example.com/prometheus"},
            "credentialsSecret": "prometheus",
        },
    },
    "traced": {"tracing": {"endpoint": "http://collector.observability:4318"}},
    "a closed network": {
        "networkPolicy": {"apiServerPorts": [6443], "apiServerCIDRs": ["10.0.0.1/32", "fd00::1/128"],
                          "metricsFrom": {"kubernetes.io/metadata.name": "monitoring"}},
    },
    "stores and metrics at home": {
        "modelNetwork": {"metricsPeers": ["monitoring/app=prometheus&team=ops", "10.1.0.0/16"],
                         "storeNetworks": ["10.20.0.0/16"], "storePorts": [443, 9000],
                         "identityEndpoints": ["169.254.170.23:80", "[fd00:ec2::23]:80"]},
    },
    "a dashboard for port-forward": {"dashboard": {"enabled": True}},
    "a dashboard behind a proxy": {
        "dashboard": {"enabled": True, "port": 9191, "hosts": ["models.example.com", "dashboard"],
                      "from": {"kubernetes.io/metadata.name": "gateways"}},
    },
    "KEDA": {"keda": {"enabled": True}, "prometheus": {"servers": {"main": "http://prometheus.monitoring:9090"}}},
    "external metrics": {"metricsApi": {"enabled": True, "port": 6443}},
    "no network policy and no budget": {"networkPolicy": {"create": False}, "podDisruptionBudget": {"create": False}},
    "special nodes": {
        "priorityClassName": "system-cluster-critical", "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]},
        ]}}},
        "podLabels": {"team": "ml"}, "podAnnotations": {"example.com/note": "yes: really"},
        "resources": {"requests": {"cpu": 2}, "limits": {"memory": "1.5Gi"}},
    },
    "a platform team's example": yaml.safe_load(PLATFORM.read_text()),
    "a busy operator": {
        "operator": {"logLevel": "debug", "workers": 32, "resync": "1h30m", "measureConcurrency": 256},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}},
    },
}  # fmt: skip
