"""Finds what the folders of `adapters/` declare, so that adding a folder adds a backend."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import Any

ADAPTERS = "cecochat.adapters"


@cache
def backends() -> tuple[Any, ...]:
    """Return the `Backend` that each folder declares in its `backend.py`, by name."""
    folders = sorted(pkgutil.iter_modules(import_module(ADAPTERS).__path__), key=lambda f: f.name)
    names = [folder.name for folder in folders if folder.ispkg]
    return tuple(import_module(f"{ADAPTERS}.{name}.backend").BACKEND for name in names)
