"""What a token says, claim by claim: each is of a form that the rest of the program can rely on."""

from __future__ import annotations

from typing import Any, NamedTuple

import jwt

from cecochat.domain.cluster.revocations import SID_MAX_BYTES
from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId, app_of, of_app, user_id
from cecochat.v1 import errors_pb2

ISSUED_AHEAD_MAX_S = 60
"""How far in the future a token may have been issued: the clocks of who issues and of who verifies
it may differ by that. Such a token outlives what is revoked before the time that it says.
"""
_TIME_MAX_S = 1 << 40


class Named(NamedTuple):
    """The key that a token says it is signed with, and the app that it says it is for."""

    kid: str
    app: str


def named(token: str) -> Named:
    """Return what a token says of itself, which nobody has verified."""
    said = jwt.decode_complete(token, options={"verify_signature": False})
    kid, app = said["header"].get("kid"), said["payload"].get("app", "")
    if not isinstance(app, str):
        raise unauthenticated("the token's app is not a text")
    return Named(str(kid or ""), app)


def time_s(claim: str, value: Any) -> float:
    """Read a NumericDate. JSON has numbers of any length, and Python's parser even infinity."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and abs(value) < _TIME_MAX_S:
        return float(value)
    raise unauthenticated(f"the token's {claim} is not a time in seconds since 1970")


def check_ahead(ahead_s: float) -> None:
    if ahead_s > ISSUED_AHEAD_MAX_S:
        raise Refusal(
            errors_pb2.ERROR_CODE_UNAVAILABLE,
            f"the token was issued {ahead_s:.0f} s in the future by this server's clock, and at "
            f"most {ISSUED_AHEAD_MAX_S} s are allowed: compare the clocks of this server and of "
            "who issued it",
            1_000,
        )


def sid(value: Any) -> str:
    if isinstance(value, str) and len(value.encode(errors="replace")) <= SID_MAX_BYTES:
        return value
    raise unauthenticated(f"the token's sid is not a text of at most {SID_MAX_BYTES} bytes")


def scopes(value: Any) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset(value.split())
    raise unauthenticated("the token's scope is not a text")


def subject(claims: dict[str, Any]) -> UserId:
    """Return whose token it is. `sub` names somebody within the app that `app` names."""
    sub, app = claims["sub"], claims.get("app", "")
    if app_of(sub):
        raise unauthenticated("the token's sub has an app: name that in the claim `app`")
    try:
        return user_id(of_app(app, sub))
    except Refusal as refusal:
        raise unauthenticated(f"the token's sub is not valid: {refusal.message}") from None


def unauthenticated(what: str) -> Refusal:
    return Refusal(errors_pb2.ERROR_CODE_UNAUTHENTICATED, f"{what}: get a new token")
