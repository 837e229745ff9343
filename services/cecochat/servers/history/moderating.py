"""What operators can ask about moderation on the history server's internal listener."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.domain.errors import Invalid, Refusal, Unavailable
from cecochat.domain.moderation.reports import STATES
from cecochat.runtime.http import App, ask_again, error_response
from cecochat.servers.history.desk import Desk
from cecochat.v1 import errors_pb2
from cecochat.v1.moderation_pb2 import (
    DecideReportRequest,
    ListActsRequest,
    ListReportsRequest,
    Report,
    TakeReportRequest,
)

VIA = "operator"
"""What the audit log says of acts that no service's token allowed."""


def add_routes(app: App, desk: Desk) -> None:
    """Add the routes. `GET /reports?state=&after=&limit=` and `GET /acts?before=&limit=` are pages.
    `POST /reports/ID/take` and `POST /reports/ID/decide?decision=&note=` are by the caller, or by
    `moderator=`; `over=true` takes a report from another moderator.
    """

    @app.get("/reports", ctx_scope="people")
    async def reports(request: Request) -> HTTPResponse:
        state = request.args.get("state", STATES[0])
        if state not in STATES:
            return error_response(Invalid(f"state is {state!r:.40}: use {', '.join(STATES)}"))
        asked = ListReportsRequest(
            state=Report.State.Value(f"STATE_{state.upper()}"),
            after_report_id=request.args.get("after", ""),
            limit=_limit(request),
            with_messages=True,
        )
        return await _answered(lambda: desk.reports(asked))

    @app.get("/acts", ctx_scope="people")
    async def acts(request: Request) -> HTTPResponse:
        asked = ListActsRequest(before_act_id=request.args.get("before", ""), limit=_limit(request))
        return await _answered(lambda: desk.acts(asked))

    @app.post("/reports/<report_id:str>/take", ctx_scope="change", ignore_body=True)
    async def take(request: Request, report_id: str) -> HTTPResponse:
        asked = TakeReportRequest(
            report_id=report_id, moderator=_moderator(request), take_over=_over(request)
        )
        return await _answered(lambda: desk.take(asked, VIA))

    @app.post("/reports/<report_id:str>/decide", ctx_scope="change", ignore_body=True)
    async def decide(request: Request, report_id: str) -> HTTPResponse:
        asked = DecideReportRequest(
            report_id=report_id,
            moderator=_moderator(request),
            decision=request.args.get("decision", ""),
            note=request.args.get("note", ""),
            take_over=_over(request),
        )
        return await _answered(lambda: desk.decide(asked, VIA))


async def _answered(ask: Callable[[], Awaitable[Message]]) -> HTTPResponse:
    try:
        answer = await ask()
    except Refusal as refusal:
        if refusal.error_code == errors_pb2.ERROR_CODE_NOT_FOUND:
            refusal = Invalid(refusal.message)  # 404 would say that this server is older
        return error_response(refusal)
    except Unavailable as error:
        return ask_again(error)
    body = MessageToDict(
        answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    headers = {"cache-control": "no-store"}
    return json_response(body, headers=headers, dumps=json.dumps)


def _moderator(request: Request) -> str:
    return request.args.get("moderator", "") or str(request.ctx.caller.name)


def _over(request: Request) -> bool:
    return bool(request.args.get("over", "") == "true")


def _limit(request: Request) -> int:
    text = request.args.get("limit", "0")
    return int(text) if text.isdecimal() and len(text) < 6 else -1
