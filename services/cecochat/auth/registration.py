"""Signs what servers register, so that they know each other in a registry that others may write to.

The signature is made with the cluster's secret. The address of a server's health is registered in
parts that can be nothing else.
"""

from __future__ import annotations

import hmac
import json
import re
from typing import Final
from urllib.parse import urlsplit

from cecochat.ports.discovery import Instance

FORM: Final = "cecochat-registration-1"
"""The beginning of what is signed, so that nothing else that this secret signs can pass for it."""
PORT_MAX: Final = 65_535
SCHEMES: Final = ("http", "https")
ADDRESS: Final = re.compile(r"([A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")


def signature(secret: bytes, namespace: str, instance: Instance) -> str:
    """Return the HMAC-SHA256 (RFC 2104) of everything that is registered, in hex."""
    form = json.dumps([FORM, namespace, *instance])
    return hmac.new(secret, form.encode(), "sha256").hexdigest()


def is_signed(secret: bytes, namespace: str, instance: Instance, signed: str) -> bool:
    """Return whether a server with the secret registered this instance, and nobody changed it
    since.
    """
    expected = signature(secret, namespace, instance)
    return hmac.compare_digest(expected.encode(), signed.encode(errors="replace"))


def health_url(scheme: str, address: str) -> str:
    """Return the URL of a server's health.

    Raises ValueError unless the scheme is http or https, and the address is just host:port.
    """
    found = ADDRESS.fullmatch(address)
    if scheme not in SCHEMES or not found or not 0 < int(found[2]) <= PORT_MAX:
        raise ValueError(f"{scheme!r:.20} and {address!r:.80} are not a scheme and a host:port")
    return f"{scheme}://{address}"


def health_parts(url: str) -> tuple[str, str]:
    """Split a URL into what `health_url` takes. Raises ValueError if that is not possible."""
    parts = urlsplit(url)
    if health_url(parts.scheme, parts.netloc) != url:
        raise ValueError(f"{url!r:.80} is not only a scheme, a host and a port")
    return parts.scheme, parts.netloc
