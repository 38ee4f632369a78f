"""What must hold of a bundle before a server of it is started: judged from its manifest alone.

Each gate looks at one rule; the first one that objects refuses the revision.  Golden samples themselves are
checked by every server before it is ready; here it is only asked that there are some.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.bundle.interface import interface_changes, label_changes
from tidegate.plan.observed import Failure, FailureClass, Resolution
from tidegate.plan.wanted import GoldenMode

MAX_CHANGES = 8


@dataclass(frozen=True, slots=True)
class Applicant:
    """A bundle that wants to serve, beside the one that does (None: there is none yet)."""

    spec: ModelDeploymentSpec
    bundle: Resolution
    stable: Resolution | None


Gate = Callable[[Applicant], Failure | None]


def has_golden_samples(applicant: Applicant) -> Failure | None:
    acceptance = applicant.spec.acceptance
    if acceptance and acceptance.golden == "Require" and not applicant.bundle.has_golden:
        return _refuse("GoldenMissing", "acceptance.golden is Require and the bundle has no golden samples")
    return None


def metrics_within_bounds(applicant: Applicant) -> Failure | None:
    bounds = applicant.spec.acceptance.metrics if applicant.spec.acceptance else {}
    for name, bound in sorted((bounds or {}).items()):
        value = applicant.bundle.metrics.get(name)
        if value is None:
            return _refuse("MetricMissing", f"the bundle records no metric '{name}'")
        if bound.min is not None and not value >= bound.min:
            return _refuse("MetricBelowBound", f"{name} is {value:g}, at least {bound.min:g} is asked for")
        if bound.max is not None and not value <= bound.max:
            return _refuse("MetricAboveBound", f"{name} is {value:g}, at most {bound.max:g} is asked for")
    return None


def interface_is_kept(applicant: Applicant) -> Failure | None:
    stable, spec = applicant.stable, applicant.spec
    if stable is None or not stable.interface.outputs:  # unknown after its record was lost
        return None
    if spec.acceptance and spec.acceptance.interface_change == "Allow":
        return None
    changes = [
        *sorted(interface_changes(stable.interface, applicant.bundle.interface)),
        *label_changes(stable.labels, applicant.bundle.labels),
    ]
    return _refuse("InterfaceChanged", "; ".join(changes[:MAX_CHANGES])) if changes else None


GATES: tuple[Gate, ...] = (has_golden_samples, metrics_within_bounds, interface_is_kept)


def refusal(applicant: Applicant) -> Failure | None:
    """The first rule that this bundle breaks."""
    for gate in GATES:
        if objection := gate(applicant):
            return objection
    return None


def golden_mode(spec: ModelDeploymentSpec, bundle: Resolution) -> GoldenMode:
    """How strict its servers are with golden samples: Require wherever there are some, unless told otherwise."""
    asked: GoldenMode | None = spec.acceptance.golden if spec.acceptance else None
    return asked or ("Require" if bundle.has_golden else "Skip")


def _refuse(reason: str, message: str) -> Failure:
    return Failure(FailureClass.CONTENT, reason, message)
