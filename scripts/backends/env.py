"""The file that says where the backends are, with lines like `CECOCHAT_KAFKA=127.0.0.1:17092`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from scripts.backends.kinds import KINDS

VARIABLES = {name: kind.variable for name, kind in KINDS.items() if kind.variable}


def read(path: Path) -> dict[str, str]:
    """Return the address of each backend by name. Other lines are ignored."""
    names = {variable: name for name, variable in VARIABLES.items()}
    pairs = (line.partition("=") for line in _lines(path))
    return {names[key]: value for key, _, value in pairs if key in names}


def write(path: Path, addresses: Mapping[str, str]) -> None:
    """Note these addresses, and keep the others that are noted."""
    _save(path, {**read(path), **addresses})


def forget(path: Path, names: Iterable[str]) -> None:
    left = read(path)
    for name in names:
        left.pop(name, None)
    if path.exists():
        _save(path, left)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _save(path: Path, addresses: Mapping[str, str]) -> None:
    lines = [f"{VARIABLES[name]}={at}\n" for name, at in addresses.items() if name in VARIABLES]
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.write_text("".join(lines))
    new.replace(path)
