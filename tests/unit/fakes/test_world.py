"""The stand-ins for controllers and nodes do what real ones do, at the time that the test sets."""

from __future__ import annotations

import json

import pytest
from tests.fakes.apiserver import FakeApi
from tests.fakes.behaviours import Servers, Trouble, bundle, refused
from tests.fakes.controllers import World
from tests.fakes.fields import Object

from tidegate.cluster.errors import Refused
from tidegate.cluster.failures import failure_of_controller, failure_of_pod
from tidegate.plan.manifests.identity import AUTOSCALER, BUDGET, DEPLOYMENT, JOB, MODEL_DEPLOYMENT, POD

from .words import HERE, URI, autoscaler, named, resolve, servers


@pytest.fixture
def world() -> World:
    return World(FakeApi().cluster)


def create(world: World, obj: Object) -> Object:
    return world.cluster.create(obj, "test")


def pods(world: World) -> list[Object]:
    return world.cluster.listed(POD)


def ready(world: World) -> int:
    return sum(
        ("Ready", "True") in {(c["type"], c["status"]) for c in p["status"].get("conditions", [])} for p in pods(world)
    )


def status(world: World) -> Object:
    found = world.cluster.find(DEPLOYMENT, HERE, "fraud-v1")
    assert found is not None
    return dict(found["status"])


def condition(world: World, kind: str) -> tuple[str, str]:
    return next((one["status"], one["reason"]) for one in status(world)["conditions"] if one["type"] == kind)


# -- servers ------------------------------------------------------------------------------------------


def test_pods_come_up_when_their_time_has_come(world: World) -> None:
    world.servers[URI] = Servers(ready_after=30)
    create(world, servers(3))
    world.settle()
    assert (len(pods(world)), ready(world)) == (3, 0)

    world.pass_time(29)
    assert ready(world) == 0
    world.pass_time(1)

    assert ready(world) == 3
    assert status(world)["readyReplicas"] == 3
    assert condition(world, "Progressing") == ("True", "NewReplicaSetAvailable")


def test_a_world_at_rest_changes_nothing(world: World) -> None:
    create(world, servers(2))
    create(world, autoscaler(1, 3))
    world.settle()
    before = world.cluster.objects.version

    world.pass_time(600, pace=60)

    assert world.cluster.objects.version == before


def test_only_so_many_become_ready_and_those_that_were_can_stop(world: World) -> None:
    world.servers["v1"] = Servers(most_ready=1)
    create(world, servers(3))
    world.settle()
    assert ready(world) == 1

    world.servers["v1"].trouble = Trouble.NEVER_READY
    world.settle()

    assert ready(world) == 0
    assert condition(world, "Available") == ("False", "MinimumReplicasUnavailable")


@pytest.mark.parametrize(
    ("trouble", "reason", "at_last"),
    [
        (Trouble.IMAGE_PULL, "ImagePull", "ImagePull"),
        (Trouble.CRASH_LOOP, "ModelInvalid", "ModelInvalid"),
        (Trouble.INIT_FAILS, "ModelInvalid", "ModelInvalid"),
        (Trouble.OUT_OF_MEMORY, "OutOfMemory", "CrashLoop"),
        (Trouble.NO_SECRET, "SecretMissing", "SecretMissing"),
        (Trouble.UNSCHEDULABLE, "Unschedulable", "Unschedulable"),
    ],
)
def test_a_pod_in_trouble_says_so_as_a_node_would(world: World, trouble: Trouble, reason: str, at_last: str) -> None:
    world.servers[URI] = Servers(trouble=trouble)
    world.servers[URI].says("ModelInvalid", "it is no model")
    create(world, servers(1))

    for seconds, expected in ((0, reason), (1, reason), (600, at_last)):
        world.pass_time(seconds, pace=10)
        world.settle()
        failure = failure_of_pod(pods(world)[0])
        assert failure is not None
        assert failure.reason == expected
    assert ready(world) == 0


def test_a_pod_recovers_when_its_trouble_is_over(world: World) -> None:
    world.servers[URI] = Servers(trouble=Trouble.CRASH_LOOP)
    create(world, servers(1))
    world.pass_time(100, pace=10)
    restarts = pods(world)[0]["status"]["containerStatuses"][0]["restartCount"]
    assert restarts == 3

    world.servers[URI].trouble = Trouble.NONE
    world.settle()

    assert (ready(world), failure_of_pod(pods(world)[0])) == (1, None)


def test_pods_that_the_quota_forbids_are_not_made_and_the_deployment_says_why(world: World) -> None:
    world.servers[URI] = Servers(trouble=Trouble.QUOTA)
    create(world, servers(1))
    world.settle()

    failure = failure_of_controller(status(world)["conditions"])

    assert pods(world) == []
    assert failure is not None
    assert failure.reason == "QuotaExceeded"


def test_a_policy_may_refuse_pods(world: World) -> None:
    def deny(pod: Object) -> None:
        raise Refused('violates PodSecurity "restricted:latest"')

    world.pod_admission.append(deny)
    create(world, servers(1))
    world.settle()

    failure = failure_of_controller(status(world)["conditions"])

    assert failure is not None
    assert failure.reason == "AdmissionDenied"


def test_a_deployment_without_progress_says_so_after_its_deadline(world: World) -> None:
    world.servers[URI] = Servers(trouble=Trouble.NEVER_READY)
    create(world, servers(1))

    world.pass_time(590, pace=10)
    assert condition(world, "Progressing") == ("True", "ReplicaSetUpdated")
    world.pass_time(30, pace=10)

    assert condition(world, "Progressing") == ("False", "ProgressDeadlineExceeded")


def test_a_full_cluster_leaves_the_rest_waiting(world: World) -> None:
    world.room = 2
    create(world, servers(3))
    world.settle()
    assert (len(pods(world)), ready(world)) == (3, 2)

    world.room = 3
    world.settle()

    assert ready(world) == 3


def test_a_pod_that_drains_is_counted_no_more_and_stays_for_its_time(world: World) -> None:
    world.servers[URI] = Servers(stop_after=20)
    create(world, servers(2))
    world.settle()
    world.cluster.scale(DEPLOYMENT, HERE, "fraud-v1", 1, "test")
    world.settle()
    assert (len(pods(world)), status(world)["replicas"], status(world)["terminatingReplicas"]) == (2, 1, 1)

    world.pass_time(20)

    assert len(pods(world)) == 1


def test_evicted_pods_are_replaced(world: World) -> None:
    create(world, servers(2))
    world.settle()
    before = {pod["metadata"]["uid"] for pod in pods(world)}

    FakeApi(world.cluster).users.evict(HERE, "app=fraud-v1")
    world.settle()

    assert len(pods(world)) == ready(world) == 2
    assert not before & {pod["metadata"]["uid"] for pod in pods(world)}


def test_a_pod_says_which_image_its_node_pulled(world: World) -> None:
    create(world, servers(1))
    world.settle()

    image = pods(world)[0]["status"]["containerStatuses"][0]["imageID"]

    assert image == f"registry.example/runtime@{world.image_digest}"


def test_controllers_may_be_stopped(world: World) -> None:
    world.stopped.add("deployments")
    create(world, servers(1))
    world.settle()
    assert pods(world) == []

    world.stopped.clear()
    world.settle()

    assert ready(world) == 1


# -- jobs -----------------------------------------------------------------------------------------------


def told(world: World) -> tuple[int, Object]:
    """Exit code and message of the Job's only pod."""
    ended = pods(world)[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    return ended["exitCode"], json.loads(ended["message"])


def ending(world: World) -> dict[str, str]:
    found = world.cluster.find(JOB, HERE, "resolve")
    assert found is not None
    return {one["type"]: one["reason"] for one in found["status"].get("conditions", [])}


def test_a_job_answers_with_what_the_store_holds(world: World) -> None:
    world.bundles[URI] = bundle(URI, version="1.4.0")
    create(world, resolve())
    world.settle()

    code, answer = told(world)

    assert (code, answer["version"], answer["signature"]) == (0, "1.4.0", "Missing")
    assert ending(world) == {"SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "NotFound"),
        (("s3://models/odd",), "ManifestInvalid"),
        ((URI, "--digest", "sha256:" + "0" * 64), "DigestMismatch"),
        ((URI, "--public-key", "/key"), "SignatureMissing"),
    ],
)
def test_a_job_that_cannot_answer_says_why(world: World, words: tuple[str, ...], reason: str) -> None:
    world.bundles["s3://models/odd"] = refused("ManifestInvalid")
    if words and words[0] == URI:
        world.bundles[URI] = bundle(URI)
    create(world, resolve(*words))
    world.settle()

    code, answer = told(world)

    assert (code, answer["reason"]) == (1, reason)
    assert ending(world)["Failed"] == "BackoffLimitExceeded"


def test_a_proved_signature_is_told(world: World) -> None:
    world.bundles[URI] = bundle(URI, signature="Present")
    create(world, resolve(URI, "--public-key", "/key"))
    world.settle()

    assert told(world)[1]["signature"] == "Verified"


def test_a_mounted_claim_is_looked_up_by_its_address(world: World) -> None:
    world.bundles["pvc://models/fraud"] = bundle("pvc://models/fraud")
    create(world, resolve("file:///mnt/bundles/models/fraud"))
    world.settle()

    assert told(world)[0] == 0


def test_a_slow_job_is_waited_for_and_one_beyond_its_deadline_fails(world: World) -> None:
    world.bundles[URI] = bundle(URI)
    world.bundles[URI].after = 100
    create(world, resolve(activeDeadlineSeconds=50))
    world.settle()
    assert pods(world)[0]["status"]["phase"] == "Running"

    world.pass_time(50)

    assert ending(world)["Failed"] == "DeadlineExceeded"
    assert pods(world) == []


def test_a_finished_job_goes_after_its_time_and_its_pod_with_it(world: World) -> None:
    world.bundles[URI] = bundle(URI)
    create(world, resolve(ttlSecondsAfterFinished=60))
    world.settle()

    world.pass_time(59)
    assert ending(world)
    world.pass_time(1)

    assert world.cluster.find(JOB, HERE, "resolve") is None
    assert pods(world) == []


# -- autoscalers and budgets --------------------------------------------------------------------------------


def test_an_autoscaler_follows_the_load_within_its_bounds(world: World) -> None:
    create(world, servers(1))
    create(world, autoscaler(2, 4))
    world.settle()
    assert ready(world) == 2

    world.load["v1"] = 9
    world.settle()
    assert ready(world) == 4

    world.metrics_dead = True
    world.load["v1"] = 1
    world.settle()
    assert ready(world) == 4
    found = world.cluster.find(AUTOSCALER, HERE, "fraud-v1")
    assert found is not None
    assert ("ScalingActive", "False") in {(one["type"], one["status"]) for one in found["status"]["conditions"]}


def test_an_autoscaler_never_wakes_what_was_scaled_to_zero(world: World) -> None:
    create(world, servers(0))
    create(world, autoscaler(2, 4))
    world.settle()

    assert pods(world) == []


def test_a_budget_counts_what_may_go(world: World) -> None:
    create(world, servers(2))
    create(
        world,
        {**named(BUDGET, "fraud-v1"), "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "fraud-v1"}}}},
    )
    world.settle()

    found = world.cluster.find(BUDGET, HERE, "fraud-v1")

    assert found is not None
    assert (found["status"]["currentHealthy"], found["status"]["disruptionsAllowed"]) == (2, 1)


# -- the end ------------------------------------------------------------------------------------------------


def test_an_ended_namespace_is_empty_in_the_end(world: World) -> None:
    users = FakeApi(world.cluster).users
    users.deploy("fraud", {"bundle": {"uri": URI}}, HERE)
    create(world, servers(2))
    world.settle()

    users.end_namespace(HERE)
    world.settle()

    assert [kind for kind in (MODEL_DEPLOYMENT, DEPLOYMENT, POD) if world.cluster.listed(kind)] == []
