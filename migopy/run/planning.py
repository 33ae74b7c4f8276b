"""What may run, and what prevents it: import errors, interrupted migrations, drift, missing transactions."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any, Callable, Iterator, Literal, Mapping, NamedTuple, Sequence

from .. import legacy
from ..errors import BadMigration, ConfigurationError, MigopyException, WrongState
from ..terminal import signals
from ..terminal.wording import join_with_and
from .outcome import redirect_stdout_to_stderr
from .report import rollback_table
from .requirements import unmet_requirements
from .status import DRIFT, Status

if TYPE_CHECKING:
    from pymongo.database import Database

    from ..batches import Batches
    from ..files.migration import LoadedMigration, Migration
    from .inventory import Inventory
    from .workspace import Workspace

Function = Literal["up", "down"]


USE_A_REPLICA_SET = (
    "make the server a replica set (a single mongod can be one), or remove the parameter. No migration was run."
)


class Plan(NamedTuple):
    """The migrations of one run: ``ready`` will run; ``blocked`` are those from the first interrupted one on."""

    ready: Sequence[LoadedMigration]
    blocked: Sequence[LoadedMigration]
    status: Status

    @property
    def failed_before(self) -> list[str]:
        """A sentence for each ready migration that failed before."""
        failures = [self.status.attempt_sentence(migration.name) for migration in self.ready]
        return [failure for failure in failures if failure]

    def left_after(self, place: int) -> int:
        """How many migrations do not run if the one at that place, counted from 1, fails."""
        return len(self.ready) - place + len(self.blocked)

    def stop_at_interrupted(self) -> None:
        """Raises ``WrongState`` for the first blocked migration, with the next step."""
        if self.blocked:
            name = self.blocked[0].name
            run = "" if self.ready else " No migration was run."
            raise WrongState(f"{self.status.interrupted_sentence(name)}{run}", migration=name)


class Planning:
    """Makes plans for one workspace. ``require_dump`` raises if no dump can be taken; ``db`` is what files get."""

    def __init__(
        self, workspace: Workspace, require_dump: Callable[[], object], db: Callable[[], Database[dict[str, Any]]]
    ) -> None:
        self._db = db
        self._workspace = workspace
        self._strict = workspace.settings.STRICT
        self._dumps = workspace.settings.DO_MONGO_DUMP
        self._require_dump = require_dump

    def plan(self, function: Function, chosen: Sequence[Migration], status: Status, named: str | None) -> Plan:
        """Import the chosen migrations, and divide them at the first interrupted one.

        Raises ``BadMigration``, ``ConfigurationError`` or ``WrongState`` if nothing may run.
        """
        if function == "up" and self._strict:  # a rollback is allowed: it may be what removes the drift
            refuse_drift(Status(status.inventory, **self._workspace.contents(status.inventory)._asdict()))
        self._refuse_what_just_failed(chosen, status)
        with signals.let_through():  # importing a file runs code of the team
            loaded = [load(migration, function) for migration in chosen]
            if function == "down":
                refuse_irreversible(loaded, status.inventory.command)
                for migration in loaded:
                    if migration.call is restore_kept:
                        require_all_kept(migration.name, status.inventory, self._workspace)
        require_transactions(loaded, self._workspace)
        plan = divide(loaded, status, named=bool(named))
        if function == "up":
            with signals.let_through():
                for error in self._unmet_requirements(plan.ready):
                    raise error
        return plan

    def _refuse_what_just_failed(self, chosen: Sequence[Migration], status: Status) -> None:
        """Raises ``WrongState`` if a migration failed in the run that this one waited for."""
        # Many machines may have been told to execute at the same moment. Only a person decides about a second attempt.
        waited_for = self._workspace.waited_for
        since = waited_for and waited_for.since
        for migration in chosen if since else ():
            failure = status.failure_sentence(migration.name)
            if failure and since and status.last_events[migration.name].at >= since:
                raise WrongState(
                    f"Nothing was done: {failure}, in the run that this one waited for. To retry it, type the same"
                    " command again.",
                    migration=migration.name,
                )

    def _unmet_requirements(self, loaded: Sequence[LoadedMigration]) -> Iterator[WrongState]:
        if any(migration.require for migration in loaded):
            yield from unmet_requirements(loaded, self._db(), self._workspace.address)

    def rollback_table(self, status: Status, spec_migr: str | None, last: str | None, to: str | None) -> str:
        """What a rollback would take back, in order. Raises what the rollback would raise before anything runs."""
        inventory = status.inventory
        chosen = inventory.to_roll_back(spec_migr, last, to)
        with self._workspace.on_sys_path():
            plan = self.plan("down", chosen, status, named=spec_migr)
        loaded = [*plan.ready, *plan.blocked]
        return rollback_table([(inventory.records[each.name], each.in_transaction, each.in_batches) for each in loaded])

    # For the subtasks plan and check

    def steps(self, chosen: Sequence[Migration], status: Status) -> tuple[list[dict[str, Any]], list[str]]:
        """What execute would do with each of these migrations, and every reason why it would stop."""
        # What a file prints when it is imported does not belong between our table or our JSON.
        with redirect_stdout_to_stderr(), self._workspace.on_sys_path():
            planned = [self._step(migration) for migration in chosen if migration.number is not None]
            loaded = [migration for _, migration in planned if migration]
            unmet = [str(error) for error in self._unmet_requirements(divide(loaded, status).ready)]
        steps = [step for step, _ in planned]
        before, after = self._obstacles(status, loaded)
        obstacles = [*before, *(step["error"] for step in steps if step["error"]), *unmet, *after]
        return steps, [_would_stop(obstacle) for obstacle in obstacles]

    def _step(self, migration: Migration) -> tuple[dict[str, Any], LoadedMigration | None]:
        """What execute would do with this migration; None if its file cannot be loaded."""
        unknown = dict.fromkeys(("transaction", "batches", "verify", "down", "down_from_kept", "down_problem"))
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
            "down_from_kept": loaded.restores_what_it_kept,
            "down_problem": loaded.down_problem,
        }
        return {**step, **known, "error": None}, loaded

    def warnings(self, steps: Sequence[Mapping[str, Any]]) -> list[str]:
        """What could go wrong in these steps without stopping execute."""
        rollback = self._workspace.settings.command("rollback")
        refused = [
            f"{step['down_problem']} Until then {rollback} refuses it." for step in steps if step["down_problem"]
        ]
        in_batches = [step["name"] for step in steps if step["batches"]]
        if not in_batches or self._workspace.kind.has_transactions:
            return refused
        address, workers = self._workspace.address, self._workspace.settings.BATCH_WORKERS
        of_each = f" of each of {workers} workers" if workers > 1 else ""
        return refused + [
            f"{name} works in batches, and MongoDB at {address} has no transactions: if it is stopped in the middle,"
            f" one batch{of_each} may be done twice"
            for name in in_batches
        ]

    def _obstacles(self, status: Status, loaded: Sequence[LoadedMigration]) -> tuple[list[str], list[str]]:
        """Reasons to stop before and after the files are loaded, in the order in which execute checks them."""
        inventory = status.inventory
        before: list[Callable[[], object]] = [inventory.refuse_unfinished_restore, inventory.require_good_names]
        if self._strict:
            before.append(lambda: refuse_drift(status))
        after: list[Callable[[], object]] = [lambda: require_transactions(loaded, self._workspace)]
        if self._dumps and loaded:
            after.append(self._require_dump)
        after.append(divide(loaded, status).stop_at_interrupted)
        return _refusals(before), _refusals(after)


def load(migration: Migration, function: Function) -> LoadedMigration:
    """Import a file and find its ``up`` or ``down``; an error about a name of PyMongo 2 says what to write today."""
    try:
        return migration.load(function, restore_kept if function == "down" else None)
    except MigopyException as error:
        raise error.with_context(after=legacy.advice(error.__cause__ or error)) from error.__cause__


def restore_kept(db: object, batches: Batches) -> None:
    """The ``down()`` of a file that has none: it puts back what ``up()`` has kept."""
    batches.restore()


def require_all_kept(name: str, inventory: Inventory, workspace: Workspace) -> None:
    """Raises ``BadMigration`` or ``WrongState`` unless everything that ``up()`` has replaced is kept."""
    kept_name, run = inventory.records[name].to_restore
    walks = workspace.kept.walks_of_run(kept_name, run)
    kept, not_kept = ([walk.name for walk in walks if walk.keeps == keeps] for keeps in (True, False))
    if not kept:
        nothing = " and nothing of what it replaced is kept any more" if run else ""
        raise BadMigration(
            f"{name} has no function down(db){nothing}: add one. If it cannot be undone,"
            f" {inventory.command}:forget,{name} deletes its record and leaves its changes. Nothing was rolled back.",
            migration=name,
        )
    if not_kept:
        raise WrongState(
            f"{name} has no down(), and up() has kept only a part of what it replaced: {join_with_and(kept)}, but not"
            f" {join_with_and(not_kept)}. Write a down(db, batches) that calls batches.restore() and takes back the"
            " rest. Nothing was rolled back.",
            migration=name,
        )


def refuse_irreversible(loaded: Sequence[LoadedMigration], task: str) -> None:
    """Raises ``BadMigration`` for the first ``down()`` that only raises ``NotImplementedError``.

    ``task`` is ``fab migrations``.
    """
    for migration in loaded:
        words = migration.irreversible_words()
        if words:
            raise BadMigration(
                f"{migration.name} cannot be taken back: {words.rstrip('.')}. Nothing was rolled back."
                f" {task}:forget,{migration.name} deletes its record and leaves its changes.",
                migration=migration.name,
            )


def require_transactions(
    loaded: Sequence[LoadedMigration], workspace: Workspace, next_step: str = USE_A_REPLICA_SET
) -> None:
    """Raises ``ConfigurationError`` if a migration asks for a transaction and the server has none."""
    asking = [migration.name for migration in loaded if migration.in_transaction]
    if asking and not workspace.kind.has_transactions:
        raise ConfigurationError(
            f"{asking[0]} asks for a transaction with its parameter session, but MongoDB at {workspace.address} is"
            f" neither a replica set nor a sharded cluster: {next_step}",
            migration=asking[0],
        )


def divide(loaded: Sequence[LoadedMigration], status: Status, *, named: bool = False) -> Plan:
    """Divide the migrations into those before the first interrupted one, and the rest.

    Nothing is divided if the person has ``named`` the migration.
    """

    def can_run(migration: LoadedMigration) -> bool:
        # One in a transaction happened whole or not at all.
        return named or migration.in_transaction or status.unfinished_kind(migration.name) != "interrupted"

    ready = list(itertools.takewhile(can_run, loaded))
    return Plan(ready, loaded[len(ready) :], status)


def refuse_drift(status: Status) -> None:
    """For ``STRICT``: raises ``WrongState`` if files and registrations do not fit together."""
    found = [problem.text for problem in status.problems if problem.kind in DRIFT]
    if found:
        raise WrongState(f"STRICT: {'. '.join(found)}. Nothing was executed.")


def _would_stop(refusal: str) -> str:
    """The sentence of a refusal, about a run that has not been tried."""
    return re.sub(
        r"\bNothing was ", "Nothing would be ", refusal.replace("No migration was run", "No migration would run")
    )


def _refusals(checks: Sequence[Callable[[], object]]) -> list[str]:
    """The sentences of the checks that raise."""
    sentences = []
    for check in checks:
        try:
            check()
        except MigopyException as error:
            sentences.append(str(error))
    return sentences
