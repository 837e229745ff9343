"""What the back end of a product does for its moderators, with a token of the scope `operate`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar, get_args

from google.protobuf.message import Message as Asked

from cecochat.client.arguments import check_count
from cecochat.client.errors import InvalidArgument
from cecochat.client.events import Message, message_of
from cecochat.v1 import moderation_pb2
from cecochat.v1.moderation_pb2 import (
    DecideReportRequest,
    DecideReportResponse,
    GetReportRequest,
    GetReportResponse,
    ListActsRequest,
    ListActsResponse,
    ListReportsRequest,
    ListReportsResponse,
    ListRulesRequest,
    ListRulesResponse,
    SetRuleRequest,
    SetRuleResponse,
    TakeReportRequest,
    TakeReportResponse,
)

ReportState = Literal["open", "taken", "done"]
Answer = TypeVar("Answer", bound=Asked)


@dataclass(frozen=True, slots=True)
class Report:
    """What a user reports: a message, or a user if `chat_id` is empty.

    `message` is the message as it is now; None if it was not asked for, or is gone. `text` is None
    if nobody can read any more what the reporter said, since they were erased.
    """

    id: str
    reporter_id: str
    user_id: str
    chat_id: str
    message_id: int
    reason: str
    text: str | None
    reported_at: datetime
    state: ReportState
    moderator: str
    changed_at: datetime | None
    decision: str
    note: str
    message: Message | None


@dataclass(frozen=True, slots=True)
class Act:
    """What a moderator did: a line of the audit log. Fields that say nothing are empty."""

    id: str
    at: datetime
    by: str
    via: str
    what: str
    detail: str
    reason: str
    user_id: str
    chat_id: str
    message_id: int
    report_id: str


RuleKind = Literal["banned", "muted", "frozen", "slow"]
RULE_KINDS: tuple[RuleKind, ...] = get_args(RuleKind)


@dataclass(frozen=True, slots=True)
class Rule:
    """What is forbidden to a user or in a chat.

    - `until`: when it ends; None: not by itself.
    - `seconds`: how long users wait between messages, in a chat that is slow.
    """

    kind: RuleKind
    name: str
    until: datetime | None
    seconds: int


class Moderating(ABC):
    """The calls for moderators. All raise `ChatError`."""

    @abstractmethod
    async def call(self, name: str, request: Asked, response: type[Answer]) -> Answer:
        """Make a call of `cecochat.v1.Backend`."""

    async def reports(
        self,
        state: ReportState = "open",
        limit: int = 50,
        *,
        after: str = "",
        with_messages: bool = False,
    ) -> list[Report]:
        """Return the reports in a state, in the order in which they were made. `after` continues
        the list: pass the id of the last one. With messages, at most 50 come.
        """
        check_count("limit", limit)
        request = ListReportsRequest(
            state=moderation_pb2.Report.State.Value(f"STATE_{state.upper()}"),
            after_report_id=after,
            limit=limit,
            with_messages=with_messages,
        )
        answer = await self.call("ListReports", request, ListReportsResponse)
        return [report_of(each) for each in answer.reports]

    async def report(self, report_id: str) -> Report:
        """Return one report with its message. Raises `Refused`, not_found."""
        request = GetReportRequest(report_id=report_id)
        return report_of((await self.call("GetReport", request, GetReportResponse)).report)

    async def take_report(
        self, report_id: str, moderator: str = "", *, take_over: bool = False
    ) -> Report:
        """Take a report from the queue for a moderator, or from another one. By default the service
        is the moderator. Raises `Refused`, forbidden, if another one has it.
        """
        request = TakeReportRequest(report_id=report_id, moderator=moderator, take_over=take_over)
        return report_of((await self.call("TakeReport", request, TakeReportResponse)).report)

    async def decide_report(
        self,
        report_id: str,
        decision: str,
        moderator: str = "",
        *,
        note: str = "",
        take_over: bool = False,
    ) -> Report:
        """Decide about a report, for good. `decision` is a code that your product chooses, and
        `note` is for other moderators.
        """
        request = DecideReportRequest(
            report_id=report_id,
            decision=decision,
            moderator=moderator,
            note=note,
            take_over=take_over,
        )
        return report_of((await self.call("DecideReport", request, DecideReportResponse)).report)

    async def acts(self, limit: int = 50, *, before: str = "") -> list[Act]:
        """Return what moderators did, newest first. `before` continues the list: pass the id of the
        last one.
        """
        check_count("limit", limit)
        request = ListActsRequest(before_act_id=before, limit=limit)
        answer = await self.call("ListActs", request, ListActsResponse)
        return [_act(each) for each in answer.acts]

    async def set_rule(
        self,
        kind: RuleKind,
        name: str,
        *,
        until: datetime | None = None,
        seconds: int = 0,
        moderator: str = "",
        reason: str = "",
    ) -> None:
        """Ban or mute a user, freeze a chat, or slow it down: `name` is the id of the user or the
        chat. It ends at `until`, or not by itself. `seconds` is for `slow`. Servers follow within
        2 s.
        """
        until_ms = int(until.timestamp() * 1_000) if until else 0
        rule = moderation_pb2.Rule(kind=_kind(kind), name=name, until_ms=until_ms, seconds=seconds)
        request = SetRuleRequest(rule=rule, moderator=moderator, reason=reason)
        await self.call("SetRule", request, SetRuleResponse)

    async def lift_rule(
        self, kind: RuleKind, name: str, *, moderator: str = "", reason: str = ""
    ) -> None:
        """End a rule now, if it is in force."""
        rule = moderation_pb2.Rule(kind=_kind(kind), name=name)
        request = SetRuleRequest(rule=rule, is_lifted=True, moderator=moderator, reason=reason)
        await self.call("SetRule", request, SetRuleResponse)

    async def rules(self) -> list[Rule]:
        """Return all rules in force, sorted by kind and name."""
        answer = await self.call("ListRules", ListRulesRequest(), ListRulesResponse)
        return [_rule_of(each) for each in answer.rules]


def _kind(kind: RuleKind) -> moderation_pb2.Rule.Kind.ValueType:
    if kind not in RULE_KINDS:
        raise InvalidArgument(f"{kind!r:.80} is no rule: use {', '.join(RULE_KINDS)}")
    return moderation_pb2.Rule.Kind.Value(f"KIND_{kind.upper()}")


def _rule_of(proto: moderation_pb2.Rule) -> Rule:
    until = _at(proto.until_ms) if proto.until_ms else None
    return Rule(RULE_KINDS[proto.kind - 1], proto.name, until, proto.seconds)


def report_of(proto: moderation_pb2.Report) -> Report:
    """Return a report as an object."""
    name = moderation_pb2.Report.State.Name(proto.state).removeprefix("STATE_").lower()
    states: dict[str, ReportState] = {"open": "open", "taken": "taken", "done": "done"}
    return Report(
        id=proto.id,
        reporter_id=proto.reporter_id,
        user_id=proto.user_id,
        chat_id=proto.chat_id,
        message_id=proto.message_id,
        reason=proto.reason,
        text=None if proto.is_text_erased else proto.text,
        reported_at=_at(proto.reported_at_ms),
        state=states[name],
        moderator=proto.moderator,
        changed_at=_at(proto.changed_at_ms) if proto.changed_at_ms else None,
        decision=proto.decision,
        note=proto.note,
        message=message_of(proto.message) if proto.HasField("message") else None,
    )


def _act(proto: moderation_pb2.ModeratorAct) -> Act:
    return Act(
        id=proto.id,
        at=_at(proto.at_ms),
        by=proto.by,
        via=proto.via,
        what=proto.what,
        detail=proto.detail,
        reason=proto.reason,
        user_id=proto.user_id,
        chat_id=proto.chat_id,
        message_id=proto.message_id,
        report_id=proto.report_id,
    )


def _at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1_000, UTC)
