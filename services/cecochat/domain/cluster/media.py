"""Which media types may be uploaded: the configuration key `attachments.types`."""

from __future__ import annotations

import re
from typing import Final

from cecochat.domain.errors import InvalidSettings

FORM: Final = re.compile(r"\*|[a-z0-9][a-z0-9.+-]*/(\*|[a-z0-9][a-z0-9.+-]*)", re.ASCII)
LENGTH_MAX: Final = 4_096


def media_types(text: object) -> frozenset[str]:
    """Read a list of types that are separated by commas. Raises `InvalidSettings`."""
    if not isinstance(text, str) or len(text) > LENGTH_MAX:
        raise InvalidSettings(
            f"attachments.types is {text!r:.80}: use text of at most {LENGTH_MAX} characters, such "
            "as image/*, application/pdf"
        )
    listed = frozenset(each.strip() for each in text.split(",") if each.strip())
    if wrong := sorted(each for each in listed if not FORM.fullmatch(each)):
        raise InvalidSettings(
            f"attachments.types: {wrong[0]!r:.80} is no media type: use types such as image/*, "
            "application/pdf, in lower case and separated by commas, or * for any"
        )
    return listed


def allows(types: frozenset[str], media_type: str) -> bool:
    """Return whether a list of types has a type."""
    family = media_type.partition("/")[0]
    return not types.isdisjoint({"*", f"{family}/*", media_type})
