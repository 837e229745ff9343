"""Texts that nobody here wrote: Debian's fortunes, else the licence texts that every Debian has.

Reports name `source()`; a test that is skipped where the fortunes are missing says so after a run.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

FORTUNES = Path("/usr/share/games/fortunes")
LICENCES = Path("/usr/share/common-licenses")
TEXT_MAX_BYTES = 16 * 1024


@cache
def real_texts() -> tuple[str, ...]:
    """Messages of 1 byte to 16 KiB, in a fixed order."""
    texts = _split(FORTUNES, r"^%\n") or _split(LICENCES, r"\n\n+")
    if not texts:
        raise FileNotFoundError(f"neither {FORTUNES} nor {LICENCES}: apt-get install fortunes")
    return texts


def source() -> str:
    """Which texts these are, for reports."""
    if FORTUNES.is_dir():
        return f"fortunes from {FORTUNES}"
    return f"licence texts from {LICENCES}, since {FORTUNES} is missing (apt-get install fortunes)"


def _split(folder: Path, separator: str) -> tuple[str, ...]:
    files = sorted(file for file in folder.glob("*") if file.suffix == "" and file.is_file())
    parts = (
        part
        for file in files
        for part in re.split(separator, file.read_text(errors="replace"), flags=re.MULTILINE)
    )
    return tuple(part for part in parts if 0 < len(part.encode()) <= TEXT_MAX_BYTES)
