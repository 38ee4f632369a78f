"""The one place that imports ONNX Runtime, after its telemetry was switched off.

Its Linux wheel (1.31) starts a thread at import that reports to the vendor; only this variable, read at import, keeps
it from starting.  `disable_telemetry_events` comes too late for that, and stands here for the other systems' wheels.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

onnxruntime.disable_telemetry_events()
onnxruntime.set_default_logger_severity(4)  # errors come back as exceptions; its coloured lines are not our log's

__all__ = ["onnxruntime"]
