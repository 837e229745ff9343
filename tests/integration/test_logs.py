"""What a running system writes to its log, as a server would write it: ids, and never a text or a
token, at the level that the configuration says.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cecochat.servers.history import queries
from cecochat.servers.messaging.ready import ReadyPartition
from cecochat.telemetry import logs
from cecochat.telemetry.logs import JsonLines, TextLines
from cecochat.telemetry.tracing import Tracing
from cecochat.v1.history_pb2 import GetMessagesRequest
from cecochat.v1.messaging_pb2 import ClientFrame, Send
from tests.integration import streams
from tests.integration.streams import message
from tests.integration.systems import QUICK, Refused, Running, running
from tests.support.eventually import eventually

TEXT = "a-text-that-nobody-may-read"
TOKEN = "a-token-that-nobody-may-use"
CHAT = "d:alice~bob"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Log:
    """All that a server would write, both ways, with every library at its most talkative."""

    def __init__(self) -> None:
        self._json, self._text = io.StringIO(), io.StringIO()
        self.handlers = [logs.handler(JsonLines()), logs.handler(TextLines())]
        for handler, stream in zip(self.handlers, (self._json, self._text), strict=True):
            handler.setStream(stream)

    @property
    def said(self) -> str:
        return self._json.getvalue() + self._text.getvalue()

    def of(self, words: str) -> list[dict[str, Any]]:
        """Lines whose message ends so."""
        lines = map(json.loads, self._json.getvalue().splitlines())
        return [line for line in lines if line["message"].endswith(words)]


@pytest.fixture
def log() -> Iterator[Log]:
    root, own = logging.getLogger(), logging.getLogger("cecochat")
    levels, written = (root.level, own.level), Log()
    for handler in written.handlers:
        root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    for handler in written.handlers:
        root.removeHandler(handler)
    root.setLevel(levels[0])
    own.setLevel(levels[1])


async def sent(system: Running, id_: str, text: str, traceparent: str = "") -> int:
    """The id of a message from alice to bob."""
    send = message(id_, CHAT, text)
    send.traceparent = traceparent
    async with system.stream("alice") as alice:
        await alice.send(send)
        return (await alice.until("ack")).ack.message_id


async def in_history(system: Running, count: int) -> None:
    async def all_there() -> bool:
        request = GetMessagesRequest(chat_id=CHAT)
        return len((await system.messages("alice", request)).messages) == count

    await eventually(all_there)


async def refused_send(system: Running, send: Send) -> str:
    """All that alice is told of such a send."""
    async with system.stream("alice") as alice:
        await alice.send(send)
        return str(await alice.until("refused"))


async def refused_lookups(system: Running) -> list[str]:
    """What the connect server answers to the token, wherever it is."""
    url = f"{system.addresses.connect}/v1/connect"
    async with httpx.AsyncClient() as client:
        answers = [
            await client.get(url, headers={"authorization": f"Bearer {TOKEN}"}),
            await client.get(url, headers={"authorization": TOKEN}),
            await client.get(url, headers={"cookie": f"token={TOKEN}"}),
        ]
    assert [each.status_code for each in answers] == [401] * 3
    return [each.text for each in answers]


async def refusal(system: Running, frame: ClientFrame | bytes) -> str:
    """All that alice is told of why such a frame ends her stream."""
    async with system.stream("alice") as alice:
        await alice.write(frame)
        return str(await alice.ended())


def fail(*_: object, **__: object) -> Any:
    raise AssertionError("a defect")


async def test_a_message_is_found_by_its_id_and_its_trace_at_debug(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracing = Tracing(exporter=InMemorySpanExporter())
    monkeypatch.setattr("cecochat.run.system.Tracing", lambda _: tracing)
    async with running(tmp_path, {**QUICK, "log.level": "debug"}) as system:
        id_ = str(await sent(system, "one", TEXT, f"00-{TRACE}-{SPAN}-01"))
        await eventually(lambda: log.of("is in the history"))
        (accepted,), (stored,) = log.of("is accepted"), log.of("is in the history")
    assert accepted["message_id"] == stored["message_id"] == id_
    assert accepted["trace_id"] == stored["trace_id"] == TRACE
    assert accepted["partition"] == stored["partition"]
    assert accepted["session_id"].startswith("messaging-")
    assert accepted["level"] == "debug"


async def test_the_level_changes_while_running(tmp_path: Path, log: Log) -> None:
    async with running(tmp_path, QUICK) as system:
        own = logging.getLogger("cecochat")
        await eventually(lambda: own.level == logging.INFO)
        await sent(system, "unseen", TEXT)
        assert log.of("is accepted") == []
        await system.configure({**QUICK, "log.level": "debug"})
        await eventually(lambda: own.level == logging.DEBUG)
        await sent(system, "seen", TEXT)
        assert len(log.of("is accepted")) == 1
        await system.configure({**QUICK, "log.level": "error"})
        await eventually(lambda: own.level == logging.ERROR)
        await sent(system, "unseen again", TEXT)
        assert len(log.of("is accepted")) == 1


async def test_neither_a_text_nor_a_token_is_logged_or_told(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether all goes well, is refused, or fails where nobody expected it."""
    told = []
    async with running(tmp_path, {**QUICK, "log.level": "debug"}) as system:
        await sent(system, "one", TEXT)
        await in_history(system, 1)
        token = system.token("alice")
        told += [
            await refusal(system, TEXT.encode()),
            await refusal(system, ClientFrame(renewed_token=TOKEN)),
            await refused_send(system, message("two", CHAT, TEXT * 1_000)),
            await refused_send(system, message("three", f"{CHAT}~carol", TEXT)),
            str(await streams.refused(system.addresses.messaging, TOKEN)),
            *await refused_lookups(system),
        ]
        monkeypatch.setattr(ReadyPartition, "accept", fail)
        told.append(
            await refusal(system, ClientFrame(offset=0, sends=[message("four", CHAT, TEXT)]))
        )
        monkeypatch.setattr(queries, "_marks", fail)  # with the page in its hands
        with pytest.raises(Refused) as refused:
            await system.messages("alice", GetMessagesRequest(chat_id=CHAT))
        told.append(str(refused.value))
    assert "is accepted" in log.said
    assert log.said.count("AssertionError: a defect") == 2 * len(log.handlers), "both defects"
    for secret in (TEXT, TOKEN, token, token.rpartition(".")[2]):
        assert secret not in log.said
        assert [each for each in told if secret in each] == []
