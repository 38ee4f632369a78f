"""What `tidegate operator` was told, from flags or from `TIDEGATE_…` in the environment, read once.

Each setting is one row of `FLAGS`: its flag, how its text is read, its default and what it means; the environment
variable and the field of `OperatorSettings` follow from the flag's name.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.api.network import Peer
from tidegate.api.scalars import DURATION, parse_duration
from tidegate.cluster import networks
from tidegate.errors import UsageError
from tidegate.flags import one_of, whole

LEVELS = ("debug", "info", "warning", "error")  # of the log
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
IMAGE = re.compile(r"[\w][\w.:/@-]{0,511}", re.ASCII)


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """Every setting of the operator; durations in seconds."""

    namespaces: tuple[str, ...]
    runtime_image: str
    kubeconfig: str
    context: str
    lease_namespace: str
    lease_name: str
    identity: str
    probe_host: str
    probe_port: int
    log_level: str
    token_file: Path | None
    workers: int
    resync: float
    measure_concurrency: int
    prometheus: Mapping[str, str]
    prometheus_credentials: Path | None
    otlp_endpoint: str
    metrics_peers: tuple[Peer, ...]
    store_networks: tuple[str, ...]
    store_ports: tuple[int, ...]
    identity_endpoints: tuple[tuple[str, int], ...]
    dashboard_port: int | None
    dashboard_hosts: tuple[str, ...]
    keda: bool
    metrics_api_address: str
    metrics_api_port: int


@dataclass(frozen=True, slots=True)
class Flag:
    """One setting: `read` turns its text into a value and raises ValueError with a sentence."""

    name: str
    read: Callable[[str], Any]
    default: str | Callable[[], str] | None
    meaning: str
    variable: str = ""  # where it is not TIDEGATE_ and the name

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")

    @property
    def environment(self) -> str:
        return self.variable or "TIDEGATE_" + self.field.upper()

    @property
    def shown(self) -> str:
        """The line of the help."""
        return f"{self.meaning} [{self.default}]" if isinstance(self.default, str) and self.default else self.meaning


def name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a name: at most 63 small letters, digits and dashes")
    return text


def names(text: str) -> tuple[str, ...]:
    """A list with commas; nothing means all."""
    return tuple(dict.fromkeys(name(part.strip()) for part in text.split(",") if part.strip()))


def hosts(text: str) -> tuple[str, ...]:
    """Names of DNS with commas, in small letters."""
    found = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    for one in found:
        if len(one) > 253 or not all(NAME.fullmatch(part) for part in one.split(".")):  # noqa: PLR2004
            raise ValueError(f"{one!r} is not a host name")
    return found


def image(text: str) -> str:
    if not IMAGE.fullmatch(text):
        raise ValueError(f"{text!r} is not the name of an image")
    return text


def line(text: str) -> str:
    if len(text) > 253 or not text.isprintable():  # noqa: PLR2004
        raise ValueError("write one line of at most 253 characters")
    return text


def duration(low: str, high: str) -> Callable[[str], float]:
    """A reader of durations in a range, as seconds."""

    def read(text: str) -> float:
        if not re.fullmatch(DURATION, text) or not parse_duration(low) <= parse_duration(text) <= parse_duration(high):
            raise ValueError(f"{text!r} is not a duration from {low} to {high}, such as 90s or 1h30m")
        return parse_duration(text).total_seconds()

    return read


def yes_or_no(text: str) -> bool:
    return one_of("yes", "no")(text) == "yes"


def prometheus_servers(text: str) -> Mapping[str, str]:
    """NAME=URL with commas between."""
    from tidegate.cluster.prometheus import servers

    return servers(text)


def otlp_collector(text: str) -> str:
    """Where spans go; nothing means nowhere."""
    from tidegate.cluster.tracing import collector

    return collector(text) if text else ""


def in_own_namespace() -> str:
    from tidegate.cluster.login import own_namespace  # half a second of imports that --help need not wait for

    return own_namespace()


def own_identity() -> str:
    """Never the same twice: a name in the lease must not look like ours after a restart."""
    return f"{socket.gethostname()[:200]}_{secrets.token_hex(4)}"


FLAGS: tuple[Flag, ...] = (
    Flag("namespaces", names, "", "namespaces to look after, with commas between; none: all of them"),
    Flag("runtime-image", image, None, "image of the model server, best with its digest (required)"),
    Flag(
        "kubeconfig", line, "", "kubeconfig to use; else the pod's service account, else ~/.kube/config", "KUBECONFIG"
    ),
    Flag("context", line, "", "context of the kubeconfig; its current one when empty"),
    Flag("lease-namespace", name, in_own_namespace, "namespace of the lease; the pod's own when empty"),
    Flag("lease-name", name, "tidegate-operator", "name of the lease: who holds it works, the others stand by"),
    Flag("identity", line, own_identity, "our name in the lease; made of the host's when empty"),
    Flag("probe-host", line, "0.0.0.0", "address of /livez, /readyz and /metrics"),  # noqa: S104 - the pod's own
    Flag("probe-port", whole(0, 65535), "8081", "port of /livez, /readyz and /metrics; 0 picks a free one"),
    Flag("log-level", one_of(*LEVELS), "info", f"least severe lines to log: {', '.join(LEVELS)}"),
    Flag("token-file", Path, None, "file with the token that model servers know the operator by"),
    Flag("workers", whole(1, 256), "8", "deployments that are looked at at the same time"),
    Flag("resync", duration("1m", "168h"), "10h", "how long a deployment may go without being looked at"),
    Flag("measure-concurrency", whole(1, 1024), "64", "model servers that are asked for their counters at once"),
    Flag(
        "prometheus",
        prometheus_servers,
        "",
        "servers that specs may name by `ref`: main=https://HOST:PORT, with commas",
    ),
    Flag("prometheus-credentials", Path, None, "folder with NAME.token, NAME.username and .password, NAME.ca.crt"),
    Flag(
        "otlp-endpoint",
        otlp_collector,
        "",
        "collector that takes spans as OTLP over HTTP, such as http://HOST:4318; none: no spans",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
    Flag(
        "metrics-peers",
        networks.all_of(networks.peer),
        "*/app.kubernetes.io/name=prometheus",
        "who may read the servers' metrics, besides the lease's namespace: NAMESPACE/LABEL=VALUE or CIDR, with commas",
    ),
    Flag(
        "store-networks",
        networks.all_of(networks.network),
        "0.0.0.0/0,::/0",
        "networks that the pods may fetch bundles from, with commas",
    ),
    Flag("store-ports", networks.all_of(networks.port), "443", "ports of the bundles' stores, with commas"),
    Flag(
        "identity-endpoints",
        networks.all_of(networks.endpoint),
        "",
        "link-local ADDRESS:PORT that gives pods a cloud's credentials, with commas; none: pods reach none",
    ),
    Flag("dashboard-port", whole(0, 65535), None, "port of the page of rollouts, for reading only; none: no such page"),
    Flag(
        "dashboard-hosts",
        hosts,
        "",
        "names that the page may be asked by, besides localhost and addresses, with commas",
    ),
    Flag("keda", yes_or_no, "no", "yes: KEDA is installed, and scales deployments whose spec wants it"),
    Flag(
        "metrics-api-address",
        networks.own_address,
        "",
        "our own address: serve external.metrics.k8s.io there while we lead; not served when empty",
    ),
    Flag("metrics-api-port", whole(0, 65535), "8443", "port of the metrics API; 0 picks a free one"),
)


def read_settings(given: Mapping[str, str | None], environment: Mapping[str, str]) -> OperatorSettings:
    """The settings from parsed flags (by field) and the environment; raises UsageError naming the flag."""
    values = {flag.field: value_of(flag, given.get(flag.field), environment) for flag in FLAGS}
    if values["runtime_image"] is None:
        raise UsageError("the image of the model server is missing", where="--runtime-image")
    return OperatorSettings(**values)


def check_files(settings: OperatorSettings) -> None:
    """Raise UsageError where what was named cannot be read: else it would be missed only when servers are asked."""
    token, credentials = settings.token_file, settings.prometheus_credentials
    if token and not (os.access(token, os.R_OK) and token.is_file()):
        raise UsageError(
            f"there is no file {token} that can be read",
            where="--token-file", do="mount the service account's token there, or leave the flag away",
        )  # fmt: skip
    if credentials and not (os.access(credentials, os.X_OK) and credentials.is_dir()):
        raise UsageError(
            f"there is no folder {credentials} that can be read",
            where="--prometheus-credentials", do="mount the Secret there, or leave the flag away",
        )  # fmt: skip


def value_of(flag: Flag, given: str | None, environment: Mapping[str, str]) -> Any:
    text = given if given is not None else environment.get(flag.environment)
    if not text:  # an empty variable is how a chart says nothing
        text = flag.default() if callable(flag.default) else flag.default
    try:
        return None if text is None else flag.read(text)
    except ValueError as error:
        raise UsageError(str(error), where=f"--{flag.name}") from None
