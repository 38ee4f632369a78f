"""Envoy's configuration: a bootstrap that never changes, and routes, clusters and endpoints in files it watches.

Pure: values in, JSON documents out.  One listener with routes by RDS, one cluster per revision by CDS, its servers
by EDS; each file carries a version that Envoy shows in its statistics once it has taken it.

The rules of one model, in order, the first that matches wins:
    /v2/models/NAME/versions/V     that version, marked x-tidegate-pinned
    /v1/models/NAME/versions/N     the revision of that number, marked so too
    the pinning header             the candidate, marked x-tidegate-pinned
    anything else                  by weight; a mark that a client set is taken off
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tidegate.local.routes import Backend, Listen, ModelRoute

Document = dict[str, Any]

ENVOY = "type.googleapis.com/envoy"
PINNED = "x-tidegate-pinned"
ROUTES = "tidegate"
STAT_PREFIX = "ingress"
UPSTREAM_IDLE = "30s"  # below the servers' own, so that it is Envoy that closes a quiet connection
CONNECT_TIMEOUT = "1s"
MOST_CONNECTIONS = 50_000
NEVER = 1_000_000  # circuit breakers: the servers' own queues say 429, Envoy's default of 1,024 would say 503
RETRY: Document = {
    "retry_on": "connect-failure,refused-stream,reset-before-request",
    "num_retries": 10,  # with the pauses 3.6 s on average: a server that died is back by then
    "retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"},
    "host_selection_retry_max_attempts": 3,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {"@type": f"{ENVOY}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
        }
    ],
}


def bootstrap(listen: Listen, folder: Path, admin_socket: Path) -> Document:
    """What Envoy is started with; `folder` holds the files that change."""
    return {
        "node": {"id": "tidegate", "cluster": "tidegate"},
        "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
        "dynamic_resources": {"cds_config": watched(folder / "clusters.json")},
        "static_resources": {"listeners": [listener(listen, folder)]},
        "overload_manager": {"resource_monitors": [connection_limit()]},
    }


def watched(path: Path) -> Document:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def connection_limit() -> Document:
    kind = "envoy.resource_monitors.global_downstream_max_connections"
    config = f"{ENVOY}.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    return {"name": kind, "typed_config": {"@type": config, "max_active_downstream_connections": MOST_CONNECTIONS}}


def listener(listen: Listen, folder: Path) -> Document:
    return {
        "name": "clients",
        "address": {"socket_address": {"address": listen.host, "port_value": listen.port}},
        # With SO_REUSEPORT a second Envoy on the port would silently take half of the connections.
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": connection_manager(folder)}]}],
    }


def connection_manager(folder: Path) -> Document:
    return {
        "@type": f"{ENVOY}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STAT_PREFIX,
        "codec_type": "AUTO",
        "rds": {"route_config_name": ROUTES, "config_source": watched(folder / "routes.json")},
        "strip_any_host_port": True,
        "normalize_path": True,
        "use_remote_address": True,
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "request_headers_timeout": "30s",
        "common_http_protocol_options": {"idle_timeout": "3600s"},
        "drain_timeout": "1s",
        # What Envoy answers by itself looks like what the servers answer.
        "local_reply_config": {"body_format": {"json_format": {"error": "%LOCAL_REPLY_BODY%"}}},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{ENVOY}.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            }
        ],
    }


def clusters(models: Iterable[ModelRoute], folder: Path, version: str) -> Document:
    return discovery(version, [cluster(m.cluster(b.revision), folder, b.tls) for m in models for b in m.backends])


def cluster(name: str, folder: Path, tls: bool = False) -> Document:
    options = f"{ENVOY}.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "@type": f"{ENVOY}.config.cluster.v3.Cluster",
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": watched(endpoints_file(folder, name))},
        "connect_timeout": CONNECT_TIMEOUT,
        **({"transport_socket": over_tls()} if tls else {}),
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {
            "thresholds": [
                dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), NEVER)
            ]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": options,
                "common_http_protocol_options": {"idle_timeout": UPSTREAM_IDLE},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def over_tls() -> Document:
    """No certificate is verified: the runner itself started the server, on a port of the loopback interface."""
    context = f"{ENVOY}.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    common = {"tls_params": {"tls_minimum_protocol_version": "TLSv1_2"}, "alpn_protocols": ["http/1.1"]}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": context, "common_tls_context": common},
    }


def endpoints_file(folder: Path, cluster_name: str) -> Path:
    """Envoy takes one cluster's endpoints per file."""
    return folder / f"endpoints-{cluster_name.replace('/', '.')}.json"


def endpoints(models: Iterable[ModelRoute], version: str) -> dict[str, Document]:
    """The endpoints of each cluster, by its name."""
    servers = {model.cluster(backend.revision): backend for model in models for backend in model.backends}
    return {name: discovery(version, [assignment(name, backend)]) for name, backend in servers.items()}


def assignment(name: str, backend: Backend) -> Document:
    servers = [{"endpoint": {"address": loopback(port)}} for port in backend.ports]
    return {
        "@type": f"{ENVOY}.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": servers}],
    }


def loopback(port: int) -> Document:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def discovery(version: str, resources: list[Document]) -> Document:
    return {"version_info": version, "resources": resources}


def routes(models: tuple[ModelRoute, ...], version: str) -> Document:
    """One virtual host per deployment with host names, and one for all other hosts."""
    hosts = [
        virtual_host(model.model, list(model.hostnames), model_rules(model, everything())) for model in models
        if model.hostnames
    ]  # fmt: skip
    table = {
        "@type": f"{ENVOY}.config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "virtual_hosts": [*hosts, virtual_host("other hosts", ["*"], shared_rules(models))],
        "most_specific_header_mutations_wins": True,
    }
    return discovery(version, [table])


def virtual_host(name: str, domains: list[str], rules: list[Document]) -> Document:
    return {"name": name, "domains": domains, "routes": rules, "retry_policy": RETRY}


def shared_rules(models: tuple[ModelRoute, ...]) -> list[Document]:
    """Where the host says nothing: the only model takes everything, of several the path names one."""
    if len(models) == 1:
        return model_rules(models[0], everything())
    named = [rule for model in models for rule in model_rules(model, of_model(model.model))]
    names = ", ".join(f"/v2/models/{model.model}" for model in models)
    return [*named, refusal({"prefix": "/"}, 404, f"name a model in the path: {names}")]


def everything() -> list[Document]:
    return [{"prefix": "/"}]


def of_model(name: str) -> list[Document]:
    """The paths of one model in both REST protocols."""
    return [below(f"/v2/models/{name}"), *below_or_verb(f"/v1/models/{name}")]


def below(path: str) -> Document:
    return {"path_separated_prefix": path}


def below_or_verb(path: str) -> list[Document]:
    """The paths of TensorFlow Serving, where a verb is no segment of its own: `PATH:predict`."""
    return [below(path), {"prefix": f"{path}:"}]


def model_rules(model: ModelRoute, matches: list[Document]) -> list[Document]:
    split = weighted(model)
    rules = version_rules(model)
    for match in matches:
        if any(backend.revision == model.pin and backend.ports for backend in model.backends):
            rules.extend(pin_rule(model, match, name, value) for name, value in model.headers.items())
        rules.append(split | {"match": match})
    return rules


def version_rules(model: ModelRoute) -> list[Document]:
    """Paths per revision, its number, and its bundle version where no other has it (a restart has the same twice)."""
    serving = [backend for backend in model.backends if backend.ports]
    versions = [backend.version for backend in serving]
    rules = []
    for backend in serving:
        names = {backend.revision} | ({backend.version} if versions.count(backend.version) == 1 else set())
        matches = [
            *(below(f"/v2/models/{model.model}/versions/{name}") for name in sorted(names)),
            *below_or_verb(f"/v1/models/{model.model}/versions/{backend.number}"),
        ]
        rules += [pinned(model, backend.revision) | {"match": match} for match in matches]
    return rules


def pin_rule(model: ModelRoute, match: Document, header: str, value: str) -> Document:
    exact = {"name": header, "string_match": {"exact": value}}
    return pinned(model, model.pin or "") | {"match": match | {"headers": [exact]}}


def pinned(model: ModelRoute, revision: str) -> Document:
    mark = {"header": {"key": PINNED, "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {
        "route": {"cluster": model.cluster(revision), "timeout": "0s"},
        "request_headers_to_add": [mark],
    }


def weighted(model: ModelRoute) -> Document:
    """The split in whole percent; while no server is there, an answer that says so."""
    ports = {backend.revision: backend.ports for backend in model.backends}
    weights = {revision: weight for revision, weight in model.weights.items() if weight > 0 and revision in ports}
    if not any(ports[revision] for revision in weights):
        return refusal({}, 503, f"no version of model {model.model} is ready")
    shares = [{"name": model.cluster(revision), "weight": weight} for revision, weight in sorted(weights.items())]
    return {
        "route": {"weighted_clusters": {"clusters": shares}, "timeout": "0s"},
        "request_headers_to_remove": [PINNED],
    }


def refusal(match: Document, status: int, sentence: str) -> Document:
    return {"match": match, "direct_response": {"status": status, "body": {"inline_string": sentence}}}
