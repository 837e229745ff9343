"""Commands as a person types them, beside a server that runs."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Any

from cecochat.auth.minting import mint
from cecochat.client import History, open_history
from tests.support.server import CECOCHAT, Server
from tests.support.texts import real_texts

WITHIN_S = 60.0


def environment(server: Server, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CECOCHAT_")}
    return {**kept, "XDG_STATE_HOME": str(server.folder / "state"), **more}


def first_lines(count: int) -> list[str]:
    """Of real texts, numbered: so none is blank, and none is said twice."""
    return [f"{number}: {text.splitlines()[0]}" for number, text in enumerate(real_texts()[:count])]


async def start(server: Server, *words: str, **more: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        CECOCHAT, *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env=environment(server, **more),
    )  # fmt: skip


async def run(
    server: Server,
    *words: str,
    code: int = 0,
    given: str = "",
    more: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str, str]:
    """Standard output and standard error of a command that ends with `code`."""
    process = await start(server, *words, **more)
    async with asyncio.timeout(WITHIN_S):
        out, err = await process.communicate(given.encode(errors="surrogateescape"))
    assert process.returncode == code, err.decode()
    assert "Traceback" not in err.decode()
    return out.decode(), err.decode()


async def rows(server: Server, *words: str) -> list[dict[str, Any]]:
    out, _ = await run(server, *words)
    return [json.loads(line) for line in out.splitlines()]


def history_of(server: Server, user: str) -> AbstractAsyncContextManager[History]:
    return open_history(server.connect_url, mint(server.secret_file.read_bytes(), user, 600))


async def until_history_grows(server: Server, count: int) -> None:
    """Looked at often: an import has to be caught half-way."""
    found, last = 0, 0
    async with asyncio.timeout(WITHIN_S), history_of(server, "alice") as history:
        while found < count:
            async for message in history.every_message("bob", after=last):
                found, last = found + 1, message.id
