"""Declares every span that servers and clients make, and every attribute.

`make reference` writes them into `observability/telemetry.md`. Names follow the OpenTelemetry
semantic conventions 1.38 for RPC, HTTP, databases and messaging. Those are still in development, so
the version is pinned. What they have no name for begins with `cecochat.`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]

MESSAGE_ID = "messaging.message.id"
OFFSET = "messaging.kafka.offset"
PARTITION = "messaging.destination.partition.id"
DESTINATION = "messaging.destination.name"
OPERATION = "messaging.operation.name"
BATCH = "messaging.batch.message_count"
RECORD = "cecochat.record.kind"
SESSION = "cecochat.session.id"
LATE = "cecochat.late"
DB = "db.system.name"
DB_OPERATION = "db.operation.name"
DB_COLLECTION = "db.collection.name"
RPC = "rpc.method"
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
DOCUMENT = "cecochat.document"
VERSION = "cecochat.document.version"

ATTRIBUTES = {
    MESSAGE_ID: "Id of the message.",
    OFFSET: "Offset of the record in its partition, also if the log is SQLite.",
    PARTITION: "Number of the partition.",
    DESTINATION: "Name of the log: `messages`.",
    OPERATION: "`send` or `process`.",
    BATCH: "Messages in the batch, traced or not.",
    RECORD: "`origin` or `copy`.",
    SESSION: "Id of the session that was written to.",
    LATE: "Milliseconds from the time in the message's id to the end of this span. Set if the "
    "message had no trace before and this took longer than `trace.slow_ms`.",
    DB: "`sqlite`, `cassandra` or `redis`.",
    DB_OPERATION: "`INSERT` or `SELECT`.",
    DB_COLLECTION: "What is read or written, such as `messages`.",
    RPC: "Full name of the call.",
    HTTP_METHOD: "`GET` or `POST`.",
    HTTP_ROUTE: "`/v1/connect` or `/cecochat.v1.Directory/Lookup`.",
    HTTP_STATUS: "Status of the answer.",
    DOCUMENT: "`configuration` or `assignment`.",
    VERSION: "Version of the document.",
}
"""Attribute -> meaning."""

SERVICE = "service.name"
INSTANCE = "service.instance.id"
RELEASE = "service.version"

RESOURCE = {
    SERVICE: "The kind of server, such as `cecochat-messaging`.",
    INSTANCE: "Id of the server.",
    RELEASE: "Version of CecoChat.",
}
"""Attribute of the process that made a span -> meaning."""


class Spec(NamedTuple):
    """A span: who makes it, which attributes it may have, and what it means."""

    name: str
    kind: Kind
    service: str
    attributes: frozenset[str]
    meaning: str


def _spec(name: str, kind: Kind, service: str, attributes: set[str], meaning: str) -> Spec:
    return Spec(name, kind, service, frozenset(attributes), meaning)


COMMAND = _spec(
    "cecochat send",
    "INTERNAL",
    "client",
    set(),
    "The command `cecochat send --trace`, in place of the application that sends.",
)
SEND = _spec(
    "send",
    "CLIENT",
    "client",
    {MESSAGE_ID},
    "A client's send until it is acknowledged, over however many connections that takes.",
)
ACCEPT = _spec(
    "accept",
    "SERVER",
    "messaging",
    {MESSAGE_ID, PARTITION, OFFSET, LATE},
    "From the moment a send was received until it was read back from the log and acknowledged.",
)
APPEND = _spec(
    "send messages",
    "PRODUCER",
    "messaging",
    {MESSAGE_ID, DESTINATION, PARTITION, OPERATION, RECORD},
    "The append of a record until the log holds it for good: the origin, or a copy for another "
    "partition. Its context travels in the record's header `traceparent`.",
)
DELIVER = _spec(
    "deliver",
    "CONSUMER",
    "messaging",
    {MESSAGE_ID, PARTITION, OFFSET, SESSION},
    "From the moment a record was read until it was written to one live session.",
)
MATERIALIZE = _spec(
    "process messages",
    "CONSUMER",
    "materialize",
    {MESSAGE_ID, DESTINATION, PARTITION, OFFSET, OPERATION, BATCH, LATE},
    "From the moment a batch of the log was read until the history holds it.",
)
WRITE = _spec(
    "INSERT messages",
    "CLIENT",
    "materialize",
    {DB, DB_OPERATION, DB_COLLECTION, BATCH},
    "The write of a batch into the history database. One span stands for all messages of the "
    "batch: it is a child of one of them, and has links to up to 128 others.",
)
QUERY = _spec(
    "cecochat.v1.History",
    "SERVER",
    "history",
    {RPC},
    "A query of the history by an authenticated user. The name ends with the call.",
)
READ = _spec(
    "SELECT",
    "CLIENT",
    "history",
    {DB, DB_OPERATION, DB_COLLECTION},
    "A read of the history database for a query. The name ends with what is read.",
)
LOOKUP = _spec(
    "GET /v1/connect",
    "SERVER",
    "connect",
    {HTTP_METHOD, HTTP_ROUTE, HTTP_STATUS},
    "A client's question where to go.",
)
CHANGE = _spec(
    "change",
    "CLIENT",
    "control, cli",
    {DOCUMENT, VERSION, DB},
    "A change of a central document: it is read, decided, stored and, if the store is Redis, "
    "announced. The names of this span and the next two end with the document. All spans of one "
    "change are in one trace.",
)
RECEIVE = _spec(
    "receive",
    "CONSUMER",
    "every server",
    {DOCUMENT, VERSION, DB},
    "From the time that a changed document names until a running server has read it. The "
    "announcement makes a server read it at once.",
)
FOLLOW = _spec(
    "follow",
    "INTERNAL",
    "every server",
    {DOCUMENT, VERSION},
    "A server applies a version of a central document, which is in force when this ends. A server "
    "that starts has this span, too.",
)

SPECS = (
    COMMAND,
    SEND,
    ACCEPT,
    APPEND,
    DELIVER,
    MATERIALIZE,
    WRITE,
    QUERY,
    READ,
    LOOKUP,
    CHANGE,
    RECEIVE,
    FOLLOW,
)
