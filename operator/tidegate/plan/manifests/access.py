"""The ConfigMap that tells a deployment's servers whose service-account tokens open their internal endpoints."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tidegate.api.runtime import Runtime
from tidegate.plan.manifests.identity import CONFIG_MAP, Owner, access_name, head, metadata
from tidegate.plan.manifests.platform import Platform
from tidegate.plan.manifests.pods import ACCESS_KEY

DEFAULT_ACCOUNT = "default"


def access_map(owner: Owner, platform: Platform, runtimes: Iterable[Runtime]) -> dict[str, Any] | None:
    """Public keys and names only, no secrets; None where the installation gives none, or none yet.

    The operator may ask everything; the accounts of `runtimes`, which are those of all servers that there are, may show
    each other requests to compare, and nothing else.
    """
    if not platform.access:
        return None
    accounts = sorted({runtime.pod.service_account_name or DEFAULT_ACCOUNT for runtime in runtimes})
    document = json.loads(platform.access)
    siblings = [f"system:serviceaccount:{owner.namespace}:{name}" for name in accounts]
    document["subjects"] = {**document.get("subjects", {}), "compare": siblings}
    meta = metadata(owner, access_name(owner))
    return {**head(CONFIG_MAP, meta), "data": {ACCESS_KEY: json.dumps(document, sort_keys=True)}}
