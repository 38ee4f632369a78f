"""Two operators for one cluster, one of which leads; whichever dies is started again, as Kubernetes would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.operating import HOME, Operator, grant
from tests.control_plane.audit import Mark, Request
from tests.control_plane.plane import Plane
from tests.control_plane.users import OPERATOR, SECOND_OPERATOR
from tests.waiting import wait_until

LEASE = "tidegate-operator"
USERS = {"first": OPERATOR, "second": SECOND_OPERATOR}  # by identity: the audit log tells them apart


class Pair:
    """Both processes, by their names in the lease."""

    def __init__(self, plane: Plane, folder: Path) -> None:
        self.plane = plane
        self.operators = {
            name: Operator(plane, folder / name, ("--identity", name, "--log-level", "debug"), user=user)
            for name, user in USERS.items()
        }

    def revive(self) -> None:
        """Start what has ended, and wait until one leads and the other stands by."""
        for operator in self.operators.values():
            if not operator.runs:
                operator.log.unlink(missing_ok=True)
                operator.start()
        for operator in self.operators.values():
            operator.until(operator.is_ready, "it has seen everything")
        self.until(lambda: self.leader is not None, "one of them leads", 40)
        assert self.leader
        self.leader.leads()

    @property
    def holder(self) -> str:
        lease = self.plane.client.get("leases", HOME, LEASE)
        return str(lease["spec"].get("holderIdentity") or "") if lease else ""

    @property
    def leader(self) -> Operator | None:
        found = self.operators.get(self.holder)
        return found if found and found.runs else None

    def roles(self) -> tuple[Operator, Operator]:
        """Who leads, and who stands by."""
        leader = self.leader
        assert leader
        return leader, next(one for one in self.operators.values() if one is not leader)

    def asked(self, operator: Operator, mark: Mark) -> list[Request]:
        """What one of them has asked since then."""
        return self.plane.audit.since(mark, user=operator.user.name)

    def written(self, operator: Operator, mark: Mark) -> list[Request]:
        """What one of them has written since then, but for the lease."""
        return changes(self.asked(operator, mark))

    def until(self, look: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
        return wait_until(lambda: look() or None, lambda: f"{what}\n{self.told()}", seconds)

    def told(self) -> str:
        logs = {name: one.log.read_text()[-3000:] for name, one in self.operators.items() if one.log.exists()}
        return "\n".join(f"--- {name}\n{text}" for name, text in logs.items())

    def close(self) -> None:
        """In order: whoever comes next need not wait for the lease to run out."""
        for operator in self.operators.values():
            if operator.runs:
                operator.stop()


def changes(requests: Iterable[Request]) -> list[Request]:
    return [one for one in requests if one.writes and one.resource != "leases"]


@contextmanager
def pair_of_operators(plane: Plane, folder: Path) -> Iterator[Pair]:
    grant(plane, *USERS.values())
    pair = Pair(plane, folder)
    try:
        yield pair
    finally:
        pair.close()
        for operator in pair.operators.values():
            operator.close()
