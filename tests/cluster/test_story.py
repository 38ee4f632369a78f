"""docs/story.md: its commands, run as they stand on the page, while users ask the model in the cluster."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest
from examples.demo.s3 import S3Server
from tests.cluster.clients import Clients
from tests.cluster.operating import Site
from tests.control_plane import programs
from tests.control_plane.plane import Plane
from tests.control_plane.simulation import MODE, REAL
from tests.walkthrough import DOCS, walk

pytestmark = pytest.mark.slow
PIXELS = {"inputs": [{"name": "input", "shape": [1, 64], "datatype": "FP32", "data": [0.5] * 64}]}
# More of them than idle cores make the training of a small network several times slower.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Users(Clients):
    """They ask from when the model has an address, and never stop."""

    def _round(self) -> None:
        if self._site.plane.client.get("services", self._site.namespace, self._site.name):
            super()._round()


@pytest.fixture
def real_kubectl(tmp_path: Path) -> Path:
    """The real one, in a folder for PATH; it finds `kubectl-tidegate` there too."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "kubectl").symlink_to(programs.find(programs.KUBECTL))
    return folder


def page_for(where: str) -> str:
    """The page with a repository of this test's own, and with pods that are real processes here."""
    page = (DOCS / "story.md").read_text().replace("s3://models/digits", where)
    pod = "  runtime:\n"
    assert page.count(pod) == 1
    return page.replace(pod, f"{pod}    pod: {{annotations: {{{MODE}: {REAL}}}}}\n")


def write_env(path: Path, values: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("operator")
def test_every_command_of_the_story_works_and_no_user_notices(
    control_plane: Plane, namespace: str, s3: S3Server, real_kubectl: Path, tmp_path: Path
) -> None:
    where, folder = f"s3://models/{uuid.uuid4().hex}/digits", tmp_path / "story"
    folder.mkdir()
    write_env(folder / "store.env", s3.credentials())
    path = f"{real_kubectl}:{os.environ['PATH']}"
    kubeconfig = control_plane.client.kubeconfig(tmp_path / "kubeconfig", namespace)

    with Users(Site(control_plane, namespace, name="digits"), PIXELS) as users:
        walk(page_for(where), folder, 280, **ONE_THREAD, KUBECONFIG=str(kubeconfig), PATH=path)
        users.more(10, "1.1.0")

    assert users.failures == []
    assert set(users.answers) == {"1.0.0-int8", "1.1.0"}


def test_the_kubectl_that_is_fetched_is_the_one_that_other_machines_build(real_kubectl: Path) -> None:
    command = [str(real_kubectl / "kubectl"), "version", "--client", "--output", "json"]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    assert told["clientVersion"]["gitVersion"] == programs.KUBECTL.version
