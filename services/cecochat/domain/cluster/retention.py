"""How long chats keep their messages: dialogs, groups, those of an app, and single chats that have
a rule of their own.

The document is `{"dialogs": RULE, "groups": RULE, "apps": {"APP/dialogs": RULE}, "chats": {CHAT:
RULE}}`, with RULE `{"keep_s": SECONDS, "gone_ms": MS}`. Each part may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.domain.log.ids import (
    ChatId,
    app_name,
    app_of,
    chat_id,
    is_group,
    message_id,
    stamp_at,
)
from cecochat.v1 import errors_pb2

FOREVER: Final = 0
KEEP_MAX_S: Final = 100 * 366 * 86_400
CHATS_MAX: Final = 5_000
_TIME_MAX_MS: Final = 1 << 50
KINDS: Final = ("dialogs", "groups")
_PARTS: Final = frozenset({*KINDS, "apps", "chats"})


class Rule(NamedTuple):
    """Messages are kept for `keep_s` seconds, or `FOREVER`; None, of a chat or an app: as others
    of the kind are. What was accepted before `gone_ms` (ms since 1970) was too old under an earlier
    rule, and stays gone.
    """

    keep_s: int | None = FOREVER
    gone_ms: int = 0


ALL: Final = Rule()
"""Nothing gets too old."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The rules in force."""

    dialogs: Rule = ALL
    groups: Rule = ALL
    chats: Mapping[str, Rule] = field(default_factory=dict)
    apps: Mapping[str, Rule] = field(default_factory=dict)  # by the app's name, / and the kind

    @property
    def is_set(self) -> bool:
        """Whether anything may be too old."""
        kinds = (self.dialogs, self.groups, *self.apps.values())
        return any(any(rule) for rule in (*kinds, *self.chats.values()))

    def kind(self, chat: str) -> Rule:
        """Return the rule of the kind of a chat, as its app has it."""
        name = "groups" if is_group(chat) else "dialogs"
        of_all: Rule = getattr(self, name)
        return _over(self.apps.get(f"{app_of(chat)}/{name}", Rule(None)), of_all)

    def _rule(self, chat: str) -> Rule:
        return _over(self.chats.get(chat, Rule(None)), self.kind(chat))

    def keep_s(self, chat: str) -> int:
        """Return how long a chat keeps messages, in seconds, or `FOREVER`."""
        return self._rule(chat).keep_s or FOREVER

    def kept_from_ms(self, chat: str, now_ms: int) -> int:
        """Return since when a chat has its messages, in ms since 1970; 0: it has all of them."""
        return _gone_ms(self._rule(chat), now_ms)

    def kept_from(self, chat: str, now_ms: int) -> int:
        """Return the lowest id that a message of a chat may have without being too old; 0: any."""
        return max(message_id(stamp_at(self.kept_from_ms(chat, now_ms)), 0), 0)


def parse(document: Any) -> Retention:
    """Read the rules from their document. Raises `InvalidSettings`."""
    if not isinstance(document, Mapping) or not _PARTS.issuperset(document):
        raise _wrong("the document", document)
    chats, apps = document.get("chats", {}), document.get("apps", {})
    for name, part in (("chats", chats), ("apps", apps)):
        if not isinstance(part, Mapping) or len(part) > CHATS_MAX:
            raise _wrong(name, part)
    return Retention(
        _rule("dialogs", document.get("dialogs", {}), of_kind=True),
        _rule("groups", document.get("groups", {}), of_kind=True),
        {_chat(chat): _rule(chat, rule, of_kind=False) for chat, rule in chats.items()},
        {_of_app(name): _rule(name, rule, of_kind=False) for name, rule in apps.items()},
    )


def document(retention: Retention) -> dict[str, Any]:
    """Return the document in which these rules are stored."""
    return {
        "dialogs": retention.dialogs._asdict(),
        "groups": retention.groups._asdict(),
        "apps": {name: rule._asdict() for name, rule in retention.apps.items()},
        "chats": {chat: rule._asdict() for chat, rule in retention.chats.items()},
    }


def with_rule(current: Retention, of: str, keep_s: int | None, now_ms: int) -> Retention:
    """Return the rules with another one for `dialogs`, `groups`, those of an app or a chat; None,
    of an app or a chat: as others of the kind are. What is too old by now stays gone. Raises
    `Refusal`.
    """
    if of in KINDS:
        before: Rule = getattr(current, of)
        rule = Rule(keep_s, _gone_ms(before, now_ms))
        of_dialogs = of == "dialogs"
        return replace(current, dialogs=rule) if of_dialogs else replace(current, groups=rule)
    if is_of_app(of):
        return _with_app(current, of, keep_s, now_ms)
    gone_ms = current.kept_from_ms(chat_id(of), now_ms)
    chats = {**current.chats, of: Rule(keep_s, gone_ms)}
    if keep_s is None and gone_ms <= current.kind(of).gone_ms:
        del chats[of]  # it says nothing
    if len(chats) > CHATS_MAX:
        raise Refusal(
            errors_pb2.ERROR_CODE_TOO_LARGE,
            f"{CHATS_MAX} chats have a rule of their own, and more are not allowed: use those of "
            "dialogs and groups",
        )
    return replace(current, chats=chats)


def _with_app(current: Retention, of: str, keep_s: int | None, now_ms: int) -> Retention:
    app, _, kind = of.partition("/")
    some_chat = f"{kind[0]}:{app}/"
    gone_ms = _gone_ms(current.kind(some_chat), now_ms)
    apps = {**current.apps, of: Rule(keep_s, gone_ms)}
    of_all: Rule = getattr(current, kind)
    if keep_s is None and gone_ms <= of_all.gone_ms:
        del apps[of]  # it says nothing
    return replace(current, apps=apps)


def is_of_app(of: str) -> bool:
    """Return whether a rule is for the dialogs or the groups of an app. Raises `Refusal` if the app
    has no name that apps can have.
    """
    app, slash, kind = of.partition("/")
    is_kind = bool(slash) and kind in KINDS and not is_group(of)
    return is_kind and bool(app_name(app))


def _over(own: Rule, others: Rule) -> Rule:
    """Return what is in force of a rule and the more general one above it."""
    if own.keep_s is not None:
        return own
    return Rule(others.keep_s, max(own.gone_ms, others.gone_ms))


def _gone_ms(rule: Rule, now_ms: int) -> int:
    return max(rule.gone_ms, now_ms - rule.keep_s * 1_000 if rule.keep_s else 0)


def _rule(name: str, value: Any, *, of_kind: bool) -> Rule:
    if not isinstance(value, Mapping) or not {"keep_s", "gone_ms"}.issuperset(value):
        raise _wrong(name, value)
    keep_s, gone_ms = value.get("keep_s", FOREVER), value.get("gone_ms", 0)
    is_kept = _is_within(keep_s, KEEP_MAX_S) or (keep_s is None and not of_kind)
    if not is_kept or not _is_within(gone_ms, _TIME_MAX_MS):
        raise _wrong(name, value)
    return Rule(keep_s, gone_ms)


def _is_within(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _chat(text: Any) -> ChatId:
    try:
        return chat_id(text)
    except (Refusal, TypeError):
        raise _wrong("chats", text) from None


def _of_app(text: Any) -> str:
    try:
        if is_of_app(text):
            return str(text)
    except (Refusal, AttributeError):
        pass
    raise _wrong("apps", text)


def _wrong(name: str, value: Any) -> InvalidSettings:
    return InvalidSettings(
        f"{name!r:.80} of the retention is {value!r:.80}: use an object of dialogs, groups, "
        "apps and chats, each with keep_s and gone_ms"
    )
