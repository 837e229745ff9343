"""Writes the generated cases of the kit: `make conformance`."""

from __future__ import annotations

from tests.conformance.case import KIT
from tests.conformance.generated import generated
from tests.conformance.writing import write_all

if __name__ == "__main__":
    write_all(KIT / "generated", generated())
