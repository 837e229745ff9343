"""The kinds of backends, in the order in which they are started: the slow ones first."""

from __future__ import annotations

from scripts.backends import (
    cassandra,
    consul,
    jaeger,
    kafka,
    postgres,
    prometheus,
    prometheus_up,
    redis,
)
from scripts.backends.instance import Failed, Kind

MODULES = (kafka, cassandra, postgres, redis, consul, jaeger, prometheus, prometheus_up)
KINDS: dict[str, Kind] = {module.KIND.name: module.KIND for module in MODULES}
DEFAULT = [name for name, each in KINDS.items() if each.by_default]


def kind(name: str) -> Kind:
    if name not in KINDS:
        raise Failed(f"there is no backend {name}: use one of {', '.join(KINDS)}")
    return KINDS[name]
