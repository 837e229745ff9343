"""How servers know each other in a registry that others may write to: each signs what it registers
with the secret of the cluster, and where its health is comes in parts that can be nothing else.
"""

from __future__ import annotations

import hmac
import json
import re
from typing import Final
from urllib.parse import urlsplit

from cecochat.ports.discovery import Instance

FORM: Final = "cecochat-registration-1"
"""Begins what is signed, so that nothing else that this secret signs can pass for it."""
PORT_MAX: Final = 65_535
SCHEMES: Final = ("http", "https")
ADDRESS: Final = re.compile(r"([A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")


def signature(secret: bytes, namespace: str, instance: Instance) -> str:
    """Over all that is said of a server: an HMAC-SHA256 (RFC 2104) of a list in JSON, as hex."""
    form = json.dumps([FORM, namespace, *instance])
    return hmac.new(secret, form.encode(), "sha256").hexdigest()


def is_signed(secret: bytes, namespace: str, instance: Instance, signed: str) -> bool:
    """Whether a server that has the secret registered this instance, and nothing was changed."""
    expected = signature(secret, namespace, instance)
    return hmac.compare_digest(expected.encode(), signed.encode(errors="replace"))


def health_url(scheme: str, address: str) -> str:
    """The URL of the health of a server. Raises ValueError for what is not http or https, or no
    host:port and nothing more.
    """
    found = ADDRESS.fullmatch(address)
    if scheme not in SCHEMES or not found or not 0 < int(found[2]) <= PORT_MAX:
        raise ValueError(f"{scheme!r:.20} and {address!r:.80} are not where a health can be")
    return f"{scheme}://{address}"


def health_parts(url: str) -> tuple[str, str]:
    """What `health_url` makes this one of. Raises ValueError where it could not."""
    parts = urlsplit(url)
    if health_url(parts.scheme, parts.netloc) != url:
        raise ValueError(f"{url!r:.80} is not only a scheme, a host and a port")
    return parts.scheme, parts.netloc
