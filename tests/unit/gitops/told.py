"""A story of tests/unit/plan as the object that a GitOps tool reads from the API server."""

from __future__ import annotations

from typing import Any

from tests.unit.plan.conftest import Story

from tidegate.api.names import GROUP, KIND, VERSION

Object = dict[str, Any]


def deployment(story: Story) -> Object:
    """Its spec with all defaults, its status as the operator writes it, its commands as annotations."""
    world = story.world
    annotations = {f"{GROUP}/{verb}": value for verb, value in world.commands.items()}
    status = world.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": "fraud", "namespace": "shop", "generation": world.generation, "annotations": annotations},
        "spec": world.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
        "status": status,
    }
