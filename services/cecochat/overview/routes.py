"""The operator's page, and the facts that it asks for, on a server's internal listener."""

from __future__ import annotations

import json
from pathlib import Path

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import html as html_response
from sanic.response import json as json_response

from cecochat.auth.operators import ANYBODY
from cecochat.overview.facts import Facts
from cecochat.runtime.http import App
from cecochat.runtime.pages import HEADERS, Built, add_files, policy

FOLDER = Path(__file__).with_name("page")
FRESH = "no-cache"  # names of files stay as they are when servers are upgraded


def add_routes(app: App, server_id: str, facts: Facts) -> None:
    """Add `GET /overview`, and the page at `GET /`, which holds no facts itself."""

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

    built = Built.read(FOLDER)
    add_files(app, built, FRESH)

    @app.get("/", ctx_scope=ANYBODY)
    async def page(_: Request) -> HTTPResponse:
        return html_response(built.html, headers=HEADERS | policy() | {"cache-control": FRESH})
