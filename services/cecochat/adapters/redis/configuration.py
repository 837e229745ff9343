"""The configuration on Redis: each document is a stream, whose entry ids are the versions."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from typing_extensions import override

from cecochat.adapters.redis.connection import answer, check, client
from cecochat.adapters.redis.settings import RedisSettings
from cecochat.domain.cluster.versions import Rank
from cecochat.domain.errors import Conflict, Unavailable
from cecochat.ports.configuration import Configuration, Document

log = logging.getLogger(__name__)

VERSIONS_KEPT = 100
REREAD_S = 1.0  # a watch reads again at least this often
STORED: Final = -1
STORE = f"""
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local current = newest and tonumber(string.match(newest[1], '^%d+')) or 0
if current < tonumber(ARGV[1]) or current > tonumber(ARGV[2]) then return current end
redis.call('XADD', KEYS[1], 'MAXLEN', {VERSIONS_KEPT}, ARGV[3] .. '-0',
    'value', ARGV[4], 'changed_at_ms', ARGV[5], 'changed_by', ARGV[6])
redis.call('PUBLISH', KEYS[2], ARGV[7])
return {STORED}
"""
"""Compare and set: if the current version is ARGV[1] to ARGV[2], it adds the new one, announces it
and returns `STORED`; otherwise it returns the current version.
"""


class RedisConfiguration(Configuration):
    """The documents are `{namespace}:configuration` and so on. The last 100 versions are kept.

    `XREVRANGE cecochat:configuration + - COUNT 1` shows the current version.
    """

    system = "redis"

    def __init__(self, settings: RedisSettings, redis: Redis, clock: Callable[[], float]) -> None:
        """Use `open` instead."""
        self._settings = settings
        self._redis = redis
        self._clock = clock
        self._channel = f"{settings.namespace}:changes"
        self._closed = False

    @classmethod
    async def open(
        cls, settings: RedisSettings, *, clock: Callable[[], float] = time.time
    ) -> RedisConfiguration:
        """Connect to Redis. It does no harm if Redis does not answer yet. Raises `InvalidSettings`
        if Redis refuses the credentials, or if its certificate is not trusted.
        """
        opened = cls(settings, client(settings), clock)
        try:
            await check(settings, opened._redis)
        except Unavailable as error:
            log.warning("the configuration cannot be read yet: %s", error)
        except BaseException:
            await opened.close()
            raise
        return opened

    @override
    async def get(self, name: str) -> Document:
        newest = await self.past(name, 1)
        return newest[0] if newest else Document(name, 0, {}, 0, "")

    @override
    async def put(self, name: str, value: Mapping[str, Any], *, expected: int, by: str) -> Document:
        document = Document(
            name, expected + 1, json.loads(json.dumps(value)), int(self._clock() * 1_000), by
        )
        current = await self._store(document, expected, expected)
        if current != STORED:
            raise Conflict(
                f"{name} is at version {current}, not {expected}: read it again, decide again, and "
                "put again"
            )
        return document

    @override
    async def restore(self, document: Document) -> bool:
        return await self._store(document, 0, document.version - 1) == STORED

    @override
    async def past(self, name: str, limit: int = 20) -> list[Document]:
        self._check_open()
        entries: Any = await answer(
            self._settings, self._redis.xrevrange(self._key(name), count=max(limit, 1))
        )
        return [_document(name, entry_id, fields) for entry_id, fields in entries[:limit]]

    @override
    async def watch(self, name: str) -> AsyncGenerator[Document]:
        self._check_open()
        seen: Rank | None = None
        async with self._redis.pubsub() as announcements:
            await answer(self._settings, announcements.subscribe(self._channel))
            while True:
                document = await self.get(name)
                if document.rank != seen:
                    seen = document.rank
                    yield document
                await self._announced(announcements)

    @override
    async def close(self) -> None:
        self._closed = True
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()  # those that watches wait on, too

    async def _store(self, document: Document, lowest: int, highest: int) -> int:
        """Store a document if the current version is from `lowest` to `highest`. Returns `STORED`,
        or the current version if it is not.
        """
        self._check_open()
        name, version, value, changed_at_ms, by = document
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        current: int = await answer(
            self._settings,
            self._redis.eval(
                STORE, 2, self._key(name), self._channel,
                lowest, highest, version, text, changed_at_ms, by, name,
            ),
        )  # fmt: skip
        return current

    async def _announced(self, announcements: PubSub) -> None:
        """Wait until a change of any document is announced, or until it is time to read again.

        It also ends when the subscription is confirmed, since changes before that were not
        announced to us.
        """
        self._check_open()
        waiting = announcements.get_message(timeout=REREAD_S)
        await answer(self._settings, waiting)

    def _key(self, name: str) -> str:
        return f"{self._settings.namespace}:{name}"

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the configuration was closed")


def _document(name: str, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Document:
    """Return the document of an entry. One that a person has added by hand may lack fields; readers
    decide what to make of it.
    """
    changed_at_ms = fields.get(b"changed_at_ms", b"")
    return Document(
        name,
        int(entry_id.partition(b"-")[0]),
        _value(fields.get(b"value", b"")),
        int(changed_at_ms) if changed_at_ms.isdigit() else 0,
        fields.get(b"changed_by", b"").decode(errors="backslashreplace"),
    )


def _value(text: bytes) -> Any:
    """Return the value, parsed. Text that is no JSON is returned as it is: readers refuse it, and
    keep the version that they have.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.decode(errors="backslashreplace")
