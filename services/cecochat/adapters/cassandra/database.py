"""A connected cluster for asyncio. Statements are awaited, and only so many are in flight."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from cassandra import AuthenticationFailed, ConsistencyLevel, DriverException, protocol
from cassandra import RequestValidationException as Invalid
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    ResponseFuture,
    Session,
)
from cassandra.connection import ConnectionException
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    RetryPolicy,
    TokenAwarePolicy,
)
from cassandra.query import BoundStatement, PreparedStatement, Statement, tuple_factory
from typing_extensions import override

from cecochat.adapters.cassandra.reactor import LoopConnection, connections_on
from cecochat.adapters.cassandra.settings import CassandraSettings, endpoint
from cecochat.domain.errors import InvalidSettings, Unavailable

Rows = list[tuple[Any, ...]]

PROTOCOL_VERSION = 4  # the newest that ScyllaDB knows; 5 adds checksums, computed in Python
CONNECT_TIMEOUT_S = 5.0
RECONNECT_S = (0.1, 2.0)  # the first and the longest delay
HEARTBEAT_S = 10.0
LOWEST_TOKEN = -(1 << 63)  # of the hashes by which the rows of a table are ordered
RETRIES = 2  # of one request, within its timeout
FAILURES = (NoHostAvailable, DriverException, ConnectionException, protocol.ErrorMessage, OSError)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Remove the traceback that the driver logs with each attempt to reach a node that is down. The
    message says enough.
    """
    record.exc_info = None
    return True


for _name in ("cluster", "connection", "pool"):
    logging.getLogger(f"cassandra.{_name}").addFilter(_without_traceback)


class RetryIdempotent(RetryPolicy):  # type: ignore[misc]
    """Sends a request again if it is idempotent: to the same node if it timed out, otherwise to the
    next.
    """

    @override
    def on_read_timeout(self, query: Any, *, retry_num: int, **_: Any) -> Any:
        return self._decide(query, retry_num, self.RETRY)

    @override
    def on_write_timeout(self, query: Any, *, retry_num: int, **_: Any) -> Any:
        return self._decide(query, retry_num, self.RETRY)

    @override
    def on_unavailable(self, query: Any, *, retry_num: int, **_: Any) -> Any:
        return self._decide(query, retry_num, self.RETRY_NEXT_HOST)

    @override
    def on_request_error(self, query: Any, *_: Any, retry_num: int, **__: Any) -> Any:
        return self._decide(query, retry_num, self.RETRY_NEXT_HOST)

    def _decide(self, query: Any, retry_num: int, again: int) -> Any:
        if query is None or not query.is_idempotent or retry_num >= RETRIES:
            return self.RETHROW, None
        return again, None


class _Request:
    """A statement on its way. `answer` is the answer of its current page."""

    __slots__ = ("answer", "future")

    def __init__(self, answer: asyncio.Future[Rows]) -> None:
        self.answer = answer
        self.future: ResponseFuture = None


class Database:
    """A connected cluster. Statements raise `Unavailable`, or the driver's error if invalid."""

    def __init__(self, cluster: Cluster, session: Session, settings: CassandraSettings) -> None:
        """Use `connect` instead."""
        self._cluster = cluster
        self._session = session
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(settings.in_flight)
        self._on_loop = cluster.connection_class.on_loop
        self._closed = False

    @classmethod
    async def connect(cls, settings: CassandraSettings) -> Database:
        """Connect to the first node that answers. Raises `Unavailable` and `InvalidSettings`."""
        loop = asyncio.get_running_loop()
        connecting = loop.run_in_executor(None, _connect, settings, connections_on(loop))
        try:
            cluster, session = await asyncio.shield(connecting)
        except asyncio.CancelledError:
            connecting.add_done_callback(_discard)
            raise
        except FAILURES as error:
            raise _refused(error) from error
        return cls(cluster, session, settings)

    async def run(
        self,
        statement: Statement,
        parameters: Sequence[Any] | None = None,
        timeout_s: float | None = None,
    ) -> Rows:
        """Run a statement and return all rows. Cancelling does not take the statement back."""
        request = await self._send(statement, parameters, timeout_s)
        rows = await self._rows(request)
        while request.future.has_more_pages:
            await self._slots.acquire()
            request.answer = self._loop.create_future()
            request.future.start_fetching_next_page()
            rows += await self._rows(request)
        if not request.future.is_schema_agreed:
            raise Unavailable(
                "the nodes of Cassandra do not agree on the schema: check whether one is down"
            )
        return rows

    async def run_all(self, statements: Iterable[Statement]) -> None:
        """Run the statements side by side, as far as the limit allows. Returns when all have ended,
        and raises the first error.
        """
        answers = [(await self._send(each)).answer for each in statements]
        for outcome in await asyncio.gather(*answers, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise _translated(outcome) from outcome

    async def prepare(self, statements: Iterable[str]) -> list[PreparedStatement]:
        """Prepare statements on all nodes. All of them have to be idempotent."""

        def prepare() -> list[PreparedStatement]:
            prepared = [self._session.prepare(each) for each in statements]
            for each in prepared:
                each.is_idempotent = True
            return prepared

        try:
            return await asyncio.to_thread(prepare)
        except FAILURES as error:
            raise _translated(error) from error

    def nodes(self) -> dict[str, int]:
        """Return how many nodes each data centre has."""
        centres = [host.datacenter for host in self._cluster.metadata.all_hosts()]
        return {centre: centres.count(centre) for centre in centres}

    def coordinator(self, statement: BoundStatement) -> object:
        """Return the first replica of the row that a statement writes. Rows with the same one can
        share a request.
        """
        replicas = self._cluster.metadata.get_replicas(statement.keyspace, statement.routing_key)
        return replicas[0] if replicas else None

    async def close(self) -> None:
        """Wait for what is in flight, and disconnect. It may be called again."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._cluster.shutdown)

    async def _send(
        self,
        statement: Statement,
        parameters: Sequence[Any] | None = None,
        timeout_s: float | None = None,
    ) -> _Request:
        await self._slots.acquire()
        request = _Request(self._loop.create_future())
        try:
            if self._closed:
                raise Unavailable("this history is closed")
            request.future = self._session.execute_async(
                statement, parameters, timeout=timeout_s or self._settings.request_timeout_s
            )
        except BaseException:
            self._slots.release()
            raise
        request.future.add_callbacks(
            self._succeeded, self._failed, callback_args=(request,), errback_args=(request,)
        )
        return request

    async def _rows(self, request: _Request) -> Rows:
        try:
            return await request.answer
        except FAILURES as error:
            raise _translated(error) from error

    def _succeeded(self, rows: Any, request: _Request) -> None:
        self._on_loop(self._answer, request, rows, None)

    def _failed(self, error: BaseException, request: _Request) -> None:
        self._on_loop(self._answer, request, None, error)

    def _answer(self, request: _Request, rows: Any, error: BaseException | None) -> None:
        self._slots.release()
        if request.answer.done():
            return
        if error is not None:
            request.answer.set_exception(error)
        else:
            request.answer.set_result(rows if isinstance(rows, list) else [])


def _connect(
    settings: CassandraSettings, connection_class: type[LoopConnection]
) -> tuple[Cluster, Session]:
    cluster = _cluster(settings, connection_class)
    try:
        return cluster, cluster.connect()
    except BaseException:
        cluster.shutdown()
        raise


def _cluster(settings: CassandraSettings, connection_class: type[LoopConnection]) -> Cluster:
    contact_points = [endpoint(address) for address in settings.addresses]
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(settings.datacenter)),
        retry_policy=RetryIdempotent(),
        consistency_level=ConsistencyLevel.name_to_value[settings.consistency],
        serial_consistency_level=ConsistencyLevel.SERIAL,  # all data centres share the schema lock
        request_timeout=settings.request_timeout_s,
        row_factory=tuple_factory,
    )
    cluster = Cluster(
        contact_points,
        port=contact_points[0][1],
        connection_class=connection_class,
        compression=False,
        auth_provider=PlainTextAuthProvider(settings.username, settings.password)
        if settings.username
        else None,
        ssl_context=settings.tls.client() if settings.tls else None,
        protocol_version=PROTOCOL_VERSION,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        reconnection_policy=ExponentialReconnectionPolicy(*RECONNECT_S),
        connect_timeout=CONNECT_TIMEOUT_S,
        control_connection_timeout=CONNECT_TIMEOUT_S,
        idle_heartbeat_interval=HEARTBEAT_S,
        idle_heartbeat_timeout=HEARTBEAT_S,
    )
    connection_class.holders = cluster.get_connection_holders
    return cluster


def _discard(connecting: asyncio.Future[tuple[Cluster, Session]]) -> None:
    """Disconnect a cluster for which nobody waits any more."""
    if not connecting.cancelled() and connecting.exception() is None:
        cluster, _ = connecting.result()
        threading.Thread(target=cluster.shutdown, daemon=True).start()


def _translated(error: BaseException) -> BaseException:
    """Return the error to raise: `Unavailable` if the same statement can be run again, or the error
    as it is if the statement is invalid, which is a bug.
    """
    if isinstance(error, FAILURES) and not isinstance(
        error, Invalid | protocol.RequestValidationException
    ):
        return _unavailable(error)
    return error


def _refused(error: BaseException) -> Exception:
    """Return the error to raise if connecting failed: `InvalidSettings` if waiting is no help."""
    unavailable = _unavailable(error)
    causes = error.errors.values() if isinstance(error, NoHostAvailable) else [error]
    if any(isinstance(cause, AuthenticationFailed) for cause in causes):
        return InvalidSettings(f"{unavailable}: check the username and the password")
    if "CERTIFICATE_VERIFY_FAILED" in str(unavailable):  # the driver keeps only the text
        return InvalidSettings(
            f"{unavailable}: check the CA file, and the names in the certificate"
        )
    return unavailable


def _unavailable(error: BaseException) -> Unavailable:
    if isinstance(error, NoHostAvailable):
        reasons = [f"{host}: {reason}" for host, reason in error.errors.items()]
        return Unavailable(f"no node of Cassandra answers: {'; '.join(reasons) or error}")
    return Unavailable(f"Cassandra does not answer: {error}")
