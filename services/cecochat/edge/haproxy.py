"""HAProxy as a process: a configuration is checked, run, and taken anew without a stream lost."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import signal
import tempfile
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from pathlib import Path

from cecochat.domain.errors import InvalidSettings

log = logging.getLogger(__name__)

CERTIFICATE_EVERY_S = 2.0
CHECKED_WITHIN_S = 30.0
LISTENS_WITHIN_S = 10.0
LOOK_EVERY_S = 0.05


def program() -> str | None:
    """Where HAProxy is, also where its folder is not on a user's PATH; None: not installed."""
    return shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _needed() -> str:
    """Raises `InvalidSettings`."""
    if found := program():
        return found
    raise InvalidSettings("HAProxy is not on this machine: install it (Debian: haproxy)")


async def check(configuration: str) -> None:
    """Raises `InvalidSettings` with what HAProxy says is wrong with it."""
    with tempfile.TemporaryDirectory(prefix="cecochat-edge-") as folder:
        file = Path(folder) / "haproxy.cfg"
        file.write_text(configuration)
        process = await asyncio.create_subprocess_exec(
            _needed(), "-c", "-f", str(file), stdout=PIPE, stderr=STDOUT
        )
        async with asyncio.timeout(CHECKED_WITHIN_S):
            said, _ = await process.communicate()
    if process.returncode:
        raise InvalidSettings(f"HAProxy refuses the configuration: {said.decode()[-2_000:]}")


class HAProxy:
    """A master with its worker. At a reload a new worker takes the new connections, and the one
    before serves its streams to their end.
    """

    def __init__(self, process: Process, file: Path) -> None:
        self._process = process
        self._file = file

    @classmethod
    async def start(cls, configuration: str, folder: Path) -> HAProxy:
        """It ends with this process, however that ends. Raises `InvalidSettings`."""
        await check(configuration)
        file = folder / "haproxy.cfg"
        file.write_text(configuration)
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "TERM", "--", _needed(), "-W", "-db", "-f", str(file)),
            start_new_session=True,  # Ctrl-C is for this process, which stops it in order
        )
        return cls(process, file)

    async def listening(self, host: str, port: int) -> None:
        """Returns once it takes connections there. Raises `InvalidSettings` where it ends before,
        or does not within a time.
        """
        for _ in range(round(LISTENS_WITHIN_S / LOOK_EVERY_S)):
            if self._process.returncode is not None:
                break
            with suppress(OSError):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return
            await asyncio.sleep(LOOK_EVERY_S)
        raise InvalidSettings(f"HAProxy does not listen on {host}:{port}: it says why above")

    async def reload(self, configuration: str) -> None:
        """Raises `InvalidSettings` and goes on as before with what HAProxy refuses."""
        await check(configuration)
        self._file.write_text(configuration)
        self._process.send_signal(signal.SIGUSR2)

    async def ended(self) -> int:
        """Its exit code, once it ends."""
        return await self._process.wait()

    async def stop(self) -> None:
        """End it with the streams through it: their clients go on through another edge."""
        if self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()


async def changes(files: Iterable[Path]) -> AsyncGenerator[None]:
    """Yields after each change of what the files hold, or of why they cannot be read."""
    files = list(files)
    seen = _digest(files)
    while True:
        await asyncio.sleep(CERTIFICATE_EVERY_S)
        if (now := _digest(files)) != seen:
            seen = now
            yield


def _digest(files: list[Path]) -> bytes:
    digest = hashlib.sha256()
    for file in files:
        digest.update(_content(file))
    return digest.digest()


def _content(file: Path) -> bytes:
    """Or why it cannot be read, which HAProxy will say too."""
    try:
        return file.read_bytes()
    except OSError as error:
        return str(error).encode()
