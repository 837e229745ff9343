"""The texts of one session: what its user writes is sealed, and what it is told is opened."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cecochat.domain.errors import Unavailable
from cecochat.domain.session import intake
from cecochat.domain.session.frames import Chunk
from cecochat.domain.session.session import Session
from cecochat.sealing.cipher import UserKey
from cecochat.sealing.keyring import KeyRing
from cecochat.sealing.opening import Opening
from cecochat.servers.messaging.refusals import keys_away
from cecochat.uploads.receipts import Receipts
from cecochat.v1.messaging_pb2 import Send

log = logging.getLogger(__name__)


class Texts:
    """Seals and opens the texts of one session."""

    def __init__(
        self, session: Session, keys: KeyRing, opening: Opening, receipts: Receipts
    ) -> None:
        self._session = session
        self._keys = keys
        self._opening = opening
        self._receipts = receipts
        self._key: UserKey | None = None

    async def begin(self) -> None:
        """Get the key of this user before anything is taken, so that no send waits for it. Raises
        `Refusal`.
        """
        try:
            self._key = await self._keys.own(self._session.user_id)
        except Unavailable as error:
            self._log(error)
            raise keys_away() from None

    def seal(self, send: Send) -> None:
        """Check what only the plain send shows, and the receipts of what it carries, and seal it.
        Raises `Refusal`.
        """
        intake.check_plain(send)
        self._receipts.check(self._session.user_id, send)
        if self._key:
            self._key.seal(send)

    async def opened(self, chunks: Sequence[Chunk]) -> bytes:
        """Return the frame that these chunks make, with its texts. If they cannot be opened now,
        end the session, whose client comes back for them, and return nothing.
        """
        try:
            return await self._opening.frame(chunks)
        except Unavailable as error:
            self._log(error)
            self._session.cut(keys_away())
            return b""

    def _log(self, error: Unavailable) -> None:
        log.warning("a session is sent away: %s", error, extra={"session_id": self._session.id})
