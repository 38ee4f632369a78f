"""What makes two revisions different, and the stable names and keys that follow from it.

A revision is a bundle (by digest), the `runtime` it is served with and the resolved image: not scaling, rollout or
routing, which change without a new server.  Hashes are of canonical JSON, so they are the same in every process.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from tidegate.api.bundle import BundleSource
from tidegate.api.rollout import PrometheusQuery, Rollout
from tidegate.api.runtime import Runtime
from tidegate.api.spec import ModelDeploymentSpec
from tidegate.plan.observed import Resolution

NAME_LENGTH = 10  # 40 bits: names of children stay under 63 characters, and a deployment has a handful of revisions


def _short(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:NAME_LENGTH]


def revision_name(resolution: Resolution, runtime: Runtime) -> str:
    """The revision that serves this bundle with this runtime."""
    return _short(resolution.digest, resolution.image, runtime.model_dump(mode="json"))


def restarted_name(base: str, at: datetime) -> str:
    """The revision that a restart of `base` at that time makes: the same bundle under another name."""
    return _short("restart", base, at.isoformat())


def source_key(source: BundleSource) -> str:
    """Changes with every change of `spec.bundle`; until then the digest that was found stays the only one."""
    return _short("bundle", source.model_dump(mode="json"))


def resolve_key(spec: ModelDeploymentSpec) -> str:
    """Changes with `spec.bundle` and with the image that is to serve it; only then is the manifest read again."""
    return _short("resolve", source_key(spec.bundle), spec.runtime.image or "")


def query_key(query: PrometheusQuery) -> str:
    """Changes with every change of the query or its limits: what the old one answered says nothing of the new one."""
    return _short("query", query.model_dump(mode="json"))


def rejection_key(subject: str, spec: ModelDeploymentSpec) -> str:
    """A revision is rejected under the rules that it failed: other rules, another chance."""
    acceptance = spec.acceptance.model_dump(mode="json") if spec.acceptance else {}
    return f"{subject}-{_short('rules', acceptance, _analysis(spec.rollout))}"


def _analysis(rollout: Rollout) -> object:
    return rollout.analysis.model_dump(mode="json") if rollout.analysis else {}
