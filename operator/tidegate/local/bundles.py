"""Bundles on this machine: fetched once, kept by digest, found again by digest whatever their address says later."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar, cast

from tidegate.api.bundle import BundleSource, SecretRef
from tidegate.bundle.cache import Cache, Lease
from tidegate.bundle.fetch import Fetched, resolve
from tidegate.bundle.manifest import read_bundle_dir
from tidegate.bundle.source import Access, Source
from tidegate.errors import Invalid, TidegateError, UsageError
from tidegate.local.decrypted import DecryptedBundles
from tidegate.local.failures import failure_of
from tidegate.local.secrets import MountMissing, read_secret, secret, secret_key, texts
from tidegate.plan.observed import Failure, Resolution, RevisionRecord
from tidegate.plan.wanted import ResolveWanted

CACHE_BYTES = 50 * 2**30
LABELS = "labels.txt"
CLAIM = "pvc://"
SPEAK_EVERY = 2.0

T = TypeVar("T")


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "tidegate"


async def aside(work: Callable[[], T]) -> T:
    """Run blocking work on a thread that keeps no process alive: a fetch that is cut off goes on at the next start."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(cast("T", result))

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as raised:  # noqa: BLE001  (whoever awaits it gets it)
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="bundle", daemon=True).start()
    return await future


class Bundles:
    """The cache, and the secrets and folders that `--secret` and `--mount` named."""

    def __init__(
        self, folder: Path, secrets: Mapping[str, Path], mounts: Mapping[str, Path], tell: Callable[[str], None]
    ) -> None:
        self._tell = tell
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"cannot hold bundles: {error.strerror or error}"
            raise UsageError(what, where=str(folder), do="name another folder with XDG_CACHE_HOME") from None
        self._cache = Cache(folder, max_bytes=CACHE_BYTES)
        self._secrets = secrets
        self._mounts = mounts
        self._leases: dict[str, Lease] = {}
        self._decrypted = DecryptedBundles()

    @property
    def environment(self) -> str:
        """A text that changes when a secret or a mount does: then what failed for want of it is tried again."""
        stamps = [f"{name}={path}:{stamp(path)}" for name, path in sorted({**self._secrets, **self._mounts}.items())]
        return hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:16]

    async def resolve(self, wanted: ResolveWanted) -> Resolution | Failure:
        """What the bundle says of itself, once it is here and every byte of it is what it claims to be."""
        try:
            return await aside(lambda: self._resolve(wanted.source))
        except (TidegateError, OSError) as error:
            return failure_of(error)

    def _resolve(self, wanted: BundleSource) -> Resolution:
        source = self._source(wanted)
        pinned = Source(source.uri, resolve(source).digest, source.public_key, source.access)
        fetched = self._cache.fetch(pinned, progress=Spoken(wanted.uri, self._tell))
        if not fetched.hit or fetched.manifest.encryption:
            from tidegate.bundle.preflight import preflight_model  # half a second of imports, on a worker's time

            preflight_model(read_bundle_dir(self._plain(fetched.path, wanted)))
        return resolution(wanted.uri, fetched)

    async def local(self, record: RevisionRecord, spec: BundleSource) -> Path:
        """The folder of a revision's own bytes; a fetch only when the cache has lost them, and then by digest.

        What opens the store, and an encrypted bundle, is what `spec` names now.
        """
        return await aside(lambda: self._local(record.resolution, spec))

    def _local(self, wanted: Resolution, spec: BundleSource) -> Path:
        source = self._access(wanted.uri, wanted.digest, spec.secret_ref)
        path = self._cache.fetch(source, progress=Spoken(wanted.uri, self._tell)).path
        if wanted.digest not in self._leases:  # only what is here can be kept
            self._leases[wanted.digest] = self._cache.lease(wanted.digest)
        return self._plain(path, spec)

    def close(self) -> None:
        """Take away what was decrypted; no server runs any more."""
        self._decrypted.close()

    def _plain(self, path: Path, spec: BundleSource) -> Path:
        """The folder to serve from: the bundle's own, or of an encrypted one what it decrypts to."""
        bundle = read_bundle_dir(path)
        if bundle.manifest.encryption is None:
            return path
        if spec.decryption is None:
            what, do = "the bundle is encrypted", "name its age key in bundle.decryption"
            raise Invalid(what, where=spec.uri, do=do, reason="BundleEncrypted")
        ref = spec.decryption.key_secret_ref
        key = secret_key(self._given(ref.name), ref.name, ref.key)
        return self._decrypted.path(bundle, key, f"secret {ref.name}, key {ref.key}")

    def _source(self, wanted: BundleSource) -> Source:
        source = self._access(wanted.uri, wanted.digest, wanted.secret_ref)
        if wanted.signature is None:
            return source
        key = wanted.signature.public_key_secret_ref
        public_key = secret_key(self._given(key.name), key.name, key.key)
        return Source(source.uri, source.digest, public_key, source.access)

    def _access(self, uri: str, digest: str | None, credentials: SecretRef | None) -> Source:
        found = texts(secret(self._given(credentials.name), credentials.name)) if credentials else {}
        return Source(self._placed(uri), digest, access=Access(found, allow_loopback=True))

    def _given(self, name: str) -> dict[str, Mapping[str, bytes]]:
        """The secret as it is now: one that is replaced while we run is taken up."""
        return {name: read_secret(self._secrets[name])} if name in self._secrets else {}

    def _placed(self, uri: str) -> str:
        """A volume claim is a folder that `--mount` names; every other address stays."""
        if not uri.startswith(CLAIM):
            return uri
        claim, _, path = uri.removeprefix(CLAIM).partition("/")
        if claim not in self._mounts:
            raise MountMissing(f"the manifest names volume {claim}", do=f"give it with --mount {claim}=DIR")
        return f"file://{self._mounts[claim] / path}"


class Spoken:
    """The progress of a fetch in a line now and then; a short one passes in silence."""

    def __init__(self, uri: str, tell: Callable[[str], None]) -> None:
        self._uri, self._tell = uri, tell
        self._next = time.monotonic() + SPEAK_EVERY

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next:
            self._next += SPEAK_EVERY
            self._tell(f"  fetching {self._uri}: {done >> 20} of {total >> 20} MiB")


def stamp(path: Path) -> str:
    try:
        newest = max(entry.stat().st_mtime_ns for entry in ([path, *path.iterdir()] if path.is_dir() else [path]))
    except OSError:
        return "-"
    return str(newest)


def resolution(uri: str, fetched: Fetched) -> Resolution:
    manifest = fetched.manifest
    return Resolution(
        uri=uri,
        digest=fetched.digest,
        version=manifest.version,
        interface=manifest.interface,
        has_golden=bool(manifest.golden and manifest.golden.files),
        metrics={metric.name: metric.value for metric in manifest.metrics},
        labels=labels(fetched.path / LABELS),
        plain_bytes=manifest.plain_room,
    )


def labels(path: Path) -> tuple[str, ...]:
    """The lines of labels.txt; classes that the interface rule compares."""
    try:
        return tuple(path.read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return ()
