"""operator: the process that the chart starts."""

from __future__ import annotations

import os

import click

from tidegate.cluster.settings import FLAGS, check_files, read_settings

PACKAGES = ("aiohttp", "kopf", "kubernetes", "orjson", "prometheus_client")  # of the extra `operator`


def with_flags(command: click.Command) -> click.Command:
    """The command with an option for each setting; each is also read from the environment."""
    for flag in reversed(FLAGS):
        shown = f"{flag.shown}  ({flag.environment})"
        command.params.insert(0, click.Option([f"--{flag.name}"], metavar=flag.field.upper(), help=shown))
    return command


@with_flags
@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def operator(**given: str | None) -> int:
    """Reconcile the ModelDeployments of a cluster, until it is told to end.

    In a pod it uses the pod's service account; elsewhere a kubeconfig. Several may run: the one that holds the Lease
    works, the others stand by.

    \b
    Example: tidegate operator --runtime-image registry.example.com/tidegate-runtime@sha256:…
    """
    from tidegate.author.extras import need

    for package in PACKAGES:
        need(package, extra="operator")
    settings = read_settings(given, os.environ)
    check_files(settings)
    from tidegate.cluster.main import operate  # a second of imports that --help need not wait for

    return operate(settings)
