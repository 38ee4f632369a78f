"""The Job that reads a bundle's manifest with the user's own rights."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

from tidegate.api.runtime import Runtime
from tidegate.plan.manifests.jobs import resolve_job
from tidegate_runtime import prove, resolve

from .parts import OWNER, PLATFORM, asked, container, runtime_of, spec_of

DIGEST = "sha256:" + "a" * 64


def job(runtime: Runtime | None = None, **bundle: Any) -> dict[str, Any]:
    wanted = asked(spec_of(bundle={"uri": "s3://models/fraud/1", **bundle}))
    return resolve_job(OWNER, wanted, PLATFORM, runtime or runtime_of())


def template(of: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = of["spec"]["template"]
    return made


def understood(of: dict[str, Any]) -> argparse.Namespace:
    """The arguments as the program reads them."""
    parser = argparse.ArgumentParser()
    resolve.add_arguments(parser)
    words = container(template(of), "resolve")["args"]
    assert words[0] == "resolve"
    return parser.parse_args(words[1:])


def test_one_job_asks_one_question_once_and_is_gone_soon() -> None:
    made = job()

    assert made["metadata"]["name"] == "fraud-fedcba9876-1"
    spec = made["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (0, 300, 300)
    assert template(made)["spec"]["restartPolicy"] == "Never"


def test_the_answer_is_the_termination_message_and_never_the_log() -> None:
    one = container(template(job()), "resolve")

    assert str(understood(job()).termination_log) == one["terminationMessagePath"] == "/dev/termination-log"
    assert one["terminationMessagePolicy"] == "File"


def test_a_plain_bundle_is_asked_for_by_its_address_alone() -> None:
    given = understood(job())

    assert (given.uri, given.digest, given.public_key) == ("s3://models/fraud/1", None, None)


def test_a_pinned_bundle_is_asked_for_by_its_digest() -> None:
    assert understood(job(digest=DIGEST)).digest == DIGEST


def test_a_signed_bundle_is_proved_with_the_one_key_of_the_secret() -> None:
    made = job(signature={"publicKeySecretRef": {"name": "release", "key": "key.pub"}})
    volume = next(one for one in template(made)["spec"]["volumes"] if one["name"] == "key")
    mount = next(one for one in container(template(made), "resolve")["volumeMounts"] if one["name"] == "key")

    assert volume["secret"] == {
        "secretName": "release", "optional": True, "items": [{"key": "key.pub", "path": "key.pub"}],
    }  # fmt: skip
    assert mount["readOnly"] is True
    assert str(understood(made).public_key) == mount["mountPath"] + "/key.pub"


def test_credentials_come_as_environment_and_as_files() -> None:
    one = container(template(job(secretRef={"name": "s3-credentials"})), "resolve")

    assert one["envFrom"] == [{"secretRef": {"name": "s3-credentials"}}]
    assert {"name": "store", "mountPath": "/etc/tidegate/store", "readOnly": True} in one["volumeMounts"]


def test_a_claim_is_mounted_read_only() -> None:
    made = job(uri="pvc://models/fraud/1")
    mounts = container(template(made), "resolve")["volumeMounts"]

    assert understood(made).uri == "file:///mnt/bundles/models/fraud/1"
    assert {"name": "claim", "mountPath": "/mnt/bundles/models", "readOnly": True} in mounts


def test_it_runs_what_the_servers_will_run_with_their_identity_but_not_on_their_nodes() -> None:
    runtime = runtime_of(
        image="registry.example.com/own:1",
        device="cuda",
        accelerator={"count": 1},
        env=[{"name": "AWS_REGION", "value": "eu-west-1"}],
        pod={
            "serviceAccountName": "models", "imagePullSecrets": [{"name": "registry"}], "labels": {"team": "fraud"},
            "tolerations": [{"key": "all", "operator": "Exists"}], "nodeSelector": {"pool": "gpu"},
        },
    )  # fmt: skip

    made = template(job(runtime))
    one = container(made, "resolve")

    assert one["image"] == "registry.example.com/own:1"
    assert one["env"] == [{"name": "AWS_REGION", "value": "eu-west-1"}]
    assert made["metadata"]["labels"]["team"] == "fraud"
    assert made["spec"]["serviceAccountName"] == "models"
    assert made["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert made["spec"]["tolerations"] == [{"key": "all", "operator": "Exists"}]
    assert "nodeSelector" not in made["spec"]
    assert "nvidia.com/gpu" not in json.dumps(made)


def test_its_pod_is_found_by_the_deployment_and_is_of_no_revision() -> None:
    found = template(job())["metadata"]["labels"]

    assert found["serving.tidegate.io/deployment"] == "fraud"
    assert "serving.tidegate.io/revision" not in found


def test_a_bundle_is_proved_whole_with_the_room_and_the_memory_that_a_server_has() -> None:
    runtime = runtime_of(resources={"limits": {"memory": "6Gi", "ephemeral-storage": "20Gi"}})
    made = resolve_job(OWNER, replace(asked(spec_of()), prove=True), PLATFORM, runtime)
    job = container(template(made), "resolve")

    assert job["args"][:3] == ["prove", "--work", "/work"]
    assert job["resources"]["limits"]["memory"] == "6Gi"
    assert {"name": "work", "emptyDir": {"sizeLimit": "20Gi"}} in template(made)["spec"]["volumes"]
    assert made["spec"]["activeDeadlineSeconds"] == 3600


KEY: dict[str, Any] = {"decryption": {"keySecretRef": {"name": "model-key", "key": "fraud.key"}}}


def proving(plain_bytes: int = 0, **bundle: Any) -> dict[str, Any]:
    wanted = asked(spec_of(bundle={"uri": "s3://models/fraud/1", **bundle}))
    runtime = runtime_of(resources={"limits": {"memory": "6Gi"}})
    return resolve_job(OWNER, replace(wanted, prove=True, plain_bytes=plain_bytes), PLATFORM, runtime)


def test_the_key_of_an_encrypted_bundle_is_tried_when_its_manifest_is_read() -> None:
    made = job(**KEY)
    volume = next(one for one in template(made)["spec"]["volumes"] if one["name"] == "decryption")
    mount = next(one for one in container(template(made), "resolve")["volumeMounts"] if one["name"] == "decryption")

    assert volume["secret"] == {
        "secretName": "model-key", "optional": True, "items": [{"key": "fraud.key", "path": "fraud.key"}],
    }  # fmt: skip
    assert mount["readOnly"] is True
    assert str(understood(made).identity) == mount["mountPath"] + "/fraud.key"
    assert "Memory" not in json.dumps(made)


def test_an_encrypted_bundle_is_proved_in_memory_that_is_counted() -> None:
    made = proving(3 * 2**30, **KEY)
    one = container(template(made), "resolve")
    volumes = {volume["name"]: volume.get("emptyDir") for volume in template(made)["spec"]["volumes"]}
    parser = argparse.ArgumentParser()
    prove.add_arguments(parser)
    given = parser.parse_args(one["args"][1:])

    assert {name for name, volume in volumes.items() if volume and "medium" not in volume} == {"work"}
    assert volumes["plain"] == {"medium": "Memory", "sizeLimit": "3072Mi"}
    assert one["resources"]["limits"]["memory"] == "9216Mi"
    mounted = {mount["mountPath"]: mount.get("readOnly", False) for mount in one["volumeMounts"]}
    assert (mounted[str(given.memory)], mounted[str(given.work)]) == (False, False)
    assert str(given.identity).startswith("/etc/tidegate/decryption/")


def test_what_may_be_encrypted_and_nobody_knows_is_proved_within_the_limit() -> None:
    made = proving(**KEY)

    assert {"name": "plain", "emptyDir": {"medium": "Memory", "sizeLimit": "6Gi"}} in template(made)["spec"]["volumes"]
    assert container(template(made), "resolve")["resources"]["limits"]["memory"] == "6Gi"
