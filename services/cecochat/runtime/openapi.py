"""Serves the OpenAPI document of what clients can ask over HTTP. `make reference` writes it."""

from __future__ import annotations

from pathlib import Path

from sanic import Request
from sanic.response import HTTPResponse, raw

from cecochat.runtime.http import App
from cecochat.v1 import directory_pb2

DOCUMENT = Path(directory_pb2.__file__).with_name("openapi.json")


def add_route(app: App) -> None:
    """Add `GET /openapi.json`, which needs no token."""
    document = DOCUMENT.read_bytes()

    @app.get("/openapi.json")
    async def openapi(_: Request) -> HTTPResponse:
        return raw(document, content_type="application/json")
