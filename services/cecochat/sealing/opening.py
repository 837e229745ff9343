"""Opens sealed texts for those who may read them, and takes out what is too old. All else goes
through as it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from cecochat.domain.changes.texts import SEALED_TAG, age_id, attached, blank, said
from cecochat.domain.cluster.retention import Retention
from cecochat.domain.cluster.revocations import Revocations
from cecochat.domain.log.ids import UserId, time_ms
from cecochat.domain.session.frames import Chunk
from cecochat.sealing.keyring import Found, KeyRing
from cecochat.v1.events_pb2 import Attachment, Event
from cecochat.v1.messaging_pb2 import ServerFrame

log = logging.getLogger(__name__)

NEVER_MS = 1 << 62
REMEMBERED_S = 30.0
REMEMBERED_BYTES = 2 << 20


class Opening:
    """Opens events, and what is queued for sessions, with the keys of a ring."""

    def __init__(
        self,
        ring: KeyRing,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._ring = ring
        self._opened = Remembered(clock)
        self._revoked = Revocations()
        self._retention = Retention()
        self._limits = False  # whether there is a rule that may make something too old
        self._now_ms = now_ms

    async def events(self, *lists: Sequence[bytes]) -> list[list[bytes]]:
        """Return these lists of serialized events with their texts. Raises `Unavailable`."""
        found = (each for events in lists for each in events if self._concerns(each))
        parsed = {each: Event.FromString(each) for each in found}
        keys = await self._keys(parsed.values()) if parsed else {}
        opened = {each: self._told(event, keys) for each, event in parsed.items()}
        return [[opened.get(each, each) for each in events] for events in lists]

    async def frame(self, chunks: Sequence[Chunk]) -> bytes:
        """Return the frame that these chunks make, with its texts. What is opened for one session
        is remembered for the others. Raises `Unavailable`.
        """
        frame = b"".join(chunks)
        if not self._concerns(frame):
            return frame
        now_ms = self._now_ms()
        found = {each: self._opened.find(each, now_ms) for each in chunks if self._concerns(each)}
        if new := {each: ServerFrame.FromString(each) for each in found if not found[each]}:
            events = {each: _delivered(parsed) for each, parsed in new.items()}
            keys = await self._keys(event for event in events.values() if event)
            for chunk, parsed in new.items():
                if event := events[chunk]:
                    self._tell(event, keys)
                    found[chunk] = opened = parsed.SerializeToString()
                    if SEALED_TAG in chunk:
                        self._opened.add(chunk, opened, self._until_ms(event))
        return b"".join([found.get(each) or each for each in chunks])

    def keep(self, retention: Retention) -> None:
        """Follow other rules of how long chats keep their messages."""
        self._retention = retention
        self._limits = retention.is_set
        self._opened.forget()

    def kept_from(self, chat_id: str) -> int:
        """Return the lowest id that a message of a chat may have now without being too old."""
        return self._retention.kept_from(chat_id, self._now_ms()) if self._limits else 0

    def follow(self, revoked: Revocations) -> None:
        """Forget the keys of those whose tokens were revoked since the last call: they may have
        been erased. If those of an app were, forget all keys. Revoking a single login forgets none.
        """
        before, self._revoked = self._revoked, revoked
        if revoked.everyone_ms != before.everyone_ms or revoked.apps.items() - before.apps.items():
            self.forget()
        elif users := dict(revoked.users.items() - before.users.items()):
            self.forget(map(UserId, users))

    def forget(self, user_ids: Iterable[UserId] | None = None) -> None:
        """Forget the keys of these users, or all of them, and all texts."""
        self._ring.forget(user_ids)
        self._opened.forget()

    def _concerns(self, raw: bytes) -> bool:
        """Return whether some bytes may hold what must not go out as it is."""
        return self._limits or SEALED_TAG in raw

    def _until_ms(self, event: Event) -> int:
        """Return until when what an event says is kept, in ms since 1970."""
        keep_s = self._retention.keep_s(event.chat_id)
        return time_ms(age_id(event)) + keep_s * 1_000 if keep_s else NEVER_MS

    def _told(self, event: Event, keys: Found) -> bytes:
        self._tell(event, keys)
        return event.SerializeToString()

    def _tell(self, event: Event, keys: Found) -> None:
        """Make of an event what is told: nothing of what is too old, or else its text."""
        if self._limits and age_id(event) < self.kept_from(event.chat_id):
            blank(event)
        else:
            _open(event, keys)

    async def _keys(self, events: Iterable[Event]) -> Found:
        """Return the keys that it takes to open these events."""
        users = {UserId(event.user_id) for event in events if _is_sealed(event)}
        return await self._ring.of(users) if users else {}


def _delivered(frame: ServerFrame) -> Event | None:
    """Return the event that the only item of a frame delivers; None: it delivers none."""
    item = frame.items[0]
    return item.delivered.event if item.HasField("delivered") else None


def _is_sealed(event: Event) -> bool:
    """Return whether it takes a key to tell an event."""
    body = said(event)
    return bool(body and body.sealed) or any(each.sealed for each in attached(event))


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
    """Opened chunks by chunk, for at most twice `REMEMBERED_S` and `REMEMBERED_BYTES`, each as long
    as what it says is kept.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._young: dict[Chunk, tuple[bytes, int]] = {}
        self._old: dict[Chunk, tuple[bytes, int]] = {}
        self._bytes = 0  # of the young
        self._since_s = clock()

    def find(self, chunk: Chunk, now_ms: int = 0) -> bytes | None:
        """Return a chunk as it was opened, if that is still known and kept."""
        self._turn()
        opened, until_ms = self._young.get(chunk) or self._old.get(chunk) or (None, 0)
        return opened if now_ms <= until_ms else None

    def add(self, chunk: Chunk, opened: bytes, until_ms: int = NEVER_MS) -> None:
        """Remember a chunk as it was opened, until a time in ms since 1970."""
        self._young[chunk] = opened, until_ms
        self._bytes += len(chunk) + len(opened)
        self._turn()

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
