"""The chat page that is committed is the one that its sources make, and it stays small."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest

from cecochat.servers.connect.page import FOLDER
from tests.support.backends import Backends
from tests.support.npm import installed

CLIENTS = Path(__file__).parents[2] / "clients"
SOURCES = CLIENTS / "page"
MAX_BYTES = 150 << 10  # gzipped, in all


@pytest.fixture(scope="session")
def programs(backends: Backends) -> Path:
    """The folder with the programs that build the page."""
    backends.program("node")
    installed(CLIENTS / "typescript")
    return installed(SOURCES) / ".bin"


def run(*words: str | Path) -> None:
    done = subprocess.run(words, cwd=SOURCES, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_committed_is_what_the_sources_make(programs: Path, tmp_path: Path) -> None:
    run("node", "build.js", tmp_path)
    built, committed = contents(tmp_path), contents(FOLDER)
    assert built.keys() == committed.keys(), "run `make page`, and commit what it writes"
    assert {name for name in built if built[name] != committed[name]} == set()


def test_the_types_of_the_page_are_right(programs: Path) -> None:
    run(programs / "tsc")


def test_its_model_passes_its_own_tests(programs: Path) -> None:
    run("npm", "test", "--silent")


def test_it_is_small() -> None:
    size = sum(len(gzip.compress(content)) for content in contents(FOLDER).values())
    assert 0 < size <= MAX_BYTES, f"{size:,} bytes"
