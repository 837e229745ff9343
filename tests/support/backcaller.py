"""The product's back end in a run: it sends as users by unary calls, over HTTP and JSON, and tries
each send again until it is answered. It knows the protos and nothing of the client.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import httpx
import jwt

from tests.support.records import (
    Acked,
    At,
    DeviceKey,
    Record,
    Refused,
    Sent,
    founder,
    home_in,
    is_group,
    participants,
)

DEVICE = "backend"
SYSTEM = "system"
AT_ONCE = 500
AGAIN_S = 0.1


def service_token(secret_file: Path, scopes: str = "send groups read users") -> str:
    """A token as a product's back end makes it for itself."""
    now = int(time.time())
    claims = {"sub": "shop", "aud": "cecochat-backend", "scope": scopes, "iat": now}
    return jwt.encode({**claims, "exp": now + 3_600}, secret_file.read_text().strip(), "HS256")


class BackCaller:
    """A talker without a session. Each chat has a user as whom it speaks there."""

    def __init__(
        self,
        record: Record,
        connect_urls: Callable[[], Sequence[str]],
        secret_file: Path,
        chats: Sequence[str],
    ) -> None:
        self.record = record
        self.chats = tuple(chats)
        self.caught_up = asyncio.Event()
        self.caught_up.set()
        self.unanswered: dict[tuple[str, str], dict[str, Any]] = {}
        self.tried_again = 0
        self._urls = connect_urls
        self._bearer = service_token(secret_file)
        self._token: dict[str, Any] = {}  # of the answers so far
        self._known: dict[tuple[str, str], dict[str, Any]] = {}
        self._numbers = count(1)
        self._calls = count(1)

    @property
    def who(self) -> set[DeviceKey]:
        """As whom it speaks."""
        return {DeviceKey(_speaker(chat), DEVICE) for chat in self.chats}

    def say(self, chat_id: str, text: str, client_message_id: str = "") -> str:
        """Send something, as soon as what was said before is under way."""
        user_id, name = _speaker(chat_id), client_message_id or f"call-{next(self._numbers)}"
        self._known[user_id, name] = self._token  # before this, it was not sent
        self.unanswered[user_id, name] = {
            "userId": user_id,
            "chatId": chat_id,
            "clientMessageId": name,
            "sinceMs": str(int(time.time() * 1_000)),
            "isNew": True,
            "message": {"text": text},
        }
        return name

    async def run(self) -> None:
        """Call until cancelled, each time another connect server."""
        async with httpx.AsyncClient(timeout=20) as client:
            while True:
                sends = list(islice(self.unanswered.values(), AT_ONCE))
                if not sends or not await self._call(client, sends):
                    await asyncio.sleep(AGAIN_S)

    async def _call(self, client: httpx.AsyncClient, sends: Sequence[dict[str, Any]]) -> bool:
        number, urls = next(self._calls), self._urls()
        for send in sends:
            sent = Sent(send["clientMessageId"], send["chatId"], send["message"]["text"])
            self.record.add(DeviceKey(send["userId"], DEVICE), number, sent)
        url = f"{urls[number % len(urls)]}/cecochat.v1.Backend/Send"
        headers = {"authorization": f"Bearer {self._bearer}"}
        oldest = self._known[sends[0]["userId"], sends[0]["clientMessageId"]]
        try:
            request = {"sends": sends, "token": oldest}
            said = (await client.post(url, json=request, headers=headers)).json()
        except (httpx.HTTPError, ValueError):
            said = {}
        self._note(said.get("token", {}))
        results = said.get("results", [{"refused": {"retriable": True}}] * len(sends))
        for send, result in zip(sends, results, strict=True):
            self._take(number, send, result, said.get("token", {}))
        return "results" in said

    def _note(self, token: dict[str, Any]) -> None:
        """Keep the newest place of each partition."""
        places = {name: dict(self._token.get(name, {})) for name in ("offsets", "clocks")}
        for partition, offset in token.get("offsets", {}).items():
            if int(offset) > int(places["offsets"].get(partition, -1)):
                places["offsets"][partition] = offset
                places["clocks"][partition] = token.get("clocks", {}).get(partition, "0")
        if token:
            self._token = {"logId": token["logId"], **places}

    def _take(
        self, number: int, send: dict[str, Any], result: dict[str, Any], token: dict[str, Any]
    ) -> None:
        who, name = DeviceKey(send["userId"], DEVICE), send["clientMessageId"]
        if message_id := int(result.get("messageId", 0)):
            home = str(home_in(message_id))
            clock_ms = int(token.get("clocks", {}).get(home, 0))
            at = At(clock_ms, int(token.get("offsets", {}).get(home, -1)))
            self.record.add(who, number, Acked(name, message_id, -1, home=at))
        elif result["refused"].get("retriable"):
            self.tried_again += 1
            return
        else:
            code = result["refused"]["code"].removeprefix("ERROR_CODE_")
            self.record.add(who, number, Refused(name, code, False))
        del self.unanswered[who.user_id, name], self._known[who.user_id, name]


def _speaker(chat_id: str) -> str:
    if is_group(chat_id):
        return founder(chat_id)
    return SYSTEM if SYSTEM in participants(chat_id) else min(participants(chat_id))
