"""How each adapter is opened, and opened again on what it has stored: a module an adapter, with a
function a port.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.support.backends import Backends

PARTITIONS = 4  # of every log that is opened
SECRET = b"a cluster secret of the tests, long enough"


class Place(NamedTuple):
    """Where a test's data is: the same place is the same data."""

    folder: Path
    namespace: str  # of its own, on backends that are shared
    backends: Backends
