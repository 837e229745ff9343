"""Every place that the glossary names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = (ROOT / "services" / "cecochat", ROOT / "protos" / "cecochat" / "v1")


def test_every_place_is_there() -> None:
    page = (ROOT / "docs/explanation/glossary.md").read_text()
    named = re.findall(r"\| `([\w/]+(?:\.py|\.proto|/))` \|$", page, re.M)
    assert len(named) > 20
    assert [name for name in named if not any((place / name).exists() for place in PLACES)] == []
