"""A pod whose containers are real processes: what is common to those of Jobs and to servers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.control_plane import statuses
from tests.control_plane.children import Child, Children
from tests.control_plane.client import STRATEGIC, Client
from tests.control_plane.mounts import Files, Launch, Missing
from tests.control_plane.resources import Object
from tests.control_plane.statuses import Ended

LOOK_SECONDS = 0.03
AGAIN_SECONDS = 0.3  # until what the pod needs is looked for again
JOBS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Around:
    """What all played pods share."""

    client: Client
    children: Children
    folder: Path
    node: str
    closing: threading.Event  # the run ends: nothing is written any more
    jobs: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(JOBS_AT_ONCE))


class Left(Exception):
    """The pod is being deleted, or the run ends."""


class PlayedPod:
    """One pod; `play` runs on a thread of its own, `leave` asks it to end from another."""

    def __init__(self, around: Around, pod: Object) -> None:
        self.around = around
        self.pod = pod
        self.uid = str(pod["metadata"]["uid"])
        self.namespace = str(pod["metadata"]["namespace"])
        self.name = str(pod["metadata"]["name"])
        self.first: list[Object] = pod["spec"].get("initContainers", [])
        self.main: Object = pod["spec"]["containers"][0]
        self.files = Files(around.client, pod, around.folder / self.uid)
        self.leaving = threading.Event()
        self.child: Child | None = None

    def play(self) -> None:
        """The pod's whole life."""
        raise NotImplementedError

    def seen(self, pod: Object) -> None:
        """The pod as the API server shows it now: somebody else may have written of it."""

    def leave(self) -> None:
        self.leaving.set()

    def write(self, **status: object) -> None:
        """Change the status, unless the run ends."""
        if not self.around.closing.is_set():
            change = {"status": {key: value for key, value in status.items() if value is not None}}
            self.around.client.patch("pods", self.namespace, self.name, change, subresource="status", form=STRATEGIC)

    def wait(self, seconds: float) -> None:
        """Wait; raises Left when the pod has to go."""
        if self.leaving.wait(seconds):
            raise Left

    def launch(self, container: Object, show: Callable[[Object], None], extra: Iterable[str] = ()) -> Launch:
        """How to start a container, once everything that it names is there; until then `show` tells what is not."""
        while True:
            try:
                self.files.fill()
                return self.files.launch(container, extra)
            except Missing as missing:
                show(statuses.waiting("CreateContainerConfigError", str(missing)))
            self.wait(AGAIN_SECONDS)

    def start(self, container: Object, launch: Launch) -> Child:
        launch.termination_log.unlink(missing_ok=True)
        launch.termination_log.touch()
        name = f"{self.namespace}.{self.name}.{container['name']}"
        self.child = self.around.children.start(name, launch.command, launch.environment, home=self.files.home)
        return self.child

    def run(self, container: Object, launch: Launch, look: Callable[[], None] | None = None) -> Ended:
        """A container from its start to its end; Left, with the process still there, when the pod has to go."""
        began = statuses.now()
        child = self.start(container, launch)
        while child.runs:
            self.wait(LOOK_SECONDS)
            if look is not None:
                look()
        return Ended(statuses.exit_code(child.process.wait()), launch.last_words(), began)

    def end(self, patience: float) -> None:
        """End the process that runs, if one does."""
        if self.child is not None and self.child.runs:
            self.child.stop(0.0 if self.around.closing.is_set() else patience)
