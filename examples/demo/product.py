"""Using the product like a user: the `tidegate` command, a manifest that is rewritten, a run that watches it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.demo.traffic import wait_until

COMMAND_WITHIN = 300.0
STOPPED_WITHIN = 20.0
NAME = "digits"
# Drains the run when the pipe on stdin closes: also after `kill -9` of the demo.
LIFELINE = 'exec 3<&0; "$@" & child=$!; (cat <&3 >/dev/null; kill -TERM $child 2>/dev/null) & wait $child'

MANIFEST = """\
apiVersion: serving.tidegate.io/v1alpha1
kind: ModelDeployment
metadata: {{name: {name}}}
spec:
  bundle:
    uri: {uri}
    secretRef: {{name: s3}}
    signature: {{publicKeySecretRef: {{name: release-key, key: release.pub}}}}
  acceptance: {{metrics: {{accuracy: {{min: 0.75}}}}}}
  runtime: {{threads: {{intraOp: 1}}}}
  rollout:
    steps: {steps}
    analysis: {{interval: 1s, warmup: 2s, minRequests: 20, maxErrorRate: 0.01, maxLatency: {{p99: 50ms}}}}
    scaleDownDelay: 2s
"""


class DemoFailed(Exception):
    """The product did something else than the demo says it would."""


@dataclass(frozen=True, slots=True)
class Product:
    """The command line of one user, who keeps everything in one folder."""

    folder: Path
    credentials: Mapping[str, str]

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def timeline(self) -> Path:
        return self.state / NAME / "timeline.jsonl"

    def tidegate(self, *arguments: str | Path) -> str:
        """Run one command to its end; what it printed."""
        done = subprocess.run(
            [_program(), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=COMMAND_WITHIN,
            env=self._environment() | dict(self.credentials),
            check=False,
        )
        if done.returncode:
            raise DemoFailed(f"tidegate {' '.join(map(str, arguments))}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def apply(self, uri: str, steps: str = "[]") -> None:
        """Write the manifest that the run watches, in one move."""
        draft = self.folder / "modeldeployment.yaml.new"
        draft.write_text(MANIFEST.format(name=NAME, uri=uri, steps=steps))
        draft.replace(self.folder / "modeldeployment.yaml")

    def status(self) -> dict[str, Any]:
        """What `tidegate status` says of the deployment."""
        document = json.loads(self.tidegate("status", NAME, "--state", self.state, "-o", "json"))
        status: dict[str, Any] = document["deployments"][0]["status"]
        return status

    @contextmanager
    def run(self, port: int, keys: Path) -> Iterator[subprocess.Popen[bytes]]:
        """`tidegate run` for as long as this lasts; drained and gone afterwards."""
        secret = self.folder / "s3.env"
        secret.write_text("".join(f"{name}={value}\n" for name, value in self.credentials.items()))
        secret.chmod(0o600)
        command = [_program(), "run", "-f", self.folder / "modeldeployment.yaml", "--port", str(port)]
        command += ["--state", self.state, "--secret", f"s3={secret}", "--secret", f"release-key={keys}"]
        with (self.folder / "run.log").open("wb") as log:
            process = subprocess.Popen(
                ["/bin/sh", "-c", LIFELINE, "sh", *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
            try:
                yield process
            finally:
                stop(process)

    def log(self) -> str:
        """The last lines of what the run said."""
        text = (self.folder / "run.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-15:])

    def _environment(self) -> dict[str, str]:
        own = {"XDG_CACHE_HOME": str(self.folder / "cache"), "XDG_STATE_HOME": str(self.folder / "home")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return kept | own


def stop(process: subprocess.Popen[bytes]) -> None:
    """Let go of the lifeline and have patience, then SIGKILL for the whole session."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def serving(product: Product, process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until the first version serves."""

    def ready() -> bool:
        if process.poll() is not None:
            raise DemoFailed(f"tidegate run ended with exit code {process.returncode}:\n{product.log()}")
        return product.timeline.exists() and '"Promoted"' in product.timeline.read_text()

    wait_until(ready, seconds, "serving the first version")


def _program() -> str:
    return str(Path(sys.executable).parent / "tidegate")
