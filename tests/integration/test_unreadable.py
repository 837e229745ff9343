"""Records that nobody can read, among those that count."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

import pytest

from cecochat.client import Message, connect
from cecochat.domain.records import Headers, LogRecord, Origin, encode
from cecochat.messaging import partition
from tests.integration.systems import running

TEXTS = [f"message {number}" for number in range(6)]


async def test_a_send_that_cannot_be_read_back_is_accepted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its own the owner would say ready, and answer nobody any more."""
    origins = count()

    def spoiling(record: LogRecord) -> tuple[bytes, bytes, Headers]:
        key, value, headers = encode(record)
        spoilt = isinstance(record, Origin) and next(origins) in (2, 5)
        return key, value, (("kind", "unheard of"), ("v", "1")) if spoilt else headers

    monkeypatch.setattr(partition, "encode", spoiling)
    async with (
        running(tmp_path) as up,
        connect(up.addresses.connect, up.token("bob")) as bob,
        connect(up.addresses.connect, up.token("alice"), receipts=False) as alice,
    ):
        async with asyncio.timeout(60):
            await asyncio.gather(*[await alice.post("bob", text) for text in TEXTS])
        texts: list[str] = []
        async with asyncio.timeout(60):
            while len(texts) < len(TEXTS):
                event = await anext(bob)
                if isinstance(event, Message):
                    texts.append(event.text)
    assert texts == TEXTS
