"""From nothing to a model that serves: one command of helm, the operator as its Deployment starts it, the README's manifest.

There is no kubelet, so its part is played: the process gets the arguments of the live Deployment and nothing else, the
tokens that its pod would have mounted, and a folder instead of the pod's file system, of which only they can be read.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.chart.asked import named, of_the_operator
from tests.chart.helm import HOME, Helm, container
from tests.cluster.operating import TIDEGATE, Operator, condition, resolves
from tests.control_plane.client import ApiError
from tests.control_plane.plane import Plane, has_condition
from tests.control_plane.resources import Object
from tests.namespaces import namespaces

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
ACCOUNT = f"system:serviceaccount:{HOME}:tidegate-operator"
# All that is mounted is read-only for the command that follows.
RESTRICTED = """
set -e
mount --make-rprivate /
for place in $(cut -d ' ' -f 5 /proc/self/mountinfo | grep -v ^/proc); do
    mount -o remount,bind,ro "$place" 2> /dev/null || true
done
! touch "$PWD/written" 2> /dev/null
exec "$@"
"""
REVIEW = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


class AsDeployed(Operator):
    """A process of the Deployment that is in the cluster, with the rights of its service account."""

    within: tuple[str, ...] = ()

    def start(self, *flags: str) -> AsDeployed:
        pod = self.plane.client.read("deployments", HOME, "tidegate-operator")["spec"]["template"]["spec"]
        account = pod["serviceAccountName"]
        [token] = [source["serviceAccountToken"] for source in pod["volumes"][0]["projected"]["sources"]]
        mount = container({"spec": {"template": {"spec": pod}}})["volumeMounts"][0]
        mounted = f"{mount['mountPath']}/{token['path']}"
        file = self.folder / "token"
        file.write_text(self.plane.client.token(HOME, account, token["audience"]))
        own = self.plane.client.as_token(self.plane.client.token(HOME, account)).kubeconfig(self.folder / "kubeconfig")
        arguments = [
            argument.replace(mounted, str(file))
            for argument in container({"spec": {"template": {"spec": pod}}})["args"]
        ]
        node = ("--kubeconfig", str(own), "--probe-host", "127.0.0.1", "--probe-port", "0")
        self.started = self.plane.audit.mark()
        nowhere = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent"}  # a root that is read-only has no more
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.within, TIDEGATE, *arguments, *node, *flags], stderr=log, stdout=log, env=nowhere
            )
        return self


@pytest.fixture(scope="module")
def operator(installed: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsDeployed]:
    running = AsDeployed(installed, tmp_path_factory.mktemp("operator"))
    running.start().leads()
    yield running
    running.close()


@pytest.fixture(scope="module")
def shop(installed: Plane) -> Iterator[str]:
    name = installed.new_namespace("shop")
    assert installed.player
    installed.player.answer_jobs(name, resolves())
    yield name
    installed.client.delete("namespaces", "", name)


def manifest_of_the_readme(namespace: str) -> Object:
    [block] = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    found: Object = yaml.safe_load(block)
    found["metadata"]["namespace"] = namespace
    return found


def allowed(plane: Plane, user: str, verb: str, namespace: str, resource: str = "modeldeployments") -> bool:
    about = {"namespace": namespace, "verb": verb, "group": "serving.tidegate.io", "resource": resource}
    review = {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": about},
    }  # fmt: skip
    return bool(plane.client.request("POST", REVIEW, review)["status"]["allowed"])


def test_the_deployment_is_available(installed: Plane) -> None:
    installed.client.until(
        "deployments", HOME, "tidegate-operator",
        lambda one: has_condition(one, "Available") and one["status"].get("availableReplicas") == 2,
    )  # fmt: skip


def test_the_first_model_of_the_readme_is_ready(installed: Plane, operator: AsDeployed, shop: str) -> None:
    installed.client.apply(manifest_of_the_readme(shop), manager="a-person")

    found = installed.client.until(
        "modeldeployments", shop, "fraud", lambda one: condition(one, "Ready") == condition(one, "Promoted") == "True"
    )
    [job] = installed.client.list("jobs", shop)
    assert found["status"]["stable"]["version"] == "1.4.0"
    assert container(job)["image"] == "registry.example.com/ml/tidegate-runtime:0.1.0-cpu"


def test_its_service_account_was_refused_nothing_and_wrote_no_more_than_its_role_says(
    installed: Plane, operator: AsDeployed, shop: str
) -> None:
    asked = installed.audit.since(operator.started, user=ACCOUNT)

    assert {one.resource for one in asked} >= {"modeldeployments/status", "deployments", "services", "jobs", "leases"}
    assert [one for one in asked if not one.allowed] == []


def test_its_account_may_not_read_a_secret(installed: Plane, operator: AsDeployed, shop: str) -> None:
    own = installed.client.as_token(installed.client.token(HOME, "tidegate-operator"))

    for namespace in (HOME, shop):
        with pytest.raises(ApiError, match="Forbidden"):
            own.list("secrets", namespace)


def test_what_dashboards_and_alerts_name_is_on_its_page(operator: AsDeployed) -> None:
    told = re.findall(r"^# TYPE (\S+)", operator.page("/metrics"), re.M)

    # With `metricsApi.enabled` only: tests/cluster/test_metrics_api.py reads it.
    assert {name for name in named() if name in of_the_operator()} - {"tidegate_metrics_api"} <= set(told)


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("view", {"get", "list", "watch"}, {"create", "patch", "update", "delete", "deletecollection"}),
        ("edit", {"get", "list", "watch", "create", "patch", "update", "delete"}, {"deletecollection"}),
        ("admin", {"get", "list", "watch", "create", "patch", "update", "delete", "deletecollection"}, set()),
    ],
)
def test_people_may_with_models_what_they_may_with_the_rest(
    installed: Plane, shop: str, role: str, may: set[str], may_not: set[str]
) -> None:
    group, user = "rbac.authorization.k8s.io", f"somebody-who-has-{role}"
    installed.client.apply({
        "apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": {"name": user, "namespace": shop},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    })  # fmt: skip

    installed.until(lambda: all(allowed(installed, user, verb, shop) for verb in may), f"the rights of {role}")
    assert {verb for verb in may_not if allowed(installed, user, verb, shop)} == set()
    assert not allowed(installed, user, "update", shop, "modeldeployments/status"), "the operator alone says what is"
    assert not allowed(installed, user, "get", HOME)


def test_the_second_replica_stands_by_and_takes_over(installed: Plane, operator: AsDeployed, tmp_path: Path) -> None:
    second = AsDeployed(installed, tmp_path)
    try:
        second.start()
        second.until(second.is_ready, "it has seen everything")
        assert not second.said("leading")
        assert operator.stop() == 0
        second.leads()
    finally:
        second.close()


def test_it_needs_nothing_to_write_to_and_knows_no_user(installed: Plane, operator: AsDeployed, tmp_path: Path) -> None:
    pod = installed.client.read("deployments", HOME, "tidegate-operator")["spec"]["template"]["spec"]
    restricted = AsDeployed(installed, tmp_path)
    here = namespaces()
    user = here.somebody(pod["securityContext"]["runAsUser"])
    restricted.within = (*here.mounts, "sh", "-c", RESTRICTED, "pod", *user)
    try:
        operator.close()
        restricted.start().leads()
        assert restricted.is_ready()
        assert restricted.stop() == 0
    finally:
        restricted.close()


def test_told_namespaces_it_works_with_roles_in_them_alone(
    helm: Helm, installed: Plane, operator: AsDeployed, shop: str, tmp_path: Path
) -> None:
    operator.close()
    helm.upgrade(installed, "--reset-then-reuse-values", "--set", f"namespaces={{{shop}}}")
    confined = AsDeployed(installed, tmp_path)
    try:
        confined.start().leads()
        confined.until(confined.is_ready, "it has seen everything")
        installed.client.delete("modeldeployments", shop, "fraud")
        installed.client.until_gone("services", shop, "fraud")
        installed.client.apply(manifest_of_the_readme(shop), manager="a-person")
        installed.client.until("modeldeployments", shop, "fraud", lambda one: condition(one, "Ready") == "True")
        asked = installed.audit.since(confined.started, user=ACCOUNT)
        assert [one for one in asked if not one.allowed] == []
        assert {one.namespace for one in asked} == {shop, HOME}
    finally:
        confined.close()


def test_with_an_older_crd_it_works_and_rests(
    helm: Helm, installed: Plane, operator: AsDeployed, shop: str, chart_of_before: Path, tmp_path: Path
) -> None:
    """What that CRD does not know is dropped from each status: it must not be written again and again."""
    operator.close()
    helm.upgrade(installed, "--reset-then-reuse-values", chart=chart_of_before)
    installed.client.delete("modeldeployments", shop, "fraud")
    installed.client.until_gone("services", shop, "fraud")
    newer = AsDeployed(installed, tmp_path / "operator")
    try:
        newer.start().leads()
        installed.client.apply(manifest_of_the_readme(shop), manager="a-person")
        found = installed.client.until(
            "modeldeployments", shop, "fraud", lambda one: condition(one, "Promoted") == "True"
        )
        assert "history" not in found["status"]
        newer.until(lambda: writes_nothing_more(newer, shop), "it rests")
    finally:
        newer.close()


def writes_nothing_more(operator: AsDeployed, namespace: str) -> bool:
    """Whether three more looks at the deployment lead to no write."""
    mark = operator.plane.audit.mark()
    for count in range(3):
        before = operator.reconciles()
        label = {"metadata": {"labels": {"at": f"{count}"}}}
        operator.plane.client.patch("modeldeployments", namespace, "fraud", label)
        operator.until(lambda: operator.reconciles() > before, "it looks again")  # noqa: B023
    return operator.plane.audit.writes(mark, user=ACCOUNT, namespace=namespace) == []
