"""`tidegate matrix`: golden samples in environments of other versions, which are made by a pretended uv.

Every cell really runs; `BROKEN` makes one version answer otherwise.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.author.conftest import PretendedUv
from tests.waiting import wait_until

from tidegate.bundle.encryption import MEMORY, encrypt, generate_identity

NAMED = ("--name", "shapes", "--version", "1.0.0")

REFUSED = 'sys.exit("error: no solution" + chr(10) + "found") if "onnxruntime==9.9.*" in wanted else None'
CHANGED = "(packages / 'sitecustomize.py').write_text({code!r}) if 'onnxruntime==1.7.*' in wanted else None"
BROKEN = """
import onnxruntime
onnxruntime.__version__ = "1.7.2"
class Session(onnxruntime.InferenceSession):
    def run(self, names, fed):
        return [one if one.dtype == object else one + 1 for one in super().run(names, fed)]
onnxruntime.InferenceSession = Session
"""
CRASHING = "import os, signal, onnxruntime; onnxruntime.InferenceSession = lambda *a, **k: os.kill(os.getpid(), signal.SIGSEGV)"
SLOW = "(packages / 'slow').touch(); time.sleep(600)"


@pytest.fixture
def bundle(tidegate: Any, script: Path) -> None:
    ended = tidegate("pack", "train.py:model", "-o", "bundle", *NAMED, "--golden-count", "2")
    assert ended.code == 0, ended.err


@pytest.mark.usefixtures("bundle")
def test_every_version_with_every_number_of_threads_runs_in_an_environment_of_its_own(
    tidegate: Any, uv: PretendedUv
) -> None:
    ended = tidegate("matrix", "bundle", "--onnxruntime", "1.18,1.31.1,latest", "--threads", "1,2", "-o", "json")

    document = json.loads(ended.out)
    assert ended.code == 0, ended.err
    assert [(cell["asked"], cell["threads"]) for cell in document["cells"]] == [
        (version, threads) for version in ("1.18", "1.31.1", "latest") for threads in (1, 2)
    ]
    assert all(cell["ok"] and cell["worst"] < 1e-4 and cell["milliseconds"] > 0 for cell in document["cells"])
    assert uv.asked == [
        "onnxruntime==1.18.* numpy<2",
        "onnxruntime==1.31.1 numpy",
        "onnxruntime numpy",
    ]
    assert list(uv.temporary.iterdir()) == []


@pytest.mark.usefixtures("bundle")
def test_a_version_that_answers_otherwise_fails_and_says_where(tidegate: Any, uv: PretendedUv) -> None:
    uv.does(CHANGED.format(code=BROKEN))

    ended = tidegate("matrix", "bundle", "--onnxruntime", "1.7,latest", "--threads", "1")

    assert ended.code == 1
    assert "1.7.2        cpu       1        failed" in ended.out
    assert "onnxruntime 1.7.2, cpu: sample 0, output 'label'" in ended.out
    assert "1 of 2 pass" in ended.out


@pytest.mark.usefixtures("bundle")
def test_quietly_only_what_fails_is_printed(tidegate: Any, uv: PretendedUv) -> None:
    uv.does(REFUSED)

    good = tidegate("matrix", "bundle", "--onnxruntime", "latest", "--threads", "1", "-q")
    bad = tidegate("matrix", "bundle", "--onnxruntime", "latest,9.9", "--threads", "1", "-q")

    assert (good.code, good.out) == (0, "")
    assert (bad.code, bad.out) == (1, "onnxruntime 9.9, cpu, threads 1: uv: error: no solution found\n")


@pytest.mark.usefixtures("bundle")
def test_a_version_that_crashes_costs_its_cell_only(tidegate: Any, uv: PretendedUv) -> None:
    uv.does(CHANGED.format(code=CRASHING))

    ended = tidegate("matrix", "bundle", "--onnxruntime", "1.7,latest", "--threads", "1", "-q")

    assert ended.out == "onnxruntime 1.7, cpu, threads 1: it was ended by SIGSEGV\n"


@pytest.mark.usefixtures("bundle")
def test_a_provider_that_is_not_there_fails(tidegate: Any, uv: PretendedUv) -> None:
    ended = tidegate("matrix", "bundle", "--onnxruntime", "latest", "--provider", "cpu,cuda", "--threads", "1")

    assert ended.code == 1
    assert "cuda: this ONNX Runtime has no CUDAExecutionProvider" in ended.out
    assert uv.asked == ["onnxruntime numpy", "onnxruntime-gpu numpy"]


@pytest.mark.usefixtures("script", "uv")
def test_texts_go_in_and_come_out(tidegate: Any) -> None:
    Path("texts.py").write_text(
        "from sklearn.feature_extraction.text import TfidfVectorizer\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.pipeline import make_pipeline\n"
        "def model():\n"
        "    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(['low tide', 'high gate'], ['a', 'b'])\n"
    )
    tidegate("pack", "texts.py:model", "-o", "texts", *NAMED, "--golden-count", "2")

    assert tidegate("matrix", "texts", "--onnxruntime", "latest", "--threads", "1", "-q").code == 0


@pytest.mark.usefixtures("bundle")
def test_without_saying_versions_it_is_the_one_it_was_packed_with_and_the_latest(
    tidegate: Any, uv: PretendedUv
) -> None:
    from tidegate.bundle.manifest import read_bundle_dir

    tidegate("matrix", "bundle", "--threads", "1")

    packed_with = read_bundle_dir(Path("bundle")).manifest.model.minimum_runtime
    assert uv.asked == [f"onnxruntime=={packed_with}.* numpy", "onnxruntime numpy"]


@pytest.mark.usefixtures("bundle")
def test_it_tells_how_far_it_is_and_what_it_does(uv: PretendedUv) -> None:
    from tidegate.author.matrix import Axes, run_matrix
    from tidegate.bundle.manifest import read_bundle_dir

    uv.does(REFUSED)
    told: list[tuple[int, int, str]] = []
    run_matrix(read_bundle_dir(Path("bundle")), Axes(("9.9", "latest")), lambda *step: told.append(step))

    assert told == [
        (0, 2, "installing onnxruntime 9.9"),
        (0, 2, "onnxruntime 9.9, cpu, threads 1"),
        (1, 2, "installing onnxruntime latest"),
        (1, 2, "onnxruntime latest, cpu, threads 1"),
    ]


@pytest.mark.usefixtures("bundle")
def test_ctrl_c_removes_the_environment(uv: PretendedUv) -> None:
    uv.does(SLOW)
    command = [sys.executable, "-c", "from tidegate.cli.main import main; main()", "matrix", "bundle"]

    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        slow = "tidegate-isolated-*/env/lib/python*/site-packages/slow"
        wait_until(lambda: any(uv.temporary.glob(slow)), "no environment", 60)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
    finally:
        running.kill()

    assert running.returncode == 130, told
    assert list(uv.temporary.iterdir()) == []


@pytest.mark.usefixtures("bundle", "uv")
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--onnxruntime", "new"), 2, "--onnxruntime: 'new' is no version: write 1.23, 1.23.2 or latest"),
        (("--onnxruntime", ","), 2, "name at least one version"),
        (("--provider", "gpu"), 2, "--provider: there is no 'gpu': use cpu, cuda"),
        (("--threads", "all"), 2, "--threads: 'all' is no list of numbers"),
        (("--threads", "0"), 2, "--threads: must be 1 to 1024"),
    ],
)
def test_axes_that_make_no_sense_are_wrong_usage(
    tidegate: Any, options: tuple[str, ...], code: int, message: str
) -> None:
    ended = tidegate("matrix", "bundle", *options)

    assert (ended.code, message in ended.err) == (code, True), ended.err


@pytest.mark.usefixtures("script", "uv")
def test_a_bundle_without_golden_samples_says_so(tidegate: Any) -> None:
    tidegate("pack", "train.py:model", "-o", "bundle", *NAMED, "--golden", "none")

    ended = tidegate("matrix", "bundle")

    assert ended.code == 1
    assert "bundle: there are no golden samples: pack it with --golden generated" in ended.err


def test_a_bundle_that_is_not_there_says_so(tidegate: Any) -> None:
    assert tidegate("matrix", "absent").code == 1


@pytest.mark.usefixtures("bundle")
def test_from_python_it_is_what_the_command_prints(tidegate: Any, uv: PretendedUv) -> None:
    import tidegate as library

    uv.does(CHANGED.format(code=BROKEN))
    asked = ("--onnxruntime", "1.7,latest", "--threads", "1")

    found = library.matrix("bundle", onnxruntime=("1.7", "latest"), threads=1)

    printed = json.loads(tidegate("matrix", "bundle", *asked, "-o", "json").out)
    assert _without_time(found.document) == _without_time({name: printed[name] for name in found.document})
    assert (found.ok, [cell.asked for cell in found.failed]) == (False, ["1.7"])
    assert repr(found) == "<golden samples of bundle: 1 of 2 cells pass>"
    assert "sample 0, output &#x27;label&#x27;" in found._repr_html_()


def _without_time(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "cells": [{**cell, "milliseconds": 0} for cell in document["cells"]]}


@pytest.mark.usefixtures("bundle")
def test_an_encrypted_bundle_is_tried_with_its_key_and_its_samples_stay_in_memory(
    tidegate: Any, uv: PretendedUv, tmp_path: Path
) -> None:
    import tidegate as library

    seen = tmp_path / "seen"
    spying = f"import sys; print(sys.orig_argv[-1], file=open({str(seen)!r}, 'a'))"
    uv.does(f"(packages / 'sitecustomize.py').write_text({spying!r})")
    generate_identity(Path("age.key"), Path("age.pub"))
    encrypt(Path("bundle"), Path("sealed"), [Path("age.pub").read_text()])
    asked = ("--onnxruntime", "latest", "--threads", "1")

    blind = tidegate("matrix", "sealed", *asked)
    seeing = tidegate("matrix", "sealed", *asked, "--identity", "age.key")
    found = library.matrix("sealed", onnxruntime="latest", threads=1, identity="age.key")

    assert (blind.code, "is encrypted: name the age key: --identity FILE" in blind.err) == (1, True)
    assert (seeing.code, seeing.out.splitlines()[-1]) == (0, "1 of 1 pass")
    assert (found.ok, found.digest) == (True, library.inspect("bundle").digest)
    requests = [line for line in seen.read_text().splitlines() if line.endswith("request.json")]
    assert len(requests) == 2
    assert all(Path(request).is_relative_to(MEMORY) for request in requests)


@pytest.mark.usefixtures("bundle")
def test_from_python_the_versions_are_those_of_the_command(uv: PretendedUv) -> None:
    import tidegate as library

    found = library.matrix(library.inspect("bundle"), threads=[1])

    packed_with = library.inspect("bundle").manifest.model.minimum_runtime
    assert [cell.asked for cell in found.cells] == [packed_with, "latest"]
    with pytest.raises(library.TidegateError, match="--provider: there is no 'gpu'"):
        library.matrix("bundle", provider="gpu")
