"""Serves the files of a web page that is ours, with the headers that all our pages have."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import raw as raw_response

from cecochat.auth.operators import ANYBODY
from cecochat.domain.errors import Invalid
from cecochat.runtime.http import App, error_response

INDEX: Final = "index.html"
TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
POLICY: Final = {
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
    """A page: its HTML, and what that loads from `/page/NAME`, by name."""

    html: str
    files: dict[str, bytes]

    @classmethod
    def read(cls, folder: Path) -> Built:
        """Read a page from a folder, without what an editor may have left there."""
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in TYPES}
        return cls((folder / INDEX).read_text(encoding="utf-8"), files)


def add_files(app: App, page: Built, cache: str) -> None:
    """Add what a page loads at `GET /page/NAME`. `cache` says for how long browsers keep it."""
    headers = HEADERS | policy() | {"cache-control": cache}

    @app.get("/page/<name:str>", ctx_scope=ANYBODY)
    async def file(_: Request, name: str) -> HTTPResponse:
        if name not in page.files:
            return error_response(Invalid("there is no such file: load / again"), status=404)
        kind = TYPES[Path(name).suffix]
        return raw_response(page.files[name], headers=headers, content_type=kind)


def policy(reached: Iterable[str] = (), pictures: Iterable[str] = ()) -> dict[str, str]:
    """Return the header that says what a page may do: load its own files, show pictures of the
    origins in `pictures`, and reach its own server and the origins in `reached`.
    """
    directives = POLICY | {
        "connect-src": " ".join(("'self'", *reached)),
        "img-src": " ".join(("'self'", *pictures)),
    }
    said = "; ".join(f"{name} {value}" for name, value in directives.items())
    return {"content-security-policy": said}
