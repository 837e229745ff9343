"""Broken central documents, put straight into the store: the last good one stays in force, a metric
counts, the log says which key and what to do, and no server goes.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cecochat.run import system
from cecochat.v1.messaging_pb2 import ServerItem
from tests.support.hostile import bearer, channel, http, inside, metric, minted, talk
from tests.support.mutate import hello

CLOSE = b"Host: localhost\r\nConnection: close\r\n"
CONFIGURATIONS = {
    "[]": "configuration",
    "null": "configuration",
    "7": "configuration",
    '"text.max_bytes"': "configuration",
    "{": "configuration",
    "": "configuration",
    "\x00": "configuration",
    "[" * 100_000: "configuration",
    '{"text.max_byte": 5}': "text.max_byte",
    '{"text.max_bytes": "5"}': "text.max_bytes",
    '{"text.max_bytes": null}': "text.max_bytes",
    '{"text.max_bytes": true}': "text.max_bytes",
    '{"text.max_bytes": 1.5}': "text.max_bytes",
    '{"text.max_bytes": {}}': "text.max_bytes",
    '{"text.max_bytes": 0}': "text.max_bytes",
    '{"text.max_bytes": 9999999999999999999999999}': "text.max_bytes",
    '{"sends.rate_per_user": NaN}': "sends.rate_per_user",
    '{"sends.rate_per_user": Infinity}': "sends.rate_per_user",
    '{"sends.rate_per_user": 1e999}': "sends.rate_per_user",
    '{"sends.rate_per_user": -1}': "sends.rate_per_user",
    '{"log.level": "loud"}': "log.level",
    '{"log.level": []}': "log.level",
    '{"text.max_bytes": 9, "queue.max_bytes": "x"}': "queue.max_bytes",
}
ASSIGNMENTS = [
    "[]", "null", "{", "", '"x"', "[" * 100_000, '{"x": "y"}', '{"-1": "ID"}', '{"99999": "ID"}',
    '{"0": 5}', '{"0": null}', '{"0": ["ID"]}', '{"1.0": "ID"}', '{" 1": "ID"}', '{"\u0661": "ID"}',
]  # fmt: skip


class Store:
    """The file of the central documents, written by somebody who checks nothing."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "configuration.db"

    def put(self, name: str, text: str | bytes) -> int:
        """Version that it got."""
        with closing(sqlite3.connect(self._file, timeout=10, isolation_level=None)) as connection:
            newest = "SELECT coalesce(max(version), 0) + 1 FROM versions WHERE name = ?"
            (version,) = connection.execute(newest, (name,)).fetchone()
            connection.execute(
                "INSERT INTO versions VALUES (?, ?, CAST(? AS TEXT), 0, 'test')",
                (name, version, text),
            )
        return int(version)


class Limits:
    """What a session is welcomed with: the configuration in force."""

    def __init__(self, addresses: system.Addresses) -> None:
        assert addresses.token_secret_file
        self._address = addresses.messaging
        self._metadata = bearer(minted(addresses.token_secret_file, sub="alice"))

    async def text_max_bytes(self) -> int:
        async with channel(self._address) as made:
            items: list[ServerItem] = (await talk(made, self._metadata, [hello()])).judged().items
        return items[0].welcome.limits.text_max_bytes


async def test_a_broken_configuration_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with inside(tmp_path) as addresses:
        store, limits = Store(tmp_path), Limits(addresses)
        good = store.put(
            "configuration", '{"text.max_bytes": 1234, "connects.rate_per_user": 1000}'
        )
        for url in addresses.health.values():
            await until_at_least(url, "cecochat_configuration_version", good)
        assert await limits.text_max_bytes() == 1234
        for number, (text, named) in enumerate(CONFIGURATIONS.items(), 1):
            caplog.clear()
            version = store.put("configuration", text)
            for url in addresses.health.values():
                await until_at_least(url, "cecochat_configuration_refused_total", number)
                assert await metric(url, "cecochat_configuration_version") == good
            said = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
            assert len(said) == len(addresses.health), (text[:80], said)
            for line in said:
                assert named in line, line
                assert f"version {version} " in line, line
                assert "use " in line or "known are" in line, line
                assert len(line) < 1_000, line
            assert await limits.text_max_bytes() == 1234
        store.put("configuration", '{"text.max_bytes": 4321}')
        await until_at_least(
            addresses.health["connect"],
            "cecochat_configuration_version",
            good + len(CONFIGURATIONS) + 1,
        )
        async with asyncio.timeout(60):
            while await limits.text_max_bytes() != 4321:
                pass


async def test_a_broken_assignment_moves_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with inside(tmp_path) as addresses:
        store, limits = Store(tmp_path), Limits(addresses)
        assert addresses.token_secret_file
        token = minted(addresses.token_secret_file, sub="alice")
        for number, text in enumerate(ASSIGNMENTS, 1):
            caplog.clear()
            store.put("assignment", text.replace("ID", "messaging-x"))
            for url in (addresses.health["messaging"], addresses.health["connect"]):
                await until_at_least(url, "cecochat_assignment_refused_total", number)
            said = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
            assert len(said) == 2, (text[:80], said)
            assert all("assignment" in line and "use " in line for line in said), said
        assert await limits.text_max_bytes() > 0
        who = f"Authorization: Bearer {token}\r\n\r\n".encode()
        answer = await http(addresses.connect, b"GET /v1/connect HTTP/1.1\r\n" + CLOSE + who)
        assert b"200 OK" in answer, answer
        for url in addresses.health.values():
            answer = await http(url, b"GET /readyz HTTP/1.1\r\n" + CLOSE + b"\r\n")
            assert b"200 OK" in answer, answer


async def test_text_that_cannot_be_decoded_stops_nobody(tmp_path: Path) -> None:
    """What the store itself cannot read is as if it did not answer; the next one is followed."""
    async with inside(tmp_path) as addresses:
        store, limits = Store(tmp_path), Limits(addresses)
        for name in ("configuration", "assignment"):
            store.put(name, b'{"\xff\xfe": 1}')
        store.put("configuration", '{"text.max_bytes": 77}')
        for url in (addresses.health["messaging"], addresses.health["connect"]):
            await until_at_least(url, "cecochat_configuration_version", 2)
        assert await limits.text_max_bytes() == 77


async def until_at_least(url: str, name: str, value: float) -> None:
    """Every server follows within 2 s; a machine under load may take longer."""
    async with asyncio.timeout(30):
        while await metric(url, name) < value:  # noqa: ASYNC110 - another server, asked over HTTP
            await asyncio.sleep(0.05)
