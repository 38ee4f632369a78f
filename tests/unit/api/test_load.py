"""Manifests as files: limits, lines, and never a traceback."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.api.load import Checked, ManifestInvalid, check, check_text, load_manifests
from tidegate.errors import Invalid, UsageError

HEAD = "apiVersion: serving.tidegate.io/v1alpha1\nkind: ModelDeployment\nmetadata: {name: fraud}\n"
GOOD = HEAD + "spec: {bundle: {uri: 's3://models/fraud/1'}}\n"
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)


def found(text: str | bytes) -> list[str]:
    checked = Checked()
    check_text(text if isinstance(text, bytes) else text.encode(), "f.yaml", checked)
    return [str(problem) for problem in checked.problems]


def test_a_manifest_in_order_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "fraud.yaml"
    file.write_text(GOOD)

    [deployment] = load_manifests(file)

    assert deployment.metadata.name == "fraud"
    assert deployment.spec.bundle.uri == "s3://models/fraud/1"


def test_a_problem_names_file_line_and_field(tmp_path: Path) -> None:
    file = tmp_path / "fraud.yaml"
    file.write_text(
        GOOD + "---\n" + HEAD.replace("fraud", "other") + "spec:\n  bundle:\n    uri: models\n  paused: 1\n"
    )

    with pytest.raises(ManifestInvalid) as caught:
        load_manifests(file)

    assert [(problem.line, problem.field) for problem in caught.value.problems] == [
        (11, "spec.bundle.uri"), (12, "spec.paused"),
    ]  # fmt: skip
    assert f"{file}:11: spec.bundle.uri: write where the bundle is" in str(caught.value)


def test_a_missing_field_is_told_at_the_part_that_misses_it() -> None:
    assert found(HEAD + "spec:\n  bundle: {}\n") == ["f.yaml:5: spec.bundle.uri: add uri: it has no default"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"\xff\xfe", "not UTF-8"),
        ("a: [", "not YAML"),
        ("a: \x00", "not YAML"),
        ("\ta: 1", "not YAML"),
        (GOOD + "spec: {}\n", "'spec' is there twice"),
        ("? [a]\n: b\n", "a key must be plain text"),
        ("&a [*a]", "an alias leads into itself"),
        (BOMB, "values, aliases followed"),
        ("[" * 100_000, "nested deeper"),
        ("a: " + "9" * 5000, "a number of that length"),
        ("a: .inf", "do not exist in a manifest"),
        ("a: !!python/object/apply:os.system [ls]", "not YAML"),
        ("a: !!binary x", "not YAML"),
        ("- 1", "write a ModelDeployment object"),
        ("text", "write a ModelDeployment object"),
        ("#" * (1024 * 1024 + 1), "are the limit"),
        ("---\na: 1\n" * 201, "more than 200 documents"),
        (GOOD.replace("v1alpha1", "v1"), "write 'serving.tidegate.io/v1alpha1'"),
        (GOOD.replace("kind: ModelDeployment", "kind: Model"), "write 'ModelDeployment'"),
        (GOOD + "---\n" + GOOD, "fraud is also in f.yaml:3"),
        (HEAD + "spec: {bundle: {uri: 's3://m/f'}, rollout: {historylimit: 1}}", "did you mean historyLimit?"),
        (HEAD + "spec: {bundle: {uri: 's3://m/f'}, rollout: {history_limit: 1}}", "did you mean historyLimit?"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence(text: str | bytes, says: str) -> None:
    problems = found(text)

    assert any(says in problem for problem in problems), problems


def test_yaml_is_read_as_kubectl_reads_it() -> None:
    spec = "spec:\n  bundle: {uri: 's3://m/f'}\n  paused: yes\n  rollout: {analysis: {maxDivergence: {outputs: [{name: y, atol: 1e-3}]}}}\n"
    checked = Checked()

    check_text((HEAD + spec).encode(), "f.yaml", checked)

    [deployment] = checked.deployments
    assert deployment.spec.paused is True
    assert deployment.spec.rollout.analysis.max_divergence is not None
    assert deployment.spec.rollout.analysis.max_divergence.outputs[0].atol == 1e-3


def test_documents_of_other_kinds_are_passed_over() -> None:
    checked = Checked()
    check_text(f"apiVersion: v1\nkind: Secret\n---\n{GOOD}---\n---\n".encode(), "f.yaml", checked)

    assert [(other.line, other.message) for other in checked.passed_over] == [(1, "v1 Secret")]
    assert len(checked.deployments) == 1


def test_a_status_in_a_file_is_nobodys_mistake() -> None:
    assert found(GOOD + "status: {from: another version}\n") == []


def test_json_is_a_manifest_too() -> None:
    assert found('{"apiVersion":"serving.tidegate.io/v1alpha1","kind":"ModelDeployment","metadata":{"name":"f"},'
                 '"spec":{"bundle":{"uri":"s3://m/f"}}}') == []  # fmt: skip


def test_a_folder_stands_for_the_manifests_below_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.yaml").write_text(GOOD)
    (tmp_path / "b.yml").write_text(GOOD.replace("fraud", "other"))
    (tmp_path / "note.txt").write_text("not a manifest")

    assert [one.metadata.name for one in check([str(tmp_path)]).deployments] == ["other", "fraud"]


def test_standard_input_is_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))

    assert len(load_manifests("-")) == 1


def test_two_of_one_name_are_fine_in_two_files_of_a_repository_but_not_in_one_run(tmp_path: Path) -> None:
    (tmp_path / "staging.yaml").write_text(GOOD)
    (tmp_path / "production.yaml").write_text(GOOD)

    assert check([str(tmp_path)]).problems == []
    with pytest.raises(ManifestInvalid, match="give each its own name"):
        load_manifests(tmp_path)


def test_nothing_to_read_is_wrong_usage(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path, Path("a\0b")):
        with pytest.raises(UsageError):
            check([str(path)])


def test_a_file_without_a_deployment_is_told(tmp_path: Path) -> None:
    file = tmp_path / "secret.yaml"
    file.write_text("apiVersion: v1\nkind: Secret\n")

    with pytest.raises(Invalid, match="there is no ModelDeployment in it"):
        load_manifests(file)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "ignore"))))
def test_garbage_gives_problems_and_never_a_traceback(text: bytes) -> None:
    check_text(text, "f.yaml", Checked())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    part=st.sampled_from(["bundle", "acceptance", "runtime", "scaling", "rollout", "routing", "paused"]), value=VALUES
)
def test_any_shape_in_any_place_gives_problems_and_never_a_traceback(part: str, value: Any) -> None:
    text = yaml.safe_dump(
        {"kind": "ModelDeployment", "metadata": value, "spec": {"bundle": {"uri": "s3://m/f"}, part: value}}
    )

    assert found(text)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_manifest_with_bytes_changed_gives_problems_and_never_a_traceback(data: st.DataObject) -> None:
    text = bytearray(GOOD.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    check_text(bytes(text), "f.yaml", Checked())
