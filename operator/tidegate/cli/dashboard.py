"""dashboard: rollouts live in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tidegate.cli.output import printable

MOST_NAMESPACES = 20  # two watches each
PACKAGES = ("aiohttp", "orjson")  # of the extra `dashboard`
PORT = 8090
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command()
@click.option(
    "-n", "--namespace", "namespaces", multiple=True, metavar="NAME", help="Of this namespace; may be repeated."
)
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces of the cluster.")
@click.option("--context", default="", metavar="NAME", help="In the cluster of this context.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Instead of KUBECONFIG and ~/.kube/config.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
def dashboard(namespaces: tuple[str, ...], all_namespaces: bool, opens: bool, **given: Any) -> int:
    """Show rollouts live in a browser, until interrupted.

    Serves a page on this machine: weights, counts, verdicts, gates, pods and history as they change, by your kubeconfig
    and rights. Promote, abort, pause, resume and retry are offered where you may patch ModelDeployments. The address
    that is printed holds a key: whoever has it sees what you may see, and may do what you may do.

    \b
    Example: tidegate dashboard -n payments -n search
    """
    if namespaces and all_namespaces:
        raise click.UsageError("all namespaces or some: leave one of -A and -n away")
    if len(set(namespaces)) > MOST_NAMESPACES:
        raise click.UsageError(f"more than {MOST_NAMESPACES} namespaces: use -A")
    import asyncio

    from tidegate.author.extras import need

    for package in PACKAGES:
        need(package, extra="dashboard")
    from tidegate.cluster.kubectl.dashboard import Wish, serve

    def begun(place: str, address: str) -> None:
        if given["host"] not in LOOPBACK:
            click.echo("warning: this is plain HTTP: whoever is on the way learns the key", err=True)
        click.echo(f"target: {printable(place)}")
        click.echo(address)
        if opens:
            click.launch(address)

    chosen = () if all_namespaces else tuple(dict.fromkeys(namespaces)) or ("",)
    return asyncio.run(serve(Wish(chosen, **given), begun))
