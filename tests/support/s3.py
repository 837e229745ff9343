"""A server that speaks the API of S3: Versity's gateway, which checks signatures as S3 does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from cecochat.adapters.s3.files import S3Settings
from scripts.backends import versitygw
from tests.support.backends import Backends
from tests.support.eventually import eventually
from tests.support.hooks import free_port

KEY, SECRET, BUCKET = "a-key", "the-secret-of-a-key", "attachments"


@asynccontextmanager
async def gateway(folder: Path, backends: Backends) -> AsyncIterator[S3Settings]:
    """A gateway on a folder, with a bucket. The same folder has the same files."""
    program = versitygw.here() or backends.absent("versitygw")
    await asyncio.to_thread((folder / BUCKET).mkdir, parents=True, exist_ok=True)
    port = free_port()
    arguments = [
        *("--port", f"127.0.0.1:{port}", "--access", KEY, "--secret", SECRET, "--quiet"),
        *("posix", str(folder)),
    ]
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await eventually(lambda: _answers(url))
        yield S3Settings(f"{url}/{BUCKET}", access_key=KEY, secret_key=SECRET)
    finally:
        process.kill()
        await process.wait()


async def _answers(url: str) -> bool:
    async with httpx.AsyncClient() as client:
        try:
            await client.get(url)
        except httpx.TransportError:
            return False
    return True
