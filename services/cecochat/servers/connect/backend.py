"""The calls of the product's back end: who may make them, and what they come to."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from google.protobuf.message import Message
from prometheus_client import CollectorRegistry, Counter, Histogram

from cecochat.auth.tokens import Identity, Verifier, bearer
from cecochat.documents.revocations import revoke, until_now_ms
from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.revocations import Revocation
from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.log import ids
from cecochat.domain.log.chain import PartitionOf
from cecochat.domain.log.scope import is_of_group
from cecochat.domain.ownership.calls import Called
from cecochat.domain.session.bucket import Rates
from cecochat.internal.v1.internal_pb2 import Query
from cecochat.ports.configuration import Configuration
from cecochat.runtime.exchange import Exchange
from cecochat.runtime.metrics import of_apps
from cecochat.servers.connect.answering import Answering, Call
from cecochat.servers.connect.attachments import Attachments
from cecochat.servers.connect.passing import Passed, Passing
from cecochat.v1 import backend_pb2, errors_pb2, history_pb2, moderation_pb2
from cecochat.v1.backend_pb2 import (
    BackendSend,
    BackendSendRequest,
    BackendSendResponse,
    BackendSendResult,
    RevokeTokensRequest,
    RevokeTokensResponse,
)
from cecochat.v1.messaging_pb2 import ReadToken, Send

SERVICE: Final = "cecochat.v1.Backend"
SENDS_MAX: Final = 1_000
REQUEST_MAX_BYTES: Final = 4 << 20
ANSWER_S: Final = 25.0
"""After that there is no answer, though what is under way goes on: longer than all tries."""
SENDS_A_LOOKUP: Final = 20
"""How many sends weigh as much as a lookup, for the number of servers."""
CHANGES_PER_S: Final = 2.0
CHANGES_AT_ONCE: Final = 100
"""How many changes of central documents, which all servers then read, the services of an app may
make.
"""
QUERIES: Final = ("GetMessages", "GetChats", "GetGroup", "ListMembers", "SearchMessages")
MODERATION: Final = (
    "ListReports",
    "GetReport",
    "TakeReport",
    "DecideReport",
    "ListActs",
    "SetRule",
    "ListRules",
)


class BackendMetrics:
    """The metrics of these calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.seconds = Histogram(
            "cecochat_backend_call_seconds",
            "Time to answer a call of the back end, by call and code.",
            ["call", "code"],
            registry=registry,
        )
        self.sends = Counter(
            "cecochat_backend_sends", "Sends of the back end, by code.", ["code"], registry=registry
        )
        self.app_calls = of_apps("backend_calls", "Calls of back ends", registry)
        self.app_sends = of_apps("backend_sends", "Sends of back ends", registry)


class Backend:
    """Answers the calls of `cecochat.v1.Backend`. All transports of a server share one."""

    def __init__(
        self,
        passing: Passing,
        partition_of: PartitionOf,
        verifier: Verifier,
        configuration: Configuration,
        metrics: BackendMetrics,
        carry: Callable[[int], None],
        attachments: Attachments,
    ) -> None:
        self._passing = passing
        self._partition_of = partition_of
        self._verifier = verifier
        self._configuration = configuration
        self._metrics = metrics
        self._carry = carry  # how many lookups a call weighs
        self._rates = Rates("calls")
        self._changes = Rates("changes rules and tokens")
        self._answering = Answering(verifier, metrics.seconds, ANSWER_S)
        self._config = Config()
        self.offered = (
            Call("Send", BackendSendRequest, BackendSendResponse, self._send),
            *map(self._query_call, QUERIES),
            *map(self._attachment_call, attachments.offered),
            Call("RevokeTokens", RevokeTokensRequest, RevokeTokensResponse, self._revoke),
            *map(self._moderation_call, MODERATION),
        )

    def configure(self, config: Config) -> None:
        """Follow a new configuration."""
        self._config = config
        self._verifier.configure(config)

    async def respond(self, call: Call, exchange: Exchange) -> Refusal | None:
        """Answer a call, or return why it is refused, after the wait that a flood has to expect."""
        return await self._answering.respond(call, exchange)

    def admit(self, authorization: str, scope: str) -> Identity:
        """Return who makes a call that needs a scope, and count it. Raises `Refusal`."""
        caller = self.verify(authorization)
        _allow(caller, scope)
        self._charge(caller, 1)
        return caller

    def verify(self, authorization: str) -> Identity:
        """Return who calls. Raises `Refusal`."""
        return self._verifier.verify(bearer(authorization))

    def _charge(self, caller: Identity, calls: int) -> None:
        self._carry(1 + calls // SENDS_A_LOOKUP)
        self._metrics.app_calls.labels(ids.app_of(caller.user_id)).inc()
        config = self._config.of(caller.user_id)
        rate, burst = config.backend_rate_per_service, config.backend_burst
        self._rates.check(caller.account, time.monotonic(), rate, burst, calls)

    def _charge_change(self, caller: Identity) -> None:
        self._charge(caller, 1)
        self._changes.check(caller.account, time.monotonic(), CHANGES_PER_S, CHANGES_AT_ONCE)

    # -- sends

    async def _send(self, caller: Identity, request: BackendSendRequest) -> bytes:
        sends = request.sends
        if not 1 <= len(sends) <= SENDS_MAX:
            raise Invalid(f"there are {len(sends)} sends: use 1 to {SENDS_MAX}")
        if any(not each.HasField("membership") for each in sends):
            _allow(caller, "send")
        if any(each.HasField("membership") for each in sends):
            _allow(caller, "groups")
        self._charge(caller, len(sends))
        passed = [self._passed(caller, each, request.token) for each in sends]
        token = await self._passing.send([each for each in passed if each.is_open])
        results = list(map(_result, passed))
        self._metrics.app_sends.labels(ids.app_of(caller.user_id)).inc(len(passed))
        for each in passed:
            self._metrics.sends.labels(each.refusal.name if each.refusal else "ok").inc()
        return BackendSendResponse(results=results, token=token).SerializeToString()

    def _passed(self, caller: Identity, given: BackendSend, token: ReadToken) -> Passed:
        """Return a send as it is passed on, or as it is refused here."""
        body = given.WhichOneof("body")
        send = Send(
            client_message_id=given.client_message_id,
            chat_id=given.chat_id,
            traceparent=given.traceparent,
            **({body: getattr(given, body)} if body else {}),
        )
        called = Called(ids.UserId(given.user_id), send, given.since_ms, as_system=given.as_system)
        try:
            user_id = ids.fellow(caller.user_id, given.user_id)
            chat_id = ids.chat_id(given.chat_id)
            if given.since_ms < 0:
                raise Invalid("since_ms is negative: use ms since 1970, or 0")
        except Refusal as refusal:
            return Passed(called, -1, refusal=refusal.detached())
        partition = self._partition_of(ids.UserId(chat_id if is_of_group(send) else user_id))
        if given.is_new:
            called = called._replace(absent_up_to=self._passing.place_in(token, partition))
        return Passed(called, partition)

    # -- queries

    def _query_call(self, name: str) -> Call:
        request = getattr(backend_pb2, f"Backend{name}Request")
        response = getattr(history_pb2, f"{name}Response")
        return Call(name, request, response, partial(self._query, name))

    async def _query(self, name: str, caller: Identity, request: Any) -> bytes:
        _allow(caller, "read")
        self._charge(caller, 1)
        user_id = ids.fellow(caller.user_id, request.user_id)
        asked = request.request.SerializeToString()
        return await self._passing.ask(Query(user_id=user_id, call=name, request=asked))

    # -- moderation

    def _moderation_call(self, name: str) -> Call:
        request = getattr(moderation_pb2, f"{name}Request")
        response = getattr(moderation_pb2, f"{name}Response")
        return Call(name, request, response, partial(self._moderate, name))

    async def _moderate(self, name: str, caller: Identity, request: Message) -> bytes:
        _allow(caller, "operate")
        if name == "SetRule":
            self._charge_change(caller)
        else:
            self._charge(caller, 1)
        asked = request.SerializeToString()
        return await self._passing.ask(Query(service=caller.user_id, call=name, request=asked))

    # -- attachments

    def _attachment_call(self, of_user: Call) -> Call:
        request = getattr(backend_pb2, f"Backend{of_user.name}Request")
        answer = partial(self._attach, of_user)
        return Call(of_user.name, request, of_user.response, answer)

    async def _attach(self, of_user: Call, caller: Identity, request: Any) -> bytes:
        """Answer a call as that user is answered, who is not charged for it."""
        _allow(caller, "read" if of_user.name == "GetDownload" else "send")
        self._charge(caller, 1)
        user = caller._replace(user_id=ids.fellow(caller.user_id, request.user_id))
        return await of_user.answer(user, request.request)

    # -- users

    async def _revoke(self, caller: Identity, request: RevokeTokensRequest) -> bytes:
        _allow(caller, "users")
        self._charge_change(caller)
        before_ms = request.before_ms or until_now_ms()
        user_id = ids.fellow(caller.user_id, request.user_id)
        wanted = Revocation(user_id, request.sid, before_ms)
        await revoke(self._configuration, wanted, by=f"back end: {caller.user_id}")
        return RevokeTokensResponse(before_ms=before_ms).SerializeToString()


def _result(passed: Passed) -> BackendSendResult:
    if passed.refusal:
        return BackendSendResult(refused=passed.refusal.proto())
    return BackendSendResult(message_id=passed.message_id)


def _allow(caller: Identity, scope: str) -> None:
    if scope not in caller.scopes:
        held = " ".join(sorted(caller.scopes)) or "none"
        raise Refusal(
            errors_pb2.ERROR_CODE_FORBIDDEN,
            f"this needs the scope `{scope}`, but the token of {caller.user_id} has {held}: sign "
            "one with that scope",
        )
