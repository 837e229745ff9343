"""Seals what users say in reports with their keys, so that it goes with these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cecochat.domain.log.ids import UserId
from cecochat.domain.moderation.reports import Report
from cecochat.sealing.keyring import KeyRing

PLAIN: Final = b"p"
SEALED: Final = b"s"


class ReportTexts:
    """Seals and opens the texts of reports with the keys of a ring."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    async def sealed(self, user_id: UserId, text: str, report_id: str) -> bytes:
        """Return a text as a report has it. Raises `Unavailable`, and `Refusal` if the user was
        erased.
        """
        key = await self._ring.own(user_id)
        if not text:
            return b""
        if key is None:  # this system seals nothing
            return PLAIN + text.encode()
        return SEALED + key.seal_report(text, report_id)

    async def opened(self, reports: Iterable[Report]) -> dict[str, str]:
        """Return the texts of these reports by report id, without those that nobody can read.
        Raises `Unavailable`.
        """
        kept = [each for each in reports if each.text]
        sealed = {each.reporter_id for each in kept if each.text.startswith(SEALED)}
        keys = await self._ring.of(sealed) if sealed else {}
        found: dict[str, str] = {}
        for each in kept:
            key = keys.get(each.reporter_id)
            if each.text.startswith(PLAIN):
                found[each.id] = each.text[1:].decode()
            elif key and (text := key.open_report(each.text[1:], each.id)) is not None:
                found[each.id] = text
        return found
