"""Keeps files with messages or secrets private to their owner."""

from __future__ import annotations

import logging
import os
import secrets
import stat
import tempfile
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
DATABASES = (
    *("log.db", "history.db", "configuration.db", "search.db", "keys.db", "moderation.db"),
    "hooks.db",
)
PARTS = ("", "-wal", "-shm", "-journal")
OURS = frozenset(
    {"log.lock", "token-secret", "cluster-secret", "keys-secret", "files-secret", "control"}
    | {"files"}
    | {name + part for name in DATABASES for part in PARTS}
)
"""What CecoChat keeps in a data folder."""
UNWALKED = ("files",)
"""Folders with too many files to look at each, which the rights of the folder protect."""
SECRETS = ("_key_file", "_secret_file", "_password_file", "_token_file")
"""A setting that names a file with a secret has one of these endings."""


def nearest(path: Path) -> Path:
    """Return the path itself if it exists, or else the closest folder above that does."""
    return next(each for each in (path, *path.absolute().parents) if each.exists())


def make_folder(path: Path) -> None:
    """Make a folder that only its owner may enter, and its parents, unless they exist."""
    for each in (*reversed(path.parents), path):
        if not each.is_dir():
            each.mkdir(mode=FOLDER, exist_ok=True)


def make_usable(path: Path) -> None:
    """Make a folder that only its owner may enter, unless it exists.

    Raises `InvalidSettings` if nothing can be written there.
    """
    try:
        make_folder(path)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise InvalidSettings(
            f"the data folder {path} cannot be used ({error.strerror}): make it a folder that this "
            "user can write, or choose another one with --data or CECOCHAT_DATA_DIR"
        ) from None


def make_file(path: Path) -> None:
    """Make an empty private file, unless it exists.

    SQLite gives the files beside a database the same rights as the database.
    """
    path.touch(mode=FILE)


def opened(path: Path) -> IO[str]:
    """Open a new private file, which replaces an old one."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE), "w")


def drawn_secret(path: Path) -> bytes:
    """Return the secret in a private file. If there is none, draw one.

    Servers that start at the same time all get the same secret.
    """
    if not path.exists():
        make_folder(path.parent)
        beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with opened(beside) as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            path.hardlink_to(beside)  # so that nobody ever reads an empty secret
        beside.unlink()
    return path.read_text().encode()


# -- a data folder


def exposed(folder: Path) -> list[Path]:
    """Return the data folder and our files in it, as far as others have any right to them."""
    return [each for each in (folder, *_ours(folder)) if _mode(each) & OTHERS]


def protect(folder: Path) -> None:
    """Take away all rights that others have to a data folder.

    Rights to what is not ours stay as they are, with a warning.
    """
    for path in exposed(folder):
        mode = _mode(path)
        if path == folder and (strange := sorted(_names(folder) - OURS)):
            log.warning(
                "others have rights to %s (%03o), which stay as they are, because it holds other "
                "files (%s): use a folder of its own", path, mode, strange[0],
            )  # fmt: skip
            continue
        try:
            path.chmod(mode & ~OTHERS)
        except OSError as error:
            log.warning("others have rights to %s (%03o), which stay: %s", path, mode, error)
        else:
            log.warning("others had rights to %s (%03o): now only its owner has", path, mode)


def _ours(folder: Path) -> Iterator[Path]:
    """Links are left out: whoever made one has chosen what it leads to."""
    for name in sorted(_names(folder) & OURS):
        path = folder / name
        if not path.is_symlink():
            yield path
            if name not in UNWALKED:
                yield from sorted(each for each in path.rglob("*") if not each.is_symlink())


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _mode(path: Path) -> int:
    """Return the rights to a path, or 0 if it is gone."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return 0


# -- the files that settings name


def open_files(settings: Settings) -> Iterator[tuple[str, Path, int]]:
    """Yield variable, path and mode of files to which everybody on this machine has rights.

    These are secrets that everybody can read, and files that everybody can write. The rights of a
    file's group are taken as intended.
    """
    for name in declared():
        path = settings.value(name) if name.endswith("_file") else None
        wrong = stat.S_IWOTH | (stat.S_IROTH if name.endswith(SECRETS) else 0)
        if path and (mode := _mode(path)) & wrong:
            yield variable(name), path, mode


def check_files(settings: Settings) -> None:
    """Raise `InvalidSettings` if everybody can write a key or an authority that is trusted.

    Warn if everybody can read a secret.
    """
    for name, path, mode in open_files(settings):
        can, mend = "write" if mode & stat.S_IWOTH else "read", f"chmod o= {quote(str(path))}"
        text = f"{name}: everybody on this machine can {can} {path} ({mode:03o}): {mend}"
        if mode & stat.S_IWOTH:
            raise InvalidSettings(text)
        log.warning("%s", text)
