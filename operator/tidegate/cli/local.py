"""`tidegate run`, and the commands that look at a run or ask it for something."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tidegate.cli.output import emit, output_option, print_table, quiet_option

if TYPE_CHECKING:
    from tidegate.api.status import HistoryEntry, RevisionStatus
    from tidegate.local.commands import Target

F = TypeVar("F", bound=Callable[..., Any])
WAITED_FOR = ["promoted", "ready", "settled"]
WATCH_SECONDS = 1.0
SHORT_DIGEST = 19  # sha256: and twelve digits


class Duration(click.ParamType[float]):
    """`10m`, `90s`, `1m30s` as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from tidegate.api.scalars import DURATION, parse_duration

        if isinstance(value, int | float):
            return float(value)
        if not re.search(DURATION, str(value)):
            self.fail(f"{value!r} is not a duration such as 90s or 10m", param, ctx)
        return parse_duration(str(value)).total_seconds()


@click.command()
@click.option("-f", "--file", "manifest", required=True, type=click.Path(path_type=Path), help="The manifest.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that clients connect to.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--once", is_flag=True, help="End when all is promoted or refused; the exit code says which.")
@click.option("--timeout", default="10m", show_default=True, type=Duration(), help="With --once: how long to wait.")
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="Folder of what the run remembers.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with plots at the end.")
@click.option("--secret", "secrets", multiple=True, metavar="NAME=DIR|FILE.env", help="What a secretRef names.")
@click.option("--mount", "mounts", multiple=True, metavar="NAME=DIR", help="The folder of a pvc:// volume claim.")
@click.option("--device", type=click.Choice(["cpu", "cuda", "tensorrt"]), help="Instead of the manifest's.")
@click.option("--max-processes", default=8, show_default=True, type=click.IntRange(1, 256), help="Servers per version.")
def run(manifest: Path, **given: Any) -> int:
    """Serve a manifest on this machine, rollouts included.

    Starts the model servers and an Envoy in front, and moves traffic to a new version in the steps of the manifest.
    The file is read again whenever it changes. With --once: exit 0 promoted, 3 refused or rolled back while the stable
    version serves, 4 not settled in time, 1 nothing serves, 5 the same for a reason that may pass.

    \b
    Example: tidegate run -f modeldeployment.yaml --port 8080
    """
    from tidegate.local.bundles import cache_folder
    from tidegate.local.routes import Listen
    from tidegate.local.run import Options
    from tidegate.local.run import run as serve
    from tidegate.local.secrets import split_pair
    from tidegate.local.state import default_state

    options = Options(
        manifest=manifest,
        state=given["state"] or default_state(manifest),
        listen=Listen(given["host"], given["port"]),
        secrets=dict(split_pair("--secret", pair) for pair in given["secrets"]),
        mounts=dict(split_pair("--mount", pair) for pair in given["mounts"]),
        cache=cache_folder(),
        device=given["device"],
        max_processes=given["max_processes"],
        once=given["once"],
        timeout=given["timeout"],
        report=given["report"],
    )
    return serve(options)


def target_options(command: F) -> F:
    """Add what says which run is meant."""
    for option in (
        click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="The run with this state."),
        click.option("--local", is_flag=True, help="A run on this machine."),
    ):
        command = option(command)
    return command


def act_options(command: F) -> F:
    return target_options(output_option(quiet_option(command)))


def the_target(state: Path | None, name: str | None) -> Target:
    from tidegate.local.commands import one_target

    return one_target(state, name)


def document(target: Target) -> dict[str, Any]:
    """One deployment as JSON shows it."""
    status = target.memory().status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {
        "name": target.name,
        "target": "local",
        "running": target.running,
        "state": str(target.state.folder),
        "url": status.get("url") or target.url,
        "manifest": target.state.run().get("manifest", ""),
        "status": status,
    }


@click.command()
@click.argument("name", required=False)
@click.option("-w", "--watch", is_flag=True, help="Show it again whenever it changes, until interrupted.")
@target_options
@output_option
@quiet_option
def status(name: str | None, watch: bool, state: Path | None, local: bool, output: str, quiet: bool) -> None:  # noqa: ARG001
    """Show the versions, weights and verdicts of a deployment.

    \b
    Example: tidegate status fraud --watch
    """
    shown: Any = None
    while True:
        found = found_targets(state, name)
        now = {"deployments": [document(target) for target in found]}
        if now != shown and quiet:
            click.echo("\n".join(one["status"].get("phase", "") for one in now["deployments"]))
        elif now != shown:
            emit(now, output=output, table=partial(print_status, found))
        shown = now
        if not watch:
            return
        time.sleep(WATCH_SECONDS)


def found_targets(state: Path | None, name: str | None) -> list[Target]:
    from tidegate.local.commands import NoSuchRun, targets

    found = targets(state, name)
    if not found:
        raise NoSuchRun("no local run was found", where=name or "", do="start one: tidegate run -f FILE")
    return found


def print_status(found: list[Target]) -> None:
    rows = [row for target in found for row in version_rows(target)]
    print_table(["deployment", "role", "version", "revision", "weight", "ready", "digest"], rows)
    for target in found:
        for line in standing(target):
            click.echo(line)


def version_rows(target: Target) -> list[list[str]]:
    known = target.memory().status
    versions = [("stable", known.stable), ("candidate", known.candidate)]
    return [[target.name, role, *version_cells(version)] for role, version in versions if version] or [
        [target.name, "", "", "", "", "", ""]
    ]


def version_cells(version: RevisionStatus) -> list[str]:
    real = "" if version.realised_weight is None else f" ({version.realised_weight:.1f} % seen)"
    return [
        version.version, version.revision, f"{version.weight} %{real}",
        f"{version.ready_replicas}/{version.replicas}", version.digest[:SHORT_DIGEST],
    ]  # fmt: skip


def standing(target: Target) -> list[str]:
    """Where a deployment stands, its checks and its conditions, a line each."""
    known = target.memory().status
    where = known.url or target.url
    lines = [f"{target.name}: {known.phase or 'starting'} on {where}" + ("" if target.running else " (not running)")]
    if known.rollout:
        hold = known.rollout.hold_message or known.rollout.hold_reason
        lines.append(f"  step {known.rollout.step} {known.rollout.phase}" + (f": {hold}" if hold else ""))
        lines += [f"  {check.name}: {check.message}" for check in known.rollout.checks]
    return lines + [
        f"  {one.type}={one.status} {one.reason}" + (f": {one.message}" if one.message else "")
        for one in known.conditions
    ]


@click.command()
@click.argument("name", required=False)
@act_options
def history(name: str | None, state: Path | None, local: bool, output: str, quiet: bool) -> None:  # noqa: ARG001
    """Show which versions were served, and how each ended.

    \b
    Example: tidegate history fraud
    """
    target = the_target(state, name)
    entries = target.memory().status.history
    if quiet:
        for one in entries:
            click.echo(one.revision)
        return
    listed = [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in entries]
    emit({"name": target.name, "history": listed}, output=output, table=partial(print_history, entries))


def print_history(entries: Sequence[HistoryEntry]) -> None:
    columns = ["number", "revision", "version", "outcome", "reason", "at", "digest"]
    print_table(columns, [history_cells(one) for one in entries])


def history_cells(one: HistoryEntry) -> list[object]:
    at = f"{one.at:%Y-%m-%d %H:%M:%S}"
    return [one.number, one.revision, one.version, one.outcome, one.reason, at, one.digest[:SHORT_DIGEST]]


def ask(verb: str, name: str | None, wish: str | None, given: dict[str, Any]) -> None:
    """Say whom it is about, ask, and say what came of it."""
    from tidegate.local.commands import act
    from tidegate.plan.observed import Verb

    target = the_target(given["state"], name)
    quiet, output = given["quiet"], given["output"]
    if not quiet and output == "table":
        click.echo(f"target: {target}")
    asked = act(target, Verb(verb), wish)
    result = {"name": target.name, "target": str(target.state.folder), "verb": verb}
    outcome = {"already": asked.already, "taken": asked.taken, "message": asked.message}
    if not quiet:
        emit(result | outcome, output=output, table=lambda: click.echo(asked.message))


@click.command()
@click.argument("name", required=False)
@click.option("--full", is_flag=True, help="To 100 % as soon as the candidate has the servers for it.")
@act_options
def promote(name: str | None, full: bool, **given: Any) -> None:
    """Pass the current gate, or go to 100 % at once with --full.

    \b
    Example: tidegate promote fraud
    """
    ask("promote-full" if full else "promote", name, None, given)


def simple(verb: str, help_text: str) -> click.Command:
    """A command that takes nothing but the name of a deployment."""

    @click.command(name=verb, help=f"{help_text}\n\n\b\nExample: tidegate {verb} fraud")
    @click.argument("name", required=False)
    @act_options
    def command(name: str | None, **given: Any) -> None:
        ask(verb, name, None, given)

    return command


abort = simple("abort", "Send all traffic back to the stable version.")
retry = simple("retry", "Try a rejected version again.")
pause = simple("pause", "Freeze a rollout where it is.")
resume = simple("resume", "Let a paused rollout go on.")
restart = simple("restart", "Roll out the same bundle once more, with fresh servers.")


@click.command()
@click.argument("name", required=False)
@click.argument("revision", required=False)
@act_options
def rollback(name: str | None, revision: str | None, **given: Any) -> None:
    """Return to an earlier version: by revision, number or version, or to the last one.

    \b
    Example: tidegate rollback fraud 1.3.0
    """
    ask("rollback-to", name, revision, given)


@click.command()
@click.argument("name", required=False)
@click.option(
    "--for",
    "wanted",
    default="promoted",
    show_default=True,
    type=click.Choice(["promoted", "ready", "settled"]),
    help="What to wait for.",
)
@click.option("--timeout", default="10m", show_default=True, type=Duration(), help="How long to wait.")
@act_options
def wait(name: str | None, wanted: str, timeout: float, **given: Any) -> None:
    """Wait until a deployment is promoted or ready; exit 1 when it is refused, 5 when the time is over.

    \b
    Example: tidegate wait fraud --for promoted --timeout 30m
    """
    from tidegate.local.commands import await_state, awaited_target

    began = time.monotonic()
    target = awaited_target(given["state"], name, timeout)
    if not given["quiet"] and given["output"] == "table":
        click.echo(f"target: {target}")
    sentence = await_state(target, wanted, timeout - (time.monotonic() - began))
    if not given["quiet"]:
        emit({"name": target.name, "message": sentence}, output=given["output"], table=lambda: click.echo(sentence))
