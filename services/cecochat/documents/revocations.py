"""Revokes tokens, by an entry in the document of revocations, and follows that document."""

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
from cecochat.domain.cluster import apps, revocations, values
from cecochat.domain.cluster.revocations import Revocation, Revocations
from cecochat.domain.errors import Invalid, InvalidSettings, Refusal, Unavailable
from cecochat.ports.configuration import APPS, CONFIGURATION, REVOCATIONS, Configuration
from cecochat.runtime import bodies
from cecochat.runtime.clock import now_ms
from cecochat.runtime.guard import concerns
from cecochat.runtime.http import App, error_response
from cecochat.v1 import errors_pb2

BY_HTTP = "POST /revocations"
REQUEST_MAX_BYTES = 4 << 10

Parsed = TypeVar("Parsed")


def until_now_ms() -> int:
    """Return a time in ms that is later than the issue of any token up to now."""
    return now_ms() + 1


async def follow_revocations(
    following: Following,
    verifier: Verifier,
    applied: Callable[[Revocations], None] = lambda _: None,
) -> None:
    """Keep a server's verifier informed of what is revoked, and then call `applied`, until
    cancelled.
    """
    async with aclosing(valid(following, REVOCATIONS, revocations.parse)) as versions:
        async for _, revoked in versions:
            verifier.revoke(revoked)
            applied(revoked)


async def deciding(
    configuration: Configuration, wanted: Revocation, *, is_bounded: bool = True
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Return the function with which `Configuration.change` adds a revocation. Raises `Refusal` if
    there is no such app, and `Unavailable`.

    That of somebody who is erased is not bounded, so that it always finds room.
    If the current document is not valid, nobody follows it, so the last valid one is changed.
    """
    if wanted.app:
        apps.named(await _good(configuration, APPS, apps.parse), wanted.app)
    config = await _good(configuration, CONFIGURATION, values.parse)
    good = await _good(configuration, REVOCATIONS, revocations.parse)

    def decide(current: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            before = revocations.parse(current)
        except InvalidSettings:
            before = good
        made = revocations.with_one(
            before,
            wanted,
            now_ms=now_ms(),
            lifetime_max_s=config.tokens_lifetime_max_s,
            is_bounded=is_bounded,
        )
        return revocations.document(made)

    return decide


async def _good(configuration: Configuration, name: str, parse: Callable[[Any], Parsed]) -> Parsed:
    """Return the newest valid value of a document. Raises `Unavailable`."""
    with suppress(InvalidSettings):
        return parse((await configuration.get(name)).value)
    earlier = await last_good(configuration, name, parse)
    return earlier[1] if earlier else parse({})


async def revoke(configuration: Configuration, wanted: Revocation, *, by: str) -> int:
    """Add a revocation, and return the version of the document that has it. Raises `Refusal` and
    `Unavailable`.
    """
    decide = await deciding(configuration, wanted)
    return (await configuration.change(REVOCATIONS, decide, by=by)).version


def add_revoking(app: App, configuration: Configuration) -> None:
    """Serve `POST /revocations` for the application's back end.

    The body is `{"user": ID, "sid": SID, "before_ms": MS}`, `{"app": NAME, ...}` or `{"everyone":
    true, ...}`. `sid` and `before_ms` are optional.
    """

    @app.post("/revocations", ctx_scope="change", stream=True)
    async def by_http(request: Request) -> HTTPResponse:
        try:
            wanted = await _wanted(request)
            whose = wanted.user or wanted.app or "everyone"
            concerns(request, whose, *([wanted.sid] if wanted.sid else []))
            version = await revoke(configuration, wanted, by=BY_HTTP)
        except Refusal as refusal:
            return error_response(refusal)
        except Unavailable as error:
            return error_response(Refusal(errors_pb2.ERROR_CODE_UNAVAILABLE, str(error), 1_000))
        body = {**wanted._asdict(), "version": version}
        return json_response(body, dumps=json.dumps)


async def _wanted(request: Request) -> Revocation:
    """Read the request. It must be JSON: a web page can send other types without permission."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise _invalid("the content type is not application/json")
    sent = await bodies.read(request, REQUEST_MAX_BYTES)
    try:
        body = json.loads(sent.decode())
    except (ValueError, RecursionError):
        raise _invalid("the body is not JSON") from None
    match body:
        case {"everyone": True, **others} if others.keys() <= {"before_ms"}:
            return Revocation("", "", _before_ms(body))
        case {"app": str(app), **others} if app and others.keys() <= {"before_ms"}:
            return Revocation("", "", _before_ms(body), app)
        case {"user": str(user), **others} if user and others.keys() <= {"sid", "before_ms"}:
            return Revocation(user, _text(body, "sid"), _before_ms(body))
    raise _invalid("the body names nobody, or has an unknown field")


def _text(body: Mapping[str, Any], name: str) -> str:
    if isinstance(value := body.get(name, ""), str):
        return value
    raise _invalid(f"{name} is not a text")


def _before_ms(body: Mapping[str, Any]) -> int:
    value = body.get("before_ms")
    if value is None:
        return until_now_ms()
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _invalid("before_ms is not a whole number")


def _invalid(what: str) -> Refusal:
    return Invalid(
        f'{what}: send {{"user": ID}}, with "sid" and "before_ms" if you like, {{"app": NAME}} or '
        '{"everyone": true}',
    )
