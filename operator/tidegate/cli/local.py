"""`tidegate run`: a manifest on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tidegate.cli.duration import Duration


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
    from tidegate.local.runs import default_state
    from tidegate.local.secrets import split_pair

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
