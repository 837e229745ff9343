"""Has hook servers send webhooks again that an endpoint did not take."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from cecochat.cli.asking import servers
from cecochat.cli.errors import UsageError
from cecochat.cli.output import echo

AT_ONCE: Final = 16  # chats, each with one webhook on its way
TOLD_EVERY: Final = 100

Parked = dict[str, Any]


async def send_test(name: str, server: str | None, file: Path | None) -> dict[str, Any]:
    """Send an endpoint a webhook of the kind `test`, and return what it answers."""
    async with servers("hooks", "change", server, file) as ask:
        return await ask("POST", f"hooks/{quote(name)}", "verdict", {})


async def parked(name: str, server: str | None, file: Path | None) -> list[Parked]:
    """Return what is parked for an endpoint, the oldest of each chat first."""
    found, begin = [], "0:0"
    async with servers("hooks", "people", server, file) as ask:
        while begin:
            answer = await ask("GET", f"hooks/{quote(name)}", "parked", {"from": begin})
            found += answer["parked"]
            begin = answer["next"]
    return found


async def replay(
    name: str, ids: list[str], server: str | None, file: Path | None
) -> tuple[int, list[str]]:
    """Return how many were taken, and why others were not. Without `ids`, all are sent."""
    found = await parked(name, server, file)
    if missing := set(ids) - {each["id"] for each in found}:
        raise UsageError(f"{sorted(missing)[0]} is not parked for {name}")
    wanted = [each for each in found if not ids or each["id"] in ids]
    lanes, by = _lanes(wanted), getpass.getuser()
    taken, refused = 0, list[str]()

    async def work() -> None:
        nonlocal taken
        for lane in lanes:  # each that works takes the next one
            for each in lane:
                said = {"replay": each["id"], "letter": each["letter"], "by": by}
                answer = await ask("POST", f"hooks/{quote(name)}", "verdict", said)
                if answer["verdict"] != "taken":
                    refused.append(f"{each['id']}: {answer['why']}")
                    break
                taken += 1
                if taken % TOLD_EVERY == 0:
                    echo(f"{taken} of {len(wanted)} were taken", err=True)

    async with servers("hooks", "change", server, file) as ask, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return taken, refused


def _lanes(found: Iterable[Parked]) -> Iterator[list[Parked]]:
    """Return what has to be sent one after the other: all of a chat. What is of no chat depends on
    nothing.
    """
    lanes: dict[str, list[Parked]] = {}
    for each in found:
        lanes.setdefault(each["chat_id"] or each["id"], []).append(each)
    return iter(lanes.values())
