"""What operators can ask a materialize server over HTTP about its comparison of log and history."""

from __future__ import annotations

import json

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.domain.errors import Invalid, Refusal, Trimmed, Unavailable
from cecochat.runtime.http import App, ask_again, error_response
from cecochat.servers.materialize.auditor import Auditor
from cecochat.servers.materialize.on_request import OnRequest


def add_routes(
    app: App, server_id: str, auditor: Auditor, on_request: OnRequest, partitions: int
) -> None:
    """Add the routes. `GET /audit` says how far the comparison is. `POST /audit/N?after=OFFSET`
    compares the next records of partition N now; the first call has `since=MS` instead of `after`,
    and `repair=1` writes again what is missing.
    """

    @app.get("/audit", ctx_scope="read")
    async def state(_: Request) -> HTTPResponse:
        body = {"server_id": server_id, "partitions": partitions, **auditor.as_json()}
        return json_response(body, dumps=json.dumps)

    @app.post("/audit/<partition:int>", ctx_scope="change", ignore_body=True)
    async def step(request: Request, partition: int) -> HTTPResponse:
        asked = {name: _number(request.args.get(name, "")) for name in ("after", "since")}
        if partition >= partitions:
            text = f"there is no partition {partition}: use one below {partitions}"
            return error_response(Invalid(text))
        try:
            done = await on_request.step(
                partition,
                asked["after"],
                since_ms=asked["since"] or 0,
                repair=request.args.get("repair") == "1",
            )
        except Refusal as refusal:
            return error_response(refusal)
        except (Unavailable, Trimmed) as error:
            return ask_again(error)
        found = [each.as_json() for each in done.missing]
        hidden = [each.as_json() for each in done.hidden]
        body = {**done._asdict(), "missing": found, "hidden": hidden}
        return json_response(body, dumps=json.dumps)


def _number(text: str) -> int | None:
    return int(text) if text.removeprefix("-").isdecimal() and len(text) < 20 else None
