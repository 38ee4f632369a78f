"""Carrying out a Containerfile's instructions, in a namespace, on a base that is an empty folder."""

from __future__ import annotations

import pytest
from tests.images.context import Context, listed


def test_a_copy_of_the_checkout_leaves_out_what_docker_ignores_and_has_the_modes_of_git(context: Context) -> None:
    image = context.image("FROM base AS image\nCOPY package /opt/package\n")

    base, layer = image["layers"]
    assert listed(base) == {}
    assert listed(layer) == {
        "opt": 0o755, "opt/package": 0o755, "opt/package/module.py": 0o644, "opt/package/script": 0o755,
    }  # fmt: skip


def test_what_a_stage_of_the_build_has_is_in_an_image_only_if_it_is_copied(context: Context) -> None:
    (context.folder / "to-build/compiler").touch()
    image = context.image(
        "FROM base AS build\nCOPY package /src\nCOPY --from=base2 /compiler /src/\nFROM base AS base2\n"
        "FROM base AS image\nCOPY --from=build /src/compiler /src/module.py /opt/\n"
    )

    assert listed(image["layers"][-1]).keys() == {"opt", "opt/compiler", "opt/module.py"}
    assert len(image["layers"]) == 2


def test_a_stage_has_what_its_parent_says_and_its_own(context: Context) -> None:
    image = context.image(
        "ARG VERSION=1\nFROM base AS parent\nENV A=1\nUSER 65532:65532\nWORKDIR /tmp\nSTOPSIGNAL SIGTERM\n"
        'FROM parent AS image\nARG VERSION\nENV B=$A\nEXPOSE 80 81\nCMD ["--help"]\nENTRYPOINT ["/run"]\n'
        'LABEL version="$VERSION" \\\n    title=it\n'
    )

    assert {name: image["environment"][name] for name in "AB"} == {"A": "1", "B": "1"}
    assert image["settings"] == {
        "User": "65532:65532", "WorkingDir": "/tmp", "StopSignal": "SIGTERM", "Cmd": ["--help"], "Entrypoint": ["/run"],
        "ExposedPorts": {"80/tcp": {}, "81/tcp": {}}, "Labels": {"version": "1", "title": "it"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("COPY package/left.so /opt/", "left.so is left out by .dockerignore"),
        ("COPY --chown=1:1 package /opt/", "of COPY's flags only --from is known"),
        ("USER 1\nRUN true", "line 3: RUN after USER"),
        ("RUN --mount=type=secret,id=a,target=/root/a true", "only caches and secrets below /run are known"),
        ("RUN --network=none true", "only caches and secrets below /run are known"),
    ],
)
def test_what_would_come_out_otherwise_than_with_docker_is_refused(context: Context, text: str, message: str) -> None:
    done = context.build(f"FROM base AS image\n{text}\n")

    assert done.returncode == 1
    assert message in done.stderr
