"""`GET /overview`, on a server's internal listener."""

from __future__ import annotations

import json

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.overview.facts import Facts
from cecochat.runtime.http import App


def add_routes(app: App, server_id: str, facts: Facts) -> None:
    """Add the route. What a token may see depends on its scopes."""

    @app.get("/overview", ctx_scope="read")
    async def overview(request: Request) -> HTTPResponse:
        caller = request.ctx.caller
        body = {
            "server_id": server_id,
            "operator": {"name": caller.name, "scopes": sorted(caller.scopes)},
            **await facts.shown(caller.scopes),
        }
        headers = {"cache-control": "no-store"}
        return json_response(body, headers=headers, dumps=json.dumps)
