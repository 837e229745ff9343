"""Reads a file of settings."""

from __future__ import annotations

from pathlib import Path

from cecochat.domain.errors import InvalidSettings


def assignments(path: Path, prefix: str) -> dict[str, str]:
    """Read variables with this prefix from lines of NAME=value. Raises `InvalidSettings`.

    Empty lines, and lines that begin with #, are ignored.
    """
    try:
        lines = path.expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"the settings file {path} cannot be read: {error}") from None
    found = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.startswith(prefix):
            raise InvalidSettings(
                f"{path}, line {number}: use {prefix}NAME=value, not {line!r:.80}"
            )
        found[name.strip()] = value.strip()
    return found
