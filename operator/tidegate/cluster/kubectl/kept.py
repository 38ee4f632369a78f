"""What a person's watches have shown: of each rollout and each pod the JSON that a page gets. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tidegate.cluster.kubectl.watching import Where
from tidegate.dashboard.board import Key
from tidegate.dashboard.document import with_pods
from tidegate.plan.manifests.identity import POD

Name = tuple[Key, str]  # a rollout, and of it a pod; the rollout itself without one


class Kept:
    """Rollouts and pods in JSON; its methods say which rollouts their news is about."""

    def __init__(self) -> None:
        self._rollouts: dict[Key, bytes] = {}
        self._pods: dict[Key, dict[str, bytes]] = {}  # by rollout and name
        self._refused: set[str | None] = set()  # where pods may not be listed

    def show(self, key: Key) -> bytes | None:
        found = self._rollouts.get(key)
        if found is None:
            return None
        if self._refused & {None, key[0]}:
            return found  # without pods: none were looked at, which is not the same as there being none
        return with_pods(found, [content for _, content in sorted(self._pods.get(key, {}).items())])

    def put(self, name: Name, content: bytes) -> None:
        key, pod = name
        if pod:
            self._pods.setdefault(key, {})[pod] = content
        else:
            self._rollouts[key] = content

    def drop(self, name: Name) -> None:
        key, pod = name
        if not pod:
            self._rollouts.pop(key, None)
        elif (pods := self._pods.get(key)) and pods.pop(pod, None) and not pods:
            del self._pods[key]

    def missing(self, where: Where, there: Iterable[Name]) -> list[Name]:
        """What is kept of a place and was in no page of its list."""
        listed = set(there)
        if where.kind == POD:
            kept: list[Name] = [(key, pod) for key, pods in self._pods.items() for pod in pods]
        else:
            kept = [(key, "") for key in self._rollouts]
        return [one for one in kept if where.namespace in (None, one[0][0]) and one not in listed]

    def refuse_pods(self, namespace: str | None, *, refused: bool) -> list[Key]:
        """Note whether pods can be seen; the rollouts that look different for it."""
        if (namespace in self._refused) == refused:
            return []
        self._refused ^= {namespace}
        return [key for key in self._rollouts if namespace in (None, key[0])]
