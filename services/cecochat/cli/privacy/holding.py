"""Makes sure that the store of documents has the holds before an erasure goes by them."""

from __future__ import annotations

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
LOST: Final = (
    "{store} has lost its documents, and the holds with them: nothing was destroyed. Start the "
    "servers, or restore a backup of it, then look at `cecochat hold list` and try again"
)
SILENT: Final = (
    "no materialize server says which holds it knows ({why}), and the store may have lost them: "
    "nothing was destroyed, try again"
)


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
    system = systems.of_data(settings.data_dir)
    if not backends.is_shared("discovery", settings) and not (system and system.runs):
        return 0  # in one process, which has ended
    urls = await target.internal_urls("materialize", settings)
    if not urls:
        return 0
    versions, why = [], ""
    async with asking(file, data, "read")(timeout_s=ASK_S) as client:
        for url in urls:
            try:
                said = (await client.get(f"{url}/documents")).raise_for_status().json()
                versions.append(int(said["documents"].get(HOLDS, {}).get("version", 0)))
            except (httpx.HTTPError, ValueError, KeyError) as error:
                why = f"{url}: {str(error) or type(error).__name__}"
    if not versions:
        raise Failed(SILENT.format(why=why))
    return max(versions)
