"""`tidegate-runtime` as played pods run it: everything is real, but for one rule.

Pods must not fetch bundles from loopback addresses, and here loopback is the pods' network: a store of the tests is
there, as other pods are.  All other refused addresses stay refused.
"""

from __future__ import annotations

import sys

from tidegate.bundle import addresses
from tidegate_runtime.main import main

judge = addresses.objection_to


def objection_to(address: str, *, allow_loopback: bool) -> str:
    return judge(address, allow_loopback=True)


if __name__ == "__main__":
    addresses.objection_to = objection_to
    sys.exit(main())
