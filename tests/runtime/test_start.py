"""What whoever starts a server can rely on: one line with the ports, one line when it fails, and an end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Running, start
from tests.runtime.slow_model import ENDLESS, stepping
from tests.waiting import wait_until

import tidegate
import tidegate_runtime
from tidegate.bundle.golden import GoldenSample
from tidegate_runtime.allocator import SETTINGS, VARIABLE

ROOT = Path(__file__).resolve().parents[2]


def failed(folder: Path, *flags: str) -> tuple[int, dict[str, str]]:
    """The exit code and the last line of a server that does not come up."""
    running = start(folder, *flags)
    _, errors = running.process.communicate(timeout=DEADLINE)
    return running.process.returncode, json.loads(errors.strip().splitlines()[-1])


def test_the_line_on_stdout_tells_ports_process_and_instance(
    bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    running = serve(bundles(small.linear(), small.linear_samples()), ready=False)
    running.wait_ready()
    assert running.http != running.metrics
    assert running.probe("/readyz").status == 200
    assert running.end() == 0
    assert running.process.stdout is not None
    assert running.process.stdout.read() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process began with")
def test_it_has_the_allocators_settings(bundles: Callable[..., Path], serve: Callable[..., Running]) -> None:
    running = serve(bundles(small.linear(), small.linear_samples()))
    began_with = Path(f"/proc/{running.process.pid}/environ").read_text().split("\0")
    first, _, _ = SETTINGS.partition(":")  # glibc cuts the text into settings where it stands
    assert any(entry.startswith(f"{VARIABLE}={first}") for entry in began_with)


def test_a_golden_mismatch_ends_it_with_a_reason_before_it_is_ever_ready(
    bundles: Callable[..., Path], tmp_path: Path
) -> None:
    folder = bundles(small.linear(-small.WEIGHTS), small.linear_samples())
    log = tmp_path / "termination"
    code, words = failed(folder, "--termination-log", str(log))
    assert code == 1
    assert words["reason"] == "GoldenMismatch"
    assert json.loads(log.read_text()) == words


def test_a_bundle_that_is_not_there_ends_it_with_a_reason(tmp_path: Path) -> None:
    code, words = failed(tmp_path / "nothing")
    assert code == 1
    assert words["reason"]


def test_a_port_that_is_taken_ends_it_with_a_reason(fraud: Running, bundles: Callable[..., Path]) -> None:
    code, words = failed(bundles(small.linear()), "--http-port", str(fraud.http))
    assert (code, words["reason"]) == (1, "PortTaken")


@pytest.mark.parametrize("host", ["nosuchhost.invalid", "192.0.2.1"])
@pytest.mark.parametrize("flag", ["--host", "--metrics-host"])
def test_a_host_that_is_not_here_ends_it_with_what_to_change(
    bundles: Callable[..., Path], flag: str, host: str
) -> None:
    code, words = failed(bundles(small.linear()), flag, host)
    assert (code, words["reason"]) == (1, "Failed")
    assert "cannot listen: " in words["message"]
    assert words["message"].endswith(f"choose another {flag}")


def test_ctrl_c_while_it_is_loaded_ends_it_without_a_word(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job has it ignored
        "class Impatient:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'numpy': os.kill(os.getpid(), signal.SIGINT)\n"
        "from tidegate_runtime.main import main\n"
        "sys.meta_path.insert(0, Impatient())\n"
        f"sys.exit(main(['serve', '--bundle', {str(tmp_path)!r}]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=DEADLINE, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def test_ctrl_c_before_it_listens_ends_it_without_a_word(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, tidegate_runtime.serve\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "tidegate_runtime.serve.read_settings = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        "from tidegate_runtime.main import main\n"
        f"sys.exit(main(['serve', '--bundle', {str(tmp_path)!r}]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=DEADLINE, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def test_a_wrong_flag_is_a_usage_error(tmp_path: Path) -> None:
    for flags, sentence in (
        (["--queue", "0"], "--queue: '0' is not a whole number from 1 to 1048576"),
        (["--drain", "soon"], "--drain: 'soon' is not a duration such as 10s, 250ms or 1m30s"),
        (["--device", "abacus"], "--device: 'abacus' is none of cpu, cuda, tensorrt"),
    ):
        command = [sys.executable, "-m", "tidegate_runtime", "serve", "--bundle", str(tmp_path), *flags]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert (ended.returncode, ended.stderr.strip()) == (2, f"error: {sentence}")


def test_a_wrong_setting_of_the_environment_is_told_in_the_termination_log(tmp_path: Path) -> None:
    log = tmp_path / "termination"
    environment = {**os.environ, "TIDEGATE_METRICS_PORT": "tcp://10.0.0.1:80", "TIDEGATE_TERMINATION_LOG": str(log)}
    command = [sys.executable, "-m", "tidegate_runtime", "serve", "--bundle", str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, timeout=DEADLINE, check=False)
    words = json.loads(log.read_text())
    assert (ended.returncode, words["reason"]) == (2, "Usage")
    assert "--metrics-port: 'tcp://10.0.0.1:80' is not a whole number" in words["message"]


def test_a_server_that_is_ended_before_it_is_ready_leaves_no_reason(
    bundles: Callable[..., Path], serve: Callable[..., Running], tmp_path: Path
) -> None:
    log = tmp_path / "termination"
    endless = GoldenSample({"steps": np.array([ENDLESS])}, {"y": np.zeros((1, 1), np.float32)})
    running = serve(bundles(stepping(), [endless]), "--termination-log", str(log), ready=False)
    wait_until(lambda: log.exists() and "died while loading" in log.read_text(), "what it says while it loads")
    assert running.end() == 0
    assert log.read_text() == ""


def test_the_termination_log_of_a_ready_server_is_empty(
    bundles: Callable[..., Path], serve: Callable[..., Running], tmp_path: Path
) -> None:
    log = tmp_path / "termination"
    serve(bundles(small.linear()), "--termination-log", str(log))
    assert log.read_text() == ""


def test_the_end_of_the_lifeline_ends_the_server_within_its_hurried_drain(
    bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    ours, theirs = os.pipe()
    try:
        running = serve(bundles(small.linear()), "--lifeline-fd", str(ours), "--drain-delay", "60s", pass_fds=(ours,))
    finally:
        os.close(theirs)
        os.close(ours)
    assert running.process.wait(timeout=3.5) == 0


@pytest.mark.parametrize("moment", ["before ready", "after ready"])
def test_sigterm_ends_it_with_zero(bundles: Callable[..., Path], serve: Callable[..., Running], moment: str) -> None:
    running = serve(bundles(small.linear()), ready=moment == "after ready")
    assert running.end() == 0


def test_serving_imports_nothing_that_is_slow_or_large() -> None:
    heavy = ["pydantic", "boto3", "rich", "model_signing", "onnx", "grpc", "click", "cryptography", "jwt"]
    code = f"import sys, tidegate_runtime.serve; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert found.stdout.strip() == "[]"


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert tidegate_runtime.__version__ == tidegate.__version__ == project["version"]
