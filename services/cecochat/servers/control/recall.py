"""What the live servers remember of the central documents. Each server keeps the documents that it
follows, so these survive the store and the copies of the control servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import httpx

from cecochat.documents.remembered import Memory, document_of, remembered_by
from cecochat.domain.cluster.versions import Rank
from cecochat.ports.configuration import Document
from cecochat.ports.discovery import SERVICES, Discovery, Instance


async def later_than(
    memory: Memory, discovery: Discovery, client: httpx.AsyncClient
) -> AsyncGenerator[Document]:
    """Yield the documents that some live server follows in a later version than `memory` has. Also
    notes in `memory` the highest version by which a server has seen a takeover.
    """
    for name, (rank, server) in (await _latest(memory, discovery, client)).items():
        remembered = memory.documents.get(name)
        if (remembered is None or rank > remembered.rank) and (
            document := await document_of(client, server, name)
        ):
            yield document


async def _latest(
    memory: Memory, discovery: Discovery, client: httpx.AsyncClient
) -> dict[str, tuple[Rank, Instance]]:
    """Name -> the latest version of this document that a server follows, and which server. All are
    asked at once; those that do not answer are left out.
    """
    servers = [each for service in SERVICES for each in discovery.live(service)]
    answers = await asyncio.gather(*(remembered_by(client, each) for each in servers))
    latest: dict[str, tuple[Rank, Instance]] = {}
    for server, answer in zip(servers, answers, strict=True):
        if answer:
            memory.see_takeover(answer.taken_over)
            for name, rank in answer.ranks.items():
                latest[name] = max(latest.get(name, (rank, server)), (rank, server))
    return latest
