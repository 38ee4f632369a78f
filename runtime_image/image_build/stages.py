"""Carries out the instructions of stages: each that changes files does so in an overlay; its upper folder is its layer.

Runs as root of a namespace of its own (`namespace.py`), where mounts are seen by nobody else.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from image_build.containerfile import Containerfile, Instruction, Stage, Unknown
from image_build.layers import Layer, Layers

PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
# What a RUN finds beside its own files; gone when it ends.  A private index may be named by these of Docker's secrets.
MOUNTS = """\
set -e
mount --rbind /dev "$1/dev"
mount --rbind /proc "$1/proc"
mount --bind /etc/resolv.conf "$1/etc/resolv.conf"
mount --bind /etc/hosts "$1/etc/hosts"
mount -t tmpfs -o mode=755 tmpfs "$1/run"
"""
CERTIFICATES = "/run/secrets/certificates"


class Failed(Exception):
    """A command ended badly; what it said is on stderr."""


@dataclass(frozen=True, slots=True)
class Base:
    """What stands for the public image: a layer for every stage, and one more for those that only build."""

    root: Layer
    to_build: Layer


@dataclass(frozen=True, slots=True)
class Machine:
    """What a RUN gets of the machine: secrets by their id, a folder for caches, and variables as Docker's proxies are.

    `certificates` is a file of those that the machine trusts, found at CERTIFICATES.
    """

    secrets: Mapping[str, Path]
    certificates: Path | None
    caches: Path
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Made:
    """A stage as far as it is made: its layers, lowest first, and what the image's configuration says."""

    layers: list[Layer]
    environment: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        return self.arguments | self.environment

    @property
    def keys(self) -> list[str]:
        return [layer.key for layer in self.layers]

    def with_setting(self, name: str, value: Any) -> Made:
        return replace(self, settings={**self.settings, name: value})


class Builder:
    """Makes stages of one Containerfile, each once."""

    def __init__(self, file: Containerfile, context: Path, base: Base, machine: Machine, layers: Layers) -> None:
        self._file = file
        self._context = context
        self._base = base
        self._machine = machine
        self._layers = layers
        self._made: dict[tuple[str, bool], Made] = {}
        self._ignored = [
            line.removeprefix("**/")
            for line in (context / ".dockerignore").read_text().splitlines()
            if line.startswith("**/")
        ]

    def image(self, target: str) -> Made:
        """The stage that becomes an image."""
        return self._stage(target, in_image=True)

    def _stage(self, name: str, *, in_image: bool) -> Made:
        if (name, in_image) not in self._made:
            stage = self._file.chain(name)[-1]
            made = self._begun(stage, in_image=in_image)
            for instruction in stage.instructions:
                made = self._carried_out(instruction, made)
            self._made[name, in_image] = made
        return self._made[name, in_image]

    def _begun(self, stage: Stage, *, in_image: bool) -> Made:
        if stage.parent in self._file.stages:
            return replace(self._stage(stage.parent, in_image=in_image), arguments={})
        layers = [self._base.root] if in_image else [self._base.root, self._base.to_build]
        return Made(layers, {"PATH": PATH, "LANG": "C.UTF-8"})

    def _carried_out(self, instruction: Instruction, made: Made) -> Made:
        if instruction.name == "RUN":
            return replace(made, layers=[*made.layers, self._run(instruction, made)])
        if instruction.name == "COPY":
            return replace(made, layers=[*made.layers, self._copy(instruction, made)])
        if instruction.name == "ARG":
            found = {name: self._file.arguments.get(name, value) for name, value in instruction.pairs({}).items()}
            return replace(made, arguments=made.arguments | found)
        if instruction.name == "ENV":
            return replace(made, environment=made.environment | instruction.pairs(made.variables))
        return configured(instruction, made)

    # COPY

    def _copy(self, instruction: Instruction, made: Made) -> Layer:
        *sources, target = instruction.words(made.variables)
        flags = dict(instruction.flags)
        stage = flags.pop("from", None)
        if flags:
            raise Unknown(f"line {instruction.line}: of COPY's flags only --from is known")
        copied_stage = None if stage is None else self._stage(stage, in_image=False)
        if copied_stage is None:
            content = [self._content(instruction, source) for source in sources]
        else:
            content = [*copied_stage.keys]

        def make(upper: Path) -> None:
            with ExitStack() as stack:
                origin = self._context
                if copied_stage is not None:
                    origin = stack.enter_context(mounted(copied_stage.layers, self._layers.work))
                view = stack.enter_context(mounted(made.layers, self._layers.work, upper))
                for source in sources:
                    self._copy_one(
                        origin / source.strip("/"),
                        view / target.lstrip("/"),
                        target.endswith("/"),
                        copied_stage is None,
                    )

        told = f"line {instruction.line}: COPY {instruction.text}"
        return self._layers.layer(told, "COPY", made.keys, sources, target, content, make=make)

    def _content(self, instruction: Instruction, name: str) -> Any:
        """What a file or folder of the checkout gives to an image, as JSON in which every difference shows."""
        source = self._context / name.strip("/")
        if self._is_ignored(source.name):
            raise Unknown(f"{source} is left out by .dockerignore")
        if not os.path.lexists(source):
            raise Unknown(f"line {instruction.line}: {source} is copied and is not there")
        return content_of_checkout(source, self._is_ignored)

    def _copy_one(self, source: Path, target: Path, into: bool, of_checkout: bool) -> None:
        if into and not source.is_dir():
            target = target / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if of_checkout:
            copied(source, target, copy_of_checkout, self._is_ignored)
        else:
            copied(source, target, shutil.copy2, lambda _: False)

    def _is_ignored(self, name: str) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in self._ignored)

    # RUN

    def _run(self, instruction: Instruction, made: Made) -> Layer:
        if made.settings.get("User"):
            raise Unknown(f"line {instruction.line}: RUN after USER")
        script = MOUNTS + "".join(self._mounts(instruction))
        if self._machine.certificates:
            script += bound(self._machine.certificates, CERTIFICATES, "touch")
        environment = {"HOME": "/root", **made.variables, **self._machine.environment}

        def make(upper: Path) -> None:
            with mounted(made.layers, self._layers.work, upper) as view:
                command = ["sh", "-c", script + 'exec chroot "$@"', "sh", str(view), "/bin/sh", "-c", instruction.text]
                unshared = ["unshare", "--mount", *command]
                if subprocess.run(unshared, env=environment, stdout=sys.stderr, check=False).returncode:
                    raise Failed(f"line {instruction.line}: RUN {instruction.text}")

        told = f"line {instruction.line}: RUN {instruction.text}"
        return self._layers.layer(
            told, "RUN", made.keys, instruction.text, instruction.flags, made.variables, make=make
        )

    def _mounts(self, instruction: Instruction) -> Iterator[str]:
        for name, value in instruction.flags:
            options = dict(option.partition("=")[::2] for option in value.split(","))
            known = name == "mount" and options.get("type") in ("cache", "secret")
            if not known or not options.get("target", "").startswith("/run/"):
                raise Unknown(
                    f"line {instruction.line}: --{name}={value}: only caches and secrets below /run are known"
                )
            if options["type"] == "cache":
                source: Path | None = self._machine.caches / Path(options["target"]).name
                make = "mkdir -p"
            else:
                source, make = self._machine.secrets.get(options["id"]), "touch"
            if source is not None:
                yield bound(source, options["target"], make)


def bound(source: Path, target: str, make: str) -> str:
    """The line of the script that shows `source` at `target`, which `make` makes."""
    there = f'"$1"{shlex.quote(target)}'
    return f'mkdir -p "$(dirname {there})"; {make} {there}; mount --bind {shlex.quote(str(source))} {there}\n'


def configured(instruction: Instruction, made: Made) -> Made:
    """Instructions that say how an image is started."""
    match instruction.name:
        case "LABEL":
            labels = made.settings.get("Labels", {}) | instruction.pairs(made.variables)
            return made.with_setting("Labels", labels)
        case "EXPOSE":
            ports: dict[str, object] = {f"{port}/tcp": {} for port in instruction.words(made.variables)}
            return made.with_setting("ExposedPorts", ports)
        case "ENTRYPOINT":
            return made.with_setting("Entrypoint", instruction.listed())
        case "CMD":
            return made.with_setting("Cmd", instruction.listed())
        case "USER":
            return made.with_setting("User", instruction.text)
        case "WORKDIR":
            return made.with_setting("WorkingDir", instruction.text)
        case _:
            return made.with_setting("StopSignal", instruction.text)


@contextmanager
def mounted(layers: list[Layer], work: Path, upper: Path | None = None) -> Iterator[Path]:
    """A folder that shows `layers`, lowest first, as one tree; what is changed in it goes to `upper`."""
    if upper is None and len(layers) == 1:
        yield layers[0].path
        return
    # Relative names: the kernel takes at most a page of options.
    lower = ":".join(os.path.relpath(layer.path, work) for layer in reversed(layers))
    options = f"userxattr,lowerdir={lower}"
    view = work / f"{upper.name if upper else 'of'}-view-{len(list(work.iterdir()))}"
    view.mkdir()
    if upper is not None:
        own = work / f"{upper.name}-work"
        own.mkdir()
        options += f",upperdir={upper.name},workdir={own.name}"
    if subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, view.name], cwd=work, check=False
    ).returncode:
        raise Failed(f"no overlay can be mounted in {work}: choose another disk by --cache, not itself an overlay")
    try:
        yield view
    finally:
        subprocess.run(["umount", view], check=True)
        view.rmdir()


def copied(source: Path, target: Path, copy: Callable[[Path, Path], object], left_out: Callable[[str], bool]) -> None:
    """Copy a file, a link or what is in a folder, over what is there."""
    if source.is_dir() and not source.is_symlink():
        target.mkdir(exist_ok=True)
        target.chmod(source.stat().st_mode if copy is shutil.copy2 else 0o755)
        for path in source.iterdir():
            if not left_out(path.name):
                copied(path, target / path.name, copy, left_out)
        return
    if target.is_symlink():
        target.unlink()
    if source.is_symlink():
        target.symlink_to(source.readlink())
    else:
        copy(source, target)


def content_of_checkout(source: Path, left_out: Callable[[str], bool]) -> Any:
    """What `copied` takes of a checkout: files by their content, names and modes."""
    if source.is_symlink():
        return ["link", str(source.readlink())]
    if source.is_dir():
        inside = sorted(path for path in source.iterdir() if not left_out(path.name))
        return {path.name: content_of_checkout(path, left_out) for path in inside}
    return [mode_of_checkout(source), hashlib.sha256(source.read_bytes()).hexdigest()]


def copy_of_checkout(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(mode_of_checkout(source))


def mode_of_checkout(file: Path) -> int:
    """One of two, as git knows them: a checkout's own follow its user's umask."""
    return 0o755 if os.access(file, os.X_OK) else 0o644
