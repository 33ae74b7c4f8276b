"""The names of our own collections. A new one is added here, and nothing else needs to know its name."""

from __future__ import annotations

from typing import NamedTuple


class Names(NamedTuple):
    """``migrations`` is ``MIGRATIONS_COLLECTION``; the others are named after it."""

    migrations: str

    @property
    def lock(self) -> str:
        return f"{self.migrations}_lock"

    @property
    def log(self) -> str:
        return f"{self.migrations}_log"

    @property
    def batches(self) -> str:
        return f"{self.migrations}_batches"

    @property
    def kept(self) -> str:
        return f"{self.migrations}_kept"

    @property
    def rejected(self) -> str:
        return f"{self.migrations}_rejected"

    @property
    def others(self) -> list[str]:
        """All names except ``migrations``; migopy 1.0 had none of these collections."""
        return [self.lock, self.log, self.batches, self.kept, self.rejected]
