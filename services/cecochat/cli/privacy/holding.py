"""Makes sure that an erasure goes by all holds, also if the store of documents has lost them: live
servers remember them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import httpx

from cecochat.cli import systems, target
from cecochat.cli.asking import asking
from cecochat.cli.errors import Failed
from cecochat.documents.holds import KnownHolds
from cecochat.ports.configuration import ASSIGNMENT, HOLDS, Configuration
from cecochat.ports.history import History
from cecochat.settings import backends
from cecochat.settings.settings import Settings

ASK_S: Final = 5.0
AGAIN_S: Final = 0.1
KNOWN_WITHIN_S: Final = 15.0
LOST: Final = (
    "{store} has lost its documents, and the holds with them: nothing was destroyed. Start the "
    "servers, or restore a backup of it, then look at `cecochat hold list` and try again"
)
SILENT: Final = (
    "no materialize server says which holds it knows ({why}), and the store may have lost them: "
    "nothing was destroyed, try again"
)
FORGETFUL: Final = (
    "the hold is set, but no materialize server knows it after {within_s:.0f} s{why}: if {store} "
    "lost its documents now, it would be gone. Set it again, which waits again"
)


async def until_remembered(
    settings: Settings, version: int, data: Path | None, file: Path | None
) -> None:
    """Wait until a live server remembers this version of the holds, if any server runs. Raises
    `Failed`.
    """
    why = ""
    try:
        async with asyncio.timeout(KNOWN_WITHIN_S):
            while urls := await _servers(settings):
                versions, why = await _versions(urls, data, file)
                if max(versions, default=0) >= version:
                    return
                await asyncio.sleep(AGAIN_S)
    except TimeoutError:
        store = backends.chosen("configuration", settings).keeps_in
        because = why and f" ({why})"
        said = FORGETFUL.format(within_s=KNOWN_WITHIN_S, why=because, store=store)
        raise Failed(said) from None


async def known_holds(
    settings: Settings,
    configuration: Configuration,
    history: History,
    *,
    is_new: bool,
    data: Path | None,
    file: Path | None,
) -> KnownHolds:
    """Return the holds, compared with what live servers remember of them. `is_new`: nothing was
    ever stored. Raises `Failed`, `Refusal` and `Unavailable`.
    """
    if not is_new and not (await configuration.get(ASSIGNMENT)).version:
        raise Failed(LOST.format(store=backends.chosen("configuration", settings).keeps_in))
    holds = KnownHolds(configuration, history)
    holds.at_least(await _remembered(settings, data, file))
    await holds.now()
    return holds


async def _remembered(settings: Settings, data: Path | None, file: Path | None) -> int:
    """Return the highest version of the holds that a live server remembers; 0: none does."""
    urls = await _servers(settings)
    versions, why = await _versions(urls, data, file)
    if urls and not versions:
        raise Failed(SILENT.format(why=why))
    return max(versions, default=0)


async def _servers(settings: Settings) -> list[str]:
    """Return where the live materialize servers are asked; none if the system has ended."""
    system = systems.of_data(settings.data_dir)
    if not backends.is_shared("discovery", settings) and not (system and system.runs):
        return []  # in one process, which has ended
    return await target.internal_urls("materialize", settings)


async def _versions(urls: list[str], data: Path | None, file: Path | None) -> tuple[list[int], str]:
    """Return the versions of the holds that servers remember, and why another did not say its."""
    versions, why = [], ""
    async with asking(file, data, "read")(timeout_s=ASK_S) as client:
        for url in urls:
            try:
                said = (await client.get(f"{url}/documents")).raise_for_status().json()
                versions.append(int(said["documents"].get(HOLDS, {}).get("version", 0)))
            except (httpx.HTTPError, ValueError, KeyError) as error:
                why = f"{url}: {str(error) or type(error).__name__}"
    return versions, why
