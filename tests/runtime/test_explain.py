"""Explanations by a real server: the numbers of `tidegate explain`, beside inference and counted apart from it."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Running
from tests.runtime.known_clients import bearer, lines
from tests.runtime.running_server import RunningServer, numbers
from tests.runtime.running_server import serve as serve_guarded
from tests.waiting import wait_until

from tidegate.author import DataSet
from tidegate.author.explain.explaining import ExplainRequest, explain

Bundles = Callable[..., Path]
Serve = Callable[..., Running]
PATH = "/v2/models/fraud/explain"
RANDOM = np.random.default_rng(11)
ROWS = RANDOM.standard_normal((6, 4)).astype(np.float32)
TYPES = {"FP32": np.float32, "FP64": np.float64, "BYTES": object}


def curved() -> onnx.ModelProto:
    """Four numbers to the probabilities of three classes, and the winner: nothing of it is a plain sum."""
    weights = {
        "into": RANDOM.standard_normal((4, 8)).astype(np.float32),
        "out": RANDOM.standard_normal((8, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "into"], ["wide"]),
        helper.make_node("Tanh", ["wide"], ["bent"]),
        helper.make_node("MatMul", ["bent", "out"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=-1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=-1, keepdims=0),
    ]
    outputs = [
        small.value("scores", TensorProto.FLOAT, ["N", 3]),
        small.value("label", TensorProto.INT64, ["N"]),
    ]
    return small.model(nodes, [small.value("x", TensorProto.FLOAT, ["N", 4])], outputs, weights)


def pictures() -> onnx.ModelProto:
    """The sum of a corner of 4 x 4 pixels of three colours, given as bytes."""
    mask = np.zeros((1, 3, 8, 8), np.float32)
    mask[:, :, :4, :4] = 0.01
    nodes = [
        helper.make_node("Cast", ["x"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "mask"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "axes"], ["y"], keepdims=0),
    ]
    weights = {"mask": mask, "axes": np.array([1, 2, 3])}
    shape: list[int | str] = ["N", 3, 8, 8]
    return small.model(
        nodes, [small.value("x", TensorProto.UINT8, shape)], [small.value("y", TensorProto.FLOAT, ["N"])], weights
    )


def cities() -> onnx.ModelProto:
    """A text and a number to a price."""
    nodes = [
        helper.make_node("LabelEncoder", ["city"], ["price"], domain="ai.onnx.ml", keys_strings=["a", "b"], values_floats=[1.0, 5.0]),
        helper.make_node("Mul", ["price", "x"], ["y"]),
    ]  # fmt: skip
    inputs = [small.value("city", TensorProto.STRING, ["N", 1]), small.value("x", TensorProto.FLOAT, ["N", 1])]
    model = small.model(nodes, inputs, [small.value("y", TensorProto.FLOAT, ["N", 1])], {})
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return model


def one_at_a_time() -> onnx.ModelProto:
    """A batch of one, which takes no other."""
    weights = {"w": RANDOM.standard_normal((4, 2)).astype(np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["line"]), helper.make_node("Sigmoid", ["line"], ["y"])]
    inputs, outputs = [small.value("x", TensorProto.FLOAT, [1, 4])], [small.value("y", TensorProto.FLOAT, [1, 2])]
    return small.model(nodes, inputs, outputs, weights)


def request(values: Any, datatype: str = "FP32", *, outputs: Any = None, **parameters: Any) -> dict[str, Any]:
    array = np.asarray(values)
    tensor = {"name": "x", "datatype": datatype, "shape": list(array.shape), "data": array.ravel().tolist()}
    return {"inputs": [tensor], "parameters": parameters, **({"outputs": outputs} if outputs else {})}


def tensors(document: Any) -> dict[str, Any]:
    """The outputs of an answer in JSON."""
    return {
        one["name"]: np.array(one["data"], TYPES[one["datatype"]]).reshape(one["shape"]) for one in document["outputs"]
    }


def explained(server: Running, document: Any, path: str = PATH) -> dict[str, Any]:
    answer = server.ask("POST", path, json.dumps(document).encode())
    assert answer.status == 200, answer.body
    return tensors(answer.json)


def of_the_command(bundle: Path, folder: Path, columns: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """What `tidegate explain` writes."""
    explain(str(bundle), ExplainRequest(out=folder / "explained", data=DataSet("rows", columns), **fields))
    with np.load(folder / "explained/attributions.npz") as arrays:
        return dict(arrays)


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Names, shapes and texts; numbers up to the last bits, which depend on how many rows a run has."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        if array.dtype.kind == "U":
            assert found[name].tolist() == array.tolist()
        else:
            assert found[name] == pytest.approx(array, rel=1e-5, abs=1e-6), name


@pytest.fixture(scope="module")
def bundle(bundles: Bundles) -> Path:
    return bundles(curved())


@pytest.fixture(scope="module")
def server(bundle: Path, serve: Serve) -> Running:
    return serve(bundle, "--explain", "1", "--revision", "r7")


# -- the same numbers as the command's


@pytest.mark.parametrize("baseline", ["mean", "zero"])
@pytest.mark.parametrize("method", ["shapley", "occlusion"])
def test_the_numbers_are_those_of_the_command(
    server: Running, bundle: Path, tmp_path: Path, method: str, baseline: str
) -> None:
    wish: dict[str, Any] = {"method": method, "baseline": baseline, "rounds": 3, "rows": 4, "seed": 5}

    found = explained(server, request(ROWS, **wish))

    assert_same(found, of_the_command(bundle, tmp_path, {"x": ROWS}, **wish))
    assert found["attribution:scores:x"].shape == (4, 3, 4)
    assert np.abs(found["attribution:scores:x"]).max() > 0.1


def test_what_is_not_said_is_as_in_the_command(server: Running, bundle: Path, tmp_path: Path) -> None:
    assert_same(explained(server, request(ROWS)), of_the_command(bundle, tmp_path, {"x": ROWS}))


def test_another_seed_draws_other_orders(server: Running) -> None:
    one, same, other = (explained(server, request(ROWS, rounds=1, seed=seed)) for seed in (1, 1, 2))

    assert (one["attribution:scores:x"] == same["attribution:scores:x"]).all()
    assert np.abs(one["attribution:scores:x"] - other["attribution:scores:x"]).max() > 1e-4


def test_shares_add_up_to_the_answer_that_inference_gives(server: Running) -> None:
    found = explained(server, request(ROWS, rows=2))

    answered = tensors(server.infer(request(ROWS)).json | {"outputs": server.infer(request(ROWS)).json["outputs"][:1]})
    assert found["answer:scores"] == pytest.approx(answered["scores"][:2], abs=1e-6)
    total = found["attribution:scores:x"].sum(axis=-1)
    assert total == pytest.approx(found["answer:scores"] - found["usual:scores"], abs=1e-5)


def test_patches_of_a_picture_of_bytes(bundles: Bundles, serve: Serve, tmp_path: Path) -> None:
    bundle = bundles(pictures())
    rows = np.random.default_rng(2).integers(0, 256, (3, 3, 8, 8)).astype(np.uint8)

    found = explained(serve(bundle, "--explain", "1"), request(rows, "UINT8", method="occlusion", patch=4))

    assert found["attribution:y:x"].shape == (3, 2, 2)
    assert_same(found, of_the_command_with_patches(bundle, tmp_path, rows, 4))


def of_the_command_with_patches(bundle: Path, folder: Path, rows: Any, patch: int) -> dict[str, Any]:
    from tidegate.attribution.players import PictureForm

    return of_the_command(bundle, folder, {"x": rows}, method="occlusion", picture=PictureForm(patch=patch))


def test_texts_are_taken_away_by_the_most_frequent_one(bundles: Bundles, serve: Serve, tmp_path: Path) -> None:
    bundle = bundles(cities())
    names, values = ["b", "a", "a", "a"], [[3.0], [1.0], [2.0], [2.0]]
    document = {"inputs": [
        {"name": "city", "datatype": "BYTES", "shape": [4, 1], "data": names},
        {"name": "x", "datatype": "FP32", "shape": [4, 1], "data": values},
    ]}  # fmt: skip

    found = explained(serve(bundle, "--explain", "1"), document)

    columns = {"city": np.array(names, dtype=object).reshape(4, 1), "x": np.array(values, np.float32)}
    assert_same(found, of_the_command(bundle, tmp_path, columns))
    assert found["attribution:y:city"][0].item() == pytest.approx(10)  # (5 - 1) times the mean of 3 and 2


def test_a_model_of_one_row_is_explained_against_zero(bundles: Bundles, serve: Serve, tmp_path: Path) -> None:
    bundle = bundles(one_at_a_time())
    server = serve(bundle, "--explain", "1")

    refused = server.ask("POST", PATH, json.dumps(request(ROWS[:1])).encode())
    found = explained(server, request(ROWS[:1], baseline="zero"))

    assert (refused.status, "set parameters.baseline to zero" in refused.error) == (400, True)
    assert found["attribution:y:x"].shape == (1, 1, 2, 4)
    assert_same(found, of_the_command(bundle, tmp_path, {"x": ROWS[:1]}, baseline="zero"))


def test_rows_that_depend_on_each_other_are_asked_about_one_by_one(bundles: Bundles, serve: Serve) -> None:
    """A softmax over the batch: each row alone is answered 1 everywhere, whatever it holds."""
    found = explained(serve(bundles(small.mixing_rows()), "--explain", "1"), request(ROWS))

    assert (found["answer:y"] == 1).all()
    assert (found["attribution:y:x"] == 0).all()


# -- the protocol


def test_it_is_listed_where_it_is_on_and_answers_below_each_version(server: Running) -> None:
    assert "explain" in server.get("/v2").json["extensions"]
    answer = server.ask(
        "POST", "/v2/models/fraud/versions/r7/explain", json.dumps(request(ROWS) | {"id": "a"}).encode()
    )
    assert (answer.status, answer.json["id"], answer.headers["x-tidegate-revision"]) == (200, "a", "r7")
    assert server.ask("POST", "/v2/models/fraud/versions/v9/explain", b"{}").status == 404
    assert server.get(PATH).status == 405


@pytest.mark.parametrize("path", [PATH, "/v2/models/fraud/versions/v1/explain", "/v1/models/fraud:explain"])
def test_where_it_is_off_it_says_how_to_turn_it_on(fraud: Running, path: str) -> None:
    answer = fraud.ask("POST", path, json.dumps(request(ROWS)).encode())

    assert (answer.status, "--explain 1" in answer.error) == (404, True)
    assert "explain" not in fraud.get("/v2").json["extensions"]


def test_tensors_go_as_binary_data_both_ways(server: Running) -> None:
    raw = ROWS.tobytes()
    tensor = {"name": "x", "datatype": "FP32", "shape": [6, 4], "parameters": {"binary_data_size": len(raw)}}
    wanted = [{"name": "scores", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [tensor], "outputs": wanted}).encode()
    length = {"inference-header-content-length": str(len(head))}

    answer = server.ask("POST", PATH, head + raw, length)

    size, at, found = int(answer.headers["inference-header-content-length"]), 0, {}
    document, behind = json.loads(answer.body[:size]), answer.body[size:]
    for one in document["outputs"]:
        part = behind[at : at + one["parameters"]["binary_data_size"]]
        at += len(part)
        if one["datatype"] != "BYTES":
            found[one["name"]] = np.frombuffer(part, TYPES[one["datatype"]]).reshape(one["shape"])
        else:
            assert part[:8] == struct.pack("<I", 4) + b"x[0]"
    expected = explained(server, request(ROWS))
    assert at == len(behind)
    assert all((found[name] == expected[name]).all() for name in found)
    assert len(found) == len(expected) - 1 == 4


def test_a_client_of_kserves_v1_is_answered_in_its_form(server: Running) -> None:
    document = {"instances": ROWS.tolist(), "parameters": {"method": "occlusion", "rows": 2}}

    answer = server.ask("POST", "/v1/models/fraud:explain", json.dumps(document).encode())

    expected = explained(server, request(ROWS, method="occlusion", rows=2))
    found = answer.json["explanations"]
    assert found.keys() == expected.keys()
    assert np.array(found["attribution:scores:x"]) == pytest.approx(expected["attribution:scores:x"])
    assert found["players:x"] == ["x[0]", "x[1]", "x[2]", "x[3]"]


@pytest.mark.parametrize("element_type", [TensorProto.FLOAT16, TensorProto.BFLOAT16], ids=["FP16", "BF16"])
def test_kserves_v1_explains_also_outputs_that_its_predict_cannot_carry(
    bundles: Bundles, serve: Serve, element_type: int
) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=element_type)]
    outputs = [small.value("y", element_type, ["N", 2])]
    model = small.model(nodes, [small.value("x", TensorProto.FLOAT, ["N", 2])], outputs, {})
    server = serve(bundles(model), "--explain", "1")
    document = {"instances": [[1, 2], [3, 6]], "parameters": {"method": "occlusion", "rows": 1}}
    body = json.dumps(document).encode()

    assert server.ask("POST", "/v1/models/fraud:predict", body).status == 400
    answer = server.ask("POST", "/v1/models/fraud:explain", body)

    assert answer.status == 200, answer.body
    assert answer.json["explanations"]["attribution:y:x"] == [[[-1, 0], [0, -2]]]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (request(ROWS, method="shap"), "parameters.method must be occlusion or shapley"),
        (request(ROWS, baseline="median"), "parameters.baseline must be mean or zero"),
        (request(ROWS, rounds=0), "parameters.rounds must be a whole number from 1 to"),
        (request(ROWS, seed=-1), "parameters.seed must be a whole number from 0 to"),
        (request(ROWS, rows=True), "parameters.rows must be a whole number from 1 to"),
        (request(ROWS, samples=3), "parameters.samples is not known here: there are method, rows"),
        (request(ROWS, method=["shapley"]), "parameters must be an object of plain values"),
        (request(ROWS, picture="big"), "parameters.picture: 'big' is not HEIGHTxWIDTH"),
        (request(ROWS, picture="3x3"), "parameters.picture: a row of 'x' has 4 values, a picture of 3x3 has 9"),
        (request(ROWS, timeout="1s"), "parameters.timeout must be a whole number of microseconds"),
        (request(ROWS[:1]), "inputs: one row is its own mean, so nothing can be taken away from it"),
        (request(ROWS[:0]), "inputs: there is no row to explain"),
        (request(ROWS[:, :3]), "input 'x': shape [6, 3] does not fit [N, 4]"),
        (request(ROWS, outputs=[{"name": "label"}]), "outputs: there is no output 'label' of numbers with a fraction"),
        (request(ROWS, outputs=[{"name": "z"}]), "output 'z' is not one of the model's"),
        (
            request(ROWS, outputs=[{"name": "scores", "parameters": {"classification": 1}}]),
            "classification is of inference only",
        ),
        (
            request(ROWS, rounds=100_000),
            "6 rows of 4 parts ask the model about 3600012 rows, and 100000 are the limit: fewer parameters.rows",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_with_what_to_change(server: Running, document: Any, sentence: str) -> None:
    answer = server.ask("POST", PATH, json.dumps(document).encode())

    assert answer.status == 400
    assert sentence in answer.error


def test_the_limit_of_rows_is_the_servers(bundle: Path, serve: Serve) -> None:
    server = serve(bundle, "--explain", "1", "--explain-rows", "9")

    answers = [
        server.ask("POST", PATH, json.dumps(request(ROWS, method="occlusion", rows=rows)).encode()) for rows in (1, 2)
    ]

    assert [answer.status for answer in answers] == [200, 400]
    assert "2 rows of 4 parts ask the model about 12 rows, and 9 are the limit" in answers[1].error


def test_a_row_of_millions_of_values_is_refused_before_anything_is_held_for_each(
    bundles: Bundles, serve: Serve
) -> None:
    server = serve(bundles(small.cast(TensorProto.FLOAT, ("N", "M"))), "--explain", "1")
    values = np.zeros((1, 12_000_000), np.float32).tobytes()
    tensor = {
        "name": "x",
        "datatype": "FP32",
        "shape": [1, 12_000_000],
        "parameters": {"binary_data_size": len(values)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"baseline": "zero", "method": "occlusion"}}).encode()
    before = server.peak_memory

    answer = server.ask("POST", PATH, head + values, {"Inference-Header-Content-Length": str(len(head))})

    assert answer.status == 400
    assert "1 rows of 12000000 parts ask the model about 12000002 rows, and 100000 are the limit" in answer.error
    assert server.peak_memory - before < 4 * len(values)  # it was twenty times, with a name for each


def test_a_model_that_only_gives_labels_is_refused(bundles: Bundles, serve: Serve) -> None:
    answer = serve(bundles(small.cast(TensorProto.INT64)), "--explain", "1").ask(
        "POST", PATH, json.dumps(request(np.ones((3, 2), int), "INT64")).encode()
    )

    assert (answer.status, "a label cannot be shared out" in answer.error) == (400, True)


# -- beside inference


def laboured() -> onnx.ModelProto:
    """Runs of some milliseconds: an explanation of it is long, and made of many of them."""
    return small.laboured(small.WEIGHTS, 20)


LONG = request(ROWS, rows=1, rounds=100_000)  # 600,000 rows: nobody waits for the end of it
SHORT = request(ROWS, rows=1, method="occlusion")


def post(document: Any, path: str = PATH) -> bytes:
    body = json.dumps(document).encode()
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


def status(client: socket.socket) -> int:
    return int(client.recv(65536)[9:12])


@contextlib.contextmanager
def asking(port: int, document: Any) -> Iterator[socket.socket]:
    """A client that has asked for an explanation and waits."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
        client.sendall(post(document))
        yield client


@pytest.fixture
def busy(bundles: Bundles, tmp_path: Path) -> Iterator[RunningServer]:
    """A server that may be asked as much as one likes, with a token of its internal endpoints."""
    flags = ("--explain", "1", "--explain-rows", "1000000", "--request-timeout", "60s")
    with serve_guarded(bundles(laboured(), small.linear_samples()), tmp_path, *flags) as running:
        yield running.until_ready()


def explain_status(server: RunningServer, document: Any = SHORT) -> int:
    return server.ask("POST", PATH, json.dumps(document).encode(), port=server.http).status


def metric(server: RunningServer, start: str) -> float:
    """The sum of the samples whose line begins so."""
    exposed = server.ask("GET", "/metrics").body.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in exposed if line.startswith(start))


def test_inference_is_answered_while_an_explanation_is_made_and_one_more_is_put_off(busy: RunningServer) -> None:
    with asking(busy.http, LONG) as client:
        wait_until(lambda: explain_status(busy) == 429, "the explanation has begun")

        put_off = busy.ask("POST", PATH, json.dumps(SHORT).encode(), port=busy.http)
        answers = [busy.infer(numbers([1, 2, 3, 4])).status for _ in range(30)]

        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)  # it is still being made
    assert answers == [200] * 30
    assert put_off.json["error"] == "there is no room for one more explanation (1 at a time)"
    assert int(put_off.headers["retry-after"]) >= 1
    wait_until(lambda: explain_status(busy) == 200, "the client has gone, and its explanation with it")
    assert metric(busy, 'tidegate_explain_requests_total{model="fraud",version="v1",revision="v1",code="499"}') == 1


def test_an_explanation_is_no_inference_and_no_evidence(busy: RunningServer) -> None:
    assert [busy.infer(numbers([1, 2, 3, 4])).status for _ in range(3)] == [200] * 3
    before = busy.until(lambda seen: seen["requests"]["n"] == 3, "three requests are counted")

    assert [explain_status(busy), explain_status(busy, {"inputs": []})] == [200, 400]

    (entry,) = busy.ask("GET", "/v2/models/fraud/stats", port=busy.http).json["model_stats"]
    assert (entry["inference_count"], entry["execution_count"], entry["inference_stats"]["fail"]["count"]) == (3, 3, 0)
    assert metric(busy, "tidegate_requests_total{") == 3
    assert metric(busy, "tidegate_compute_duration_seconds_count{") == 3
    assert metric(busy, "tidegate_explain_requests_total{") == 2
    assert metric(busy, "tidegate_explain_duration_seconds_count{") == 1
    assert metric(busy, "tidegate_explain_duration_seconds_sum{") > 0
    after = busy.evidence()
    assert after["requests"] == before["requests"]
    assert after["clientErrors"] == before["clientErrors"] == 0


@pytest.mark.parametrize(
    ("flags", "document", "code", "sentence"),
    [
        ((), request(ROWS, rows=1, rounds=100_000, timeout=200_000), 408, "the request's own timeout ran out"),
        (("--request-timeout", "300ms"), LONG, 504, "the explanation took longer than 0.3 s: ask for fewer rows"),
    ],
)
def test_an_explanation_that_takes_too_long_is_given_up(
    bundles: Bundles, serve: Serve, flags: tuple[str, ...], document: Any, code: int, sentence: str
) -> None:
    server = serve(bundles(laboured()), "--explain", "1", "--explain-rows", "1000000", *flags)

    answer = server.ask("POST", PATH, json.dumps(document).encode())

    assert (answer.status, sentence in answer.error) == (code, True)
    wait_until(
        lambda: server.ask("POST", PATH, json.dumps(SHORT).encode()).status == 200, "there is room for another one"
    )


def test_a_server_that_ends_finishes_what_it_has_begun_and_begins_no_more(bundles: Bundles, serve: Serve) -> None:
    flags = ("--explain", "1", "--drain-delay", "60s", "--drain", "60s")
    server = serve(bundles(laboured()), *flags)

    def explain_status() -> int:
        return server.ask("POST", PATH, json.dumps(SHORT).encode()).status

    with asking(server.http, request(ROWS, rows=1, rounds=100)) as client:
        wait_until(lambda: explain_status() == 429, "the explanation has begun")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: explain_status() == 503, "the server has begun to end")

        assert server.infer(numbers([1, 2, 3, 4])).status == 200
        assert status(client) == 200


def test_several_processes_make_as_many_together_as_one(bundles: Bundles, tmp_path: Path) -> None:
    """Connections are spread over the processes: the second one is another's, which must know of the first."""
    flags = ("--explain", "1", "--explain-rows", "1000000", "--workers", "3")
    with serve_guarded(bundles(laboured(), small.linear_samples()), tmp_path, *flags) as server:
        server.until_ready()
        with contextlib.ExitStack() as held:
            clients = [
                held.enter_context(socket.create_connection(("127.0.0.1", server.http), timeout=DEADLINE))
                for _ in range(6)
            ]
            answers = {}
            for client in clients:  # each is accepted, and so has its process
                client.sendall(post(SHORT))
                answers[client] = status(client)
            assert list(answers.values()) == [200] * 6
            clients[0].sendall(post(LONG))
            wait_until(lambda: explain_status(server) == 429, "the explanation has begun")
            for client in clients[1:]:
                client.sendall(post(SHORT))
                assert status(client) == 429
        wait_until(lambda: explain_status(server) == 200, "the client has gone, and its explanation with it")
        wait_until(
            lambda: (
                metric(server, "tidegate_explain_duration_seconds_count{") == 7
                and metric(
                    server, 'tidegate_explain_requests_total{model="fraud",version="v1",revision="v1",code="429"}'
                )
                >= 6
            ),
            "all processes' are counted",
        )


# -- who may


def test_it_takes_the_scope_explain_and_is_written_of(bundle: Path, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "clients").write_bytes(lines("ana", "eve"))
    audit = tmp_path / "audit"
    server = serve(bundle, "--explain", "1", "--auth-file", str(tmp_path / "clients"), "--audit-log", str(audit))
    body = json.dumps(request(ROWS)).encode()

    codes = [server.ask("POST", PATH, body, headers).status for headers in ({}, bearer("ana"), bearer("eve"))]

    assert codes == [401, 403, 200]
    written = wait_until(
        lambda: found if len(found := audit.read_text().splitlines()) == 3 else [], "a line for each request"
    )
    last = json.loads(written[-1])
    assert (last["client"], last["scope"], last["code"], last["bytesIn"]) == ("eve", "explain", 200, len(body))
