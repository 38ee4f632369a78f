"""`python -m tidegate_runtime`, for whoever starts it by the interpreter."""

from __future__ import annotations

import sys

from tidegate_runtime.main import main

sys.exit(main())
