"""Revoking tokens: one more entry in the document of revocations, and following it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.auth.tokens import Verifier
from cecochat.documents.follow import Following, last_good, valid
from cecochat.domain.cluster import configuration as keys
from cecochat.domain.cluster import revocations
from cecochat.domain.cluster.revocations import Revocation
from cecochat.domain.errors import Invalid, InvalidSettings, Refusal, Unavailable
from cecochat.ports.configuration import CONFIGURATION, REVOCATIONS, Configuration
from cecochat.runtime.clock import now_ms
from cecochat.runtime.guard import concerns
from cecochat.runtime.http import App, error_response
from cecochat.v1 import errors_pb2

BY_HTTP = "POST /revocations"

Parsed = TypeVar("Parsed")


def until_now_ms() -> int:
    """The time before which all is issued that has been issued by now, within this ms as well."""
    return now_ms() + 1


async def follow_revocations(
    following: Following, verifier: Verifier, applied: Callable[[], None] = lambda: None
) -> None:
    """Tell a server's verifier what is revoked, now and after each change, until cancelled."""
    async with aclosing(valid(following, REVOCATIONS, revocations.parse)) as versions:
        async for _, revoked in versions:
            verifier.revoke(revoked)
            applied()


async def deciding(
    configuration: Configuration, wanted: Revocation
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """What `Configuration.change` makes the next version of the document with: of one that is not
    valid, which nobody follows, it is made from the last that was.
    """
    config = await _good(configuration, CONFIGURATION, keys.parse)
    good = await _good(configuration, REVOCATIONS, revocations.parse)

    def decide(current: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            known = revocations.parse(current)
        except InvalidSettings:
            known = good
        made = revocations.with_one(
            known, wanted, now_ms=now_ms(), lifetime_max_s=config.tokens_lifetime_max_s
        )
        return revocations.document(made)

    return decide


async def _good(configuration: Configuration, name: str, parse: Callable[[Any], Parsed]) -> Parsed:
    """What the newest version says that is valid. Raises `Unavailable`."""
    with suppress(InvalidSettings):
        return parse((await configuration.get(name)).value)
    earlier = await last_good(configuration, name, parse)
    return earlier[1] if earlier else parse({})


def add_revoking(app: App, configuration: Configuration) -> None:
    """`POST /revocations` with `{"user": ID, "sid": SID, "before_ms": MS}`, for the back end of the
    application. `user` may be absent where `everyone` is true, `sid` and `before_ms` always.
    """

    @app.post("/revocations", ctx_scope="change")
    async def revoke(request: Request) -> HTTPResponse:
        try:
            wanted = _wanted(request)
            concerns(request, wanted.user or "everyone", *([wanted.sid] if wanted.sid else []))
            decide = await deciding(configuration, wanted)
            stored = await configuration.change(REVOCATIONS, decide, by=BY_HTTP)
        except Refusal as refusal:
            return error_response(refusal)
        except Unavailable as error:
            return error_response(Refusal(errors_pb2.ERROR_CODE_UNAVAILABLE, str(error), 1_000))
        body = {**wanted._asdict(), "version": stored.version}
        return json_response(body, dumps=json.dumps)


def _wanted(request: Request) -> Revocation:
    """Nothing but JSON: a page in somebody's browser can send other kinds without being asked."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise _invalid("the body is no application/json")
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        raise _invalid("the body is no JSON") from None
    match body:
        case {"everyone": True, **others} if others.keys() <= {"before_ms"}:
            return Revocation("", "", _before_ms(body))
        case {"user": str(user), **others} if user and others.keys() <= {"sid", "before_ms"}:
            return Revocation(user, _text(body, "sid"), _before_ms(body))
    raise _invalid("it names nobody, or something that is not known")


def _text(body: Mapping[str, Any], name: str) -> str:
    if isinstance(value := body.get(name, ""), str):
        return value
    raise _invalid(f"{name} is no text")


def _before_ms(body: Mapping[str, Any]) -> int:
    value = body.get("before_ms")
    if value is None:
        return until_now_ms()
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _invalid("before_ms is no whole number")


def _invalid(what: str) -> Refusal:
    return Invalid(
        f'{what}: send {{"user": ID}}, with "sid" and "before_ms" as you like, or '
        '{"everyone": true}',
    )
