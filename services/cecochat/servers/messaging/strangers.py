"""Refuses what users write to those who have not answered, above a number of messages."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import ChatId, UserId, authorise, chat_id
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.ownership.owner import Owner
from cecochat.internal.client import InternalClient
from cecochat.internal.v1.internal_pb2 import Contact, Contacted
from cecochat.ports.backplane import Log
from cecochat.ports.discovery import Instance
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import ReadToken, Send

log = logging.getLogger(__name__)

ASK_S: Final = 1.0
"""How long a send waits for the history."""
PAUSE_S: Final = 0.05
"""How long it is left to catch up before it is asked again."""
FRESH_S: Final = 1.0
"""How long it may take until an acceptance that the history has is in force."""
AWAY_S: Final = 5.0
"""How long the history is not asked about a dialog after it did not answer."""
COUNTED_S: Final = 10.0
"""After that, a send that was counted was accepted, or refused for another reason."""
KNOWN_MAX: Final = 50_000


@dataclass(slots=True)
class _Dialog:
    """What is known of a user who writes in a dialog."""

    user_id: UserId
    chat_id: ChatId
    other_id: UserId
    counted: dict[str, float] = field(default_factory=dict)  # client message id -> when
    is_known: bool = False  # whether the history has said what was written before
    is_answered: bool = False
    none_below: Place = NOWHERE  # no answer is below this place of the other user's partition,
    none_until_s: float = 0.0  # and until then nobody looks whether they have accepted
    away_until_s: float = 0.0

    def take_in(self, said: Contacted, now_s: float) -> None:
        """Take in what the history says. What was counted long ago and is not there was refused for
        another reason.
        """
        self.is_known, self.is_answered = True, said.is_answered
        known = dict.fromkeys(said.client_message_ids, now_s)
        late = {id_: at_s for id_, at_s in self.counted.items() if now_s - at_s < COUNTED_S}
        self.counted = known | late

    def count(self, id_: str, limit: int, now_s: float) -> bool:
        """Count a message, unless there are too many. Returns whether it may be written."""
        if id_ not in self.counted and len(self.counted) >= limit:
            return False
        self.counted.setdefault(id_, now_s)
        return True


@dataclass(slots=True)
class _Batch:
    """Sends that came together. Once the history has not answered one in time, the others do not
    wait for it.
    """

    owner: Owner
    limit: int
    is_late: bool = False


class Strangers:
    """Knows who was answered, and counts what the others write. While the history does not answer,
    nobody is refused. Its client has tokens with the scope `pass_on`, and `histories` returns the
    live history servers.
    """

    def __init__(
        self,
        client: InternalClient,
        histories: Callable[[], Sequence[Instance]],
        of: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._histories = histories
        self._log = of
        self._clock = clock
        self._dialogs: OrderedDict[tuple[UserId, ChatId], _Dialog] = OrderedDict()
        self._turn = 0
        self._quiet_until_s = 0.0

    async def refused(
        self, owner: Owner, user_id: UserId, sends: Sequence[Send], limit: int
    ) -> dict[str, Refusal]:
        """Return which of these sends, which are new, are refused, by their client message ids.
        `owner` is that of the user's partition. A user may write `limit` messages to somebody who
        does not answer; 0: any number.
        """
        request = _Batch(owner, limit)
        refused: dict[str, Refusal] = {}
        for send in sends if limit else ():
            dialog, id_ = self._dialog(user_id, send), send.client_message_id
            if dialog and not await self._may_write(dialog, id_, request):
                refused[id_] = _stranger(limit)
        return refused

    def _dialog(self, user_id: UserId, send: Send) -> _Dialog | None:
        """Return the dialog in which a message is written; None: it is no message in a dialog of
        that user.
        """
        if not send.HasField("message"):
            return None
        try:
            chat = chat_id(send.chat_id)
            (other,) = authorise(user_id, chat)
        except Refusal:
            return None  # of a group, or it is refused for that
        known = self._dialogs.setdefault((user_id, chat), _Dialog(user_id, chat, other))
        self._dialogs.move_to_end((user_id, chat))
        if len(self._dialogs) > KNOWN_MAX:
            self._dialogs.popitem(last=False)
        return known

    async def _may_write(self, dialog: _Dialog, id_: str, request: _Batch) -> bool:
        if not dialog.is_known:
            await self._ask(dialog, request, None)
        if dialog.is_answered or dialog.count(id_, request.limit, self._clock()):
            return True
        high = self._high(dialog, request.owner)
        if high == dialog.none_below and self._clock() < dialog.none_until_s:
            return False
        if not await self._ask(dialog, request, high):
            return True
        dialog.none_below, dialog.none_until_s = high, self._clock() + FRESH_S
        return dialog.is_answered or dialog.count(id_, request.limit, self._clock())

    def _high(self, dialog: _Dialog, owner: Owner) -> Place:
        """Return up to where all that the other user wrote was read here: this user's devices have
        been told of no later answer.
        """
        partition = self._log.partition_of(dialog.other_id)
        return owner.place if partition == owner.partition else owner.fold.high_of(partition)

    async def _ask(self, dialog: _Dialog, request: _Batch, high: Place | None) -> bool:
        """Ask a history server that has all of the other user's partition up to `high`, if it is
        given. Returns whether one has answered.
        """
        if request.is_late or self._clock() < dialog.away_until_s:
            return False
        contact = Contact(user_id=dialog.user_id, chat_id=dialog.chat_id, limit=request.limit)
        if high and high.offset >= 0:
            partition = self._log.partition_of(dialog.other_id)
            offsets, clocks = {partition: high.offset}, {partition: high.clock_ms}
            contact.token.CopyFrom(ReadToken(log_id=self._log.id, offsets=offsets, clocks=clocks))
        try:
            async with asyncio.timeout(ASK_S):
                dialog.take_in(await self._said(contact), self._clock())
        except TimeoutError:
            request.is_late = True
            dialog.away_until_s = self._clock() + AWAY_S
            self._warn()
            return False
        return True

    async def _said(self, contact: Contact) -> Contacted:
        while True:
            live = self._histories()
            self._turn += 1
            if live:
                server = live[self._turn % len(live)]
                if said := await self._client.contact(server, contact):
                    return said
            await asyncio.sleep(PAUSE_S)

    def _warn(self) -> None:
        if self._clock() >= self._quiet_until_s:
            self._quiet_until_s = self._clock() + AWAY_S
            log.warning(
                "the history does not say in time who was answered: nobody is refused as a stranger"
            )


def _stranger(limit: int) -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_STRANGER,
        f"you have written {limit} message{'s' * (limit != 1)} to a user who has not answered: "
        "wait for an answer",
    )
