"""The calls of moderators: the queue of reports, and the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from google.protobuf.message import Message

from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.log.ids import ChatId, app_of
from cecochat.domain.moderation.acts import Act, time_ms
from cecochat.domain.moderation.reports import (
    STATES,
    Report,
    State,
    act_of,
    check_code,
    check_text,
    decided,
    taken,
)
from cecochat.ports.access import ALL
from cecochat.ports.history import History
from cecochat.ports.moderation import Moderation, Paged
from cecochat.runtime.clock import now_ms
from cecochat.sealing.reports import ReportTexts
from cecochat.servers.history.names import moderator
from cecochat.servers.history.queries import Queries
from cecochat.servers.history.ruling import Ruling
from cecochat.v1 import errors_pb2, moderation_pb2
from cecochat.v1.events_pb2 import Event
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
    ModeratorAct,
    SetRuleRequest,
    TakeReportRequest,
    TakeReportResponse,
)

TRIES: Final = 8
MESSAGES_AT_ONCE: Final = 8
MESSAGES_MAX: Final = 50
SCAN: Final = 1_000
"""How many reports or acts of all apps are read at once to find those of one."""
ID_MAX_BYTES: Final = 128


class Desk:
    """Answers what moderators ask. `via` is the service whose token they used, or `operator`. Those
    of an app see and change what is of that app; None: of all. All calls raise `Refusal` and
    `Unavailable`.
    """

    def __init__(
        self,
        moderation: Moderation,
        history: History,
        queries: Queries,
        texts: ReportTexts,
        ruling: Ruling,
    ) -> None:
        self._moderation = moderation
        self._history = history
        self._queries = queries
        self._texts = texts
        self._reading = asyncio.Semaphore(MESSAGES_AT_ONCE)
        self._offered: dict[str, tuple[type[Message], Callable[..., Any]]] = {
            "ListReports": (ListReportsRequest, self.reports),
            "GetReport": (GetReportRequest, self.report),
            "TakeReport": (TakeReportRequest, self.take),
            "DecideReport": (DecideReportRequest, self.decide),
            "ListActs": (ListActsRequest, self.acts),
            "SetRule": (SetRuleRequest, ruling.set),
            "ListRules": (ListRulesRequest, ruling.rules),
        }

    async def answer(self, call: str, via: str, request: bytes) -> bytes:
        """Answer a call by its name, with a serialized response. Raises `DecodeError`, too."""
        if call not in self._offered:
            raise Refusal(errors_pb2.ERROR_CODE_UNIMPLEMENTED, f"there is no call {call!r}")
        kind, answer = self._offered[call]
        response: Message = await answer(kind.FromString(request), via, app_of(via))
        return response.SerializeToString()

    async def reports(
        self, request: ListReportsRequest, via: str = "", app: str | None = None
    ) -> ListReportsResponse:
        """Return a page of the reports in a state."""
        if not 0 <= request.state <= len(STATES):
            raise Invalid(f"state is {request.state}: use one of those of Report.State")
        state, limit = STATES[max(request.state - 1, 0)], self._queries.limit(request.limit)
        if request.with_messages:
            limit = min(limit, MESSAGES_MAX)
        after = _id("after_report_id", request.after_report_id)
        page = await self._reports_of(app, state, after, limit)
        shown = await self._shown(page.items, with_messages=request.with_messages)
        return ListReportsResponse(reports=shown, has_more=page.has_more)

    async def report(
        self, request: GetReportRequest, via: str = "", app: str | None = None
    ) -> GetReportResponse:
        """Return one report."""
        report = await self._called(request.report_id, app)
        return GetReportResponse(report=await self._one(report))

    async def take(
        self, request: TakeReportRequest, via: str, app: str | None = None
    ) -> TakeReportResponse:
        """Have a moderator take a report."""
        by = moderator(request.moderator, via)
        report = await self._change(
            request.report_id,
            app,
            lambda found: taken(found, by, via, now_ms(), over=request.take_over),
        )
        return TakeReportResponse(report=await self._one(report))

    async def decide(
        self, request: DecideReportRequest, via: str, app: str | None = None
    ) -> DecideReportResponse:
        """Have a moderator decide about a report."""
        by = moderator(request.moderator, via)
        check_code("decision", request.decision)
        check_text("note", request.note)
        change = partial(decided, decision=request.decision, note=request.note)
        report = await self._change(
            request.report_id,
            app,
            lambda found: change(found, by, via, now_ms(), over=request.take_over),
        )
        return DecideReportResponse(report=await self._one(report))

    async def acts(
        self, request: ListActsRequest, via: str = "", app: str | None = None
    ) -> ListActsResponse:
        """Return a page of the audit log."""
        before = _id("before_act_id", request.before_act_id)
        try:
            time_ms(before or "0")
        except ValueError:
            raise Invalid(f"before_act_id is {before[:80]!r}: use the id of an act") from None
        limit = self._queries.limit(request.limit)
        page = await self._acts_of(app, before, limit)
        return ListActsResponse(acts=map(_act, page.items), has_more=page.has_more)

    async def _reports_of(
        self, app: str | None, state: State, after: str, limit: int
    ) -> Paged[Report]:
        reports = self._moderation.reports
        if app is None:
            return await reports.page(state, after=after, limit=limit)
        if after and not _is_of(app, await reports.get(after)):
            after = ""  # as for an id without a report
        found: list[Report] = []
        has_more = True
        while has_more and len(found) <= limit:
            items, has_more = await reports.page(state, after=after, limit=SCAN)
            found += (each for each in items if _is_of(app, each))
            after = items[-1].id if items else after
        return Paged(found[:limit], len(found) > limit)

    async def _acts_of(self, app: str | None, before: str, limit: int) -> Paged[Act]:
        acts = self._moderation.acts
        if app is None:
            return await acts.page(before=before, limit=limit)
        found: list[Act] = []
        has_more = True
        while has_more and len(found) <= limit:
            items, has_more = await acts.page(before=before, limit=SCAN)
            found += (each for each in items if _app_of_act(each) == app)
            before = items[-1].id if items else before
        return Paged(found[:limit], len(found) > limit)

    async def _called(self, report_id: str, app: str | None) -> Report:
        _id("report_id", report_id)
        report = await self._moderation.reports.get(report_id) if report_id else None
        if report is None or not _is_of(app, report):
            raise Refusal(errors_pb2.ERROR_CODE_NOT_FOUND, f"there is no report {report_id[:80]!r}")
        return report

    async def _change(
        self, report_id: str, app: str | None, changed: Callable[[Report], Report]
    ) -> Report:
        """Change a report, unless it is as wanted already, and note the act."""
        for _ in range(TRIES):
            before = await self._called(report_id, app)
            after = changed(before)
            if after == before:
                await self._moderation.acts.append(act_of(before))
                return before
            stands = await self._moderation.reports.change(after)
            if stands and stands._replace(text=after.text) == after:
                return stands
        raise Refusal(
            errors_pb2.ERROR_CODE_UNAVAILABLE,
            f"others change the report {report_id} all the time: try again",
            1_000,
        )

    async def _one(self, report: Report) -> moderation_pb2.Report:
        (shown,) = await self._shown([report], with_messages=True)
        return shown

    async def _shown(
        self, reports: Sequence[Report], *, with_messages: bool
    ) -> list[moderation_pb2.Report]:
        texts = await self._texts.opened(reports)
        shown = [_proto(each, texts.get(each.id)) for each in reports]
        if with_messages:
            await asyncio.gather(*(self._add_message(each) for each in shown if each.chat_id))
        return shown

    async def _add_message(self, shown: moderation_pb2.Report) -> None:
        chat_id, id_ = ChatId(shown.chat_id), shown.message_id
        async with self._reading:
            found = await self._history.these(chat_id, [id_])
            if found:
                (message,) = await self._queries.folded(chat_id, [found[id_]], ALL)
                shown.message.CopyFrom(Event.FromString(message.event))


def _id(name: str, id_: str) -> str:
    """Return an id that is none of those that no store can look for. Raises `Refusal`."""
    if len(id_.encode()) > ID_MAX_BYTES:
        raise Invalid(f"{name} has {len(id_.encode())} bytes: use an id that was given")
    return id_


def _proto(report: Report, text: str | None) -> moderation_pb2.Report:
    return moderation_pb2.Report(
        id=report.id,
        reporter_id=report.reporter_id,
        user_id=report.target.user_id,
        chat_id=report.target.chat_id,
        message_id=report.target.message_id,
        reason=report.reason,
        text=text or "",
        is_text_erased=bool(report.text) and text is None,
        reported_at_ms=report.at_ms,
        state=moderation_pb2.Report.State.Value(f"STATE_{report.state.upper()}"),
        moderator=report.moderator,
        changed_at_ms=report.changed_at_ms,
        decision=report.decision,
        note=report.note,
    )


def _is_of(app: str | None, report: Report | None) -> bool:
    return app is None or (report is not None and app_of(report.reporter_id) == app)


def _app_of_act(act: Act) -> str | None:
    """Return the app that an act concerns; None: operators alone, as they did it for no one."""
    on = act.user_id or act.chat_id
    return app_of(on) if on else None


def _act(act: Act) -> ModeratorAct:
    return ModeratorAct(**act._asdict())
