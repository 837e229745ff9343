"""Keys of users in a store that can stop to answer."""

from __future__ import annotations

from collections.abc import Collection

from typing_extensions import override

from cecochat.adapters.embedded.keys import EmbeddedKeys
from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import UserId


class SilentKeys(EmbeddedKeys):
    """It counts how often it was asked for keys."""

    is_silent = False
    asked = 0

    @override
    async def get(self, user_ids: Collection[UserId]) -> dict[UserId, bytes | None]:
        self.asked += 1
        if self.is_silent:
            raise Unavailable("the test says so")
        return await super().get(user_ids)
