"""Dead letters: what could not be read, written or delivered, kept with the reason."""

from __future__ import annotations

from typing import Literal, NamedTuple, cast, get_args

DeadLetterKind = Literal["undecodable", "refused", "parked", "replayed"]
"""`undecodable` is a record that nobody can read, `refused` a message that the history database
does not take, `parked` a webhook that its endpoint does not take. `replayed` says of a parked one,
later, that the endpoint has it now.
"""

KEPT_DAYS = 30
BYTES_MAX = 1 << 20
"""The most that is kept of a key, and of a value. A topic takes far larger records, so it refuses
no letter.
"""
REASON_MAX = 500


class DeadLetter(NamedTuple):
    """A dead letter: the record at `offset` of `partition`, byte for byte."""

    kind: DeadLetterKind
    partition: int
    offset: int
    reason: str
    key: bytes
    value: bytes
    cut_bytes: int = 0  # how much of the value was cut off
    message_id: int = 0  # of a refused message: a log that lost its end uses offsets twice
    endpoint: str = ""  # which one does not take the webhook
    webhook: str = ""  # its kind and its id, with a space between

    @property
    def position(self) -> str:
        """How people name the record: `partition:offset`."""
        return f"{self.partition}:{self.offset}"

    def fitted(self) -> DeadLetter:
        """Return the letter as it is kept. If key or value are too long they are cut, and
        `cut_bytes` says by how much.
        """
        left_out = self.cut_bytes + max(0, len(self.value) - BYTES_MAX)
        return self._replace(
            key=self.key[:BYTES_MAX], value=self.value[:BYTES_MAX], cut_bytes=left_out
        )

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers that are kept beside key and value."""
        reason = self.reason.encode("ascii", "backslashreplace").decode()
        printable = "".join(each if each.isprintable() else " " for each in reason)
        numbers = (("cut", self.cut_bytes), ("message", self.message_id))
        words = (("endpoint", self.endpoint), ("webhook", self.webhook))
        return (
            ("position", self.position),
            ("reason", printable[:REASON_MAX]),
            ("kind", self.kind),
            *((name, str(number)) for name, number in numbers if number),
            *((name, word) for name, word in words if word),
        )


def parse(key: bytes, value: bytes, headers: tuple[tuple[str, str], ...]) -> DeadLetter | None:
    """Return the letter that was kept with this key, value and headers; None if it was none."""
    header = dict(headers)
    partition, _, offset = header.get("position", "").partition(":")
    kind = header.get("kind", "undecodable")
    cut, message_id = header.get("cut", "0"), header.get("message", "0")
    if kind not in get_args(DeadLetterKind) or not all(
        each.isdecimal() for each in (partition, offset, cut, message_id)
    ):
        return None
    return DeadLetter(
        cast("DeadLetterKind", kind),
        int(partition),
        int(offset),
        header.get("reason", ""),
        key,
        value,
        int(cut),
        int(message_id),
        header.get("endpoint", ""),
        header.get("webhook", ""),
    )
