"""Hostile queries: a page or a typed refusal, nothing in between."""

from __future__ import annotations

from pathlib import Path
from random import Random

import grpc
import pytest

from cecochat.adapters import build
from cecochat.ports.configuration import CONFIGURATION
from cecochat.v1.history_pb2 import GetChatsRequest, GetMessagesRequest
from cecochat.v1.messaging_pb2 import ReadToken
from tests.support.hostile import (
    ask,
    bearer,
    channel,
    inside,
    judge_text,
    minted,
    settings,
    talk,
)
from tests.support.mutate import MUTATIONS, hello
from tests.support.rawclient import GET_MESSAGES
from tests.support.server import NO_LIMITS

GET_CHATS = "/cecochat.v1.History/GetChats"
DIALOG = "d:alice~bob"
ID_MAX = (1 << 63) - 1
REQUESTS = 3_000
TOO_LARGE_BYTES = (64 << 10) + 1
MAY_BE_TOLD = {"INVALID_ARGUMENT", "FORBIDDEN", "NOT_FOUND", "UNIMPLEMENTED", "BEHIND"}


def messages(**fields: object) -> bytes:
    return GetMessagesRequest(**({"chat_id": DIALOG} | fields)).SerializeToString()  # type: ignore[arg-type]


def with_token(log_id: str, offsets: dict[int, int]) -> bytes:
    return messages(token=ReadToken(log_id=log_id, offsets=offsets))


def expectations(log_id: str) -> list[tuple[str, bytes, str]]:
    """Method, request, and the code it is answered."""
    both = messages(before=5) + messages(after=7)  # the last one of a oneof counts
    return [
        (GET_MESSAGES, b"", "INVALID_ARGUMENT"),
        (GET_MESSAGES, messages(limit=-1), "INVALID_ARGUMENT"),
        (GET_MESSAGES, messages(limit=(1 << 31) - 1), "INVALID_ARGUMENT"),
        (GET_MESSAGES, messages(limit=201), "INVALID_ARGUMENT"),
        (GET_MESSAGES, messages(before=-1), "INVALID_ARGUMENT"),
        (GET_MESSAGES, messages(after=-(1 << 63)), "INVALID_ARGUMENT"),
        (GET_MESSAGES, messages() + b"\x10" + b"\xff" * 9 + b"\x7f", "INVALID_ARGUMENT"),
        (GET_MESSAGES, messages() + b"\x10" + b"\xff" * 10 + b"\x01", "INVALID_ARGUMENT"),
        (GET_MESSAGES, b"\x0a\x02\xff\xfe", "INVALID_ARGUMENT"),
        (GET_MESSAGES, messages(before=ID_MAX), ""),
        (GET_MESSAGES, messages(after=ID_MAX), ""),
        (GET_MESSAGES, both, ""),
        (GET_MESSAGES, with_token("another log", {0: 1}), "INVALID_ARGUMENT"),
        (GET_MESSAGES, with_token(log_id, {}), ""),
        (GET_MESSAGES, with_token(log_id, {0: ID_MAX}), "BEHIND"),
        (GET_MESSAGES, with_token(log_id, {-1: 0}), "INVALID_ARGUMENT"),
        (GET_MESSAGES, with_token(log_id, {12: 0}), "INVALID_ARGUMENT"),
        (GET_MESSAGES, with_token(log_id, {(1 << 31) - 1: ID_MAX}), "INVALID_ARGUMENT"),
        (GET_MESSAGES, with_token(log_id, {0: -(1 << 63)}), ""),
        (GET_CHATS, b"", ""),
        (GET_CHATS, GetChatsRequest(before=-1).SerializeToString(), "INVALID_ARGUMENT"),
        (GET_CHATS, GetChatsRequest(before=ID_MAX).SerializeToString(), ""),
        (GET_CHATS, GetChatsRequest(limit=-5).SerializeToString(), "INVALID_ARGUMENT"),
        (GET_CHATS, b"\xff", "INVALID_ARGUMENT"),
    ]


async def test_absurd_queries_are_refused_or_answered(tmp_path: Path) -> None:
    async with inside(tmp_path) as addresses, channel(addresses.history) as made:
        assert addresses.token_secret_file
        metadata = bearer(minted(addresses.token_secret_file, sub="alice"))
        log_id = await log_id_of(addresses.messaging, addresses.token_secret_file)
        for method, request, code in expectations(log_id):
            answer = (await ask(made, method, metadata, request)).judged()
            assert ("" if answer.status is grpc.StatusCode.OK else answer.code) == code, request


async def test_mutated_queries(
    tmp_path: Path, rng: Random, caplog: pytest.LogCaptureFixture
) -> None:
    async with build.configuration(settings(tmp_path)) as configuration:
        await configuration.put(CONFIGURATION, NO_LIMITS, expected=0, by="test")
    async with inside(tmp_path) as addresses, channel(addresses.history) as made:
        assert addresses.token_secret_file
        metadata = bearer(minted(addresses.token_secret_file, sub="alice"))
        log_id = await log_id_of(addresses.messaging, addresses.token_secret_file)
        valid = [request for _, request, _ in expectations(log_id)]
        mutations, weights = list(MUTATIONS), list(MUTATIONS.values())
        told: set[str] = set()
        for _ in range(REQUESTS):
            (mutation,) = rng.choices(mutations, weights)
            request = mutation(rng, valid)
            if len(request) >= TOO_LARGE_BYTES:
                continue
            method = rng.choice((GET_MESSAGES, GET_CHATS))
            answer = (await ask(made, method, metadata, request)).judged()
            if answer.status is not grpc.StatusCode.OK:
                told.add(answer.code)
        assert {"INVALID_ARGUMENT", "BEHIND"} <= told <= MAY_BE_TOLD
    assert [each for each in caplog.records if each.levelname in ("ERROR", "CRITICAL")] == []


async def test_a_request_over_the_limit_is_refused_by_the_transport(tmp_path: Path) -> None:
    """Before anything of this package sees it; gRPC names both sizes."""
    async with inside(tmp_path) as addresses, channel(addresses.history) as made:
        assert addresses.token_secret_file
        metadata = bearer(minted(addresses.token_secret_file, sub="alice"))
        for size in (TOO_LARGE_BYTES, 10 << 20):
            answer = await ask(made, GET_MESSAGES, metadata, bytes(size))
            assert answer.status is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert f"{size} vs. 65536" in answer.details
            judge_text(answer.details)


async def log_id_of(address: str, secret_file: str) -> str:
    async with channel(address) as made:
        metadata = bearer(minted(secret_file, sub="alice"))
        answer = (await talk(made, metadata, [hello()])).judged()
    return answer.items[0].welcome.position.log_id
