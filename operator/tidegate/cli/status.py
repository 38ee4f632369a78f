"""status, history: of a local run or of the cluster.

Nothing is imported that `status` can do without: in a cluster an answer takes 0.2 s, most of it Python's own start.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.output import emit, output_option, quiet_option
from tidegate.cli.target import Choice, choice_of, in_cluster, one_there, place, target_options, the_run
from tidegate.errors import Temporary

if TYPE_CHECKING:
    from tidegate.cluster.kubectl.deployments import Place
    from tidegate.local.commands import Target

Document = Mapping[str, Any]
Look = Callable[[], list[Document]]
Changed = Callable[[float], bool]  # whether to look again, within so many seconds
WATCH_SECONDS = 1.0
LONGEST_SECONDS, PODS_SECONDS = 30.0, 5.0  # without news; of pods there is none
SHARE_OF_TIME = 0.05  # of a watch that its looks may take: a long list is looked at less often


@click.command()
@click.argument("name", required=False)
@click.option("-w", "--watch", is_flag=True, help="Show it again whenever it changes, until interrupted.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces of the cluster.")
@target_options
@output_option
@quiet_option
def status(name: str | None, watch: bool, output: str, quiet: bool, **given: Any) -> None:
    """Show the versions, weights and verdicts of a deployment; without NAME a line for each.

    \b
    Example: tidegate status fraud --watch
    """
    choice = choice_of(given)
    if name and choice.all_namespaces:
        raise click.UsageError("one deployment is in one namespace: leave --all-namespaces or the name away")
    there = place(choice) if in_cluster(choice, name) else None
    look = looking(there, name) if there else partial(documents_here, choice, name)
    if not watch:
        show(look(), output=output, quiet=quiet)
        return
    print_it = partial(show, output=output, quiet=quiet)
    watched(look, print_it, changed_in(there, name), clears=output == "table" and not quiet)


def changed_in(there: Place | None, name: str | None) -> Changed:
    """How to hear of changes: by a watch of the cluster; a local run is looked at once a second."""
    if there is None:
        return a_moment_later
    return there.changes(name or "", longest=PODS_SECONDS if name else LONGEST_SECONDS).wait


def a_moment_later(seconds: float) -> bool:
    time.sleep(seconds)
    return True


def looking(there: Place, name: str | None) -> Look:
    """How to look at what is meant; the connection to a cluster is kept from look to look."""
    from tidegate.cluster.kubectl.deployments import document, whole_document

    if name:
        return lambda: [whole_document(there, name)]

    def look() -> list[Document]:
        found = there.deployments()
        if len(found) == 1 and there.namespace:
            return [whole_document(there, str(found[0]["metadata"]["name"]))]
        return [document(there, one, None) for one in found]

    return look


def documents_here(choice: Choice, name: str | None) -> list[Document]:
    from tidegate.local.commands import NoSuchRun, targets

    found = targets(choice.state, name)
    if not found:
        do = "start one: tidegate run -f FILE; for a cluster set KUBECONFIG"
        raise NoSuchRun("no local run was found", where=name or "", do=do)
    return [document_here(target) for target in found]


def document_here(target: Target) -> Document:
    """One deployment of a run as JSON shows it."""
    memory = target.memory()
    known = memory.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    steps = memory.spec.model_dump(mode="json", by_alias=True)["rollout"]["steps"] if memory.spec else []
    return {
        "name": target.name,
        "target": "local",
        "running": target.running,
        "state": str(target.state.folder),
        "url": known.get("url") or target.url,
        "manifest": target.state.run().get("manifest", ""),
        "steps": steps,
        "status": known,
    }


def watched(
    look: Look, print_it: Callable[[list[Document]], None], changed: Changed = a_moment_later, *, clears: bool
) -> None:
    """Look whenever something has changed, and print it; a server that is away for a while is waited for."""
    ages = clears and sys.stdout.isatty()  # on a terminal they are kept current
    shown: list[Document] | None = None
    trouble = ""
    while True:
        began = time.monotonic()
        try:
            now = look()
        except Temporary as error:
            if str(error) != trouble:
                click.echo(f"error: {error}: trying again", err=True)
            trouble = str(error)
        else:
            trouble = ""
            if now != shown or ages:
                print_anew(print_it, now, clears=ages)
            shown = now
        if (rest := (time.monotonic() - began) / SHARE_OF_TIME) > WATCH_SECONDS:
            time.sleep(rest)
        while not changed(WATCH_SECONDS):
            if ages and shown is not None:
                print_anew(print_it, shown, clears=True)


def print_anew(print_it: Callable[[list[Document]], None], found: list[Document], *, clears: bool) -> None:
    if clears:
        click.clear()
    print_it(found)


def show(found: list[Document], *, output: str, quiet: bool) -> None:
    if quiet:
        click.echo("\n".join(str(one["status"].get("phase", "")) for one in found))
        return
    from tidegate.cli.status_view import print_status

    emit({"deployments": found}, output=output, table=partial(print_status, found))


@click.command()
@click.argument("name", required=False)
@click.option("--decisions", is_flag=True, help="Each decision instead: what, who, why and on which numbers.")
@target_options
@output_option
@quiet_option
def history(name: str | None, decisions: bool, output: str, quiet: bool, **given: Any) -> None:
    """Show which versions were served, and how each ended; or every decision about them.

    \b
    Example: tidegate history fraud --decisions
    """
    if decisions:
        show_decisions(*decisions_of(choice_of(given), name), output=output, quiet=quiet)
        return
    meant, entries = history_of(choice_of(given), name)
    if quiet:
        for one in entries:
            click.echo(one["revision"])
        return
    from tidegate.cli.status_view import print_history

    emit({"name": meant, "history": entries}, output=output, table=partial(print_history, entries))


def show_decisions(name: str, made: list[dict[str, Any]], *, output: str, quiet: bool) -> None:
    if quiet:
        for one in made:
            click.echo(one["reason"])
        return
    from tidegate.cli.status_view import print_decisions

    emit({"name": name, "decisions": made}, output=output, table=partial(print_decisions, made))


def decisions_of(choice: Choice, name: str | None) -> tuple[str, list[dict[str, Any]]]:
    """The deployment's name, and the decisions that its course tells of, the oldest first."""
    from tidegate.plan.told import decisions_in

    if in_cluster(choice, name):
        there, meant = one_there(choice, name)
        there.deployment(meant)  # or that there is none
        return meant, decisions_in(there.course(meant))
    from tidegate.report.course import kept_in

    target = the_run(choice, name)
    return target.name, decisions_in(kept_in(target.kept.folder).lines)


def history_of(choice: Choice, name: str | None) -> tuple[str, list[Document]]:
    """The deployment's name, and what its status remembers."""
    if in_cluster(choice, name):
        there, meant = one_there(choice, name)
        return meant, (there.deployment(meant).get("status") or {}).get("history") or []
    target = the_run(choice, name)
    return target.name, document_here(target)["status"]["history"]
