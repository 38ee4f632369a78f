"""The simulated cluster of the other tests does what they rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.control_plane import simulation as sim
from tests.control_plane.audit import counted
from tests.control_plane.client import ApiError, Client
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.control_plane.statuses import Ended
from tests.control_plane.users import STRANGER
from tests.runtime import small_bundles as small
from tests.waiting import wait_until

from tidegate.bundle.manifest import read_bundle_dir

IMAGE = "registry.example.com/tidegate-runtime:test"


@pytest.fixture
def client(control_plane: Plane) -> Client:
    return control_plane.client


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return small.write_bundle(tmp_path / "bundle", small.linear(), small.linear_samples())


def deployment(
    namespace: str, pod: Object, annotations: Mapping[str, str] | None = None, *, replicas: int = 1
) -> Object:
    name, labels = "fraud", {"app": "fraud"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": dict(annotations or {})}, "spec": pod},
        },
    }


def simple_pod(**container: Any) -> Object:
    return {
        "initContainers": [{"name": "fetch", "image": IMAGE}],
        "containers": [{"name": "server", "image": IMAGE, **container}],
    }


def job(namespace: str, name: str, *words: str, **container: Any) -> Object:
    resolve = {"name": "resolve", "image": IMAGE, "args": [*words, "--termination-log", "/dev/termination-log"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [{**resolve, **container}]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": template},
    }


def claimed(namespace: str, name: str, folder: Path) -> list[Object]:
    """A volume that is a folder of this machine, and the claim that gets it."""
    spec = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    volume = {**spec, "capacity": {"storage": "1Gi"}, "hostPath": {"path": str(folder)}}
    volume["claimRef"] = {"namespace": namespace, "name": name}
    claim = {**spec, "resources": {"requests": {"storage": "1Gi"}}, "volumeName": f"{namespace}-{name}"}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": claim["volumeName"]}, "spec": volume},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": claim,
        },
    ]


def serving_pod(bundle: Path) -> Object:
    """What the operator makes of a small bundle, in short."""
    bundles = {"name": "bundles", "mountPath": "/bundles"}
    token = {"serviceAccountToken": {"audience": "tidegate", "path": "token"}}
    fetch = ["fetch", bundle.as_uri(), "/bundles/model", "--termination-log", "/dev/termination-log"]
    serve = ["serve", "--bundle", "/bundles/model", "--name", "fraud", "--drain-delay", "0ms"]
    return {
        "initContainers": [{"name": "fetch", "image": IMAGE, "args": fetch, "volumeMounts": [bundles]}],
        "containers": [
            {
                "name": "server",
                "image": IMAGE,
                "args": [*serve, "--internal-token-file", "/token/token", "--termination-log", "/dev/termination-log"],
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9090}},
                "volumeMounts": [bundles, {"name": "token", "mountPath": "/token"}],
            }
        ],
        "volumes": [{"name": "bundles", "emptyDir": {}}, {"name": "token", "projected": {"sources": [token]}}],
    }


def the_pod(client: Client, namespace: str, holds: Callable[[Object], Any]) -> Object:
    """The only pod of a namespace, once `holds` is true of it."""
    found: list[Object] = []

    def look() -> Object | None:
        found[:] = client.list("pods", namespace)
        return next((pod for pod in found if holds(pod)), None)

    return wait_until(look, lambda: json.dumps([pod.get("status") for pod in found]))


def container_of(pod: Object) -> Object:
    rows = pod.get("status", {}).get("containerStatuses") or [{}]
    return dict(rows[0])


def waiting_reason(row: Object) -> str:
    return str(row.get("state", {}).get("waiting", {}).get("reason", ""))


def is_ready(pod: Object) -> bool:
    return bool(container_of(pod).get("ready"))


def ready_replicas(count: int) -> Callable[[Object], bool]:
    return lambda found: found["status"].get("readyReplicas", 0) == count


def test_the_whole_cluster_is_there_within_seconds(control_plane: Plane) -> None:
    assert control_plane.client.text("/readyz") == "ok"
    assert control_plane.seconds["nodes"] < 30, control_plane.seconds  # 4 s on an idle machine


def test_our_kind_is_served_with_its_rules(client: Client, namespace: str) -> None:
    wanted = {
        "apiVersion": "serving.tidegate.io/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "fraud", "namespace": namespace},
        "spec": {"bundle": {"uri": "s3://models/fraud/1"}},
    }

    made = client.create(wanted)

    assert made["spec"]["scaling"]["minReplicas"] == 1, "defaults come from the schema"
    with pytest.raises(ApiError) as refused:
        client.create(wanted | {"metadata": {"name": "bad", "namespace": namespace}, "spec": {"bundle": {"uri": "x"}}})
    assert refused.value.reason == "Invalid"


def test_pods_of_a_deployment_become_ready_with_addresses_of_their_own(client: Client, namespace: str) -> None:
    client.create(deployment(namespace, simple_pod(), replicas=3))

    client.until("deployments", namespace, "fraud", ready_replicas(3))

    addresses = {pod["status"]["podIP"] for pod in client.list("pods", namespace)}
    assert len(addresses) == 3
    assert all(address.startswith("127.") for address in addresses)


def test_a_pod_that_takes_long_runs_before_it_is_ready(client: Client, namespace: str) -> None:
    client.create(deployment(namespace, simple_pod(), {sim.AFTER: "300ms"}))

    starting = the_pod(client, namespace, lambda pod: "running" in container_of(pod).get("state", {}))
    ready = the_pod(client, namespace, is_ready)

    assert not is_ready(starting)
    assert ready["status"]["podIP"] == starting["status"]["podIP"]


def test_a_pod_may_be_told_never_to_be_ready_and_later_to_recover(client: Client, namespace: str) -> None:
    client.create(deployment(namespace, simple_pod(), {sim.MODE: "never-ready"}))
    pod = the_pod(client, namespace, lambda pod: "running" in container_of(pod).get("state", {}))
    assert not is_ready(pod)

    client.patch("pods", namespace, pod["metadata"]["name"], {"metadata": {"annotations": {sim.MODE: None}}})

    the_pod(client, namespace, is_ready)


def test_a_crash_shows_how_the_container_ended(client: Client, namespace: str) -> None:
    words = json.dumps({"reason": "GoldenMismatch"})
    told = {sim.MODE: "crash", sim.REASON: "Error", sim.EXIT_CODE: "1", sim.MESSAGE: words}
    client.create(deployment(namespace, simple_pod(), told))

    row = container_of(the_pod(client, namespace, container_of))

    ended = row["lastState"]["terminated"]
    assert waiting_reason(row) == "CrashLoopBackOff"
    assert (ended["reason"], ended["exitCode"], ended["message"]) == ("Error", 1, words)


def test_a_crash_is_for_want_of_memory_unless_it_is_said(client: Client, namespace: str) -> None:
    client.create(deployment(namespace, simple_pod(), {sim.MODE: "crash"}))

    ended = container_of(the_pod(client, namespace, container_of))["lastState"]["terminated"]

    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


@pytest.mark.parametrize(
    ("mode", "reason"), [("image-pull-error", "ImagePullBackOff"), ("init-crash", "CrashLoopBackOff")]
)
def test_an_init_container_may_fail(client: Client, namespace: str, mode: str, reason: str) -> None:
    client.create(deployment(namespace, simple_pod(), {sim.MODE: mode}))

    pod = the_pod(client, namespace, container_of)

    assert waiting_reason(pod["status"]["initContainerStatuses"][0]) == reason
    assert waiting_reason(container_of(pod)) == "PodInitializing"


def test_a_pod_that_fits_no_node_is_unschedulable(client: Client, namespace: str) -> None:
    client.create(deployment(namespace, simple_pod(resources={"limits": {"nvidia.com/gpu": "100"}})))

    pod = the_pod(client, namespace, lambda pod: pod["status"].get("conditions"))

    assert pod["status"]["conditions"][0]["reason"] == "Unschedulable"


def test_a_job_runs_the_real_command_with_its_secret(client: Client, namespace: str, bundle: Path) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store", "namespace": namespace}}
    source = [{"secretRef": {"name": "store"}}]
    client.create(job(namespace, "resolve", "resolve", bundle.as_uri(), envFrom=source))
    the_pod(client, namespace, lambda pod: waiting_reason(container_of(pod)) == "CreateContainerConfigError")

    client.create(secret | {"stringData": {"AWS_REGION": "eu-central-1"}})

    client.until("jobs", namespace, "resolve", lambda found: found["status"].get("succeeded") == 1)
    row = container_of(client.list("pods", namespace)[0])
    answer = json.loads(row["state"]["terminated"]["message"])
    assert answer["digest"] == read_bundle_dir(bundle).digest
    assert row["imageID"].startswith("registry.example.com/tidegate-runtime@sha256:")


def test_a_job_reads_a_bundle_from_a_claim(client: Client, namespace: str, bundle: Path) -> None:
    for obj in claimed(namespace, "bundles", bundle.parent):
        client.create(obj)
    mounts = [{"name": "bundles", "mountPath": "/mnt/bundles"}]
    volumes = [{"name": "bundles", "persistentVolumeClaim": {"claimName": "bundles"}}]
    wanted = job(namespace, "resolve", "resolve", "file:///mnt/bundles/bundle", volumeMounts=mounts)
    wanted["spec"]["template"]["spec"]["volumes"] = volumes

    client.create(wanted)

    client.until("jobs", namespace, "resolve", lambda found: found["status"].get("succeeded") == 1)


def test_a_job_that_fails_tells_why(client: Client, namespace: str, tmp_path: Path) -> None:
    client.create(job(namespace, "resolve", "resolve", (tmp_path / "nothing").as_uri()))

    client.until("jobs", namespace, "resolve", lambda found: found["status"].get("failed") == 1)

    ended = container_of(client.list("pods", namespace)[0])["state"]["terminated"]
    assert ended["exitCode"] == 1
    assert json.loads(ended["message"])["reason"] == "NotFound"


def test_a_job_may_be_answered_without_a_process(control_plane: Plane, client: Client, namespace: str) -> None:
    assert control_plane.player is not None
    control_plane.player.answer_jobs(namespace, lambda pod: Ended(5, pod["metadata"]["labels"]["job-name"]))

    client.create(job(namespace, "quick", "resolve", "s3://models/fraud/1"))

    client.until("jobs", namespace, "quick", lambda found: found["status"].get("failed") == 1)
    assert container_of(client.list("pods", namespace)[0])["state"]["terminated"]["message"] == "quick"


def test_a_real_server_answers_on_its_pods_address_and_drains_when_the_pod_is_deleted(
    control_plane: Plane, client: Client, namespace: str, bundle: Path
) -> None:
    assert control_plane.player is not None
    client.create(deployment(namespace, serving_pod(bundle), {sim.MODE: sim.REAL}))
    pod = the_pod(client, namespace, is_ready)
    process = control_plane.player.process_of(namespace, pod["metadata"]["name"])

    with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8080/v2/models/fraud", timeout=5) as answer:
        assert json.load(answer)["name"] == "fraud"

    client.delete("deployments", namespace, "fraud")
    client.until_gone("pods", namespace, pod["metadata"]["name"])
    assert process.process.returncode == 0


def test_a_real_server_that_dies_is_started_again(
    control_plane: Plane, client: Client, namespace: str, bundle: Path
) -> None:
    assert control_plane.player is not None
    client.create(deployment(namespace, serving_pod(bundle), {sim.MODE: sim.REAL}))
    pod = the_pod(client, namespace, is_ready)

    os.kill(control_plane.player.process_of(namespace, pod["metadata"]["name"]).pid, signal.SIGKILL)

    died = the_pod(client, namespace, lambda pod: waiting_reason(container_of(pod)) == "CrashLoopBackOff")
    assert container_of(died)["lastState"]["terminated"]["exitCode"] == 137
    assert container_of(the_pod(client, namespace, is_ready))["restartCount"] == 1


def test_a_real_server_that_refuses_its_bundle_says_so(client: Client, namespace: str, tmp_path: Path) -> None:
    damaged = small.write_bundle(tmp_path / "b", small.linear(small.WEIGHTS * 2), small.linear_samples())
    client.create(deployment(namespace, serving_pod(damaged), {sim.MODE: sim.REAL}))

    pod = the_pod(client, namespace, lambda pod: waiting_reason(container_of(pod)) == "CrashLoopBackOff")

    ended = container_of(pod)["lastState"]["terminated"]
    assert json.loads(ended["message"])["reason"] == "GoldenMismatch"


def test_requests_are_counted_by_who_made_them(control_plane: Plane, client: Client, namespace: str) -> None:
    mark = control_plane.audit.mark()
    made = client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": namespace}})
    client.put({**made, "data": {"a": "b"}})
    client.list("configmaps", namespace)
    client.delete("configmaps", namespace, "a")

    writes = control_plane.audit.writes(mark, user="admin", namespace=namespace)

    assert counted(writes) == {("create", "configmaps"): 1, ("update", "configmaps"): 1, ("delete", "configmaps"): 1}
    assert counted(control_plane.audit.reads(mark, namespace=namespace, resource="configmaps")) == {
        ("list", "configmaps"): 1
    }


def test_a_user_without_a_role_may_do_nothing(control_plane: Plane, namespace: str) -> None:
    with pytest.raises(ApiError) as refused:
        control_plane.client_of(STRANGER).list("pods", namespace)
    assert refused.value.reason == "Forbidden"


def test_a_token_of_an_account_is_signed_by_the_published_keys(client: Client, namespace: str) -> None:
    import jwt

    token = client.token(namespace, "default", "tidegate")

    keys = jwt.PyJWKSet.from_dict(client.request("GET", "/openid/v1/jwks"))
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key.key, ["RS256"], audience="tidegate", issuer="https://kubernetes.default.svc")
    assert claims["sub"] == f"system:serviceaccount:{namespace}:default"


def test_everything_ends_with_the_test_run_even_when_it_is_killed(tmp_path: Path) -> None:
    program = "import signal, sys; from pathlib import Path; from tests.control_plane.children import Children\n"
    program += "group = Children(Path(sys.argv[1])); child = group.start('sleeper', ['sleep', '600'], {})\n"
    program += "print(child.pid, flush=True); signal.pause()"
    run = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert run.stdout is not None
    pid = int(run.stdout.readline())

    run.send_signal(signal.SIGKILL)
    run.wait()

    run.stdout.close()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), lambda: f"{pid} gone")
