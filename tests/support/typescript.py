"""The TypeScript client as a process: clients/typescript/test/driver.ts, on Node."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from scripts.protos import TYPESCRIPT
from tests.support import npm
from tests.support.backends import Backends

WITHIN_S = 60.0
LINE_MAX_BYTES = 16 << 20

Said = dict[str, Any]


def built(backends: Backends) -> Path:
    """Compile the client. Returns its folder of compiled code. Ends the test as `backends.absent`
    where there is no Node.
    """
    backends.program("node")
    return npm.compiled(TYPESCRIPT) / "dist"


def bundle(backends: Backends) -> bytes:
    """Return the client as one script. Ends the test as `built` does."""
    backends.program("node")
    return npm.bundled(TYPESCRIPT)


async def driver(dist: Path, runtime: Sequence[str] = ("node",)) -> Process:
    """Start a driver: see clients/typescript/test/driver.ts for what it takes and says."""
    script = dist / "test" / "driver.js"
    return await asyncio.create_subprocess_exec(
        *runtime, script, stdin=PIPE, stdout=PIPE, limit=LINE_MAX_BYTES, env=os.environ
    )


class CallFailed(Exception):
    """The client threw. `code` is that of its ChatError, or empty."""

    def __init__(self, error: dict[str, str]) -> None:
        super().__init__(str(error))
        self.code, self.kind = error["code"], error["kind"]


class TypeScriptClient:
    """A client in a process of its own. `events` holds all that it has told, in order."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._numbers = count()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._news = asyncio.Condition()
        self.events: list[Said] = []

    async def call(self, name: str, *args: Any) -> Any:
        """Call a method. Raises `CallFailed`."""
        answer = self.begin(name, *args)
        async with asyncio.timeout(WITHIN_S):
            return await answer

    def begin(self, name: str, *args: Any) -> asyncio.Future[Any]:
        """Call a method, and return what will be its answer."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        self._write({"call": name, "id": number, "args": args})
        return self._answers[number]

    def open(self, url: str, token: str, **options: Any) -> None:
        """Begin to connect."""
        self._write({"call": "open", "args": [{"url": url, "token": token, **options}]})

    def token(self, token: str) -> None:
        """Have the client be given another token from now on."""
        self._write({"call": "token", "args": [token]})

    def _write(self, call: Said) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(call, default=str).encode() + b"\n")

    async def until(self, wanted: Callable[[list[Said]], bool]) -> None:
        """Wait until what it has told is as wanted."""
        async with asyncio.timeout(WITHIN_S), self._news:
            await self._news.wait_for(lambda: wanted(self.events))

    def values(self, name: str) -> list[Any]:
        """The values of the events of one name."""
        return [said["value"] for said in self.events if said["event"] == name]

    async def until_values(self, name: str, wanted: Callable[[list[Any]], bool]) -> list[Any]:
        """Wait until the values of the events of one name are as wanted. Returns them."""
        await self.until(lambda _: wanted(self.values(name)))
        return self.values(name)

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()

    async def ended(self) -> int:
        """Let it close, and return its exit code."""
        assert self._process.stdin
        self._process.stdin.close()
        async with asyncio.timeout(WITHIN_S):
            return await self._process.wait()

    async def _read(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            said = json.loads(line)
            if "answer" in said:
                self._answered(said)
            else:
                async with self._news:
                    self.events.append(said)
                    self._news.notify_all()

    def _answered(self, said: Said) -> None:
        answer = self._answers.pop(said["answer"])
        if answer.done():
            return
        if "error" in said:
            answer.set_exception(CallFailed(said["error"]))
        else:
            answer.set_result(said["value"])


@asynccontextmanager
async def opened(
    dist: Path, url: str, token: str, *, runtime: Sequence[str] = ("node",), **options: Any
) -> AsyncIterator[TypeScriptClient]:
    """A client that begins to connect. `file` says where its state is kept, `runtime` how a script
    is run. It is killed at the end of the block.
    """
    process = await driver(dist, runtime)
    client = TypeScriptClient(process)
    client.open(url, token, **options)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(client._read())
        try:
            yield client
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await reading
