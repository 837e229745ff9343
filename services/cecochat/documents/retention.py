"""Follows how long chats keep their messages, and changes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.documents.follow import Following, valid
from cecochat.documents.moderation import new_act
from cecochat.domain.cluster import apps, retention
from cecochat.domain.cluster.holds import is_chat
from cecochat.domain.cluster.retention import KEEP_MAX_S, KINDS, Retention
from cecochat.domain.errors import Invalid, InvalidSettings, Refusal, Unavailable
from cecochat.domain.log.ids import app_of
from cecochat.ports.configuration import APPS, RETENTION, Configuration
from cecochat.ports.moderation import Acts
from cecochat.runtime.clock import now_ms
from cecochat.runtime.guard import concerns
from cecochat.runtime.http import App, ask_again, error_response

BY_HTTP = "POST /retention"
AS_ITS_KIND = "kind"


class KnownRetention:
    """The rules in force. `informed` is set once they are known: until then, a server that tells
    users messages must not serve.
    """

    def __init__(self, applied: Callable[[Retention], None]) -> None:
        """`applied` is called with each version."""
        self.informed = asyncio.Event()
        self._applied = applied

    async def follow(self, following: Following) -> None:
        """Follow the document until cancelled."""
        async with aclosing(valid(following, RETENTION, retention.parse)) as versions:
            async for _, rules in versions:
                self._applied(rules)
                self.informed.set()


def deciding(what: str, keep_s: int | None) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Return the function with which `Configuration.change` sets a rule; see
    `retention.with_rule`.
    """

    def decide(current: Mapping[str, Any]) -> Mapping[str, Any]:
        made = retention.with_rule(retention.parse(current), what, keep_s, now_ms())
        return retention.document(made)

    return decide


def about(what: str, keep_s: int | None) -> tuple[str, str]:
    """Return what the audit log says about a change of a rule: the chat, and the detail."""
    kept = "as its kind" if keep_s is None else f"{keep_s} s" if keep_s else "for ever"
    return (what, kept) if is_chat(what) else ("", f"{what} {kept}")


def add_retaining(app: App, configuration: Configuration, acts: Acts) -> None:
    """Serve `POST /retention?what=WHAT&keep_s=SECONDS` for the application's back end. WHAT is
    `dialogs`, `groups`, `APP/dialogs`, `APP/groups` or a chat id; the seconds are 0 for ever, or
    `kind` for what is to be kept like others of the kind.
    """

    @app.post("/retention", ctx_scope="change", ignore_body=True)
    async def retain(request: Request) -> HTTPResponse:
        what = request.args.get("what", "")
        try:
            keep_s = _keep_s(what, request.args.get("keep_s", ""))
            concerns(request, what)
            decide = deciding(what, keep_s)
            decide({})  # it raises what is wrong about it
            if app_ := app_of(what):
                apps.named(apps.parse((await configuration.get(APPS)).value), app_)
            act = new_act("retention", by=str(request.ctx.caller.name), via=BY_HTTP)
            chat_id, detail = about(what, keep_s)
            await acts.append(act._replace(chat_id=chat_id, detail=detail))
            document = await configuration.change(RETENTION, decide, by=BY_HTTP)
        except Refusal as refusal:
            return error_response(refusal)
        except (Unavailable, InvalidSettings) as error:
            return ask_again(Unavailable(str(error)))
        body = {"what": what, "keep_s": keep_s, "version": document.version}
        return json_response(body, dumps=json.dumps)


def _keep_s(what: str, text: str) -> int | None:
    if text == AS_ITS_KIND and what not in KINDS:
        return None
    if text.isdecimal() and len(text) < 12 and int(text) <= KEEP_MAX_S:
        return int(text)
    raise Invalid(
        f"keep_s is {text:.20}: use a number of seconds, 0 for ever, or `{AS_ITS_KIND}` for a chat"
    )
