"""Plays pods that kwok leaves alone, with real processes: those of Jobs, and those whose mode is `real`."""

from __future__ import annotations

import shutil
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import urllib3
from tests.control_plane.children import Child, Children
from tests.control_plane.client import ApiError, Client, Watch
from tests.control_plane.jobs import Answer, JobPod
from tests.control_plane.network import Network
from tests.control_plane.played import Around, PlayedPod
from tests.control_plane.resources import Object
from tests.control_plane.servers import ServerPod
from tests.control_plane.simulation import MODE, REAL

ENDED = ("Succeeded", "Failed")
JOIN_SECONDS = 10.0


class Player:
    """Watches all pods; each that it plays has a thread.  What goes wrong on one is in `faults`."""

    def __init__(self, client: Client, children: Children, network: Network, folder: Path) -> None:
        closing = threading.Event()
        self._client = client.patient(closing)
        self._around = Around(self._client, children, folder, network.node, closing)
        self._addresses: Iterator[str] = network.real_pods()
        self._answers: dict[str, Answer] = {}
        self._pods: dict[str, PlayedPod] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._watch: Watch | None = None
        self._watching = threading.Thread(target=self._follow, name="player", daemon=True)
        self.faults: list[str] = []

    def __enter__(self) -> Player:
        self._watching.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._around.closing.set()
        if self._watch is not None:
            self._watch.close()
        self._watching.join(JOIN_SECONDS)
        for pod in list(self._pods.values()):
            pod.leave()
        for thread in list(self._threads.values()):
            thread.join(JOIN_SECONDS)
        self._client.close()

    def answer_jobs(self, namespace: str, answer: Answer) -> None:
        """Instead of running the commands of a namespace's Jobs, take this answer: Ended, "hold", or None to run."""
        self._answers[namespace] = answer

    def process_of(self, namespace: str, name: str) -> Child:
        """The process that runs for a pod now, for a test that wants to harm it."""
        for pod in list(self._pods.values()):
            if (pod.namespace, pod.name) == (namespace, name) and pod.child is not None:
                return pod.child
        raise LookupError(f"no process runs for pod {namespace}/{name}")

    def log_of(self, namespace: str, name: str, container: str) -> str:
        """What a container of a played pod has said so far."""
        return (self._around.children.folder / f"{namespace}.{name}.{container}.log").read_text(errors="replace")

    def _follow(self) -> None:
        """List, watch, and again when the watch ends."""
        while not self._around.closing.is_set():
            try:
                self._look()
            except (ApiError, urllib3.exceptions.HTTPError):
                self._around.closing.wait(0.1)
            except Exception:  # noqa: BLE001 - a player that stops without a word would cost hours
                self.faults.append(traceback.format_exc())
                return

    def _look(self) -> None:
        found = self._client.request("GET", "/api/v1/pods")
        for pod in found["items"]:
            self._seen(pod)
        here = {pod["metadata"]["uid"] for pod in found["items"]}
        for uid in set(self._pods) - here:
            self._pods[uid].leave()
        self._watch = self._client.watch("pods", version=found["metadata"]["resourceVersion"])
        for event in self._watch:
            if event["type"] == "ERROR":
                return
            self._seen(event["object"], gone=event["type"] == "DELETED")

    def _seen(self, pod: Object, *, gone: bool = False) -> None:
        uid = pod["metadata"]["uid"]
        if gone or pod["metadata"].get("deletionTimestamp"):
            if uid in self._pods:
                self._pods[uid].leave()
            elif not gone and is_real(pod):
                self._client.delete("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], uid=uid, grace=0)
        elif uid in self._pods:
            self._pods[uid].seen(pod)
        elif played := self._played(pod):
            self._begin(played)

    def _played(self, pod: Object) -> PlayedPod | None:
        """How a pod is played; None for kwok's, and for those that are on no node yet or have ended."""
        if not pod["spec"].get("nodeName") or pod["status"]["phase"] in ENDED:
            return None
        if is_of_job(pod):
            return JobPod(self._around, pod, self._answers.get(pod["metadata"]["namespace"]))
        return ServerPod(self._around, pod, next(self._addresses)) if is_real(pod) else None

    def _begin(self, played: PlayedPod) -> None:
        self._pods[played.uid] = played
        thread = threading.Thread(target=self._play, args=(played,), name=f"pod {played.name}", daemon=True)
        self._threads[played.uid] = thread
        thread.start()

    def _play(self, played: PlayedPod) -> None:
        try:
            played.play()
        except ApiError as error:
            gone = error.status == 404 or "NamespaceTerminating" in error.causes
            if not gone:
                self._fault(played)
        except Exception:  # noqa: BLE001 - the thread's end is told to the test, not to nobody
            self._fault(played)
        finally:
            played.end(0.0)
            shutil.rmtree(self._around.folder / played.uid, ignore_errors=True)
            del self._pods[played.uid], self._threads[played.uid]

    def _fault(self, played: PlayedPod) -> None:
        if not self._around.closing.is_set():
            self.faults.append(f"pod {played.namespace}/{played.name}: {traceback.format_exc()}")


def is_of_job(pod: Object) -> bool:
    return any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences", []))


def is_real(pod: Object) -> bool:
    return pod["metadata"].get("annotations", {}).get(MODE) == REAL and not is_of_job(pod)
