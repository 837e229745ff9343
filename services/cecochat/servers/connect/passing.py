"""Passes sends of the product's back end on to the owners of the partitions that accept them.

Whatever fails on the way, a send is tried again until it is known what became of it, or until the
caller has waited long enough.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import app_of
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.ownership.asks import Known
from cecochat.domain.ownership.calls import Called, Unsure
from cecochat.internal.client import InternalClient
from cecochat.internal.v1.internal_pb2 import Queried, Query, Sought, SoughtSend
from cecochat.ports.discovery import Instance
from cecochat.servers.connect.pace import Pace
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import ReadToken

TRY_S = 8.0
"""How long tries of a send begin after its first one."""
PAUSE_S = 0.1
AT_ONCE = 12  # sends: those of users go between, at each step of their way
ASK_S = 12.0  # an owner waits for room, and then for its records
RETRY_MS = 1_000


@dataclass(slots=True)
class Passed:
    """A send on its way, the partition that accepts it, and what has become of it."""

    called: Called
    partition: int
    message_id: int = 0
    refusal: Refusal | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is known yet."""
        return not self.message_id and self.refusal is None


class Passing:
    """Reaches the other servers for the calls of the back end. `owner_of` returns the live server
    of a partition, and `histories` the live history servers.
    """

    def __init__(
        self,
        client: InternalClient,
        owner_of: Callable[[int], Instance | None],
        histories: Callable[[], Sequence[Instance]],
        log_id: str,
    ) -> None:
        self._client = client
        self._owner_of = owner_of
        self._histories = histories
        self._log_id = log_id
        self._turn = 0
        self.pace = Pace()

    async def send(self, sends: Sequence[Passed]) -> ReadToken:
        """Settle all of these sends. Returns a token for all that was accepted. Raises `Refusal` if
        too many wait.
        """
        is_small = len(sends) <= AT_ONCE  # it goes between the parts of large ones
        if not is_small:
            self.pace.check(app_of(sends[0].called.user_id))
        by_partition: defaultdict[int, list[Passed]] = defaultdict(list)
        for each in sends:
            by_partition[each.partition].append(each)
        token = ReadToken(log_id=self._log_id)
        async with asyncio.TaskGroup() as group:
            for partition, some in by_partition.items():
                group.create_task(self._settle(partition, some, token, paced=not is_small))
        return token

    async def _settle(
        self, partition: int, sends: Sequence[Passed], token: ReadToken, *, paced: bool
    ) -> None:
        """Settle these sends in order. After one of which nothing is known, none is tried: it would
        overtake that one, and the owner is away.
        """
        for first in range(0, len(sends), AT_ONCE):
            some = sends[first : first + AT_ONCE]
            if paced:
                await self.pace.wait(app_of(some[0].called.user_id), len(some))
            await self._settle_some(partition, some, token)
            if any(each.is_open for each in some):
                break
        for each in sends:
            if each.is_open:
                each.refusal = _unknown()

    async def _settle_some(self, partition: int, sends: Sequence[Passed], token: ReadToken) -> None:
        until_s = time.monotonic() + TRY_S
        while (left := [each for each in sends if each.is_open]) and time.monotonic() < until_s:
            if not await self._try(partition, left, token):
                await asyncio.sleep(PAUSE_S)

    async def _try(self, partition: int, sends: Sequence[Passed], token: ReadToken) -> bool:
        """Try these sends, and return whether any of them got on."""
        owner = self._owner_of(partition)
        called = [each.called for each in sends]
        decisions = await self._client.call(owner, partition, called) if owner else None
        unsure: list[Passed] = []
        at = NOWHERE
        for each, decision in zip(sends, decisions or (), strict=False):
            match decision:
                case Known(id_, place):
                    each.message_id = id_
                    _raise(token, partition, place)
                case Refusal():
                    each.refusal = decision
                case Unsure(place):
                    _raise(token, partition, place)
                    unsure.append(each)
                    at = place
        return await self._seek(partition, unsure, at) or len(unsure) < len(decisions or ())

    async def _seek(self, partition: int, sends: Sequence[Passed], at: Place) -> bool:
        """Look in the history for sends that may have been accepted up to a place. Returns whether
        it has told that.
        """
        history = self._history() if sends else None
        if history is None:
            return False
        token = ReadToken(log_id=self._log_id)
        _raise(token, partition, at)
        wanted = [_sought(each.called) for each in sends]
        found = await self._client.seek(history, Sought(token=token, sends=wanted))
        for each, id_ in zip(sends, found or (), strict=False):
            if id_ > 0:
                each.message_id = id_
            elif id_ < 0:
                each.refusal = _unclear()
            else:
                each.called = each.called._replace(absent_up_to=at)
        return found is not None

    def place_in(self, token: ReadToken, partition: int) -> Place:
        """Return the place of a partition that a token names; `NOWHERE` if it is of another log."""
        if token.log_id != self._log_id or partition not in token.offsets:
            return NOWHERE
        return Place(token.clocks.get(partition, 0), token.offsets[partition])

    async def ask(self, query: Query) -> bytes:
        """Return what a history server answers a query, serialized. Raises `Refusal`, also if that
        server refuses.
        """
        said = await self.query(query)
        if said.WhichOneof("answer") == "refused":
            raise Refusal.of(said.refused)
        return said.response

    async def query(self, query: Query) -> Queried:
        """Have a history server answer a query. Raises `Refusal`."""
        for _ in range(max(1, len(self._histories()))):
            history = self._history()
            if history and (said := await self._client.query(history, query)):
                return said
        raise Refusal(
            errors_pb2.ERROR_CODE_UNAVAILABLE, "no history server answers: try again", RETRY_MS
        )

    def _history(self) -> Instance | None:
        """Return a history server. They take turns."""
        live = self._histories()
        self._turn += 1
        return live[self._turn % len(live)] if live else None


def _sought(called: Called) -> SoughtSend:
    return SoughtSend(
        user_id=called.user_id,
        chat_id=called.send.chat_id,
        client_message_id=called.send.client_message_id,
        after_id=called.after_id,
    )


def _raise(token: ReadToken, partition: int, place: Place) -> None:
    if place.offset > token.offsets.get(partition, -1):
        token.offsets[partition] = place.offset
        token.clocks[partition] = place.clock_ms


def _unknown() -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_UNAVAILABLE,
        "it is not known yet what became of this send: send it again with the same "
        "client_message_id",
        RETRY_MS,
    )


def _unclear() -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_CATCH_UP,
        "this may be a repeat, and the history has a hole where the first may be: look at the "
        "chat, and if it is not there, send it with a new client_message_id",
    )
