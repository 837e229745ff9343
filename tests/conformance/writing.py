"""How the files of the kit are written: what fits on a line is on one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WIDTH = 120


def written(value: Any, indent: int = 0, before: int = 0) -> str:
    """Return a value as JSON. `before` is how much of its first line is taken already."""
    line = json.dumps(value, ensure_ascii=False)
    if before + len(line) < WIDTH or not isinstance(value, dict | list) or not value:
        return line
    inner = " " * (indent + 2)
    if isinstance(value, list):
        parts = [written(each, indent + 2, indent + 2) for each in value]
        opened, closed = "[", "]"
    else:
        names = {key: f"{json.dumps(key, ensure_ascii=False)}: " for key in value}
        parts = [
            names[key] + written(each, indent + 2, indent + 2 + len(names[key]))
            for key, each in value.items()
        ]
        opened, closed = "{", "}"
    return f"{opened}\n{inner}" + f",\n{inner}".join(parts) + f"\n{' ' * indent}{closed}"


def write_all(folder: Path, cases: dict[str, Any]) -> None:
    """Replace all files of a folder."""
    for old in folder.glob("*.json"):
        old.unlink()
    for name, case in cases.items():
        (folder / f"{name}.json").write_text(f"{written(case)}\n")
