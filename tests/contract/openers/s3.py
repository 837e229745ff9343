"""The store of files on Versity's gateway, with a process and a folder for each test."""

from __future__ import annotations

from contextlib import AsyncExitStack

from cecochat.adapters.s3.files import S3Files
from tests.contract.openers import Place
from tests.support.s3 import gateway


async def files(place: Place, stack: AsyncExitStack) -> S3Files:
    settings = await stack.enter_async_context(gateway(place.folder / "s3", place.backends))
    opened = await S3Files.open(settings)
    stack.push_async_callback(opened.close)
    return opened
