"""The page names a file and a function at each step of a message: they are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
STEP = re.compile(r"`([a-z_/]+\.py): ([\w., ]+)`")


def defined(path: Path) -> set[str]:
    """Functions as `name`, methods as `Class.name`."""
    tree = ast.parse(path.read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {each.name for each in tree.body if isinstance(each, functions)} | {
        f"{owner.name}.{each.name}"
        for owner in tree.body
        if isinstance(owner, ast.ClassDef)
        for each in owner.body
        if isinstance(each, functions)
    }


def test_every_step_of_a_message_is_where_the_page_says() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    path = page.partition("## The path of one message")[2].partition("\n## ")[0]
    steps = re.split(r"\n\d\. ", path)[1:]
    assert len(steps) == 8
    for step in steps:
        named = STEP.findall(step)
        assert named, step
        for file, names in named:
            found = defined(ROOT / "services" / "cecochat" / file)
            assert set(names.split(", ")) <= found, (file, names)
