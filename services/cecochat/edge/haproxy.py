"""Runs HAProxy: checks a configuration, starts it, and reloads it without losing a stream."""

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
    """Return where HAProxy is, even if its folder is not on the PATH; None if it is not there."""
    return shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _needed() -> str:
    if found := program():
        return found
    raise InvalidSettings("HAProxy is not on this machine: install it (on Debian: haproxy)")


async def check(configuration: str) -> None:
    """Have HAProxy check a configuration. Raises `InvalidSettings` with what it complains about."""
    with tempfile.TemporaryDirectory(prefix="cecochat-edge-") as folder:
        file = Path(folder) / "haproxy.cfg"
        file.write_text(configuration)
        process = await asyncio.create_subprocess_exec(
            _needed(), "-c", "-f", str(file), stdout=PIPE, stderr=STDOUT
        )
        async with asyncio.timeout(CHECKED_WITHIN_S):
            said, _ = await process.communicate()
    if process.returncode:
        raise InvalidSettings(f"HAProxy rejects the configuration: {said.decode()[-2_000:]}")


class HAProxy:
    """A master process with its worker.

    At a reload, a new worker takes the new connections, and the old one serves its streams until
    they end.
    """

    def __init__(self, process: Process, file: Path) -> None:
        self._process = process
        self._file = file

    @classmethod
    async def start(cls, configuration: str, folder: Path) -> HAProxy:
        """Start HAProxy so that it ends with this process. Raises `InvalidSettings`."""
        await check(configuration)
        file = folder / "haproxy.cfg"
        file.write_text(configuration)
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "TERM", "--", _needed(), "-W", "-db", "-f", str(file)),
            start_new_session=True,  # Ctrl-C is for this process, which stops it in order
        )
        return cls(process, file)

    async def listening(self, host: str, port: int) -> None:
        """Wait until it takes connections. Raises `InvalidSettings` if it ends or is too slow."""
        for _ in range(round(LISTENS_WITHIN_S / LOOK_EVERY_S)):
            if self._process.returncode is not None:
                break
            with suppress(OSError):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return
            await asyncio.sleep(LOOK_EVERY_S)
        raise InvalidSettings(f"HAProxy does not listen on {host}:{port}: its log above says why")

    async def reload(self, configuration: str) -> None:
        """Use a new configuration. Raises `InvalidSettings` if HAProxy rejects it, and goes on."""
        await check(configuration)
        self._file.write_text(configuration)
        self._process.send_signal(signal.SIGUSR2)

    async def ended(self) -> int:
        """Wait until it ends, and return its exit code."""
        return await self._process.wait()

    async def stop(self) -> None:
        """End it, and with it all streams. Their clients go on through another edge."""
        if self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()


def changes(files: Iterable[Path]) -> AsyncGenerator[None]:
    """Yield after each change since this call of the files' content, or of the reason why one
    cannot be read.
    """
    looked_at = list(files)
    return _changes(looked_at, _digest(looked_at))


async def _changes(files: list[Path], seen: bytes) -> AsyncGenerator[None]:
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
    """Return the content of a file, or the reason why it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        return str(error).encode()
