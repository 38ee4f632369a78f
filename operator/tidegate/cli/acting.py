"""promote, abort, retry, pause, resume, restart, rollback, wait: on a local run or in a cluster."""

from __future__ import annotations

import time
from typing import Any

import click

from tidegate.cli.duration import Duration
from tidegate.cli.output import emit, output_option, quiet_option
from tidegate.cli.target import Actor, F, actor, awaited_actor, choice_of, target_options
from tidegate.errors import TidegateError


def act_options(command: F) -> F:
    return target_options(output_option(quiet_option(command)))


def ask(verb: str, name: str | None, wish: str | None, given: dict[str, Any]) -> None:
    """Say whom it is about, ask, and say what came of it."""
    from tidegate.plan.verbs import Verb

    target = actor(choice_of(given), name)
    tell_target(target, given)
    try:
        asked = target.act(Verb(verb), wish)
    except TidegateError as error:
        error.where = error.where or str(target)
        raise
    result = {"name": target.name, "target": str(target), "verb": verb}
    outcome = {"already": asked.already, "taken": asked.taken, "message": asked.message}
    if not given["quiet"]:
        emit(result | outcome, output=given["output"], table=lambda: click.echo(asked.message))


def tell_target(target: Actor, given: dict[str, Any]) -> None:
    if not given["quiet"] and given["output"] == "table":
        click.echo(f"target: {target}")


@click.command()
@click.argument("name", required=False)
@click.option("--step", type=click.IntRange(1, 20), help="Only this step: past it is fine, before it is refused.")
@click.option("--full", is_flag=True, help="To 100 % as soon as the candidate has the servers for it.")
@act_options
def promote(name: str | None, step: int | None, full: bool, **given: Any) -> None:
    """Pass the current gate, or go to 100 % at once with --full.

    \b
    Example: tidegate promote fraud
    """
    if full and step is not None:
        raise click.UsageError("--full passes every step: leave --step away")
    ask("promote-full" if full else "promote", name, str(step) if step else None, given)


def simple(verb: str, help_text: str) -> click.Command:
    """A command that takes nothing but the name of a deployment."""

    @click.command(name=verb, help=f"{help_text}\n\n\b\nExample: tidegate {verb} fraud")
    @click.argument("name", required=False)
    @act_options
    def command(name: str | None, **given: Any) -> None:
        ask(verb, name, None, given)

    return command


abort = simple(
    "abort", "Send all traffic back to the stable version; after a promotion to the old one while it is warm."
)
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
    began = time.monotonic()
    target = awaited_actor(choice_of(given), name, timeout)
    tell_target(target, given)
    sentence = target.wait(wanted, max(0.0, timeout - (time.monotonic() - began)))
    if not given["quiet"]:
        emit({"name": target.name, "message": sentence}, output=given["output"], table=lambda: click.echo(sentence))
