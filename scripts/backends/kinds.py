"""The kinds of backends, in the order in which they are started: the slow ones first."""

from __future__ import annotations

from scripts.backends import cassandra, consul, jaeger, kafka, redis
from scripts.backends.instance import Failed, Kind

KINDS = {
    kind.name: kind for kind in (kafka.KIND, cassandra.KIND, redis.KIND, consul.KIND, jaeger.KIND)
}


def kind(name: str) -> Kind:
    if name not in KINDS:
        raise Failed(f"{name} is no backend: there are {', '.join(KINDS)}")
    return KINDS[name]
