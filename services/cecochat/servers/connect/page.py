"""Serves the chat page, which is built from clients/page: in development alone, see ADR 0212.

Its policy lets it load its own files, and reach the servers to which a lookup would send it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from sanic import Request
from sanic.response import HTTPResponse, redirect
from sanic.response import html as html_response
from sanic.response import raw as raw_response

from cecochat.domain.errors import Invalid
from cecochat.runtime.http import App, error_response
from cecochat.servers.connect.development import is_at_its_own_address, own_url
from cecochat.servers.connect.front import no_page, wants_page
from cecochat.servers.connect.server import Directory
from cecochat.settings.settings import Settings

FOLDER = Path(__file__).with_name("assets")
INDEX = "index.html"
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
FILE_HEADERS = HEADERS | {"cache-control": "public, max-age=31536000, immutable"}
"""A file can be kept for ever, since its name has the hash of its content."""
PAGE_HEADERS = HEADERS | {
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
    "vary": "accept",
}
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",  # so no mistake of ours makes HTML of a text
    "trusted-types": "'none'",
}


class Built(NamedTuple):
    """The page as it was built."""

    html: str
    files: dict[str, bytes]

    @classmethod
    def read(cls, folder: Path = FOLDER) -> Built:
        """Read it from where `npm run build` writes it."""
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in TYPES}
        return cls((folder / INDEX).read_text(encoding="utf-8"), files)


def add_page(app: App, directory: Directory, settings: Settings) -> None:
    """Add the page at `GET /`, and what it loads at `GET /page/NAME`."""
    built = Built.read()

    @app.get("/")
    async def page(request: Request) -> HTTPResponse:
        if not wants_page(request):
            return no_page()
        if not is_at_its_own_address(request, settings):
            return redirect(own_url(request, settings))  # by another name it would get no token
        headers = PAGE_HEADERS | {"content-security-policy": _policy(directory.reached())}
        return html_response(built.html, headers=headers)

    @app.get("/page/<name:str>")
    async def file(_: Request, name: str) -> HTTPResponse:
        if name not in built.files:
            return error_response(Invalid("there is no such file: load / again"), status=404)
        return raw_response(
            built.files[name], headers=FILE_HEADERS, content_type=TYPES[Path(name).suffix]
        )


def _policy(reached: Iterable[str]) -> str:
    """Return what the page may do. `reached` are URLs of the servers that are live now."""
    origins = sorted({f"{url.scheme}://{url.netloc}" for url in map(urlsplit, reached)})
    policy = POLICY | {"connect-src": " ".join(("'self'", *origins))}
    return "; ".join(f"{name} {value}" for name, value in policy.items())
