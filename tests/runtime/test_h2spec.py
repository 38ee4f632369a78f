"""The gRPC port keeps to RFC 9113 and RFC 7541: everything that h2spec asks, its strict cases too."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.control_plane.programs import H2SPEC, find
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running
from tests.runtime.grpc_client import SERVICE, Client

CASES = 147


@pytest.mark.slow
@pytest.mark.timeout(900)  # it may have to be built first
def test_every_case_of_h2spec_passes(
    bundles: Callable[..., Path], serve: Callable[..., Running], tmp_path: Path
) -> None:
    server = serve(bundles(small.linear()), "--grpc-port", "0")
    report = tmp_path / "report.xml"
    command = [find(H2SPEC), "--port", str(server.grpc), "--strict", "--timeout", "20", "--junit-report", report]

    subprocess.run(list(map(str, command)), check=False, stdout=subprocess.DEVNULL, timeout=300)

    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    bad = [f"{case.get('package')}: {case.get('classname')}" for case in cases if len(case)]
    assert (len(cases), bad) == (CASES, [])
    with Client(server.grpc) as client:
        client.ask(f"{SERVICE}/ServerLive", b"")
