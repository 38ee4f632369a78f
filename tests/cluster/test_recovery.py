"""What stood in the way is gone, or comes in the middle of a rollout: what happens by itself, and what never does."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from tests.cluster import faults
from tests.cluster.faults import BAD, GOOD, bad_is, last_words
from tests.cluster.operating import GROUP, Operator, Site, condition, fact, serves, weight
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object, resource_of
from tests.control_plane.simulation import REASON
from tests.control_plane.users import OPERATOR
from tests.local.local_run import bundles
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
AT_ONCE: Object = {"steps": []}
MANUAL: Object = {"steps": [{"weight": 50, "hold": "manual"}]}
NOW = "2026-01-01T00:00:00Z"


@pytest.fixture
def site(operator: Operator, without_pods: Site, control_plane: Plane, namespace: str) -> Site:
    found = Site(control_plane, namespace)
    faults.answer_jobs(found, bad_is({}))
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def without_pods(operator: Operator, control_plane: Plane) -> Site:
    """Ten seconds go by until a Job without pods is told: they begin with the module."""
    found = Site(control_plane, control_plane.new_namespace())
    faults.quota(found, pods="0")
    found.simulate(GOOD)
    return found


# -- a Secret


@pytest.fixture
def guarded(operator: Operator, control_plane: Plane, namespace: str, store: Path) -> Site:
    """Real Jobs and servers, whose store wants credentials."""
    found = Site(control_plane, namespace)
    found.mount(store)
    return found


def keys(site: Site, value: str) -> None:
    data = {"AWS_ACCESS_KEY_ID": base64.b64encode(value.encode()).decode()}
    meta = {"name": "keys", "namespace": site.namespace}
    site.plane.client.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data})


WITH_KEYS = {"uri": "pvc://models/v1", "secretRef": {"name": "keys"}}


def test_a_secret_that_comes_late_is_taken_up_at_once(guarded: Site) -> None:
    guarded.apply("v1", bundle=WITH_KEYS)
    found = guarded.until_reason("Stalled", "SecretMissing")
    assert "create it in this namespace" in fact(found, "Stalled")["message"]

    keys(guarded, "first")
    done = guarded.until_serving("v1")

    assert condition(done, "Stalled") == ""
    assert [job["metadata"]["name"][-2:] for job in guarded.children("jobs")] == ["-1"], "nobody had to ask again"


def test_fresh_servers_wait_for_a_secret_that_is_rotated_and_the_old_ones_serve(guarded: Site) -> None:
    keys(guarded, "first")
    guarded.apply("v1", bundle=WITH_KEYS, rollout=AT_ONCE)
    before = guarded.until_serving("v1")["status"]["stable"]["revision"]
    wait_until(lambda: f"{GROUP}/stable" in guarded.front()["metadata"]["annotations"], lambda: "it has settled")
    guarded.plane.client.delete("secrets", guarded.namespace, "keys")
    assert faults.writes_of_a_turn(guarded) == ["update modeldeployments/status"]

    guarded.command("restart", f"{before}@{NOW}")
    found = guarded.until_reason("Reconciling", "SecretMissing")
    assert serves(found, "v1")
    keys(guarded, "second")
    done = guarded.until(lambda one: one["status"]["stable"]["revision"] != before and serves(one, "v1"))

    assert [entry["outcome"] for entry in done["status"]["history"]] == ["Promoted", "Promoted"]


# -- an image


def test_the_image_of_the_job_is_mended_by_an_edit(site: Site) -> None:
    sound = bad_is({})
    faults.answer_jobs(site, lambda pod: "hold" if "wrong" in pod["spec"]["containers"][0]["image"] else sound(pod))
    site.simulate(GOOD, runtime={"image": "registry.example.com/wrong:1"})
    faults.cannot_start(site, faults.reading_pod(site), "ImagePullBackOff", "manifest unknown")
    found = site.until_reason("Stalled", "ImagePull")
    assert "registry.example.com/wrong:1 cannot be pulled: manifest unknown" in fact(found, "Ready")["message"]

    site.simulate(GOOD, runtime={"image": "registry.example.com/right:1"})
    site.until_serving(GOOD)

    assert "registry.example.com/right" in site.servers()[0]["spec"]["containers"][0]["image"]


def test_the_image_of_the_servers_is_mended_by_an_edit(site: Site) -> None:
    site.simulate(GOOD, rollout=AT_ONCE)
    site.until_serving(GOOD)
    broken = {"image": "registry.example.com/wrong:1", **faults.servers_are("image-pull-error")["runtime"]}
    site.simulate(GOOD, rollout=AT_ONCE, runtime=broken)
    held = site.until_reason("Reconciling", "ImagePull")
    assert serves(held, GOOD)

    site.simulate(GOOD, rollout=AT_ONCE, runtime={"image": "registry.example.com/right:1"})
    site.until_serving(GOOD)

    wait_until(lambda: len(site.servers()) == 1, lambda: "the others go")
    assert "registry.example.com/right" in site.servers()[0]["spec"]["containers"][0]["image"]


def test_pull_secrets_are_another_chance_for_the_same_image(site: Site) -> None:
    sound = bad_is({})
    faults.answer_jobs(site, lambda pod: sound(pod) if pod["spec"].get("imagePullSecrets") else "hold")
    site.simulate(GOOD)
    faults.cannot_start(site, faults.reading_pod(site), "ErrImagePull", "denied")
    site.until_reason("Stalled", "ImagePull")

    site.simulate(GOOD, runtime={"pod": {"imagePullSecrets": [{"name": "registry"}]}})

    site.until_serving(GOOD)


def test_content_that_changed_under_its_address_does_not_follow_with_another_image(site: Site) -> None:
    site.simulate(GOOD, rollout=AT_ONCE)
    site.until_serving(GOOD)
    faults.answer_jobs(site, lambda _: last_words("DigestMismatch", "s3://models/good: other bytes: push it again"))

    site.simulate(GOOD, rollout=AT_ONCE, runtime={"image": "registry.example.com/other:1"})
    found = site.until_reason("Stalled", "SourceChanged")

    assert serves(found, GOOD)
    assert found["status"]["rejected"][-1]["class"] == "Content"


# -- room


def test_servers_start_as_soon_as_there_is_room(site: Site) -> None:
    room = f"room-of-{site.namespace}"
    site.simulate(GOOD, runtime={"pod": {"nodeSelector": {room: "yes"}}})
    site.until_reason("Reconciling", "Unschedulable")

    site.plane.client.patch("nodes", "", "sim-2", {"metadata": {"labels": {room: "yes"}}})

    site.until_serving(GOOD)


def test_servers_start_as_soon_as_the_quota_is_raised(site: Site) -> None:
    faults.no_memory(site)
    site.simulate(GOOD)
    site.until_reason("Reconciling", "QuotaExceeded")

    faults.quota(site, **{"limits.memory": "8Gi"})

    site.until_serving(GOOD)


def test_a_namespace_of_the_restricted_kind_takes_everything_of_ours(site: Site) -> None:
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    site.plane.client.patch("namespaces", "", site.namespace, label)

    site.simulate(GOOD, scaling={"minReplicas": 2, "maxReplicas": 3})

    site.until_serving(GOOD)
    assert faults.warnings(site) == []


# -- names


def test_a_predecessor_that_is_still_being_removed_is_waited_for(site: Site) -> None:
    site.simulate(GOOD)
    site.until_serving(GOOD)
    client, held = site.plane.client, {"metadata": {"finalizers": ["example.com/slow"]}}
    name = site.children("deployments")[0]["metadata"]["name"]
    client.patch("deployments", site.namespace, name, held)
    client.delete("modeldeployments", site.namespace, "fraud")
    wait_until(lambda: not site.children("services"), lambda: "its Services go")

    site.simulate(GOOD)
    found = site.until_reason("Reconciling", "Terminating")
    assert "an earlier fraud" in fact(found, "Reconciling")["message"]
    client.patch("deployments", site.namespace, name, {"metadata": {"finalizers": None}})

    site.until_serving(GOOD, 60)


@pytest.mark.parametrize("kind", ["Service", "ConfigMap", "NetworkPolicy", "Deployment", "ControllerRevision"])
def test_an_object_of_somebody_else_is_never_changed(site: Site, kind: str) -> None:
    named = {"Service": "fraud", "ConfigMap": "fraud-access", "NetworkPolicy": "fraud-network"}
    name = named.get(kind, f"fraud-{faults.revision_of(site, GOOD)}")
    before = faults.foreign(site, kind, name)

    site.simulate(GOOD, rollout={"progressDeadline": "1s"})
    site.until(lambda one: condition(one, "Ready") == "True" or condition(one, "Stalled"))
    wait_until(lambda: any("NameTaken" in one for one in faults.warnings(site)), lambda: "it is told")
    site.plane.client.delete("modeldeployments", site.namespace, "fraud")
    wait_until(lambda: not site.children("jobs"), lambda: "all of ours is collected")

    after = site.plane.client.read(resource_of(before).plural, site.namespace, name)
    for field in ("uid", "labels", "ownerReferences"):
        assert after["metadata"].get(field) == before["metadata"].get(field)
    assert {row["manager"] for row in after["metadata"]["managedFields"]} <= {"tests", "kube-controller-manager"}


# -- in the middle of a canary


def half_way(site: Site) -> Object:
    """The candidate's pod, when it gets half of the requests."""
    site.simulate(GOOD)
    site.until_serving(GOOD)
    site.simulate(BAD, rollout=MANUAL)
    held = site.until(lambda one: weight(one) == 50 and fact(one, "Reconciling").get("reason") == "WaitingForPromote")
    revision = held["status"]["candidate"]["revision"]
    return next(pod for pod in site.servers() if pod["metadata"]["labels"][f"{GROUP}/revision"] == revision)


def test_a_candidate_that_runs_out_of_memory_gets_nothing_while_it_starts_again(site: Site) -> None:
    pod = half_way(site)

    faults.fares_so(site, pod, "crash")
    held = site.until_reason("Reconciling", "OutOfMemory")
    assert serves(held, GOOD)
    assert weight(held) == 0
    faults.fares_so(site, pod, "ready")

    again = site.until(lambda one: weight(one) == 50)
    assert serves(again, GOOD)


@pytest.mark.parametrize("how", ["OOMKilled", "Error"])
def test_a_candidate_that_dies_again_and_again_is_sent_back(site: Site, how: str) -> None:
    pod = half_way(site)

    faults.fares_so(site, pod, "crash", **{REASON: how})
    site.until(lambda one: fact(one, "Reconciling").get("reason") in ("OutOfMemory", "ServerDied"))
    crashed = site.plane.client.read("pods", site.namespace, pod["metadata"]["name"])
    rows = [{**row, "restartCount": 3} for row in crashed["status"]["containerStatuses"]]
    faults.set_status(site, pod, containerStatuses=rows)
    found = site.until_reason("Stalled", "CrashLoop")

    assert serves(found, GOOD)
    assert "again and again" in fact(found, "Stalled")["message"]
    told = wait_until(lambda: faults.notes(site, "RolledBack"), lambda: "an event")
    assert [note.partition(":")[0] for note in told] == ["CrashLoop"]


# -- the Job that reads a bundle


def test_a_job_that_comes_to_no_end_is_given_up(site: Site) -> None:
    faults.answer_jobs(site, lambda _: "hold")
    site.simulate(GOOD)
    faults.reading_pod(site)

    job = site.children("jobs")[0]["metadata"]["name"]
    site.plane.client.patch("jobs", site.namespace, job, {"spec": {"activeDeadlineSeconds": 1}})
    found = site.until_reason("Stalled", "ResolveTimeout")

    assert f"kubectl describe job {job}" in fact(found, "Stalled")["message"]
    assert found["status"]["rejected"][-1]["class"] == "Environment"


# -- waiting


def test_a_paused_rollout_stands_still_and_goes_on(site: Site) -> None:
    site.simulate(GOOD, rollout=AT_ONCE)
    site.until_serving(GOOD)

    site.simulate(BAD, rollout=AT_ONCE, paused=True)
    held = site.until_reason("Reconciling", "Paused")
    assert serves(held, GOOD)
    assert fact(held, "Reconciling")["message"] == "spec.paused is true"
    site.simulate(BAD, rollout=AT_ONCE)

    site.until_serving(BAD)


def test_who_waits_writes_nothing(operator: Operator, control_plane: Plane) -> None:
    sites = [Site(control_plane, control_plane.new_namespace()) for _ in range(4)]
    refused, missing, crowded, asking = sites
    for site, found in (
        (refused, last_words("SignatureMissing", "sign it")),
        (missing, last_words("NotFound", "push")),
    ):
        faults.answer_jobs(site, bad_is(found))
        site.simulate(BAD)
    for site in (crowded, asking):
        faults.answer_jobs(site, bad_is({}))
        site.simulate(GOOD)
        site.until_serving(GOOD)
    crowded.simulate(BAD, runtime={"pod": {"nodeSelector": {"no-such": "node"}}})
    asking.simulate(BAD, rollout=MANUAL)
    refused.until_reason("Stalled", "SignatureMissing")
    missing.until_reason("Stalled", "NotFound")
    crowded.until_reason("Reconciling", "Unschedulable")
    asking.until_reason("Reconciling", "WaitingForPromote")

    mark = control_plane.audit.mark()

    def renewals() -> list[str]:
        return [one.at for one in control_plane.audit.writes(mark, user=OPERATOR.name, resource="leases")]

    wait_until(lambda: len(renewals()) >= 3, lambda: "leases are renewed every two seconds")
    began = renewals()[0]

    for site in sites:
        writes = control_plane.audit.writes(mark, user=OPERATOR.name, namespace=site.namespace)
        assert [one for one in writes if one.at > began] == []


def test_a_job_that_gets_no_pod_says_where_to_look(without_pods: Site) -> None:
    found = without_pods.until_reason("Stalled", "PodsRefused")

    assert "often a quota or an admission rule" in fact(found, "Stalled")["message"]
    assert len(wait_until(lambda: faults.notes(without_pods, "PodsRefused"), lambda: "an event")) == 1
