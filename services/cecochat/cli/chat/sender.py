"""Connects the commands that send something and listen to nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cecochat.cli.output import REACH_S
from cecochat.cli.target import check_user, target, token_for

if TYPE_CHECKING:
    from cecochat.client import Client


@asynccontextmanager
async def sender(as_: str | None, url: str | None, token: str | None) -> AsyncIterator[Client]:
    """Connect as a user, and check that the token is of that user."""
    from cecochat.client import connect

    where = target(url)
    async with connect(
        where.connect_url, token_for(where, as_, token), listen=False, timeout_s=REACH_S
    ) as client:
        check_user(as_, client.user_id)
        yield client
