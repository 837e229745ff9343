"""Makes development tokens: JSON Web Tokens (RFC 7519) under a secret, as HS256."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import jwt

from cecochat.domain.log.ids import app_of, user_id

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
    claims = {**_claims(name, lifetime_s), "aud": FOR_SERVICES, "scope": " ".join(scopes)}
    return jwt.encode(claims, secret, algorithm="HS256")


def mint(secret: bytes, user: str, lifetime_s: float) -> str:
    """Make a development token for a user. Raises `Refusal` for a malformed user id."""
    claims = {**_claims(user, lifetime_s), "aud": AUDIENCE}
    return jwt.encode(claims, secret, algorithm="HS256")


def _claims(id_: str, lifetime_s: float) -> dict[str, Any]:
    now, app = time.time(), app_of(user_id(id_))
    of_app = {"app": app} if app else {}
    return {"sub": id_.rpartition("/")[2], **of_app, "iat": now, "exp": now + lifetime_s}
