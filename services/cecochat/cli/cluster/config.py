"""`cecochat config`: shows and changes the configuration that every server follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cecochat.cli import options, target
from cecochat.cli.errors import UsageError
from cecochat.cli.failure import run
from cecochat.cli.operate.apps import check_app
from cecochat.cli.output import echo, json_line

if TYPE_CHECKING:
    from cecochat.ports.configuration import Configuration, Document

KeyName = Annotated[
    str, typer.Argument(metavar="KEY", help="The name of a key, such as sends.rate_per_user.")
]

app = typer.Typer(
    no_args_is_help=True, help="Show and change the configuration that servers follow."
)


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.add_typer(app, name="config")


@app.command(epilog="Example: cecochat config get sends.rate_per_user")
def get(
    key: Annotated[str | None, typer.Argument(help="Only this key. By default all keys.")] = None,
    data: options.Data = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Print keys with their values, ranges and meanings.

    A star marks a value that is not the default. `app.NAME.KEY` is the value of a key for one app.
    """
    from cecochat.domain.cluster.configuration import KEYS

    document = run(_read(data, settings))
    names = [_checked(key)] if key else [*KEYS, *_set_for_apps(document.value)]
    values = {name: _in_force(name, document.value) for name in names}
    if json:
        json_line({"version": document.version, "value": values})
    elif key:
        echo(values[key])
    else:
        for name, value in values.items():
            echo(_line(name, value, changed=name in document.value))


@app.command(
    "set",
    epilog="Example: cecochat config set sends.rate_per_user 50",
    context_settings={"ignore_unknown_options": True},  # -1 is a value, though not a valid one
)
def set_(
    key: KeyName, value: str, data: options.Data = None, settings: options.SettingsFile = None
) -> None:
    """Change one key, or as `app.NAME.KEY` the key for one app. Servers follow within two
    seconds.
    """
    from cecochat.domain.cluster.values import from_text, named, parse

    parsed = from_text(_checked(key), value)
    if app_ := named(key).app:
        check_app(app_, data, settings)

    def with_it(current: Mapping[str, Any]) -> Mapping[str, Any]:
        changed = {**current, key: parsed}
        parse(changed)
        return changed

    version = run(_change(data, settings, with_it))
    echo(f"{key} is {parsed} as of version {version}")


@app.command(epilog="Example: cecochat config unset sends.rate_per_user")
def unset(key: KeyName, data: options.Data = None, settings: options.SettingsFile = None) -> None:
    """Set one key back to its default, or remove a key that only another version knows.

    `app.NAME.KEY` is then what KEY is for all apps.
    """
    from cecochat.domain.cluster.configuration import KEYS

    def without(current: Mapping[str, Any]) -> Mapping[str, Any]:
        if key not in current:
            _checked(key)
        return {name: value for name, value in current.items() if name != key}

    version = run(_change(data, settings, without))
    now = f"{KEYS[key][2]}, the default," if key in KEYS else "removed"
    echo(f"{key} is {now} as of version {version}")


@app.command(epilog="Example: cecochat config watch")
def watch(
    data: options.Data = None, json: options.Json = False, settings: options.SettingsFile = None
) -> None:
    """Print each change as it happens, until Ctrl-C."""
    run(_watch(data, settings, json))


@app.command("history", epilog="Example: cecochat config history --limit 5")
def past(
    limit: Annotated[int, typer.Option(min=1, help="Print at most this many versions.")] = 20,
    data: options.Data = None,
    json: options.Json = False,
    settings: options.SettingsFile = None,
) -> None:
    """Print who changed what and when, newest first."""
    versions = run(_past(data, settings, limit + 1))
    for document, before in zip(versions[:limit], [*versions[1:], None], strict=False):
        _print_change(document, before.value if before else {}, as_json=json)


# -- the document


def _opened(data: Path | None, file: Path | None) -> AbstractAsyncContextManager[Configuration]:
    from cecochat.adapters import build

    return build.configuration(target.settings(data, file))


async def _read(data: Path | None, file: Path | None) -> Document:
    from cecochat.ports.configuration import CONFIGURATION

    async with _opened(data, file) as configuration:
        return await configuration.get(CONFIGURATION)


async def _change(
    data: Path | None,
    file: Path | None,
    change: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> int:
    """Change the current document, and keep what others change at the same time."""
    from cecochat.cli import changes
    from cecochat.ports.configuration import CONFIGURATION

    async with _opened(data, file) as configuration:
        return (await changes.change(configuration, CONFIGURATION, change)).version


async def _past(data: Path | None, file: Path | None, limit: int) -> list[Document]:
    from cecochat.ports.configuration import CONFIGURATION

    async with _opened(data, file) as configuration:
        return await configuration.past(CONFIGURATION, limit)


async def _watch(data: Path | None, file: Path | None, as_json: bool) -> None:
    from contextlib import aclosing

    from cecochat.ports.configuration import CONFIGURATION

    before: Mapping[str, Any] = {}
    async with (
        _opened(data, file) as configuration,
        aclosing(configuration.watch(CONFIGURATION)) as all_,
    ):
        async for document in all_:
            _print_change(document, before, as_json=as_json)
            before = document.value


# -- for people


def _checked(key: str) -> str:
    from cecochat.domain.cluster.configuration import KEYS
    from cecochat.domain.cluster.values import APP_PREFIX, closest, named

    if key in KEYS or (key.startswith(APP_PREFIX) and named(key)):
        return key
    near = closest(key)
    meant = f"did you mean {near}?" if near else "`cecochat config get` lists them"
    raise UsageError(f"there is no configuration key {key!r}: {meant}")


def _set_for_apps(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys that are set for one app; those that only another version knows are not."""
    from cecochat.domain.cluster.values import named
    from cecochat.domain.errors import InvalidSettings

    for name in sorted(document):
        with suppress(InvalidSettings):
            if named(name).app:
                yield name


def _in_force(name: str, document: Mapping[str, Any]) -> Any:
    from cecochat.domain.cluster.values import named

    key = named(name)
    return document.get(name, document.get(key.key.name, key.default))


def _line(name: str, value: Any, *, changed: bool) -> str:
    from cecochat.domain.cluster.values import named

    key = named(name).key
    allowed = f"{_plain(key.low)} to {_plain(key.high)} {key.unit}".strip() if key.high else ""
    star = "*" if changed else " "
    return f"{star} {name:<26} {value!s:<10} {key.meaning}" + (f" ({allowed})" if allowed else "")


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


def _print_change(document: Document, before: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        json_line(
            {
                "version": document.version,
                "changed_at_ms": document.changed_at_ms,
                "changed_by": document.changed_by,
                "value": dict(document.value),
            }
        )
        return
    if not document.version:
        echo("version 0: every key has its default")
        return
    at = datetime.fromtimestamp(document.changed_at_ms / 1_000, UTC).astimezone()
    what = ", ".join(_differences(before, document.value)) or "no change"
    echo(f"version {document.version}  {at:%Y-%m-%d %H:%M:%S}  {document.changed_by}  {what}")


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    names = sorted({*before, *after})
    return [
        f"{name} = {after.get(name, 'its default')}"
        for name in names
        if before.get(name) != after.get(name)
    ]
