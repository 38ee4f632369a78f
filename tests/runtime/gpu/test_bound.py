"""Runs with bound buffers give the very bits of a plain run: for real, the processor's memory in place of a GPU's."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from tests.runtime import small_bundles as small
from tests.runtime.gpu.loading import fixed_sizes

from tidegate.bundle.manifest import Interface
from tidegate_runtime.gpu import bound
from tidegate_runtime.gpu.bound import Bound, Place
from tidegate_runtime.gpu.graphs import Graphed
from tidegate_runtime.gpu.pinned import PinnedMemory
from tidegate_runtime.runners import Run

HOST = PinnedMemory(None)
OPTIONS = onnxruntime.RunOptions()
OPTIONS.log_severity_level = 4


def open_session(graph: onnx.ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def interface_of(graph: onnx.ModelProto) -> Interface:
    return Interface(small.specs(graph.graph.input), small.specs(graph.graph.output))


def bind(graph: onnx.ModelProto, *, sessions: int = 1, graphs: bool = False) -> tuple[Run, Any]:
    made = [open_session(graph) for _ in range(sessions)]
    return (Graphed if graphs else Bound)(made, interface_of(graph), Place("cpu", HOST)), made[0]


def names_of(graph: onnx.ModelProto) -> list[str]:
    return [output.name for output in graph.graph.output]


def require_same(found: list[Any], wanted: list[Any]) -> None:
    assert [(a.dtype, a.shape, a.tobytes()) for a in found] == [(b.dtype, b.shape, b.tobytes()) for b in wanted]


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def nonzero() -> onnx.ModelProto:
    """As many rows as there are numbers other than zero, under the name of the input's rows."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["at"]),
        helper.make_node("Transpose", ["at"], ["y"], perm=[1, 0]),
    ]
    x = small.value("x", TensorProto.FLOAT, ["N"])
    return small.model(nodes, [x], [small.value("y", TensorProto.INT64, ["N", 1])], {})


def test_shapes_that_come_and_go_give_the_bits_of_plain_runs() -> None:
    graph = small.linear()
    run, session = bind(graph)

    for turn, rows in enumerate((1, 3, 1, 32, 3, 1, 0, 32, 1)):
        x = numbers(rows, 4, seed=turn)
        require_same(run(names_of(graph), {"x": x}, OPTIONS), session.run(names_of(graph), {"x": x}))


@pytest.mark.parametrize(
    ("element_type", "array"),
    [
        (TensorProto.FLOAT, np.array([[1.5, np.nan]], np.float32)),
        (TensorProto.DOUBLE, np.array([[1.5, -np.inf]])),
        (TensorProto.FLOAT16, np.array([[1.5, 6e-8]], np.float16)),
        (TensorProto.BOOL, np.array([[True, False]])),
        (TensorProto.INT64, np.array([[2**63 - 1, -1]])),
        (TensorProto.UINT64, np.array([[2**64 - 1, 0]], np.uint64)),
        (TensorProto.INT8, np.array([[-128, 127]], np.int8)),
        (TensorProto.UINT8, np.array([[0, 255]], np.uint8)),
        (TensorProto.INT16, np.array([[-1, 1]], np.int16)),
        (TensorProto.UINT16, np.array([[1, 65535]], np.uint16)),
        (TensorProto.INT32, np.array([[-1, 1]], np.int32)),
        (TensorProto.UINT32, np.array([[1, 2**32 - 1]], np.uint32)),
    ],
)
def test_tensors_of_every_type_come_back_bit_by_bit(element_type: int, array: Any) -> None:
    graph = small.cast(element_type)
    run, _ = bind(graph)

    for _ in range(3):
        require_same(run(["y"], {"x": array}, OPTIONS), [array])


def test_scalars_and_views_in_any_order_of_memory_are_taken() -> None:
    scalar, _ = bind(small.cast(TensorProto.FLOAT, ()))
    run, _ = bind(small.cast(TensorProto.FLOAT))
    view = numbers(2, 5).T[1:5:2]

    require_same(scalar(["y"], {"x": np.array(3.5, np.float32)}, OPTIONS), [np.array(3.5, np.float32)])
    require_same(run(["y"], {"x": view}, OPTIONS), [np.ascontiguousarray(view)])


@pytest.mark.parametrize("graphs", [False, True])
def test_an_answer_stays_as_it_is_when_its_buffers_are_used_again(graphs: bool) -> None:
    graph = fixed_sizes()
    run, session = bind(graph, graphs=graphs)
    asked = [numbers(2, 4, seed=turn) for turn in range(5)]

    answers = [run(names_of(graph), {"x": x}, OPTIONS) for x in asked]

    for x, answer in zip(asked, answers, strict=True):
        require_same(answer, session.run(names_of(graph), {"x": x}))


def test_outputs_whose_sizes_depend_on_values_are_whole_although_the_graph_calls_them_otherwise() -> None:
    graph = nonzero()
    run, session = bind(graph)

    for x in ([1, 0, 2, 3], [0, 0, 0, 4], [5, 6, 7, 8], [0, 0, 0, 0]):
        feeds: dict[str, Any] = {"x": np.array(x, np.float32)}
        require_same(run(["y"], feeds, OPTIONS), session.run(["y"], feeds))


@pytest.mark.parametrize(("sessions", "graphs"), [(1, False), (2, False), (1, True), (2, True)])
def test_several_threads_never_share_a_buffer(sessions: int, graphs: bool) -> None:
    graph = fixed_sizes()
    run, session = bind(graph, sessions=sessions, graphs=graphs)

    def ask(turn: int) -> None:
        x = numbers(2, 4, seed=turn)
        require_same(run(names_of(graph), {"x": x}, OPTIONS), session.run(names_of(graph), {"x": x}))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(400)))


class Watched:
    """A session that notes which threads run it."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.threads, self.runs = inner, set[str](), 0

    def io_binding(self) -> Any:
        return self._inner.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self.threads.add(threading.current_thread().name)
        self.runs += 1
        self._inner.run_with_iobinding(binding, options)


def test_a_session_with_a_graph_is_run_by_a_thread_of_its_own_and_recorded_before_the_first_answer() -> None:
    graph = fixed_sizes()
    sessions = [Watched(open_session(graph)) for _ in range(2)]
    run = Graphed(sessions, interface_of(graph), Place("cpu", HOST))

    run(names_of(graph), {"x": numbers(2, 4)}, OPTIONS)
    assert sorted(session.runs for session in sessions) == [1, 2]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda turn: run(names_of(graph), {"x": numbers(2, 4, seed=turn)}, OPTIONS), range(200)))

    assert [len(session.threads) for session in sessions] == [1, 1]
    assert sum(session.runs for session in sessions) == 203


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that slots were made for, in turn."""
    shapes: list[tuple[int, ...]] = []

    class Counted(bound.Slot):
        __slots__ = ()

        def __init__(self, session: Any, names: list[str], feeds: Any, place: Place, *, follows: bool) -> None:
            shapes.append(feeds["x"].shape)
            super().__init__(session, names, feeds, place, follows=follows)

    monkeypatch.setattr(bound, "Slot", Counted)
    return shapes


def test_idle_buffers_are_let_go_beyond_a_limit_the_oldest_shape_first(
    made: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound, "LEAST_SLOT", 0)
    monkeypatch.setattr(bound, "MOST_BYTES", 800)  # a row has 8 bytes in and 8 out
    run, _ = bind(small.cast(TensorProto.FLOAT))

    for rows in (10, 20, 10, 20, 30, 20, 10):
        for _ in range(2):
            run(["y"], {"x": numbers(rows, 2)}, OPTIONS)

    assert made == [(10, 2), (20, 2), (30, 2), (10, 2)]


def test_buffers_of_empty_tensors_are_let_go_like_others(
    made: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound, "MOST_BYTES", 10 * bound.LEAST_SLOT)
    run, _ = bind(small.cast(TensorProto.FLOAT, ("N", "M")))

    for width in [*range(1, 12), 11, 1]:
        require_same(run(["y"], {"x": numbers(0, width)}, OPTIONS), [numbers(0, width)])

    assert made == [*((0, width) for width in range(1, 12)), (0, 1)]  # the eleventh drove out the first


@pytest.mark.parametrize("graphs", [False, True])
def test_a_run_that_fails_takes_nothing_with_it(graphs: bool) -> None:
    graph = fixed_sizes()
    run, session = bind(graph, graphs=graphs)
    x = numbers(2, 4)

    for _ in range(3):
        with pytest.raises(Exception, match=r"dimension|sizes"):
            run(names_of(graph), {"x": numbers(3, 5)}, OPTIONS)

    require_same(run(names_of(graph), {"x": x}, OPTIONS), session.run(names_of(graph), {"x": x}))
