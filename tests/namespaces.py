"""What a restricted pod is made of, for a plain process: mounts of its own, and a user that no passwd file knows.

Anybody makes them in a user namespace.  Where those are off, root can do without; else the tests fail and say what to
enable: a skip would hide that nobody has seen the product in a restricted pod.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Namespaces:
    """`mounts` are the words before a command that then may mount; `user`, with a number put in, come after those."""

    mounts: tuple[str, ...]
    user: tuple[str, ...]

    def somebody(self, number: int) -> tuple[str, ...]:
        """The words before a command that then is the user `number`, whose rights to read are its parent's."""
        return tuple(word.format(number) for word in self.user)


USER = Namespaces(
    ("unshare", "--user", "--map-root-user", "--mount", "--"),
    ("unshare", "--user", "--map-user={0}", "--map-group={0}", "--"),
)
# What tests write is only its owner's to read, as it is to root in a user namespace.
ROOT = Namespaces(
    ("unshare", "--mount", "--"),
    ("setpriv", "--reuid={0}", "--regid={0}", "--clear-groups", "--inh-caps=-all,+dac_read_search",
     "--ambient-caps=-all,+dac_read_search", "--"),
)  # fmt: skip


@functools.cache
def namespaces() -> Namespaces:
    """Those of this machine; fails the test where a Linux has none, skips it on another system."""
    if sys.platform != "linux":
        pytest.skip("pods are made of Linux's namespaces")
    said = []
    for possible in (USER, ROOT):
        inner = [*possible.somebody(54321), sys.executable, "-c", ""]
        try:
            done = subprocess.run(
                [*possible.mounts, "sh", "-c", 'mount --make-rprivate / && exec "$@"', "sh", *inner],
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
        except FileNotFoundError as missing:
            said.append(str(missing))
            continue
        if done.returncode == 0:
            return possible
        said.append(done.stderr.strip())
    pytest.fail(
        "this machine lets nobody make namespaces, of which restricted pods are made: allow it "
        "(sysctl user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1, "
        "kernel.apparmor_restrict_unprivileged_userns=0, whichever is there), be root, or install util-linux: "
        + "; ".join(said),
        pytrace=False,
    )
