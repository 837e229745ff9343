"""Looks for bytes that are to be nowhere."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path


def places_of(wanted: Iterable[bytes], *folders: Path) -> list[str]:
    """The files below these folders that hold any of these bytes, also if they are compressed."""
    sought = list(wanted)
    return [
        str(path)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(each in _content(path) for each in sought)
    ]


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
