"""Kubeconfigs in one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

SERVER = "https://127.0.0.1:6443"
Write = Callable[..., Path]


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Write:
    """Writes one with the context NAME, its cluster and its user; the parts of the latter two as they are given."""

    def write(
        name: str = "here",
        *,
        file: str = "config",
        user: Mapping[str, Any] | None = None,
        cluster: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Path:
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        document = {
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": f"of-{name}"}}],
            "clusters": [{"name": name, "cluster": {"server": SERVER, **(cluster or {})}}],
            "users": [{"name": name, "user": dict(user or {"token": "secret"})}],
            "current-context": name,
        }
        path.write_text(yaml.safe_dump(document | more))
        return path

    return write
