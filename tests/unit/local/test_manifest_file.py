from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.errors import Invalid, UsageError
from tidegate.local.manifest import LIMIT, ManifestFile

GOOD = """\
apiVersion: serving.tidegate.io/v1alpha1
kind: ModelDeployment
metadata: {name: fraud}
spec: {bundle: {uri: "s3://models/fraud/1"}}
"""


@pytest.fixture
def file(tmp_path: Path) -> ManifestFile:
    path = tmp_path / "m.yaml"
    path.write_text(GOOD)
    found = ManifestFile(path)
    found.read()
    return found


def seen(file: ManifestFile) -> bool:
    """Two looks: content counts when it stays for two."""
    return any([file.changed(), file.changed()])


def rewrite(file: ManifestFile, text: str) -> None:
    file.path.write_text(text)
    stamp = file.path.stat().st_mtime_ns + 1_000_000
    os.utime(file.path, ns=(stamp, stamp))


def test_a_file_that_stays_is_not_read_again(file: ManifestFile) -> None:
    assert not seen(file)


def test_new_content_is_taken(file: ManifestFile) -> None:
    rewrite(file, GOOD.replace("fraud/1", "fraud/2"))

    assert seen(file)
    assert file.deployments[0].spec.bundle.uri == "s3://models/fraud/2"
    assert file.problem == ""


def test_nonsense_keeps_the_last_good_manifest_and_names_the_line(file: ManifestFile) -> None:
    rewrite(file, GOOD.replace("uri:", "url:"))

    assert seen(file)
    assert file.deployments[0].spec.bundle.uri == "s3://models/fraud/1"
    assert f"{file.path}:4" in file.problem


def test_a_deleted_file_keeps_the_last_good_manifest(file: ManifestFile) -> None:
    file.path.unlink()

    assert seen(file)
    assert file.deployments[0].metadata.name == "fraud"
    assert "gone" in file.problem


def test_a_repaired_file_is_taken_again(file: ManifestFile) -> None:
    rewrite(file, "nonsense")
    assert seen(file)
    rewrite(file, GOOD + "\n")

    assert seen(file)
    assert file.problem == ""


def test_a_file_that_is_still_being_written_is_waited_for(file: ManifestFile) -> None:
    rewrite(file, "")
    assert not file.changed()
    rewrite(file, GOOD.replace("fraud/1", "fraud/3"))

    assert seen(file)
    assert file.deployments[0].spec.bundle.uri.endswith("/3")


def test_two_deployments_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(GOOD + "---\n" + GOOD.replace("name: fraud", "name: fraud, namespace: other"))

    with pytest.raises(Invalid, match="more than one ModelDeployment is called fraud"):
        ManifestFile(path).read()


def test_two_deployments_of_one_host_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    routed = GOOD.replace("spec: {", "spec: {routing: {hostnames: [a.example.com]}, ")
    path.write_text(routed + "---\n" + routed.replace("name: fraud", "name: spam"))

    with pytest.raises(Invalid, match="has the host name"):
        ManifestFile(path).read()


def test_what_is_to_be_encrypted_is_not_offered_to_a_network_in_plain_http(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(GOOD.replace("spec: {", "spec: {runtime: {tls: {secretRef: {name: fraud-tls}}}, "))

    ManifestFile(path, "localhost").read()
    with pytest.raises(UsageError, match=r"--host 0\.0\.0\.0: fraud asks for runtime\.tls"):
        ManifestFile(path, "0.0.0.0").read()


def test_a_pipe_or_a_folder_is_no_manifest_that_could_be_read_again(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for path in (pipe, tmp_path):
        with pytest.raises(UsageError, match="not a plain file"):
            ManifestFile(path).read()


def test_a_pipe_in_the_place_of_the_file_keeps_the_last_good_manifest(file: ManifestFile) -> None:
    file.path.unlink()
    os.mkfifo(file.path)

    assert seen(file)
    assert file.deployments[0].metadata.name == "fraud"
    assert "not a plain file" in file.problem


def test_what_is_no_manifest_by_its_size_is_not_parsed(file: ManifestFile) -> None:
    rewrite(file, "- nonsense\n" * (LIMIT // 11 + 1))

    assert seen(file)
    assert file.deployments[0].metadata.name == "fraud"
    assert f"larger than {LIMIT >> 10} KiB" in file.problem
