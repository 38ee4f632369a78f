"""How the application behaves in a fake world: servers of a version, and bundles in a store.

Both are looked up by the bundle's address (or, for servers, by the revision), so that a story says "servers of v2 are
killed for their memory" before any revision has a name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .fields import Object

SCHEMES = ("s3://", "https://", "oci://", "pvc://", "file://")
MOUNTED = "file:///mnt/bundles/"  # where a pod finds the claim of a pvc:// address
REVISION = "serving.tidegate.io/revision"
SHAPES = {"inputs": [{"name": "x", "type": "FP32", "shape": ["N", 4]}]}
PLAIN = {**SHAPES, "outputs": [{"name": "y", "type": "FP32", "shape": ["N", 2]}]}


class Trouble(StrEnum):
    """Why pods do not serve."""

    NONE = ""
    NEVER_READY = "never ready"
    IMAGE_PULL = "image pull"
    CRASH_LOOP = "crash loop"  # the first main container ends with exit_code and message
    OUT_OF_MEMORY = "out of memory"
    INIT_FAILS = "init fails"  # the first init container ends with exit_code and message
    NO_SECRET = "no secret"
    UNSCHEDULABLE = "unschedulable"
    QUOTA = "quota"  # not even made


@dataclass
class Servers:
    """How pods of one version fare; changes show at the next step."""

    ready_after: float = 0.0  # seconds from being scheduled
    trouble: Trouble = Trouble.NONE
    message: str = ""  # the termination message, for troubles that end a container
    exit_code: int = 1
    most_ready: int | None = None  # the oldest so many become ready
    stop_after: float = 0.0  # seconds that a pod drains

    def says(self, reason: str, message: str = "") -> str:
        """Last words as our programs write them."""
        self.message = json.dumps({"reason": reason, "message": message or reason}) + "\n"
        return self.message


@dataclass
class Bundle:
    """What `tidegate-runtime resolve` finds at an address."""

    resolution: Mapping[str, Any] | None = None  # its answer; None: the reason below
    reason: str = "NotFound"
    message: str = "there is no such bundle"
    exit_code: int = 1
    after: float = 0.0  # seconds until it answers
    trouble: Trouble = Trouble.NONE  # of the Job's pod


def bundle(uri: str, **changes: Any) -> Bundle:
    """A healthy bundle; changes are to the resolution's fields (version="v2", golden=0, interface={…})."""
    version = str(changes.pop("version", uri.rstrip("/").rpartition("/")[2]))
    shown = changes.get("interface", PLAIN)
    resolution = {
        "apiVersion": "tidegate.io/resolution/v1",
        "uri": uri,
        "digest": "sha256:" + hashlib.sha256(uri.encode()).hexdigest(),
        "name": "fraud",
        "version": version,
        "signature": "Missing",
        "golden": 3,
        "files": 2,
        "bytes": 1000,
        "interfaceDigest": hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest(),
        "metrics": {"accuracy": 0.9},
        "labels": [],
        "interface": shown,
    }
    return Bundle({**resolution, **changes})


def refused(reason: str, message: str = "", exit_code: int = 1) -> Bundle:
    """A bundle that cannot be resolved."""
    return Bundle(reason=reason, message=message or reason, exit_code=exit_code)


@dataclass
class Behaviours:
    """All that was said about versions and bundles; what nothing was said about is healthy, or not there."""

    servers: dict[str, Servers] = field(default_factory=dict)
    bundles: dict[str, Bundle] = field(default_factory=dict)

    def of_pod(self, pod: Object) -> Servers:
        revision = (pod["metadata"].get("labels") or {}).get(REVISION, "")
        named = (revision, *addresses(pod["spec"]))
        return next((self.servers[name] for name in named if name in self.servers), Servers())


def words(spec: Object) -> Iterator[str]:
    """The command lines of a pod, word by word."""
    for container in (*spec.get("initContainers", []), *spec.get("containers", [])):
        yield from (str(word) for word in (*container.get("command", []), *container.get("args", [])))


def addresses(spec: Object) -> tuple[str, ...]:
    """The bundles that a pod's command lines name."""
    named = (word.replace(MOUNTED, "pvc://") for word in words(spec))
    return tuple(word for word in named if word.startswith(SCHEMES))


def answer(bundles: Mapping[str, Bundle], spec: Object) -> tuple[int, str]:
    """Exit code and termination message of a resolve pod."""
    line = list(words(spec))
    found = next((bundles[uri] for uri in addresses(spec) if uri in bundles), Bundle())
    if found.resolution is None:
        return found.exit_code, _line({"reason": found.reason, "message": found.message})
    if "--digest" in line and line[line.index("--digest") + 1] != found.resolution["digest"]:
        return 1, _line({"reason": "DigestMismatch", "message": "another manifest than the pinned one"})
    signed = found.resolution["signature"] != "Missing"
    if "--public-key" in line and not signed:
        return 1, _line({"reason": "SignatureMissing", "message": "the bundle is not signed"})
    proved = {"signature": "Verified"} if "--public-key" in line else {}
    return 0, _line({**found.resolution, **proved})


def _line(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"
