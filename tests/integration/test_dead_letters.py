"""Dead letters on both logs: what does not fit is cut, and never tried for ever."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.adapters.kafka.topics import RECORD_BYTES_MAX
from cecochat.cli.data import dead
from cecochat.cli.errors import UsageError
from cecochat.cli.operate.holes import named
from cecochat.domain.log.dead_letters import BYTES_MAX, DeadLetter
from cecochat.domain.log.ids import UserId, dialog
from cecochat.ports.backplane import Log, NewRecord
from cecochat.ports.burying import Burial
from cecochat.ports.history import Hole
from cecochat.servers.history.dead_letters import DeadLetters
from cecochat.v1.events_pb2 import Event, Message
from tests.integration.cluster import cluster, user_on
from tests.integration.streams import message
from tests.support.eventually import eventually

ALICE, BOB = user_on(0), user_on(1)
CHAT = dialog(UserId(ALICE), UserId(BOB))
LARGE = RECORD_BYTES_MAX - 200
"""As large as the topic takes: with the reason it is larger than that."""


@pytest.mark.timeout(420)
async def test_a_letter_that_does_not_fit_is_cut(tmp_path: Path, kafka: str) -> None:
    async with cluster(tmp_path, kafka) as servers:
        log, history = servers.parts.backplane, servers.parts.history
        assert history
        letters = DeadLetters(await Log.of(log), history)
        await servers.assign("one")
        await servers.start("one")
        producer = await log.producer()
        await producer.append([NewRecord(0, b"", bytes(LARGE), ())])

        async def buried() -> bool:
            return bool(await letters.all())

        await eventually(buried)
        (letter,) = await letters.all()
        assert (letter["kind"], letter["state"]) == ("undecodable", "kept")
        assert (letter["bytes"], letter["cut_bytes"]) == (LARGE, LARGE - BYTES_MAX)
        async with servers.stream("one", ALICE) as alice:
            await alice.send(message("after", CHAT))
            await alice.until_acks(1)

        async def stored() -> bool:
            assert history
            return bool((await history.messages(CHAT, before=None, after=0, limit=1)).events)

        await eventually(stored)


OLD, NEW = 1_111 << 22, 2_222 << 22


def event(id_: int) -> Event:
    return Event(
        id=id_, user_id=ALICE, chat_id=CHAT, recipient_ids=[BOB], message=Message(text="t")
    )


def refused_at_91(id_: int) -> DeadLetter:
    value = event(id_).SerializeToString()
    return DeadLetter("refused", 0, 91, "too large", b"", value, message_id=id_)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedBackplane]:
    opened = await EmbeddedBackplane.open(tmp_path, partition_count=1)
    yield opened
    await opened.close()


@pytest.fixture
async def history(tmp_path: Path, log: EmbeddedBackplane) -> AsyncIterator[EmbeddedHistory]:
    """Which refused two messages with one offset: the log has lost its end between them."""
    opened, log_id = await EmbeddedHistory.open(tmp_path), await log.log_id()
    for id_ in (OLD, NEW):
        await Burial(log).bury([refused_at_91(id_)])
        hole = Hole(log_id, 0, 91, 91, id_, id_, CHAT, "refused", "too large", 1)
        await opened.write([], [], None, [hole])
    yield opened
    await opened.close()


async def test_two_letters_of_one_offset_are_two(
    log: EmbeddedBackplane, history: EmbeddedHistory
) -> None:
    letters = await DeadLetters(await Log.of(log), history).all()
    assert not any({"key", "value"} & each.keys() for each in letters)
    assert [(each["name"], each["message_id"], each["state"]) for each in letters] == [
        ("0:91", f"{OLD}", "waits"),
        ("0:91", f"{NEW}", "waits"),
    ]


async def test_what_a_letter_holds_is_told_to_who_asks_for_it(
    log: EmbeddedBackplane, history: EmbeddedHistory
) -> None:
    letters = DeadLetters(await Log.of(log), history)
    found = await letters.called("0:91")
    values = [base64.b64decode(each["value"]) for each in found]
    assert values == [event(id_).SerializeToString() for id_ in (OLD, NEW)]
    for other in ("0:90", "1:91", "x", "", "99999999:1", "²:91"):
        assert await letters.called(other) == []


async def test_one_that_is_stored_closes_its_own_hole(history: EmbeddedHistory) -> None:
    """That of the other would say that a message is there which is nowhere."""
    value = event(NEW).SerializeToString()
    await dead._store(history, "0:91", event(NEW), value)
    assert [hole.first_id for hole in await history.holes()] == [OLD]


async def test_a_name_that_stands_for_two_holes_is_refused(history: EmbeddedHistory) -> None:
    ambiguous = f"0:91 means 2 of them: use one of 0:91/{OLD}, 0:91/{NEW}"
    with pytest.raises(UsageError, match=ambiguous):
        await named(history, "0:91")
    assert [hole.first_id for hole in await named(history, f"0:91/{NEW}")] == [NEW]
