"""The few fields of a pod that users may set; there is no free pod template, because a template is every right."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tidegate.api.rules import ApiModel, Rule
from tidegate.api.scalars import NUMBER, LabelKey, LabelValue, ObjectName

Labels = dict[LabelKey, LabelValue]
Selector = Annotated[dict[LabelKey, LabelValue], Field(max_length=8)]
AnnotationValue = Annotated[str, Field(max_length=256, pattern=r"^[ -~]*$")]
NOT_OURS = Rule(
    "self.all(key, !key.matches('^([a-z0-9.-]*\\\\.)?tidegate\\\\.io/|^app\\\\.kubernetes\\\\.io/'))",
    "use keys of your own: tidegate.io/ and app.kubernetes.io/ are set by Tidegate",
    lambda labels: not any(ours(key) for key in labels),
)


def ours(key: str) -> bool:
    prefix, slash, _ = key.rpartition("/")
    owner = prefix == "tidegate.io" or prefix.endswith(".tidegate.io")
    return bool(slash) and (owner or prefix == "app.kubernetes.io")


class Toleration(ApiModel):
    """A taint that the pods accept, as in Kubernetes."""

    key: LabelKey | None = Field(None, description="Key of the taint; all keys without it.")
    operator: Literal["Exists", "Equal"] = Field("Equal", description="How key and value are compared.")
    value: LabelValue | None = Field(None, description="Value of the taint, for Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint; all effects without it."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=86_400), NUMBER] | None = Field(
        None, description="How long NoExecute is borne; for ever without it."
    )


class SelectorRequirement(ApiModel):
    """A condition on a label, as in Kubernetes."""

    key: LabelKey = Field(description="The label's key.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(description="What must hold.")
    values: Annotated[tuple[LabelValue, ...], Field(max_length=4)] | None = Field(
        None, description="Values for In, NotIn, Gt and Lt."
    )


class NodeSelectorTerm(ApiModel):
    """Conditions on a node that must all hold."""

    match_expressions: Annotated[tuple[SelectorRequirement, ...], Field(min_length=1, max_length=4)] = Field(
        description="Conditions on the node's labels."
    )


class NodeSelector(ApiModel):
    """Terms of which one must hold."""

    node_selector_terms: Annotated[tuple[NodeSelectorTerm, ...], Field(min_length=1, max_length=2)] = Field(
        description="Terms of which one must hold."
    )


class PreferredNode(ApiModel):
    """A wish for nodes."""

    weight: Annotated[int, Field(ge=1, le=100), NUMBER] = Field(description="How strong the wish is, 1 to 100.")
    preference: NodeSelectorTerm = Field(description="The nodes that are wished for.")


class NodeAffinity(ApiModel):
    """Which nodes the pods need or wish for, as in Kubernetes."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = Field(
        None, description="Nodes that pods need."
    )
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[tuple[PreferredNode, ...], Field(max_length=2)] | None
    ) = Field(None, description="Nodes that pods wish for.")


class LabelSelector(ApiModel):
    """Pods by their labels."""

    match_labels: Selector | None = Field(None, description="Labels that must be there with these values.")
    match_expressions: Annotated[tuple[SelectorRequirement, ...], Field(max_length=2)] | None = Field(
        None, description="Conditions on labels."
    )


class PodAffinityTerm(ApiModel):
    """Pods beside which, or away from which, ours run."""

    label_selector: LabelSelector = Field(description="The other pods, of the same namespace.")
    topology_key: LabelKey = Field(description="The node label that says what beside means.")


class PreferredPods(ApiModel):
    """A wish about other pods."""

    weight: Annotated[int, Field(ge=1, le=100), NUMBER] = Field(description="How strong the wish is, 1 to 100.")
    pod_affinity_term: PodAffinityTerm = Field(description="The other pods.")


class PodAffinity(ApiModel):
    """Which pods ours run beside, or away from, as in Kubernetes."""

    required_during_scheduling_ignored_during_execution: (
        Annotated[tuple[PodAffinityTerm, ...], Field(max_length=1)] | None
    ) = Field(None, description="What must hold.")
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[tuple[PreferredPods, ...], Field(max_length=1)] | None
    ) = Field(None, description="What is wished for.")


class Affinity(ApiModel):
    """Which nodes and neighbours the pods need or wish for, as in Kubernetes."""

    node_affinity: NodeAffinity | None = Field(None, description="By the nodes' labels.")
    pod_affinity: PodAffinity | None = Field(None, description="Beside other pods.")
    pod_anti_affinity: PodAffinity | None = Field(None, description="Away from other pods.")


class TopologySpread(ApiModel):
    """How evenly pods spread; the selector is always the revision's own pods."""

    topology_key: LabelKey = Field(description="The node label over which to spread.")
    max_skew: Annotated[int, Field(ge=1, le=100), NUMBER] = Field(1, description="The largest difference in pods.")
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = Field(
        "ScheduleAnyway", description="What to do where it cannot be kept."
    )


class PullSecret(ApiModel):
    """A Secret of a registry."""

    name: ObjectName = Field(description="Name of the Secret.")


class Pod(ApiModel):
    """Where pods run and what they are called."""

    node_selector: Selector = Field(default_factory=dict, description="Labels that a node must have.")
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=8)] = Field(
        (), description="Taints that the pods accept."
    )
    affinity: Affinity | None = Field(None, description="Nodes and neighbours that pods need or wish for.")
    topology_spread_constraints: Annotated[tuple[TopologySpread, ...], Field(max_length=4)] = Field(
        (), description="How evenly pods spread."
    )
    priority_class_name: ObjectName | None = Field(None, description="PriorityClass of the pods.")
    runtime_class_name: ObjectName | None = Field(None, description="RuntimeClass of the pods.")
    image_pull_secrets: Annotated[tuple[PullSecret, ...], Field(max_length=4)] = Field(
        (), description="Secrets of the registry, of the same namespace."
    )
    labels: Annotated[Labels, Field(max_length=8), NOT_OURS] = Field(
        default_factory=dict, description="Labels for the pods, beside Tidegate's own."
    )
    annotations: Annotated[dict[LabelKey, AnnotationValue], Field(max_length=8), NOT_OURS] = Field(
        default_factory=dict, description="Annotations for the pods, beside Tidegate's own."
    )
    service_account_name: ObjectName | None = Field(
        None,
        description="Account of the pods; it must carry the label serving.tidegate.io/allow=true. Its token is "
        "never mounted.",
    )
