"""Opens sealed texts for those who may read them. All else goes through as it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from cecochat.domain.changes.texts import SEALED_TAG, attached, said
from cecochat.domain.cluster.revocations import Revocations
from cecochat.domain.log.ids import UserId
from cecochat.domain.session.frames import Chunk
from cecochat.sealing.keyring import Found, KeyRing
from cecochat.v1.events_pb2 import Attachment, Event
from cecochat.v1.messaging_pb2 import ServerFrame

log = logging.getLogger(__name__)

REMEMBERED_S = 30.0
REMEMBERED_BYTES = 2 << 20


class Opening:
    """Opens events, and what is queued for sessions, with the keys of a ring."""

    def __init__(self, ring: KeyRing, clock: Callable[[], float] = time.monotonic) -> None:
        self._ring = ring
        self._opened = Remembered(clock)
        self._revoked = Revocations()

    async def events(self, *lists: Sequence[bytes]) -> list[list[bytes]]:
        """Return these lists of serialized events with their texts. Raises `Unavailable`."""
        found = (each for events in lists for each in events if SEALED_TAG in each)
        sealed = {each: Event.FromString(each) for each in found}
        keys = await self._keys(sealed.values()) if sealed else {}
        opened = {each: _opened(event, keys) for each, event in sealed.items()}
        return [[opened.get(each, each) for each in events] for events in lists]

    async def frame(self, chunks: Sequence[Chunk]) -> bytes:
        """Return the frame that these chunks make, with its texts. What is opened for one session
        is remembered for the others. Raises `Unavailable`.
        """
        frame = b"".join(chunks)
        if SEALED_TAG not in frame:
            return frame
        found = {each: self._opened.find(each) for each in chunks if SEALED_TAG in each}
        if new := {each: ServerFrame.FromString(each) for each in found if not found[each]}:
            keys = await self._keys(parsed.items[0].delivered.event for parsed in new.values())
            for chunk, parsed in new.items():
                _open(parsed.items[0].delivered.event, keys)
                found[chunk] = self._opened.add(chunk, parsed.SerializeToString())
        return b"".join([found.get(each) or each for each in chunks])

    def follow(self, revoked: Revocations) -> None:
        """Forget the keys of those whose tokens were revoked since the last call: they may have
        been erased. Revoking a single login forgets none.
        """
        before, self._revoked = self._revoked, revoked
        if revoked.everyone_ms != before.everyone_ms:
            self.forget()
        elif users := dict(revoked.users.items() - before.users.items()):
            self.forget(map(UserId, users))

    def forget(self, user_ids: Iterable[UserId] | None = None) -> None:
        """Forget the keys of these users, or all of them, and all texts."""
        self._ring.forget(user_ids)
        self._opened.forget()

    async def _keys(self, events: Iterable[Event]) -> Found:
        return await self._ring.of({UserId(event.user_id) for event in events})


def _opened(event: Event, keys: Found) -> bytes:
    _open(event, keys)
    return event.SerializeToString()


def _open(event: Event, keys: Found) -> None:
    """Put the text of an event in place of the sealed one, or mark it as erased. Attachments are
    told with their text, or not at all.
    """
    _open_text(event, keys)
    if not all(_open_attachment(event, each, keys) for each in attached(event)):
        event.message.erased = True
        event.message.ClearField("text")
    if event.message.erased:
        del event.message.mentions[:], event.message.attachments[:]


def _open_text(event: Event, keys: Found) -> None:
    body = said(event)
    if body is None or not body.sealed:
        return
    text = _text(event, body.sealed, keys)
    body.ClearField("sealed")
    if text is None:
        body.erased = True
        del body.mentions[:]
    else:
        body.text = text


def _open_attachment(event: Event, attachment: Attachment, keys: Found) -> bool:
    """Return whether the attachment can be told, which is also so if it is not sealed."""
    key = keys.get(UserId(event.user_id))
    return not attachment.sealed or bool(key and key.open_attachment(event, attachment))


def _text(event: Event, sealed: bytes, keys: Found) -> str | None:
    """Return the text; None: it is gone. If nobody was erased, an operator has to know."""
    user_id = UserId(event.user_id)
    if user_id not in keys:
        log.error("%s has no key any more: nobody can read what they wrote", user_id)
    if (key := keys.get(user_id)) is None:
        return None
    if (text := key.open(event, sealed)) is None:
        log.error("the text of the event %s is not what %s wrote there", event.id, user_id)
    return text


class Remembered:
    """Opened chunks by chunk, for at most twice `REMEMBERED_S` and `REMEMBERED_BYTES`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._young: dict[Chunk, bytes] = {}
        self._old: dict[Chunk, bytes] = {}
        self._bytes = 0  # of the young
        self._since_s = clock()

    def find(self, chunk: Chunk) -> bytes | None:
        """Return a chunk as it was opened, if that is still known."""
        self._turn()
        return self._young.get(chunk) or self._old.get(chunk)

    def add(self, chunk: Chunk, opened: bytes) -> bytes:
        """Remember a chunk as it was opened, and return that."""
        self._young[chunk] = opened
        self._bytes += len(chunk) + len(opened)
        self._turn()
        return opened

    def forget(self) -> None:
        """Forget all of them."""
        self._young, self._old, self._bytes = {}, {}, 0

    def _turn(self) -> None:
        """Forget the old ones, and take the young for old, once it is time. A long pause makes both
        too old.
        """
        now_s = self._clock()
        aged_s = now_s - self._since_s
        if aged_s < REMEMBERED_S and self._bytes < REMEMBERED_BYTES:
            return
        self._old = self._young if aged_s < 2 * REMEMBERED_S else {}
        self._young, self._bytes, self._since_s = {}, 0, now_s
