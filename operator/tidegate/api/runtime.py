"""How the model is run: the server's settings and the pod around it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidegate.api.bundle import SecretRef
from tidegate.api.pod import Pod
from tidegate.api.rules import ApiModel, Keyed, Rule
from tidegate.api.scalars import NUMBER, Between, ObjectName, Quantity, matches

# Options of the CUDA and TensorRT execution providers that change speed and memory, never answers, paths or devices.
PROVIDER_OPTIONS = (
    "arena_extend_strategy", "cudnn_conv1d_pad_to_nc1d", "cudnn_conv_algo_search", "cudnn_conv_use_max_workspace",
    "do_copy_in_default_stream", "enable_cuda_graph", "enable_skip_layer_norm_strict_mode", "fuse_conv_bias",
    "gpu_mem_limit",
    "prefer_nhwc", "sdpa_kernel", "trt_auxiliary_streams", "trt_build_heuristics_enable",
    "trt_builder_optimization_level", "trt_context_memory_sharing_enable", "trt_detailed_build_log",
    "trt_fp16_enable", "trt_layer_norm_fp32_fallback", "trt_max_partition_iterations", "trt_max_workspace_size",
    "trt_min_subgraph_size", "trt_profile_max_shapes", "trt_profile_min_shapes", "trt_profile_opt_shapes",
    "trt_sparsity_enable", "tunable_op_enable", "tunable_op_tuning_enable", "use_tf32",
)  # fmt: skip
# Environment that tunes libraries, names a region or a collector of traces; none of it can load code or redirect a path
# of ours.  Headers for a collector are missing: they would hold credentials.
ENV_NAMES = (
    "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "CUDA_CACHE_MAXSIZE",
    "CUDA_MODULE_LOADING", "KMP_AFFINITY", "KMP_BLOCKTIME", "LANG", "LC_ALL", "MALLOC_ARENA_MAX",
    "MALLOC_TRIM_THRESHOLD_", "NVIDIA_DRIVER_CAPABILITIES", "OMP_WAIT_POLICY",
    "OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME", "TF32_OVERRIDE",
    "TIDEGATE_TRACE_SAMPLE", "TIDEGATE_WORKERS", "TZ",
)  # fmt: skip


def _is_none(value: object) -> bool:
    return value is None


def listed(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


ResourceName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        "write an extended resource such as nvidia.com/gpu or nvidia.com/mig-1g.10gb",
    ),
]
Image = Annotated[
    str,
    Field(min_length=1, max_length=255),
    matches(
        r"^[a-z0-9]([-a-z0-9._]*[a-z0-9])?(:[0-9]+)?(/[a-z0-9]([-a-z0-9._]*[a-z0-9])?)*"
        r"(:[A-Za-z0-9_][-A-Za-z0-9_.]*)?(@sha256:[0-9a-f]{64})?$",
        "write an image reference such as registry.example.com/tidegate/runtime@sha256:…",
    ),
]


class Accelerator(ApiModel):
    """The GPU of a pod."""

    resource: ResourceName = Field("nvidia.com/gpu", description="Extended resource; also MIG slices.")
    count: Annotated[int, Field(ge=1, le=16), NUMBER] = Field(1, description="How many of them per pod.")


class ResourceList(ApiModel):
    """Amounts of what a pod uses."""

    cpu: Quantity | None = Field(None, description="Processor time, in cores: 2 or 500m.")
    memory: Quantity | None = Field(None, description="Memory: 2Gi.")
    ephemeral_storage: Quantity | None = Field(
        None, alias="ephemeral-storage", description="Space on the node's disk: 10Gi."
    )


class Resources(ApiModel):
    """What a pod asks for and what it may use at most."""

    RULES: ClassVar = (
        Rule(
            "has(self.limits.memory)",
            "add limits.memory: without it one pod can take the memory of its neighbours",
            lambda resources: resources.limits.memory is not None,
        ),
    )
    requests: ResourceList = Field(
        ResourceList(cpu="1", memory="1Gi"), description="What the scheduler sets aside for a pod."
    )
    limits: ResourceList = Field(ResourceList(memory="2Gi"), description="What a pod may use at most.")


class Threads(ApiModel):
    """Threads of ONNX Runtime."""

    intra_op: Annotated[int, Field(ge=0, le=256), NUMBER] = Field(
        0, description="Threads within one operator; 0 follows the CPU limit."
    )
    inter_op: Annotated[int, Field(ge=0, le=256), NUMBER] = Field(
        0, description="Operators that run at once; 0 follows the CPU limit."
    )


class Batching(ApiModel):
    """How requests are run together."""

    max_size: Annotated[int, Field(ge=1, le=1024), NUMBER] = Field(
        32, description="Requests in one run of the model at most; 1 turns batching off."
    )
    max_delay: Annotated[timedelta, Between("0s", "1s")] = Field(
        timedelta(0), description="How long a request may wait for others; 0s takes what waits anyway."
    )


class Queue(ApiModel):
    """What may wait."""

    max_length: Annotated[int, Field(ge=1, le=65_536), NUMBER] = Field(
        256, description="Requests that may wait; more are answered 429 with Retry-After."
    )
    timeout: Annotated[timedelta, Between("1ms", "10m")] = Field(
        timedelta(seconds=10), description="How long one request may take in all."
    )


class Explain(ApiModel):
    """Explanations of answers, made by the servers beside inference."""

    concurrency: Annotated[int, Field(ge=1, le=64), NUMBER] = Field(
        1, description="Explanations that a server makes at a time; more are answered 429 with Retry-After."
    )
    max_rows: Annotated[int, Field(ge=1, le=1_000_000_000), NUMBER] = Field(
        100_000, description="Rows that one explanation may ask the model about; more are refused."
    )


class RequestLogs(ApiModel):
    """What the servers write of each request: lines of JSON, without what was sent or answered."""

    RULES: ClassVar = (
        Rule(
            "self.audit || self.accessSample > 0.0",
            "nothing would be written: write audit: true or an accessSample, or leave requestLogs out",
            lambda logs: logs.audit or logs.access_sample > 0,
        ),
    )
    audit: bool = Field(False, description="A line for each request of the model: who asked for what, and the code.")
    access_sample: Annotated[float, Field(ge=0, le=1), NUMBER] = Field(
        0.0, description="Share of all requests that get a line with path and times; 0: none, 1: all."
    )


class EnvVar(ApiModel):
    """A variable of the server's environment."""

    RULES: ClassVar = (
        Rule(
            f"self.name in {listed(ENV_NAMES)}",
            f"write one of {', '.join(ENV_NAMES)}; everything else is set by Tidegate or would change what is run",
            lambda variable: variable.name in ENV_NAMES,
        ),
    )
    name: Annotated[str, Field(min_length=1, max_length=36)] = Field(description="Name, from a fixed list.")
    value: Annotated[str, Field(max_length=128, pattern=r"^[ -~]*$")] = Field(description="Value, printable ASCII.")


class Auth(ApiModel):
    """Who may call the model."""

    secret_ref: SecretRef = Field(
        description="Secret whose key `clients` has a line per client: its name, the SHA-256 of its token, its scopes."
    )


class Tls(ApiModel):
    """The server's certificate."""

    secret_ref: SecretRef = Field(description="Secret with tls.crt and tls.key, as cert-manager writes it.")
    client_certificates: Literal["Ignore", "Require"] = Field(
        "Ignore", description="Whether clients must have a certificate by the authority in the Secret's key ca.crt."
    )


class ClaimRef(ApiModel):
    """A PersistentVolumeClaim in the same namespace."""

    claim_name: ObjectName = Field(description="Name of the claim.")


class Cache(ApiModel):
    """Where fetched bundles are kept."""

    persistent_volume_claim: ClaimRef = Field(description="Volume that the pods share; bundles lie there by digest.")


GPU_NEEDS_ACCELERATOR = Rule(
    "self.device == 'cpu' || has(self.accelerator)",
    "this device needs a GPU: add accelerator: {resource: nvidia.com/gpu, count: 1}",
    lambda runtime: runtime.device == "cpu" or runtime.accelerator is not None,
)
ACCELERATOR_NEEDS_GPU = Rule(
    "self.device != 'cpu' || !has(self.accelerator)",
    "an accelerator would stand idle: write device: cuda or device: tensorrt, or leave accelerator out",
    lambda runtime: runtime.device != "cpu" or runtime.accelerator is None,
)
OPTIONS_NEED_GPU = Rule(
    "self.device != 'cpu' || size(self.providerOptions) == 0",
    "providerOptions are options of the GPU's execution providers: leave them out with device: cpu",
    lambda runtime: runtime.device != "cpu" or not runtime.provider_options,
)
OF_TENSORRT = "trt_"  # with which the names of its options begin
OPTIONS_NEED_TENSORRT = Rule(
    f"self.device != 'cuda' || self.providerOptions.all(name, !name.startsWith('{OF_TENSORRT}'))",
    f"{OF_TENSORRT}... are options of TensorRT: write device: tensorrt, or leave them out",
    lambda runtime: (
        runtime.device != "cuda" or not any(name.startswith(OF_TENSORRT) for name in runtime.provider_options)
    ),
)
OPTIONS_ALLOWED = Rule(
    f"self.all(name, name in {listed(PROVIDER_OPTIONS)})",
    f"use only these options, all others are set by Tidegate: {', '.join(PROVIDER_OPTIONS)}",
    lambda options: all(name in PROVIDER_OPTIONS for name in options),
)
OptionName = Annotated[str, Field(min_length=1, max_length=48)]
OptionValue = Annotated[str, Field(max_length=128, pattern=r"^[-A-Za-z0-9_.:,;/]*$")]


class Runtime(ApiModel):
    """How the model is run; every change of it makes a new revision."""

    RULES: ClassVar = (GPU_NEEDS_ACCELERATOR, ACCELERATOR_NEEDS_GPU, OPTIONS_NEED_GPU, OPTIONS_NEED_TENSORRT)
    image: Image | None = Field(
        None, description="The server's image; the operator's own when not given. Resolved to a digest once."
    )
    device: Literal["cpu", "cuda", "tensorrt"] = Field(
        "cpu", description="What the model runs on; a GPU that cannot be used is a failure, not a slow success."
    )
    accelerator: Accelerator | None = Field(None, description="The GPU of a pod; needed for cuda and tensorrt.")
    resources: Resources = Field(default_factory=Resources, description="Processor and memory of a pod.")
    sessions: Annotated[int, Field(ge=1, le=64), NUMBER] = Field(1, description="ONNX Runtime sessions per pod.")
    threads: Threads = Field(default_factory=Threads, description="Threads of ONNX Runtime.")
    batching: Batching = Field(default_factory=Batching, description="How requests are run together.")
    queue: Queue = Field(default_factory=Queue, description="What may wait, and how long.")
    explain: Explain | None = Field(
        None,
        description="Explanations of answers (POST …/explain); without it nothing is explained.",
        exclude_if=_is_none,  # the names of revisions are hashes of this: those from before it was there stay
    )
    request_logs: RequestLogs | None = Field(
        None,
        description="What servers write of each request, on their standard output; nothing without it.",
        exclude_if=_is_none,  # as with explain
    )
    grace: Annotated[timedelta, Between("1s", "1h")] = Field(
        timedelta(seconds=30), description="Time to finish requests in work when a server stops."
    )
    provider_options: Annotated[dict[OptionName, OptionValue], Field(max_length=16), OPTIONS_ALLOWED] = Field(
        default_factory=dict, description="Options of the GPU's execution provider, from a fixed list."
    )
    env: Annotated[tuple[EnvVar, ...], Field(max_length=8), Keyed("name")] = Field(
        (),
        description="Variables of the server's environment, from a fixed list.",
    )
    pod: Pod = Field(default_factory=Pod, description="Where pods run and what they are called.")
    auth: Auth | None = Field(None, description="Who may call the model; everybody in the network without it.")
    tls: Tls | None = Field(None, description="The server's certificate; plain HTTP without it.")
    cache: Cache | None = Field(None, description="Where fetched bundles are kept; the pod's own disk without it.")


def provider_options(runtime: Runtime, device: str) -> str:
    """What the server is told of `providerOptions`: those that `device`, which may not be the manifest's, has."""
    given = {} if device == "cpu" else runtime.provider_options
    return " ".join(
        f"{name}={value}" for name, value in given.items() if device == "tensorrt" or not name.startswith(OF_TENSORRT)
    )


def explain_flags(runtime: Runtime) -> dict[str, int]:
    """What the server is told of `explain`; nothing where it is not there, which older servers understand, too."""
    if runtime.explain is None:
        return {}
    return {"explain": runtime.explain.concurrency, "explain-rows": runtime.explain.max_rows}


def request_log_flags(runtime: Runtime, audit: str, access: str) -> dict[str, str]:
    """What the server is told of `requestLogs`, with the files for it; nothing where it is not there."""
    logs = runtime.request_logs
    if logs is None:
        return {}
    flags = {"audit-log": audit} if logs.audit else {}
    if logs.access_sample:
        flags |= {"access-log": access, "access-log-sample": f"{logs.access_sample:g}"}
    return flags
