"""What only the operator can see: each thing as a first deployment, and as a change of a version that serves.

Each gives a reason, a sentence that says what to do, one event and, where it may pass by itself, a time at which it is
tried again.  The version that serves goes on serving, and the operator that waits writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import pytest
from tests.cluster import faults
from tests.cluster.faults import BAD, GOOD, bad_is, last_words, no_more, servers_are, servers_end
from tests.cluster.operating import Operator, Site, condition, fact, grant, serves
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.control_plane.statuses import Ended
from tests.unit.test_reasons import explained
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
MINUTE = timedelta(minutes=1)
BAR = {"acceptance": {"metrics": {"accuracy": {"min": 0.9}}}}
OTHER_INTERFACE = {"interface": {"inputs": [{"name": "text", "type": "BYTES", "shape": [1]}], "outputs": []}}


def nothing(_: Site) -> None:
    """There is nothing to be prepared."""


@dataclass(frozen=True)
class Case:
    """Why the version `bad` cannot serve, and what is said of it."""

    reason: str
    says: str
    lasting: bool = False  # class Content: not tried again by itself
    spec: Object = field(default_factory=dict)
    bundle: Ended | Object = field(default_factory=dict)
    prepare: Callable[[Site], object] = nothing


def told(reason: str, says: str, code: int = 1, *, lasting: bool = True) -> Case:
    """A Job that says so of the bundle."""
    return Case(reason, says, lasting, bundle=last_words(reason, f"s3://models/bad: {says}", code))


CASES: dict[str, Case] = {
    "the bundle is missing": told("NotFound", "push it first", lasting=False),
    "no access to the store": told("Denied", "check secretRef", lasting=False),
    "the store does not answer": told("Unreachable", "check AWS_ENDPOINT_URL", 5, lasting=False),
    "another digest": told("DigestMismatch", "push it again"),
    "no signature": told("SignatureMissing", "tidegate sign"),
    "another signature": told("SignatureOtherKey", "correct publicKeySecretRef"),
    "a broken signature": told("SignatureInvalid", "sign it again"),
    "no manifest": told("ManifestInvalid", "pack it again"),
    "no memory to read it": Case("OutOfMemory", "raise limits.memory", bundle=Ended(137)),
    "the reader dies": Case("ServerDied", "read its log", bundle=Ended(139)),
    "an answer of another version": Case("ResolveFailed", "of the operator's own version", bundle=Ended(0, "{}")),
    "a metric under the bar": Case("MetricBelowBound", "at least 0.9", True, BAR, {"metrics": {"accuracy": 0.5}}),
    "a metric that is not there": Case("MetricMissing", "accuracy", True, BAR),
    "no golden samples": Case("GoldenMissing", "Require", True, {"acceptance": {"golden": "Require"}}, {"golden": 0}),
    "another age key": told("DecryptionKeyWrong", "name the key of a recipient", lasting=False),
    "an encrypted bundle without a key": Case("BundleEncrypted", "name its age key", True, bundle={"plainBytes": 2**20}),
    "no quota for Jobs": Case("QuotaExceeded", "raise the quota", prepare=partial(no_more, plural="jobs", group="batch")),
    "Jobs are not admitted": Case("AdmissionDenied", "correct what the rule names", prepare=partial(faults.deny, kind="jobs")),
    "no image": Case("ImagePull", "correct runtime.image", spec=servers_are("image-pull-error")),
    "no memory to serve it": Case("OutOfMemory", "raise limits.memory", spec=servers_end(137, how="OOMKilled")),
    "servers die": Case("ServerDied", "kubectl logs --previous", spec=servers_end(139)),
    "servers do not get ready": Case("CandidateNotReady", "servers", spec=servers_are("never-ready")),
    "golden samples differ": Case(
        "GoldenMismatch", "pack again", True, servers_end(1, {"reason": "GoldenMismatch", "message": "y differs: pack again"}),
    ),
    "the source has changed": Case(
        "DigestMismatch", "push it", True,
        servers_end(1, {"reason": "DigestMismatch", "message": "a: push it"}, mode="init-crash"),
    ),
    "servers get no access": Case(
        "Denied", "check secretRef",
        spec=servers_end(1, {"reason": "Denied", "message": "a: check secretRef"}, mode="init-crash"),
    ),
    "no node has so many GPUs": Case(
        "GPUUnavailable", "waits for 16 nvidia.com/gpu", spec={"runtime": {"device": "cuda", "accelerator": {"count": 16}}}
    ),
    "no claim for the cache": Case(
        "MountMissing", "create the claim",
        spec={"runtime": {"cache": {"persistentVolumeClaim": {"claimName": "nowhere"}}}},
    ),
    "no such priority": Case("PodsRefused", "no PriorityClass", spec={"runtime": {"pod": {"priorityClassName": "high"}}}),
    "no quota for servers": Case("QuotaExceeded", "raise the quota", prepare=faults.no_memory),
    "no quota for Deployments": Case(
        "QuotaExceeded", "raise the quota", prepare=partial(no_more, plural="deployments", group="apps")
    ),
    "servers are not admitted": Case(
        "AdmissionDenied", "correct what the rule names", prepare=partial(faults.deny, kind=faults.SERVERS)
    ),
    "ReplicaSets are not admitted": Case(
        "AdmissionDenied", "correct what the rule names", prepare=partial(faults.deny, kind="replicasets")
    ),
    "a Deployment of its name": Case(
        "NameTaken", "remove it",
        prepare=lambda site: faults.foreign(site, "Deployment", f"fraud-{faults.revision_of(site, BAD)}"),
    ),
}  # fmt: skip
# What the Service in front cannot be made for.
FRONT: dict[str, Case] = {
    "a Service of its name": Case(
        "NameTaken", "remove it", prepare=partial(faults.foreign, kind="Service", name="fraud")
    ),
    "no quota for Services": Case("QuotaExceeded", "raise the quota", prepare=partial(faults.quota, services="0")),
}
LATER: dict[str, Case] = {
    "another interface": Case("InterfaceChanged", "input", True, bundle=OTHER_INTERFACE),
}  # fmt: skip


@pytest.fixture(scope="module")
def operator(control_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    grant(control_plane)
    faults.add_policy(control_plane)
    running = Operator(control_plane, tmp_path_factory.mktemp("operator")).start().leads()
    yield running
    running.stop()  # hands its lease over, so that the next one need not wait for it


@pytest.fixture(scope="module")
def mended(operator: Operator, control_plane: Plane) -> Site:
    """A bundle that is pushed after it was looked for; looking again takes a minute, which begins with the module."""
    found = Site(control_plane, control_plane.new_namespace())
    faults.answer_jobs(found, bad_is(last_words("NotFound", "push it first")))
    found.simulate(BAD)
    found.until_reason("Stalled", "NotFound")
    faults.answer_jobs(found, bad_is({}))
    return found


@pytest.fixture
def site(operator: Operator, mended: Site, control_plane: Plane, namespace: str) -> Site:
    return Site(control_plane, namespace)


def refused(site: Site, case: Case) -> Object:
    """The deployment when it has been decided that `bad` does not serve; servers are not waited for any longer."""
    found = faults.held_for(site, case.reason)
    if not fact(found, "Stalled"):
        edit = {"spec": {"rollout": {"progressDeadline": "1s"}}}
        site.plane.client.patch("modeldeployments", site.namespace, site.name, edit)
    return site.until_reason("Stalled", case.reason)


def uids(objects: list[Object]) -> list[str]:
    return [one["metadata"]["uid"] for one in objects]


def assert_decided(found: Object, case: Case) -> None:
    """The reason, the sentence and the record."""
    for kind in ("Stalled", "Degraded", "Promoted"):
        assert fact(found, kind)["reason"] == case.reason
        assert case.says in fact(found, kind)["message"]
    record = found["status"]["rejected"][-1]
    assert (record["reason"], record["class"]) == (case.reason, "Content" if case.lasting else "Environment")
    if not case.lasting:
        assert record["attempts"] == 1
        assert datetime.fromisoformat(record["retryAt"]) - datetime.fromisoformat(record["at"]) == MINUTE


def assert_told(site: Site, case: Case) -> None:
    """One event and no other warning."""
    wait_until(lambda: faults.warnings(site), lambda: "an event")
    assert [case.reason in one for one in faults.warnings(site)] == [True], faults.warnings(site)
    assert case.says in faults.warnings(site)[0]


@pytest.mark.parametrize("name", CASES)
def test_a_first_version_that_cannot_serve_says_why(name: str, site: Site) -> None:
    case = CASES[name]
    faults.answer_jobs(site, bad_is(case.bundle))
    case.prepare(site)

    site.simulate(BAD, **case.spec)
    found = refused(site, case)

    assert (condition(found, "Ready"), fact(found, "Ready")["reason"]) == ("False", case.reason)
    assert_decided(found, case)
    assert_told(site, case)
    assert fact(found, "RouteReady")["reason"] == "NoRoute"
    assert faults.writes_of_a_turn(site) == ["update modeldeployments/status"]


@pytest.mark.parametrize("name", FRONT)
def test_a_first_version_that_nobody_could_reach_says_why(name: str, site: Site) -> None:
    case = FRONT[name]
    faults.answer_jobs(site, bad_is({}))
    case.prepare(site)

    site.simulate(BAD)
    found = refused(site, case)

    assert_decided(found, case)
    told = wait_until(lambda: [one for one in faults.warnings(site) if "Service fraud is" in one], lambda: "an event")
    assert [(one.partition(":")[0], case.says in one) for one in told] == [(case.reason, True)]
    faults.writes_of_a_turn(site)  # what stood in the way of something that is not wanted any more is forgotten
    assert fact(site.get(), "RouteReady")["reason"] == "NoRoute"
    assert faults.writes_of_a_turn(site) == ["update modeldeployments/status"]


@pytest.mark.parametrize("plural", ["poddisruptionbudgets", "horizontalpodautoscalers"])
def test_what_is_refused_beside_servers_and_route_is_told_while_the_version_serves(plural: str, site: Site) -> None:
    faults.answer_jobs(site, bad_is({}))
    no_more(site, plural, group="policy" if plural == "poddisruptionbudgets" else "autoscaling")

    site.simulate(GOOD, scaling={"minReplicas": 2, "maxReplicas": 3})
    found = site.until_reason("Degraded", "QuotaExceeded")

    assert "raise the quota" in fact(found, "Degraded")["message"]
    assert fact(site.until_serving(GOOD), "Ready")["status"] == "True"
    site.plane.client.delete("resourcequotas", site.namespace, "small")
    site.until_reason("Degraded", "AsExpected", 60)
    assert len(site.children(plural)) == 1


@pytest.mark.parametrize("name", CASES | LATER)
def test_a_version_that_cannot_follow_leaves_the_stable_one_serving(name: str, site: Site) -> None:
    case = (CASES | LATER)[name]
    faults.answer_jobs(site, bad_is(case.bundle))
    site.simulate(GOOD)
    before, servers = site.until_serving(GOOD), site.servers()
    case.prepare(site)

    site.simulate(BAD, **case.spec)
    found = refused(site, case)

    assert serves(found, GOOD)
    assert fact(found, "Ready")["lastTransitionTime"] == fact(before, "Ready")["lastTransitionTime"]
    assert_decided(found, case)
    assert_told(site, case)
    wait_until(lambda: uids(site.servers()) == uids(servers), lambda: "the candidate goes and nothing else")
    assert faults.writes_of_a_turn(site) == ["update modeldeployments/status"]
    assert len(site.children("deployments")) == 1
    assert site.front()["spec"]["selector"]["serving.tidegate.io/revision"] == found["status"]["stable"]["revision"]


def test_what_may_pass_by_itself_is_tried_again_after_a_minute(mended: Site) -> None:
    mended.until_serving(BAD, 90)

    assert [one.partition(":")[0] for one in faults.warnings(mended)] == ["NotFound"]


def test_every_reason_has_its_row_in_the_page() -> None:
    assert {case.reason for case in (CASES | LATER | FRONT).values()} <= set(explained())
