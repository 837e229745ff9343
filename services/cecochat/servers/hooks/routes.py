"""What operators can ask a hook server over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from typing import Any, Final

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.domain.errors import Invalid, ProducerEnded, Refusal, Unavailable
from cecochat.domain.hooks.endpoints import named
from cecochat.domain.hooks.told import TEST, Told
from cecochat.internal.v1.internal_pb2 import Tail
from cecochat.ports.backplane import Log
from cecochat.ports.burying import Burial
from cecochat.runtime.clock import now_ms
from cecochat.runtime.http import App, ask_again, error_response, sent
from cecochat.sealing.opening import Opening
from cecochat.servers.hooks.parked import Spot, find, page_of, replayed
from cecochat.servers.hooks.posting import Poster
from cecochat.servers.hooks.streaming import LOST, Stream, Wanted
from cecochat.servers.hooks.telling import first_error
from cecochat.servers.hooks.worker import Hooks

_log = logging.getLogger(__name__)

NDJSON: Final = "application/x-ndjson"


def add_routes(app: App, log: Log, hooks: Hooks, poster: Poster, burial: Burial) -> None:
    """Add the routes. `GET /hooks` says what waits here, by endpoint, and `GET /hooks/NAME` what is
    parked for one, in pages. `POST /hooks/NAME` sends it a webhook of the kind `test`, or with
    `?replay=ID` one that is parked.
    """

    @app.get("/hooks", ctx_scope="read")
    async def state(_: Request) -> HTTPResponse:
        return _answer({"endpoints": hooks.as_json()})

    @app.get("/hooks/<endpoint:str>", ctx_scope="people")
    async def parked(request: Request, endpoint: str) -> HTTPResponse:
        try:
            begin = Spot.parse(request.args.get("from", "0:0"), log)
            page = await page_of(log, endpoint, begin)
        except Refusal as refusal:
            return error_response(refusal)
        except Unavailable as error:
            return ask_again(error)
        return _answer({"parked": page.parked, "next": str(page.next or "")})

    @app.post("/hooks/<endpoint:str>", ctx_scope="change", ignore_body=True)
    async def send(request: Request, endpoint: str) -> HTTPResponse:
        try:
            if id_ := request.args.get("replay", ""):
                letter = request.args.get("letter", "")
                at = Spot.parse(letter, log) if letter else None
                return await replay(endpoint, id_, at, request.args.get("by", ""))
            told = Told(f"test-{uuid.uuid4().hex}", TEST, "", now_ms(), {"endpoint": endpoint})
            answer = await poster.post(named(hooks.endpoints, endpoint), told)
        except Refusal as refusal:
            return error_response(refusal)
        except (Unavailable, ProducerEnded) as error:
            burial.forget()
            return ask_again(Unavailable(str(error)))
        return _answer({"id": told.id, **answer._asdict()})

    async def replay(endpoint: str, id_: str, at: Spot | None, by: str) -> HTTPResponse:
        to = named(hooks.endpoints, endpoint)
        waits = await find(log, endpoint, id_, at)
        if waits is None:
            raise Invalid(f"no webhook {id_:.80} is parked for {endpoint}: use one that is")
        answer = await poster.post(to, waits.told)
        if answer.verdict == "taken":
            await burial.bury([replayed(waits, by)])
        return _answer({"id": id_, **answer._asdict()})


async def stream(
    log: Log, opening: Opening, informed: asyncio.Event, tail: Tail, request: Request
) -> HTTPResponse | None:
    """Stream events as lines of JSON. Raises `Refusal`."""
    found = Stream(log, opening, Wanted.of(tail, log))
    try:
        await informed.wait()
        await found.begin()
    except Unavailable as error:
        return ask_again(error)
    response = await request.respond(content_type=NDJSON)

    async def write(lines: bytes) -> None:
        await response.send(lines)
        await sent(request)

    try:
        await found.run(write)
    except* LOST as errors:
        lost = first_error(errors)
        _log.warning("a stream of events ends: %s", str(lost) or type(lost).__name__)
    await response.eof()
    return None


def _answer(body: dict[str, Any]) -> HTTPResponse:
    return json_response(body, dumps=json.dumps)
