"""The loop between streams runs in the kit: a client whose loop ignores what it is told fails."""

from __future__ import annotations

import pytest

from cecochat.client.backoff import BackOff
from cecochat.client.client import Client
from cecochat.client.errors import ChatError
from tests.conformance.case import KIT, Case
from tests.conformance.player import Player


@pytest.mark.parametrize("name", ["retry-after", "unauthenticated", "token-revoked"])
async def test_a_loop_that_comes_back_at_once_fails(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(self: Client, error: ChatError | None, backoff: BackOff) -> None:
        await waits(self, None, backoff)
        if getattr(error, "code", "") == "token_revoked":
            self._lookup._revoked = ""

    waits = Client._pause
    monkeypatch.setattr(Client, "_pause", at_once)
    with pytest.RaisesGroup(AssertionError):
        await Player(Case.read(KIT / "13-ends" / f"{name}.json")).play()
