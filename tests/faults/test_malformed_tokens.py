"""Tokens that prove nothing, and chats of others: nobody gets further than a typed answer, on any
path.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from cecochat.run import system
from cecochat.v1 import errors_pb2
from cecochat.v1.history_pb2 import GetMessagesRequest
from cecochat.v1.messaging_pb2 import ClientFrame, Send
from tests.support.hostile import (
    Answer,
    ask,
    bearer,
    channel,
    http,
    inside,
    judge_text,
    minted,
    talk,
)
from tests.support.mutate import FIRST_OFFSET, foreign_chats, hello, malformed_chats
from tests.support.rawclient import GET_MESSAGES
from tests.support.talks import OverWebSocket, Talks

DIALOG = "d:alice~bob"
PAGE = GetMessagesRequest(chat_id=DIALOG).SerializeToString()
ALICE = {"sub": "alice", "aud": "cecochat", "exp": int(time.time()) + 3_600}
KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
PUBLIC_PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class Doors(NamedTuple):
    """The ways in."""

    addresses: system.Addresses
    messaging: grpc.aio.Channel
    websocket: Talks
    history: grpc.aio.Channel

    def token(self, **claims: Any) -> str:
        secret = self.addresses.token_secret_file
        assert secret
        return minted(secret, **({"sub": "alice"} | claims))

    async def stream(self, token: str, *frames: bytes, until: str = "caught_up") -> Answer:
        """What is answered up to an item of that kind, the same over both transports."""
        frames = (hello(), *frames)
        answer = (await talk(self.messaging, bearer(token), frames)).judged()
        other = (await self.websocket.talk(token, frames, leave=until)).judged()
        assert _outcome(other) == _outcome(answer)
        return answer

    async def query(self, token: str, request: bytes = PAGE) -> Answer:
        return (await ask(self.history, GET_MESSAGES, bearer(token), request)).judged()

    async def connect(self, token: str) -> tuple[int, dict[str, Any]]:
        head = "GET /v1/connect HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "
        answer = await http(self.addresses.connect, f"{head}{token}\r\n\r\n".encode())
        head, _, body = answer.decode().partition("\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    async def refuse(self, token: str, code: str = "UNAUTHENTICATED") -> None:
        """Holds that all of them answer alike, and as typed."""
        at_once = await talk(self.messaging, bearer(token), [], leave=False)
        socket = (await self.websocket.talk(token, [hello()])).judged()
        for answer in (at_once.judged(), socket, await self.query(token)):
            assert answer.code == code
            assert not any(item.HasField("welcome") for item in answer.items)
        assert len(socket.items) == 1, "more than the disconnect"
        status, body = await self.connect(token)
        assert (status, body["error"]["code"]) == (401, code.lower())
        judge_text(body["error"]["message"])


def _outcome(answer: Answer) -> tuple[str, set[errors_pb2.ErrorCode.ValueType]]:
    """How it ended, and why sends in it were refused."""
    refused = {item.refused.error.code for item in answer.items if item.HasField("refused")}
    return "" if answer.well else answer.code, refused


@asynccontextmanager
async def doors(folder: Path, **others: Any) -> AsyncIterator[Doors]:
    async with AsyncExitStack() as stack:
        addresses = await stack.enter_async_context(inside(folder, **others))
        messaging = await stack.enter_async_context(channel(addresses.messaging))
        history = await stack.enter_async_context(channel(addresses.history))
        yield Doors(addresses, messaging, OverWebSocket(addresses.websocket), history)


def unsigned(header: object, claims: object = ALICE, signature: str = "") -> str:
    return f"{_part(header)}.{_part(claims)}.{signature}"


def _part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


HEADER = {"alg": "HS256", "typ": "JWT"}
FORGED = {
    "garbage": "garbage",
    "two dots": "..",
    "four parts": "a.b.c.d",
    "no base64": "$$.$$.$$",
    "alg none": unsigned({"alg": "none"}),
    "alg None, signed": unsigned({"alg": "None"}, signature="AAAA"),
    "no alg": unsigned({}),
    "alg of a number": unsigned({"alg": 1}),
    "header of a list": unsigned([]),
    "header not UTF-8": unsigned(b"\xff\xfe{}"),
    "a header of depth": unsigned(b'{"a":' + b"[" * 4_000),
    "kid of a list": unsigned(HEADER | {"kid": [1]}),
    "kid of an object": unsigned(HEADER | {"kid": {}}),
    "a long kid": unsigned(HEADER | {"kid": "../" * 1_000}),
    "kid of a path": unsigned(HEADER | {"kid": "/etc/passwd"}),
    "critical": unsigned(HEADER | {"crit": ["exp"], "exp": 1}),
    "a wrong key": jwt.encode(ALICE, "x" * 64, algorithm="HS256"),
    "an empty key": unsigned(HEADER, signature="AAAA"),
    "another algorithm": jwt.encode(ALICE, "x" * 64, algorithm="HS512"),
}
CLAIMS: dict[str, Callable[[], dict[str, Any]]] = {
    "another audience": lambda: {"aud": "other"},
    "no audience": lambda: {"aud": None},
    "audience of things": lambda: {"aud": [1, {}]},
    "not yet": lambda: {"nbf": int(time.time()) + 600},
    "no subject": lambda: {"sub": None},
    "no expiry": lambda: {"exp": None},
    "expiry of a word": lambda: {"exp": "soon"},
    "expiry of a list": lambda: {"exp": [1]},
    "an endless expiry": lambda: {"exp": float("inf")},
    "expiry of NaN": lambda: {"exp": float("nan")},
    "an expiry of 400 digits": lambda: {"exp": 10**400},
    "an expiry of 4,000 digits": lambda: {"exp": 10**4_000},
    "expiry as text": lambda: {"exp": str(int(time.time()) + 600)},
    "endless nbf": lambda: {"nbf": float("inf")},
    "nbf of 400 digits": lambda: {"nbf": 10**400},
    "iat of 400 digits": lambda: {"iat": 10**400},
    "iat of a word": lambda: {"iat": "now"},
    "an endless iat": lambda: {"iat": float("-inf")},
    "a number as subject": lambda: {"sub": 5},
    "a space": lambda: {"sub": "al ice"},
    "an empty subject": lambda: {"sub": ""},
    "a chat's tilde": lambda: {"sub": "alice~bob"},
    "a newline": lambda: {"sub": "alice\nbob"},
    "a NUL": lambda: {"sub": "alice\x00"},
    "another script": lambda: {"sub": "\u0430lice"},
    "65 bytes": lambda: {"sub": "a" * 65},
}


async def test_forged_tokens_open_no_door(tmp_path: Path) -> None:
    async with doors(tmp_path) as all_doors:
        for name, token in FORGED.items():
            print(name)
            await all_doors.refuse(token)
        for name, claims in CLAIMS.items():
            print(name)
            await all_doors.refuse(all_doors.token(**claims()))
        await all_doors.refuse(all_doors.token(exp=int(time.time()) - 1), "TOKEN_EXPIRED")
        assert (await all_doors.stream(all_doors.token())).status is grpc.StatusCode.OK


async def test_keys_of_a_file_are_for_their_own_algorithm(tmp_path: Path) -> None:
    """A public key is no HMAC secret, however often a token says so (RFC 8725, 2.1)."""
    public = RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [public | {"kid": "one", "alg": "RS256"}]}))
    confused = unsigned(HEADER | {"kid": "one"}).rpartition(".")[0]
    for secret in (PUBLIC_PEM, jwks.read_bytes()):
        signature = jwt.get_algorithm_by_name("HS256")
        raw = signature.sign(confused.encode(), secret)  # PyJWT's `encode` refuses such a key
        FORGED[f"confused {len(secret)}"] = f"{confused}.{_part(raw)}"
    async with doors(tmp_path / "data", jwks_file=jwks) as all_doors:
        for name, token in FORGED.items():
            print(name)
            await all_doors.refuse(token)
        await all_doors.refuse(jwt.encode(ALICE, KEY, "RS256"))
        await all_doors.refuse(jwt.encode(ALICE, KEY, "RS256", headers={"kid": "two"}))
        await all_doors.refuse(jwt.encode(ALICE, KEY, "RS512", headers={"kid": "one"}))
        good = jwt.encode(ALICE, KEY, "RS256", headers={"kid": "one"})
        assert (await all_doors.stream(good)).status is grpc.StatusCode.OK


async def test_no_token_and_strange_metadata(tmp_path: Path) -> None:
    async with doors(tmp_path) as all_doors:
        strange = ("", "Bearer", "Bearer ", "Basic YTpi", "Bearer  a", "x" * 1_000)
        for pairs in ((), *((("authorization", value),) for value in strange)):
            answer = await talk(all_doors.messaging, pairs, [], leave=False)
            assert answer.judged().code == "UNAUTHENTICATED"
            answer = await ask(all_doors.history, GET_MESSAGES, pairs, PAGE)
            assert answer.judged().code == "UNAUTHENTICATED"
        twice = [*bearer(all_doors.token(sub="mallory")), *bearer("garbage")]
        assert (
            await talk(all_doors.messaging, twice, [], leave=False)
        ).judged().code == "UNAUTHENTICATED"
        for raw in (b"\xff\xfe", "Bearer \u2603".encode(), b"Bearer a\xed\xa0\x80.b.c", b"\x00"):
            request = b"GET /v1/connect HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: "
            answer_bytes = await http(all_doors.addresses.connect, request + raw + b"\r\n\r\n")
            assert answer_bytes.split()[1] in (b"401", b"400"), answer_bytes
            judge_text(json.loads(answer_bytes.partition(b"\r\n\r\n")[2])["error"]["message"])


async def test_a_huge_token_is_refused_by_the_transport(tmp_path: Path) -> None:
    """gRPC takes 8 KiB of metadata for sure and never 16, HTTP 8 of head, a WebSocket 16 before a
    token.
    """
    async with doors(tmp_path) as all_doors:
        for size in (20_000, 300_000):
            token = all_doors.token(padding="x" * size)
            answer = await talk(all_doors.messaging, bearer(token), [], leave=False)
            assert answer.status is grpc.StatusCode.RESOURCE_EXHAUSTED, answer
            judge_text(answer.details)
        answer = await all_doors.websocket.talk(all_doors.token(padding="x" * 20_000), [hello()])
        assert answer.judged().code == "TOO_LARGE"
        head, _, body = (
            await http(
                all_doors.addresses.connect,
                b"GET /v1/connect HTTP/1.1\r\nAuthorization: Bearer "
                + b"x" * 300_000
                + b"\r\n\r\n",
            )
        ).partition(b"\r\n\r\n")
        assert head.split()[1] in (b"413", b"431"), head
        judge_text(json.loads(body)["error"]["message"])


async def test_chats_of_others_and_no_chats(tmp_path: Path) -> None:
    async with doors(tmp_path) as all_doors:
        token = all_doors.token()
        expected = dict.fromkeys(foreign_chats("alice"), "FORBIDDEN")
        expected |= dict.fromkeys(malformed_chats("alice", "bob"), "INVALID_ARGUMENT")
        expected |= {"g:friends": "NOT_FOUND"}
        for chat, code in expected.items():
            request = GetMessagesRequest(chat_id=chat).SerializeToString()
            assert (await all_doors.query(token, request)).code == code, chat
            answer = await all_doors.stream(token, _saying(chat), until="refused")
            (refused,) = [item.refused for item in answer.items if item.HasField("refused")]
            name = errors_pb2.ErrorCode.Name(refused.error.code)
            assert name == f"ERROR_CODE_{code}", chat
        assert (await all_doors.query(all_doors.token(sub="mallory"))).code == "FORBIDDEN"


async def test_a_body_never_says_who_it_is_of(tmp_path: Path) -> None:
    """Unknown fields that look like an identity, and a new token of somebody else."""
    async with doors(tmp_path) as all_doors:
        forged = _saying(DIALOG) + b"\x2a\x05alice\x12\x05alice"
        answer = await all_doors.stream(all_doors.token(sub="mallory"), forged, until="refused")
        assert [item.refused.error.code for item in answer.items if item.HasField("refused")] == [
            errors_pb2.ERROR_CODE_FORBIDDEN
        ] or answer.code == "INVALID_ARGUMENT"
        renewed = ClientFrame(renewed_token=all_doors.token(sub="alice")).SerializeToString()
        answer = await all_doors.stream(all_doors.token(sub="mallory"), renewed)
        assert answer.code == "FORBIDDEN"


def _saying(chat: str) -> bytes:
    send = Send(client_message_id="one", chat_id=chat)
    send.message.text = "hello"
    return ClientFrame(offset=FIRST_OFFSET, sends=[send]).SerializeToString()
