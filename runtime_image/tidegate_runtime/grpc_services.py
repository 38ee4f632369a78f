"""Every service of the gRPC port, for whichever server carries them."""

from __future__ import annotations

from tidegate.protocol import SERVICE
from tidegate_runtime import grpc_health
from tidegate_runtime.grpc_calls import Methods
from tidegate_runtime.grpc_health import HealthService
from tidegate_runtime.grpc_reflection import ReflectionService
from tidegate_runtime.grpc_service import InferenceService
from tidegate_runtime.health import Health
from tidegate_runtime.protection import Protection


class Services:
    """Inference, health and reflection."""

    def __init__(self, health: Health, protection: Protection) -> None:
        self.inference = InferenceService(health, protection)
        self.health = HealthService(health, (SERVICE,))
        self._reflection = ReflectionService((SERVICE, grpc_health.SERVICE))

    def methods(self) -> Methods:
        return {**self.inference.methods(), **self.health.methods(), **self._reflection.methods()}
