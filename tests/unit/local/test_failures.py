from __future__ import annotations

import errno
import json
import signal
from pathlib import Path

import pytest

from tidegate.bundle.errors import Denied, DigestMismatch, DiskFull, Unreachable
from tidegate.errors import TidegateError
from tidegate.local.failures import ended, failure_of
from tidegate.plan.observed import FailureClass


def words(folder: Path, reason: str, message: str) -> Path:
    path = folder / "termination"
    path.write_text(json.dumps({"reason": reason, "message": message}))
    return path


def test_a_server_that_refused_its_bundle_says_why_in_its_last_words(tmp_path: Path) -> None:
    found = ended(1, words(tmp_path, "GoldenMismatch", "scores differs by 0.3"), "", in_a_row=0)

    assert (found.class_, found.reason, found.message) == (
        FailureClass.CONTENT,
        "GoldenMismatch",
        "scores differs by 0.3",
    )


def test_a_temporary_end_may_pass(tmp_path: Path) -> None:
    assert ended(5, words(tmp_path, "DeviceUnavailable", "no GPU"), "", in_a_row=0).class_ is FailureClass.ENVIRONMENT


def test_a_killed_server_is_named_by_its_signal_and_the_end_of_its_log(tmp_path: Path) -> None:
    found = ended(-signal.SIGKILL, tmp_path / "none", "out of memory", in_a_row=0)

    assert (found.reason, found.message) == ("ServerDied", "the server was ended by SIGKILL: out of memory")


def test_a_third_death_in_a_row_is_a_crash_loop(tmp_path: Path) -> None:
    assert ended(139, tmp_path / "none", "", in_a_row=2).reason == "CrashLoop"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DigestMismatch("other bytes"), FailureClass.CONTENT),
        (Unreachable("no answer"), FailureClass.ENVIRONMENT),
        (Denied("wrong keys"), FailureClass.ENVIRONMENT),
        (DiskFull("no space"), FailureClass.ENVIRONMENT),
    ],
)
def test_errors_are_content_or_environment(error: TidegateError, kind: FailureClass) -> None:
    found = failure_of(error)

    assert (found.class_, found.reason) == (kind, error.reason)


def test_an_error_of_the_machine_keeps_paths_to_itself() -> None:
    found = failure_of(OSError(errno.ENOSPC, "No space left on device", "/home/somebody/secret"))

    assert (found.reason, found.message) == ("LocalError", "No space left on device")
