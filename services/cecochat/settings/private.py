"""Files that hold messages or secrets: their owner alone may read them."""

from __future__ import annotations

import logging
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import IO

from cecochat.domain.errors import InvalidSettings
from cecochat.settings.settings import Settings, declared, variable

log = logging.getLogger(__name__)

FOLDER, FILE = 0o700, 0o600
OTHERS = 0o077
DATABASES = ("log.db", "history.db", "configuration.db")
PARTS = ("", "-wal", "-shm", "-journal")
OURS = frozenset(
    {"log.lock", "token-secret", "cluster-secret", "control"}
    | {name + part for name in DATABASES for part in PARTS}
)
"""What CecoChat keeps in a data folder."""
SECRETS = ("_key_file", "_secret_file", "_password_file", "_token_file")
"""How settings end that name a file with a secret."""


def make_folder(path: Path) -> None:
    """Make a folder that its owner alone may enter, and those above it, where there are none."""
    for each in (*reversed(path.parents), path):
        if not each.is_dir():
            each.mkdir(mode=FOLDER, exist_ok=True)


def make_file(path: Path) -> None:
    """Make an empty file where there is none. SQLite gives what it puts beside a database the
    rights of the database.
    """
    path.touch(mode=FILE)


def opened(path: Path) -> IO[str]:
    """A file to write anew."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE), "w")


def drawn_secret(path: Path) -> bytes:
    """The secret in a file that only its owner may read; made where there is none, once, also by
    several servers that start together.
    """
    if not path.exists():
        make_folder(path.parent)
        beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with opened(beside) as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            path.hardlink_to(beside)  # never an empty secret, which anybody could sign with
        beside.unlink()
    return path.read_text().encode()


# -- a data folder


def exposed(folder: Path) -> list[Path]:
    """The data folder and what is ours in it, as far as others have any right to it."""
    return [each for each in (folder, *_ours(folder)) if _mode(each) & OTHERS]


def protect(folder: Path) -> None:
    """Take from others what rights they have to a data folder. What is not ours to change is left
    as it is and said.
    """
    for path in exposed(folder):
        mode = _mode(path)
        if path == folder and (strange := sorted(_names(folder) - OURS)):
            log.warning(
                "others have rights to %s (%03o), which stay, since it holds what is not "
                "CecoChat's (%s): use a folder of its own", path, mode, strange[0],
            )  # fmt: skip
            continue
        try:
            path.chmod(mode & ~OTHERS)
        except OSError as error:
            log.warning("others have rights to %s (%03o), which stay: %s", path, mode, error)
        else:
            log.warning("others had rights to %s (%03o): it is its owner's alone now", path, mode)


def _ours(folder: Path) -> Iterator[Path]:
    """Not links: who has made one has chosen what it leads to."""
    for name in sorted(_names(folder) & OURS):
        path = folder / name
        if not path.is_symlink():
            yield path
            yield from sorted(each for each in path.rglob("*") if not each.is_symlink())


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _mode(path: Path) -> int:
    """0: it is gone."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return 0


# -- files that an operator has made


def open_files(settings: Settings) -> Iterator[tuple[str, Path, int]]:
    """The secrets that everybody on this machine can read, and the files of any kind that
    everybody can write: variable, path, mode. A right of the file's group is taken as meant.
    """
    for name in declared():
        path = settings.value(name) if name.endswith("_file") else None
        wrong = stat.S_IWOTH | (stat.S_IROTH if name.endswith(SECRETS) else 0)
        if path and (mode := _mode(path)) & wrong:
            yield variable(name), path, mode


def check_files(settings: Settings) -> None:
    """Raises `InvalidSettings` where anybody could have written a key or whom to trust, and warns
    where anybody can read a secret.
    """
    for name, path, mode in open_files(settings):
        can, mend = "write" if mode & stat.S_IWOTH else "read", f"chmod o= {quote(str(path))}"
        text = f"{name}: everybody on this machine can {can} {path} ({mode:03o}): {mend}"
        if mode & stat.S_IWOTH:
            raise InvalidSettings(text)
        log.warning("%s", text)
