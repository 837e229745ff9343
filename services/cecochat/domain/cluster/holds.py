"""Legal holds: of which users and chats nothing may be destroyed.

The document is `{"holds": {WHAT: HOLD}, "erasures": {USER: {"at_ms": MS, "by": WHO}}, "lifted":
[HOLD with "what", "lifted_at_ms", "lifted_by" and "lifted_why"]}`. WHAT is a user id or a chat id,
HOLD is `{"at_ms": MS, "by": WHO, "why": TEXT}`, and USER is a user id, or the name of an app and a
slash. Each part may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from cecochat.domain.errors import Invalid, InvalidSettings, Refusal
from cecochat.domain.log import ids
from cecochat.domain.log.ids import ChatId, UserId, is_group, participants
from cecochat.v1 import errors_pb2

HOLDS_MAX: Final = 1_000
LIFTED_MAX: Final = 1_000  # of those that were lifted, the last ones are kept
WHY_MAX: Final = 1_000
_PARTS: Final = frozenset({"holds", "erasures", "lifted"})


class Hold(NamedTuple):
    """Since when (ms since 1970) there is a hold, who set it, and why."""

    at_ms: int
    by: str
    why: str


class Lifted(NamedTuple):
    """A hold that was lifted."""

    what: str
    at_ms: int
    by: str
    why: str
    lifted_at_ms: int
    lifted_by: str
    lifted_why: str


class Asked(NamedTuple):
    """When (ms since 1970) an erasure was asked for that a hold did not allow, and by whom."""

    at_ms: int
    by: str


@dataclass(frozen=True, slots=True)
class Holds:
    """The holds in force, by user id or chat id, the erasures that wait, and past holds."""

    holds: Mapping[str, Hold] = field(default_factory=dict)
    erasures: Mapping[str, Asked] = field(default_factory=dict)
    lifted: tuple[Lifted, ...] = ()

    def users(self) -> list[UserId]:
        """Return the users on whom there is a hold."""
        return [UserId(what) for what in self.holds if not is_chat(what)]

    def name(self, chat_id: ChatId) -> bool:
        """Return whether a chat is on hold by its own name or, if it is a dialog, by that of one of
        its users.
        """
        if chat_id in self.holds:
            return True
        return not is_group(chat_id) and any(each in self.holds for each in participants(chat_id))


def is_chat(what: str) -> bool:
    """Return whether a hold is on a chat; if not, it is on a user."""
    return what.startswith(("d:", "g:"))


def checked(what: str) -> str:
    """Check the id of a user or a chat. Raises `Refusal`."""
    return ids.chat_id(what) if is_chat(what) else ids.user_id(what)


def _to_erase(whom: str) -> str:
    """Check whom an erasure is of: a user, or an app if it ends with a slash. Raises `Refusal`."""
    return f"{ids.app_name(whom[:-1])}/" if whom.endswith("/") else ids.user_id(whom)


def parse(document: Any) -> Holds:
    """Read the holds from their document. Raises `InvalidSettings`."""
    if not isinstance(document, Mapping) or not _PARTS.issuperset(document):
        raise InvalidSettings(
            f"the holds are {document!r:.80}: use an object of holds, erasures and lifted"
        )
    try:
        return Holds(
            {checked(what): Hold(**hold) for what, hold in document.get("holds", {}).items()},
            {
                _to_erase(whom): Asked(**asked)
                for whom, asked in document.get("erasures", {}).items()
            },
            tuple(Lifted(**each) for each in document.get("lifted", ())),
        )
    except (TypeError, AttributeError, Refusal) as error:
        raise InvalidSettings(f"the holds are wrong: {error}") from None


def document(holds: Holds) -> dict[str, Any]:
    """Return the document in which these are stored."""
    return {
        "holds": {what: hold._asdict() for what, hold in holds.holds.items()},
        "erasures": {user: asked._asdict() for user, asked in holds.erasures.items()},
        "lifted": [each._asdict() for each in holds.lifted],
    }


def with_hold(current: Holds, what: str, hold: Hold) -> Holds:
    """Return the holds with one more. One that is there stays as it is. Raises `Refusal`."""
    checked(what)
    if not 1 <= len(hold.why) <= WHY_MAX:
        raise Invalid(f"a hold needs a reason of 1 to {WHY_MAX} characters")
    made = {what: hold, **current.holds}
    if len(made) > HOLDS_MAX:
        raise Refusal(
            errors_pb2.ERROR_CODE_TOO_LARGE,
            f"{HOLDS_MAX} holds are in force, and more are not allowed: lift some",
        )
    return replace(current, holds=made)


def without_hold(current: Holds, what: str, lifted: Hold) -> Holds:
    """Return the holds without one, which `lifted` lifts: when, by whom, and why. Raises
    `Refusal`.
    """
    if what not in current.holds:
        raise Invalid(f"there is no hold on {what:.80}")
    past = Lifted(what, *current.holds[what], *lifted)
    left = {each: hold for each, hold in current.holds.items() if each != what}
    return replace(current, holds=left, lifted=(*current.lifted, past)[-LIFTED_MAX:])


def with_erasure(current: Holds, whom: str, asked: Asked | None) -> Holds:
    """Return the holds with an erasure that waits; with None, without it. `whom` is a user id, or
    the name of an app and a slash.
    """
    erasures = {other: each for other, each in current.erasures.items() if other != whom}
    if asked:
        erasures[whom] = current.erasures.get(whom, asked)
    return replace(current, erasures=erasures)
