"""Which tokens are revoked, although they have not expired: those of a user, of one login of a user
(the claim `sid`), of all users of an app, or of everybody, that were issued before a certain time.

The document is `{"everyone": MS, "apps": {APP: MS}, "users": {USER: MS}, "logins": {USER: {SID:
MS}}}`. MS are ms since 1970, and each part may be absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cecochat.domain.cluster.room import ENTRIES_MAX, has_room, most_of
from cecochat.domain.errors import Invalid, InvalidSettings, Refusal
from cecochat.domain.log.ids import app_name, app_of, user_id
from cecochat.v1 import errors_pb2

SID_MAX_BYTES = 128
CLOCKS_APART_MS = 60_000  # how far the clocks of who revokes and of who stores it may differ
_TIME_MAX_MS = 1 << 50
_PARTS = frozenset({"everyone", "apps", "users", "logins"})


class Revocation(NamedTuple):
    """Tokens that were issued before `before_ms` (ms since 1970) are revoked. An empty `user` means
    all users of the app, or everybody if that is empty, too; an empty `sid` all logins of the user.
    """

    user: str
    sid: str
    before_ms: int
    app: str = ""


@dataclass(frozen=True, slots=True)
class Revocations:
    """All revocations in force, in ms since 1970. `users` is by user id, `logins` by user id and
    `sid`, `apps` by name.
    """

    everyone_ms: int = 0
    users: Mapping[str, int] = field(default_factory=dict)
    logins: Mapping[tuple[str, str], int] = field(default_factory=dict)
    apps: Mapping[str, int] = field(default_factory=dict)

    def before_ms(self, user_id: str, sid: str) -> int:
        """Return the time, in ms since 1970, such that tokens of that login are revoked if they
        were issued before it.
        """
        of_user, of_login = self.users.get(user_id, 0), self.logins.get((user_id, sid), 0)
        return max(self.everyone_ms, self.apps.get(app_of(user_id), 0), of_user, of_login)

    def __len__(self) -> int:
        return len(self.users) + len(self.logins) + len(self.apps) + bool(self.everyone_ms)

    def entries(self) -> list[Revocation]:
        """Return all revocations, those of everybody and of apps first."""
        everyone = [Revocation("", "", self.everyone_ms)] if self.everyone_ms else []
        users = [Revocation(user, "", before_ms) for user, before_ms in self.users.items()]
        logins = [Revocation(*login, before_ms) for login, before_ms in self.logins.items()]
        apps = [Revocation("", "", before_ms, app) for app, before_ms in sorted(self.apps.items())]
        return [*everyone, *apps, *sorted([*users, *logins])]


def parse(document: Any) -> Revocations:
    """Read the revocations from their document. Raises `InvalidSettings`."""
    if not isinstance(document, Mapping) or not _PARTS.issuperset(document):
        raise InvalidSettings(
            f"the revocations are {document!r:.80}: use an object of everyone, apps, users and "
            "logins"
        )
    users, logins = _of("users", document, user_id), _of("logins", document, user_id)
    return Revocations(
        _time_ms("everyone", document.get("everyone", 0)),
        {user: _time_ms(user, ms) for user, ms in users},
        {
            (user, sid): _time_ms(sid, ms)
            for user, sids in logins
            for sid, ms in _object("logins", sids).items()
        },
        {app: _time_ms(app, ms) for app, ms in _of("apps", document, app_name)},
    )


def _of(
    part: str, document: Mapping[str, Any], checked: Callable[[str], str]
) -> list[tuple[str, Any]]:
    try:
        return [
            (checked(name), each) for name, each in _object(part, document.get(part, {})).items()
        ]
    except Refusal as refusal:
        raise InvalidSettings(f"{part} of the revocations is wrong: {refusal.message}") from None


def _object(part: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidSettings(f"{part} of the revocations is {value!r:.80}: use an object")
    return value


def _time_ms(name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _TIME_MAX_MS:
        return value
    raise InvalidSettings(f"{name!r:.80} is revoked before {value!r:.80}: use ms since 1970")


def with_one(
    current: Revocations,
    wanted: Revocation,
    *,
    now_ms: int,
    lifetime_max_s: int,
    is_bounded: bool = True,
) -> Revocations:
    """Return the current revocations with one more, and without those that are no longer needed: no
    token lives longer than `lifetime_max_s`, so the tokens that an older one revokes have expired.
    Raises `Refusal`, also if there are too many and it `is_bounded`.
    """
    _check(wanted, now_ms)
    oldest_ms = now_ms - lifetime_max_s * 1_000
    kept = [each for each in current.entries() if each.before_ms > oldest_ms]
    made = _made([*kept, wanted])
    users = [*made.users, *(user for user, _ in made.logins)]
    if is_bounded and wanted.user and not has_room(users, wanted.user):
        raise Refusal(
            errors_pb2.ERROR_CODE_TOO_LARGE,
            f"there is room for {most_of(wanted.user)} revocations of an app or of none, and for "
            f"{ENTRIES_MAX} in all: revoke the tokens of everyone or of the app at once, or lower "
            "tokens.lifetime_max_s, which drops the oldest",
        )
    return made


def _check(wanted: Revocation, now_ms: int) -> None:
    if wanted.user:
        user_id(wanted.user)
    if wanted.app:
        app_name(wanted.app)
    if wanted.user and wanted.app:
        raise Invalid("a user id has its app: leave out the app")
    if not wanted.user and wanted.sid:
        raise Invalid("a sid names one login of a user: name the user too")
    if len(wanted.sid.encode()) > SID_MAX_BYTES:
        raise Invalid(f"the sid has over {SID_MAX_BYTES} bytes, which no token's has: use its sid")
    if not 0 < wanted.before_ms <= now_ms + CLOCKS_APART_MS:
        raise Invalid("the time is out of range: use one after 1970 that is not in the future")


def _made(entries: list[Revocation]) -> Revocations:
    """Return the latest of each user and login, without those that a wider revocation covers."""
    everyone_ms = max(
        (each.before_ms for each in entries if not (each.user or each.app)), default=0
    )
    apps: dict[str, int] = {}
    users: dict[str, int] = {}
    logins: dict[tuple[str, str], int] = {}
    made = Revocations(everyone_ms, users, logins, apps)
    for each in entries:
        if each.app and each.before_ms > everyone_ms:
            apps[each.app] = max(apps.get(each.app, 0), each.before_ms)
    for user, sid, before_ms, _ in entries:
        if user and not sid and before_ms > made.before_ms(user, ""):
            users[user] = before_ms
    for user, sid, before_ms, _ in entries:
        if sid and before_ms > made.before_ms(user, sid):
            logins[user, sid] = before_ms
    return made


def document(revocations: Revocations) -> dict[str, Any]:
    """Return the document in which these revocations are stored. Without any of an app, servers of
    a version that knows no apps follow it, too.
    """
    logins: dict[str, dict[str, int]] = {}
    for (user, sid), before_ms in revocations.logins.items():
        logins.setdefault(user, {})[sid] = before_ms
    return {
        "everyone": revocations.everyone_ms,
        "users": dict(revocations.users),
        "logins": logins,
        **({"apps": dict(revocations.apps)} if revocations.apps else {}),
    }
