"""Has materialize servers compare the log with the history, and shows what they find."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sized
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import typer

from cecochat.cli.asking import asking
from cecochat.cli.errors import UsageError
from cecochat.cli.output import echo, json_line, shown_ms
from cecochat.cli.target import health_urls
from cecochat.domain.errors import Refusal, Unavailable
from cecochat.domain.printable import printable

ASK_S = 60.0  # a step compares some thousand records, perhaps on a busy machine
RETRIES, RETRY_S = 5, 1.0
FOLLOW_S = 2.0
LINE = "\r\x1b[K"  # goes to the beginning of the line, and clears it


@dataclass(frozen=True)
class Wanted:
    """What to compare, and whether to repair it."""

    partition: int | None
    since_ms: int
    repair: bool


@dataclass
class Report:
    """What has been found so far."""

    rows: int = 0
    missing: int = 0
    hidden: int = 0  # stretches of the log
    complete_ms: dict[int, int] = field(default_factory=dict)  # partition -> its last message


# -- asking


class _Servers:
    """The materialize servers. Any of them can compare any partition."""

    def __init__(self, client: httpx.AsyncClient, urls: list[str]) -> None:
        self._client = client
        self._urls = urls

    async def states(self) -> list[dict[str, Any]]:
        """Return what each server that answers has found on its own.

        Raises `Refusal`, and `Unavailable` if none answers.
        """
        answers = await asyncio.gather(
            *(self._ask("GET", url, "audit") for url in self._urls), return_exceptions=True
        )
        states = [each for each in answers if isinstance(each, dict)]
        if refused := next((each for each in answers if isinstance(each, Refusal)), None):
            raise refused
        if not states:
            raise Unavailable(f"no materialize server answers ({answers[0]})")
        return states

    async def step(self, partition: int, **asked: int) -> dict[str, Any]:
        """Have one step of a partition compared. Raises `Unavailable`, `UsageError`."""
        why = ""
        for attempt in range(RETRIES):
            if attempt:
                await asyncio.sleep(RETRY_S)
            for url in self._urls:
                try:
                    return await self._ask("POST", url, f"audit/{partition}", **asked)
                except Unavailable as error:
                    why = str(error)
        raise Unavailable(f"no materialize server can compare partition {partition} ({why})")

    async def _ask(self, method: str, url: str, path: str, **asked: int) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, f"{url.rstrip('/')}/{path}", params=asked)
            body = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise Unavailable(f"{url}: {str(error) or type(error).__name__}") from None
        match body:
            case {"error": {"code": "invalid_argument", "message": str(message)}}:
                raise UsageError(message)
            case {"error": {"message": str(message)}}:
                raise Unavailable(f"{url}: {message}")
            case {"missing": list()}:
                return dict(body)
        raise Unavailable(f"{url}: what answers there is not a materialize server")


@asynccontextmanager
async def _servers(url: str | None, file: Path | None) -> AsyncIterator[_Servers]:
    """Yield the materialize servers. Raises `Unavailable` if none is known."""
    urls = [url] if url else await health_urls("materialize", file)
    if not urls:
        raise Unavailable(
            "no materialize server is known: see `cecochat status`, or name one with --server URL"
        )
    async with asking(file, None, "read", "change")(timeout_s=ASK_S) as client:
        yield _Servers(client, urls)


# -- once


async def audit(wanted: Wanted, url: str | None, file: Path | None, as_json: bool) -> Report:
    """Compare once. Raises `Unavailable`, `UsageError`."""
    report, screen = Report(), _Screen(as_json, wanted.repair)
    async with _servers(url, file) as servers:
        count = (await servers.states())[0]["partitions"]
        some = range(count) if wanted.partition is None else [wanted.partition]
        for partition in some:
            await _audit_one(servers, partition, wanted, report, screen)
    screen.end(report)
    return report


async def _audit_one(
    servers: _Servers, partition: int, wanted: Wanted, report: Report, screen: _Screen
) -> None:
    asked = {"since": wanted.since_ms, "repair": int(wanted.repair)}
    while True:
        step = await servers.step(partition, **asked)
        report.rows += step["rows"]
        report.missing += len(step["missing"])
        report.complete_ms[partition] = step["time_ms"]
        hidden = step.get("hidden", [])  # an older server does not look
        report.hidden += len(hidden)
        screen.missing(step["missing"])
        screen.hidden(hidden)
        screen.progress(partition, step, report)
        if step["up_to"] >= step["whole"]:
            screen.done(partition, step)
            return
        asked["after"] = step["up_to"]


# -- continuously


async def follow(url: str | None, file: Path | None, as_json: bool) -> None:
    """Show what the servers find on their own, until cancelled.

    Raises `UsageError`, and `Unavailable` if none answers.
    """
    before: dict[str, dict[str, Any]] = {}
    screen = _Screen(as_json, repair=False)
    while True:
        async with _servers(url, file) as servers:  # asked each time, since servers come and go
            states = await servers.states()
        now = {each["text"]: each for state in states for each in state["missing"]}
        screen.missing([each for text, each in now.items() if text not in before])
        screen.there_again([each for text, each in before.items() if text not in now])
        screen.state(states, len(now))
        before = now
        await asyncio.sleep(FOLLOW_S)


# -- for people


class _Screen:
    """Prints lines that stay and, on a terminal, one below them that shows the progress."""

    def __init__(self, as_json: bool, repair: bool) -> None:
        self._json = as_json
        self._repair = repair
        self._terminal = sys.stderr.isatty() and not as_json
        self._said = ""

    def missing(self, found: list[dict[str, Any]]) -> None:
        """Print each row that is missing."""
        for each in found:
            if self._json:
                json_line({"missing": each, "repaired": self._repair})
            else:
                self._line("written again  " if self._repair else "MISSING  ", each["text"])

    def hidden(self, found: list[dict[str, Any]]) -> None:
        """Print each stretch of the log that cannot be compared."""
        for each in found:
            if self._json:
                json_line({"hidden": each})
            else:
                self._line("HIDDEN  ", each["text"])

    def there_again(self, found: list[dict[str, Any]]) -> None:
        """Print each row that was missing before."""
        for each in found:
            if self._json:
                json_line({"there_again": each})
            else:
                self._line("there again  ", each["text"])

    def progress(self, partition: int, step: dict[str, Any], report: Report) -> None:
        """Show the progress within a partition."""
        whole = max(step["whole"] + 1, 1)
        percent = 100 * min(step["up_to"] + 1, whole) // whole
        self._status(f"partition {partition}: {percent} %, {report.rows:,} rows compared")

    def done(self, partition: int, step: dict[str, Any]) -> None:
        """Note that a partition is compared."""
        if self._json:
            at = {"up_to": step["up_to"], "time_ms": step["time_ms"]}
            json_line({"partition": partition, **at})

    def state(self, states: list[dict[str, Any]], missing: int) -> None:
        """Show what all servers have found, if that has changed."""
        complete = {p: each for state in states for p, each in state["complete"].items()}
        if self._json:
            json_line({"complete": complete, "missing_rows": missing})
            return
        newest = max((each["time_ms"] for each in complete.values()), default=0)
        said = f"{_partitions(complete)} compared{_up_to(newest)}: " + (
            f"{_rows(missing)} missing" if missing else "nothing is missing"
        )
        self._status(said)
        if said != self._said and not self._terminal:
            echo(said)
        self._said = said

    def end(self, report: Report) -> None:
        """Print the result."""
        self._status("")
        if self._json:
            found = {"missing_rows": report.missing, "hidden_stretches": report.hidden}
            json_line({"rows": report.rows, **found})
            return
        newest = max(report.complete_ms.values(), default=0)
        echo(
            f"{_rows(report.rows)} compared in {_partitions(report.complete_ms)}"
            f"{_up_to(newest)}: {_verdict(report.missing, self._repair)}"
        )
        if report.hidden:
            echo(
                f"{report.hidden:,} stretches of the log are hidden; `cecochat holes list` names "
                "what the history may lack for it"
            )

    def _line(self, head: str, text: str) -> None:
        self._status("")
        colour = "red" if head.startswith(("MISSING", "HIDDEN")) else None
        echo(text, head, fg=colour)

    def _status(self, text: str) -> None:
        if self._terminal:
            typer.echo(f"{LINE}{printable(text)}", nl=False, err=True)


def _verdict(missing: int, repaired: bool) -> str:
    if not missing:
        return "nothing is missing"
    if repaired:
        return f"{_rows(missing)} missing, and written again"
    return f"{_rows(missing)} missing; use --repair to write them again"


def _partitions(found: Sized) -> str:
    return f"{len(found)} partition{'' if len(found) == 1 else 's'}"


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def _up_to(at_ms: int) -> str:
    return f", up to {shown_ms(at_ms)}" if at_ms else ""
