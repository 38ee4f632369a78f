"""The beginning of `tidegate-runtime`, and of `python -m tidegate_runtime`."""

from __future__ import annotations

import sys

from tidegate_runtime.allocator import begin_with_settings


def begin() -> int:
    """Run the command; its exit code. A server may begin twice, so nothing else is loaded before."""
    if sys.argv[1:2] == ["serve"]:
        begin_with_settings()

    from tidegate_runtime.main import main

    return main()


if __name__ == "__main__":
    sys.exit(begin())
