"""The ModelDeployment: the one object that a user writes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from tidegate.api.acceptance import Acceptance
from tidegate.api.bundle import BundleSource
from tidegate.api.network import NetworkPolicy
from tidegate.api.rollout import Rollout
from tidegate.api.routing import Routing
from tidegate.api.rules import ApiModel, Rule
from tidegate.api.runtime import Runtime
from tidegate.api.scalars import Flag, matches
from tidegate.api.scaling import Scaling
from tidegate.api.status import ModelDeploymentStatus

# Names of children add a revision and a suffix and must stay within 63 characters.
MAX_NAME = 40


class Metadata(ApiModel):
    """The part of the object's metadata that Tidegate reads; Kubernetes keeps more there."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[
        str,
        Field(min_length=1, max_length=MAX_NAME),
        matches(
            r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
            "write a name of lower-case letters, digits and -, starting with a letter",
        ),
    ] = Field(description="Name of the deployment, and of the model in requests; at most 40 characters.")
    namespace: str = Field("default", max_length=63, description="Namespace of the object and all that belongs to it.")
    uid: str = Field("", max_length=64, description="Set by Kubernetes.")
    generation: int = Field(1, ge=0, description="Rises with every change of the spec.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels of the object.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations of the object.")
    creation_timestamp: datetime | None = Field(None, description="Set by Kubernetes.")


class ModelDeploymentSpec(ApiModel):
    """What is wanted."""

    bundle: BundleSource = Field(description="The model bundle to serve.")
    acceptance: Acceptance = Field(
        default_factory=Acceptance, description="What must hold before a version gets any traffic."
    )
    runtime: Runtime = Field(default_factory=Runtime, description="How the model is run.")
    scaling: Scaling = Field(default_factory=Scaling, description="How many servers run.")
    rollout: Rollout = Field(default_factory=Rollout, description="How a new version takes over.")
    routing: Routing = Field(default_factory=Routing, description="How requests find the model from outside.")
    network_policy: NetworkPolicy = Field(
        default_factory=NetworkPolicy, description="Who may connect to the pods, and where they may connect to."
    )
    paused: Flag = Field(False, description="Freezes a rollout where it is; nothing is aborted or taken back.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.scaling.target.gpuUtilization) || self.runtime.device != 'cpu'",
            "scaling by gpuUtilization needs a GPU: write device: cuda or tensorrt, or another target",
            lambda spec: spec.scaling.target.gpu_utilization is None or spec.runtime.device != "cpu",
        ),
    )


class ModelDeployment(ApiModel):
    """A model bundle, served, and moved from version to version in measured steps."""

    api_version: Literal["serving.tidegate.io/v1alpha1"] = Field(
        "serving.tidegate.io/v1alpha1", description="Version of this schema."
    )
    kind: Literal["ModelDeployment"] = Field("ModelDeployment", description="Kind of the object.")
    metadata: Metadata = Field(description="Name and namespace of the object.")
    spec: ModelDeploymentSpec = Field(description="What is wanted.")
    status: ModelDeploymentStatus | None = Field(None, description="What is there; written by Tidegate only.")

    def written(self) -> dict[str, Any]:
        """The object as a manifest holds it: camelCase, durations as text, nothing that is not there."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
