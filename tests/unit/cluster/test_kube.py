"""What goes over the wire for each call, and what comes of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from tests.unit.cluster.wire import Wire, connected, login_to, serving, status

from tidegate.cluster import kube as kube_module
from tidegate.cluster.api import path
from tidegate.cluster.connection import Call, Connection
from tidegate.cluster.errors import ApiDown, ClusterError, Conflict, NotLeader, Throttled
from tidegate.cluster.kube import Kube, KubeLease
from tidegate.cluster.limit import Limit
from tidegate.plan.manifests.identity import DEPLOYMENT, JOB, MANAGER, MODEL_DEPLOYMENT, POD, SERVICE

T = TypeVar("T")
OBJ = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "ns", "name": "a"}, "spec": {}}
CR = {
    "apiVersion": "serving.tidegate.io/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"namespace": "ns", "name": "m", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}},
    "spec": {"bundle": {}},
    "status": {"phase": "Idle"},
}
Story = Callable[[Kube], Awaitable[T]]


def told(story: Story[T], *answers: tuple[Any, ...], **options: Any) -> tuple[T, Wire]:
    """What a story gets from a server with these answers, and the server."""

    async def main() -> tuple[T, Wire]:
        async with serving(*answers) as wire, connected(wire, token=options.pop("token", "")) as connection:
            return await story(Kube(connection, Limit(), **options)), wire

    return asyncio.run(main())


def error(story: Story[Any], *answers: tuple[Any, ...], **options: Any) -> ClusterError:
    with pytest.raises(ClusterError) as raised:
        told(story, *answers, **options)
    return raised.value


# -- reading


def test_an_object_is_read_by_its_path() -> None:
    found, wire = told(lambda kube: kube.get(MODEL_DEPLOYMENT, "ns", "m"), (200, CR), token="t0ken")

    assert found == CR
    assert (wire.last.method, wire.last.path) == (
        "GET", "/apis/serving.tidegate.io/v1alpha1/namespaces/ns/modeldeployments/m",
    )  # fmt: skip
    assert wire.last.headers["Authorization"] == "Bearer t0ken"
    assert wire.last.headers["User-Agent"].startswith("tidegate-operator/")


def test_what_is_not_there_is_none() -> None:
    assert told(lambda kube: kube.get(POD, "ns", "a"), status(404, "NotFound"))[0] is None


def test_names_cannot_leave_their_place_in_the_path() -> None:
    _, wire = told(lambda kube: kube.get(SERVICE, "ns", "../../secrets/x"), (200, OBJ))

    assert wire.last.path == "/api/v1/namespaces/ns/services/../../secrets/x"  # one segment, decoded here
    assert "%2F" in path(SERVICE, "ns", "../x")


def test_a_list_is_read_page_by_page_and_its_items_say_what_they_are() -> None:
    pages = [
        (200, {"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "next"}}),
        (200, {"items": [{"metadata": {"name": "b"}}], "metadata": {"resourceVersion": "9"}}),
    ]
    found, wire = told(lambda kube: kube.list(DEPLOYMENT, None, "a=b"), *pages)

    assert found == [{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}} for name in ("a", "b")]
    assert wire.last.path == "/apis/apps/v1/deployments"
    assert wire.last.query == {"labelSelector": "a=b", "limit": "500", "continue": "next"}


def test_a_collection_is_walked_page_by_page_by_its_fields() -> None:
    pages = [(200, {"metadata": {"continue": "next"}, "items": [{"a": 1}]}), (200, {"metadata": {}, "items": None})]

    async def walked(kube: Kube) -> list[list[Any]]:
        return [page async for page in kube.walk(POD, "spec.nodeName=a")]

    found, wire = told(walked, *pages)

    assert found == [[{"apiVersion": "v1", "kind": "Pod", "a": 1}], []]
    assert wire.last.query == {"fieldSelector": "spec.nodeName=a", "limit": "100", "continue": "next"}


def test_a_list_that_got_too_old_between_its_pages_is_read_in_one_piece() -> None:
    pages = [
        (200, {"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "next"}}),
        status(410, "Expired"),
        (200, {"items": [], "metadata": {}}),
    ]
    found, wire = told(lambda kube: kube.list(POD, "ns", ""), *pages)

    assert found == []
    assert wire.last.query == {}


# -- writing


def test_an_object_is_made_in_our_name() -> None:
    _, wire = told(lambda kube: kube.create(OBJ), (201, OBJ))

    assert (wire.last.method, wire.last.path) == ("POST", "/apis/apps/v1/namespaces/ns/deployments")
    assert wire.last.query == {"fieldManager": MANAGER}
    assert wire.last.body == OBJ


def test_an_apply_takes_its_fields_over() -> None:
    _, wire = told(lambda kube: kube.apply(OBJ), (200, OBJ))

    assert (wire.last.method, wire.last.path) == ("PATCH", "/apis/apps/v1/namespaces/ns/deployments/a")
    assert wire.last.query == {"fieldManager": MANAGER, "force": "true"}
    assert wire.last.headers["Content-Type"] == "application/apply-patch+yaml"
    assert wire.last.body == OBJ


def test_a_count_is_written_to_the_scale() -> None:
    _, wire = told(lambda kube: kube.scale(DEPLOYMENT, "ns", "a", 0), (200, {}))

    assert wire.last.path == "/apis/apps/v1/namespaces/ns/deployments/a/scale"
    assert wire.last.headers["Content-Type"] == "application/merge-patch+json"
    assert wire.last.body == {"spec": {"replicas": 0}}


def test_a_deletion_names_the_uid_and_takes_pods_of_jobs_along() -> None:
    _, wire = told(lambda kube: kube.delete(JOB, "ns", "a", "u1"), (200, {}))

    assert wire.last.method == "DELETE"
    assert wire.last.body == {"propagationPolicy": "Background", "preconditions": {"uid": "u1"}}


@pytest.mark.parametrize("answer", [status(404, "NotFound"), status(409, "Conflict", "uid differs")])
def test_what_is_gone_or_another_by_now_needs_no_deletion(answer: tuple[int, Any]) -> None:
    told(lambda kube: kube.delete(JOB, "ns", "a", "u1"), answer)


def test_a_status_is_written_by_version_and_without_what_is_ignored() -> None:
    _, wire = told(lambda kube: kube.put_status(CR), (200, CR))

    assert (wire.last.method, wire.last.path.endswith("/modeldeployments/m/status")) == ("PUT", True)
    assert wire.last.body["metadata"] == {"namespace": "ns", "name": "m", "uid": "u", "resourceVersion": "7"}
    assert wire.last.body["status"] == {"phase": "Idle"}
    assert "spec" not in wire.last.body


def test_a_status_that_somebody_else_wrote_first_is_a_conflict() -> None:
    assert isinstance(error(lambda kube: kube.put_status(CR), status(409, "Conflict", "modified")), Conflict)


def test_events_are_made_though_they_are_no_kind_of_ours() -> None:
    event = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"namespace": "ns", "name": "e"}}
    _, wire = told(lambda kube: kube.create_event(event), (201, event))

    assert wire.last.path == "/apis/events.k8s.io/v1/namespaces/ns/events"


def test_nothing_is_written_after_the_lease() -> None:
    async def story(kube: Kube) -> None:
        for write in (kube.create(OBJ), kube.apply(OBJ), kube.put_status(CR), kube.create_event(OBJ)):
            with pytest.raises(NotLeader):
                await write
        with pytest.raises(NotLeader):
            await kube.scale(DEPLOYMENT, "ns", "a", 1)
        with pytest.raises(NotLeader):
            await kube.delete(DEPLOYMENT, "ns", "a", "u")
        await kube.get(POD, "ns", "a")

    _, wire = told(story, (200, OBJ), time_left=lambda: 0.0)

    assert [asked.method for asked in wire.asked] == ["GET"]


def test_a_write_is_given_up_when_the_lease_would_end() -> None:
    failed = error(lambda kube: kube.create(OBJ), (None, 5), time_left=lambda: 0.05)

    assert isinstance(failed, ApiDown)
    assert "no answer within 0.05 s" in str(failed)


# -- trouble


def test_a_write_whose_bytes_have_not_left_when_the_lease_ends_never_leaves() -> None:
    """A process can be frozen between the decision to write and the writing."""
    leading = [True]

    async def story(wire: Wire) -> str:
        connection = Connection(login_to(wire).client(2, lambda: leading[0]))
        try:
            kube = Kube(connection, Limit())
            await kube.create(OBJ)
            leading[0] = False
            assert await kube.get(DEPLOYMENT, "ns", "a") == OBJ
            with pytest.raises(ApiDown) as raised:
                await kube.create(OBJ)
            return str(raised.value)
        finally:
            await connection.close()

    async def main() -> tuple[str, list[str]]:
        async with serving((200, OBJ)) as wire:
            return await story(wire), [asked.method for asked in wire.asked]

    said, asked = asyncio.run(main())

    assert "the lease is lost" in said
    assert asked == ["POST", "GET"]


def test_a_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_module, "DEADLINE_SECONDS", 0.05)

    failed = error(lambda kube: kube.get(POD, "ns", "a"), (None, 5))

    assert isinstance(failed, ApiDown)
    assert str(failed).startswith("get pods ns/a")


@pytest.mark.parametrize("answer", [(200, "no json"), (200, "[]"), (200, '{"half":'), (200, "")])
def test_an_answer_that_is_no_object_is_no_answer(answer: tuple[int, str]) -> None:
    assert isinstance(error(lambda kube: kube.get(POD, "ns", "a"), answer), ApiDown)


@pytest.mark.parametrize("answer", [(502, "<html>bad gateway</html>"), (503, ""), (500, "[]")])
def test_an_error_of_somebody_between_is_an_answer_of_a_server_in_trouble(answer: tuple[int, str]) -> None:
    assert isinstance(error(lambda kube: kube.create(OBJ), answer), ApiDown)


def test_nothing_is_sent_twice() -> None:
    async def main() -> int:
        async with serving(status(500, "InternalError")) as wire, connected(wire) as connection:
            kube = Kube(connection, Limit())
            for call in (kube.create(OBJ), kube.put_status(CR), kube.get(POD, "ns", "a")):
                with pytest.raises(ApiDown):
                    await call
            return len(wire.asked)

    assert asyncio.run(main()) == 3


def test_a_port_where_nobody_listens_is_a_server_that_is_down() -> None:
    async def main() -> None:
        async with serving((200, {})) as wire:
            pass
        async with connected(wire) as connection:
            await Kube(connection, Limit()).create(OBJ)

    with pytest.raises(ApiDown, match="cannot be reached"):
        asyncio.run(main())


def test_a_connection_that_breaks_off_in_the_answer_is_a_server_that_is_down() -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(broken, "127.0.0.1", 0)
        wire = Wire(port=server.sockets[0].getsockname()[1])
        async with server, connected(wire) as connection:
            await Kube(connection, Limit()).get(POD, "ns", "a")

    with pytest.raises(ApiDown):
        asyncio.run(main())


def test_the_limit_learns_from_the_answers() -> None:
    async def main() -> list[int]:
        limit, allowed = Limit(), []
        answers = [status(429, "TooManyRequests"), (200, OBJ)]
        async with serving(*answers) as wire, connected(wire) as connection:
            kube = Kube(connection, limit)
            with pytest.raises(Throttled):
                await kube.get(POD, "ns", "a")
            allowed.append(limit.allowed)
            limit._silent_until = 0
            for _ in range(40):
                await kube.get(POD, "ns", "a")
            allowed.append(limit.allowed)
        return allowed

    halved, grown = asyncio.run(main())

    assert halved == 16
    assert grown > 16


def test_calls_are_counted_by_verb_and_code() -> None:
    counted: list[tuple[str, str]] = []

    async def main() -> None:
        async with serving((200, OBJ), status(404, "NotFound"), status(503, "")) as wire:
            async with connected(wire, counted=lambda verb, code, seconds: counted.append((verb, code))) as connection:
                kube = Kube(connection, Limit())
                await kube.create(OBJ)
                await kube.get(POD, "ns", "a")
                with pytest.raises(ApiDown):
                    await kube.apply(OBJ)
            await use(wire)

    async def use(wire: Wire) -> None:
        wire.answers = [(None, 5)]
        async with connected(wire, counted=lambda verb, code, seconds: counted.append((verb, code))) as connection:
            with pytest.raises(ApiDown):
                await connection.send(Call("list", "GET", "/x", "x"), 0.05)

    asyncio.run(main())

    assert counted == [("create", "200"), ("get", "404"), ("patch", "503"), ("list", "none")]


# -- the lease


def test_a_lease_is_read_made_and_replaced_by_version() -> None:
    lease = {"metadata": {"resourceVersion": "5"}, "spec": {"holderIdentity": "a"}}

    async def main() -> Wire:
        async with serving(status(404, "NotFound"), (201, lease), (200, lease)) as wire, connected(wire) as connection:
            store = KubeLease(connection, "ns", "tidegate-operator")
            assert await store.read() is None
            made = await store.create({"holderIdentity": "a"})
            assert (made.version, made.holder) == ("5", "a")
            await store.replace({"holderIdentity": "b"}, made.version)
            return wire

    wire = asyncio.run(main())

    assert wire.last.path == "/apis/coordination.k8s.io/v1/namespaces/ns/leases/tidegate-operator"
    assert wire.last.body["metadata"] == {"namespace": "ns", "name": "tidegate-operator", "resourceVersion": "5"}
    assert wire.last.body["spec"] == {"holderIdentity": "b"}


def test_the_lease_has_connections_of_its_own() -> None:
    """Renewals of a peer starve behind its reads; here every request of the other client hangs."""

    async def main() -> str:
        async with serving((None, 1)) as wire, connected(wire) as busy, connected(wire) as own:
            kube = Kube(busy, Limit(start=1, most=1))
            hanging = [asyncio.create_task(kube.get(POD, "ns", str(number))) for number in range(20)]
            await asyncio.sleep(0)
            wire.answers = [(200, {"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": "me"}})]
            held = await KubeLease(own, "ns", "l").read()
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
            assert held
            return held.holder

    assert asyncio.run(main()) == "me"
