"""What a person may do in a namespace, as the API server says it, and the doing: the command line itself.

An act runs `tidegate VERB NAME` as a process: the same code, the same checks and waits, the person's own login; and the
memory of what it loads goes with it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from tidegate.cluster.kubectl.connection import Connection
from tidegate.dashboard.board import Key
from tidegate.errors import Failed, Temporary
from tidegate.plan.manifests.identity import GROUP, MODEL_DEPLOYMENT

REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
BELIEVED_SECONDS = 30.0
ACT_SECONDS = 60.0  # the operator is given 30
ACTS_AT_ONCE = 4
REMEMBERED = 1000  # namespaces
VERBS = {"promote-full": ("promote", "--full")}


class ActTooSlow(Temporary):
    """The command did not end."""

    reason = "ActTooSlow"


class Rights:
    """`tidegate.dashboard.serving.Acts` of a kubeconfig's user."""

    def __init__(self, connection: Connection, options: Sequence[str]) -> None:
        """`options` choose the same cluster for a command as the connection's."""
        self._connection = connection
        self._options = options
        self._known: dict[str, tuple[float, str]] = {}
        self._acting = asyncio.Semaphore(ACTS_AT_ONCE)

    async def refusal(self, namespace: str) -> str:
        """Why they may not act there; nothing where they may."""
        asked, why = self._known.get(namespace, (0.0, ""))
        if asked and time.monotonic() - asked < BELIEVED_SECONDS:
            return why
        why = await asyncio.to_thread(self._ask, namespace)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[namespace] = time.monotonic(), why
        return why

    def _ask(self, namespace: str) -> str:
        about = {"namespace": namespace, "verb": "patch", "group": GROUP, "resource": MODEL_DEPLOYMENT.plural}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": about},
        }
        if (self._connection.post(REVIEW, review).get("status") or {}).get("allowed"):
            return ""
        right = f"{MODEL_DEPLOYMENT.plural}.{GROUP}"
        return f"you may not patch {right} in namespace {namespace}"

    async def act(self, key: Key, verb: str, step: int | None = None) -> str:
        """What the command says; raises TidegateError. It goes on when whoever asked has left."""
        return await asyncio.shield(asyncio.ensure_future(self._act(key, verb, step)))

    async def _act(self, key: Key, verb: str, step: int | None) -> str:
        namespace, name = key
        seen = [] if step is None else [f"--step={step}"]
        command = [*VERBS.get(verb, (verb,)), *seen, f"--namespace={namespace}", *self._options, "--output=json"]
        command += ["--", name]
        async with self._acting:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "tidegate", *command,  # -P: imports nothing of the current folder
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                async with asyncio.timeout(ACT_SECONDS):
                    said, complained = await child.communicate()
            except TimeoutError:
                child.kill()
                await child.wait()
                what = f"{verb} did not end within {ACT_SECONDS:.0f} s"
                raise ActTooSlow(
                    what, where=f"{namespace}/{name}", do="see what has become of it, then try again"
                ) from None
        if child.returncode == 0:
            return str(told(said).get("message", "done"))
        error = told(complained).get("error") or {}
        what = str(error.get("what") or f"the command ended with {child.returncode}")
        raise Failed(
            what, where=str(error.get("where", "")), do=str(error.get("do", "")),
            reason=str(error.get("reason", "Failed")),
        )  # fmt: skip


def told(output: bytes) -> dict[str, Any]:
    """The JSON of a command: its last line, for a plugin may have said something before; indented: all of it."""
    text = output.decode("utf-8", "replace")
    for part in (text, text.strip().rpartition("\n")[2]):
        try:
            found = json.loads(part)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}
