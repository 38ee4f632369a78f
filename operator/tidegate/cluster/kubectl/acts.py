"""What a person asks of a rollout in a cluster: an annotation, and the wait until the operator has taken it up.

The annotation is written only over the very object that was looked at (compare-and-swap by its resourceVersion), so of
two people who act at once the second decides again by what the first has done.  Of several new commands the operator
obeys the latest alone; so while one waits, only an abort may take its place.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from tidegate.api.names import ANNOTATION_ASKED_BY
from tidegate.api.status import ModelDeploymentStatus
from tidegate.cluster.api import path
from tidegate.cluster.errors import ApiDown, Conflict, Throttled
from tidegate.cluster.kubectl.connection import Object
from tidegate.cluster.kubectl.deployments import Place, asked_of
from tidegate.errors import Failed, Temporary
from tidegate.plan.commands import new_commands, value_time
from tidegate.plan.manifests.identity import GROUP, MODEL_DEPLOYMENT
from tidegate.plan.outcome import NotYet, awaited
from tidegate.plan.subjects import SUBJECTS, Asked, NothingToDo, already
from tidegate.plan.verbs import Verb

MANAGER = "tidegate-cli"  # not kubectl-…: Flux takes away what managers of such names wrote
ATTEMPTS = 10  # the status is written a few times a second at most
TAKEN_SECONDS = 30.0  # an operator that changes its leader takes 15
LOOK_SECONDS = 0.2
SLOW_LOOK_SECONDS = 1.0
LONGEST_SECONDS = 30.0  # without news of a watch


class CommandPending(Temporary):
    """Somebody has just asked for something else."""

    reason = "CommandPending"


class StatusUnknown(Failed):
    """The operator is of another version."""

    reason = "StatusUnknown"


class NotTakenUp(Temporary):
    """The command is there, and no operator has seen it."""

    reason = "NotTakenUp"


@dataclass(frozen=True, slots=True)
class Order:
    """A command that is to be given, or (with `given`) that somebody has given and nobody has taken up yet."""

    verb: Verb
    subject: str
    value: str
    replaces: tuple[str, ...] = ()
    given: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """One deployment in a cluster."""

    place: Place
    name: str

    def __str__(self) -> str:
        return f"{self.name} in {self.place}"

    def act(self, verb: Verb, wish: str | None = None) -> Asked:
        """Ask for something and wait until the operator has taken it up; idempotent."""
        for _ in range(ATTEMPTS):
            found = self.place.deployment(self.name)
            order = order_for(found, verb, wish, self)
            if isinstance(order, Asked):
                return order
            if order.given or self._gave(order, found):
                return self._taken(order, wish)
        raise Conflict("others write to it again and again", where=str(self), do="try again")

    def _gave(self, order: Order, found: Object) -> bool:
        notes = {f"{GROUP}/{verb}": None for verb in order.replaces} | {f"{GROUP}/{order.verb}": order.value}
        who = self.place.connection.who_am_i()
        notes[ANNOTATION_ASKED_BY] = f"{order.value} {who}" if who else None
        seen = {"uid": found["metadata"]["uid"], "resourceVersion": found["metadata"]["resourceVersion"]}
        change = {"metadata": {**seen, "annotations": notes}}
        where = path(MODEL_DEPLOYMENT, self.place.namespace, self.name)
        try:
            self.place.connection.patch(where, change, fieldManager=MANAGER)
        except Conflict:
            return False
        return True

    def _taken(self, order: Order, wish: str | None) -> Asked:
        """What came of a command that is there."""
        end = time.monotonic() + TAKEN_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(ApiDown, Throttled):  # the command is there: the server may be away for a moment
                found = self.place.deployment(self.name)
                status = status_of(found)
                if status.commands.get(order.verb) == order.value:
                    return self._done(order, status, wish)
                if asked_of(found).get(order.verb) != order.value:
                    what = f"somebody else has asked for something meanwhile, and {order.verb} was not taken up"
                    raise CommandPending(what, where=str(self), do="see `tidegate status`, then try again")
            time.sleep(LOOK_SECONDS)
        raise NotTakenUp(
            f"{order.verb} of {order.subject} is asked for, and no operator took it up within {TAKEN_SECONDS:.0f} s",
            where=str(self),
            do="see whether one runs and looks after this namespace; it will still do it when it comes",
        )

    def _done(self, order: Order, status: ModelDeploymentStatus, wish: str | None) -> Asked:
        """Whether a command still fits when it comes is the operator's to decide: the status shows whether it did."""
        if order.verb is not Verb.RETRY and still_asks(order, status, wish):
            what = f"{order.verb} of {order.subject} came too late: the rollout had moved on"
            raise NothingToDo(what, where=str(self), do="see `tidegate status`, then decide anew")
        if order.given:
            return already(
                f"{order.verb} of {order.subject}, asked for at {order.value.partition('@')[2]}, is taken up"
            )
        return Asked(f"{order.verb} of {order.subject} was taken up")

    def wait(self, wanted: str, seconds: float) -> str:
        """Wait until it is `promoted`, `ready` or `settled` by its spec of now; a sentence.

        Raises NotYet, or Failed when it was refused, rolled back or deleted. An API server that is away for a while is
        waited for too.
        """
        end = time.monotonic() + seconds
        changes = self.place.changes(self.name, longest=LONGEST_SECONDS)
        last: ApiDown | Throttled | None = None
        behind = False
        while True:
            try:
                found = self.place.deployment(self.name)
                status, generation = status_of(found), int(found["metadata"]["generation"])
                if sentence := awaited(self.name, status, generation, wanted):
                    return sentence
                last, behind = None, status.observed_generation != generation
            except (ApiDown, Throttled) as error:
                last = error
            if time.monotonic() >= end:
                raise last or self._not_yet(wanted, seconds, behind=behind)
            pause = SLOW_LOOK_SECONDS if last else LONGEST_SECONDS
            changes.wait(min(pause, max(0.0, end - time.monotonic())))

    def _not_yet(self, wanted: str, seconds: float, *, behind: bool) -> NotYet:
        what = f"{self.name} is not {wanted} after {seconds:.0f} s"
        if behind:
            do = "no operator has seen this spec: see whether one runs and looks after this namespace"
            return NotYet(what, where=str(self.place), do=do)
        return NotYet(what, where=str(self.place), do=f"see `tidegate status {self.name}`")


def status_of(found: Mapping[str, Any]) -> ModelDeploymentStatus:
    """What the operator says of it; raises StatusUnknown when that is of a version that we do not understand."""
    try:
        return ModelDeploymentStatus.model_validate(found.get("status") or {})
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        what = f"the operator is of another version: status.{field} is not understood"
        raise StatusUnknown(what, do="use a `tidegate` of the operator's version") from None


def order_for(found: Mapping[str, Any], verb: Verb, wish: str | None, target: object) -> Order | Asked:
    """What to ask for, by the object as it is now.

    Raises NothingToDo, or CommandPending while another command waits to be taken up.
    """
    status = status_of(found)
    subject = SUBJECTS[verb](status, wish)
    if isinstance(subject, Asked):
        return subject
    waiting = new_commands(asked_of(found), status.commands)
    if waiting.get(verb, "").partition("@")[0] == subject:
        return Order(verb, subject, waiting[verb], given=True)
    if waiting and verb is not Verb.ABORT:
        other, value = next(iter(waiting.items()))
        subject, _, at = value.partition("@")
        what = f"{other} of {subject} was asked for at {at} and is not taken up yet"
        do = "try again in a moment; when it stays so, no operator runs. Only `tidegate abort` takes its place"
        raise CommandPending(what, where=str(target), do=do)
    value = f"{subject}@{value_time(datetime.now(UTC))}"
    return Order(verb, subject, value, tuple(other for other in waiting if other != verb))


def still_asks(order: Order, status: ModelDeploymentStatus, wish: str | None) -> bool:
    """Whether the same wish would now be asked for again: then nothing came of it."""
    try:
        return SUBJECTS[order.verb](status, wish) == order.subject
    except Failed:
        return False
