"""What the runbook looks for in the logs is what the servers say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
GREP = re.compile(r"^journalctl .*\| grep (?:-E )?'(.+)'$", re.MULTILINE)


def said() -> list[str]:
    """Every string in the code that is handed to a call, joined as the interpreter joins it."""
    sources = (ROOT / "services" / "cecochat").rglob("*.py")
    nodes = (node for source in sources for node in ast.walk(ast.parse(source.read_text())))
    given = (each for node in nodes if isinstance(node, ast.Call) for each in node.args)
    parts = (part for each in given for part in ast.walk(each) if isinstance(part, ast.Constant))
    return [part.value for part in parts if isinstance(part.value, str)]


def test_what_the_runbook_looks_for_in_logs_is_said_there() -> None:
    lines = GREP.findall((ROOT / "docs" / "runbook.md").read_text())
    patterns = [pattern for line in lines for pattern in line.split("|")]
    assert len(patterns) >= 6
    texts = said()
    assert [each for each in patterns if not any(each in text for text in texts)] == []
