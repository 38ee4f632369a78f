"""Which cluster is meant, and who asks: a kubeconfig read as kubectl reads it.

`KUBECONFIG` may list several files: of two entries with one name the first counts, files that are missing are passed
over, and paths in a file are relative to it.  Messages name files and entries and never show what is in them.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from tidegate.cluster.errors import LoginFailed

HOME_CONFIG = "~/.kube/config"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SIZE_LIMIT = 16 * 1024 * 1024
IN_CLUSTER = "in-cluster"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """A cluster, user or context of a kubeconfig, and the file that it is from."""

    kind: str
    name: str
    values: Mapping[str, Any]
    file: Path

    @property
    def where(self) -> str:
        return f"{self.file}: {self.kind} {self.name}"

    def text(self, key: str) -> str:
        """A value that must be a text; empty when it is not there."""
        found = self.values.get(key)
        if found is not None and not isinstance(found, str):
            raise LoginFailed(f"{key} is not a text", where=self.where, do="correct the kubeconfig")
        return found or ""

    def rows(self, key: str, kind: type[T]) -> list[T]:
        """A list of texts, or of mappings; empty when it is not there."""
        found = self.values.get(key) or []
        if not isinstance(found, list) or not all(isinstance(one, kind) for one in found):
            what = f"{key} is not a list of {'texts' if kind is str else 'mappings'}"
            raise LoginFailed(what, where=self.where, do="correct the kubeconfig")
        return found

    def part(self, key: str) -> Entry:
        """A mapping within it; empty when it is not there."""
        found = self.values.get(key) or {}
        if not isinstance(found, Mapping):
            raise LoginFailed(f"{key} is no mapping", where=self.where, do="correct the kubeconfig")
        return replace(self, values=found)

    def path(self, key: str) -> Path | None:
        return self.file.parent / Path(found).expanduser() if (found := self.text(key)) else None

    def content(self, key: str) -> bytes:
        """The bytes of `KEY-data`, or of the file that `KEY` names; empty when there is neither."""
        if encoded := self.text(f"{key}-data"):
            try:
                return base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                raise LoginFailed(f"{key}-data is not base64", where=self.where, do="correct the kubeconfig") from None
        path = self.path(key)
        return read_bytes(path, self.where) if path else b""


@dataclass(frozen=True, slots=True)
class Context:
    """A cluster and who asks there; `namespace` is the one that is meant where none is named."""

    name: str
    namespace: str
    cluster: Entry
    user: Entry

    @property
    def server(self) -> str:
        return self.cluster.text("server").rstrip("/")


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """Several files as one."""

    files: tuple[Path, ...]
    current: str
    contexts: Mapping[str, Entry] = field(default_factory=dict)
    clusters: Mapping[str, Entry] = field(default_factory=dict)
    users: Mapping[str, Entry] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return os.pathsep.join(map(str, self.files))

    def context(self, name: str = "") -> Context:
        """The context of that name, or the current one; raises LoginFailed."""
        wanted = name or self.current
        if not wanted:
            raise LoginFailed("no context is chosen", where=self.where, do=f"add --context: {listed(self.contexts)}")
        entry = self.contexts.get(wanted)
        if entry is None:
            raise LoginFailed(
                f"there is no context {wanted}", where=self.where, do=f"known are: {listed(self.contexts)}"
            )
        cluster = self._named(entry, "cluster", self.clusters)
        if not cluster.text("server"):
            raise LoginFailed("the cluster has no server", where=cluster.where, do="correct the kubeconfig")
        nobody = Entry("user", "(none)", {}, entry.file)
        user = self._named(entry, "user", self.users) if entry.text("user") else nobody
        return Context(wanted, entry.text("namespace") or "default", cluster, user)

    def _named(self, context: Entry, kind: str, known: Mapping[str, Entry]) -> Entry:
        name = context.text(kind)
        if name not in known:
            what = f"there is no {kind} {name}" if name else f"it names no {kind}"
            raise LoginFailed(what, where=context.where, do="correct the kubeconfig, or choose another --context")
        return known[name]


def find_context(kubeconfig: Path | None, name: str, environment: Mapping[str, str] | None = None) -> Context:
    """The context that kubectl would take: of the file that is given, else of KUBECONFIG, else of the home folder.

    Without any of them, in a pod: its service account.  Raises LoginFailed.
    """
    environment = os.environ if environment is None else environment
    files = the_files(kubeconfig, environment)
    there = [file for file in files if file.exists()]
    if kubeconfig is not None and not there:
        raise LoginFailed("there is no such kubeconfig", where=str(kubeconfig), do="name another with --kubeconfig")
    if there:
        return read_kubeconfig(there).context(name)
    if in_a_pod(environment) and not name:
        return in_cluster(environment)
    where = os.pathsep.join(map(str, files))
    raise LoginFailed("there is no kubeconfig", where=where, do="set KUBECONFIG, or name one with --kubeconfig")


def is_configured(environment: Mapping[str, str] | None = None) -> bool:
    """Whether there is anything that names a cluster, be it in order or not."""
    environment = os.environ if environment is None else environment
    files = the_files(None, environment)
    return any(file.exists() for file in files) or in_a_pod(environment)


def in_a_pod(environment: Mapping[str, str]) -> bool:
    """Whether we run in a pod that was given a service account; many are in a cluster and have none."""
    return bool(environment.get("KUBERNETES_SERVICE_HOST")) and (SERVICE_ACCOUNT / "token").exists()


def the_files(kubeconfig: Path | None, environment: Mapping[str, str]) -> list[Path]:
    if kubeconfig is not None:
        return [kubeconfig]
    named = [name for name in environment.get("KUBECONFIG", "").split(os.pathsep) if name]
    return [Path(name).expanduser() for name in named or [HOME_CONFIG]]


def read_kubeconfig(files: Sequence[Path]) -> Kubeconfig:
    """Several files as one; of entries with one name the first counts."""
    found: dict[str, dict[str, Entry]] = {"contexts": {}, "clusters": {}, "users": {}}
    current = ""
    for file in files:
        document = read_document(file)
        current = current or str(document.get("current-context") or "")
        for plural, known in found.items():
            for entry in entries(document, plural, file):
                known.setdefault(entry.name, entry)
    return Kubeconfig(tuple(files), current, **found)


def entries(document: Mapping[str, Any], plural: str, file: Path) -> Iterator[Entry]:
    kind = plural.removesuffix("s")
    for row in document.get(plural) or ():
        if not isinstance(row, Mapping) or not isinstance(row.get("name"), str):
            raise LoginFailed(f"an entry of {plural} has no name", where=str(file), do="correct the kubeconfig")
        values = row.get(kind) or {}
        if not isinstance(values, Mapping):
            raise LoginFailed(f"{kind} {row['name']} is no mapping", where=str(file), do="correct the kubeconfig")
        yield Entry(kind, row["name"], values, file)


def read_document(file: Path) -> Mapping[str, Any]:
    import yaml

    text = read_bytes(file, "")
    try:
        document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except yaml.YAMLError as error:  # its own text would show lines of the file
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        raise LoginFailed("the kubeconfig is not YAML", where=where, do="correct it, or name another") from None
    if document is None:
        return {}
    rows = [document.get(plural) for plural in ("contexts", "clusters", "users")] if isinstance(document, dict) else [0]
    if not all(row is None or isinstance(row, list) for row in rows):
        raise LoginFailed("this is no kubeconfig", where=str(file), do="name another with --kubeconfig")
    assert isinstance(document, dict)
    return document


def read_bytes(path: Path, where: str) -> bytes:
    """A file of a kubeconfig; raises LoginFailed with the place that names it."""
    try:
        with path.open("rb") as file:
            found = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        why = f"{path} cannot be read: {error.strerror}"
        raise LoginFailed(why, where=where, do="correct the path, or the file's rights") from None
    if len(found) > SIZE_LIMIT:
        raise LoginFailed(f"{path} is larger than 16 MiB", where=where, do="name another file")
    return found


def in_cluster(environment: Mapping[str, str]) -> Context:
    """The cluster around this pod, by its service account."""
    folder = SERVICE_ACCOUNT
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT") or "443"
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    file = folder / "kubeconfig"  # which is not there: paths are relative to it
    namespace = read_bytes(folder / "namespace", "service account").decode("ascii", "replace").strip()
    cluster = Entry("cluster", IN_CLUSTER, {"server": server, "certificate-authority": "ca.crt"}, file)
    return Context(IN_CLUSTER, namespace, cluster, Entry("user", IN_CLUSTER, {"tokenFile": "token"}, file))


def listed(names: Mapping[str, Entry]) -> str:
    return ", ".join(sorted(names)) or "none"
