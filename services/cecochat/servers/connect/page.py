"""Serves the chat page, which is built from clients/page: in development alone, see ADR 0212.

Its policy lets it load its own files, and reach the servers to which a lookup would send it.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from sanic import Request
from sanic.response import HTTPResponse, redirect
from sanic.response import html as html_response

from cecochat.ports.files import Files
from cecochat.runtime.http import App
from cecochat.runtime.pages import HEADERS, Built, add_files, policy
from cecochat.servers.connect.development import is_asked_for_by_own_name, own_origin
from cecochat.servers.connect.front import no_page, wants_page
from cecochat.servers.connect.server import Directory
from cecochat.settings.settings import Settings

FOLDER = Path(__file__).with_name("assets")
FOR_EVER = "public, max-age=31536000, immutable"  # the name of a file has the hash of its content


def add_page(app: App, directory: Directory, settings: Settings, files: Files | None) -> None:
    """Add the page at `GET /`, and what it loads at `GET /page/NAME`. It shows pictures of a store
    that has its own URLs.
    """
    elsewhere = [files.origin] if files and files.origin else []
    built = Built.read(FOLDER)
    add_files(app, built, FOR_EVER)

    @app.get("/")
    async def page(request: Request) -> HTTPResponse:
        if not wants_page(request):
            return no_page()
        if not is_asked_for_by_own_name(request, settings):
            return redirect(own_origin(request, settings))  # by another name it would get no token
        reached = {_origin(url) for url in directory.reached()}
        changing = {"cache-control": "no-store", "vary": "accept"}
        allowed = policy([*sorted(reached), *elsewhere], elsewhere)
        return html_response(built.html, headers=HEADERS | allowed | changing)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
