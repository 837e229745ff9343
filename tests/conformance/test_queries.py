"""Queries of the kit: which a client may make, and how often."""

from __future__ import annotations

import json

import pytest

from cecochat.v1.history_pb2 import GetChatsRequest, GetChatsResponse
from tests.conformance.case import KIT, Case
from tests.conformance.player import Player

NAME = "07-gap/nothing-new-in-a-chat"


def with_optional_queries() -> Case:
    """A case whose queries are all optional."""
    found = json.loads((KIT / f"{NAME}.json").read_text())
    for step in found["steps"]:
        for query in step.get("queries", []):
            query["optional"] = True
    return Case.made(NAME, json.dumps(found))


async def test_optional_queries_may_be_made() -> None:
    await Player(with_optional_queries()).play()


async def test_a_query_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    player = Player(Case.read(KIT / f"{NAME}.json"))
    once = player.history.chats

    async def twice(request: GetChatsRequest) -> GetChatsResponse:
        await once(request)
        return await once(request)

    monkeypatch.setattr(player.history, "chats", twice)
    with pytest.RaisesGroup(AssertionError):
        await player.play()
