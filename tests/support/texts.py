"""Texts that nobody here wrote: paragraphs of Python's manual, which comes with every Python."""

from __future__ import annotations

import re
from functools import cache
from pydoc_data.topics import topics

SOURCE = "the topics of Python's manual (pydoc_data)"
TEXT_MAX_BYTES = 16 * 1024


@cache
def real_texts() -> tuple[str, ...]:
    """Messages of 1 byte to 16 KiB, none of them blank; one version of Python has one order."""
    parts = (part for topic in sorted(topics) for part in re.split(r"\n\n+", topics[topic]))
    return tuple(part for part in parts if part.strip() and len(part.encode()) <= TEXT_MAX_BYTES)
