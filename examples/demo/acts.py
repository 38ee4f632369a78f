"""The acts: what is applied, what must come of it, and what clients and servers counted meanwhile."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from examples.demo.course import End, end_of, observed, rows_since, steps, within
from examples.demo.prepare import Version
from examples.demo.product import NAME, DemoFailed, Product
from examples.demo.traffic import Traffic, wait_until

ENDS_WITHIN = 90.0
BACK_WITHIN = 10.0
LATE = 1.0  # seconds after the end of an act that still belong to it


@dataclass(frozen=True, slots=True)
class Act:
    """One thing a person does, and how it must end."""

    name: str
    version: Version
    outcome: str
    reason: str
    weights: tuple[int, ...] = ()


@dataclass(slots=True)
class Stage:
    """What all acts share."""

    product: Product
    traffic: Traffic
    revisions: dict[str, str] = field(default_factory=dict)  # revision by version, as the servers name them
    problems: list[str] = field(default_factory=list)
    told: str = ""  # what the run itself said about the last act

    def watch(self, act: Act, seconds: float = 3.0) -> dict[str, Any]:
        """The first act: the version serves already, clients watch it for a while."""
        start = time.time()
        time.sleep(seconds)
        rows = list(rows_since(self.product.timeline, 0.0))
        self._learn(rows)
        end = end_of(rows)
        if end is None or end.outcome != "promoted":
            raise DemoFailed("the first version does not serve")
        row = self._row(act, dataclasses.replace(end, outcome="serving"), rows, start)
        row |= {"clientErrors": self.traffic.tally.errors, "seconds": round(time.time() - start, 1)}
        self._judge(act, row, end)
        return row

    def play(self, act: Act, do: Callable[[], object]) -> dict[str, Any]:
        """Do it, wait for how it ends, hold that against how it must, and give the act's row of the summary."""
        start, errors = time.time(), self.traffic.tally.errors
        do()
        end = self._wait(act, start)
        wait_until(lambda: self._quiet(end.at), 30, "the end of the rollout")
        rows = list(rows_since(self.product.timeline, start))
        self._learn(rows)
        row = self._row(act, end, rows, start)
        row["clientErrors"] = self.traffic.tally.errors - errors
        row["seconds"] = round(time.time() - start, 1)
        self._judge(act, row, end)
        return row

    def _wait(self, act: Act, start: float) -> End:
        found = wait_until(
            lambda: end_of(list(rows_since(self.product.timeline, start))), ENDS_WITHIN, f"the end of act '{act.name}'"
        )
        assert isinstance(found, End)
        return found

    def _quiet(self, since: float) -> bool:
        """Whether all is as before: one version, 100 %."""
        rows = list(rows_since(self.product.timeline, since))
        last: dict[str, Any] = rows[-1] if rows else {"phase": "", "weights": {}}
        shares = [weight for weight in last["weights"].values() if weight]
        return last["phase"] == "Serving" and shares == [100] and time.time() > since + LATE

    def _learn(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            for revision, seen in row["versions"].items():
                self.revisions[seen["version"]] = revision

    def _row(self, act: Act, end: End, rows: list[dict[str, Any]], start: float) -> dict[str, Any]:
        counts = self.traffic.tally.between(start, time.time())
        by_revision = {self.revisions.get(version, version): number for version, number in counts.items()}
        if end.revision:
            by_revision.setdefault(end.revision, 0)
        spans = steps(rows, end.revision)
        tally = self.traffic.tally
        seen = [observed(weight, tally.between(first, last), act.version.version) for weight, first, last in spans]
        return {
            "act": act.name,
            "outcome": end.outcome,
            "reason": end.reason,
            "digest": act.version.digest,
            "requests": by_revision,
            "weightObserved": seen,
            "decisionRequests": self._counted(rows, end),
        }

    @staticmethod
    def _counted(rows: list[dict[str, Any]], end: End) -> int:
        """Requests of the candidate when it was decided, by its servers' own count."""
        counts = [row["versions"].get(end.revision, {}).get("requests", 0) for row in rows if row["time"] <= end.at]
        return int(counts[-1] - counts[0]) if counts else 0

    def _judge(self, act: Act, row: dict[str, Any], end: End) -> None:
        """Note everything that is otherwise than told."""
        self.told = end.message
        told = (act.outcome, act.reason, list(act.weights))
        was = (row["outcome"], row["reason"], [seen["step"] for seen in row["weightObserved"]])
        if told != was:
            self.problems.append(f"{act.name}: {was}, expected {told} ({end.message})")
        for seen in row["weightObserved"]:
            if not within(seen):
                hint = "chance alone does so at one step of a thousand: try again"
                self.problems.append(f"{act.name}: {seen['step']} % was asked for, {seen} was seen ({hint})")
        if row["clientErrors"]:
            self.problems.append(f"{act.name}: {row['clientErrors']} client errors: {self.traffic.tally.messages}")
        if act.outcome == "refused" and row["requests"].get(end.revision, 0):
            self.problems.append(f"{act.name}: a refused version answered requests")
        if act.outcome == "rolledback" and (back := self._last_answer(act.version.version) - end.at) > BACK_WITHIN:
            self.problems.append(f"{act.name}: still answered {back:.1f} s after the verdict")

    def _last_answer(self, version: str) -> float:
        """When the last request was sent that this version answered."""
        return self.traffic.tally.last(version)


def applied(product: Product, version: Version, steps_: str) -> Callable[[], None]:
    """Applying a version: the manifest names it."""
    return lambda: product.apply(version.uri, steps_)


def rolled_back(product: Product, version: Version) -> Callable[[], None]:
    """Going back by hand."""
    return lambda: require(product.tidegate("rollback", NAME, version.version, "--state", product.state))


def require(printed: str) -> None:
    if not printed:
        raise DemoFailed("the command printed nothing")
