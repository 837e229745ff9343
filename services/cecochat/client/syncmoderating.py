"""What the back end does for its moderators, for programs without asyncio."""

from __future__ import annotations

from datetime import datetime

from cecochat.client import moderating
from cecochat.client.background import AN_ANSWER, Background
from cecochat.client.moderating import Act, Report, ReportState, Rule, RuleKind

WAIT_S = 90.0


class Moderating:
    """The calls for moderators. All work like those of the asyncio `Backend`."""

    _opened: moderating.Moderating
    _behind: Background

    def reports(
        self,
        state: ReportState = "open",
        limit: int = 50,
        *,
        after: str = "",
        with_messages: bool = False,
    ) -> list[Report]:
        """Return the reports in a state, in the order in which they were made."""
        asked = self._opened.reports(state, limit, after=after, with_messages=with_messages)
        return self._behind.wait(asked, WAIT_S, AN_ANSWER)

    def report(self, report_id: str) -> Report:
        """Return one report with its message."""
        return self._behind.wait(self._opened.report(report_id), WAIT_S, AN_ANSWER)

    def take_report(
        self, report_id: str, moderator: str = "", *, take_over: bool = False
    ) -> Report:
        """Take a report from the queue for a moderator, or from another one."""
        taking = self._opened.take_report(report_id, moderator, take_over=take_over)
        return self._behind.wait(taking, WAIT_S, AN_ANSWER)

    def decide_report(
        self,
        report_id: str,
        decision: str,
        moderator: str = "",
        *,
        note: str = "",
        take_over: bool = False,
    ) -> Report:
        """Decide about a report, for good."""
        deciding = self._opened.decide_report(
            report_id, decision, moderator, note=note, take_over=take_over
        )
        return self._behind.wait(deciding, WAIT_S, AN_ANSWER)

    def set_rule(
        self,
        kind: RuleKind,
        name: str,
        *,
        until: datetime | None = None,
        seconds: int = 0,
        moderator: str = "",
        reason: str = "",
    ) -> None:
        """Ban or mute a user, freeze a chat, or slow it down."""
        setting = self._opened.set_rule(
            kind, name, until=until, seconds=seconds, moderator=moderator, reason=reason
        )
        self._behind.wait(setting, WAIT_S, AN_ANSWER)

    def lift_rule(
        self, kind: RuleKind, name: str, *, moderator: str = "", reason: str = ""
    ) -> None:
        """End a rule now, if it is in force."""
        lifting = self._opened.lift_rule(kind, name, moderator=moderator, reason=reason)
        self._behind.wait(lifting, WAIT_S, AN_ANSWER)

    def rules(self) -> list[Rule]:
        """Return all rules in force."""
        return self._behind.wait(self._opened.rules(), WAIT_S, AN_ANSWER)

    def acts(self, limit: int = 50, *, before: str = "") -> list[Act]:
        """Return what moderators did, newest first."""
        return self._behind.wait(self._opened.acts(limit, before=before), WAIT_S, AN_ANSWER)
