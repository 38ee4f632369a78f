"""torch without its CUDA libraries: 1.3 GB instead of 5.4 GB, for the environments of these tests only.

torch's wheel is linked against them, and loads on a machine without a GPU as long as there is *something* by their
names.  So they are left out (`UV_OVERRIDE`), and libraries of empty functions take their place.  Nobody should run a
model like this in earnest: `pip install 'tidegate[torch]'` and `pack --isolated` install torch as it is.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

NEEDED = ("pyelftools",)  # in an environment that gets such libraries
LEFT_OUT = (
    *("triton", "cuda-bindings", "cuda-toolkit", "nvidia-cudnn-cu13", "nvidia-cusparselt-cu13", "nvidia-nccl-cu13"),
    "nvidia-nvshmem-cu13",
)
CUDA = re.compile(r"(lib)?(cu|nv|nccl)")
NO_DEVICE = 100  # cudaErrorNoDevice: there is no GPU

Libraries = dict[str, dict[str, set[str]]]  # library -> version -> functions


@contextlib.contextmanager
def left_out() -> Iterator[None]:
    """For as long as this lasts uv installs torch without them."""
    before = os.environ.get("UV_OVERRIDE")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as overrides:
        overrides.writelines(f"{name}; sys_platform == 'never'\n" for name in LEFT_OUT)
        overrides.flush()
        os.environ["UV_OVERRIDE"] = overrides.name
        try:
            yield
        finally:
            os.environ.pop("UV_OVERRIDE")
            if before is not None:
                os.environ["UV_OVERRIDE"] = before


def put_stubs(python: Path) -> None:
    """Put the libraries of empty functions beside torch's own in the environment of `python`, which has pyelftools."""
    compiler = [sys.executable, "-m", "ziglang", "cc"]
    subprocess.run([str(python), __file__, *compiler], check=True)


def main(compiler: list[str]) -> None:
    """Inside that environment: find out what torch's libraries ask for, and write it."""
    import importlib.util

    spec = importlib.util.find_spec("torch")
    assert spec
    assert spec.origin
    folder = Path(spec.origin).parent / "lib"
    libraries, loose = asked_for(folder)
    for name, versions in libraries.items():
        if not (folder / name).exists():
            write(folder / name, versions or {"ANY": loose}, compiler)


def asked_for(folder: Path) -> tuple[Libraries, set[str]]:
    """Every CUDA library that a library in `folder` needs, with the functions it takes; and those of no version."""
    libraries: Libraries = {}
    loose: set[str] = set()
    for path in sorted(folder.glob("*.so")):
        for library, version, function in functions_of(path, libraries):
            if library in libraries:
                libraries[library].setdefault(version, set()).add(function)
            elif not library and CUDA.match(function):
                loose.add(function)
    return libraries, loose


def functions_of(path: Path, libraries: Libraries) -> Iterator[tuple[str, str, str]]:
    """(library, version, function) that this file leaves to others; adds the CUDA libraries it needs to `libraries`."""
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        elf = ELFFile(file)
        for tag in elf.get_section_by_name(".dynamic").iter_tags():
            if tag.entry.d_tag == "DT_NEEDED" and CUDA.match(tag.needed):
                libraries.setdefault(tag.needed, {})
        needs = elf.get_section_by_name(".gnu.version_r").iter_versions()
        known = {part.entry.vna_other: (library.name, part.name) for library, parts in needs for part in parts}
        symbols = elf.get_section_by_name(".dynsym").iter_symbols()
        for symbol, version in zip(symbols, elf.get_section_by_name(".gnu.version").iter_symbols(), strict=True):
            if symbol["st_shndx"] == "SHN_UNDEF":
                yield (*known.get(version["ndx"], ("", "")), symbol.name)


def write(path: Path, versions: dict[str, set[str]], compiler: list[str]) -> None:
    """A library whose every function says that there is no GPU."""
    with tempfile.TemporaryDirectory() as name:
        source, script = Path(name) / "stub.c", Path(name) / "stub.map"
        source.write_text("".join(map(function, sorted(set().union(*versions.values())))))
        script.write_text(
            "".join(
                f"{version} {{ global: {' '.join(f'{function};' for function in sorted(functions))} }};\n"
                for version, functions in versions.items()
            )
        )
        linking = [f"-Wl,-soname,{path.name}", f"-Wl,--version-script,{script}"]
        command = [
            *compiler,
            "-O1",
            "-shared",
            "-fPIC",
            "-nostdlib",
            "-fno-sanitize=all",
            "-w",
            *linking,
            "-o",
            str(path),
            str(source),
        ]
        subprocess.run(command, check=True)


def function(name: str) -> str:
    if "String" in name or "Name" in name:
        return f'const char *{name}(void) {{ return "no GPU here"; }}\n'
    return f"long {name}(void) {{ return {NO_DEVICE}; }}\n"


if __name__ == "__main__":
    main(sys.argv[1:])
