"""Asks whether there is a hold, anew each time, before something is destroyed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from cecochat.documents.follow import Following, valid
from cecochat.domain.cluster import holds
from cecochat.domain.cluster.holds import Holds
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.domain.log.ids import ChatId, UserId, is_group
from cecochat.ports.configuration import HOLDS, Configuration
from cecochat.ports.history import History

PAGE = 500


class KnownHolds:
    """The holds, as the store of documents has them now."""

    def __init__(self, configuration: Configuration, history: History) -> None:
        self._configuration = configuration
        self._history = history
        self._version = 0  # the highest that was seen

    async def follow(self, following: Following, changed: Callable[[], None]) -> None:
        """Remember the document, so that its store can get it back, and call `changed` with each
        version, until cancelled.
        """
        async with aclosing(valid(following, HOLDS, holds.parse)) as versions:
            async for version, _ in versions:
                self.at_least(version)
                changed()

    def at_least(self, version: int) -> None:
        """Note that the document has been in this version: if the store has a lower one, it has
        lost it.
        """
        self._version = max(self._version, version)

    async def now(self) -> Holds:
        """Return the holds. Raises `Unavailable`, also if the store has lost or spoiled them:
        nothing may be destroyed then.
        """
        document = await self._configuration.get(HOLDS)
        if document.version < self._version:
            raise Unavailable(
                f"the store of documents has lost the holds: it has version {document.version} of "
                f"them, and {self._version} is known. Nothing is destroyed until control has "
                "restored them"
            )
        self._version = document.version
        try:
            return holds.parse(document.value)
        except InvalidSettings as error:
            raise Unavailable(str(error)) from error

    async def cover(self, chat_id: ChatId) -> bool:
        """Return whether nothing that was said in a chat may be destroyed: it is on hold, or
        somebody is who takes part in it or did. Raises `Unavailable`.
        """
        return await self._covered(await self.now(), chat_id)

    async def on(self, user_id: UserId) -> list[str]:
        """Return what is on hold of what a user wrote: the user, or else chats of theirs. Raises
        `Unavailable`.
        """
        now = await self.now()
        if user_id in now.holds or not now.holds:
            return [user_id] if user_id in now.holds else []
        found, after, has_more = list[str](), "", True
        while has_more:
            rows, has_more = await self._history.chats_by_id(user_id, after=after, limit=PAGE)
            for row in rows:
                after = row.chat_id
                if await self._covered(now, row.chat_id):
                    found.append(row.chat_id)
        return found

    async def _covered(self, now: Holds, chat_id: ChatId) -> bool:
        if now.name(chat_id):
            return True
        users = now.users() if is_group(chat_id) else ()
        for each in users:
            if await self._history.groups.seen(each, chat_id):
                return True
        return False
