"""The short-lived commands of the pods: one line of JSON that fits a termination message, or one reason."""

from __future__ import annotations

import base64
import functools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from examples.demo.s3 import S3Server
from tests.bundle.web import Web, web_server
from tests.runtime import small_bundles as small

from tidegate.bundle.manifest import Interface, TensorSpec, read_bundle_dir
from tidegate.bundle.push import push
from tidegate.bundle.reader import Resolved
from tidegate.bundle.source import Access
from tidegate_runtime import bundle_source, main
from tidegate_runtime.outcome import MOST_BYTES, MOST_MESSAGE_BYTES, answer, one_line
from tidegate_runtime.resolve import resolution


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return small.write_bundle(tmp_path / "bundle", small.linear(), small.linear_samples())


def outcome(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the JSON line of a command."""
    code = main.main(words)
    shown = capsys.readouterr()
    found: dict[str, Any] = json.loads((shown.out or shown.err).splitlines()[-1])
    return code, found


SHOWS_CORE_LIMIT = """
import contextlib, resource, sys
from tidegate_runtime import main
most = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (most, most))
with contextlib.suppress(SystemExit):
    main.main([*sys.argv[1:], "--help"])
print(resource.getrlimit(resource.RLIMIT_CORE)[0])
"""


@pytest.mark.parametrize("command", main.COMMANDS)
def test_no_command_that_crashes_leaves_what_was_in_its_memory_on_a_disk(command: str) -> None:
    """Keys and plain text of encrypted bundles would be in a core dump."""
    ended = subprocess.run(
        [sys.executable, "-c", SHOWS_CORE_LIMIT, command], capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == "0"


def test_check_tells_the_worst_difference_of_every_output(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = outcome(capsys, "check", str(bundle))

    assert code == 0
    assert (found["ok"], found["samples"], found["device"]) == (True, 2, "cpu")
    assert {row["output"]: row["worst"] < 1e-5 for row in found["outputs"]} == {"scores": True, "label": True}


def test_check_of_a_damaged_model_ends_with_one_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = small.write_bundle(tmp_path / "b", small.linear(small.WEIGHTS * 2), small.linear_samples())
    log = tmp_path / "termination-log"

    code, found = outcome(capsys, "check", str(damaged), "--termination-log", str(log))

    assert code == 1
    assert found["reason"] == "GoldenMismatch"
    assert "output 'scores' of sample golden/0.npz" in found["message"]
    assert json.loads(log.read_text()) == found


def test_fetch_brings_the_same_bundle(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = outcome(capsys, "fetch", bundle.as_uri(), str(tmp_path / "here"))

    assert code == 0
    assert found["digest"] == read_bundle_dir(bundle).digest == read_bundle_dir(tmp_path / "here").digest


def test_fetch_refuses_a_pickle_that_is_called_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small.write_bundle(tmp_path / "b", small.linear())
    (folder / "model.onnx").write_bytes(b"\x80\x04\x95 pickle me")
    (folder / "bundle.yaml").unlink()
    small.write_manifest_of(folder, small.linear())

    code, found = outcome(capsys, "fetch", folder.as_uri(), str(tmp_path / "here"))

    assert (code, found["reason"]) == (1, "ModelInvalid")
    assert "is a pickle, not ONNX" in found["message"]


@pytest.mark.parametrize("command", [["fetch", "HERE"], ["resolve"], ["prove"]])
def test_another_digest_is_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    name, *more = [str(tmp_path / "here") if word == "HERE" else word for word in command]

    code, found = outcome(capsys, name, bundle.as_uri(), *more, "--digest", "sha256:" + "0" * 64)

    assert (code, found["reason"]) == (1, "DigestMismatch")
    assert not (tmp_path / "here").exists()


def test_a_bundle_that_is_not_there_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = outcome(capsys, "resolve", (tmp_path / "nowhere").as_uri())

    assert (code, found["reason"]) == (1, "NotFound")


def test_an_address_inside_the_pod_is_never_asked(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = outcome(capsys, "resolve", "https://169.254.169.254/models/v1")

    assert code == 1
    assert "169.254.169.254" in found["message"]


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("command", ["resolve", "prove"])
def test_a_store_on_the_pods_own_loopback_is_never_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, command: str
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    code, found = outcome(capsys, command, "s3://models/fraud/v1")

    assert (code, found["reason"]) == (1, "AddressRefused")


@pytest.fixture
def store(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """An HTTPS store with a certificate by its own authority, on loopback, which this process alone allows itself."""
    monkeypatch.setattr(bundle_source, "Access", functools.partial(Access, allow_loopback=True))
    (tmp_path / "server").mkdir()
    with web_server(bundle.parent, tmp_path / "server") as web:
        yield web


def mounted_secret(folder: Path, keys: Mapping[str, str | bytes]) -> Path:
    """A Secret's volume: each key a link by way of `..data`."""
    (folder / "..1").mkdir(parents=True)
    (folder / "..data").symlink_to("..1")
    for name, value in keys.items():
        (folder / "..1" / name).write_bytes(value if isinstance(value, bytes) else value.encode())
        (folder / name).symlink_to(f"..data/{name}")
    return folder


def test_a_store_by_an_unknown_authority_is_not_trusted(store: Web, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = outcome(capsys, "resolve", store.url("bundle"))

    assert (code, found["reason"]) == (1, "CertificateInvalid")


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "ca.crt"])
@pytest.mark.parametrize("as_file", [True, False])
def test_the_environment_names_the_authority_of_the_store(
    store: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str,
    as_file: bool,
) -> None:  # fmt: skip
    (tmp_path / "mounted.pem").write_text(store.ca)
    monkeypatch.setenv(name, str(tmp_path / "mounted.pem") if as_file else store.ca)

    code, found = outcome(capsys, "resolve", store.url("bundle"))

    assert (code, found.get("version")) == (0, "v1")


def test_an_authority_that_is_not_mounted_is_not_replaced_by_the_systems(
    store: Web, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere/ca.crt")

    code, found = outcome(capsys, "resolve", store.url("bundle"))

    assert (code, found["reason"]) == (1, "CertificateInvalid")
    assert "/nowhere/ca.crt" in found["message"]


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_mounted_secret_gives_authority_and_credentials(
    store: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    store.authorization = "Basic " + base64.b64encode(b"me:secret").decode()
    login = json.dumps({"auths": {f"localhost:{store.port}": {"username": "me", "password": "secret"}}})
    keys: dict[str, str | bytes] = {"ca.crt": store.ca + "\n", ".dockerconfigjson": login, "keystore.p12": b"\xff\x00"}
    folder = mounted_secret(tmp_path / "secret", keys)
    flags = [] if by_variable else ["--store-secret", str(folder)]
    if by_variable:
        monkeypatch.setenv("TIDEGATE_STORE_SECRET", str(folder))

    code, found = outcome(capsys, "fetch", store.url("bundle"), str(tmp_path / "here"), *flags)

    assert (code, found.get("version")) == (0, "v1")


@pytest.mark.parametrize("mounted", [True, False])
def test_a_bucket_is_read_with_the_keys_of_a_secret(
    s3: S3Server, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    mounted: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(bundle_source, "Access", functools.partial(Access, allow_loopback=True))
    uri = f"s3://models/secret-{mounted}/v1"
    push(bundle, uri, access=Access(s3.credentials(), allow_loopback=True))
    keys = s3.credentials()
    folder = mounted_secret(tmp_path / "secret", keys if mounted else {})
    for name, value in ({} if mounted else keys).items():
        monkeypatch.setenv(name, value)

    code, found = outcome(capsys, "fetch", uri, str(tmp_path / "here"), "--store-secret", str(folder))

    assert (code, found.get("digest")) == (0, read_bundle_dir(bundle).digest)
    assert s3.secret_key not in json.dumps(found)


def test_the_environment_goes_before_a_mounted_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/of/the/environment")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    keys = {
        "AWS_CA_BUNDLE": "/of/the/secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://s3\n",
        "ca.crt": "",
    }
    folder = mounted_secret(tmp_path / "secret", keys)

    assert bundle_source.credentials_of(folder) == {
        "AWS_CA_BUNDLE": "/of/the/environment",
        "AWS_ENDPOINT_URL": "http://s3",
    }
    assert bundle_source.credentials_of(tmp_path / "none") == {"AWS_CA_BUNDLE": "/of/the/environment"}


def test_a_secret_that_cannot_be_used_is_told_without_its_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mounted_secret(tmp_path / "secret", {"ca.crt": "secret" * 20_000})

    code, found = outcome(capsys, "resolve", "https://store.example/fraud/v1", "--store-secret", str(folder))

    assert (code, found["reason"]) == (1, "Denied")
    assert found["message"] == f"{folder}/ca.crt: more than 65536 bytes: correct the Secret"


def test_resolve_says_what_a_rollout_must_know(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = outcome(capsys, "resolve", bundle.as_uri())

    assert code == 0
    assert found["digest"] == read_bundle_dir(bundle).digest
    assert (found["version"], found["golden"], found["signature"]) == ("v1", 2, "Missing")
    assert found["interface"]["inputs"] == [{"name": "x", "type": "FP32", "shape": ["N", 4]}]


def test_prove_runs_the_golden_samples(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = outcome(capsys, "prove", bundle.as_uri())

    assert code == 0
    assert found["proof"]["samples"] == 2
    assert found["digest"] == read_bundle_dir(bundle).digest


def test_prove_refuses_what_the_samples_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = small.write_bundle(tmp_path / "b", small.linear(-small.WEIGHTS), small.linear_samples())

    code, found = outcome(capsys, "prove", damaged.as_uri())

    assert (code, found["reason"]) == (1, "GoldenMismatch")


def test_an_answer_about_a_huge_interface_still_fits_and_says_what_it_left_out(bundle: Path) -> None:
    read = read_bundle_dir(bundle)
    many = tuple(TensorSpec(f"input_with_a_long_name_{i}", "FP32", ("N", i)) for i in range(250))
    manifest = small.with_interface(read.manifest, Interface(many, many))
    labels = [f"label {i}" for i in range(1000)]

    found = resolution(Resolved("file:///b", read.digest, manifest, read.raw, None, False), labels)

    assert len(json.dumps(found).encode()) <= MOST_BYTES
    assert found["omitted"] == ["labels", "interface"]
    assert len(found["interfaceDigest"]) == 64


def test_a_model_for_a_newer_onnx_runtime_is_refused_before_it_is_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small.write_bundle(tmp_path / "b", small.linear())
    small.rewrite_manifest(folder, minimum_runtime="99.1")

    code, found = outcome(capsys, "resolve", folder.as_uri())

    assert (code, found["reason"]) == (1, "ModelInvalid")
    assert "needs ONNX Runtime 99.1" in found["message"]


def test_the_installed_command_answers_on_stdout_with_nothing_else(bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidegate_runtime", "check", str(bundle)], capture_output=True, timeout=60, check=True
    )

    assert json.loads(done.stdout)["ok"] is True
    assert done.stderr == b""


def test_a_signers_key_that_the_secret_lacks_is_not_the_bundles_fault(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = outcome(capsys, "resolve", bundle.as_uri(), "--public-key", str(tmp_path / "key/public.pem"))

    assert (code, found["reason"]) == (5, "SecretMissing")


def test_a_flag_that_this_image_does_not_know_is_told_in_the_termination_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_TERMINATION_LOG", str(tmp_path / "log"))

    with pytest.raises(SystemExit):
        main.main(["serve", "--bundle", "b", "--of-the-future", "x"])

    said = json.loads((tmp_path / "log").read_text())
    assert said == {"reason": "Usage", "message": "unrecognized arguments: --of-the-future x"}


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (OSError(30, "Read-only file system", "/bundles"), "LocalError", "/bundles: Read-only file system"),
        (ValueError("a slip"), "InternalError", "ValueError: a slip"),
    ],
)
def test_whatever_happens_there_is_a_last_word_and_the_bundle_is_not_blamed(
    tmp_path: Path, error: Exception, reason: str, message: str
) -> None:
    def work() -> dict[str, Any]:
        raise error

    code = answer(work, tmp_path / "log")

    assert code == 5
    assert json.loads((tmp_path / "log").read_text()) == {"reason": reason, "message": message}


@pytest.mark.parametrize("text", ["é" * 5000, "𝄞" * 5000, "\x00\n" * 5000, "'\"\\" * 5000, "\udcff" * 5000])
def test_a_last_word_fits_whatever_it_is_about(text: str) -> None:
    shown = one_line(text)

    assert len(shown.encode()) <= MOST_MESSAGE_BYTES
    assert len(json.dumps({"reason": "R" * 63, "message": shown})) <= MOST_BYTES
    assert "\n" not in shown
