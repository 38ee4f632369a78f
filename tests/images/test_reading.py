"""Reading a Containerfile: what it says, and that what the builder cannot do is never passed over."""

from __future__ import annotations

import pytest

from image_build.containerfile import Unknown, parse

TEXT = """\
# comment
ARG BASE=debian@sha256:1
FROM docker.io/${BASE} AS first
ENV A=1 \\
    # a comment within
    B="two words"
COPY --from=other  a b /c/

FROM first AS second
RUN --mount=type=secret,id=pip,target=/run/pip --mount=type=cache,target=/run/cache \\
    echo "$A" \\
    && true
CMD ["--help"]
"""


def test_stages_instructions_flags_and_lines_are_as_written() -> None:
    file = parse(TEXT)

    first, second = file.chain("second")
    assert (first.name, first.parent, second.parent) == ("first", "docker.io/debian@sha256:1", "first")
    environment, copy = first.instructions
    assert environment.pairs({}) == {"A": "1", "B": "two words"}
    assert (copy.line, copy.flags, copy.words({})) == (7, (("from", "other"),), ["a", "b", "/c/"])
    run, command = second.instructions
    assert [name for name, _ in run.flags] == ["mount", "mount"]
    assert run.text.split() == ["echo", '"$A"', "&&", "true"]
    assert command.listed() == ["--help"]


def test_arguments_before_the_first_stage_can_be_given() -> None:
    assert parse(TEXT, {"BASE": "mine"}).stages["first"].parent == "docker.io/mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM a AS b\nHEALTHCHECK NONE\n", "line 2: HEALTHCHECK is not known"),
        ("FROM a\n", "line 1: FROM must be `FROM image AS name`"),
        ("FROM --platform=x a AS b\n", "line 1: FROM must be"),
        ("RUN true\n", "line 1: RUN before the first FROM"),
        ("FROM ${X} AS b\n", "line 1: X is used and set nowhere"),
    ],
)
def test_what_the_builder_cannot_do_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(Unknown, match=message):
        parse(text)


def test_a_start_that_needs_a_shell_is_refused() -> None:
    [command] = parse("FROM a AS b\nCMD tidegate --help\n").stages["b"].instructions

    with pytest.raises(Unknown, match="line 2: CMD must be a JSON list"):
        command.listed()


def test_a_stage_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(Unknown, match="no stage is called 'gpu': there are first, second"):
        parse(TEXT).chain("gpu")
