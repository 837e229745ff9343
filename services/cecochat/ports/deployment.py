"""How many servers of a set run, and changing that."""

from __future__ import annotations

from abc import ABC, abstractmethod

from cecochat.ports.discovery import Service


class Deployment(ABC):
    """Counts and scales a server set."""

    @abstractmethod
    async def count(self, service: Service) -> int:
        """How many servers of that set are wanted now."""

    @abstractmethod
    async def scale(self, service: Service, count: int, reason: str) -> None:
        """Want `count` servers; returns when the change is accepted, not when it is done.

        Raises `CannotScale` where this deployment cannot run that many.
        """
