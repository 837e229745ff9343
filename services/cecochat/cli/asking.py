"""Asks servers at their internal listeners, on behalf of an operator."""

from __future__ import annotations

import getpass
import os
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from cecochat.cli.errors import Failed, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    import httpx

    from cecochat.auth.operators import Scope
    from cecochat.ports.discovery import Service
    from cecochat.runtime.asking import Asking

TOKEN = "CECOCHAT_OPERATOR_TOKEN"  # noqa: S105 - a name
LIFETIME_S = 60.0
ASK_S = 20.0  # longer than the deadlines that servers set themselves
NOT_FOUND = 404
WHAT = {"history": "history", "hooks": "hook"}
"""Service -> what people call its servers."""

Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The internal listener of a history server. By default one that Consul lists, or else "
        "that of the last `cecochat up`.",
    ),
]


# -- who asks


def asking(file: Path | None, data: Path | None, *scopes: Scope) -> Asking:
    """Return what makes clients that ask as the person who runs the command.

    Such a client raises `Refusal` if a server does not let it in. Raises `UsageError` if there is
    no secret to make tokens with.
    """
    from cecochat.runtime.asking import asking as asking_as
    from cecochat.settings.settings import load

    tls = load(file=file).internal_tls
    return partial(asking_as, _token(file, data, scopes), _refused, tls.client() if tls else None)


def _token(file: Path | None, data: Path | None, scopes: tuple[Scope, ...]) -> Callable[[], str]:
    from cecochat.auth.operators import SECRET_FILE, Operators
    from cecochat.cli.target import cluster_secret

    if given := os.environ.get(TOKEN):
        return lambda: given
    secret = cluster_secret(data, file)
    if not secret.exists():
        raise UsageError(
            f"servers answer only operators, and the secret of their cluster is not at {secret}: "
            f"name its file with {SECRET_FILE}, or set {TOKEN} to a token that "
            "`cecochat token --operator` has printed"
        )
    operators = Operators(secret.read_bytes())
    return partial(operators.mint, getpass.getuser(), scopes, LIFETIME_S)


def _refused(_: httpx.URL, why: str) -> NoReturn:
    from cecochat.domain.errors import Refusal
    from cecochat.v1 import errors_pb2

    raise Refusal(errors_pb2.ERROR_CODE_FORBIDDEN, why)


# -- a history server, or a hook server


async def ask_history(
    path: str, has: str, scope: Scope, server: str | None, file: Path | None, **params: str
) -> dict[str, Any]:
    """Return the first answer of a history server that has the field `has`.

    Raises `UsageError`, `Failed`, `Refusal`.
    """
    return await _ask("history", "GET", path, has, scope, server, file, params)


async def ask_desk(
    method: Literal["GET", "POST"],
    path: str,
    has: str,
    server: str | None,
    file: Path | None,
    **params: str,
) -> dict[str, Any]:
    """Return the first answer of a history server about moderation that has the field `has`.

    Raises `UsageError`, `Failed`, `Refusal`.
    """
    scope: Scope = "people" if method == "GET" else "change"
    return await _ask("history", method, path, has, scope, server, file, params)


async def _ask(
    service: Service,
    method: str,
    path: str,
    has: str,
    scope: Scope,
    server: str | None,
    file: Path | None,
    params: Mapping[str, str],
) -> dict[str, Any]:
    async with servers(service, scope, server, file) as ask:
        return await ask(method, path, has, params)


@asynccontextmanager
async def servers(
    service: Service, scope: Scope, server: str | None, file: Path | None
) -> AsyncIterator[Callable[..., Awaitable[dict[str, Any]]]]:
    """Yield what asks servers of a kind over the same connections: `await ask(method, path, has,
    params)` returns the first answer that has the field `has`.

    Raises `UsageError`, `Failed`, `Refusal`.
    """
    from cecochat.cli import target

    urls = [server] if server else await target.health_urls(service, file)
    async with asking(file, None, scope)(timeout_s=ASK_S) as client:
        yield partial(_first_answer, service, client, urls)


async def _first_answer(
    service: Service,
    client: httpx.AsyncClient,
    urls: Sequence[str],
    method: str,
    path: str,
    has: str,
    params: Mapping[str, str],
) -> dict[str, Any]:
    import httpx

    why = "none is known: see `cecochat status`, or name one with --server URL"
    for url in urls:
        try:
            answer = await client.request(method, f"{url.rstrip('/')}/{path}", params=params)
            return _read(service, answer, has)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            why = f"{url}: {str(error) or type(error).__name__}"
    raise Failed(f"no {WHAT[service]} server answers ({why})")


def _read(service: Service, response: httpx.Response, has: str) -> dict[str, Any]:
    """Return the body of an answer. Raises ValueError if such a server would not answer that."""
    what = f"a {WHAT[service]} server"
    if response.status_code == NOT_FOUND:
        raise ValueError(f"what answers there is not {what}, or an older version of one")
    body = response.json()
    match body:
        case {"error": {"code": str(code), "message": str(message)}}:
            raise UsageError(message) if code == "invalid_argument" else Failed(message)
        case dict() if has in body:
            return dict(body)
    raise ValueError(f"what answers there is not {what}")
