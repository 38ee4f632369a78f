"""Pods of Jobs: the real command of the container, its exit code and termination message in the pod's status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tests.control_plane import statuses
from tests.control_plane.played import Around, Left, PlayedPod
from tests.control_plane.resources import Object
from tests.control_plane.statuses import Ended

Answer = Callable[[Object], Ended | Literal["hold"] | None]  # None: run the real command


class JobPod(PlayedPod):
    """Runs once; kwok removes the pod when it is deleted."""

    def __init__(self, around: Around, pod: Object, answer: Answer | None) -> None:
        super().__init__(around, pod)
        self._answer = answer

    def play(self) -> None:
        answer = self._answer(self.pod) if self._answer else None
        try:
            if answer == "hold":
                self._begin()
                self.leaving.wait()
                return
            with self.around.jobs:
                self._finish(answer if answer is not None else self._real())
        except Left:
            self.end(0.0)

    def _begin(self) -> None:
        began = statuses.now()
        self.write(**self._status("Running", statuses.running(began)), startTime=began)

    def _show_waiting(self, state: Object) -> None:
        self.write(**self._status("Pending", state))

    def _finish(self, ended: Ended) -> None:
        phase = "Succeeded" if ended.code == 0 else "Failed"
        self.write(**self._status(phase, ended.state, reason="PodCompleted" if ended.code == 0 else "PodFailed"))

    def _real(self) -> Ended:
        """All containers in turn, until one fails."""
        for container in (*self.first, self.main):
            launch = self.launch(container, self._show_waiting)
            if container is self.main:
                self._begin()
            ended = self.run(container, launch)
            if ended.code:
                return ended
        return ended

    def _status(self, phase: str, state: Object, reason: str = "ContainersNotReady") -> Object:
        conditions = statuses.conditions(initialized=True, ready=False, reason=reason)
        return statuses.status(phase, conditions, [], [statuses.container(self.main, state)])
