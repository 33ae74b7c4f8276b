"""The names of our own collections. A new one is added here, and nothing else needs to know its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, NamedTuple, TypeVar

if TYPE_CHECKING:
    from pymongo.collection import Collection

Store = TypeVar("Store")


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


def store_beside(collection: Collection[Any], make: Callable[..., Store]) -> Store:
    """A store in the database of a collection, outside of a run: there are no settings that name another."""
    nodes = ", ".join(f"{host}:{port}" for host, port in sorted(collection.database.client.nodes))
    return make(collection.database, Names("migrations"), address=nodes, by="")
