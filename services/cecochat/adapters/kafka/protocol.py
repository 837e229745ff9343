"""The two requests that aiokafka lacks: topics with their ids, and fetches in a session.

Each is used in one version, which every broker since 2.8 knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

from aiokafka.protocol.abstract import AbstractType  # type: ignore[import-untyped]
from aiokafka.protocol.api import Request, RequestStruct, Response  # type: ignore[import-untyped]
from aiokafka.protocol.fetch import FetchRequest_v11  # type: ignore[import-untyped]
from aiokafka.protocol.types import (  # type: ignore[import-untyped]
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)
from typing_extensions import override


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    @classmethod
    @override
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    @override
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


_TEXT = CompactString("utf-8")
_NO_ID = bytes(16)
_TAGS: dict[int, bytes] = {}


class MetadataResponse_v10(Response):  # type: ignore[misc]  # noqa: N801
    """Brokers, and topics with their ids (KIP-516)."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", _TEXT),
                ("port", Int32),
                ("rack", _TEXT),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", _TEXT),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class MetadataRequest_v10(RequestStruct):  # type: ignore[misc]  # noqa: N801
    """The request that `DescribeTopics` builds."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = MetadataResponse_v10
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("topic", _TEXT), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class DescribeTopics(Request[MetadataRequest_v10]):  # type: ignore[misc]
    """Asks for topics by name, without creating them."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    @override
    def build(self, request_struct_class: type[MetadataRequest_v10]) -> MetadataRequest_v10:
        topics = [(_NO_ID, topic, _TAGS) for topic in self._topics]
        return request_struct_class(topics, False, False, False, _TAGS)


class FetchSession(NamedTuple):
    """A fetch session (KIP-227). The broker remembers what is fetched, and is told only changes."""

    id: int
    epoch: int

    def following(self) -> FetchSession:
        """Return the session as the next request has to name it."""
        return FetchSession(self.id, self.epoch % 0x7FFFFFFF + 1)


NO_SESSION = FetchSession(0, -1)
NEW_SESSION = FetchSession(0, 0)


class Fetch(Request[FetchRequest_v11]):  # type: ignore[misc]
    """Fetches what is durable (below the high watermark) of one or several topics.

    `positions` is topic -> [(partition, offset)]. `forgotten` is topic -> [partition], for those
    that the session should no longer fetch.
    """

    API_KEY = 1

    def __init__(
        self,
        positions: dict[str, list[tuple[int, int]]],
        *,
        max_bytes: int,
        wait_ms: int = 0,
        session: FetchSession = NO_SESSION,
        forgotten: dict[str, list[int]] | None = None,
    ) -> None:
        self._positions = positions
        self._max_bytes = max_bytes
        self._wait_ms = wait_ms
        self._session = session
        self._forgotten = forgotten or {}

    @override
    def build(self, request_struct_class: type[FetchRequest_v11]) -> FetchRequest_v11:
        topics = [
            (topic, [(partition, -1, at, -1, self._max_bytes) for partition, at in partitions])
            for topic, partitions in self._positions.items()
        ]
        forgotten = list(self._forgotten.items())
        return request_struct_class(
            -1, self._wait_ms, 1, self._max_bytes, 0, *self._session, topics, forgotten, ""
        )
