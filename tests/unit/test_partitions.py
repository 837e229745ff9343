"""A key is placed as Kafka places it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.cluster.partitions import murmur2, partition_of

# From Kafka's UtilsTest, as signed 32-bit integers.
KAFKA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("key", "hashed"), KAFKA.items())
def test_the_hash_is_kafkas(key: str, hashed: int) -> None:
    assert murmur2(key.encode()) == hashed & 0xFFFFFFFF


@given(st.binary(max_size=80))
def test_the_hash_is_an_unsigned_32_bit_integer(data: bytes) -> None:
    assert 0 <= murmur2(data) < 1 << 32


@given(st.text(max_size=64), st.integers(1, 4_096))
def test_a_partition_exists(user: str, count: int) -> None:
    assert partition_of(user, count) == (murmur2(user.encode()) & 0x7FFFFFFF) % count < count
