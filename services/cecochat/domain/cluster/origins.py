"""Origins of web pages (RFC 6454): scheme, host and port, as a browser says them."""

from __future__ import annotations

import re
from typing import Final

from cecochat.domain.errors import InvalidSettings

FORM: Final = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII)
DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
LENGTH_MAX: Final = 4_096


def origin(url: str) -> str:
    """Return the origin of a URL without a path, as a browser writes it: in lower case, and without
    the port that the scheme implies. Raises ValueError if it is none.
    """
    found = FORM.fullmatch(url.lower().removesuffix("/"))
    if found is None:
        raise ValueError(f"{url!r:.80} is no origin")
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" + (f":{port}" if port and port != DEFAULT_PORTS[scheme] else "")


def origins(text: object) -> frozenset[str]:
    """Read a list of origins that are separated by commas. Raises `InvalidSettings`."""
    if not isinstance(text, str) or len(text) > LENGTH_MAX:
        raise InvalidSettings(
            f"web.origins is {text!r:.80}: use text of at most {LENGTH_MAX} characters, such as "
            "https://chat.example.com"
        )
    named = (each.strip() for each in text.split(","))
    try:
        return frozenset(origin(each) for each in named if each)
    except ValueError as error:
        raise InvalidSettings(
            f"web.origins: {error}: use origins such as https://chat.example.com, separated by "
            "commas"
        ) from None
