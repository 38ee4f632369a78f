"""A deployment that lives in Git: at every phase of its rollouts the tool that keeps it sees no difference, the truth,
and nothing to prune; what it applies again and again changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.cluster import faults
from tests.cluster.faults import servers_are
from tests.cluster.gitops import ARGO_CD, FLUX, TOOLS, Tool, differences, everything, own
from tests.cluster.operating import GROUP, PATIENCE, Operator, Site, condition, fact, resolves, serves, weight
from tests.control_plane.resources import Object
from tests.control_plane.simulation import MODE
from tests.unit.gitops.argocd import enabled, health, patch_of
from tests.unit.gitops.kstatus import Status, kstatus
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
MANUAL: Object = {"steps": [{"weight": 40, "hold": "manual"}, {"weight": 50, "hold": "manual"}]}
WARM: Object = {**MANUAL, "scaleDownDelay": "1h"}
AT_ONCE: Object = {"steps": []}
TWO = {"minReplicas": 2}
SLOW_START = servers_are("never-ready")


@dataclass
class Application:
    """One deployment in Git, and the tool that brings it into the cluster."""

    site: Site
    tool: Tool
    manifest: Object = field(default_factory=dict)

    def commit(self, version: str, **spec: Any) -> Object:
        """Git names this version; synced at once: the object as it is then."""
        spec = {"scaling": TWO, "bundle": {"uri": f"s3://models/{version}"}, **spec}
        self.manifest = self.site.manifest(version, real=False, **spec)
        return self.sync()

    def sync(self) -> Object:
        return self.tool.sync(self.site, self.manifest)

    def acts(self, action: str) -> Object:
        """Somebody chooses an action in Argo CD; what is there afterwards."""
        before = self.site.get()
        assert action in enabled(before), health(before)
        patch = patch_of(action, before)
        after = self.site.plane.client.patch("modeldeployments", self.site.namespace, self.site.name, patch)
        [name] = patch["metadata"]["annotations"]
        assert [at.partition(": ")[0] for at in differences(own(before), own(after))] == [
            f".metadata.annotations.{name}"
        ]
        assert after["metadata"]["generation"] == before["metadata"]["generation"]
        return after

    def until_restarted(self, before: str) -> str:
        """The revision that serves instead of this one, when its servers are the only ones."""
        found = self.site.until(
            lambda one: one["status"]["stable"]["revision"] != before and serves_promoted("v1")(one)
        )
        wait_until(lambda: len(self.site.servers()) == 2, lambda: "the old servers go")
        return str(found["status"]["stable"]["revision"])

    def becomes(self, holds: Callable[[Object], Any], status: Status, word: str) -> Object:
        """Wait for a moment; then both tools see what it is, this one sees no difference, and it would prune nothing."""
        found = self.site.until(holds)
        told, message = health(found)
        assert (kstatus(found), told) == (status, word), message
        assert self.tool.difference(self.site, self.manifest) == []
        assert self.tool.prunes(self.site) == ["ModelDeployment fraud"]
        return found


@pytest.fixture(params=TOOLS)
def application(request: pytest.FixtureRequest, operator: Operator, site: Site) -> Application:
    return Application(site, TOOLS[request.param])


def in_phase(phase: str, reason: str = "") -> Callable[[Object], bool]:
    """Whether the status of this generation says so; `reason` is that of Reconciling or Stalled."""

    def holds(one: Object) -> bool:
        status = one["status"]
        reasons = {fact(one, "Reconciling").get("reason", ""), fact(one, "Stalled").get("reason", "")}
        seen = status["observedGeneration"] == one["metadata"]["generation"]
        return seen and status["phase"] == phase and (not reason or reason in reasons)

    return holds


def serves_promoted(version: str) -> Callable[[Object], bool]:
    return lambda one: serves(one, version) and condition(one, "Promoted") == "True" and in_phase("Serving")(one)


def with_servers(site: Site, holds: Callable[[Object], Any]) -> Callable[[Object], Any]:
    """The same, while servers that would never be ready become so."""

    def looked(one: Object) -> Any:
        for pod in site.servers():
            if (pod["metadata"].get("annotations") or {}).get(MODE) == "never-ready":
                faults.fares_so(site, pod, "ready")
        return holds(one)

    return looked


def test_a_first_deployment_is_in_progress_until_it_serves(application: Application) -> None:
    site = application.site
    may_answer = threading.Event()
    faults.answer_jobs(site, lambda pod: resolves()(pod) if may_answer.wait(PATIENCE) else None)

    seen = application.commit("v1", **SLOW_START)
    assert (kstatus(seen), health(seen)[0]) == (Status.IN_PROGRESS, "Progressing")
    application.becomes(in_phase("Resolving"), Status.IN_PROGRESS, "Progressing")
    may_answer.set()
    application.becomes(in_phase("Proving"), Status.IN_PROGRESS, "Progressing")

    application.becomes(with_servers(site, serves_promoted("v1")), Status.CURRENT, "Healthy")


def test_a_rollout_is_told_truly_at_every_phase(application: Application) -> None:
    site = application.site
    application.commit("v1", rollout=AT_ONCE)
    application.becomes(serves_promoted("v1"), Status.CURRENT, "Healthy")

    seen = application.commit("v2", rollout=WARM, **SLOW_START)
    assert (kstatus(seen), health(seen)[0]) == (Status.IN_PROGRESS, "Progressing"), "nobody has looked at it yet"
    application.becomes(in_phase("Proving"), Status.IN_PROGRESS, "Progressing")
    site.until(with_servers(site, lambda one: weight(one) == 40))
    application.becomes(in_phase("Holding", "WaitingForPromote"), Status.IN_PROGRESS, "Suspended")
    application.acts("pause")
    application.becomes(in_phase("Holding", "Paused"), Status.IN_PROGRESS, "Suspended")
    application.acts("resume")
    application.becomes(in_phase("Holding", "WaitingForPromote"), Status.IN_PROGRESS, "Suspended")
    application.acts("promote")
    site.until(with_servers(site, lambda one: weight(one) == 50))
    application.becomes(in_phase("Holding", "WaitingForPromote"), Status.IN_PROGRESS, "Suspended")
    application.acts("promote-full")
    application.becomes(in_phase("Watching"), Status.CURRENT, "Healthy")
    application.acts("abort")
    application.becomes(in_phase("Serving", "Aborted"), Status.FAILED, "Degraded")
    wait_until(lambda: len(site.servers()) == 2, lambda: "the version that was sent back goes")

    application.commit("v1", rollout=AT_ONCE)
    application.becomes(serves_promoted("v1"), Status.CURRENT, "Healthy")


def test_what_people_do_to_versions_is_told_truly(application: Application) -> None:
    site = application.site
    application.commit("v1", rollout=AT_ONCE)
    first = application.becomes(serves_promoted("v1"), Status.CURRENT, "Healthy")
    application.commit("v2", rollout=AT_ONCE)
    application.becomes(serves_promoted("v2"), Status.CURRENT, "Healthy")

    application.acts("rollback")
    found = application.becomes(lambda one: serves(one, "v1") and in_phase("Serving")(one), Status.FAILED, "Degraded")
    assert fact(found, "Stalled")["reason"] == "RolledBack"
    assert found["status"]["stable"]["revision"] == first["status"]["stable"]["revision"]
    application.acts("retry")
    before = application.becomes(serves_promoted("v2"), Status.CURRENT, "Healthy")["status"]["stable"]["revision"]
    application.acts("restart")
    application.becomes(
        lambda one: one["status"]["stable"]["revision"] != before and serves_promoted("v2")(one),
        Status.CURRENT, "Healthy",
    )  # fmt: skip
    wait_until(lambda: len(site.servers()) == 2, lambda: "the old servers go")


def test_a_refused_version_fails_the_sync_while_the_old_one_serves(application: Application) -> None:
    faults.answer_jobs(application.site, faults.bad_is(faults.last_words("SignatureInvalid", "sign it again")))
    application.commit("v1", rollout=AT_ONCE)
    application.becomes(serves_promoted("v1"), Status.CURRENT, "Healthy")

    application.commit("bad")

    found = application.becomes(in_phase("Serving", "SignatureInvalid"), Status.FAILED, "Degraded")
    assert serves(found, "v1")
    assert "sign it again; v1 goes on serving; correct the bundle or the manifest in Git" in health(found)[1]


def test_self_heal_during_a_rollout_does_no_harm(application: Application) -> None:
    site = application.site
    application.commit("v1", rollout=AT_ONCE)
    application.becomes(serves_promoted("v1"), Status.CURRENT, "Healthy")
    generation = application.commit("v2", rollout=MANUAL)["metadata"]["generation"]

    def healed(holds: Callable[[Object], Any]) -> Callable[[Object], Any]:
        def looked(one: Object) -> Any:
            assert application.sync()["metadata"]["generation"] == generation
            return holds(one)

        return looked

    application.becomes(healed(in_phase("Holding", "WaitingForPromote")), Status.IN_PROGRESS, "Suspended")
    application.acts("promote")
    application.becomes(healed(lambda one: weight(one) == 50 and in_phase("Holding", "WaitingForPromote")(one)),
                        Status.IN_PROGRESS, "Suspended")  # fmt: skip
    application.acts("promote-full")
    found = application.becomes(healed(serves_promoted("v2")), Status.CURRENT, "Healthy")

    assert [one["outcome"] for one in found["status"]["history"]] == ["Promoted", "Promoted"]
    assert [note for note in faults.notes(site, "RolloutStarted") if "v2" in note] == ["Spec: version v2 starts"]
    assert faults.warnings(site) == []


def test_what_git_takes_back_in_mid_rollout_goes_back(application: Application) -> None:
    application.commit("v1", rollout=AT_ONCE)
    application.becomes(serves_promoted("v1"), Status.CURRENT, "Healthy")
    application.commit("v2", rollout=MANUAL)
    application.becomes(in_phase("Holding", "WaitingForPromote"), Status.IN_PROGRESS, "Suspended")

    application.commit("v1", rollout=AT_ONCE)

    found = application.becomes(serves_promoted("v1"), Status.CURRENT, "Healthy")
    assert "rejected" not in found["status"] or found["status"]["rejected"] == []


def is_ours(obj: Object) -> bool:
    return any(f"{GROUP}/deployment" == name for name in obj["metadata"].get("labels") or {})


@pytest.mark.parametrize("marks", [ARGO_CD, FLUX], ids=["argo-cd", "flux"])
def test_what_is_deleted_is_terminating_until_all_that_belongs_to_it_is_gone(
    operator: Operator, site: Site, marks: Tool
) -> None:
    application = Application(site, marks)
    application.commit("v1", rollout=AT_ONCE)
    application.becomes(serves_promoted("v1"), Status.CURRENT, "Healthy")
    path = f"/apis/{GROUP}/v1alpha1/namespaces/{site.namespace}/modeldeployments/fraud"

    answer = site.plane.client.request("DELETE", path, {"propagationPolicy": "Foreground"})

    assert kstatus(answer) is Status.TERMINATING
    site.plane.client.until_gone("modeldeployments", site.namespace, "fraud")
    wait_until(lambda: not [one for one in everything(site) if is_ours(one)], lambda: "all that belonged to it is gone")


def test_a_replace_takes_the_commands_away_and_nothing_happens_again(operator: Operator, site: Site) -> None:
    application = Application(site, ARGO_CD)
    application.commit("v1", rollout=AT_ONCE)
    first = application.becomes(serves_promoted("v1"), Status.CURRENT, "Healthy")["status"]["stable"]["revision"]
    application.acts("restart")
    restarted = application.until_restarted(first)

    version = {"resourceVersion": site.get()["metadata"]["resourceVersion"]}
    desired = ARGO_CD.desired(application.manifest)
    replaced = site.plane.client.put({**desired, "metadata": {**desired["metadata"], **version}})

    assert f"{GROUP}/restart" not in replaced["metadata"]["annotations"]
    assert faults.writes_of_a_turn(site) == ["update modeldeployments/status"]
    assert site.get()["status"]["stable"]["revision"] == restarted


def test_flux_takes_an_annotation_of_kubectl_away_and_nothing_happens_again(operator: Operator, site: Site) -> None:
    application = Application(site, FLUX)
    application.commit("v1", rollout=AT_ONCE)
    first = application.becomes(serves_promoted("v1"), Status.CURRENT, "Healthy")["status"]["stable"]["revision"]
    note = {f"{GROUP}/restart": f"{first}@2026-01-01T00:00:00Z"}
    desired = FLUX.desired(application.manifest)
    annotations = {**desired["metadata"]["annotations"], **note}
    # Flux makes what kubectl has written its own, so that its apply, which does not name it, removes it.
    site.plane.client.apply({**desired, "metadata": {**desired["metadata"], "annotations": annotations}}, FLUX.manager)
    restarted = application.until_restarted(first)

    assert f"{GROUP}/restart" not in application.sync()["metadata"]["annotations"]

    assert faults.writes_of_a_turn(site) == ["update modeldeployments/status"]
    assert site.get()["status"]["stable"]["revision"] == restarted


def test_defaults_in_lists_are_a_difference_to_the_merge_of_three_only(operator: Operator, site: Site) -> None:
    short = {"steps": [{"weight": 50}]}
    application = Application(site, TOOLS["argo-cd-client-side"])
    application.commit("v1", rollout=short)
    application.site.until(serves_promoted("v1"))

    assert [at.partition(": ")[0] for at in application.tool.difference(site, application.manifest)] == [
        ".spec.rollout.steps"
    ]
    assert ARGO_CD.difference(site, application.manifest) == []
