"""status and history: what a person sees of an object that a real API server holds."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from tests.kubectl.conftest import AT, CANDIDATE, GROUP, HOLDING, STABLE, Kubectl, Site
from tests.waiting import wait_until


def test_one_deployment_is_a_tree_of_its_versions_and_their_pods(site: Site, kubectl: Kubectl) -> None:
    site.deploy()
    site.pod(str(CANDIDATE["revision"]), 1)
    site.pod(str(STABLE["revision"]), 2)
    site.pod("0000000000", 3)

    code, said, _ = kubectl("status", "fraud")

    assert code == 0
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert lines[0] == f"fraud in namespace {site.namespace} of context tests: Holding"
    assert lines[1:3] == ["step 1 of 1 (40 %) Holding", "WaitingForPromote: step 1 ends by `tidegate promote`"]
    names = [line.split()[0] for line in lines[4:12] if line]
    assert names == [
        "NAME", "fraud", "1.5.0", "fraud-3f6f694c2a-1", "1.4.0", "fraud-930f7e290c-2", "0000000000",
        "fraud-0000000000-3",
    ]  # fmt: skip
    assert "1.5.0 (3f6f694c2a) candidate 40 % (40.0 % seen) 2/2 sha256:bbbbbbbbbbbb" in lines
    assert any(line.startswith("fraud-3f6f694c2a-1 pod Pending 0/1") for line in lines)
    assert "stable 526 5.8 0 % 0.43 ms 6.6 ms" in lines
    assert "errors pass error rate 0 % (limit 1 %), 2,170 requests" in lines
    assert lines[-1] == "Ready=True Serving: version 1.4.0"


def test_a_command_that_waits_for_the_operator_is_shown(site: Site, kubectl: Kubectl) -> None:
    site.deploy()
    site.annotate("abort", "3f6f694c2a@2026-11-26T05:00:00Z")
    site.annotate("dance", "3f6f694c2a@2026-11-26T05:00:00Z")

    _, said, _ = kubectl("status", "fraud")

    assert "abort of 3f6f694c2a@2026-11-26T05:00:00Z is asked for" in said
    assert "dance" not in said


def test_several_are_a_line_each(site: Site, kubectl: Kubectl) -> None:
    site.deploy("fraud")
    site.deploy("churn", status=None)

    code, said, _ = kubectl("status")

    assert code == 0
    heads, churn, fraud = (line.split() for line in said.splitlines())
    assert heads[:5] == ["NAME", "READY", "PHASE", "STABLE", "CANDIDATE"]
    assert churn[0] == "churn"
    assert fraud[:8] == ["fraud", "True", "Holding", "1.4.0", "1.5.0", "40", "%", "3"]
    assert fraud[-1] == "WaitingForPromote"


def test_an_empty_namespace_says_so(site: Site, kubectl: Kubectl) -> None:
    assert kubectl("status") == (0, "there is no ModelDeployment here\n", "")


def test_of_all_namespaces_each_line_begins_with_its_own(site: Site, kubectl: Kubectl) -> None:
    site.deploy()
    other = Site(site.plane, site.plane.new_namespace(), site.folder)
    other.deploy()

    _, said, _ = kubectl("status", "-A")

    assert {site.namespace, other.namespace} <= {line.split()[0] for line in said.splitlines()}
    _, said, _ = kubectl("status", "-n", other.namespace)
    assert said.startswith(f"fraud in namespace {other.namespace} ")


def test_as_data_it_has_the_status_and_the_pods(site: Site, kubectl: Kubectl) -> None:
    site.deploy()
    site.pod(str(STABLE["revision"]), 1)

    _, as_json, _ = kubectl("status", "fraud", "-o", "json")
    _, as_yaml, _ = kubectl("status", "fraud", "-o", "yaml")

    found = json.loads(as_json)
    (fraud,) = found["deployments"]
    assert (found["apiVersion"], found) == ("tidegate.io/cli/v1", yaml.safe_load(as_yaml))
    assert (fraud["target"], fraud["context"], fraud["namespace"]) == ("cluster", "tests", site.namespace)
    assert fraud["status"]["candidate"]["weight"] == 40
    assert [(pod["revision"], pod["status"], pod["ready"]) for pod in fraud["pods"]] == [
        (STABLE["revision"], "Pending", "0/1")
    ]


def test_quietly_it_is_the_phase(site: Site, kubectl: Kubectl) -> None:
    site.deploy()

    assert kubectl("status", "fraud", "-q") == (0, "Holding\n", "")


def test_a_thousand_come_in_pages(site: Site, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.cluster.kubectl.deployments.PAGE", "2")
    for number in range(5):
        site.deploy(f"model-{number}", status=None)

    _, said, _ = kubectl("status", "-o", "json")

    assert [one["name"] for one in json.loads(said)["deployments"]] == [f"model-{number}" for number in range(5)]


def test_history_is_what_the_status_remembers(site: Site, kubectl: Kubectl) -> None:
    site.deploy()

    assert kubectl("history", "fraud", "-q") == (0, "930f7e290c\n", "")
    _, said, _ = kubectl("history", "fraud")
    assert said.splitlines()[1].split() == ["1", "930f7e290c", "1.4.0", "Promoted", "2026-11-26", "05:00:00"]
    _, said, _ = kubectl("history", "fraud", "-o", "json")
    assert json.loads(said)["history"][0]["revision"] == "930f7e290c"


def test_watching_shows_each_change_and_survives_nothing_less_than_the_end(site: Site) -> None:
    site.deploy()
    said: list[str] = []
    program = Path(sys.executable).with_name("kubectl-tidegate")
    with subprocess.Popen(
        [program, "status", "fraud", "-q", "--watch"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout
        assert watching.stderr
        reading = threading.Thread(target=lambda: said.extend(watching.stdout or ()))
        reading.start()
        wait_until(lambda: said, "the first phase")
        site.says({**HOLDING, "phase": "Watching"})
        wait_until(lambda: said == ["Holding\n", "Watching\n"], lambda: str(said))
        site.plane.client.delete("modeldeployments", site.namespace, "fraud")
        error = watching.stderr.read()
        reading.join(20)

    assert watching.returncode == 1
    assert "there is no ModelDeployment fraud" in error


@pytest.mark.parametrize("arguments", [["status"], ["status", "fraud"], ["history", "fraud"]])
def test_looking_loads_nothing_that_takes_long(site: Site, arguments: list[str]) -> None:
    site.deploy()
    code = (
        f"import sys; sys.argv = ['kubectl-tidegate', *{arguments!r}]\n"
        "from tidegate.cli.group import run\n"
        "assert run() == 0\n"
        "print('loaded', *{name.partition('.')[0] for name in sys.modules})"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"pydantic", "kubernetes", "kopf", "aiohttp", "rich", "boto3", "numpy"}
    assert {"tidegate", "urllib3"} <= loaded


def test_a_report_of_a_deployment_whose_course_nobody_wrote_says_so(site: Site, kubectl: Kubectl) -> None:
    site.deploy()

    code, _, error = kubectl("report", "fraud", "-o", str(site.folder / "report.html"))

    assert code == 1
    assert "nothing was recorded yet: let it roll out a version; see whether an operator runs" in error


def test_a_report_without_the_right_to_read_the_course_names_the_right(stranger: Site, kubectl: Kubectl) -> None:
    stranger.deploy()
    stranger.grant({"apiGroups": [GROUP], "resources": ["modeldeployments"], "verbs": ["get"]})

    code, _, error = kubectl("report", "fraud", "-o", str(stranger.folder / "report.html"))

    assert code == 1
    assert "may not get configmaps" in error


def test_a_course_that_somebody_broke_is_read_as_far_as_it_makes_sense(site: Site, kubectl: Kubectl) -> None:
    site.deploy()
    sound = {"number": 7, "at": AT, "reason": "Promoted", "by": {"kind": "Person"}, "message": "version 2"}
    rows = "\n".join(["{", "[]", json.dumps({"at": AT, "events": [sound, 7, {"number": "x"}]})])
    meta = {"name": "fraud-course", "namespace": site.namespace}
    site.plane.client.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"course.jsonl": rows}}
    )

    code, said, _ = kubectl("history", "fraud", "--decisions")

    assert code == 0
    assert [line.split()[0] for line in said.splitlines()] == ["NUMBER", "7"]
    assert "a person" in said
    assert kubectl("history", "fraud", "--decisions", "--quiet")[1] == "Promoted\n"
