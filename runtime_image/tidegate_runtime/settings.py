"""What `tidegate-runtime serve` was told, from flags or from `TIDEGATE_…` in the environment, read once.

Each setting is one row of `FLAGS`: its flag, how its text is read, its default and what it means; the environment
variable and the field of `Settings` follow from the flag's name.  argparse, because pydantic and click cost more
time to import than the model takes to load.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.flags import one_of, whole
from tidegate_runtime.cores import usable_cores, whole_cores

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
BYTES = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
DEVICES = ("cpu", "cuda", "tensorrt")
GRPC_SERVERS = ("native", "grpcio")
RUNS_ON_GPU = 2  # of a session at a time: one computes while the other copies; more would wait, and not in a batch
LONGEST = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting of the server; durations in seconds, sizes in bytes."""

    bundle: Path
    name: str
    revision: str
    revision_number: int
    host: str
    http_port: int
    grpc_port: int | None  # None: nobody listens
    grpc_server: str
    metrics_host: str
    metrics_port: int
    internal_token_file: Path | None
    access: Path | None
    identity_token_file: Path | None
    lifeline_fd: int | None
    termination_log: Path | None
    device: str
    provider_options: dict[str, str]
    engine_cache: Path | None
    golden: str
    sessions: int
    intra_op: int
    inter_op: int
    workers: int | None  # processes; None: as many as are worth it
    max_batch_size: int
    max_batch_delay: float
    max_batch_request: int
    queue: int
    queue_timeout: float
    request_timeout: float
    max_body: int
    max_connections: int
    max_json_numbers: int
    header_timeout: float
    body_timeout: float
    idle_timeout: float
    drain_delay: float
    drain: float
    auth_file: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    tls_client_ca: Path | None
    audit_log: str | None  # a file, or "-" for stdout
    access_log: str | None
    access_log_sample: float  # a share of 1
    otlp_endpoint: str | None
    trace_sample: float
    explain: int  # at a time; 0: nothing is explained
    explain_rows: int  # that the model is asked about for one explanation

    @property
    def threads(self) -> int:
        """Runs at the same time in this process: on a GPU two; else with intra-op 0 one thread each, one per core."""
        if self.device != "cpu":
            return RUNS_ON_GPU * self.sessions
        cores = whole_cores(usable_cores() / (self.workers or 1))
        return max(1, cores // self.intra_op) if self.intra_op else cores

    @property
    def most_rows(self) -> int:
        """The largest first dimension of a request; TensorRT's engines end at the largest batch."""
        unknown = self.device == "tensorrt" and "trt_profile_max_shapes" not in self.provider_options
        return min(self.max_batch_request, self.max_batch_size) if unknown else self.max_batch_request


@dataclass(frozen=True, slots=True)
class Flag:
    """One setting: `read` turns its text into a value and raises ValueError with a sentence."""

    name: str
    read: Callable[[str], Any]
    default: str | None
    meaning: str

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        return "TIDEGATE_" + self.field.upper()


def duration(text: str) -> float:
    """Seconds from "10s", "1m30s", "250ms"."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 10s, 250ms or 1m30s")
    seconds = sum(float(number) * SECONDS[unit] for number, unit in parts)
    if seconds > LONGEST:
        raise ValueError(f"{text!r} is more than seven days")
    return seconds


def size(text: str) -> int:
    """Bytes from "64MiB" or a plain number."""
    match = re.fullmatch(r"(\d{1,12})(KiB|MiB|GiB|)", text)
    if not match:
        raise ValueError(f"{text!r} is not a size such as 64MiB or 1024")
    return int(match[1]) * BYTES[match[2]]


def whole_or(word: str, low: int, high: int) -> Callable[[str], int | None]:
    """A reader of whole numbers in a range, and of one word, which is None."""
    number = whole(low, high)

    def read(text: str) -> int | None:
        if text == word:
            return None
        try:
            return number(text)
        except ValueError as error:
            raise ValueError(f"{error}, or {word}") from None

    return read


def share(text: str) -> float:
    """A number from 0 to 1."""
    if not re.fullmatch(r"0(\.\d{1,9})?|1(\.0{1,9})?", text):
        raise ValueError(f"{text!r} is not a number from 0 to 1, such as 0.01")
    return float(text)


def options(text: str) -> dict[str, str]:
    """Names and values from "use_tf32=0 gpu_mem_limit=4294967296"."""
    found: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in found:
            raise ValueError(f"{word!r} is not one option such as use_tf32=0")
        found[name] = value
    return found


PORT, PORT_OR_OFF = whole(0, 65535), whole_or("off", 0, 65535)
PROCESSES = whole_or("auto", 1, 64)
FLAGS: tuple[Flag, ...] = (
    Flag("bundle", Path, None, "the bundle's directory (required)"),
    Flag("name", str, "", "the model's name in every URL; the bundle's own when empty"),
    Flag("revision", str, "", "the rollout's revision of this version; the bundle's version when empty"),
    Flag("revision-number", whole(1, 999_999_999), "1", "the revision's number, which /v1 calls the version"),
    Flag("host", str, "0.0.0.0", "address the model answers on"),  # noqa: S104 - a pod answers on its own address
    Flag("http-port", PORT, "8080", "port of the model; 0 picks a free one and prints it"),
    Flag(
        "grpc-port",
        whole_or("off", 0, 65535),
        "9000",
        "port of gRPC; 0 picks a free one and prints it; off: nobody listens",
    ),
    Flag("grpc-server", one_of(*GRPC_SERVERS), "native", "what speaks gRPC: native, or grpcio (15 MB more)"),
    Flag("metrics-host", str, "0.0.0.0", "address of probes, metrics and the internal endpoints"),  # noqa: S104
    Flag("metrics-port", PORT, "9090", "port of probes, metrics and the internal endpoints; 0 picks a free one"),
    Flag("internal-token-file", Path, None, "file with the bearer token of the internal endpoints; none: 401"),
    Flag("access", Path, None, "file that says which service accounts may call the internal endpoints; none: 401"),
    Flag("identity-token-file", Path, None, "file with this server's own token, shown to a candidate that it shadows"),
    Flag("lifeline-fd", whole(0, 1 << 20), None, "read end of a pipe: when its other end closes, drain and exit"),
    Flag("termination-log", Path, None, "file that gets one line of JSON when the server fails before it is ready"),
    Flag("device", one_of(*DEVICES), "cpu", "execution provider: cpu, cuda or tensorrt"),
    Flag("provider-options", options, "", "options of the GPU's execution provider: NAME=VALUE NAME=VALUE"),
    Flag("engine-cache", Path, None, "folder where TensorRT's engines are kept; none: built at each start"),
    Flag("golden", one_of("Require", "Report", "Skip"), "Require", "what a golden mismatch does before ready"),
    Flag("sessions", whole(1, 64), "1", "ONNX Runtime sessions; each holds its own copy of the weights"),
    Flag("intra-op", whole(0, 1024), "0", "threads inside one run; 0: one, and as many runs at once as cores"),
    Flag("inter-op", whole(0, 1024), "0", "threads across a graph's branches; 0: none"),
    Flag(
        "workers",
        whole_or("auto", 1, 64),
        "1",
        "processes that answer, each with the model; auto: more where a run is tiny",
    ),
    Flag("max-batch-size", whole(1, 65536), "32", "rows run together; 1 switches batching off"),
    Flag("max-batch-delay", duration, "0ms", "how long a free worker waits for more rows"),
    Flag("max-batch-request", whole(1, 1 << 24), "1024", "largest first dimension one request may have"),
    Flag("queue", whole(1, 1 << 20), "256", "requests that may wait; beyond it 429 with Retry-After"),
    Flag("queue-timeout", duration, "10s", "how long a request may wait for its run; beyond it 429"),
    Flag("request-timeout", duration, "30s", "how long a request may take in all; beyond it 504"),
    Flag("max-body", size, "64MiB", "largest request body"),
    Flag("max-connections", whole(1, 1 << 20), "4096", "open connections; one more is answered 503 and closed"),
    Flag("max-json-numbers", whole(1024, 1 << 28), "8388608", "most values in a JSON body"),
    Flag("header-timeout", duration, "10s", "time for the header of a request to arrive"),
    Flag("body-timeout", duration, "60s", "time for the body of a request to arrive"),
    Flag("idle-timeout", duration, "65m", "how long a quiet connection is kept (above Envoy's hour)"),
    Flag("drain-delay", duration, "5s", "after SIGTERM: how long new requests are still served"),
    Flag("drain", duration, "30s", "after SIGTERM: when the last request must be answered, all in all"),
    Flag("auth-file", Path, None, "file with a line per client: name, sha256 of its bearer token, scopes; none: open"),
    Flag("tls-cert", Path, None, "the server's certificate and those above it, PEM; none: plain HTTP and gRPC"),
    Flag("tls-key", Path, None, "the certificate's key, PEM"),
    Flag("tls-client-ca", Path, None, "authorities of clients' certificates, PEM: clients must have one"),
    Flag("audit-log", str, None, "file that gets a line of JSON for each request of the model; -: stdout"),
    Flag("access-log", str, None, "file that gets a line of JSON with path and times for each request; -: stdout"),
    Flag("access-log-sample", share, "1.0", "share of the requests that the access log has"),
    Flag(
        "otlp-endpoint", str, None, "collector that takes spans as OTLP over HTTP, such as http://HOST:4318; none: off"
    ),
    Flag("trace-sample", share, "1", "share of the requests traced, of those whose client has not decided (0 to 1)"),
    Flag("explain", whole(0, 64), "0", "explanations made at a time, beside inference; beyond it 429; 0: off"),
    Flag("explain-rows", whole(1, 1 << 30), "100000", "rows that one explanation may ask the model about"),
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add every flag to `parser`; their texts are read by `read_settings`."""
    for flag in FLAGS:
        shown = f"{flag.meaning} [{flag.default}]" if flag.default else flag.meaning
        parser.add_argument(f"--{flag.name}", metavar=flag.field.upper(), help=shown.replace("%", "%%"))


def read_settings(given: Mapping[str, str | None], environment: Mapping[str, str]) -> Settings:
    """The settings from parsed flags and the environment; raises ValueError naming the flag."""
    values: dict[str, Any] = {}
    for flag in FLAGS:
        text = given.get(flag.field)
        text = text if text is not None else environment.get(flag.variable, flag.default)
        try:
            values[flag.field] = None if text is None else flag.read(text)
        except ValueError as error:
            raise ValueError(f"--{flag.name}: {error}") from None
    if values["device"] == "cpu" and values["provider_options"]:
        raise ValueError("--provider-options: they are a GPU's: use --device cuda or tensorrt")
    if values["bundle"] is None:
        raise ValueError("--bundle: the bundle's directory is missing")
    if (values["tls_cert"] is None) is not (values["tls_key"] is None):
        raise ValueError("--tls-cert and --tls-key: give both or neither")
    if values["tls_client_ca"] is not None and values["tls_cert"] is None:
        raise ValueError("--tls-client-ca: it needs --tls-cert and --tls-key")
    if values["workers"] is not None and values["workers"] > values["queue"]:
        raise ValueError("--workers: each needs a place in the queue, and --queue has fewer")
    return Settings(**values)


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from an argument list, as the command line and the tests give it."""
    parser = argparse.ArgumentParser(prog="tidegate-runtime serve", allow_abbrev=False)
    add_flags(parser)
    return read_settings(vars(parser.parse_args(arguments)), environment)
