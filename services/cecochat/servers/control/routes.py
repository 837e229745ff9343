"""What control shows over HTTP: what it sees, and what it has decided."""

from __future__ import annotations

import json

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.runtime.http import App
from cecochat.servers.control.decisions import Decisions
from cecochat.servers.control.late import LateRecords
from cecochat.servers.control.server import Control
from cecochat.servers.control.sets import Sets


def add_routes(
    app: App, server_id: str, control: Control, sets: Sets, late: LateRecords, decisions: Decisions
) -> None:
    """Add `GET /decisions` and `GET /control`."""

    @app.get("/decisions", ctx_scope="read")
    async def last(_: Request) -> HTTPResponse:
        return json_response({"decisions": list(decisions.last)}, dumps=json.dumps)

    @app.get("/control", ctx_scope="read")
    async def state(_: Request) -> HTTPResponse:
        body = {
            "server_id": server_id,
            "leads": control.leads,
            "paused": control.paused,
            "sets": {service: seen.shown() for service, seen in sets.seen.items()},
            "late": late.shown(),
        }
        return json_response(body, dumps=json.dumps)
