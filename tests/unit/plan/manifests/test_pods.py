"""The pod template of a revision: what each setting becomes, and that the programs in the pod understand it."""

from __future__ import annotations

import argparse
import json
from typing import Any, cast

import pytest

from tidegate.api.bundle import SecretKeyRef
from tidegate.plan.manifests.origins import Credentials
from tidegate.plan.manifests.pods import pod_template
from tidegate.plan.observed import RevisionRecord
from tidegate_runtime import fetch
from tidegate_runtime.settings import parse

from .parts import NEW, OLD, OWNER, PLATFORM, container, flags, record, runtime_of

GPU: dict[str, Any] = {"device": "cuda", "accelerator": {"resource": "nvidia.com/gpu", "count": 2}}


def template(
    of: RevisionRecord | None = None, secret: str = "", key: SecretKeyRef | None = None, **runtime: Any
) -> dict[str, Any]:
    found = of or record(runtime=runtime_of(**runtime))
    return pod_template(OWNER, found, "Require", Credentials(secret, key), PLATFORM)


def pod(**runtime: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", template(**runtime)["spec"])


def server(**runtime: Any) -> dict[str, Any]:
    return container(template(**runtime), "server")


def volumes(of: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {volume["name"]: volume for volume in of["spec"]["volumes"]}


def mounts(of: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    return {mount["name"]: mount for mount in container(of, name)["volumeMounts"]}


# -- the image


def test_the_image_that_was_resolved_runs_in_both_containers() -> None:
    image = "registry.example.com/own@sha256:" + "c" * 64

    made = template(record(image=image, runtime=runtime_of(image="registry.example.com/own:1")))

    assert {container(made, name)["image"] for name in ("fetch", "server")} == {image}


def test_without_a_resolved_image_the_specs_runs_and_without_that_the_platforms() -> None:
    assert server(image="registry.example.com/own:1")["image"] == "registry.example.com/own:1"
    assert server()["image"] == PLATFORM.runtime_image


# -- what the programs are told


def test_the_server_understands_its_flags_and_gets_every_setting() -> None:
    settings = parse(
        server(
            sessions=3, threads={"intraOp": 2, "interOp": 4}, batching={"maxSize": 8, "maxDelay": "5ms"},
            queue={"maxLength": 7, "timeout": "1m"}, grace="20s", **GPU,
        )["args"][1:],
        {},
    )  # fmt: skip

    assert (settings.name, settings.revision, settings.device, settings.golden) == ("fraud", OLD, "cuda", "Require")
    assert (settings.sessions, settings.intra_op, settings.inter_op) == (3, 2, 4)
    assert (settings.max_batch_size, settings.max_batch_delay) == (8, 0.005)
    assert (settings.queue, settings.queue_timeout) == (7, 60.0)
    assert (settings.http_port, settings.grpc_port, settings.metrics_port) == (8080, 9000, 9090)
    assert str(settings.termination_log) == "/dev/termination-log"


def test_a_server_explains_where_the_spec_says_so_and_is_told_nothing_of_it_elsewhere() -> None:
    settings = parse(server(explain={"concurrency": 2, "maxRows": 500})["args"][1:], {})

    assert (settings.explain, settings.explain_rows) == (2, 500)
    assert "--explain" not in server()["args"]


@pytest.mark.parametrize(
    ("logs", "audit", "access", "share"),
    [
        ({"audit": True}, "-", None, 1.0),
        ({"accessSample": 1}, None, "-", 1.0),
        ({"audit": True, "accessSample": 0.07}, "-", "-", 0.07),
    ],
)
def test_a_server_writes_of_requests_what_the_spec_says_to_its_standard_output(
    logs: dict[str, object], audit: str | None, access: str | None, share: float
) -> None:
    settings = parse(server(requestLogs=logs)["args"][1:], {})

    assert (settings.audit_log, settings.access_log, settings.access_log_sample) == (audit, access, share)


def test_a_server_is_told_nothing_of_logs_where_the_spec_says_nothing() -> None:
    assert not [argument for argument in server()["args"] if "-log" in argument and "termination" not in argument]


def test_the_server_is_told_the_number_that_is_its_version_for_clients_of_tensorflow_serving() -> None:
    settings = parse(container(template(record(number=7)), "server")["args"][1:], {})

    assert settings.revision_number == 7


def test_the_golden_mode_of_the_plan_is_the_servers() -> None:
    made = pod_template(OWNER, record(), "Report", Credentials(), PLATFORM)

    assert flags(container(made, "server")["args"])["golden"] == "Report"


def test_a_server_has_its_grace_after_the_drain_delay_and_the_kubelet_waits_longer_than_both() -> None:
    settings = parse(server(grace="1m")["args"][1:], {})

    assert settings.drain_delay == 5.0
    assert settings.drain == 65.0
    assert pod(grace="1m")["terminationGracePeriodSeconds"] == 70
    assert pod(grace="1s500ms")["terminationGracePeriodSeconds"] == 12


def test_fetch_is_given_the_address_the_place_and_the_digest_and_no_key() -> None:
    made = template()
    parser = argparse.ArgumentParser()
    fetch.add_arguments(parser)

    given = parser.parse_args(container(made, "fetch")["args"][1:])

    assert container(made, "fetch")["args"][0] == "fetch"
    assert (given.uri, given.digest) == ("s3://models/fraud/1", record().resolution.digest)
    assert given.public_key is None
    assert str(given.directory) == flags(server()["args"])["bundle"] == "/bundles/model"
    assert str(given.termination_log) == "/dev/termination-log"


# -- bundles, credentials, caches


def test_the_server_cannot_write_to_its_bundle() -> None:
    made = template()

    assert "readOnly" not in mounts(made, "fetch")["bundles"]
    assert mounts(made, "server")["bundles"]["readOnly"] is True


def test_bundles_lie_on_the_pods_own_disk_up_to_its_limit() -> None:
    limited = template(resources={"limits": {"memory": "1Gi", "ephemeral-storage": "5Gi"}})

    assert volumes(template())["bundles"]["emptyDir"] == {"sizeLimit": "64Gi"}
    assert volumes(limited)["bundles"]["emptyDir"] == {"sizeLimit": "5Gi"}


def test_on_a_shared_volume_bundles_lie_by_digest_and_the_image_may_write() -> None:
    made = template(cache={"persistentVolumeClaim": {"claimName": "models"}})
    place = "/bundles/" + record().resolution.digest.removeprefix("sha256:")

    assert volumes(made)["bundles"] == {"name": "bundles", "persistentVolumeClaim": {"claimName": "models"}}
    assert container(made, "fetch")["args"][2] == flags(container(made, "server")["args"])["bundle"] == place
    assert made["spec"]["securityContext"]["fsGroup"] == 65532


@pytest.mark.parametrize("uri", ["pvc://models/fraud/1", "file:///mnt/bundles/models/fraud/1"])
def test_a_claim_is_mounted_read_only_where_fetch_is_told_to_look_and_nowhere_else(uri: str) -> None:
    made = template(record(uri=uri))

    assert container(made, "fetch")["args"][1] == "file:///mnt/bundles/models/fraud/1"
    assert volumes(made)["claim"]["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    assert mounts(made, "fetch")["claim"] == {"name": "claim", "mountPath": "/mnt/bundles/models", "readOnly": True}
    assert "claim" not in mounts(made, "server")


def test_credentials_reach_fetch_as_environment_and_as_files_and_the_server_not_at_all() -> None:
    made = template(secret="s3-credentials")
    first = container(made, "fetch")

    assert first["envFrom"] == [{"secretRef": {"name": "s3-credentials"}}]
    assert {"name": "TIDEGATE_STORE_SECRET", "value": "/etc/tidegate/store"} in first["env"]
    assert volumes(made)["store"]["secret"] == {"secretName": "s3-credentials", "optional": True}
    assert mounts(made, "fetch")["store"]["readOnly"] is True
    assert "s3-credentials" not in json.dumps(container(made, "server"))
    assert "store" not in mounts(made, "server")


def test_without_a_secret_there_is_no_trace_of_one() -> None:
    made = template()

    assert "envFrom" not in container(made, "fetch")
    assert "store" not in volumes(made)


def test_variables_of_the_spec_reach_both_containers() -> None:
    made = template(env=[{"name": "AWS_REGION", "value": "eu-west-1"}])

    assert container(made, "fetch")["env"] == container(made, "server")["env"] == [
        {"name": "AWS_REGION", "value": "eu-west-1"}
    ]  # fmt: skip


# -- identity and access


def test_servers_know_who_may_call_them_and_have_a_token_of_their_own() -> None:
    made = template()
    given = parse(container(made, "server")["args"][1:], {})

    assert volumes(made)["access"]["configMap"] == {"name": "fraud-access", "optional": True}
    assert mounts(made, "server")["access"] == {"name": "access", "mountPath": "/etc/tidegate/access", "readOnly": True}
    assert str(given.access) == "/etc/tidegate/access/access.json"
    assert volumes(made)["identity"]["projected"]["sources"] == [
        {"serviceAccountToken": {"audience": "tidegate", "expirationSeconds": 3600, "path": "token"}}
    ]
    assert str(given.identity_token_file) == "/var/run/tidegate/token/token"


def test_a_service_account_is_named_and_its_token_never_mounted() -> None:
    assert pod(pod={"serviceAccountName": "models"})["serviceAccountName"] == "models"
    assert pod(pod={"serviceAccountName": "models"})["automountServiceAccountToken"] is False


# -- probes


def test_every_probe_asks_the_metrics_port_which_a_busy_server_answers() -> None:
    one = server()

    asked = {name: one[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert asked == {
        "startupProbe": {"path": "/startupz", "port": 9090},
        "readinessProbe": {"path": "/readyz", "port": 9090},
        "livenessProbe": {"path": "/livez", "port": 9090},
    }
    assert one["startupProbe"]["periodSeconds"] * one["startupProbe"]["failureThreshold"] == 900


# -- resources


def test_a_gpu_is_the_servers_and_not_the_init_steps() -> None:
    made = template(**GPU)

    assert container(made, "server")["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "nvidia.com/gpu" not in container(made, "fetch")["resources"]["limits"]


def test_a_gpus_server_is_told_the_options_and_tensorrts_where_its_engines_outlive_a_container() -> None:
    def told(device: str, **more: Any) -> dict[str, str]:
        return flags(server(**GPU | {"device": device}, **more)["args"])

    options = {"use_tf32": "0", "trt_profile_min_shapes": "x:1x3,y:1"}
    assert (
        told("tensorrt", providerOptions=options)["provider-options"] == "use_tf32=0 trt_profile_min_shapes=x:1x3,y:1"
    )
    assert told("tensorrt")["engine-cache"] == "/engines"
    mounts = server(**GPU | {"device": "tensorrt"})["volumeMounts"]
    assert {"name": "engines", "mountPath": "/engines"} in mounts
    assert told("cuda").keys() & {"provider-options", "engine-cache"} == set()


def test_a_request_is_never_above_its_limit() -> None:
    small = {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "500m", "memory": "1024Mi"}}

    assert server(resources=small)["resources"] == {
        "requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "500m", "memory": "1024Mi"},
    }  # fmt: skip


# -- placement


def test_pods_of_a_revision_spread_among_themselves() -> None:
    spread = {"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}

    made = pod(pod={"topologySpreadConstraints": [spread]})["topologySpreadConstraints"]

    selector = {"serving.tidegate.io/deployment": "fraud", "serving.tidegate.io/revision": OLD}
    assert made == [{**spread, "labelSelector": {"matchLabels": selector}}]


def test_placement_is_written_as_kubernetes_spells_it() -> None:
    term = {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["a100"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    toleration = {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}

    made = pod(
        pod={
            "nodeSelector": {"pool": "models"}, "tolerations": [toleration], "affinity": affinity,
            "priorityClassName": "high", "runtimeClassName": "nvidia", "imagePullSecrets": [{"name": "registry"}],
        }
    )  # fmt: skip

    assert made["nodeSelector"] == {"pool": "models"}
    assert made["tolerations"] == [toleration]
    assert made["affinity"] == affinity
    assert (made["priorityClassName"], made["runtimeClassName"]) == ("high", "nvidia")
    assert made["imagePullSecrets"] == [{"name": "registry"}]


def test_what_is_not_given_is_not_written() -> None:
    assert not {
        "nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName",
        "runtimeClassName", "imagePullSecrets", "serviceAccountName",
    } & set(pod())  # fmt: skip
    assert set(template()["metadata"]) == {"labels"}


def test_users_labels_are_added_and_ours_win() -> None:
    given = runtime_of(pod={"labels": {"team": "fraud"}, "annotations": {"note": "x"}})
    # The API refuses our prefix; should it ever let one through, it must not take a pod out of its Service.
    pods = given.pod.model_copy(update={"labels": {"team": "fraud", "serving.tidegate.io/revision": "other"}})

    meta = template(record(runtime=given.model_copy(update={"pod": pods})))["metadata"]

    assert meta["labels"] == {
        "team": "fraud",
        "app.kubernetes.io/managed-by": "tidegate",
        "app.kubernetes.io/component": "server",
        "serving.tidegate.io/deployment": "fraud",
        "serving.tidegate.io/revision": OLD,
    }
    assert meta["annotations"] == {"note": "x"}


def test_a_restart_has_pods_of_its_own_that_serve_the_same_bundle() -> None:
    base = record()
    again = record(NEW, base=OLD, restart="2026-01-01T00:00:00+00:00")
    again = RevisionRecord(again.revision, 2, base.resolution, base.runtime, OLD, again.restart)

    first, second = template(base), template(again)

    assert first != second
    assert container(first, "fetch")["args"] == container(second, "fetch")["args"]
    assert second["metadata"]["labels"]["serving.tidegate.io/revision"] == NEW


def test_a_template_is_plain_json() -> None:
    made = template(secret="s3", env=[{"name": "TZ", "value": "UTC"}], **GPU)

    assert json.loads(json.dumps(made)) == made


# -- clients and certificates

GUARDED: dict[str, Any] = {
    "auth": {"secretRef": {"name": "fraud-clients"}},
    "tls": {"secretRef": {"name": "fraud-tls"}},
}


def test_without_auth_and_tls_a_server_is_told_of_neither() -> None:
    settings = parse(server()["args"][1:], {})

    assert (settings.auth_file, settings.tls_cert, settings.tls_key, settings.tls_client_ca) == (None,) * 4


def test_clients_and_certificate_are_read_from_their_secrets_where_these_are_mounted() -> None:
    made = template(**GUARDED)
    settings = parse(container(made, "server")["args"][1:], {})

    assert volumes(made)["clients"]["secret"] == {"secretName": "fraud-clients", "optional": True}
    assert volumes(made)["tls"]["secret"] == {"secretName": "fraud-tls", "optional": True}
    found = mounts(made, "server")
    assert str(settings.auth_file) == found["clients"]["mountPath"] + "/clients"
    assert str(settings.tls_cert) == found["tls"]["mountPath"] + "/tls.crt"
    assert str(settings.tls_key) == found["tls"]["mountPath"] + "/tls.key"
    assert settings.tls_client_ca is None  # cert-manager writes a ca.crt whether clients have certificates or not


def test_they_follow_the_secret_are_not_written_to_and_not_given_to_who_fetches() -> None:
    made = template(**GUARDED)
    for name in ("clients", "tls"):
        mount = mounts(made, "server")[name]
        assert mount["readOnly"] is True
        assert "subPath" not in mount
        assert name not in mounts(made, "fetch")


def test_certificates_of_clients_are_asked_for_where_the_spec_says_so() -> None:
    settings = parse(server(tls={**GUARDED["tls"], "clientCertificates": "Require"})["args"][1:], {})

    assert str(settings.tls_client_ca) == "/etc/tidegate/tls/ca.crt"


# -- an encrypted bundle

AGE = SecretKeyRef(name="model-key", key="fraud.key")
SIZE = 700 * 2**20


def sealed(**runtime: Any) -> dict[str, Any]:
    return template(record(plain_bytes=SIZE, runtime=runtime_of(**runtime)), key=AGE)


def test_an_encrypted_bundle_is_decrypted_by_the_init_step_and_served_from_memory() -> None:
    made = sealed()
    parser = argparse.ArgumentParser()
    fetch.add_arguments(parser)
    given = parser.parse_args(container(made, "fetch")["args"][1:])

    assert str(given.directory) == "/bundles/model"
    assert str(given.plain) == flags(container(made, "server")["args"])["bundle"] == "/plain/model"
    assert volumes(made)["plain"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "700Mi"}
    assert mounts(made, "fetch")["plain"] == {"name": "plain", "mountPath": "/plain"}
    assert mounts(made, "server")["plain"] == {"name": "plain", "mountPath": "/plain", "readOnly": True}


def test_only_the_init_step_gets_the_one_key_of_the_secret_and_the_server_not_even_the_ciphertext() -> None:
    made = sealed()
    arguments = flags(container(made, "fetch")["args"])

    assert volumes(made)["decryption"]["secret"] == {
        "secretName": "model-key", "optional": True, "items": [{"key": "fraud.key", "path": "fraud.key"}],
    }  # fmt: skip
    mount = mounts(made, "fetch")["decryption"]
    assert mount["readOnly"] is True
    assert arguments["identity"] == mount["mountPath"] + "/fraud.key"
    assert "identity" not in flags(container(made, "server")["args"])
    assert mounts(made, "server").keys() & {"decryption", "bundles"} == set()


def test_no_volume_that_a_server_of_an_encrypted_bundle_writes_to_is_on_a_disk() -> None:
    made = sealed(**GPU | {"device": "tensorrt"})
    writable = {name for name, mount in mounts(made, "server").items() if not mount.get("readOnly")}

    assert {name: volumes(made)[name]["emptyDir"].get("medium") for name in writable} == {"tmp": "Memory"}
    assert "engine-cache" not in flags(container(made, "server")["args"])
    assert "engines" not in volumes(made)


def test_memory_counts_the_plain_text_besides_what_the_spec_gives() -> None:
    made = sealed(resources={"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1.5Gi"}})

    # A pod has as much as the largest of its init steps; what that wrote stays the pod's, and is not the server's.
    assert container(made, "fetch")["resources"] == {
        "requests": {"cpu": "1", "memory": "1724Mi"}, "limits": {"memory": "2236Mi"},
    }  # fmt: skip
    assert container(made, "server")["resources"]["limits"] == {"memory": "1.5Gi"}


def test_without_a_request_of_memory_none_is_made_for_the_plain_text() -> None:
    made = sealed(resources={"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}})

    assert container(made, "fetch")["resources"] == {"requests": {"cpu": "1"}, "limits": {"memory": "1724Mi"}}


def test_the_ciphertext_lies_on_a_shared_volume_as_any_bundle_does() -> None:
    cache = {"persistentVolumeClaim": {"claimName": "models"}}
    made = template(record(plain_bytes=SIZE, runtime=runtime_of(cache=cache)), key=AGE)

    place = "/bundles/" + record().resolution.digest.removeprefix("sha256:")
    assert container(made, "fetch")["args"][2] == place
    assert flags(container(made, "fetch")["args"])["plain"] == "/plain/model"


def test_a_key_for_a_bundle_that_is_not_encrypted_changes_nothing() -> None:
    assert template(key=AGE) == template()
