"""What is kept of a revision for as long as it may be needed: its record, its pod template and its bundle's Secrets.

It is the data of a ControllerRevision, which the API server lets nobody change.  Pods are always made from the text in
here: a newer operator, with another image or other words for the same thing, restarts nothing.

Record and template are kept as text.  The server compares bytes to find out whether data has changed, and writes some
values otherwise than they were sent (1.0, <): with an object in their place it would refuse a mere change of labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from tidegate.api.bundle import SecretKeyRef
from tidegate.plan.manifests.identity import CONTROLLER_REVISION, Object, Owner, child_name, head, metadata
from tidegate.plan.manifests.origins import Credentials
from tidegate.plan.observed import RevisionRecord

RECORD: TypeAdapter[RevisionRecord] = TypeAdapter(RevisionRecord)
KEPT = ("record", "secret", "template")
KEY: TypeAdapter[SecretKeyRef | None] = TypeAdapter(SecretKeyRef | None)
HASH_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Stored:
    """What pods of a revision are made from."""

    record: RevisionRecord
    template: dict[str, Any]
    credentials: Credentials = field(default_factory=Credentials)


def controller_revision(owner: Owner, stored: Stored) -> dict[str, Any]:
    """The object that keeps it."""
    record = RECORD.dump_python(stored.record, mode="json", by_alias=True)
    data = {"record": _text(record), "secret": stored.credentials.store, "template": _text(stored.template)}
    if (key := stored.credentials.decryption) is not None:
        data["decryption"] = _text(key.model_dump(mode="json", by_alias=True))
    return _object(owner, stored.record.revision, stored.record.number, data)


def marked_again(owner: Owner, live: Object, revision: str) -> dict[str, Any]:
    """A ControllerRevision as it is, with the labels by which it is found."""
    return _object(owner, revision, live.get("revision", 0), live.get("data"))


def _object(owner: Owner, revision: str, number: int, data: object) -> dict[str, Any]:
    meta = metadata(owner, child_name(owner, revision), revision)
    return {**head(CONTROLLER_REVISION, meta), "revision": number, "data": data}


def _text(value: object) -> str:
    """JSON in plain ASCII, without the three characters that the server escapes."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def read_stored(obj: Object) -> Stored | None:
    """What a ControllerRevision keeps; None when its content is not ours, or of a time that we do not understand."""
    data = obj.get("data")
    if not isinstance(data, Mapping) or not all(isinstance(data.get(name), str) for name in KEPT):
        return None
    try:
        record, template = RECORD.validate_json(data["record"]), json.loads(data["template"])
        key = KEY.validate_json(data.get("decryption", "null"))
    except ValueError:  # pydantic's ValidationError is one
        return None
    ours = isinstance(template, dict) and obj["metadata"]["name"].endswith(f"-{record.revision}")
    return Stored(record, template, Credentials(data["secret"], key)) if ours else None


def template_hash(template: Object) -> str:
    """The same for the same text, whoever parsed it."""
    return hashlib.sha256(_text(template).encode()).hexdigest()[:HASH_LENGTH]
