"""Which deployment a command is about: one of a local run, or one in a cluster.

A local run only with `--local` or `--state`; the cluster only with `-n`, `--context`, `--cluster`, `--kubeconfig`, or
as `kubectl tidegate`.  Without any of them the one that exists; where both do, nobody guesses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from tidegate.errors import UsageError

if TYPE_CHECKING:
    from tidegate.cluster.kubectl.deployments import Place
    from tidegate.local.commands import Target
    from tidegate.plan.subjects import Asked
    from tidegate.plan.verbs import Verb

F = TypeVar("F", bound=Callable[..., Any])
PLUGIN = "kubectl tidegate"


class Actor(Protocol):
    """One deployment that can be asked for something; its text is what every act prints first."""

    @property
    def name(self) -> str: ...
    def act(self, verb: Verb, wish: str | None = None) -> Asked: ...
    def wait(self, wanted: str, seconds: float) -> str: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """What the command line says of the target."""

    state: Path | None = None
    local: bool = False
    namespace: str = ""
    context: str = ""
    cluster: bool = False
    kubeconfig: Path | None = None
    all_namespaces: bool = False

    @property
    def here(self) -> bool:
        return self.local or self.state is not None

    @property
    def there(self) -> bool:
        return bool(self.namespace or self.context or self.cluster or self.kubeconfig or self.all_namespaces)


def called() -> str:
    """As what this was typed: the same file is a plugin of kubectl."""
    return PLUGIN if PurePath(sys.argv[0]).name.startswith("kubectl-") else "tidegate"


def local_options(command: F) -> F:
    """Add what says which local run is meant."""
    for option in (
        click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="The run with this state."),
        click.option("--local", is_flag=True, help="A run on this machine."),
    ):
        command = option(command)
    return command


def target_options(command: F) -> F:
    """Add what says which local run, or which cluster, is meant."""
    for option in (
        click.option("--kubeconfig", type=click.Path(path_type=Path), help="Instead of KUBECONFIG and ~/.kube/config."),
        click.option("--cluster", is_flag=True, help="In the cluster of the current context."),
        click.option("--context", default="", metavar="NAME", help="In the cluster of this context."),
        click.option("-n", "--namespace", default="", metavar="NAME", help="In this namespace of the cluster."),
    ):
        command = option(command)
    return local_options(command)


def choice_of(given: dict[str, Any]) -> Choice:
    """The target's part of the options, taken out of them."""
    known = Choice.__dataclass_fields__
    return Choice(**{name: given.pop(name) for name in [*given] if name in known})


def in_cluster(choice: Choice, name: str | None) -> bool:
    """Whether the cluster is meant, else a local run; raises UsageError where both could be."""
    if choice.here and choice.there:
        raise UsageError("a local run and a cluster cannot both be meant", do="leave one of the options away")
    if choice.here or choice.there:
        return choice.there
    if called() == PLUGIN:
        return True
    from tidegate.cluster.kubectl.kubeconfig import is_configured
    from tidegate.local.runs import running_with

    runs = running_with(name)
    if not is_configured():
        return False
    if not runs:
        return True
    raise UsageError("a local run and a cluster could both be meant", do=both(name, [*map(str, runs)]))


def both(name: str | None, runs: list[str]) -> str:
    """What to add for each of the two."""
    from tidegate.cluster.kubectl.kubeconfig import find_context
    from tidegate.errors import TidegateError

    try:
        context = find_context(None, "")
        cluster = f"the context {context.name} ({context.server})"
    except TidegateError as error:
        cluster = f"the kubeconfig, which cannot be used: {error.what}"
    return f"add --local for {name or 'the run'} in {', '.join(runs)}, or --cluster for {cluster}"


def place(choice: Choice) -> Place:
    """The namespace that is meant: that of the command line, else the context's."""
    from tidegate.cluster.kubectl.connection import Connection
    from tidegate.cluster.kubectl.deployments import Place
    from tidegate.cluster.kubectl.kubeconfig import find_context

    context = find_context(choice.kubeconfig, choice.context)
    namespace = None if choice.all_namespaces else choice.namespace or context.namespace
    return Place(Connection(context), namespace)


def the_run(choice: Choice, name: str | None) -> Target:
    """The only deployment of a local run that is meant."""
    from tidegate.local.commands import one_target

    return one_target(choice.state, name)


def one_there(choice: Choice, name: str | None) -> tuple[Place, str]:
    """A place and the name of the deployment there, which may be left away where there is only one."""
    found = place(choice)
    if name:
        return found, name
    names = [str(one["metadata"]["name"]) for one in found.deployments()]
    if len(names) == 1:
        return found, names[0]
    which = ", ".join(names) or "none, see -n and --context"
    raise UsageError("name a deployment", where=str(found), do=f"there are: {which}")


def actor(choice: Choice, name: str | None) -> Actor:
    """The only deployment that is meant, to be asked for something."""
    if in_cluster(choice, name):
        from tidegate.cluster.kubectl import acts

        return acts.Target(*one_there(choice, name))
    return the_run(choice, name)


def awaited_actor(choice: Choice, name: str | None, seconds: float) -> Actor:
    """The same, to be waited for: a local run may only just be starting."""
    if in_cluster(choice, name):
        return actor(choice, name)
    from tidegate.local.commands import awaited_target

    return awaited_target(choice.state, name, seconds)
