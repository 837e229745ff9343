"""How long a request may take to arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cecochat.domain.errors import Refusal
from cecochat.v1 import errors_pb2

REQUEST_TIMEOUT_S = 10.0


@asynccontextmanager
async def soon() -> AsyncIterator[None]:
    """Bound a block that waits for a request. Raises `Refusal`."""
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            yield
    except TimeoutError:
        raise Refusal(
            errors_pb2.ERROR_CODE_TIMEOUT,
            f"no request came within {REQUEST_TIMEOUT_S:g} s: send one at once",
        ) from None
