"""`python -m image_build TARGET...`: an archive for each target, and its digest on stdout."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from image_build import containerfile, debian, layers, namespace, oci, stages

ROOT = Path(__file__).resolve().parents[2]
CONTAINERFILE = ROOT / "runtime_image/Containerfile"
NAMES = {
    "cpu": "tidegate-runtime:{}-cpu",
    "cuda": "tidegate-runtime:{}-cuda",
    "operator": "tidegate-operator:{}",
}
FAULTS = (containerfile.Unknown, debian.NoPackages, namespace.NoNamespaces, stages.Failed)
# Of pip's, where the machine has them; a company's own index may be known by them alone.
PIP_VARIABLES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m image_build",
        description="Build images of runtime_image/Containerfile without Docker, from Debian's packages.",
    )
    parser.add_argument("targets", nargs="+", choices=list(NAMES), metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--output", type=Path, default=ROOT / "build/images", help="a folder (build/images)")
    parser.add_argument(
        "--registry",
        default="docker.io/library",
        help="put before the images' names, such as registry.example.com/ml (docker.io/library: no registry's)",
    )
    parser.add_argument("--cache", type=Path, default=cache(), help="where downloads and layers are kept")
    parser.add_argument("--no-cache", action="store_true", help="make every layer anew, and keep none")
    parser.add_argument("--debian-mirror", metavar="URL", help="instead of those of this machine's apt")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="as Docker's")
    given = parser.parse_args()
    given.cache = given.cache.resolve()  # overlays are mounted from within it
    return given


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidegate-images"


def build(given: argparse.Namespace) -> Iterator[tuple[str, Path, str]]:
    """Make each target; gives the image's name, its archive and its digest."""
    file = containerfile.parse(
        CONTAINERFILE.read_text(), of_the_checkout() | dict(map(build_argument, given.build_arg))
    )
    with layers.building(given.cache, anew=given.no_cache) as making:
        (given.cache / "pip-cache").mkdir(exist_ok=True)
        base = public_image(given, making)
        builder = stages.Builder(file, ROOT, base, machine(given.cache), making)
        blobs: dict[str, oci.Blob] = {}
        for target in given.targets:
            made = builder.image(target)
            for layer in made.layers:
                blobs[layer.key] = blobs.get(layer.key) or oci.layer(layer.path)
            name = f"{given.registry}/{NAMES[target].format(file.arguments['VERSION'])}"
            archive = given.output / f"{target}.tar"
            written = [blobs[key] for key in made.keys]
            yield name, archive, oci.write_image(name, configuration(made), written, archive)


def build_argument(text: str) -> tuple[str, str]:
    """NAME=VALUE, of a name that the Containerfile knows."""
    name, equals, value = text.partition("=")
    known = containerfile.parse(CONTAINERFILE.read_text()).arguments
    if not equals or name not in known:
        raise containerfile.Unknown(f"--build-arg {text}: it must be NAME=VALUE, and NAME one of {', '.join(known)}")
    return name, value


def of_the_checkout() -> dict[str, str]:
    """The Containerfile's arguments as git and SOURCE_DATE_EPOCH give them."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct") or 0)
    changed = "-changed" if git("status", "--porcelain") else ""
    return {
        "VERSION": version,
        "REVISION": (git("rev-parse", "HEAD") or "unknown") + changed,
        "CREATED": datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def git(*words: str) -> str:
    """What git says; nothing where this is no checkout, or git is not there."""
    if shutil.which("git") is None:
        return ""
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def public_image(given: argparse.Namespace, making: layers.Layers) -> stages.Base:
    """What stands for the image that the Containerfile is FROM."""
    packages = debian.fetch(given.cache / f"debian-{debian.SUITE}", given.debian_mirror)
    in_image = [package.name for package in packages.in_image]
    to_build = [package.name for package in packages.to_build]
    return stages.Base(
        making.layer("packages of Debian", "base", in_image, make=partial(debian.install, packages.in_image)),
        making.layer(
            "packages of Debian that only build", "to build", to_build, make=partial(debian.unpack, packages.to_build)
        ),
    )


def machine(cache: Path) -> stages.Machine:
    """pip's settings and the trusted certificates of this machine, for the commands that fetch."""
    settings = [os.environ.get("PIP_CONFIG_FILE"), Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"]
    found = [Path(path) for path in (*settings, "/etc/pip.conf") if path and Path(path).is_file()]
    secrets = {"pip": found[0]} if found else {}
    environment = {name: os.environ[name] for name in PIP_VARIABLES if name in os.environ}
    trusted = os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
    if trusted:
        environment["PIP_CERT"] = stages.CERTIFICATES
    return stages.Machine(secrets, Path(trusted) if trusted else None, cache, environment)


def configuration(made: stages.Made) -> dict[str, Any]:
    """The image's configuration as OCI writes it."""
    variables = [f"{name}={value}" for name, value in made.environment.items()]
    return {
        "architecture": debian.architecture(),
        "os": "linux",
        "created": made.settings["Labels"]["org.opencontainers.image.created"],
        "config": {**made.settings, "Env": variables},
    }


def main() -> None:
    given = arguments()
    try:
        namespace.enter()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # its folder goes with it
        os.umask(0o022)  # else an image would depend on the user's
        for name, archive, digest in build(given):
            sys.stdout.write(f"{digest}  {name}  {archive}\n")
    except FAULTS as error:
        raise SystemExit(f"error: {error}") from None
    except OSError as error:  # the disk is full, or a folder is none of this user's
        raise SystemExit(f"error: {error} (other folders are given by --cache and --output)") from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the layers that were finished are kept for the next build\n")
        raise SystemExit(128 + signal.SIGINT) from None


if __name__ == "__main__":
    main()
