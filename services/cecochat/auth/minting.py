"""Makes development tokens: JSON Web Tokens (RFC 7519) under a secret, as HS256."""

from __future__ import annotations

import time
from collections.abc import Iterable

import jwt

from cecochat.domain.log.ids import user_id

AUDIENCE = "cecochat"
FOR_SERVICES = "cecochat-backend"
"""The audience of the tokens with which the product's back end calls."""
SERVICE_SCOPES = ("send", "groups", "read", "users", "operate")
"""What such a token may allow: sends, changes of groups, what users see, ending sessions,
moderation.
"""


def mint_for_service(secret: bytes, name: str, scopes: Iterable[str], lifetime_s: float) -> str:
    """Make a development token for a service of the product. Raises `Refusal` for a malformed
    name, which is like a user id.
    """
    now = time.time()
    claims = {"sub": user_id(name), "aud": FOR_SERVICES, "iat": now, "exp": now + lifetime_s}
    return jwt.encode({**claims, "scope": " ".join(scopes)}, secret, algorithm="HS256")


def mint(secret: bytes, user: str, lifetime_s: float) -> str:
    """Make a development token for a user. Raises `Refusal` for a malformed user id."""
    now = time.time()
    claims = {"sub": user_id(user), "aud": AUDIENCE, "iat": now, "exp": now + lifetime_s}
    return jwt.encode(claims, secret, algorithm="HS256")
