"""Imports point inward: domain <- ports <- adapters and servers. `MAY` is the whole rule."""

from __future__ import annotations

import ast
from collections.abc import Iterator, KeysView
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "services" / "cecochat"
DIVIDED = ("domain", "adapters", "servers")  # each folder in them has a rule of its own
EMPTY = (
    ROOT / "__init__.py",
    *(ROOT / name / "__init__.py" for name in DIVIDED),
)  # import nothing of cecochat

CONTRACTS = ("ports", "domain", "v1")
ADAPTERS = tuple(path.parent.name for path in ROOT.glob("adapters/*/__init__.py"))
SERVERS = ("messaging", "materialize", "history", "connect", "control", "hooks")
MAINS = tuple(f"servers.{server}.main" for server in SERVERS)
PROCESS = (
    *("internal", "documents", "runtime", "auth", "sealing", "settings", "telemetry"),
    "uploads",
    *CONTRACTS,
)

# A package -> what it may import of cecochat besides itself. Not named: not allowed.
MAY: dict[str, tuple[str, ...]] = {
    "v1": (),
    "domain.errors": ("v1",),
    "domain.websocket": ("domain.errors", "v1"),
    "domain.printable": (),
    "domain.log": ("domain.errors", "v1"),
    "domain.changes": ("domain.errors", "domain.log", "domain.printable", "v1"),
    "domain.search": ("domain.changes", "domain.errors", "domain.log", "v1"),
    "domain.session": ("domain.changes", "domain.errors", "domain.log", "v1"),
    "domain.ownership": ("domain.errors", "domain.groups", "domain.log", "domain.session", "v1"),
    "domain.cluster": ("domain.errors", "domain.log", "v1"),
    "domain.hooks": ("domain.errors", "domain.log", "v1"),
    "domain.moderation": ("domain.cluster", "domain.errors", "domain.hooks", "domain.log", "v1"),
    "domain.device": ("domain.errors", "domain.log", "domain.cluster", "v1"),
    "domain.signals": ("domain.errors", "domain.groups", "domain.log", "domain.session", "v1"),
    "domain.groups": ("domain.errors", "domain.log", "domain.printable", "v1"),
    "ports": ("domain", "v1"),
    "telemetry": CONTRACTS,
    "settings": ("domain", "v1"),
    "auth": ("settings", *CONTRACTS),
    "sealing": CONTRACTS,
    "uploads": CONTRACTS,
    "runtime": ("auth", "sealing", "settings", "telemetry", *CONTRACTS),
    "documents": ("runtime", "auth", "telemetry", *CONTRACTS),
    "internal": ("runtime", *CONTRACTS),  # what servers ask each other: both sides
    "where": ("internal", "runtime", *CONTRACTS),
    "overview": ("internal", "runtime", "auth", *CONTRACTS),
    "client": ("domain", "telemetry.spans", "v1"),  # a library for others: no server comes along
    **dict.fromkeys(
        (f"adapters.{name}" for name in ADAPTERS), ("settings", "auth", "runtime", *CONTRACTS)
    ),
    "adapters.build": ("adapters.embedded", "settings", *CONTRACTS),  # the rest by their folder
    **dict.fromkeys((f"servers.{name}" for name in SERVERS), ("adapters.build", *PROCESS)),
    "servers.history": ("adapters.build", "overview", "where", *PROCESS),
    "run": ("adapters.build", *MAINS, *PROCESS),
    "edge": ("adapters.build", "settings", *CONTRACTS),
    "cli": ("adapters.build", "client", "edge", "overview", "run", "where", *MAINS, *PROCESS),
    "__main__": ("cli",),
}

# What else the domain may import: nothing that does I/O, knows the time or rolls dice.
PURE = tuple(
    "__future__ abc base64 bisect collections contextlib dataclasses enum functools "
    "google.protobuf difflib hashlib heapq ipaddress itertools json math operator re string "
    "struct typing typing_extensions unicodedata urllib.parse zlib".split()
)


def package_of(module: str) -> str:
    """The key of `MAY`: `ports` for ports.history, `domain.log` for domain.log.fold."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] in DIVIDED else 1])


def imported(source: str) -> Iterator[str]:
    """Full names, `a.b.c` for `from a.b import c`; also inside functions and `if TYPE_CHECKING`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here (ruff TID252)"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def wrong_imports(module: str, source: str) -> list[str]:
    """What `module` (without `cecochat.`) imports against the rules."""
    package = package_of(module)
    wrong = []
    for name in imported(source):
        inside = name.removeprefix("cecochat.")
        if inside == name:
            allowed = not within(package, ("domain",)) or within(name, PURE)
        else:
            allowed = inside == "__version__" or within(inside, (package, *MAY[package]))
        if not allowed:
            wrong.append(name)
    return wrong


def modules() -> Iterator[tuple[str, Path]]:
    """Every module as `messaging.session`, a package itself as `messaging`."""
    for path in sorted(set(ROOT.glob("**/*.py")) - set(EMPTY)):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def test_every_package_has_a_rule() -> None:
    packages = {package_of(module) for module, _ in modules()}
    assert packages - MAY.keys() == set(), "say in MAY what it may import"


def test_imports_point_inward() -> None:
    found = {module: wrong_imports(module, path.read_text()) for module, path in modules()}
    assert len(found) > 20, "the sources were not found"
    assert {module: names for module, names in found.items() if names} == {}


def test_no_modules_import_each_other() -> None:
    sources = dict(modules())
    graph = {name: set(within_the_project(path, sources.keys())) for name, path in sources.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names them


def within_the_project(path: Path, known: KeysView[str]) -> Iterator[str]:
    for name in imported(path.read_text()):
        inside = name.removeprefix("cecochat.")
        yield from {inside, inside.rpartition(".")[0]} & known


def test_importing_a_root_imports_nothing_else() -> None:
    for path in EMPTY:
        assert [name for name in imported(path.read_text()) if within(name, ("cecochat",))] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("domain.log.fold", "import asyncio"),
        ("domain.log.fold", "from time import monotonic"),
        ("domain.log.fold", "import os.path"),
        ("domain.log.fold", "def f() -> int:\n    import random\n    return random.randrange(2)"),
        ("domain.log.fold", "from google.cloud import storage"),
        ("domain.log.fold", "from cecochat.ports.backplane import Record"),
        ("domain.log.fold", "from cecochat.domain.session import frames"),
        ("domain.session.frames", "from cecochat.domain.ownership.owner import Owner"),
        ("ports.backplane", "from cecochat.adapters import build"),
        ("servers.messaging.main", "from cecochat.adapters.embedded.log import Log"),
        ("servers.messaging.main", "from cecochat.adapters import embedded"),
        ("servers.messaging.main", "import cecochat.servers.history"),
        ("servers.connect.app", "from cecochat.servers.messaging.session import Session"),
        ("adapters.embedded.log", "from cecochat.adapters.kafka import producer"),
        ("adapters.embedded.log", "from cecochat.adapters.build import build"),
        ("adapters.build", "from cecochat.adapters.kafka import backend"),
        ("client.stream", "from cecochat.settings.settings import Settings"),
        ("client.stream", "from cecochat import servers"),
        ("runtime.serve", "from cecochat.adapters.build import build"),
        ("servers.messaging.main", "from cecochat.run.system import run"),
        ("run.system", "from cecochat.adapters.embedded.log import Log"),
        ("cli.up", "from cecochat.servers.messaging.session import Session"),
        ("cli.up", "from cecochat import *"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert len(wrong_imports(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("domain.log.fold", "from collections.abc import Sequence"),
        ("domain.log.fold", "from cecochat.v1.log_pb2 import State"),
        ("domain.log.fold", "from google.protobuf.message import DecodeError"),
        ("ports.backplane", "from cecochat.domain.errors import Trimmed"),
        ("adapters.build", "from cecochat.adapters.embedded.log import Log"),
        ("servers.messaging.main", "from cecochat.adapters.build import build"),
        ("servers.messaging.main", "from cecochat import __version__"),
        ("cli.up", "from cecochat.servers.messaging import main"),
        ("cli.up", "from cecochat.servers.history.main import serve"),
    ],
)
def test_a_right_import_is_allowed(module: str, source: str) -> None:
    assert wrong_imports(module, source) == []
