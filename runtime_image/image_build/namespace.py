"""The namespace in which images are built: root there, anybody outside."""

from __future__ import annotations

import os
import subprocess
import sys

ENTERED = "TIDEGATE_IMAGE_BUILD"
USER = ("unshare", "--user", "--map-root-user", "--mount")
ROOT = ("unshare", "--mount")  # for root where user namespaces are off


class NoNamespaces(Exception):
    """Nobody may make namespaces here; says what to enable."""


def enter() -> None:
    """Start this program again as root of a new namespace, unless it is there already; raises NoNamespaces."""
    if ENTERED in os.environ:
        return
    again = [*within(), sys.executable, "-m", "image_build", *sys.argv[1:]]
    os.execvpe(again[0], again, {**os.environ, ENTERED: "1"})  # noqa: S606 - in its place: who ends this one ends that one


def within() -> tuple[str, ...]:
    """The words before a command that give it mounts of its own."""
    for words in (USER, ROOT):
        try:
            done = subprocess.run([*words, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
        except FileNotFoundError:
            break
        if done.returncode == 0:
            return words
    raise NoNamespaces(
        "images are built in a namespace of this Linux machine, and it lets nobody make one: let users make them "
        "(sysctl user.max_user_namespaces above 0; kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu), be root, "
        "or install util-linux"
    )
