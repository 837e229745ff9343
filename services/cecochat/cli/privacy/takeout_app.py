"""Which archives `cecochat takeout --app` makes: one for each user of the app."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from cecochat.cli.errors import UsageError
from cecochat.cli.failure import run
from cecochat.cli.output import echo

if TYPE_CHECKING:
    from cecochat.domain.log.ids import UserId
    from cecochat.settings.settings import Settings


def archives_of(settings: Settings, app: str, folder: Path) -> list[tuple[UserId, Path]]:
    """Return the users of an app whose archives are not in a folder yet, which is made if need be,
    and where these go. Raises `Refusal` if there is no such app, and `UsageError`.
    """
    users = sorted(run(_users(settings, app)))
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: use a folder, which can be new: {error}") from None
    paths = ((user, folder / f"{user.removeprefix(f'{app}/')}.zip") for user in users)
    missing = [(user, path) for user, path in paths if not path.exists()]
    there = len(users) - len(missing)
    echo(f"users of {app} with a key: {len(users)}; archives already there: {there}", err=True)
    return missing


async def _users(settings: Settings, app: str) -> list[UserId]:
    from cecochat.adapters import build
    from cecochat.domain.cluster.apps import named, parse
    from cecochat.ports.configuration import APPS

    async with build.keys(settings) as keys:
        async with build.configuration(settings) as configuration:
            named(parse((await configuration.get(APPS)).value), app)
        async with aclosing(keys.users(app)) as pages:
            return [user async for page in pages for user in page]
