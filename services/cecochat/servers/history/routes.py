"""What operators can ask on the history server's internal listener: `GET /where/MESSAGE_ID`,
`/holes`, `/letters`, `/letters/LETTER`.
"""

from __future__ import annotations

import json

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.domain.errors import Refusal, Unavailable
from cecochat.ports.history import History
from cecochat.runtime.http import App, ask_again, error_response
from cecochat.servers.history.dead_letters import DeadLetters
from cecochat.servers.history.holes import as_json as hole_as_json
from cecochat.where.answer import as_json
from cecochat.where.server import Where
from cecochat.where.words import verdict


def add_routes(app: App, where: Where, history: History, letters: DeadLetters) -> None:
    """Add the routes. `/where/MESSAGE_ID?chat=ID` says in which chat's history to look if the log
    no longer has the message.
    """

    @app.get("/where/<message_id:str>", ctx_scope="people")
    async def find(request: Request, message_id: str) -> HTTPResponse:
        try:
            number = int(message_id) if message_id.isdecimal() and len(message_id) < 20 else 0
            chat = request.args.get("chat", "")
            answer = await where.for_operator(number, chat)
        except Refusal as refusal:
            return error_response(refusal)
        except Unavailable as error:
            return ask_again(error)
        told = verdict(answer.state, answer.waits_for, chat, in_history=bool(answer.steps))
        return json_response({**as_json(answer), "verdict": told}, dumps=json.dumps)

    @app.get("/letters", ctx_scope="people")
    async def dead_letters(_: Request) -> HTTPResponse:
        try:
            return json_response({"letters": await letters.all()}, dumps=json.dumps)
        except Unavailable as error:
            return ask_again(error)

    @app.get("/letters/<position:str>", ctx_scope="people")
    async def dead_letter(_: Request, position: str) -> HTTPResponse:
        try:
            found = await letters.called(position)
        except Unavailable as error:
            return ask_again(error)
        return json_response({"letters": found}, dumps=json.dumps)

    @app.get("/holes", ctx_scope="read")
    async def holes(_: Request) -> HTTPResponse:
        try:
            found = await history.holes()
        except Unavailable as error:
            return ask_again(error)
        return json_response({"holes": [hole_as_json(each) for each in found]}, dumps=json.dumps)
