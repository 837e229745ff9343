"""What the client makes of its arguments, of handlers and of replies, without any server."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.client import (
    CaughtUp,
    Event,
    InvalidArgument,
    Message,
    NotReachable,
    chat_of,
    connect,
    open_history,
    peer_of,
    sync,
)
from cecochat.client.arguments import check_client_message_id
from cecochat.client.events import answered_by, reply_id
from cecochat.client.handlers import Handlers
from cecochat.client.history import History
from cecochat.client.lookup import Lookup
from cecochat.client.queries import HistoryCalls
from cecochat.domain.session.intake import CLIENT_MESSAGE_ID_MAX_BYTES

URL = "http://127.0.0.1:1"
BAD_URLS = ["", "localhost:8080", "ftp://host", "http://", "http://host:99999", "http://[::1", 7]
BAD_TOKENS = ["", "two\nlines", "caf\xe9", None, b"token"]


@pytest.mark.parametrize("connecting", [connect, sync.connect])
@pytest.mark.parametrize(
    ("url", "token", "options"),
    [
        *((url, "token", {}) for url in BAD_URLS),
        *((URL, token, {}) for token in BAD_TOKENS),
        (URL, "token", {"device": "x" * 65}),
        (URL, "token", {"timeout_s": -1.0}),
        (URL, "token", {"timeout_s": float("nan")}),
        (URL, "token", {"buffer_max_bytes": 0}),
    ],
)
def test_a_bad_argument_of_connect_is_refused_at_once(
    connecting: Callable[..., object], url: Any, token: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument) as error:
        connecting(url, token, **options)
    assert error.value.code == "invalid_argument"
    assert not error.value.retriable


@pytest.mark.parametrize("supplied", BAD_TOKENS)
async def test_a_function_that_returns_no_token_is_told_so_and_not_asked_again(
    supplied: Any,
) -> None:
    async def token() -> Any:
        return supplied

    with pytest.raises(InvalidArgument, match="the function `token` returned"):
        await connect(URL, token)


@pytest.mark.parametrize("valid_for_s", ["null", "[]", '"soon"', "9" * 400])
async def test_an_answer_with_an_odd_number_is_that_of_no_connect_server(
    valid_for_s: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"user_id": "alice", "partition": 0, "server_id": "m", "messaging": "m:1"}
    answer = f'{json.dumps(names)[:-1]}, "valid_for_s": {valid_for_s}}}'
    lookup = Lookup(URL, "token", None)
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=answer))
    async with httpx.AsyncClient(transport=transport) as client:
        monkeypatch.setattr(lookup, "_http", client)
        with pytest.raises(NotReachable, match="is not a connect server"):
            await lookup.find()


@pytest.mark.parametrize("url", BAD_URLS)
async def test_a_bad_url_of_a_history_is_refused_at_once(url: Any) -> None:
    with pytest.raises(InvalidArgument):
        async with open_history(url, "token"):
            pass


@pytest.mark.parametrize(
    "query",
    [
        lambda history: history.messages("alice"),
        lambda history: history.messages("no spaces"),
        lambda history: history.messages(7),
        lambda history: history.messages("bob", 0),
        lambda history: history.messages("bob", 1 << 31),
        lambda history: history.messages("bob", "10"),
        lambda history: history.messages("bob", before=1, after=2),
        lambda history: history.messages("bob", before=-1),
        lambda history: history.messages("bob", after=1 << 63),
        lambda history: history.chats(-1),
        lambda history: history.chats(before="1"),
        lambda history: history.where("not an id"),
        lambda history: history.where(5, ""),
        lambda history: anext(history.every_message("bob", after=-1)),
    ],
)
async def test_a_bad_query_is_refused_before_it_is_asked(query: Callable[[History], Any]) -> None:
    lookup = Lookup(URL, "token", None)
    try:
        with pytest.raises(InvalidArgument):
            await query(History("alice", HistoryCalls(lookup)))
    finally:
        await lookup.close()


def test_what_names_no_chat_is_an_invalid_argument() -> None:
    for chat in ("", "alice", "d:b~a", 5, None):
        with pytest.raises(InvalidArgument):
            chat_of("alice", chat)  # type: ignore[arg-type]
    for chat_id in ("d:a", "nonsense", 5):
        with pytest.raises(InvalidArgument):
            peer_of("alice", chat_id)  # type: ignore[arg-type]


# -- replies

HELLO = (5, "d:alice~bob", "bob", "hello", "id")


async def test_a_reply_goes_to_the_chat_under_an_id_of_its_own() -> None:
    sent: list[tuple[str, str, str | None]] = []

    async def send(to: str, text: str, *, client_message_id: str | None = None) -> int:
        sent.append((to, text, client_message_id))
        return len(sent)

    message = answered_by(Message(*HELLO), send)
    assert await message.reply("one") == 1
    assert await message.reply("one", client_message_id="mine") == 2
    assert sent == [
        ("d:alice~bob", "one", reply_id(message, "one")),
        ("d:alice~bob", "one", "mine"),
    ]
    for copied in (copy.deepcopy(message), pickle.loads(pickle.dumps(message))):  # noqa: S301
        assert copied == message == Message(**asdict(message))
        with pytest.raises(InvalidArgument):
            await copied.reply("by whom?")


@given(st.integers(1, (1 << 63) - 1), st.text(), st.integers(1, (1 << 63) - 1), st.text())
def test_replies_have_one_id_if_message_and_text_are_the_same(
    one: int, text: str, other: int, else_: str
) -> None:
    first, second = Message(one, *HELLO[1:]), Message(other, *HELLO[1:])
    check_client_message_id(reply_id(first, text))
    assert len(reply_id(first, text)) <= CLIENT_MESSAGE_ID_MAX_BYTES
    same = (one, text) == (other, else_)
    assert (reply_id(first, text) == reply_id(second, else_)) is same


# -- handlers


async def events(*numbers: int) -> AsyncIterator[Event]:
    for number in numbers:
        yield Message(number, "d:alice~bob", "alice" if number % 2 else "bob", "", "")
        yield CaughtUp("between")


async def test_messages_of_others_are_handled_in_order() -> None:
    handlers, seen = Handlers("alice"), list[int]()

    @handlers.add
    async def first(message: Message) -> None:
        seen.append(message.id)

    @handlers.add
    async def second(message: Message) -> None:
        seen.append(-message.id)

    await handlers.run(events(2, 3, 4))
    assert seen == [2, -2, 4, -4]
    assert handlers.unhandled is None


async def test_a_message_that_was_not_handled_comes_again() -> None:
    handlers, seen, faults = Handlers("alice"), list[int](), [True, False, False]

    @handlers.add
    async def handle(message: Message) -> None:
        seen.append(message.id)
        if faults.pop(0):
            raise ZeroDivisionError

    coming = events(2, 4)
    with pytest.raises(ZeroDivisionError):
        await handlers.run(coming)
    assert isinstance(handlers.unhandled, Message)
    await handlers.run(coming)
    assert seen == [2, 2, 4]


async def test_what_is_no_handler_is_refused() -> None:
    handlers = Handlers("alice")
    with pytest.raises(InvalidArgument, match="no handler"):
        await handlers.run(events(2))
    with pytest.raises(InvalidArgument, match="async def"):
        handlers.add(lambda message: None)  # type: ignore[type-var]


def test_a_state_can_be_named_by_a_str(tmp_path: Path) -> None:
    assert connect(URL, "token", state=str(tmp_path / "s.json"))
    assert connect(URL, "token", state=tmp_path / "s.json", ca_file="ca.pem")
