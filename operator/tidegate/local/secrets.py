"""What `secretRef` means on one machine: `--secret NAME=DIR` (a file per key) or `--secret NAME=FILE.env`.

Only what is given here is ever used: credentials that happen to be in the shell's environment are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tidegate.bundle.stores.docker_config import DOCKER_CONFIG
from tidegate.errors import Failed, UsageError

KEY_LIMIT = 64 * 1024
MOST_KEYS = 64


class NotGiven(Failed):
    """The manifest names something that the command line did not give; the next start may."""


class MountMissing(NotGiven):
    """The manifest names a volume that no --mount names."""

    reason = "MountMissing"


class SecretMissing(NotGiven):
    """The manifest names a secret, or a key of one, that the command line did not give."""

    reason = "SecretMissing"


Secret = Mapping[str, bytes]


def split_pair(option: str, text: str) -> tuple[str, Path]:
    """`NAME=PATH` as its two parts; the path must exist."""
    name, equals, path = text.partition("=")
    if not name or not equals or not path:
        raise UsageError(f"{text!r} is not NAME=PATH", where=option)
    found = Path(path).expanduser()
    if not found.exists():
        raise UsageError("no such file or directory", where=f"{option} {name}={path}")
    return name, found.resolve()


def read_secrets(pairs: tuple[str, ...]) -> dict[str, Secret]:
    return {name: read_secret(path) for name, path in (split_pair("--secret", pair) for pair in pairs)}


def read_secret(path: Path) -> Secret:
    """The keys of a secret; messages name files and lines, never values."""
    try:
        return from_folder(path) if path.is_dir() else from_env_file(path)
    except OSError as error:
        raise UsageError(f"cannot read the secret: {error.strerror or error}", where=str(path)) from None


def from_folder(folder: Path) -> Secret:
    """One key per file, as Kubernetes mounts them; hidden files are its bookkeeping, but for a registry's login."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and _is_key(file.name)]
    if len(files) > MOST_KEYS:
        raise UsageError(f"a secret has at most {MOST_KEYS} keys", where=str(folder))
    return {file.name: limited(file) for file in files}


def _is_key(name: str) -> bool:
    return name == DOCKER_CONFIG or not name.startswith(".")


def limited(file: Path) -> bytes:
    with file.open("rb") as stream:
        content = stream.read(KEY_LIMIT + 1)
    if len(content) > KEY_LIMIT:
        raise UsageError(f"a key of a secret has at most {KEY_LIMIT} bytes", where=str(file))
    return content


def from_env_file(file: Path) -> Secret:
    """Lines `KEY=value`; `export`, blank lines, comments and one pair of quotes around a value are understood."""
    keys: dict[str, bytes] = {}
    for number, line in enumerate(limited(file).decode("utf-8", "replace").splitlines(), start=1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise UsageError("not KEY=value", where=f"{file}:{number}")
        keys[name.strip()] = unquoted(value.strip()).encode()
    return keys


def unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def secret(secrets: Mapping[str, Secret], name: str) -> Secret:
    if name not in secrets:
        raise SecretMissing(f"the manifest names secret {name}", do=f"give it with --secret {name}=DIR or FILE.env")
    return secrets[name]


def secret_key(secrets: Mapping[str, Secret], name: str, key: str) -> bytes:
    found = secret(secrets, name)
    if key not in found:
        raise SecretMissing(f"secret {name} has no key {key}", do="add a file of that name to its directory")
    return found[key]


def texts(found: Secret) -> dict[str, str]:
    """The keys as text, trailing newlines of files taken off."""
    return {name: value.decode("utf-8", "replace").rstrip("\r\n") for name, value in found.items()}
