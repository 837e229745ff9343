"""Up to where the history is complete, for each partition of the log.

The rows of a round are written side by side, so a later message of a sender may be stored before an
earlier one. So messages are shown only up to the id up to which all messages of their partition are
stored.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
import struct
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from cassandra.query import BoundStatement

from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.holes import SHARD, read_holes
from cecochat.adapters.cassandra.statements import Statements
from cecochat.domain.log.ids import partition_in
from cecochat.domain.log.place import Place
from cecochat.ports.history import Hole, MessageRow, Progress

FRESH_S: Final = 0.1
"""How old an answer may be. An old answer shows less than there is, but never more."""

ID_MAX: Final = (1 << 63) - 1
PLACE: Final = struct.Struct(">qq")
"""Clock and offset in big-endian, so that for the database a greater place is a greater value."""


def rows_of(
    make: Statements,
    messages: Sequence[MessageRow],
    progress: Progress | None,
    holes: Sequence[Hole],
) -> Iterator[BoundStatement]:
    """The statements that note what was written. Lower values than those stored change nothing. A
    message that is known to be a hole counts as written.
    """
    if progress is None:
        return
    last_ids: dict[int, int] = {}
    for id_ in (
        *(row.message_id for row in messages),
        *(hole.last_id for hole in holes if hole.chat_id),
    ):
        partition = partition_in(id_)
        last_ids[partition] = max(id_, last_ids.get(partition, 0))
    for partition, last_id in last_ids.items():
        yield make.raise_last_id.bind((SHARD, partition, progress.log_id, last_id))
    place = PLACE.pack(progress.clock_ms, progress.offset)
    yield make.raise_progress.bind((SHARD, progress.partition, progress.log_id, place))


class Wholeness:
    """Reads the table `reached`, and remembers its content for a moment."""

    def __init__(self, database: Database, statements: Statements) -> None:
        self._database = database
        self._statements = statements
        self._last_ids: dict[int, int] = {}
        self._places: dict[str, dict[int, Place]] = {}
        self._holes: list[Hole] = []
        self._read_s = float("-inf")

    async def progress(self, log_id: str) -> dict[int, Place]:
        """Partition -> place, read from the database. Raises `Unavailable`."""
        await self._read()
        return self._places.get(log_id, {})

    async def last_ids(self) -> dict[int, int]:
        """Origin partition -> last id, read from the database. Raises `Unavailable`."""
        await self._read()
        return {partition: id_ for partition, id_ in self._last_ids.items() if id_ < ID_MAX}

    async def holes(self) -> list[Hole]:
        """Return the holes, read after what `shows` returned last was written. Raises
        `Unavailable`.
        """
        await self.shows()
        return self._holes

    def forget(self) -> None:
        """Forget what was read, since it has changed."""
        self._read_s = float("-inf")

    async def shows(self) -> Shown:
        """Return what may be shown now. Raises `Unavailable`."""
        if time.monotonic() - self._read_s > FRESH_S:
            await self._read()
        return Shown(self._last_ids)

    async def _read(self) -> None:
        begun_s, make = time.monotonic(), self._statements
        reached, old_progress = await asyncio.gather(
            self._database.run(make.reached.bind((SHARD,))),
            self._database.run(make.progress.bind(())),
        )
        holes = await read_holes(self._database, make)  # must come after what has gone past them
        last_ids: dict[int, int] = {}
        places: dict[str, dict[int, Place]] = defaultdict(dict)
        for log_id, partition, up_to in old_progress:
            places[log_id][partition] = Place(0, up_to)
        for partition, log_id, place, last_id in reached:
            if place is not None:
                places[log_id][partition] = Place(*PLACE.unpack(place))
            # There may be several logs. Ids grow with time, so the highest holds for all of them.
            last_ids[partition] = max(last_id or 0, last_ids.get(partition, 0))
        for _, partition, _ in old_progress:  # the first version kept no ids, so all is shown
            last_ids[partition] = last_ids.get(partition) or ID_MAX
        self._last_ids, self._places, self._holes = last_ids, places, holes
        self._read_s = begun_s


class Shown:
    """Says which messages may be shown: those for which `id_ in shown`."""

    def __init__(self, last_ids: dict[int, int]) -> None:
        self._last_ids = last_ids

    def __contains__(self, message_id: int) -> bool:
        return message_id <= self.up_to(partition_in(message_id))

    def up_to(self, partition: int) -> int:
        """Return the highest id of a partition that may be shown."""
        return self._last_ids.get(partition, 0)
