"""Devices of users over the real socket: live, resume, repeats, refusals."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cecochat.v1 import errors_pb2
from cecochat.v1.history_pb2 import GetMessagesRequest
from cecochat.v1.messaging_pb2 import ClientFrame, Hello, Position
from tests.integration.streams import Ended, delivered_texts, message
from tests.integration.systems import QUICK, metric, running, until_metric

CHAT = "d:alice~bob"
pytestmark = pytest.mark.usefixtures("over_each")


async def test_the_system_starts_twice_in_one_process(tmp_path: Path) -> None:
    for _ in range(2):
        async with running(tmp_path / "data") as system, system.stream("alice") as alice:
            assert alice.welcome.user_id == "alice"


async def test_a_message_reaches_every_device_once(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as system,
        system.stream("alice") as alice,
        system.stream("alice") as tablet,
        system.stream("bob") as bob,
        system.stream("bob") as phone,
    ):
        await alice.send(*(message(f"m{n}", CHAT) for n in range(20)))
        expected = [f"m{n}" for n in range(20)]
        acks = await alice.until_acks(20)
        assert [item.ack.client_message_id for item in acks] == expected
        ids = [item.ack.message_id for item in acks]
        assert ids == sorted(set(ids))
        for device in (tablet, bob, phone):
            assert await device.until_texts(20) == expected
        assert delivered_texts(alice.items) == []


async def test_without_a_position_nothing_is_missed(tmp_path: Path) -> None:
    async with running(tmp_path) as system, system.stream("alice") as alice:
        async with system.stream("bob") as early:
            await alice.send(message("before", CHAT))
            await early.until_texts(1)
        async with system.stream("bob") as bob:
            await alice.send(message("after", CHAT))
            assert await bob.until_texts(1) == ["after"]


@pytest.mark.parametrize("tail", [4 << 20, 0], ids=["tail", "log"])
async def test_resume_is_exact_while_traffic_goes_on(tmp_path: Path, tail: int) -> None:
    total = 600
    async with (
        running(tmp_path, {**QUICK, "tail.max_bytes": tail}) as system,
        system.stream("alice") as alice,
    ):
        seen: list[str] = []
        position: Position | None = None
        async with system.stream("bob") as bob:
            position = bob.position

        async def talk() -> None:
            for n in range(0, total, 20):
                await alice.send(*(message(f"m{k}", CHAT) for k in range(n, n + 20)))
                await alice.until_acks(n + 20)

        async with asyncio.TaskGroup() as group:
            group.create_task(talk())
            while len(seen) < total:
                async with system.stream("bob", position) as bob:
                    seen += await bob.until_texts(max(1, len(delivered_texts(bob.items))))
                    position = bob.position
    assert seen == [f"m{n}" for n in range(total)]


@pytest.mark.parametrize(
    "position",
    [
        Position(log_id="another", partition=0, offset=3),
        Position(offset=3),
        Position(offset=1 << 40),
    ],
    ids=["another log", "no log", "beyond the end"],
)
async def test_a_position_that_means_nothing_is_a_gap(tmp_path: Path, position: Position) -> None:
    async with running(tmp_path) as system:
        async with system.stream("alice") as alice, system.stream("bob") as bob:
            await alice.send(message("m", CHAT))
            await bob.until_texts(1)
            if position.offset > 100:
                assert bob.position
                position.log_id = bob.position.log_id
                position.partition = bob.position.partition
        async with system.opened("bob") as again:
            await again.hello(position)
            gap = (await again.until("gap")).gap
            await again.until("caught_up")
            assert gap.from_offset == position.offset
            assert again.position
            assert gap.token.log_id == again.position.log_id
            page = await system.patiently("bob", GetMessagesRequest(chat_id=CHAT, token=gap.token))
            assert [event.message.text for event in page.messages] == ["m"]


async def test_a_position_in_a_log_that_has_lost_all_it_had_is_a_gap(tmp_path: Path) -> None:
    """Nothing stands there, nor may anything for long: the session does not wait for it."""
    async with running(tmp_path) as system:
        async with system.stream("bob") as bob:
            known = bob.position
        assert known
        known.offset, known.clock_ms = known.offset + 10, known.clock_ms + 1
        async with system.opened("bob") as again:
            await again.hello(known)
            gap = (await again.until("gap")).gap
            await again.until("caught_up")
            assert gap.from_offset == known.offset > gap.to_offset


@pytest.mark.parametrize("tail", [4 << 20, 0], ids=["tail", "log"])
async def test_a_position_of_an_end_that_the_log_lost_is_a_gap(tmp_path: Path, tail: int) -> None:
    """What stands there now was appended later than the client was told."""
    async with running(tmp_path, {**QUICK, "tail.max_bytes": tail}) as system:
        async with system.stream("alice") as alice, system.stream("bob") as bob:
            await alice.send(message("m1", CHAT), message("m2", CHAT))
            await bob.until_texts(2)
        first, position = (item.delivered for item in bob.items if item.HasField("delivered"))
        known = bob.position
        assert known
        assert (position.offset, position.clock_ms) == (known.offset, known.clock_ms)
        async with system.stream("bob", known) as again:
            assert not any(item.HasField("gap") for item in again.items)
        known.offset, known.clock_ms = first.offset, 1
        async with system.opened("bob") as again:
            await again.hello(known)
            gap = (await again.until("gap")).gap
            caught_up = (await again.until("caught_up")).caught_up
            assert gap.from_offset == first.offset
            assert again.welcome.position.offset == gap.to_offset >= position.offset
            assert again.welcome.position.clock_ms >= position.clock_ms
            partition = again.welcome.position.partition
            assert gap.token.clocks[partition] == again.welcome.position.clock_ms
            assert caught_up.clock_ms >= again.welcome.position.clock_ms


async def test_a_repeat_is_acknowledged_with_the_same_id(tmp_path: Path) -> None:
    ids: set[int] = set()
    for _ in range(2):  # over a restart
        async with running(tmp_path) as system:
            for _ in range(2):  # over a reconnect
                async with system.stream("alice") as alice:
                    await alice.send(message("once", CHAT), message("once", CHAT))
                    await alice.send(message("once", CHAT))
                    await alice.send(message(f"last {len(ids)}", CHAT))
                    while True:
                        ack = (await alice.until("ack")).ack
                        if ack.client_message_id != "once":
                            break
                        ids.add(ack.message_id)
    assert len(ids) == 1


async def test_an_id_that_was_used_for_something_else_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as system, system.stream("bob") as bob:
        for again in (message("1", CHAT, "other text"), message("1", "d:alice~carol", "text")):
            async with system.stream("alice") as alice:
                await alice.send(message("1", CHAT, "text"), again)  # while it is under way, too
                refused = (await alice.until("refused")).refused
                assert errors_pb2.ErrorCode.Name(refused.error.code) == "ERROR_CODE_REUSED_ID"
        async with system.stream("alice", alice.position) as alice:
            await alice.send(message("1", CHAT, "text"), message("2", CHAT))
            assert [item.ack.client_message_id for item in await alice.until_acks(2)] == ["1", "2"]
        assert await bob.until_texts(2) == ["text", "2"]
        assert (
            await metric(system, "messaging", 'cecochat_sends_refused_total{code="reused_id"}') == 2
        )
        assert await metric(system, "messaging", "cecochat_sends_accepted_total") == 2


async def test_a_position_that_nobody_was_told_is_refused(tmp_path: Path) -> None:
    """It would make a repeat of something forgotten look new."""
    async with running(tmp_path) as system, system.stream("alice") as alice:
        await alice.send(message("1", CHAT), offset=1_000)
        assert (await alice.ended()).code == "PROTOCOL"


async def test_a_device_has_one_stream(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as system,
        system.opened("alice") as old,
        system.opened("alice") as new,
        system.opened("alice") as tablet,
    ):
        for stream, name in ((old, "phone"), (tablet, "tablet"), (new, "phone")):
            await stream.write(ClientFrame(hello=Hello(device_id=name)))
            await stream.until("caught_up")
        assert (await old.ended()).code == "REPLACED"
        for stream in (new, tablet):
            await stream.send(message(f"of {id(stream)}", CHAT))
            await stream.until("ack")


async def test_an_answer_sorts_after_what_was_read(tmp_path: Path) -> None:
    """Also where that has the id of a clock ahead, unless it is far ahead."""
    minute = 60_000 << 22
    async with running(tmp_path) as system, system.stream("alice") as alice:
        await alice.send(message("1", CHAT))
        first = (await alice.until("ack")).ack.message_id
        for number, (ahead, sorts_after) in enumerate([(minute // 2, True), (minute * 60, False)]):
            answer = message(f"answer {number}", CHAT)
            answer.seen_id = first + ahead
            await alice.send(answer)
            id_ = (await alice.until("ack")).ack.message_id
            assert (id_ > answer.seen_id) == sorts_after
            assert first < id_ < first + 2 * minute


async def test_a_refused_send_blocks_until_the_client_reconnects(tmp_path: Path) -> None:
    async with running(tmp_path) as system, system.stream("bob") as bob:
        async with system.stream("alice") as alice:
            await alice.send(message("1", CHAT), message("2", "d:bob~carol"), message("3", CHAT))
            await alice.send(message("4", CHAT))
            refused = (await alice.until("refused")).refused
            assert refused.client_message_id == "2"
            assert not refused.error.retriable
        async with system.stream("alice", alice.position) as alice:
            await alice.send(message("5", CHAT))
            await alice.until_acks(1)
        assert await bob.until_texts(2) == ["1", "5"]


async def test_a_second_hello_ends_the_stream(tmp_path: Path) -> None:
    async with running(tmp_path) as system, system.stream("alice") as alice:
        await alice.hello()
        assert (await alice.ended()).code == "PROTOCOL"


async def test_a_send_before_hello_ends_the_stream(tmp_path: Path) -> None:
    async with running(tmp_path) as system, system.opened("alice") as alice:
        await alice.send(message("1", CHAT))
        assert (await alice.ended()).code == "PROTOCOL"


async def test_bytes_that_are_no_frame_end_the_stream(tmp_path: Path) -> None:
    async with running(tmp_path) as system, system.opened("alice") as alice:
        await alice.write(b"\xff\xff\xff")
        assert (await alice.ended()).code == "INVALID_ARGUMENT"


async def test_a_user_has_so_many_sessions(tmp_path: Path) -> None:
    async with (
        running(tmp_path, {**QUICK, "sessions.max_per_user": 2}) as system,
        system.stream("alice"),
        system.stream("bob"),
    ):
        async with system.stream("alice"):
            refused = await system.refused("alice")
            assert refused.code == "TOO_MANY_SESSIONS"
        async with asyncio.timeout(60):
            while True:  # the server notices the end of a stream on its own time
                try:
                    async with system.stream("alice"):
                        break
                except Ended:
                    continue


async def test_connects_over_the_rate_are_told_how_long_to_wait(tmp_path: Path) -> None:
    keys = {**QUICK, "connects.burst": 2, "connects.rate_per_user": 0.01}
    loop = asyncio.get_running_loop()
    async with running(tmp_path, keys) as system:
        begun_s = loop.time()
        for _ in range(2):
            async with system.stream("alice"):
                pass
        refused = await system.refused("alice")
        passed_ms = (loop.time() - begun_s) * 1_000
        assert refused.code == "RATE_LIMITED"
        assert 100_000 - passed_ms <= refused.error.retry_after_ms <= 100_001
        async with system.stream("bob"):
            pass
        version = (await system.configure(QUICK)).version  # nobody waits for so long here
        await until_metric(system, "messaging", "cecochat_configuration_version", version)
        async with system.stream("alice"):
            pass


async def test_sends_over_the_rate_wait_and_nobody_else_does(tmp_path: Path) -> None:
    keys = {**QUICK, "sends.burst": 10, "sends.rate_per_user": 20.0}
    async with (
        running(tmp_path, keys) as system,
        system.stream("alice") as alice,
        system.stream("carol") as carol,
        system.stream("bob") as bob,
    ):
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        await alice.send(*(message(f"a{n}", "d:alice~dave") for n in range(20)))
        await carol.send(message("c", "d:bob~carol"))
        assert await bob.until_texts(1) == ["c"]
        await alice.until_acks(20)
        assert loop.time() - begun_s > 0.45


async def test_a_token_of_another_user_does_not_renew(tmp_path: Path) -> None:
    async with running(tmp_path) as system, system.stream("alice") as alice:
        await alice.write(ClientFrame(renewed_token=system.token("bob")))
        assert (await alice.ended()).code == "FORBIDDEN"


async def test_a_burst_does_not_cut_a_client_that_reads(tmp_path: Path) -> None:
    texts = [f"{number} " + "x" * 16_000 for number in range(200)]  # three times the queue
    async with (
        running(tmp_path, QUICK) as system,
        system.stream("alice") as alice,
        system.stream("bob") as bob,
    ):
        async with asyncio.TaskGroup() as group:
            group.create_task(bob.until_texts(len(texts)))
            for first in range(0, len(texts), 3):
                some = enumerate(texts[first : first + 3], first)
                await alice.send(*(message(f"m{n}", "d:alice~bob", text) for n, text in some))
        assert delivered_texts(bob.items) == texts


async def test_a_probe_is_answered_and_passes_nothing_over(tmp_path: Path) -> None:
    count = 40
    async with (
        running(tmp_path) as system,
        system.stream("alice") as alice,
        system.stream("bob") as bob,
    ):
        assert bob.welcome.answers_probes
        first = len(bob.items)
        for number in range(count):
            await alice.send(message(f"m{number}", CHAT))
            await bob.write(ClientFrame(probe=True))
        await bob.until_texts(count)
        while [item.HasField("caught_up") for item in bob.items[first:]].count(True) < count:
            await bob.next()
        told = -1  # of each item, the offset is above all that was said to be complete
        for item in bob.items[first:]:
            if item.HasField("delivered"):
                assert item.delivered.offset > told
            elif item.HasField("caught_up"):
                told = max(told, item.caught_up.offset)
        assert delivered_texts(bob.items) == [f"m{number}" for number in range(count)]
