"""Imports point inward: domain <- ports <- adapters and servers. `MAY` is the whole rule."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "services" / "cecochat"
EMPTY = (ROOT / "__init__.py", ROOT / "adapters" / "__init__.py")  # import nothing of cecochat

CONTRACTS = ("ports", "domain", "v1")
ADAPTERS = ("embedded", "kafka", "cassandra", "redis", "consul", "nomad", "local")
SERVERS = ("messaging", "materialize", "history", "connect", "control")
MAINS = tuple(f"{server}.main" for server in SERVERS)

# A package -> what it may import of cecochat besides itself. Not named: not allowed.
MAY: dict[str, tuple[str, ...]] = {
    "v1": (),
    "domain": ("v1",),
    "ports": ("domain", "v1"),
    "runtime": CONTRACTS,
    "client": ("domain", "v1"),  # a library for others: it brings no server along
    **dict.fromkeys((f"adapters.{name}" for name in ADAPTERS), ("runtime", *CONTRACTS)),
    "adapters.build": ("adapters", "runtime", *CONTRACTS),  # it alone knows which adapter is in use
    **dict.fromkeys(SERVERS, ("adapters.build", "runtime", *CONTRACTS)),
    "system": ("adapters.build", "runtime", *CONTRACTS, *MAINS),
    "stack": ("runtime", *CONTRACTS),
    "processes": ("runtime", "stack", "system", *CONTRACTS),
    "edge": ("adapters.build", "runtime", *CONTRACTS),
    "cli": (
        "adapters.build",
        "client",
        "edge",
        "processes",
        "runtime",
        "system",
        *CONTRACTS,
        *MAINS,
    ),
    "__main__": ("cli",),
}

# What else the domain may import: nothing that does I/O, knows the time or rolls dice.
PURE = tuple(
    "__future__ abc base64 bisect collections contextlib dataclasses enum functools "
    "google.protobuf difflib hashlib heapq itertools json math operator re string struct typing "
    "typing_extensions unicodedata".split()
)


def package_of(module: str) -> str:
    """The key of `MAY`: `domain` for domain.fold, `adapters.kafka` for adapters.kafka.producer."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "adapters" else 1])


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
            allowed = package != "domain" or within(name, PURE)
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


def test_importing_a_root_imports_nothing_else() -> None:
    for path in EMPTY:
        assert [name for name in imported(path.read_text()) if within(name, ("cecochat",))] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("domain.fold", "import asyncio"),
        ("domain.fold", "from time import monotonic"),
        ("domain.fold", "import os.path"),
        ("domain.fold", "def f() -> int:\n    import random\n    return random.randrange(2)"),
        ("domain.fold", "from google.cloud import storage"),
        ("domain.fold", "from cecochat.ports.backplane import Record"),
        ("ports.backplane", "from cecochat.adapters import build"),
        ("messaging.main", "from cecochat.adapters.embedded.log import Log"),
        ("messaging.main", "from cecochat.adapters import embedded"),
        ("messaging.main", "import cecochat.history"),
        ("connect.app", "from cecochat.messaging.session import Session"),
        ("adapters.embedded.log", "from cecochat.adapters.kafka import producer"),
        ("adapters.embedded.log", "from cecochat.adapters.build import build"),
        ("client.stream", "from cecochat.runtime.settings import Settings"),
        ("client.stream", "from cecochat import messaging"),
        ("runtime.serve", "from cecochat.adapters.build import build"),
        ("messaging.main", "from cecochat.system import run"),
        ("system", "from cecochat.adapters.embedded.log import Log"),
        ("cli.up", "from cecochat.messaging.session import Session"),
        ("cli.up", "from cecochat import *"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert len(wrong_imports(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("domain.fold", "from collections.abc import Sequence"),
        ("domain.fold", "from cecochat.v1.log_pb2 import State"),
        ("domain.fold", "from google.protobuf.message import DecodeError"),
        ("ports.backplane", "from cecochat.domain.errors import Trimmed"),
        ("adapters.build", "from cecochat.adapters.embedded.log import Log"),
        ("messaging.main", "from cecochat.adapters.build import build"),
        ("messaging.main", "from cecochat import __version__"),
        ("cli.up", "from cecochat.messaging import main"),
        ("cli.up", "from cecochat.history.main import serve"),
    ],
)
def test_a_right_import_is_allowed(module: str, source: str) -> None:
    assert wrong_imports(module, source) == []
