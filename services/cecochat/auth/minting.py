"""Makes development tokens: JSON Web Tokens (RFC 7519) under a secret, as HS256."""

from __future__ import annotations

import time

import jwt

from cecochat.domain.log.ids import user_id

AUDIENCE = "cecochat"


def mint(secret: bytes, user: str, lifetime_s: float) -> str:
    """Make a development token for a user. Raises `Refusal` for a malformed user id."""
    now = time.time()
    claims = {"sub": user_id(user), "aud": AUDIENCE, "iat": now, "exp": now + lifetime_s}
    return jwt.encode(claims, secret, algorithm="HS256")
