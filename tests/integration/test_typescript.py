"""The TypeScript client by itself: its generated code, its types and its own tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts.protos import TYPESCRIPT, generate_typescript
from tests.support import npm
from tests.support.backends import Backends

TESTED_FROM = 20  # of Node
GENERATED = TYPESCRIPT / "src" / "gen"


@pytest.fixture(autouse=True)
def _packages(backends: Backends) -> None:
    backends.program("node")
    npm.installed(TYPESCRIPT)


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.ts")}


def test_the_committed_code_is_what_the_protos_give(tmp_path: Path) -> None:
    generate_typescript(tmp_path / "gen")
    assert contents(GENERATED) == contents(tmp_path / "gen"), "run `make protos`"


def said_by_npm(*words: str) -> str:
    ran = subprocess.run(
        ["npm", *words, "--silent"], cwd=TYPESCRIPT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_it_compiles_and_passes_its_own_tests() -> None:
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.lstrip("v").split(".")[0]) < TESTED_FROM:
        pytest.skip(f"its tests set the clock: Node {TESTED_FROM} or later; it runs from 18 on")
    npm.compiled(TYPESCRIPT)  # so that it writes nothing now, which others may be running
    said_by_npm("test")


def test_a_page_loads_no_more_than_30_kb_of_it() -> None:
    with npm.alone(TYPESCRIPT):
        assert "of at most 30720" in said_by_npm("run", "bundle")


def test_its_code_is_formatted() -> None:
    said_by_npm("run", "lint")


def test_the_lock_names_no_registry_and_every_hash() -> None:
    lock = (TYPESCRIPT / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') == lock.count('"node_modules/')
