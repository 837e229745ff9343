"""Which backends a run must have: one missing is skipped on a laptop, and fails where required."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import pytest

VARIABLE = "CECOCHAT_BACKENDS"
KNOWN = frozenset({"embedded", "kafka", "cassandra", "redis", "consul", "nomad"})


@dataclass(frozen=True)
class Backends:
    """The backends named in CECOCHAT_BACKENDS, comma-separated: one missing, its tests fail."""

    required: frozenset[str]

    @classmethod
    def parse(cls, environ: Mapping[str, str]) -> Backends:
        """Raises ValueError for a name that is no backend: it would require nothing, silently."""
        required = frozenset(filter(None, map(str.strip, environ.get(VARIABLE, "").split(","))))
        if unknown := required - KNOWN:
            names, known = ", ".join(sorted(unknown)), ", ".join(sorted(KNOWN))
            raise ValueError(f"{VARIABLE} names {names}: it takes {known}")
        return cls(required)

    def absent(self, name: str, remedy: str) -> NoReturn:
        """End the test that needs the backend `name`; `remedy` tells a person how to get it."""
        assert name in KNOWN, f"{name} is no backend: add it to {__name__}.KNOWN"
        if name in self.required:
            pytest.fail(f"{name} is required ({VARIABLE}) and missing: {remedy}", pytrace=False)
        pytest.skip(f"{name} is missing: {remedy}")
