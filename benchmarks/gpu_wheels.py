"""Wheels in parts, for a machine that fetches nothing and takes only so much at a time.

    python -m benchmarks.gpu_wheels split FOLDER PARTS --size 48    the files of FOLDER, in parts of 48 MiB
    python -m benchmarks.gpu_wheels join PARTS… FOLDER              the same files again, compared by their sha256

`onnxruntime-gpu` is 255 MB; such a machine may take 64 MiB in one go.  Each part is a folder of its own in PARTS, so
that they can be carried one by one; the list of files and sums lies in each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

MIB = 2**20
LIST = "files.json"


def split(folder: Path, parts: Path, size: int) -> list[Path]:
    """Fill folders in `parts`, of `size` bytes at most, with the files of `folder` and pieces of them."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    listed = json.dumps({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    made: list[Path] = []
    room = 0
    for path in files:
        with path.open("rb") as file:
            number = 0
            while piece := file.read(room or size):
                if not room:
                    made.append(parts / f"part-{len(made):03}")
                    made[-1].mkdir(parents=True)
                    (made[-1] / LIST).write_text(listed)
                    room = size
                (made[-1] / f"{path.name}.{number:03}").write_bytes(piece)
                number, room = number + 1, room - len(piece)
    return made


def join(parts: Iterable[Path], folder: Path) -> list[Path]:
    """Put the files together that the pieces in `parts` are of; raises ValueError where one is not as it was."""
    pieces = sorted(piece for part in parts for piece in part.iterdir() if piece.name != LIST)
    [listed] = {(piece.parent / LIST).read_text() for piece in pieces}
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, wanted in json.loads(listed).items():
        path = folder / name
        with path.open("wb") as whole:
            for piece in pieces:
                if piece.stem == name:
                    whole.write(piece.read_bytes())
        if hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            path.unlink()
            raise ValueError(f"{name} is not whole: a part is missing or damaged")
        found.append(path)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    cut = commands.add_parser("split")
    cut.add_argument("folder", type=Path)
    cut.add_argument("parts", type=Path)
    cut.add_argument("--size", type=int, default=48, help="MiB of a part at most")
    put = commands.add_parser("join")
    put.add_argument("parts", type=Path, nargs="+")
    put.add_argument("folder", type=Path)
    given = parser.parse_args()
    if given.command == "split":
        made = split(given.folder, given.parts, given.size * MIB)
    else:
        made = join(given.parts, given.folder)
    print("\n".join(str(path) for path in made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
