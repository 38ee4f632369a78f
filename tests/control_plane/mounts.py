"""What a container would find in its environment and its file system, made for a plain process.

Volumes become folders of a temporary folder, filled from the API as a kubelet fills them; a path in the command or the
environment that lies under a mount is replaced by where it is here.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.control_plane.client import Client
from tests.control_plane.resources import Object

RUNTIME = (sys.executable, "-P", str(Path(__file__).with_name("runtime_on_loopback.py")))
ENTRY_POINT = ("tidegate-runtime",)  # of the image
TMP = "/tmp"
TERMINATION_LOG = "/dev/termination-log"
MOST_BYTES = 4096  # of a termination message
# What the Containerfile sets.
IMAGE = {
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=1000:glibc.malloc.mxfast=0",
    "HOME": TMP,
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "TIDEGATE_TERMINATION_LOG": TERMINATION_LOG,
}


class Missing(Exception):
    """Something that the pod names is not there yet; a kubelet waits for it."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a container is started as a process."""

    command: list[str]
    environment: dict[str, str]
    termination_log: Path

    def last_words(self) -> str:
        """The termination message, as much of it as Kubernetes keeps."""
        if not self.termination_log.exists():
            return ""
        return self.termination_log.read_bytes()[:MOST_BYTES].decode("utf-8", "replace")


def account_of(pod: Object) -> str:
    return str(pod["spec"].get("serviceAccountName") or "default")


FIELDS: dict[str, Callable[[Object], Any]] = {
    "metadata.name": lambda pod: pod["metadata"]["name"],
    "metadata.namespace": lambda pod: pod["metadata"]["namespace"],
    "metadata.uid": lambda pod: pod["metadata"]["uid"],
    "spec.nodeName": lambda pod: pod["spec"]["nodeName"],
    "spec.serviceAccountName": account_of,
    "status.podIP": lambda pod: pod["status"]["podIP"],
    "status.hostIP": lambda pod: pod["status"]["hostIP"],
}


class Files:
    """The volumes of one pod and its containers' views of them."""

    def __init__(self, client: Client, pod: Object, folder: Path) -> None:
        self._client = client
        self._pod = pod
        self._namespace = pod["metadata"]["namespace"]
        self._folder = folder
        self.home = folder / "home"  # and /tmp, where no volume is mounted there
        self._sources: dict[str, Callable[[Path, Any], None]] = {
            "configMap": self._config_map,
            "emptyDir": lambda folder, source: None,
            "persistentVolumeClaim": lambda folder, source: None,
            "projected": self._projected,
            "secret": self._secret,
        }

    def fill(self) -> None:
        """Make every volume, or bring it up to date; raises Missing where a source is not there."""
        self.home.mkdir(parents=True, exist_ok=True)
        for volume in self._pod["spec"].get("volumes", []):
            self._fill(volume)

    def launch(self, container: Object, extra: Iterable[str] = ()) -> Launch:
        """The process of a container; raises Missing when its environment cannot be had."""
        mounts = self._mounts(container)
        log = self._folder / f"{container['name']}.termination"
        mounts[container.get("terminationMessagePath", TERMINATION_LOG)] = log
        given = self._environment(container)
        told = [here(expanded(word, given), mounts) for word in container.get("args", [])]
        program = [here(expanded(word, given), mounts) for word in container.get("command", ENTRY_POINT)]
        environment = {name: here(value, mounts) for name, value in (IMAGE | given).items()}
        environment["TMPDIR"] = environment["HOME"]
        if program[0] == ENTRY_POINT[0]:
            program[:1] = RUNTIME
        return Launch([*program, *told, *extra], environment, log)

    def _mounts(self, container: Object) -> dict[str, Path]:
        volumes = {volume["name"]: volume for volume in self._pod["spec"].get("volumes", [])}
        found = {TMP: self.home}
        for mount in container.get("volumeMounts", []):
            folder = self._where(volumes[mount["name"]]) / mount.get("subPath", "")
            found[mount["mountPath"].rstrip("/")] = folder
        return found

    # volumes

    def _where(self, volume: Object) -> Path:
        claimed = volume.get("persistentVolumeClaim")
        return self._claimed(claimed["claimName"]) if claimed else self._folder / "volumes" / str(volume["name"])

    def _claimed(self, name: str) -> Path:
        """The folder of this machine that the claim's volume stands for (`hostPath`)."""
        claim = self._client.get("persistentvolumeclaims", self._namespace, name)
        if claim is None or not claim["spec"].get("volumeName"):
            raise Missing(f"persistentvolumeclaim {name!r} not bound")
        volume = self._client.read("persistentvolumes", "", claim["spec"]["volumeName"])
        return Path(volume["spec"]["hostPath"]["path"])

    def _fill(self, volume: Object) -> None:
        kinds = [kind for kind in self._sources if kind in volume]
        if not kinds:
            raise NotImplementedError(f"volume {volume} is not played: add its source to {__name__}")
        folder = self._where(volume)
        folder.mkdir(parents=True, exist_ok=True)
        self._sources[kinds[0]](folder, volume[kinds[0]])

    def _secret(self, folder: Path, source: Object) -> None:
        name = source.get("secretName") or source["name"]
        write_all(folder, self._keys("secrets", name, source), source)

    def _config_map(self, folder: Path, source: Object) -> None:
        write_all(folder, self._keys("configmaps", source["name"], source), source)

    def _projected(self, folder: Path, source: Object) -> None:
        for part in source["sources"]:
            if token := part.get("serviceAccountToken"):
                self._token(folder / token["path"], token)
            elif "secret" in part:
                self._secret(folder, part["secret"])
            elif "configMap" in part:
                self._config_map(folder, part["configMap"])
            elif "downwardAPI" in part:
                for item in part["downwardAPI"]["items"]:
                    write(folder / item["path"], self._field(item).encode())
            else:
                raise NotImplementedError(f"projected source {part} is not played: add it to {__name__}")

    def _token(self, path: Path, source: Object) -> None:
        """A token is made once: tests end before it does."""
        if not path.exists():
            seconds = source.get("expirationSeconds", 3600)
            token = self._client.token(
                self._namespace, account_of(self._pod), source.get("audience", ""), seconds=seconds, pod=self._pod
            )
            write(path, token.encode())

    # environment

    def _environment(self, container: Object) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            plural, reference = ("secrets", source.get("secretRef")), ("configmaps", source.get("configMapRef"))
            kind, named = plural if plural[1] else reference
            content = self._keys(kind, named["name"], named)
            found |= {source.get("prefix", "") + key: value.decode() for key, value in content.items()}
        for variable in container.get("env", []):
            found[variable["name"]] = expanded(self._value(variable), found)
        return found

    def _value(self, variable: Object) -> str:
        source = variable.get("valueFrom")
        if source is None:
            return str(variable.get("value", ""))
        if reference := source.get("secretKeyRef"):
            return self._keys("secrets", reference["name"], reference).get(reference["key"], b"").decode()
        if reference := source.get("configMapKeyRef"):
            return self._keys("configmaps", reference["name"], reference).get(reference["key"], b"").decode()
        return self._field(source)

    def _field(self, source: Object) -> str:
        return str(FIELDS[source["fieldRef"]["fieldPath"]](self._pod))

    def _keys(self, plural: str, name: str, reference: Object) -> dict[str, bytes]:
        found = self._client.get(plural, self._namespace, name)
        if found is None:
            if reference.get("optional"):
                return {}
            raise Missing(f"{plural.removesuffix('s')} {name!r} not found")
        data = found.get("data") or {}
        if plural == "secrets":
            return {key: base64.b64decode(value) for key, value in data.items()}
        return {key: str(value).encode() for key, value in data.items()}


def here(text: str, mounts: Mapping[str, Path]) -> str:
    """`text` with the container's path in it (alone, after `--flag=` or `file://`) as it is on this machine."""
    found = re.match(r"(?:--[-a-z]+=)?(?:file://)?", text)
    before = found[0] if found else ""
    path = text.removeprefix(before)
    for mount in sorted(mounts, key=len, reverse=True):
        if mount == TMP and before.endswith("file://"):
            continue  # a bundle that the test has put there
        if path == mount or path.startswith(mount + "/"):
            return f"{before}{mounts[mount]}{path[len(mount) :]}"
    return text


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """Kubernetes' $(NAME) in commands and variables."""
    return re.sub(r"\$\(([-._a-zA-Z0-9]+)\)", lambda found: environment.get(found[1], found[0]), text)


def write_all(folder: Path, content: Mapping[str, bytes], source: Object) -> None:
    """Keys as files; the source's `items` pick keys and name their files."""
    items = source.get("items")
    picked = {item["path"]: item["key"] for item in items} if items else {key: key for key in content}
    for path, key in picked.items():
        if key in content:
            write(folder / path, content[key])
        elif not source.get("optional"):
            raise Missing(f"references non-existent key: {key}")


def write(path: Path, content: bytes) -> None:
    """Write a file in one step, and only when it differs: who reads it may look at its time."""
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.touch(mode=0o600)
    new.write_bytes(content)
    new.replace(path)
