"""Several messaging servers on one log in this process, and ways to make the log fail."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from cecochat.adapters import build
from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.auth.minting import mint
from cecochat.auth.operators import keys_secret
from cecochat.auth.tokens import Verifier
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.errors import CecochatError, ProducerEnded, Unavailable
from cecochat.domain.log.place import Place
from cecochat.ports.backplane import MESSAGES, Backplane, NewRecord, Producer, Record, Topic
from cecochat.ports.configuration import ASSIGNMENT, CONFIGURATION, Configuration, Document
from cecochat.ports.discovery import Instance
from cecochat.runtime.parts import Parts
from cecochat.sealing.keyring import KeyRing
from cecochat.servers.connect.main import connect
from cecochat.servers.history.main import history
from cecochat.servers.materialize.main import materialize
from cecochat.servers.messaging.main import messaging
from cecochat.settings.settings import Settings
from cecochat.v1.messaging_pb2 import Position
from tests.contract.openers.kafka import remove
from tests.integration import streams
from tests.integration.streams import Stream
from tests.integration.systems import QUICK, settings, write_document
from tests.support import operators

PARTITIONS = 4
SECRET = b"a secret of at least thirty-two bytes, for tests"


def is_origin(record: NewRecord) -> bool:
    return ("kind", "origin") in record.headers


@dataclass
class Faults:
    """What one server's log does. `fail_append`: `lost` or `landed`, for the next that matches.
    `stalled`: partitions whose appends wait until it is set. `written`: what is written in the
    place of a record.
    """

    fail_append: str | None = None
    matches: Callable[[NewRecord], bool] = is_origin
    failed: int = 0
    stalled: dict[int, asyncio.Event] = field(default_factory=dict)
    appending: asyncio.Event = field(default_factory=asyncio.Event)
    reading: asyncio.Event = field(default_factory=asyncio.Event)
    watching: asyncio.Event = field(default_factory=asyncio.Event)
    unavailable: set[str] = field(default_factory=set)  # method names
    error: Callable[[str], CecochatError] = Unavailable
    written: Callable[[NewRecord], NewRecord] = lambda record: record

    def __post_init__(self) -> None:
        for each in (self.appending, self.reading, self.watching):
            each.set()

    def check(self, method: str) -> None:
        if method in self.unavailable:
            self.failed += 1
            raise self.error(f"{method}: the test says so")


class FaultyProducer(Producer):
    def __init__(self, inner: Producer, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults
        self._ended = False

    @override
    async def append(self, records: Sequence[NewRecord]) -> None:
        await self._faults.appending.wait()
        for partition in {record.partition for record in records} & self._faults.stalled.keys():
            await self._faults.stalled[partition].wait()
        if self._ended:
            raise ProducerEnded("it had failed before")
        records = [self._faults.written(record) for record in records]
        how = self._faults.fail_append
        if how is None or not any(map(self._faults.matches, records)):
            await self._inner.append(records)
            return
        self._faults.fail_append, self._ended = None, True
        self._faults.failed += 1
        if how == "landed":
            await self._inner.append(records)
        raise ProducerEnded(f"the test says so: {how}")

    @override
    async def close(self) -> None:
        await self._inner.close()


class FaultyBackplane(Backplane):
    def __init__(self, inner: Backplane, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    @override
    async def log_id(self) -> str:
        return await self._inner.log_id()

    @override
    async def partition_count(self) -> int:
        return await self._inner.partition_count()

    @override
    async def producer(self, topic: Topic = MESSAGES) -> Producer:
        return FaultyProducer(await self._inner.producer(topic), self._faults)

    @override
    async def read(
        self, topic: Topic, partition: int, offset: int, *, gather_s: float = 0.0
    ) -> AsyncGenerator[Sequence[Record]]:
        async with aclosing(self._inner.read(topic, partition, offset)) as batches:
            async for batch in batches:
                await self._faults.reading.wait()
                self._faults.check("read")
                yield batch

    @override
    async def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        self._faults.check("bounds")
        return await self._inner.bounds(topic, partition)

    @override
    async def committed(self, group: str, topic: Topic, partition: int) -> Place | None:
        self._faults.check("committed")
        return await self._inner.committed(group, topic, partition)

    @override
    async def commit(self, group: str, topic: Topic, places: dict[int, Place]) -> None:
        self._faults.check("commit")
        await self._inner.commit(group, topic, places)

    @override
    async def share(
        self, topic: Topic, group: str, work: Callable[[int], Coroutine[Any, Any, None]]
    ) -> None:
        await self._inner.share(topic, group, work)

    @override
    async def release(self, topic: Topic, partition: int, before: int) -> None:
        await self._inner.release(topic, partition, before)

    @override
    async def trim(self) -> None:
        await self._inner.trim()

    @override
    async def offset_at(self, topic: Topic, partition: int, at_ms: int) -> int:
        return await self._inner.offset_at(topic, partition, at_ms)

    @override
    async def close(self) -> None:
        await self._inner.close()


class FaultyConfiguration(Configuration):
    def __init__(self, inner: Configuration, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    @override
    async def get(self, name: str) -> Document:
        return await self._inner.get(name)

    @override
    async def put(self, name: str, value: Mapping[str, Any], *, expected: int, by: str) -> Document:
        return await self._inner.put(name, value, expected=expected, by=by)

    @override
    async def restore(self, document: Document) -> bool:
        return await self._inner.restore(document)

    @override
    async def past(self, name: str, limit: int = 20) -> list[Document]:
        return await self._inner.past(name, limit)

    @override
    async def watch(self, name: str) -> AsyncGenerator[Document]:
        async with aclosing(self._inner.watch(name)) as documents:
            async for document in documents:
                await self._faults.watching.wait()
                self._faults.check("watch")
                yield document

    @override
    async def close(self) -> None:
        await self._inner.close()


@dataclass
class Cluster:
    """A log, a history, and messaging servers that come and go."""

    parts: Parts
    stack: AsyncExitStack
    servers: dict[str, Instance] = field(default_factory=dict)
    faults: dict[str, Faults] = field(default_factory=dict)

    async def start_connect(self) -> str:
        """Start a connect server; its URL."""
        started = await self.stack.enter_async_context(connect(self.parts, "connect"))
        return f"http://{started.address}"

    async def start(self, server_id: str) -> Faults:
        """Start a messaging server, which stays for the whole test. At its end nobody is there to
        give its partitions to others, so they are given to nobody.
        """
        faults = self.faults[server_id] = Faults()
        self.servers[server_id] = await self.stack.enter_async_context(
            messaging(self.parts_with(faults), server_id)
        )
        self.stack.push_async_callback(self.put_assignment, {})
        return faults

    def parts_with(self, faults: Faults) -> Parts:
        return replace(
            self.parts,
            backplane=FaultyBackplane(self.parts.backplane, faults),
            configuration=FaultyConfiguration(self.parts.configuration, faults),
        )

    async def assign(self, *server_ids: str) -> None:
        """Partition 0 to the first, and so on, from the first again where they are fewer."""
        await self.put_assignment(
            {str(p): server_ids[p % len(server_ids)] for p in range(PARTITIONS)}
        )

    async def put_assignment(self, owners: Mapping[str, Any]) -> None:
        await write_document(self.parts.configuration, ASSIGNMENT, owners)

    def token(self, user: str) -> str:
        return mint(SECRET, user, 3_600)

    def stream(
        self, server_id: str, user: str, position: Position | None = None
    ) -> AbstractAsyncContextManager[Stream]:
        return streams.caught_up(self.servers[server_id].address, self.token(user), position)


def user_on(partition: int, name: str = "user") -> str:
    """A user id that lives on that partition."""
    return next(
        user for n in range(1_000) if partition_of(user := f"{name}{n}", PARTITIONS) == partition
    )


@asynccontextmanager
async def _keys(chosen: Settings) -> AsyncIterator[KeyRing]:
    """Keys of a system that seals no texts, so that a test can look at what is stored."""
    async with build.keys(chosen) as keys:
        yield KeyRing(keys, keys_secret(chosen))


@asynccontextmanager
async def cluster(
    folder: Path, kafka: str = "", *, materializes: bool = True, **others: Any
) -> AsyncIterator[Cluster]:
    """Everything but the log is embedded; that is on Kafka, in a namespace of its own, where its
    address is given. `others`: settings.
    """
    namespace = f"t{uuid.uuid4().hex[:12]}"
    chosen = settings(folder, partitions=PARTITIONS, kafka=kafka, namespace=namespace, **others)
    async with AsyncExitStack() as stack:
        if kafka:
            stack.push_async_callback(remove, KafkaSettings(kafka, namespace=namespace))
        parts = Parts(
            settings=chosen,
            keys=await stack.enter_async_context(_keys(chosen)),
            backplane=await stack.enter_async_context(build.backplane(chosen)),
            signals=await stack.enter_async_context(build.signals(chosen)),
            history=await stack.enter_async_context(build.history(chosen)),
            files=await stack.enter_async_context(build.files(chosen)),
            search=await stack.enter_async_context(build.search(chosen)),
            moderation=await stack.enter_async_context(build.moderation(chosen)),
            silences=None,
            configuration=await stack.enter_async_context(build.configuration(chosen)),
            discovery=await stack.enter_async_context(build.discovery(chosen)),
            verifier=Verifier(secret=SECRET),
            operators=operators.operators(),
        )
        await write_document(parts.configuration, CONFIGURATION, QUICK)
        if materializes:
            await stack.enter_async_context(materialize(parts, "materialize"))
        await stack.enter_async_context(history(parts, "history"))
        yield Cluster(parts, stack)
