"""Calls a connect server: unary calls over HTTP, by the Connect protocol."""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable
from itertools import count
from random import random
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message

from cecochat.client.backoff import BackOff
from cecochat.client.errors import ChatError, NotReachable, refused
from cecochat.v1 import errors_pb2

if TYPE_CHECKING:
    import httpx

BACK_OFF = BackOff()

Answer = TypeVar("Answer", bound=Message)


class Calling:
    """Makes the calls of one service, each again for up to `give_up_s` seconds while its error is
    retriable. `token` returns a token to use now.
    """

    def __init__(
        self,
        url: str,
        service: str,
        http: httpx.AsyncClient,
        token: Callable[[], Awaitable[str]],
        give_up_s: float,
    ) -> None:
        self._url = url
        self._service = service
        self._http = http
        self._token = token
        self._give_up_s = give_up_s

    async def call(self, name: str, request: Message, response: type[Answer]) -> Answer:
        """Make a call. Raises `ChatError`."""
        give_up_s = time.monotonic() + self._give_up_s
        for attempt in count():
            try:
                return await self._once(name, request, response)
            except ChatError as error:
                wait_s = BACK_OFF.wait_s(attempt, random(), error.retry_after_s)  # noqa: S311
                if not error.retriable or time.monotonic() + wait_s > give_up_s:
                    raise
            await asyncio.sleep(wait_s)
        raise AssertionError("counted to the end")

    async def _once(self, name: str, request: Message, response: type[Answer]) -> Answer:
        import httpx  # takes as long as all the rest of the client

        token = await self._token()
        headers = {"authorization": f"Bearer {token}", "content-type": "application/proto"}
        url = f"{self._url}/cecochat.v1.{self._service}/{name}"
        try:
            answer = await self._http.post(
                url, content=request.SerializeToString(), headers=headers
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise no_answer(self._url, error) from None
        if not answer.is_success:
            raise _refused(self._url, answer)
        try:
            return response.FromString(answer.content)
        except DecodeError:
            raise _stranger(self._url) from None


def no_answer(url: str, error: Exception) -> NotReachable:
    """Return the error of a connect server that does not answer."""
    return NotReachable(
        f"the connect server at {url} does not answer ({type(error).__name__}: {error}): is it "
        "running, and is the URL right?"
    )


def _refused(url: str, answer: httpx.Response) -> ChatError:
    try:
        value = answer.json()["details"][0]["value"]
        return refused(errors_pb2.Error.FromString(b64decode(f"{value}===")))
    except (ValueError, KeyError, TypeError, IndexError, DecodeError):
        return _stranger(url)


def _stranger(url: str) -> NotReachable:
    return NotReachable(f"what answers at {url} is not a connect server: is the URL right?")
