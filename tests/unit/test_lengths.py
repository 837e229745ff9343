"""No file of code is so long that a reader loses the thread."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES_MAX = 400
GENERATED = "_pb2"


@pytest.mark.parametrize("folder", ["services", "tests", "scripts"])
def test_no_file_is_longer_than_a_reader_can_follow(folder: str) -> None:
    lines = {
        f"{path.relative_to(ROOT)}": len(path.read_text().splitlines())
        for suffix in ("*.py", "*.sh")
        for path in (ROOT / folder).rglob(suffix)
        if GENERATED not in path.name
    }
    assert lines, "nothing was looked at"
    assert {name: count for name, count in lines.items() if count > LINES_MAX} == {}
