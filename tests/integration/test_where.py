"""`where` at every stage of a message, each held back in turn; what it says is compared with what
the streams were told and with the log as it lies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.domain.log.ids import UserId, dialog, message_id, stamp_at
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copy, LogRecord, Origin, Takeover, decode, encode
from cecochat.ports.backplane import FORWARD_GROUP, MESSAGES, NewRecord, Record
from cecochat.ports.history import Progress
from cecochat.ports.reading import records_between
from cecochat.servers.materialize.worker import Materializer
from cecochat.v1.events_pb2 import Event
from cecochat.v1.history_pb2 import FindMessageRequest, FindMessageResponse, MessageStep
from tests.integration.cluster import Cluster, cluster, user_on
from tests.integration.streams import Stream, message, receipt
from tests.support import operators
from tests.support.eventually import eventually
from tests.support.pipes import typed_error

ALICE = user_on(0, "alice")
BOB = user_on(1, "bob")
CAROL = user_on(2, "carol")
CHAT = dialog(UserId(ALICE), UserId(BOB))
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
STEPS = ["accepted", "acknowledged", "forwarded", "delivered", "materialized"]


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Cluster]:
    """`one` owns the partition of alice, `two` that of bob."""
    async with cluster(tmp_path) as started:
        await started.assign("one", "two")
        await started.start("one")
        await started.start("two")
        yield started


async def asked(servers: Cluster, id_: int, status: int = 200, **params: str) -> dict[str, Any]:
    """As an operator asks the history server."""
    (server,) = servers.parts.discovery.live("history")
    async with operators.client(base_url=server.health_url) as http:
        answer = await http.get(f"/where/{id_}", params=params)
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def until(
    servers: Cluster, id_: int, state: str, *waits_for: str
) -> dict[str, dict[str, Any]]:
    """Ask until it is so; its steps, which come in the order of the path."""
    body: dict[str, Any] = {}

    async def so() -> bool:
        nonlocal body
        body = await asked(servers, id_)
        return bool(body["state"] == state and body["waits_for"] == list(waits_for))

    try:
        await eventually(so, within_s=60, every_s=0.05)
    except AssertionError:
        raise AssertionError(body) from None
    assert [step["name"] for step in body["steps"]] == STEPS
    return {step["name"]: step for step in body["steps"]}


async def said(alice: Stream, text: str = "hello") -> tuple[int, int]:
    """Id and offset, as the ack has them."""
    await alice.send(message(text, CHAT))
    ack = (await alice.until("ack")).ack
    return ack.message_id, ack.offset


async def records(servers: Cluster, partition: int) -> list[Record]:
    log = servers.parts.backplane
    start, end = await log.bounds(MESSAGES, partition)
    return [record async for record in records_between(log, partition, start, end)]


async def test_a_message_that_has_arrived(servers: Cluster) -> None:
    async with servers.stream("one", ALICE) as alice, servers.stream("two", BOB) as bob:
        id_, offset = await said(alice)
        await bob.until("delivered")
        steps = await until(servers, id_, "arrived")
        assert bob.position
        copy = (await records(servers, 1))[bob.position.offset]
        session = {
            "session_id": bob.welcome.session_id, "device": "test", "has_it": "yes",
            "position": copy.offset, "began_at": bob.welcome.position.offset, "began": "live",
            "queued_bytes": 0,
        }  # fmt: skip
        assert steps["delivered"]["facts"]["sessions"] == [session]
        assert steps["forwarded"]["facts"]["offset"] == copy.offset
        assert steps["forwarded"]["at_ms"] == copy.appended_at_ms
    accepted = steps["accepted"]
    origin = (await records(servers, 0))[offset]
    assert accepted["at_ms"] == origin.appended_at_ms
    assert accepted["facts"] == {
        "partition": 0, "offset": offset, "epoch": 0, "number": 0, "server_id": "one"
    }  # fmt: skip


async def test_a_recipient_who_is_away_and_comes_back(servers: Cluster) -> None:
    async with servers.stream("two", BOB) as bob:
        before = bob.position
    async with servers.stream("one", ALICE) as alice:
        id_, _ = await said(alice)
    steps = await until(servers, id_, "on_its_way", f"delivered to {BOB}")
    assert steps["delivered"]["facts"]["sessions"] == []
    async with servers.stream("two", BOB):
        steps = await until(servers, id_, "on_its_way", f"delivered to {BOB}")
        [session] = steps["delivered"]["facts"]["sessions"]
        assert session["has_it"] == "not_asked"
    async with servers.stream("two", BOB, before) as bob:
        await until(servers, id_, "arrived")
        await bob.send(receipt("r1", CHAT, delivered=id_))
        receipt_id = (await bob.until("ack")).ack.message_id
    await eventually(lambda: says_delivered(servers, id_))
    steps = await until(servers, id_, "arrived")
    assert steps["delivered"]["text"] == "a receipt says: delivered"
    assert (await asked(servers, receipt_id))["event"]["kind"] == "receipt"


async def says_delivered(servers: Cluster, id_: int) -> bool:
    marks = await servers.parts.history.marks(CHAT) if servers.parts.history else []
    return any(mark.delivered_up_to == id_ for mark in marks)


async def test_a_copy_that_is_held_back(servers: Cluster) -> None:
    held = servers.faults["one"].stalled[1] = asyncio.Event()
    async with servers.stream("one", ALICE) as alice, servers.stream("two", BOB) as bob:
        id_, _ = await said(alice)
        waits_for = ("forwarded to partition 1", f"delivered to {BOB}")
        steps = await until(servers, id_, "on_its_way", *waits_for)
        assert "(one, live)" in steps["forwarded"]["text"]
        assert not [each for each in await records(servers, 1) if is_copy(each)]
        held.set()
        await bob.until("delivered")
        await until(servers, id_, "arrived")


def is_copy(record: Record) -> bool:
    return isinstance(decode(record.key, record.value, record.headers), Copy)


async def test_a_copy_that_its_owner_has_not_read(servers: Cluster) -> None:
    async with servers.stream("one", ALICE) as alice, servers.stream("two", BOB) as bob:
        servers.faults["two"].reading.clear()
        id_, _ = await said(alice)
        steps = await until(servers, id_, "on_its_way", f"delivered to {BOB}")
        assert steps["forwarded"]["state"] == "done"
        offset = steps["forwarded"]["facts"]["offset"]
        assert steps["delivered"]["facts"]["read_to"] <= offset
        servers.faults["two"].reading.set()
        await bob.until("delivered")
        assert bob.position
        assert bob.position.offset == offset
        await until(servers, id_, "arrived")


async def test_what_its_owner_has_not_read_back(servers: Cluster) -> None:
    async with servers.stream("one", ALICE) as alice, servers.stream("two", BOB):
        servers.faults["one"].reading.clear()
        await alice.send(message("held", CHAT))
        await eventually(lambda: origin_ids(servers))
        [id_] = await origin_ids(servers)
        waits_for = ("acknowledged", "forwarded to partition 1", f"delivered to {BOB}")
        await until(servers, id_, "on_its_way", *waits_for)
        assert not [item for item in alice.items if item.HasField("ack")]
        servers.faults["one"].reading.set()
        assert (await alice.until("ack")).ack.message_id == id_
        await until(servers, id_, "arrived")


async def origin_ids(servers: Cluster) -> list[int]:
    decoded = [decode(r.key, r.value, r.headers) for r in await records(servers, 0)]
    return [each.id for each in decoded if isinstance(each, Origin)]


async def test_what_is_not_materialized(servers: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    held = asyncio.Event()
    write = Materializer._write

    async def waits(self: Materializer, *args: Any) -> None:
        await held.wait()
        await write(self, *args)

    monkeypatch.setattr(Materializer, "_write", waits)
    async with servers.stream("one", ALICE) as alice, servers.stream("two", BOB):
        id_, offset = await said(alice)
        steps = await until(servers, id_, "on_its_way", "materialized")
        assert steps["materialized"]["facts"]["row"] is False
        assert steps["materialized"]["facts"]["up_to"] < offset
        held.set()
        await until(servers, id_, "arrived")


# -- a log that is written by hand


def origin(number: int, at: int = 0) -> Origin:
    """Of the takeover at offset 0, by whatever clock."""
    epoch = Place(0, 0)
    id_ = message_id(stamp_at(1_700_000_000_000) + (at or number), 0)
    event = Event(
        id=id_, user_id=ALICE, chat_id=CHAT, client_message_id=f"m{id_}", recipient_ids=[BOB]
    )
    event.message.text = "by hand"
    return Origin(
        id_,
        epoch,
        number,
        UserId(ALICE),
        f"m{id_}",
        (UserId(BOB),),
        event.SerializeToString(),
        event,
    )


async def written(
    servers: Cluster, *new: LogRecord, partition: int = 0, traceparent: str = ""
) -> None:
    producer = await servers.parts.backplane.producer()
    for each in new:
        key, value, headers = encode(each)
        more = (("traceparent", traceparent),) if traceparent else ()
        await producer.append([NewRecord(partition, key, value, headers + more)])
    await producer.close()


async def test_a_fenced_owner_and_an_owner_that_is_dead(tmp_path: Path) -> None:
    counts, void = origin(0), origin(1, at=5)
    async with cluster(tmp_path) as servers:
        await written(servers, Takeover("old", "s1", 1), counts, Takeover("new", "s2", 2), void)
        waits_for = ("forwarded to partition 1", f"delivered to {BOB}")
        steps = await until(servers, counts.id, "on_its_way", *waits_for)
        assert steps["acknowledged"]["state"] == "unknown"
        assert "new" in steps["acknowledged"]["text"]
        found = await asked(servers, void.id)
        assert found["state"] == "void"
        text = found["steps"][0]["text"]
        assert "old, an owner that was fenced off: new had taken over at offset 2" in text
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await find(servers, ALICE, void.id)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def copied(of: Origin, at: Place, after: Place = NOWHERE) -> Copy:
    return Copy(of.id, 0, at, after, (UserId(BOB),), of.event)


async def test_a_copy_from_an_end_that_is_lost_is_not_taken_for_that_of_a_later_message(
    tmp_path: Path,
) -> None:
    """The log of alice lost its end, and gave the offset again; its copies, the watermark and the
    progress of the history are still there.
    """
    lost, said_since = origin(0), origin(0, at=5)
    was = Place(1_600_000_000_000, 1)
    async with cluster(tmp_path, materializes=False) as servers:
        await written(servers, Takeover("two", "s1", 1), copied(lost, was), partition=1)
        await all_done_up_to(servers, was)
        await written(servers, Takeover("one", "s2", 1), said_since)
        others = (f"delivered to {BOB}", "materialized")
        waits_for = ("forwarded to partition 1", *others)
        steps = await until(servers, said_since.id, "on_its_way", *waits_for)
        assert steps["forwarded"]["facts"]["forwarded_to"] == 0
        assert steps["materialized"]["facts"]["up_to"] == -1
        now = Place((await records(servers, 0))[1].appended_at_ms, 1)
        await written(servers, copied(said_since, now, after=was), partition=1)
        steps = await until(servers, said_since.id, "on_its_way", *others)
        assert steps["forwarded"]["facts"]["offset"] == 2


async def all_done_up_to(servers: Cluster, place: Place) -> None:
    """Partition 0 is forwarded and materialized up to there, as is remembered."""
    log, history = servers.parts.backplane, servers.parts.history
    assert history
    await log.commit(FORWARD_GROUP, MESSAGES, {0: place._replace(offset=place.offset + 1)})
    progress = Progress(await log.log_id(), 0, place.offset, place.clock_ms)
    await history.write([], [], progress)


async def test_the_trace_that_the_record_names(tmp_path: Path) -> None:
    traced = origin(0)
    async with cluster(tmp_path) as servers:
        traceparent = f"00-{TRACE}-00f067aa0ba902b7-01"
        await written(servers, Takeover("a", "s1", 1), traced, traceparent=traceparent)
        assert (await asked(servers, traced.id))["trace_id"] == TRACE
        assert (await find(servers, BOB, traced.id)).trace_id == TRACE


async def test_what_the_log_has_dropped_is_in_the_history(servers: Cluster) -> None:
    async with servers.stream("one", ALICE) as alice, servers.stream("two", BOB):
        id_, _ = await said(alice)
        await until(servers, id_, "arrived")
    log = servers.parts.backplane
    assert isinstance(log, EmbeddedBackplane)
    log._retention_ms = 0
    for partition in range(4):
        _, end = await log.bounds(MESSAGES, partition)
        await log.release(MESSAGES, partition, end)
    await eventually(lambda: trimmed(log))
    assert (await asked(servers, id_))["event"] is None
    found = await asked(servers, id_, chat=CHAT)
    assert (found["state"], found["event"]["client_message_id"]) == ("gone", "hello")
    assert [step["name"] for step in found["steps"]] == ["accepted", "delivered", "materialized"]
    assert (await asked(servers, id_, chat=dialog(UserId(CAROL), UserId(BOB))))["event"] is None


async def trimmed(log: EmbeddedBackplane) -> bool:
    await log.trim()
    start, _ = await log.bounds(MESSAGES, 0)
    return start > 0


# -- who may ask


async def find(servers: Cluster, user: str, id_: int, chat_id: str = "") -> FindMessageResponse:
    (server,) = servers.parts.discovery.live("history")
    async with grpc.aio.insecure_channel(server.address) as channel:
        call: Any = channel.unary_unary(
            "/cecochat.v1.History/FindMessage",
            request_serializer=FindMessageRequest.SerializeToString,
            response_deserializer=FindMessageResponse.FromString,
        )
        answer: FindMessageResponse = await call(
            FindMessageRequest(message_id=id_, chat_id=chat_id),
            metadata=(("authorization", f"Bearer {servers.token(user)}"),),
            timeout=60,
        )
    return answer


async def test_a_participant_is_answered_and_nobody_else(servers: Cluster) -> None:
    async with servers.stream("one", ALICE) as alice, servers.stream("two", BOB) as bob:
        id_, _ = await said(alice)
        await until(servers, id_, "arrived")
        mine, hers = await find(servers, BOB, id_), await find(servers, ALICE, id_)
        session_id = bob.welcome.session_id
    assert mine.state == FindMessageResponse.STATE_ARRIVED
    assert [step.name for step in mine.steps] == STEPS
    assert session_id in str(mine)
    assert hers.state == FindMessageResponse.STATE_ON_ITS_WAY
    assert list(hers.waits_for) == [f"delivered to {BOB}"]
    assert hers.steps[2].state == MessageStep.STATE_DONE
    assert session_id not in str(hers)
    refusals = []
    for user, asked_id in ((CAROL, id_), (BOB, id_ + 1)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await find(servers, user, asked_id)
        refusals.append((caught.value.code(), text_of(caught.value).replace(str(asked_id), "")))
    assert refusals[0][0] is grpc.StatusCode.NOT_FOUND
    assert refusals[0] == refusals[1], "it tells that the message exists"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await find(servers, CAROL, id_, CHAT)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("id_", ["0", "-1", "abc", str(1 << 63), str(message_id(1 << 10, 4)), "٣"])
async def test_what_is_no_message_id_is_refused(servers: Cluster, id_: Any) -> None:
    body = await asked(servers, id_, status=400)
    assert body["error"]["code"] == "invalid_argument"
    assert "not a message id" in body["error"]["message"]


async def test_the_sessions_that_a_messaging_server_shows(servers: Cluster) -> None:
    async with operators.client(base_url=servers.servers["two"].health_url) as http:
        many = {"user": [f"user{n}" for n in range(101)]}
        assert (await http.get("/sessions")).status_code == 400
        assert (await http.get("/sessions", params=many)).status_code == 400
        async with servers.stream("two", BOB) as bob:
            shown = (await http.get("/sessions", params={"user": [ALICE, BOB]})).json()
            assert shown["server_id"] == "two"
            assert shown["users"].keys() == {BOB}, "alice is on another server"
            [session] = shown["users"][BOB]["sessions"]
            assert session["session_id"] == bob.welcome.session_id


def text_of(error: grpc.aio.AioRpcError) -> str:
    typed = typed_error(error)
    assert typed is not None, error
    return typed.message
