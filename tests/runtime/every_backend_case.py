"""Each of ONNX's backend test cases packed, served by a real server, and asked in every form: `make backend-cases`.

`make test` puts all of them through the server's parsers and its way of loading and running, and some through a real
server; this does it with every one.  It also writes docs/backend-cases.md, the cases that are left out, and why.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tests.runtime.backend_cases import (
    RANDOM,
    RUNTIME,
    TYPE,
    Case,
    Expected,
    LeftOut,
    cases,
    differences,
    expected,
)
from tests.runtime.conftest import Running, start
from tests.runtime.grpc_client import SERVICE, Client

from tidegate.author import GoldenRequest, PackRequest, pack
from tidegate.author.request import NONE

PAGE = Path(__file__).resolve().parents[2] / "docs/backend-cases.md"
HEAD = """# ONNX's test cases that are not served

Of the backend test cases of the ONNX project these are left out, and no others: [what is carried](protocols.md#what-is-not-carried). `make backend-cases` packs every other one, serves it with a real server and asks it in every form, six minutes on two cores; it writes this page.
"""
WHY = {
    TYPE: "No request can carry such a type, or the model has sequences or ONNX's optional type.",
    RUNTIME: "ONNX Runtime itself has no such operator, or none for these types or this operator set.",
    RANDOM: "Two runs of ONNX Runtime itself differ.",
}


class Served:
    """See `tensor_forms.Target`: a real server."""

    def __init__(self, server: Running, client: Client) -> None:
        self._server, self._client = server, client

    def http(self, body: bytes, json_length: int | None) -> tuple[bytes, int | None]:
        headers = {} if json_length is None else {"inference-header-content-length": str(json_length)}
        answer = self._server.infer(body, headers=headers)
        assert answer.status == 200, answer.body
        length = answer.headers.get("inference-header-content-length")
        return answer.body, int(length) if length else None

    def grpc(self, request: bytes) -> bytes:
        return self._client.ask(f"{SERVICE}/ModelInfer", request)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case."""

    name: str
    left_out: str = ""
    wrong: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def by_name() -> Mapping[str, Case]:
    return {case.name: case for case in cases()}


def outcome(name: str) -> Outcome:
    """Of one case, whatever goes wrong with it."""
    try:
        known = expected(by_name()[name])
    except LeftOut as reason:
        return Outcome(name, left_out=str(reason))
    try:
        with tempfile.TemporaryDirectory(prefix="case-") as folder:
            return Outcome(name, wrong=tuple(served(known, Path(folder) / "bundle")))
    except Exception as fault:  # noqa: BLE001 - it is told, and counts
        return Outcome(name, wrong=(f"{name}: {type(fault).__name__}: {fault}",))


def served(known: Expected, folder: Path) -> Sequence[str]:
    """Where a real server's answers differ from a plain session's."""
    golden = GoldenRequest(inputs_of(known, folder.with_suffix(".npz")))
    pack(known.case.model, PackRequest(out=folder, name="fraud", version="v1", golden=golden))
    server = start(folder, "--grpc-port", "0")
    try:
        server.wait_ready()
        with Client(server.grpc) as client:
            found = differences(known, Served(server, client))
        code = server.end()
        return found if code == 0 else [*found, f"{known.case.name}: the server ended with {code}"]
    finally:
        server.kill()


def inputs_of(known: Expected, file: Path) -> str:
    """Where golden samples come from: the case's own inputs, as made-up ones are none where they are axes or sizes.

    A .npz holds no BF16, and nothing for a model that takes nothing.
    """
    if not known.inputs or any(tensor.datatype == "BF16" for tensor in known.inputs.values()):
        return NONE
    arrays: dict[str, Any] = {name: tensor.array for name, tensor in known.inputs.items()}
    texts = {name: array.astype(np.str_) for name, array in arrays.items() if array.dtype == object}
    np.savez(file, **(arrays | texts))
    return str(file)


def page(left_out: Mapping[str, Sequence[str]]) -> str:
    parts = [HEAD]
    for reason, why in WHY.items():
        names = sorted(left_out.get(reason, ()))
        parts.append(f"## {reason.capitalize()}: {len(names)}\n\n{why}\n\n{', '.join(f'`{name}`' for name in names)}\n")
    return "\n".join(parts)


def outcomes(names: Sequence[str], jobs: int) -> Iterator[Outcome]:
    warnings.simplefilter("ignore")  # the cases overflow and divide by zero on purpose
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for number, found in enumerate(pool.imap(outcome, names, chunksize=8), start=1):
            print(f"\r{number} of {len(names)}", end="", file=sys.stderr, flush=True)
            yield found
    print(file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.runtime.every_backend_case", description=__doc__)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="servers at a time")
    parser.add_argument("--only", default="", help="cases whose name has this text; the page stays as it is")
    given = parser.parse_args()
    names = [name for name in by_name() if given.only in name]
    left_out, wrong, count = defaultdict[str, list[str]](list), list[str](), Counter[str]()
    for one in outcomes(names, given.jobs):
        if one.left_out:
            left_out[one.left_out].append(one.name)
        else:
            wrong += one.wrong
            count["wrong" if one.wrong else "right"] += 1
    if not given.only:
        PAGE.write_text(page(left_out))
    for sentence in wrong:
        print(sentence)
    print(f"{count['right']} cases right in every form, {count['wrong']} wrong")
    for reason, those in left_out.items():
        print(f"{len(those)} left out: {reason}")
    return 1 if wrong or not names else 0


if __name__ == "__main__":
    sys.exit(main())
