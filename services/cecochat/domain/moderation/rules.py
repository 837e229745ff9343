"""What operators forbid: who is banned or muted, which chats are frozen or slow, and who is asked
before a message is accepted.

The document is `{"banned": {USER: MS}, "muted": {USER: MS}, "frozen": {CHAT: MS}, "slow": {CHAT:
SECONDS}, "before_send": {APP: {...}}}`. MS is when that ends, in ms since 1970; each part may be
absent. APP is empty for users of no app.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, NamedTuple, get_args

from cecochat.domain.cluster.room import ENTRIES_MAX, has_room, most_of
from cecochat.domain.errors import Invalid, InvalidSettings, Refusal
from cecochat.domain.log.ids import UserId, app_name, chat_id, user_id
from cecochat.domain.moderation.before_send import BeforeSend
from cecochat.domain.moderation.before_send import check as check_before_send
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Membership
from cecochat.v1.messaging_pb2 import Send

FOR_GOOD_MS: Final = 1 << 50
"""Later than any time that a clock shows."""
SLOW_MAX_S: Final = 86_400
KEPT_MAX: Final = 50_000
"""How many last messages are kept. Who wrote one that is dropped may write once more."""

Part = Literal["banned", "muted", "frozen", "slow"]
PARTS: Final = get_args(Part)
OF_USERS: Final = ("banned", "muted")


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules in force. `banned`, `muted`: until when, by user id, ms since 1970. `frozen`: the
    same, by chat id. `slow`: how many seconds lie between two messages of a user, by chat id.
    """

    banned: Mapping[str, int] = field(default_factory=dict)
    muted: Mapping[str, int] = field(default_factory=dict)
    frozen: Mapping[str, int] = field(default_factory=dict)
    slow: Mapping[str, int] = field(default_factory=dict)
    before_send: Mapping[str, BeforeSend] = field(default_factory=dict)  # by app

    def check_banned(self, user: str, now_ms: int) -> None:
        """Raise `Refusal` if a user is banned now."""
        if (until_ms := self.banned.get(user, 0)) > now_ms:
            raise _refused(errors_pb2.ERROR_CODE_BANNED, "you are banned", until_ms, now_ms)

    def check(self, user: UserId, send: Send, now_ms: int, *, as_system: bool = False) -> None:
        """Raise `Refusal` if a user may not send that now. Receipts, settings and deletions of own
        messages say nothing, and nobody who leaves a group says anything. The system may write in
        frozen chats.
        """
        self.check_banned(user, now_ms)
        if not _says_something(user, send):
            return
        if (until_ms := self.muted.get(user, 0)) > now_ms:
            raise _refused(errors_pb2.ERROR_CODE_MUTED, "you are muted", until_ms, now_ms)
        if not as_system and (until_ms := self.frozen.get(send.chat_id, 0)) > now_ms:
            raise _refused(errors_pb2.ERROR_CODE_FROZEN, "this chat is frozen", until_ms, now_ms)

    def entries(self, now_ms: int = 0) -> list[tuple[Part, str, int]]:
        """Return all that is forbidden then: which part of the rules, whom or what, and the number.
        Without a time, it is all that is stored.
        """
        parts = ((part, _in_force(part, getattr(self, part), now_ms)) for part in PARTS)
        return [(part, *each) for part, found in parts for each in sorted(found.items())]


def _says_something(user: UserId, send: Send) -> bool:
    match send.WhichOneof("body"):
        case "message" | "edit" | "reaction":
            return True
        case "deletion":
            return send.deletion.as_admin
        case "membership":
            return send.membership != Membership(removed_ids=[user])
    return False


def _refused(
    code: errors_pb2.ErrorCode.ValueType, what: str, until_ms: int, now_ms: int
) -> Refusal:
    if until_ms >= FOR_GOOD_MS:
        return Refusal(code, f"{what}: only an operator can change that")
    return Refusal(code, f"{what} for {_for(until_ms - now_ms)} more", until_ms - now_ms)


def _for(ms: int) -> str:
    for name, size in (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000)):
        if ms >= 2 * size:
            return f"{ms // size} {name}"
    return f"{ms // 1_000 + 1} seconds"


class _Last(NamedTuple):
    at_ms: int
    client_message_id: str


class Slowness:
    """Who has written when in chats that are slow. It is kept in memory: where a partition has a
    new owner, somebody may write once more. A message that is tried again is the same one, also if
    its first try came to nothing.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], _Last] = {}

    def take(self, rules: Rules, user: UserId, send: Send, now_ms: int) -> None:
        """Take in that a user writes now. Raises `Refusal`, and changes nothing, if it is too
        soon.
        """
        slow_s = rules.slow.get(send.chat_id)
        if not slow_s or not send.HasField("message"):
            return
        key = (user, send.chat_id)
        last = self._last.get(key)
        if last and last.client_message_id == send.client_message_id:
            return
        if last and (wait_ms := last.at_ms + slow_s * 1_000 - now_ms) > 0:
            raise Refusal(
                errors_pb2.ERROR_CODE_TOO_SOON,
                f"this chat takes a message every {slow_s} s: write again in {_for(wait_ms)}",
                wait_ms,
            )
        self._last.pop(key, None)
        self._last[key] = _Last(now_ms, send.client_message_id)  # the oldest comes first
        if len(self._last) > KEPT_MAX:
            del self._last[next(iter(self._last))]


# -- the document


def parse(document: Any) -> Rules:
    """Read the rules from their document. Raises `InvalidSettings`."""
    if not isinstance(document, Mapping) or not {*PARTS, "before_send"}.issuperset(document):
        raise InvalidSettings(
            f"the moderation is {document!r:.80}: use an object of {', '.join(PARTS)} and "
            "before_send"
        )
    try:
        parts = {part: _part(part, document.get(part, {})) for part in PARTS}
        asked = document.get("before_send", {})
        before_send = {_app(app): _before_send(each) for app, each in asked.items()}
    except (Refusal, TypeError, KeyError, AttributeError) as error:
        raise InvalidSettings(f"the moderation is wrong: {error}") from None
    return Rules(**parts, before_send=before_send)


def _app(name: Any) -> str:
    return app_name(name) if name else ""


def _before_send(value: Any) -> BeforeSend:
    made = BeforeSend(**{**value, "kinds": tuple(value["kinds"])})
    check_before_send(made)
    return made


def _part(part: Part, value: Any) -> dict[str, int]:
    if not isinstance(value, Mapping) or len(value) > ENTRIES_MAX:
        raise Invalid(f"{part} is not an object of at most {ENTRIES_MAX}")
    return {_name(part, name): _number(part, each) for name, each in value.items()}


def _name(part: Part, name: Any) -> str:
    return user_id(str(name)) if part in OF_USERS else chat_id(str(name))


def _number(part: Part, value: Any) -> int:
    high = SLOW_MAX_S if part == "slow" else FOR_GOOD_MS
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= high:
        return value
    raise Invalid(f"{part} has {value!r:.80}: use a whole number from 1 to {high}")


def document(rules: Rules) -> dict[str, Any]:
    """Return the document in which these rules are stored."""
    parts: dict[str, Any] = {part: dict(getattr(rules, part)) for part in PARTS}
    asked = {app: asdict(each) for app, each in rules.before_send.items()}
    return parts | ({"before_send": asked} if asked else {})


def changed(rules: Rules, part: Part, name: str, number: int, now_ms: int) -> Rules:
    """Return the rules with one entry more, or one less if the number is 0, and without those that
    have ended. Raises `Refusal`.
    """
    _name(part, name)
    entry = {name: _number(part, number)} if number else {}
    kept = {part: _in_force(part, getattr(rules, part), now_ms) for part in PARTS}
    kept[part] = {key: value for key, value in kept[part].items() if key != name} | entry
    if number and not has_room(kept[part], name):
        raise Refusal(
            errors_pb2.ERROR_CODE_TOO_LARGE,
            f"there is room for {most_of(name)} that are {part} in an app or in none, and for "
            f"{ENTRIES_MAX} in all: lift some first",
        )
    return Rules(**kept, before_send=rules.before_send)


def _in_force(part: Part, entries: Mapping[str, int], now_ms: int) -> dict[str, int]:
    return {key: value for key, value in entries.items() if part == "slow" or value > now_ms}
