"""A real node with the chart in it, for the whole session; a namespace and a model for each story."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from examples.demo.s3 import s3_server
from tests.chart.helm import HOME, Helm
from tests.control_plane import programs
from tests.e2e.cluster.gateway import Gateway
from tests.e2e.cluster.shelf import BUCKET, Shelf
from tests.e2e.cluster.story import Story
from tests.e2e.cluster.times import Times
from tests.e2e.containerd import IMPORTED
from tests.e2e.images import REGISTRY
from tests.e2e.node import boundary
from tests.e2e.node.node import Node, running
from tests.gateway.world import Envoy, gateway_definitions, start_gateway
from tests.local.local_run import bundles

NODES = pytest.StashKey[Node]()
TIMES = pytest.StashKey[Times]()


@pytest.fixture(scope="session")
def times(pytestconfig: pytest.Config) -> Iterator[Times]:
    found = pytestconfig.stash[TIMES] = Times()
    yield found
    found.write()


@pytest.fixture(scope="session")
def node(pytestconfig: pytest.Config, times: Times) -> Iterator[Node]:
    if boundary.INSIDE not in os.environ:
        pytest.skip("these tests need a node of their own around them: run them by `make e2e`")
    with running(Path(os.environ[IMPORTED]), gateway_definitions()) as found:
        pytestconfig.stash[NODES] = found
        for part, seconds in found.plane.seconds.items():
            times.note(f"from nothing until {part}", seconds)
        yield found


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(programs.find(programs.HELM), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def installed(node: Node, helm: Helm, times: Times) -> Node:
    """The chart as docs/install.md says; the operator's pods are ready."""
    with times.measured("from helm install until both operators are ready"):
        helm.install(node.plane, "--set", f"image.registry={REGISTRY}")
        node.kubectl("rollout", "status", "deployment/tidegate-operator", "-n", HOME, "--timeout=60s", seconds=70)
    return node


@pytest.fixture(scope="session")
def shelf(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """v1 and v2 are sound, v3 is not what its golden samples say; in an S3 server that pods can reach."""
    folder = bundles(tmp_path_factory.mktemp("bundles"))
    with s3_server(tmp_path_factory.mktemp("s3"), node.address) as server:
        found = Shelf(server, folder, "fraud")
        with closing(found.client()) as client:
            client.create_bucket(Bucket=BUCKET)
        yield found.publish()


@pytest.fixture
def story(installed: Node, shelf: Shelf, times: Times) -> Iterator[Story]:
    namespace = installed.plane.new_namespace("story")
    found = Story(installed, shelf, namespace, times)
    yield found
    found.close()
    installed.plane.client.delete("namespaces", "", namespace)
    for pod in installed.plane.client.list("pods", namespace):  # nobody asks them any more: they need not drain
        installed.plane.client.delete("pods", namespace, pod["metadata"]["name"], grace=1)


@pytest.fixture(scope="session")
def envoy(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Envoy:
    return start_gateway(node.plane, tmp_path_factory.mktemp("gateway"))


@pytest.fixture
def gateway(envoy: Envoy, story: Story) -> Gateway:
    return Gateway(envoy, story).takes_the_clients()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the cluster looked like when a test failed."""
    report = yield
    node = item.config.stash.get(NODES, None)
    if report.failed and node is not None:
        report.sections.append(("cluster", node.state()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (times := config.stash.get(TIMES, None)) and times.seconds:
        terminalreporter.section("seconds")
        for row in times.rows():
            terminalreporter.line(f"{row['median']:>6}  (most {row['most']}, {row['times']} times)  {row['phase']}")
