"""The five things that are done to objects; who does them decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.plan.manifests.identity import Kind, Object


@dataclass(frozen=True, slots=True)
class Create:
    """POST: fails where the name is taken, and so adopts nothing."""

    obj: Object


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply to an object that is there: its uid is in it, so that it meets no other."""

    obj: Object


@dataclass(frozen=True, slots=True)
class Scale:
    """The number of pods, by the scale subresource."""

    kind: Kind
    namespace: str
    name: str
    replicas: int


@dataclass(frozen=True, slots=True)
class Edit:
    """Merge patch of an object that is somebody else's, of exactly the version that was read."""

    kind: Kind
    namespace: str
    name: str
    version: str
    change: Object


@dataclass(frozen=True, slots=True)
class Delete:
    """Of exactly the object with this uid."""

    kind: Kind
    namespace: str
    name: str
    uid: str


Effect = Create | Apply | Scale | Edit | Delete


@dataclass(frozen=True, slots=True)
class Effects:
    """`records` are carried out before the status is written, `changes` after it; each in its order."""

    records: tuple[Effect, ...] = ()
    changes: tuple[Effect, ...] = ()
