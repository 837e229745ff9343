"""What a server remembers about the central documents, in case their store loses them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx
from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.domain.cluster.versions import Rank
from cecochat.ports.configuration import Document
from cecochat.ports.discovery import Instance
from cecochat.runtime.http import App


@dataclass
class Memory:
    """The last good version of each document that a server follows.

    `taken_over` is the highest version of the assignment by which the server has seen a partition
    taken over. It is one more if the same version gave that partition to this server, which then
    has to wait for a later version.
    """

    documents: dict[str, Document] = field(default_factory=dict)
    taken_over: int = 0

    def keep(self, document: Document) -> None:
        """Remember the version that is in force here now."""
        self.documents[document.name] = document

    def see_takeover(self, version: int) -> None:
        """Note that a server took a partition over by a version of the assignment."""
        self.taken_over = max(self.taken_over, version)


class Remembers(NamedTuple):
    """What a server says about its memory."""

    ranks: dict[str, Rank]  # by the name of the document
    taken_over: int


def show_memory(app: App, server_id: str, memory: Memory) -> None:
    """Serve `GET /documents`, with the version of each, and `GET /documents/NAME`."""

    @app.get("/documents", ctx_scope="read")
    async def documents(_: Request) -> HTTPResponse:
        ranks = {name: document.rank._asdict() for name, document in memory.documents.items()}
        body = {"server_id": server_id, "documents": ranks, "taken_over": memory.taken_over}
        return json_response(body, dumps=json.dumps)

    @app.get("/documents/<name:str>", ctx_scope="read")
    async def document(_: Request, name: str) -> HTTPResponse:
        kept = memory.documents.get(name)
        body = {"server_id": server_id, "document": kept._asdict() if kept else None}
        return json_response(body, dumps=json.dumps)


async def remembered_by(client: httpx.AsyncClient, server: Instance) -> Remembers | None:
    """Ask a server what it remembers.

    Return None if it does not answer, or if another server now has its address.
    """
    match await _asked(client, server, "/documents"):
        case {"documents": dict(documents), "taken_over": int(taken_over)}:
            return Remembers(_ranks(documents), taken_over)
    return None


async def document_of(client: httpx.AsyncClient, server: Instance, name: str) -> Document | None:
    """Ask a server for the document that it follows, whether we think it valid or not.

    Return None in the same cases as `remembered_by`.
    """
    match await _asked(client, server, f"/documents/{name}"):
        case {
            "document": {
                "name": str(said),
                "version": int(version),
                "value": dict(value),
                "changed_at_ms": int(changed_at_ms),
                "changed_by": str(changed_by),
            }
        } if said == name:
            return Document(name, version, value, changed_at_ms, changed_by)
    return None


def _ranks(documents: dict[str, Any]) -> dict[str, Rank]:
    ranks = {}
    for name, said in documents.items():
        match said:
            case {"version": int(version), "digest": str(digest)}:
                ranks[name] = Rank(version, digest)
    return ranks


async def _asked(client: httpx.AsyncClient, server: Instance, path: str) -> Any:
    try:
        answer = await client.get(f"{server.health_url}{path}")
        body = answer.json() if answer.is_success else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    match body:
        case {"server_id": server.instance_id}:
            return body
    return None
