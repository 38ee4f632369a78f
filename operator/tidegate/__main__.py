"""`python -m tidegate`: what the operator's image runs, which has no scripts of packages."""

from __future__ import annotations

from tidegate.cli.main import main

if __name__ == "__main__":
    main()
