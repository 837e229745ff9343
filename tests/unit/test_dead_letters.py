"""How dead letters are written and read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.log.dead_letters import BYTES_MAX, DeadLetter, parse


@given(
    st.sampled_from(["undecodable", "refused"]),
    st.integers(0, 4_095),
    st.integers(0, 1 << 40),
    st.text(max_size=900),
    st.binary(max_size=20),
    st.integers(0, 1 << 62),
)
def test_what_is_written_is_read_back(
    kind: str, partition: int, offset: int, reason: str, value: bytes, id_: int
) -> None:
    letter = DeadLetter(kind, partition, offset, reason, b"key", value, 0, id_)  # type: ignore[arg-type]
    headers = letter.fitted().headers()
    assert all(each.isascii() and each.isprintable() for _, each in headers)
    found = parse(b"key", value, headers)
    assert found
    assert found._replace(reason="") == letter._replace(reason="")
    assert len(found.reason) <= 500


def test_what_does_not_fit_is_cut_and_says_so() -> None:
    letter = DeadLetter("refused", 3, 4, "too large", bytes(BYTES_MAX + 1), bytes(BYTES_MAX + 70))
    fitted = letter.fitted()
    assert (len(fitted.key), len(fitted.value), fitted.cut_bytes) == (BYTES_MAX, BYTES_MAX, 70)
    assert fitted.fitted() == fitted
    assert parse(fitted.key, fitted.value, fitted.headers()) == fitted


def test_letters_of_a_version_before_are_read() -> None:
    found = parse(b"", b"x", (("position", "3:4"), ("reason", "not a record")))
    assert found == DeadLetter("undecodable", 3, 4, "not a record", b"", b"x")


def test_what_is_no_letter_is_none() -> None:
    assert parse(b"", b"", ()) is None
    assert parse(b"", b"", (("position", "3:x"), ("kind", "refused"))) is None
    assert parse(b"", b"", (("position", "3:4"), ("kind", "of another version"))) is None
