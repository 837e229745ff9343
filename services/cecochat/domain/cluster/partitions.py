"""Which partition a user is on. It is computed as Kafka's default partitioner does, so that Kafka's
own tools find the same partition for a key.
"""

from __future__ import annotations

from functools import lru_cache

from cecochat.domain.log.ids import UserId

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """MurmurHash2 with Kafka's seed, as an unsigned 32-bit integer (Appleby 2008; Kafka's
    `Utils.murmur2`).
    """
    h = 0x9747B28C ^ len(data)
    body = len(data) & ~3
    for at in range(0, body, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    if body < len(data):
        h = (h ^ int.from_bytes(data[body:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


@lru_cache(maxsize=65_536)
def partition_of(user_id: UserId, count: int) -> int:
    """Return the partition of a user, from 0 to below `count`, the number of partitions."""
    return (murmur2(user_id.encode()) & 0x7FFFFFFF) % count
