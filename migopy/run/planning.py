"""What may run, and why not: loading, what was interrupted, drift, transactions that are needed, obstacles."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Callable, Literal, Mapping, NamedTuple, Sequence

from .. import legacy
from ..errors import ConfigurationError, MigopyException, WrongState
from ..terminal import signals
from .status import DRIFT, Status

if TYPE_CHECKING:
    from ..files.migration import LoadedMigration, Migration
    from .inventory import Inventory
    from .workspace import Workspace

Function = Literal["up", "down"]


class Plan(NamedTuple):
    """What one run does: ``ready`` are the migrations that run, ``blocked`` those from the first interrupted one on."""

    ready: Sequence[LoadedMigration]
    blocked: Sequence[LoadedMigration]
    status: Status

    @property
    def failed_before(self) -> list[str]:
        """What the log says of those that failed and are tried again."""
        return [failure for failure in (self.status.failure(migration.name) for migration in self.ready) if failure]

    def left_after(self, place: int) -> int:
        """How many do not run if the one at that place, counted from 1, fails."""
        return len(self.ready) - place + len(self.blocked)

    def stop_at_interrupted(self) -> None:
        """Raises ``WrongState`` at the first blocked migration, with the way on."""
        if self.blocked:
            name = self.blocked[0].name
            raise WrongState(self.status.interrupted(name), migration=name)


class Planning:
    """Plans for one workspace. ``require_dump`` raises when no dump can be taken."""

    def __init__(self, workspace: Workspace, require_dump: Callable[[], object]) -> None:
        self._workspace = workspace
        self._strict = workspace.settings.STRICT
        self._dumps = workspace.settings.DO_MONGO_DUMP
        self._require_dump = require_dump

    def plan(self, function: Function, chosen: Sequence[Migration], inventory: Inventory, named: str | None) -> Plan:
        """Import all that were chosen, and tell those that can run from the first one that was interrupted on.

        Raises what keeps the whole run from its beginning: ``BadMigration``, ``ConfigurationError``, ``WrongState``.
        """
        if function == "up" and self._strict:
            refuse_drift(Status(inventory, **self._workspace.contents(inventory)._asdict()))
        status = self._workspace.known(inventory)
        self._refuse_what_just_failed(chosen, status)
        with signals.let_through():
            loaded = [load(migration, function) for migration in chosen]
        require_transactions(loaded, self._workspace)
        return divided(loaded, status, named=bool(named))

    def _refuse_what_just_failed(self, chosen: Sequence[Migration], status: Status) -> None:
        """Raises ``WrongState`` when one of them failed in a run that this one waited for: to try it again is for a
        person, not for each of the machines that were told to execute it at the same moment.
        """
        waited_for = self._workspace.waited_for
        since = waited_for and waited_for.since
        for migration in chosen if since else ():
            failure = status.failure(migration.name)
            if failure and since and status.last_events[migration.name].at >= since:
                raise WrongState(
                    f"Nothing was done: {failure}, in the run that this one waited for. The next one tries it again.",
                    migration=migration.name,
                )

    # What would happen

    def steps(self, chosen: Sequence[Migration], status: Status) -> tuple[list[dict[str, Any]], list[str]]:
        """What executing each of these migrations would mean, and every reason why execute would stop."""
        with self._workspace.importable():
            planned = [self._step(migration) for migration in chosen if migration.number is not None]
        loaded = [migration for _, migration in planned if migration]
        steps = [step for step, _ in planned]
        before, after = self._obstacles(status, loaded)
        return steps, [*before, *(step["error"] for step in steps if step["error"]), *after]

    def _step(self, migration: Migration) -> tuple[dict[str, Any], LoadedMigration | None]:
        """What executing this migration would mean; None where its file cannot say."""
        unknown = dict.fromkeys(("transaction", "batches", "verify", "down"))
        step: dict[str, Any] = {"name": migration.name, **unknown, "dump": self._dumps}
        try:
            loaded = load(migration, "up")
        except MigopyException as error:
            return {**step, "error": str(error)}, None
        known = {
            "transaction": loaded.in_transaction,
            "batches": loaded.in_batches,
            "verify": bool(loaded.verify),
            "down": loaded.has_down,
        }
        return {**step, **known, "error": None}, loaded

    def doubts(self, steps: Sequence[Mapping[str, Any]]) -> list[str]:
        """What execute would do, and may do twice."""
        in_batches = [step["name"] for step in steps if step["batches"]]
        if not in_batches or self._workspace.kind.has_transactions:
            return []
        address = self._workspace.address
        return [
            f"{name} goes through its documents in batches, and MongoDB at {address} has no transactions: when it is"
            " stopped in the middle, one batch may be done twice"
            for name in in_batches
        ]

    def _obstacles(self, status: Status, loaded: Sequence[LoadedMigration]) -> tuple[list[str], list[str]]:
        """Those before and those after the loading of the files, in the order in which execute would meet them."""
        found = status.inventory
        before: list[Callable[[], object]] = [found.refuse_half_restored, found.require_good_names]
        if self._strict:
            before.append(lambda: refuse_drift(status))
        after: list[Callable[[], object]] = [lambda: require_transactions(loaded, self._workspace)]
        if self._dumps and loaded:
            after.append(self._require_dump)
        after.append(divided(loaded, status).stop_at_interrupted)
        return _refusals(before), _refusals(after)


def load(migration: Migration, function: Function) -> LoadedMigration:
    """Import a file and find its ``up`` or ``down``; for a name of PyMongo 2 the error says what to write today."""
    try:
        return migration.load(function)
    except MigopyException as error:
        raise error.with_context(after=legacy.advice(error.__cause__ or error)) from error.__cause__


def require_transactions(
    loaded: Sequence[LoadedMigration], workspace: Workspace, consequence: str = ". No migration was run."
) -> None:
    """Raises ``ConfigurationError`` when a migration asks for a transaction and the server has none."""
    asking = [migration.name for migration in loaded if migration.in_transaction]
    if asking and not workspace.kind.has_transactions:
        raise ConfigurationError(
            f"{asking[0]} has a parameter named session, which asks for a transaction, and MongoDB at"
            f" {workspace.address} is neither a replica set nor a sharded cluster{consequence}",
            migration=asking[0],
        )


def divided(loaded: Sequence[LoadedMigration], status: Status, *, named: bool = False) -> Plan:
    """Those that can run, and those from the first on that was interrupted.

    One that is named runs all the same, and one in a transaction happened whole or not at all.
    """

    def can_run(migration: LoadedMigration) -> bool:
        return named or migration.in_transaction or status.unfinished(migration.name) != "interrupted"

    ready = list(itertools.takewhile(can_run, loaded))
    return Plan(ready, loaded[len(ready) :], status)


def refuse_drift(status: Status) -> None:
    """For ``STRICT``: raises ``WrongState`` when files and registered migrations do not fit together."""
    found = [problem.text for problem in status.problems if problem.kind in DRIFT]
    if found:
        raise WrongState(f"STRICT: {'. '.join(found)}. Nothing was executed.")


def _refusals(refuse: Sequence[Callable[[], object]]) -> list[str]:
    return [text for text in map(_refusal, refuse) if text]


def _refusal(refuse: Callable[[], object]) -> str:
    """Why it refuses; empty if it does not."""
    try:
        refuse()
    except MigopyException as error:
        return str(error)
    return ""
