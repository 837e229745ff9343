"""What only the configuration on SQLite promises: several processes on one file."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import aclosing
from pathlib import Path

from cecochat.adapters.embedded.configuration import FILE, EmbeddedConfiguration
from cecochat.ports.configuration import CONFIGURATION

SEEN_WITHIN_S = 30.0
CHILD = """
import asyncio, pathlib, sys
from cecochat.adapters.embedded.configuration import EmbeddedConfiguration
async def main():
    configuration = await EmbeddedConfiguration.open(pathlib.Path(sys.argv[1]))
    await configuration.put("configuration", {"n": 2}, expected=1, by="another process")
    await configuration.close()
asyncio.run(main())
"""


async def test_watch_sees_what_another_process_changes(tmp_path: Path) -> None:
    configuration = await EmbeddedConfiguration.open(tmp_path)
    await configuration.put(CONFIGURATION, {"n": 1}, expected=0, by="this process")
    async with aclosing(configuration.watch(CONFIGURATION)) as versions:
        assert (await anext(versions)).version == 1
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, str(tmp_path))
        assert await child.wait() == 0
        async with asyncio.timeout(SEEN_WITHIN_S):
            document = await anext(versions)
    assert (document.version, document.value) == (2, {"n": 2})
    assert document.changed_by == "another process"
    await configuration.close()


async def test_a_watch_shows_that_everything_was_deleted(tmp_path: Path) -> None:
    configuration = await EmbeddedConfiguration.open(tmp_path)
    await configuration.put(CONFIGURATION, {"n": 1}, expected=0, by="x")
    async with aclosing(configuration.watch(CONFIGURATION)) as versions:
        assert (await anext(versions)).version == 1
        with sqlite3.connect(tmp_path / FILE) as store:
            store.execute("DELETE FROM versions")
        store.close()
        async with asyncio.timeout(SEEN_WITHIN_S):
            assert (await anext(versions)).version == 0
    await configuration.close()
