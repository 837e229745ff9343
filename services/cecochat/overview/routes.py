"""The operator's page, and the facts that it asks for, on a server's internal listener."""

from __future__ import annotations

import json
from pathlib import Path

from sanic import Request
from sanic.response import HTTPResponse, raw
from sanic.response import json as json_response

from cecochat.auth.operators import ANYBODY
from cecochat.overview.facts import Facts
from cecochat.runtime.http import App

FOLDER = Path(__file__).with_name("page")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


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

    for path in sorted(FOLDER.iterdir()):
        if path.suffix in TYPES:  # and not what an editor left there
            _add_file(app, path)


def _add_file(app: App, path: Path) -> None:
    body, kind = path.read_bytes(), TYPES[path.suffix]

    async def file(_: Request) -> HTTPResponse:
        return raw(body, headers=HEADERS, content_type=kind)

    url = "/" if path.name == "index.html" else f"/page/{path.name}"
    name = f"page_{path.stem}".replace("-", "_")
    app.add_route(file, url, methods=["GET"], name=name, ctx_scope=ANYBODY)
