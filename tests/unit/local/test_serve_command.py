"""What a server of a local run is told of the manifest's wishes: explanations, logs of requests."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.unit.plan.manifests.parts import record, runtime_of, wanted

from tidegate.local.children import Lifeline
from tidegate.local.servers import Workplace, serve_command
from tidegate_runtime.settings import Settings, parse


def told(folder: Path, **runtime: object) -> Settings:
    """What a server reads from the command line that it is started with."""
    place = Workplace("m", folder, Lifeline(3, 4), "t", folder / "token", None, lambda: None, lambda *_: None)
    one = wanted(dataclasses.replace(record(), runtime=runtime_of(**runtime)))
    command = serve_command(place, one, folder / "bundle", folder / "last-words")
    return parse(command[command.index("serve") + 1 :], {})


def test_it_makes_as_many_explanations_at_a_time_as_the_manifest_says(tmp_path: Path) -> None:
    usual, more = told(tmp_path, explain={}), told(tmp_path, explain={"concurrency": 3, "maxRows": 70})

    assert (usual.explain, usual.explain_rows) == (1, 100_000)
    assert (more.explain, more.explain_rows) == (3, 70)


def test_it_explains_nothing_where_the_manifest_says_nothing(tmp_path: Path) -> None:
    assert told(tmp_path).explain == 0


def test_it_writes_of_requests_what_the_manifest_says_into_files_beside_its_own_log(tmp_path: Path) -> None:
    both = told(tmp_path, requestLogs={"audit": True, "accessSample": 0.05})

    assert (both.audit_log, both.access_log) == (str(tmp_path / "audit.log"), str(tmp_path / "access.log"))
    assert both.access_log_sample == 0.05


def test_it_writes_nothing_of_them_where_the_manifest_says_nothing(tmp_path: Path) -> None:
    assert (told(tmp_path).audit_log, told(tmp_path).access_log) == (None, None)
