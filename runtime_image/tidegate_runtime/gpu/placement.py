"""How one model is put on a GPU: its providers and their options, how it is run, and the proof that the GPU works.

Two things may fail that a model can live without: CUDA graphs, and engines kept from an earlier start.  They are given
up one after the other, with a line in the log, before a model is refused.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tidegate.bundle.golden import GoldenSample
from tidegate.bundle.manifest import BundleDir
from tidegate_runtime import devices
from tidegate_runtime.gpu import libraries
from tidegate_runtime.gpu.bound import Bound, Place
from tidegate_runtime.gpu.engines import Engines, Maker, folder_name
from tidegate_runtime.gpu.faults import before_requests, fault
from tidegate_runtime.gpu.graphs import Graphed
from tidegate_runtime.gpu.nvml import find_gpu
from tidegate_runtime.gpu.options import Options, Wanted, bindable, most_rows, no_graph, options, wants_graphs
from tidegate_runtime.gpu.pinned import PinnedMemory
from tidegate_runtime.interfaces import Array, Lane
from tidegate_runtime.ort import onnxruntime
from tidegate_runtime.ort_errors import sentence
from tidegate_runtime.runners import Run, runner
from tidegate_runtime.settings import Settings

LOG = logging.getLogger(__name__)
GRAPH: Final = "gpu_graph_id"  # of RunOptions: "-1" runs without recording or repeating
Provider = str | tuple[str, Options]


class Placement:
    """Made once for a load, which may be tried several times. `folder` is for the profile of the proof.

    `gpu` is where the model runs, None: its driver does not tell. `work`: operators by provider in the proof.
    Raises DeviceUnavailable when this build of ONNX Runtime has nothing for the device.
    """

    def __init__(self, bundle: BundleDir, samples: Sequence[GoldenSample], settings: Settings, folder: Path) -> None:
        self._names = devices.providers_for(settings.device, onnxruntime.get_available_providers())
        self._bundle, self._settings, self._folder = bundle, settings, folder
        self._interface = bundle.manifest.interface
        self._rows = most_rows(settings.max_batch_size, self._interface, samples)
        self._graphs = wants_graphs(settings.provider_options) and self._may_record()
        self._profiled: Any = None  # the first session
        self.work: dict[str, int] = {}
        libraries.load(settings.device)
        self.gpu = find_gpu(os.environ)
        self._engines = self._find_engines()

    def _may_record(self) -> bool:
        why = no_graph(self._interface)
        if why:
            LOG.warning("no CUDA graphs: %s", why)
        return not why

    def _find_engines(self) -> Engines | None:
        root = self._settings.engine_cache
        if self._settings.device != "tensorrt" or root is None:
            return None
        if self.gpu is None:
            LOG.warning("engines are not kept: NVML does not tell which GPU they would be for")
            return None
        maker = Maker(self.gpu.name, self.gpu.driver, onnxruntime.__version__, libraries.tensorrt_version())
        built_with = self._options("")[devices.TENSORRT]
        try:
            return Engines(root, folder_name(self._bundle.digest, maker, built_with))
        except OSError as error:
            LOG.warning("engines are not kept: %s", error.strerror)
            return None

    def _options(self, engines: str) -> dict[str, Options]:
        given, device = self._settings.provider_options, self._settings.device
        return options(Wanted(device, self._interface, given, self._rows, self._graphs, engines))

    # opening

    def providers(self) -> list[Provider]:
        """What a session is to be opened with; raises Invalid for options that cannot be."""
        told = self._options(str(self._engines.path) if self._engines else "")
        return [(name, told[name]) if name in told else name for name in self._names]

    def prepare(self, session_options: Any) -> None:
        """Before a session is opened; the first one's runs are recorded."""
        devices.record_assignment(session_options)
        if self._profiled is None:
            devices.record_work(session_options, self._folder)

    def opened(self, session: Any) -> None:
        """Raises DeviceUnavailable when the session is not where it should be."""
        self._profiled = self._profiled or session
        devices.require_residency(self._settings.device, session.get_providers(), devices.nodes_by_provider(session))

    # running

    def runner(self, sessions: Sequence[Any]) -> Run:
        """Bound to the GPU's memory where tensors allow it."""
        if not bindable(self._interface):
            return runner(sessions, self._bundle)
        place = Place("cuda", PinnedMemory(libraries.cuda_runtime()))
        return (Graphed if self._graphs else Bound)(sessions, self._interface, place)

    def prove(self, feeds: dict[str, Array], lane: Lane, allowed: float) -> None:
        """Run once and see who did the work; raises DeviceUnavailable.

        A run that fails for the model's sake proves nothing and is left to the warm-up, which refuses the model unless
        the sizes of its inputs were guessed.
        """
        run = runner([self._profiled], self._bundle)
        names = [spec.name for spec in self._interface.outputs]
        run_options = lane.options
        if self._graphs:  # nothing is recorded while it is watched
            run_options = onnxruntime.RunOptions()
            run_options.add_run_config_entry(GRAPH, "-1")
        lane.begin(time.monotonic() + allowed)
        try:
            run(names, feeds, run_options)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's own errors share no base class
            self._profiled.end_profiling()
            if (found := fault(error)) is not None:
                raise before_requests(found) from None
            LOG.warning("the GPU is not proved: the first run failed: %s", self._sentence(error))
            return
        finally:
            lane.end()
        self.work = devices.work_of(self._profiled)
        devices.require_work(self._settings.device, self.work)

    def _sentence(self, error: Exception) -> str:
        return sentence(error, self._bundle.path / self._bundle.manifest.model.file)

    # what can be done without

    def keep(self) -> None:
        """The model has run: its engines may be used by the next start."""
        if self._engines is not None:
            self._engines.keep()

    def give_up_something(self, why: str) -> bool:
        """Try again without something, after a load that failed with `why`; false: there is nothing left to give up."""
        if self._graphs:
            LOG.warning("no CUDA graphs: %s", why)
            self._graphs = False
        elif self._engines is not None and self._engines.reused:
            LOG.warning("kept engines are built again: %s", why)
            self._build_anew(self._engines)
        else:
            return False
        self._profiled, self.work = None, {}
        return True

    def _build_anew(self, engines: Engines) -> None:
        try:
            engines.start_anew()
        except OSError as error:
            LOG.warning("engines are not kept: %s", error.strerror)
            self._engines = None
