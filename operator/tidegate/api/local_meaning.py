"""What each field of a manifest means to `tidegate run`, on one machine.

A path that ends in `.*` speaks for everything below it.  `reference.py` fails on a field without a meaning here.
"""

from __future__ import annotations

SAME = "The same."
NOT_HERE = "Listed once at the start as without effect: "
LOCAL_MEANING: dict[str, str] = {
    "bundle": SAME,
    "bundle.uri": "The same, and file:// besides. pvc://CLAIM is a folder given by `--mount CLAIM=DIR`.",
    "bundle.digest": SAME,
    "bundle.secretRef": "`--secret NAME=DIR` or `--secret NAME=FILE.env` gives its content; AWS_* of your own "
    "environment are not read by themselves.",
    "bundle.secretRef.*": "The NAME in `--secret NAME=DIR|FILE.env`.",
    "bundle.signature": SAME,
    "bundle.signature.*": "The public key is read from `--secret NAME=DIR`, file KEY.",
    "bundle.decryption": "The same, into /dev/shm for as long as it runs.",
    "bundle.decryption.*": "The age key is read from `--secret NAME=DIR`, file KEY.",
    "acceptance.*": SAME,
    "runtime": "The server processes are started with these settings.",
    "runtime.image": NOT_HERE + "the installed server is used.",
    "runtime.device": "The same; `--device cpu` overrides it, and the status shows what is used.",
    "runtime.accelerator": NOT_HERE + "servers see the GPUs of this machine.",
    "runtime.accelerator.*": "As runtime.accelerator.",
    "runtime.resources": NOT_HERE + "processes share the machine.",
    "runtime.resources.*": "As runtime.resources.",
    "runtime.sessions": SAME,
    "runtime.threads": SAME,
    "runtime.threads.*": "The same; 0 follows the number of processors.",
    "runtime.batching.*": SAME,
    "runtime.queue.*": SAME,
    "runtime.explain": SAME,
    "runtime.explain.*": SAME,
    "runtime.requestLogs": "Into `audit.log` and `access.log` beside the servers' logs, in `--state`.",
    "runtime.requestLogs.*": "As runtime.requestLogs.",
    "runtime.grace": SAME,
    "runtime.providerOptions": "The same, as far as the device that `--device` names has them.",
    "runtime.env": SAME,
    "runtime.env.*": SAME,
    "runtime.pod": NOT_HERE + "there are no pods.",
    "runtime.pod.*": "As runtime.pod.",
    "runtime.auth": "The same; `--secret NAME=DIR` gives the folder with the file `clients`.",
    "runtime.auth.*": "The NAME in `--secret NAME=DIR`.",
    "runtime.tls": "The proxy in front talks TLS to the servers, and plain HTTP to clients: `--host` is for loopback "
    "only.",
    "runtime.tls.secretRef": "`--secret NAME=DIR` gives the folder with `tls.crt` and `tls.key`.",
    "runtime.tls.secretRef.*": "The NAME in `--secret NAME=DIR`.",
    "runtime.tls.clientCertificates": NOT_HERE + "the only client of the servers is the proxy in front of them.",
    "runtime.cache": NOT_HERE + "bundles are kept by digest in the user's cache folder.",
    "runtime.cache.*": "As runtime.cache.",
    "scaling": "minReplicas processes run; there is no autoscaler.",
    "scaling.minReplicas": "Server processes, at least 1, capped by `--max-processes`.",
    "scaling.maxReplicas": NOT_HERE + "as many servers as minReplicas.",
    "scaling.target": NOT_HERE + "as many servers as minReplicas.",
    "scaling.target.*": "As scaling.target.",
    "scaling.provider": NOT_HERE + "as many servers as minReplicas.",
    "scaling.keda": NOT_HERE + "as many servers as minReplicas.",
    "scaling.keda.*": "As scaling.keda.",
    "scaling.behavior": NOT_HERE + "as many servers as minReplicas.",
    "scaling.behavior.*": "As scaling.behavior.",
    "rollout": SAME,
    "rollout.steps": SAME,
    "rollout.steps.*": SAME,
    "rollout.surge": "The same; Auto is Surge.",
    "rollout.allowDowntime": SAME,
    "rollout.analysis": SAME,
    "rollout.analysis.source": NOT_HERE + "the servers' own counters are read.",
    "rollout.analysis.prometheus": NOT_HERE + "no Prometheus server is asked, and no rollout waits for its answers.",
    "rollout.analysis.prometheus.*": "As rollout.analysis.prometheus.",
    "rollout.analysis.*": SAME,
    "rollout.shadow.*": SAME,
    "rollout.progressDeadline": SAME,
    "rollout.scaleDownDelay": SAME,
    "rollout.historyLimit": SAME,
    "routing": "An Envoy on `--port` stands in for gateway and Service.",
    "routing.provider": NOT_HERE + "Envoy's weighted clusters split the traffic.",
    "routing.parentRefs": NOT_HERE + "there is no gateway.",
    "routing.parentRefs.*": "As routing.parentRefs.",
    "routing.hostnames": "Requests with this Host reach this model, on `--port`.",
    "routing.grpcHostnames": NOT_HERE + "only REST is served.",
    "routing.existingRouteRef": NOT_HERE + "there is no gateway.",
    "routing.existingRouteRef.*": "As routing.existingRouteRef.",
    "routing.headers": SAME,
    "routing.headers.*": SAME,
    "networkPolicy": NOT_HERE + "the servers listen on loopback only.",
    "networkPolicy.*": "As networkPolicy.",
    "paused": SAME,
}


def local_meaning(path: str) -> str | None:
    """The sentence for the field at `path`, its own or that of the nearest part that speaks for it."""
    if path in LOCAL_MEANING:
        return LOCAL_MEANING[path]
    around = path
    while around:
        if f"{around}.*" in LOCAL_MEANING:
            return LOCAL_MEANING[f"{around}.*"]
        around = around.rpartition(".")[0]
    return None
