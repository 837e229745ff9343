"""Every span that servers and clients make, and every attribute: name, kind and meaning, in this
one place. `make reference` writes them into `observability/telemetry.md`.

Names follow the OpenTelemetry semantic conventions 1.38 for RPC, HTTP, databases and messaging (in
development there: they are pinned here); what those have no word for begins with `cecochat.`.
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
    OFFSET: "Of the record in its partition; where the log is SQLite, too.",
    PARTITION: "Number of the partition.",
    DESTINATION: "Name of the log: `messages`.",
    OPERATION: "`send` or `process`.",
    BATCH: "Messages in the batch, traced or not.",
    RECORD: "`origin` or `copy`.",
    SESSION: "Id of the session that was written to.",
    LATE: "Milliseconds from the time in the message's id to when this ended. The message had no "
    "trace before, and this took longer than `trace.slow_ms`.",
    DB: "`sqlite`, `cassandra` or `redis`.",
    DB_OPERATION: "`INSERT` or `SELECT`.",
    DB_COLLECTION: "What is read or written, such as `messages`.",
    RPC: "Full name of the call.",
    HTTP_METHOD: "`GET`.",
    HTTP_ROUTE: "`/v1/connect`.",
    HTTP_STATUS: "Of the answer.",
    DOCUMENT: "`configuration` or `assignment`.",
    VERSION: "Of the document.",
}
"""Attribute -> meaning."""

SERVICE = "service.name"
INSTANCE = "service.instance.id"
RELEASE = "service.version"

RESOURCE = {
    SERVICE: "`cecochat-messaging` and so on.",
    INSTANCE: "Id of the server.",
    RELEASE: "Version of CecoChat.",
}
"""Attribute of who made a span -> meaning."""


class Spec(NamedTuple):
    """A span: who makes it, and which attributes it may have."""

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
    "`cecochat send --trace`, as the application that sends.",
)
SEND = _spec(
    "send",
    "CLIENT",
    "client",
    {MESSAGE_ID},
    "A client's send, until it is acknowledged; over all connections that it takes.",
)
ACCEPT = _spec(
    "accept",
    "SERVER",
    "messaging",
    {MESSAGE_ID, PARTITION, OFFSET, LATE},
    "From when a send was read to when it was read back from the log and acknowledged.",
)
APPEND = _spec(
    "send messages",
    "PRODUCER",
    "messaging",
    {MESSAGE_ID, DESTINATION, PARTITION, OPERATION, RECORD},
    "The append of a record, until the log has it for good: the origin, or a copy for those of "
    "another partition. Its context travels in the record's header `traceparent`.",
)
DELIVER = _spec(
    "deliver",
    "CONSUMER",
    "messaging",
    {MESSAGE_ID, PARTITION, OFFSET, SESSION},
    "From when a record was read to when it was written to one live session.",
)
MATERIALIZE = _spec(
    "process messages",
    "CONSUMER",
    "materialize",
    {MESSAGE_ID, DESTINATION, PARTITION, OFFSET, OPERATION, BATCH, LATE},
    "From when a batch of the log was read to when the history holds it.",
)
WRITE = _spec(
    "INSERT messages",
    "CLIENT",
    "materialize",
    {DB, DB_OPERATION, DB_COLLECTION, BATCH},
    "The write of a batch into the history database. One for all messages of the batch: below one "
    "of them, with links to up to 128 others.",
)
QUERY = _spec(
    "cecochat.v1.History",
    "SERVER",
    "history",
    {RPC},
    "A query of the history by somebody known; the name ends with the call.",
)
READ = _spec(
    "SELECT",
    "CLIENT",
    "history",
    {DB, DB_OPERATION, DB_COLLECTION},
    "A read of the history database for a query; the name ends with what is read.",
)
LOOKUP = _spec(
    "GET /v1/connect",
    "SERVER",
    "connect",
    {HTTP_METHOD, HTTP_ROUTE, HTTP_STATUS},
    "A client asks where to go.",
)
CHANGE = _spec(
    "change",
    "CLIENT",
    "control, cli",
    {DOCUMENT, VERSION, DB},
    "A central document is changed: read, decided and stored, and announced where the store is "
    "Redis. The names of this and the next two end with the document. All that belongs to one "
    "change is in one trace.",
)
RECEIVE = _spec(
    "receive",
    "CONSUMER",
    "every server",
    {DOCUMENT, VERSION, DB},
    "From when a document was changed, by its own time, to when a server that runs has read it, "
    "which the announcement makes it do at once.",
)
FOLLOW = _spec(
    "follow",
    "INTERNAL",
    "every server",
    {DOCUMENT, VERSION},
    "A version of a central document is applied, and in force when this ends; at the start of a "
    "server too.",
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
