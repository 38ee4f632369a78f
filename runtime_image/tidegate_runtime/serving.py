"""From a proved model to a server that answers for it: engine, protocols, routes. The same in every process."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tidegate.errors import Failed, TidegateError
from tidegate_runtime.admission import Admission
from tidegate_runtime.counters import Counters
from tidegate_runtime.engine import Engine, Surroundings
from tidegate_runtime.explain_counts import ExplainCounts
from tidegate_runtime.explaining import Explaining
from tidegate_runtime.health import Health
from tidegate_runtime.inference import Inferring
from tidegate_runtime.interfaces import LoadedModel
from tidegate_runtime.oip import OpenInference
from tidegate_runtime.predict import Predicting
from tidegate_runtime.routes import Identity
from tidegate_runtime.server import Server
from tidegate_runtime.session import OrtModel
from tidegate_runtime.settings import Settings
from tidegate_runtime.shadow import ShadowSender
from tidegate_runtime.slots import Slots
from tidegate_runtime.tracing import Tracer
from tidegate_runtime.watchdog import Watchdog

GC_THRESHOLD: Final = 50_000  # a pass over the heap costs as much as a hundred small requests


@dataclass(frozen=True, slots=True)
class Observed:
    """The parts that count, watch and limit; there before any model is."""

    watchdog: Watchdog
    recorder: Counters
    shadow: ShadowSender
    admission: Admission
    health: Health
    explained: ExplainCounts | None = None  # None: nothing is explained
    slots: Slots = field(default_factory=lambda: Slots(0))  # of explanations


@dataclass(frozen=True, slots=True)
class Serving:
    """What answers now, under which names."""

    engine: Engine
    inferring: Inferring
    identity: Identity


def serve_model(
    model: LoadedModel, settings: Settings, parts: Observed, server: Server, tracer: Tracer | None
) -> Serving:
    """Put `model` behind `server`, whose paths of inference exist from now on. Called on the loop."""
    around = Surroundings(asyncio.get_running_loop(), settings, parts.watchdog, parts.recorder, parts.admission)
    engine = Engine(model, None, around)
    inferring = Inferring(model, engine, settings, parts.recorder, parts.shadow)
    inferring.tracer = tracer
    explaining = _explaining(model, engine, around, parts)
    server.front.head = b"server: tidegate\r\nx-tidegate-revision: %b\r\n" % model.revision.encode()
    versions = tuple(dict.fromkeys((model.version, model.revision)))
    identity = Identity(model.name, versions, str(settings.revision_number))
    routes = OpenInference(inferring, parts.health, settings, explaining).routes()
    routes |= Predicting(inferring, parts.health, settings, explaining).routes()
    server.serve(routes, identity, engine)
    if server.front.log is not None:
        server.front.log.names(model.name, model.revision)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    return Serving(engine, inferring, identity)


def _explaining(model: LoadedModel, engine: Engine, around: Surroundings, parts: Observed) -> Explaining | None:
    if parts.explained is None:
        return None
    return Explaining(model, engine.batching, around, parts.health, parts.explained, parts.slots)


def tracer_of(model: LoadedModel, settings: Settings, collector: str, instance: str) -> Tracer:
    """Sends spans to `collector`, as those of the server `instance`; imports OpenTelemetry."""
    from tidegate_runtime.spans import OtlpExporter

    about = {"service.name": model.name, "service.version": model.version, "service.instance.id": instance}
    exporter, tls = OtlpExporter(collector, about), settings.tls_cert is not None
    return Tracer(model, settings.trace_sample, exporter, tls=tls)


def on_thread(work: Callable[[], OrtModel]) -> asyncio.Future[OrtModel]:
    """`work` on a daemon thread of its own: it cannot be interrupted, and must not hold the process up."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[OrtModel] = loop.create_future()

    def finish(result: OrtModel | None, error: Exception | None) -> None:
        if error is not None:
            future.set_exception(error)
        elif result is not None:
            future.set_result(result)

    def run() -> None:
        try:
            result, error = work(), None
        except TidegateError as known:
            result, error = None, known
        except Exception as unknown:  # noqa: BLE001 - whatever it is, the process ends with a sentence
            result, error = None, Failed(f"{type(unknown).__name__} while loading the model: {unknown}")
        loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=run, name="load", daemon=True).start()
    return future
