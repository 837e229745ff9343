"""The keys of users as servers use them: unwrapped, and remembered for a while."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from cryptography.exceptions import InvalidTag

from cecochat.domain.errors import InvalidSettings, Refusal, Unavailable
from cecochat.domain.log.ids import UserId
from cecochat.ports.keys import Erased, Keys
from cecochat.sealing.cipher import UserKey, Wrapping
from cecochat.v1 import errors_pb2

log = logging.getLogger(__name__)

FRESH_S = 60.0
"""How long a key is used without asking the store for it again."""
KNOWN_S = 3_600.0
"""How long it is used if the store does not answer, so that chat goes on meanwhile."""
ANSWER_S = 3.0
AGAIN_S = 5.0  # how long keys that are known are used before a silent store is asked again
HELD_MAX = 16_384

Found = dict[UserId, UserKey | None]
"""User id -> key, None if it was destroyed. Users without a key are left out."""


class _Held(NamedTuple):
    key: UserKey | None
    at_s: float


class KeyRing:
    """The keys of users. One for each process: what it remembers is bounded."""

    def __init__(
        self, keys: Keys, secret: bytes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys = keys
        self._wrapping = Wrapping(secret)
        self._clock = clock
        self._held: dict[UserId, _Held] = {}  # the one that was fetched last comes last
        self._damaged: set[UserId] = set()
        self._silent_until_s = 0.0
        self.seals = False

    async def begin(self) -> None:
        """See whether texts are sealed. Raises `Unavailable`, and `InvalidSettings` if the keys are
        wrapped with another secret.
        """
        self._follow(await self._keys.seals())

    async def start(self) -> None:
        """Have texts sealed from now on. Raises what `begin` raises."""
        self._follow(await self._keys.start_sealing(self._wrapping.check))

    def _follow(self, check: str) -> None:
        if check and check != self._wrapping.check:
            raise InvalidSettings(
                "the keys of users were wrapped with another secret: set CECOCHAT_KEYS_SECRET_FILE "
                "to the file with the one that it began with (docs/how-to/erase-a-user.md)"
            )
        self.seals = bool(check)

    async def own(self, user_id: UserId) -> UserKey | None:
        """Return the key with which to seal what a user writes, which is made if need be; None: it
        is not sealed. Raises `Refusal` if the user was erased, and `Unavailable`.
        """
        try:
            found = await self.of([user_id])
        except Unavailable:
            if self.seals:
                raise
            return None
        if not found and self.seals:
            found = {user_id: await self._made(user_id)}
        if user_id not in found:
            return None
        if user_id in self._damaged:
            raise Unavailable(f"the key of {user_id} is damaged")
        if (key := found[user_id]) is None:
            raise erased(user_id)
        return key

    async def of(self, user_ids: Collection[UserId]) -> Found:
        """Return the keys of users. Raises `Unavailable`."""
        now_s = self._clock()
        if stale := [each for each in user_ids if not self._has(each, now_s, FRESH_S)]:
            await self._fetch(stale, now_s)
        found = {each: self._held[each].key for each in user_ids if each in self._held}
        self._bound()
        return found

    async def gone(self, user_ids: Collection[UserId]) -> set[UserId]:
        """Return which of these users were erased. Raises `Unavailable`."""
        found = await self.of(user_ids)
        return {each for each, key in found.items() if key is None} - self._damaged

    async def erased(self) -> list[Erased]:
        """Return who was erased. Raises `Unavailable`."""
        return await self._keys.erased()

    def forget(self, user_ids: Iterable[UserId] | None = None) -> None:
        """Forget the keys of these users, or all of them, since one was destroyed."""
        for user_id in list(self._held) if user_ids is None else user_ids:
            self._held.pop(user_id, None)

    def _has(self, user_id: UserId, now_s: float, known_s: float) -> bool:
        held = self._held.get(user_id)
        return held is not None and now_s < held.at_s + known_s

    async def _fetch(self, user_ids: list[UserId], now_s: float) -> None:
        if now_s < self._silent_until_s and self._knows(user_ids, now_s):
            return
        try:
            async with asyncio.timeout(ANSWER_S):
                wrapped = await self._keys.get(user_ids)
        except (Unavailable, TimeoutError) as error:
            self._silent_until_s = now_s + AGAIN_S
            if self._knows(user_ids, now_s):
                return
            raise Unavailable(f"the keys of users cannot be read: {error}") from error
        for user_id in user_ids:
            self._held.pop(user_id, None)
            if user_id in wrapped:
                self._hold(user_id, wrapped[user_id], now_s)

    def _knows(self, user_ids: list[UserId], now_s: float) -> bool:
        return all(self._has(each, now_s, KNOWN_S) for each in user_ids)

    async def _made(self, user_id: UserId) -> UserKey | None:
        try:
            async with asyncio.timeout(ANSWER_S):
                stands = await self._keys.create(user_id, self._wrapping.new(user_id))
        except TimeoutError as error:
            raise Unavailable("the key of a user cannot be made: the store is silent") from error
        return self._hold(user_id, stands, self._clock())

    def _hold(self, user_id: UserId, wrapped: bytes | None, now_s: float) -> UserKey | None:
        """Remember a key. Texts of one that is damaged are shown like those of a destroyed one, so
        that it harms nobody else.
        """
        key = None
        self._damaged.discard(user_id)
        try:
            key = self._wrapping.unwrap(user_id, wrapped) if wrapped else None
        except InvalidTag:
            self._damaged.add(user_id)
            log.error("the key of %s is damaged: nobody can read what they wrote", user_id)
        self._held[user_id] = _Held(key, now_s)
        return key

    def _bound(self) -> None:
        while len(self._held) > HELD_MAX:
            del self._held[next(iter(self._held))]


def erased(user_id: UserId) -> Refusal:
    """Return the refusal of a user whose key was destroyed."""
    return Refusal(
        errors_pb2.ERROR_CODE_ERASED,
        f"{user_id} was erased and can never chat again: use another user id",
    )
