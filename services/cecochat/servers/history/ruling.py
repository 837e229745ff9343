"""The calls of moderators that say who may write, and where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from cecochat.documents import moderation
from cecochat.domain.errors import Invalid, InvalidSettings, Refusal
from cecochat.domain.log.ids import app_of, check_same_app
from cecochat.domain.moderation.reports import check_text
from cecochat.domain.moderation.rules import FOR_GOOD_MS, PARTS, Part, Rules, changed, parse
from cecochat.ports.configuration import MODERATION, Configuration
from cecochat.ports.moderation import Acts
from cecochat.runtime.clock import now_ms
from cecochat.servers.history.names import moderator
from cecochat.v1 import errors_pb2
from cecochat.v1.moderation_pb2 import (
    ListRulesRequest,
    ListRulesResponse,
    Rule,
    SetRuleRequest,
    SetRuleResponse,
)


class Ruling:
    """Changes and shows the rules. All calls raise `Refusal` and `Unavailable`."""

    def __init__(self, configuration: Configuration, acts: Acts) -> None:
        self._configuration = configuration
        self._acts = acts

    async def set(
        self, request: SetRuleRequest, via: str, app: str | None = None
    ) -> SetRuleResponse:
        """Forbid something, or allow it again."""
        by = moderator(request.moderator, via)
        check_text("reason", request.reason)
        if app is not None:
            check_same_app(via, request.rule.name)
        part, number = _part(request.rule), 0 if request.is_lifted else _number(request.rule)
        name, reason = request.rule.name, request.reason
        decide = partial(changed, part=part, name=name, number=number, now_ms=now_ms())
        decide(Rules())  # it raises what is wrong about it
        act = moderation.act_of(part, name, number, by=by, via=via, reason=reason)
        with _rules_that_hold():
            await moderation.change(self._configuration, self._acts, act, decide)
        return SetRuleResponse()

    async def rules(
        self, request: ListRulesRequest, via: str = "", app: str | None = None
    ) -> ListRulesResponse:
        """Return what is in force."""
        with _rules_that_hold():
            rules = parse((await self._configuration.get(MODERATION)).value)
        found = [each for each in rules.entries(now_ms()) if app in (None, app_of(each[1]))]
        return ListRulesResponse(rules=(_rule(*each) for each in found))


@contextmanager
def _rules_that_hold() -> Iterator[None]:
    """Say who has to mend it if the rules in the store are not valid."""
    try:
        yield
    except InvalidSettings as error:
        raise Refusal(errors_pb2.ERROR_CODE_INTERNAL, f"an operator has to mend {error}") from None


def _part(rule: Rule) -> Part:
    if not 1 <= rule.kind <= len(PARTS):
        raise Invalid(f"kind is {rule.kind}: use one of those of Rule.Kind")
    part: Part = PARTS[rule.kind - 1]
    return part


def _number(rule: Rule) -> int:
    if rule.kind == Rule.KIND_SLOW:
        if not rule.seconds:
            raise Invalid("seconds is 0: say how long users wait, or is_lifted")
        return rule.seconds
    if rule.until_ms and rule.until_ms <= now_ms():
        raise Invalid("until_ms is in the past: use a later time, or is_lifted")
    return rule.until_ms or FOR_GOOD_MS


def _rule(part: Part, name: str, number: int) -> Rule:
    kind = Rule.Kind.Value(f"KIND_{part.upper()}")
    if part == "slow":
        return Rule(kind=kind, name=name, seconds=number)
    return Rule(kind=kind, name=name, until_ms=0 if number >= FOR_GOOD_MS else number)
