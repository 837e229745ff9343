"""No file of code is so long that a reader loses the thread, and no line that is read at night."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PIECE = r"`[^`]{40,}`|\S{60,}"
ROOT = Path(__file__).parents[2]
LINES_MAX = 400
COLUMNS = 100
NOT_OURS = "_pb2|/gen/"
CODE = ("services", "tests", "scripts", "clients/typescript/src", "clients/typescript/test")


@pytest.mark.parametrize("folder", CODE)
def test_no_file_is_longer_than_a_reader_can_follow(folder: str) -> None:
    lines = {
        f"{path.relative_to(ROOT)}": len(path.read_text().splitlines())
        for suffix in ("*.py", "*.sh", "*.ts")
        for path in (ROOT / folder).rglob(suffix)
        if not re.search(NOT_OURS, f"{path}")
    }
    assert lines, "nothing was looked at"
    assert {name: count for name, count in lines.items() if count > LINES_MAX} == {}


@pytest.mark.parametrize("page", ["runbook.md", "how-to/when-something-is-wrong.md"])
def test_a_page_for_the_night_fits_into_a_terminal(page: str) -> None:
    """But for tables, and for links and messages of servers, which are better in one piece."""
    text = (ROOT / "docs" / page).read_text()
    prose = [line for part in text.split("```")[::2] for line in part.splitlines()]
    assert len(prose) > 50, "nothing was looked at"
    long = [line for line in prose if len(line) > COLUMNS and line[0] != "|"]
    assert [line for line in long if len(re.split(PIECE, line)) == 1] == []
