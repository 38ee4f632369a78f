"""Make `.venv` from nothing but Python and a package index: the set-up behind `make demo` and `make test`.

Debian's Python has no ensurepip and a managed pip, so neither is used: the virtual environment is made
without pip, the pip wheel is fetched from the index that pip's own settings name, and that wheel installs
`uv`, which installs the locked packages.  Nothing is written outside the checkout but uv's cache.

Usage: python3 .ci/bootstrap.py [LOCK]     LOCK: a file of `locks/`, default `locks/dev.txt`
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import ssl
import subprocess
import sys
import urllib.parse
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
UV = "uv==0.13.9"
PIP_WHEEL = re.compile(r'href="([^"]*/pip-(\d+(?:\.\d+)*)-py3-none-any\.whl)(?:#sha256=([0-9a-f]{64}))?')


def index_url() -> str:
    """The simple index that pip is configured for: environment first, then pip's settings files."""
    if url := os.environ.get("PIP_INDEX_URL") or os.environ.get("UV_DEFAULT_INDEX"):
        return url
    home = Path.home()
    for path in (home / ".config/pip/pip.conf", home / ".pip/pip.conf", Path("/etc/pip.conf")):
        settings = configparser.ConfigParser()
        settings.read(path)
        if url := settings.get("global", "index-url", fallback=None):
            return url
    return "https://pypi.org/simple"


def tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE"))


def fetch_pip(index: str, folder: Path) -> Path:
    """The newest released pip wheel of `index`, checked against the index's own sha256."""
    page_url = f"{index.rstrip('/')}/pip/"
    with urllib.request.urlopen(page_url, timeout=60, context=tls()) as answer:
        page = answer.read().decode()
    found = PIP_WHEEL.findall(page)
    if not found:
        raise SystemExit(f"error: no pip wheel listed at {page_url}: set PIP_INDEX_URL to a Python package index")
    href, _, sha256 = max(found, key=lambda row: tuple(int(part) for part in row[1].split(".")))
    url = urllib.parse.urljoin(page_url, href)
    with urllib.request.urlopen(url, timeout=60, context=tls()) as answer:
        wheel = answer.read()
    if sha256 and hashlib.sha256(wheel).hexdigest() != sha256:
        raise SystemExit(f"error: {url} is not the file that the index lists: run again, or check the index")
    path = folder / url.rsplit("/", 1)[1].split("#")[0]
    path.write_bytes(wheel)
    return path


def uv_settings() -> dict[str, str]:
    """Make uv trust what the rest of the machine trusts: a company's own certificate authority is only there."""
    if cafile := os.environ.get("PIP_CERT"):
        return {"SSL_CERT_FILE": cafile}
    return {"UV_SYSTEM_CERTS": "1"} if ssl.get_default_verify_paths().cafile else {}


def run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], check=False, env={**uv_settings(), **os.environ})
    if done.returncode:
        raise SystemExit(f"error: {' '.join(map(str, command))} ended with {done.returncode}")


def main(lock: Path) -> None:
    if sys.version_info < (3, 11):
        raise SystemExit(
            f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}: make PYTHON=python3.12"
        )
    python, uv = VENV / "bin/python", VENV / "uv/bin/uv"
    if not python.exists():
        print("making .venv", flush=True)
        venv.create(VENV, with_pip=False, symlinks=True)
    if not uv.exists():
        wheel = fetch_pip(index_url(), VENV)
        run(python, f"{wheel}/pip", "install", "--quiet", "--disable-pip-version-check", "--target", VENV / "uv", UV)
        wheel.unlink()
    print(f"installing {lock.relative_to(ROOT)}", flush=True)
    run(uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", lock)
    # The build backend is in the lock too: an isolated build would fetch one that no hash pins.
    run(uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "--no-build-isolation", "--editable", ROOT)
    (VENV / "installed").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "locks/dev.txt")
