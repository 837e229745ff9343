"""What the live servers remember of the central documents: each holds those that it follows, so
these outlive the store and the copies of the control servers.
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
    """The documents that a live server follows in a later version than `memory` holds. The highest
    takeover that a server has seen goes into `memory`.
    """
    for name, (rank, server) in (await _latest(memory, discovery, client)).items():
        known = memory.documents.get(name)
        if (known is None or rank > known.rank) and (
            document := await document_of(client, server, name)
        ):
            yield document


async def _latest(
    memory: Memory, discovery: Discovery, client: httpx.AsyncClient
) -> dict[str, tuple[Rank, Instance]]:
    """Name -> the latest version of it that a server follows, and which server. All are asked at
    once; who does not answer is left out.
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
