"""What a ControllerRevision keeps, and what of it can be read again."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tidegate.api.bundle import SecretKeyRef
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.plan.manifests.origins import Credentials
from tidegate.plan.manifests.pods import pod_template
from tidegate.plan.manifests.stored import Stored, controller_revision, marked_again, read_stored, template_hash
from tidegate.plan.observed import Resolution, RevisionRecord

from .parts import OLD, OWNER, PLATFORM, record, runtime_of


def kept() -> Stored:
    """Everything that is hard to keep: shapes of names and numbers, durations, metrics that are whole, signs."""
    interface = Interface((TensorSpec("x", "FP32", ("N", 4), optional=True),), (TensorSpec("y", "INT64", (1,)),))
    bundle = Resolution(
        "s3://models/fraud/1", "sha256:" + "01" * 32, "1.0", interface, has_golden=True,
        metrics={"accuracy": 1.0, "loss": 1e-7}, labels=("<unk>", "a & b", "ä"), image="registry.example.com/x:1",
    )  # fmt: skip
    runtime = runtime_of(grace="1m30s", resources={"limits": {"memory": "1Gi", "ephemeral-storage": "5Gi"}})
    of = RevisionRecord(OLD, 7, bundle, runtime, base=OLD, restart="2026-01-01T00:00:00+00:00")
    opens = Credentials("s3", SecretKeyRef(name="model-key", key="age.key"))
    return Stored(of, pod_template(OWNER, of, "Require", opens, PLATFORM), opens)


def through_the_api(obj: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(obj))
    return read


def test_what_is_kept_is_read_again_as_it_was() -> None:
    read = read_stored(through_the_api(controller_revision(OWNER, kept())))

    assert read == kept()
    assert read is not None
    assert read.record.runtime.grace == timedelta(seconds=90)


def test_what_an_operator_kept_that_knew_of_no_encryption_is_read() -> None:
    made = controller_revision(OWNER, kept())
    del made["data"]["decryption"]

    read = read_stored(made)

    assert read is not None
    assert read.credentials == Credentials("s3")


def test_the_object_is_named_and_numbered_by_its_revision() -> None:
    made = controller_revision(OWNER, kept())

    assert (made["apiVersion"], made["kind"]) == ("apps/v1", "ControllerRevision")
    assert made["metadata"]["name"] == "fraud-0123456789"
    assert made["metadata"]["labels"]["serving.tidegate.io/revision"] == OLD
    assert made["revision"] == 7


def test_its_data_is_text_that_a_server_never_writes_otherwise() -> None:
    data = controller_revision(OWNER, kept())["data"]

    assert list(data) == ["record", "secret", "template", "decryption"]
    assert all(isinstance(text, str) and text.isascii() and not set("<>&") & set(text) for text in data.values())


@pytest.mark.parametrize(
    "data",
    [
        None,
        "text",
        {},
        {"record": "{}", "secret": "", "template": "{}"},
        {"record": {"revision": OLD}, "secret": "", "template": "{}"},
        {"record": "no json", "secret": "", "template": "{}"},
        controller_revision(OWNER, kept())["data"] | {"decryption": "no json"},
        controller_revision(OWNER, kept())["data"] | {"decryption": {"name": "model-key", "key": "age.key"}},
    ],
)
def test_odd_content_is_not_read(data: object) -> None:
    assert read_stored({"metadata": {"name": f"fraud-{OLD}"}, "data": data}) is None


@pytest.mark.parametrize("template", ["no json", "[]", "7"])
def test_a_template_that_is_none_is_not_read(template: str) -> None:
    made = controller_revision(OWNER, kept())
    made["data"]["template"] = template

    assert read_stored(made) is None


def test_the_content_of_another_revision_is_not_read() -> None:
    made = controller_revision(OWNER, kept())
    made["metadata"]["name"] = "fraud-ffffffffff"

    assert read_stored(made) is None


def test_labels_can_be_given_back_without_a_word_of_the_data_changing() -> None:
    live = through_the_api(controller_revision(OWNER, kept()))
    live["metadata"]["labels"] = {}
    live["data"]["more"] = "from another version"

    again = marked_again(OWNER, live, OLD)

    assert again["metadata"]["labels"]["serving.tidegate.io/deployment"] == "fraud"
    assert again["data"] == live["data"]
    assert again["revision"] == 7


def test_a_hash_stands_for_the_text_and_not_for_who_parsed_it() -> None:
    template = kept().template

    assert template_hash(template) == template_hash(dict(reversed(through_the_api(template).items())))
    assert template_hash(template) != template_hash(pod_template(OWNER, record(), "Skip", Credentials(), PLATFORM))
