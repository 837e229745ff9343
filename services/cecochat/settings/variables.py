"""A setting: a field with its meaning, and how the text of its variable is read."""

from __future__ import annotations

import re
from dataclasses import Field, field
from pathlib import Path
from typing import Any

from cecochat.domain.errors import InvalidSettings

NAMESPACE = re.compile(r"[a-z][a-z0-9_]{0,31}")
TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


def setting(
    default: Any,
    meaning: str,
    low: int = 0,
    high: int = 1 << 53,
    choices: tuple[str, ...] = (),
    *,
    secret: bool = False,
    needs: str = "",
) -> Any:
    """A field of `Settings`, or of what a backend declares. `needs`: the setting without which it
    would be left unused, so that a server meant to encrypt or to log in would not.
    """
    metadata = {"meaning": meaning, "low": low, "high": high, "choices": choices, "needs": needs}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata, repr=not secret)


def parse(variable: str, text: str, of: Field[Any]) -> Any:
    """The value that a variable gives a field. Raises `InvalidSettings` naming the variable."""
    if "Path" in str(of.type):
        return Path(text).expanduser() if text else None
    if of.type == "bool":
        if text.lower() not in TRUTH:
            raise InvalidSettings(f"{variable} is {text!r}: use true or false")
        return TRUTH[text.lower()]
    if of.name == "namespace" and not NAMESPACE.fullmatch(text):
        raise InvalidSettings(
            f"{variable} is {text!r}: use a letter, then letters, digits and _ (a-z)"
        )
    if (choices := of.metadata["choices"]) and text not in choices:
        raise InvalidSettings(f"{variable} is {text!r}: use one of {', '.join(choices)}")
    if of.type != "int":
        return text
    low, high = of.metadata["low"], of.metadata["high"]
    try:
        value = int(text)
    except ValueError:
        raise InvalidSettings(f"{variable} is {text!r}: use a whole number") from None
    if not low <= value <= high:
        raise InvalidSettings(f"{variable} is {value}: use {low} to {high}")
    return value
