"""What the folders of `adapters/` declare is all that the rest knows of a backend."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from cecochat.domain.errors import InvalidSettings
from cecochat.settings import backends, folders
from cecochat.settings.backends import DATA, Backend
from cecochat.settings.settings import Settings, declared, load, made
from cecochat.settings.variables import setting

ROOT = Path(__file__).parents[2] / "services" / "cecochat"
CLIENT_LIBRARIES = ("aiokafka", "asyncpg", "cassandra", "redis", "consul")
SHARED = {"kafka": "a:1", "cassandra": "b:1", "redis": "c:1", "consul": "d:1"}


@dataclass(frozen=True, slots=True)
class ToyVariables:
    toy: str = setting("", "where it is")
    toy_password_file: Path | None = setting(None, "its password", needs="toy")  # noqa: RUF009


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[str]:
    yield settings.of(ToyVariables).toy


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more folder."""
    one = Backend(
        name="toy",
        ports={"backplane": opened},
        chosen_by="toy",
        variables=ToyVariables,
        shared=True,
    )
    before = folders.backends()
    monkeypatch.setattr(folders, "backends", lambda: (*before, one))


def names_in(path: Path) -> Iterator[str]:
    """Identifiers, and texts that are one word: what a program can decide by."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.Constant(value=str(text)) if not any(map(str.isspace, text)):
                yield text


def test_nothing_outside_its_folder_names_a_backend_of_data() -> None:
    kinds = [each.variables for each in backends.found() if each.variables]
    theirs = {field.name for kind in kinds for field in fields(kind)}
    assert SHARED.keys() <= theirs
    theirs |= {f"CECOCHAT_{name.upper()}" for name in theirs}
    files = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] != "adapters"]
    assert len(files) > 50
    found = {(path.name, name) for path in files for name in names_in(path) if name in theirs}
    assert found == set()


def test_no_two_backends_declare_the_same_setting() -> None:
    kinds: list[type[Any]] = [
        Settings,
        *(each.variables for each in backends.found() if each.variables),
    ]
    counts = Counter(field.name for kind in kinds for field in fields(kind))
    assert [name for name, count in counts.items() if count > 1] == []


def test_finding_them_imports_no_client_library() -> None:
    program = (
        "import sys; from cecochat.settings.settings import load; load({}); print(*sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "cecochat.adapters.kafka.backend" in said.stdout.split()
    assert set(said.stdout.split()).isdisjoint(CLIENT_LIBRARIES)


@pytest.mark.parametrize("port", DATA)
def test_what_is_not_chosen_is_embedded(port: backends.Port) -> None:
    assert backends.chosen(port, Settings()).name == "embedded"
    assert not backends.is_shared(port, Settings())
    assert backends.is_shared(port, made(**SHARED))


@pytest.mark.parametrize(
    ("given", "to_set"),
    [
        ({}, "CECOCHAT_KAFKA, CECOCHAT_CASSANDRA, CECOCHAT_REDIS, CECOCHAT_CONSUL"),
        ({"kafka": "a:1", "redis": "c:1"}, "CECOCHAT_CASSANDRA, CECOCHAT_CONSUL"),
        (SHARED, ""),
    ],
)
def test_what_a_cluster_lacks_is_named(given: dict[str, str], to_set: str) -> None:
    assert backends.to_share(backends.not_shared(made(**given))) == to_set


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "embedded"),
        ({"nomad": "a:1"}, "nomad"),
        ({"stack": "b:1"}, "local"),
        ({"nomad": "a:1", "stack": "b:1"}, "nomad"),
    ],
)
def test_nomad_counts_more_than_the_processes_of_up(given: dict[str, str], name: str) -> None:
    assert backends.chosen("deployment", made(**given)).name == name


@pytest.mark.usefixtures("toy")
async def test_a_folder_more_is_a_backend_more() -> None:
    settings = load({"CECOCHAT_TOY": "here"})
    assert settings.of(ToyVariables) == ToyVariables("here")
    chosen = backends.chosen("backplane", settings)
    async with chosen.ports["backplane"](settings) as log:
        assert log == "here"
    assert backends.chosen("history", settings).name == "embedded"
    assert "toy" in backends.choosing()
    assert "toy" in declared()
    missing = backends.not_shared(Settings())
    assert backends.to_share(missing).startswith("CECOCHAT_KAFKA or CECOCHAT_TOY, CECOCHAT_CASS")


@pytest.mark.usefixtures("toy")
def test_two_logs_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="CECOCHAT_KAFKA and CECOCHAT_TOY both choose"):
        backends.chosen("backplane", load({"CECOCHAT_TOY": "here", "CECOCHAT_KAFKA": "there"}))


@pytest.mark.usefixtures("toy")
def test_a_secret_that_would_be_left_unused_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="CECOCHAT_TOY_PASSWORD_FILE is no use alone"):
        load({"CECOCHAT_TOY_PASSWORD_FILE": "/a"})


def test_a_setting_of_no_folder_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="CECOCHAT_TOY is not a setting"):
        load({"CECOCHAT_TOY": "here"})
