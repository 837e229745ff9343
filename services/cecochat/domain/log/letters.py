"""Dead letters: what of the log could not be taken, with its place and the reason, for a person."""

from __future__ import annotations

from typing import Literal, NamedTuple, cast, get_args

LetterKind = Literal["undecodable", "refused"]
"""A record that nobody can read; a message that the history database does not take."""

KEPT_DAYS = 30
BYTES_MAX = 1 << 20
"""Of a key and of a value: a topic takes what is a good deal larger, so it refuses no letter."""
REASON_MAX = 500


class Letter(NamedTuple):
    """A dead letter: the record at `offset` of `partition`, byte for byte."""

    kind: LetterKind
    partition: int
    offset: int
    reason: str
    key: bytes
    value: bytes
    cut_bytes: int = 0  # of the value, that did not fit in
    message_id: int = 0  # of a refused message, since a log that lost its end gives offsets again

    @property
    def position(self) -> str:
        """Of the record, as people name it."""
        return f"{self.partition}:{self.offset}"

    def fitted(self) -> Letter:
        """As it is kept: what is too long is cut, and says so."""
        left_out = self.cut_bytes + max(0, len(self.value) - BYTES_MAX)
        return self._replace(
            key=self.key[:BYTES_MAX], value=self.value[:BYTES_MAX], cut_bytes=left_out
        )

    def headers(self) -> tuple[tuple[str, str], ...]:
        """What stands beside key and value."""
        reason = self.reason.encode("ascii", "backslashreplace").decode()
        printable = "".join(each if each.isprintable() else " " for each in reason)
        numbers = (("cut", self.cut_bytes), ("message", self.message_id))
        return (
            ("position", self.position),
            ("reason", printable[:REASON_MAX]),
            ("kind", self.kind),
            *((name, str(number)) for name, number in numbers if number),
        )


def parse(key: bytes, value: bytes, headers: tuple[tuple[str, str], ...]) -> Letter | None:
    """The letter that was kept as these; None: it is none."""
    header = dict(headers)
    partition, _, offset = header.get("position", "").partition(":")
    kind = header.get("kind", "undecodable")
    cut, message_id = header.get("cut", "0"), header.get("message", "0")
    if kind not in get_args(LetterKind) or not all(
        each.isdecimal() for each in (partition, offset, cut, message_id)
    ):
        return None
    reason, known = header.get("reason", ""), cast("LetterKind", kind)
    place = (int(partition), int(offset))
    return Letter(known, *place, reason, key, value, int(cut), int(message_id))
