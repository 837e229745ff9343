"""Builds the Markdown pages that are written from the code."""

from __future__ import annotations

from collections.abc import Iterable

NOTE = "<!-- Written by scripts/reference.py from the code: do not edit. -->"


def page(head: str, *body: str) -> str:
    """Return a page: first what a person wrote, then what follows from the code."""
    return "\n\n".join([f"{NOTE}\n{head.strip()}", *map(str.strip, body)]) + "\n"


def table(head: str, rows: Iterable[Iterable[object]]) -> str:
    """Return a table. `head` has the names of the columns, separated by ` | `."""
    columns = head.split(" | ")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def in_code(value: object) -> str:
    """Return a value as code. An empty value stays empty."""
    return f"`{value}`" if str(value) else ""
