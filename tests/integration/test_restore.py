"""`cecochat restore` makes a data folder of a copy, and refuses what would harm either."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.systems import running
from tests.support.server import command


@pytest.fixture
async def copy(tmp_path: Path) -> Path:
    """Of a folder whose server was stopped."""
    async with running(tmp_path / "data"):
        pass
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    return tmp_path / "copy"


async def restore(copy: Path, folder: Path, code: int) -> str:
    return " ".join(
        (await command({}, "restore", str(copy), "--data", str(folder), code=code)).split()
    )


def log_id(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "log.db")) as log:
        (found,) = log.execute("SELECT value FROM identity WHERE name = 'log_id'").fetchone()
    return str(found)


async def test_the_folder_is_that_of_the_same_log(copy: Path, tmp_path: Path) -> None:
    said = await restore(copy, tmp_path / "again", code=0)
    assert log_id(tmp_path / "again") == log_id(copy)
    assert f"Its log is {log_id(copy)}, and ends at 20" in said
    assert (tmp_path / "again" / "moderation.db").exists()
    async with running(tmp_path / "again"):
        pass


async def test_what_is_there_is_never_replaced(copy: Path, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in (tmp_path / "data").glob("*.db")}
    assert "move that folder away first" in await restore(copy, tmp_path / "data", code=1)
    assert {file.name: file.read_bytes() for file in (tmp_path / "data").glob("*.db")} == before


async def test_a_folder_in_use_is_left_alone(copy: Path, tmp_path: Path) -> None:
    async with running(tmp_path / "live"):
        assert "is in use by process" in await restore(copy, tmp_path / "live", code=1)


async def test_a_copy_that_is_damaged_leaves_nothing_behind(copy: Path, tmp_path: Path) -> None:
    database = copy / "history.db"
    whole = database.read_bytes()
    database.write_bytes(whole[:5_000] + b"\xff" * 4_000 + whole[9_000:])
    said = await restore(copy, tmp_path / "again", code=1)
    assert "history.db" in said
    assert not list((tmp_path / "again").glob("*.db*"))


async def test_a_copy_that_is_none_is_refused(tmp_path: Path) -> None:
    said = await restore(tmp_path, tmp_path / "again", code=1)
    assert "it lacks log.db, history.db, configuration.db" in said


async def test_a_clock_behind_the_log_is_told(copy: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(copy / "log.db")) as log, log:
        log.execute("UPDATE records SET appended_at_ms = appended_at_ms + 86400000")
    assert "set the clock before you start it" in await restore(copy, tmp_path / "again", code=1)
    await asyncio.sleep(0)
