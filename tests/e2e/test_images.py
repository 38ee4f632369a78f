"""The images of the Containerfile, built and run: in a restricted pod of namespaces, and by containerd."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.markers import Marker
from tests.e2e.containerd import Containerd
from tests.e2e.images import ROOT, TARGETS, Image, Unpacked
from tests.runtime.running_server import RunningServer, numbers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
LOCKS = {"cpu": "runtime-cpu", "operator": "operator"}
SBOM = "opt/tidegate/sbom.cdx.json"
SERVE = (
    "serve", "--bundle", "/mnt/bundle", "--internal-token-file", "/mnt/token", "--drain-delay", "100ms", "--drain", "5s",
    "--host", "127.0.0.1", "--http-port", "0", "--grpc-port", "off", "--metrics-host", "127.0.0.1", "--metrics-port", "0",
)  # fmt: skip


@contextlib.contextmanager
def serving(command: Sequence[str], environment: dict[str, str], folder: Path) -> Iterator[RunningServer]:
    """A server of an image, which tells its ports on stdout."""
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "stderr").read_text()
        ports = json.loads(line)
        yield RunningServer(process, ports["http"], ports["metrics"], folder)
    finally:
        process.kill()
        process.wait(timeout=10)
        process.stdout.close()


def documents(*all_: Unpacked) -> dict[str, str]:
    """The SBOM of each image, as it lies in it."""
    return {target: (one.root / SBOM).read_text() for target, one in zip(TARGETS, all_, strict=True)}


def locked(target: str) -> dict[str, set[str]]:
    """The hashes that a lock allows, by name and version, of what it wants for the image's Python."""
    text = (ROOT / f"locks/{LOCKS[target]}.txt").read_text()
    found = re.findall(r"^(\S+==\S+)(?: ; (.*?))?((?: \\\n    --hash=sha256:\w+)+)", text, re.MULTILINE)
    python = {"python_version": "3.13", "python_full_version": "3.13.5"}
    return {
        pin: set(re.findall(r"sha256:(\w+)", hashes))
        for pin, marker, hashes in found
        if not marker or Marker(marker).evaluate(python)
    }


def test_an_image_is_started_as_the_containerfile_says(images: dict[str, Image]) -> None:
    for image in images.values():
        started = image.configuration()["config"]
        assert (started["User"], started["WorkingDir"], started["StopSignal"]) == ("65532:65532", "/tmp", "SIGTERM")
        labels = started["Labels"]
        assert labels["org.opencontainers.image.created"] == image.configuration()["created"]
        assert re.match(r"[0-9a-f]{40}|unknown", labels["org.opencontainers.image.revision"])


def test_nothing_in_an_image_gives_rights_or_can_be_written(runtime: Unpacked, operator: Unpacked) -> None:
    for unpacked in (runtime, operator):
        modes = {path: path.lstat().st_mode for path in unpacked.root.rglob("*") if not path.is_symlink()}
        assert [path for path, mode in modes.items() if path.is_file() and mode & 0o6000] == []
        assert [path for path, mode in modes.items() if path.is_file() and mode & 0o002] == []
        assert [path for path, mode in modes.items() if path.is_dir() and mode & 0o1002 == 0o002] == []
        owners = {(member.uid, member.gid) for member in unpacked.members}
        assert owners == {(0, 0)}


def test_no_image_has_a_pip_or_a_compiler(runtime: Unpacked, operator: Unpacked) -> None:
    for unpacked in (runtime, operator):
        found = {path.name for path in unpacked.root.rglob("*") if path.name in ("pip", "ensurepip", "ziglang", "cc")}
        assert found == set()


def test_the_sbom_is_valid_and_lists_the_lock_with_hash_licence_and_purl(runtime: Unpacked, operator: Unpacked) -> None:
    for target, text in documents(runtime, operator).items():
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
        wheels = {f"{one['name']}=={one['version']}": one for one in components(text, "pkg:pypi/")}
        allowed = locked(target)
        assert wheels.keys() == allowed.keys()
        for pin, one in wheels.items():
            assert {each["content"] for each in one["hashes"]} <= allowed[pin], pin
            assert one["licenses"], pin


def components(text: str, purl: str) -> list[dict[str, Any]]:
    return [one for one in json.loads(text)["components"] if one.get("purl", "").startswith(purl)]


def test_the_sbom_lists_what_is_in_the_image_and_nothing_else(runtime: Unpacked, operator: Unpacked) -> None:
    for unpacked, text in zip((runtime, operator), documents(runtime, operator).values(), strict=True):
        names = {member.name for member in unpacked.members}
        folders = {name.split("/")[-1] for name in names if name.endswith(".dist-info")}
        wheels = components(text, "pkg:pypi/")
        assert folders == {f"{one['name'].replace('-', '_')}-{one['version']}.dist-info" for one in wheels}
        packages = {one["name"] for one in components(text, "pkg:deb/")}
        copyrights = {name.split("/")[3] for name in names if re.fullmatch(r"usr/share/doc/[^/]+/copyright", name)}
        assert copyrights <= packages
        assert {"libc6", "python3.13", "ca-certificates"} <= packages
        carried = {library["name"] for one in wheels for library in one.get("components", [])}
        assert carried == {name.split("/")[-1] for name in names if re.search(r"\.libs/[^/]+$", name)}


def test_the_sbom_has_the_hash_of_our_own_c(runtime: Unpacked, operator: Unpacked) -> None:
    native = runtime.root / "opt/tidegate/lib/python3.13/site-packages/tidegate_runtime/_json_numbers.abi3.so"
    files = {name: [one for one in json.loads(text)["components"] if one["type"] == "file"]
             for name, text in documents(runtime, operator).items()}  # fmt: skip

    [found] = files["cpu"]
    assert found["hashes"][0]["content"] == hashlib.sha256(native.read_bytes()).hexdigest()
    assert files["operator"] == []


def test_the_runtimes_image_serves_a_model_read_only_without_rights_and_without_a_shell(
    runtime: Unpacked, bundle: Path, tmp_path: Path
) -> None:
    host = {"PATH": os.environ["PATH"]} | {name: v for name, v in runtime.environment.items() if name != "PATH"}
    with serving(runtime.command(*SERVE, seen=bundle), host, tmp_path) as server:
        server.until_ready()
        answer = server.infer(numbers([1.0, 2.0, 3.0, 4.0]))
        assert (answer.status, answer.json["model_name"]) == (200, "fraud")
        server.process.terminate()
        assert server.process.wait(timeout=20) == 0, server.log


def test_the_c_that_reads_numbers_is_in_the_runtimes_image_and_used(runtime: Unpacked) -> None:
    command = runtime.command()
    inside = command[: command.index("-m", command.index("/opt/tidegate/bin/python"))]

    done = subprocess.run(
        [*inside, "-c", "from tidegate_runtime import _json_numbers as n; print(n.__file__)"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.stdout.strip().endswith("_json_numbers.abi3.so"), done.stderr


def test_the_operators_image_says_what_it_takes(operator: Unpacked) -> None:
    done = subprocess.run(
        operator.command("operator", "--help"), capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "--runtime-image" in done.stdout


def test_containerd_imports_and_runs_them(
    images: dict[str, Image], containerd: Containerd, bundle: Path, tmp_path: Path
) -> None:
    for image in images.values():
        assert containerd.digest(image.name) == image.digest
    helped = subprocess.run(
        containerd.run(images["operator"].name), capture_output=True, text=True, timeout=60, check=False
    )
    assert "--runtime-image" in helped.stdout, helped.stderr
    entrypoint = images["cpu"].configuration()["config"]["Entrypoint"]
    command = containerd.run(images["cpu"].name, *entrypoint, *SERVE, seen=bundle)
    with serving(command, dict(os.environ), tmp_path) as server:
        server.until_ready()
        assert server.infer(numbers([1.0, 2.0, 3.0, 4.0])).status == 200
        server.process.terminate()
        assert server.process.wait(timeout=20) == 0, server.log
