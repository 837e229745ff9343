"""Tokens that hold no more although they have not expired: those of a user, of one login of a user
(the claim `sid`), or of everybody, that were issued before a time.

The document is `{"everyone": MS, "users": {USER: MS}, "logins": {USER: {SID: MS}}}`, where MS are
ms since 1970 and each part may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cecochat.domain.errors import Invalid, InvalidSettings, Refusal
from cecochat.domain.log.ids import user_id
from cecochat.v1 import errors_pb2

ENTRIES_MAX = 5_000
SID_MAX_BYTES = 128
CLOCKS_APART_MS = 60_000  # of the machine that asks, and of the one that stores
_TIME_MAX_MS = 1 << 50
_PARTS = frozenset({"everyone", "users", "logins"})


class Revocation(NamedTuple):
    """`user` empty: everybody. `sid` empty: all logins of the user."""

    user: str
    sid: str
    before_ms: int


@dataclass(frozen=True, slots=True)
class Revocations:
    """All that are in force."""

    everyone_ms: int = 0
    users: Mapping[str, int] = field(default_factory=dict)
    logins: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def before_ms(self, user: str, sid: str) -> int:
        """A token of that login holds only if it was issued at that time or later."""
        of_user, of_login = self.users.get(user, 0), self.logins.get((user, sid), 0)
        return max(self.everyone_ms, of_user, of_login)

    def __len__(self) -> int:
        return len(self.users) + len(self.logins) + bool(self.everyone_ms)

    def entries(self) -> list[Revocation]:
        """By user and login."""
        everyone = [Revocation("", "", self.everyone_ms)] if self.everyone_ms else []
        users = [Revocation(user, "", before_ms) for user, before_ms in self.users.items()]
        logins = [Revocation(*login, before_ms) for login, before_ms in self.logins.items()]
        return sorted([*everyone, *users, *logins])


def parse(document: Any) -> Revocations:
    """What the document says. Raises `InvalidSettings`."""
    if not isinstance(document, Mapping) or not _PARTS.issuperset(document):
        raise InvalidSettings(
            f"the revocations are {document!r:.80}: use an object of everyone, users and logins"
        )
    logins = _of_users("logins", document.get("logins", {}))
    return Revocations(
        _time_ms("everyone", document.get("everyone", 0)),
        {user: _time_ms(user, ms) for user, ms in _of_users("users", document.get("users", {}))},
        {
            (user, sid): _time_ms(sid, ms)
            for user, sids in logins
            for sid, ms in _object("logins", sids).items()
        },
    )


def _of_users(part: str, value: Any) -> list[tuple[str, Any]]:
    try:
        return [(user_id(user), each) for user, each in _object(part, value).items()]
    except Refusal as refusal:
        raise InvalidSettings(f"{part} of the revocations: {refusal.message}") from None


def _object(part: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidSettings(f"{part} of the revocations is {value!r:.80}: use an object")
    return value


def _time_ms(name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _TIME_MAX_MS:
        return value
    raise InvalidSettings(f"{name!r:.80} is revoked before {value!r:.80}: use ms since 1970")


def with_one(
    current: Revocations, wanted: Revocation, *, now_ms: int, lifetime_max_s: int
) -> Revocations:
    """With one more, and without those that bar nothing any more: no token lives longer than
    `lifetime_max_s`, so what was issued before an older time has expired. Raises `Refusal`.
    """
    _check(wanted, now_ms)
    oldest_ms = now_ms - lifetime_max_s * 1_000
    kept = [each for each in current.entries() if each.before_ms > oldest_ms]
    made = _made([*kept, wanted])
    if len(made) > ENTRIES_MAX:
        raise Refusal(
            errors_pb2.ERROR_CODE_TOO_LARGE,
            f"{ENTRIES_MAX} revocations are in force, as many as may be: revoke the tokens of "
            "everyone at once, or lower tokens.lifetime_max_s, after which older ones go",
        )
    return made


def _check(wanted: Revocation, now_ms: int) -> None:
    if wanted.user:
        user_id(wanted.user)
    if not wanted.user and wanted.sid:
        raise Invalid("a login is one of a user: name the user too")
    if len(wanted.sid.encode()) > SID_MAX_BYTES:
        raise Invalid(f"the sid has over {SID_MAX_BYTES} bytes: no token has such a one")
    if not 0 < wanted.before_ms <= now_ms + CLOCKS_APART_MS:
        raise Invalid(
            "tokens are revoked that were issued before some time: it cannot be in the future"
        )


def _made(entries: list[Revocation]) -> Revocations:
    """The latest of each, without those that a wider one covers."""
    everyone_ms = max((each.before_ms for each in entries if not each.user), default=0)
    users: dict[str, int] = {}
    logins: dict[tuple[str, str], int] = {}
    for user, sid, before_ms in entries:
        if user and not sid and before_ms > everyone_ms:
            users[user] = max(users.get(user, 0), before_ms)
    for user, sid, before_ms in entries:
        if sid and before_ms > max(everyone_ms, users.get(user, 0)):
            logins[user, sid] = max(logins.get((user, sid), 0), before_ms)
    return Revocations(everyone_ms, users, logins)


def document(revocations: Revocations) -> dict[str, Any]:
    """As it is stored."""
    logins: dict[str, dict[str, int]] = {}
    for (user, sid), before_ms in revocations.logins.items():
        logins.setdefault(user, {})[sid] = before_ms
    return {
        "everyone": revocations.everyone_ms,
        "users": dict(revocations.users),
        "logins": logins,
    }
