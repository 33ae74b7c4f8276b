"""What a person should know about the migrations: the problems, each with its next step."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Iterable, Literal, Mapping, NamedTuple, Sequence

from ..terminal.texts import MAX_ERROR_LENGTH, shorten
from ..terminal.wording import SIGNALS, join_with_and, local_time, stopper

if TYPE_CHECKING:
    from datetime import datetime

    from ..files.migration import Migration
    from ..store.checkpoints import Progress
    from ..store.documents import ForeignDocument
    from ..store.history import Event, Record, State
    from ..store.lock import Holder
    from ..store.requests import Request
    from .inventory import Inventory

Unfinished = Literal["failed", "stopped", "interrupted", "rollback failed", "rollback stopped"]
ProblemKind = Literal[
    Unfinished,
    "half restored",
    "badly named",
    "unreadable",
    "changed",
    "missing",
    "out of order",
    "same number",
    "not ours",
]

UNFINISHED: tuple[Unfinished, ...] = ("failed", "stopped", "interrupted", "rollback failed", "rollback stopped")

DRIFT: tuple[ProblemKind, ...] = ("changed", "missing", "out of order")
"""What ``STRICT`` refuses."""

SETTLED_BY_EXECUTE: tuple[ProblemKind, ...] = ("failed", "stopped", "interrupted", "out of order", "same number")
"""What is no problem any more once ``execute`` has run."""

SENTENCES: dict[ProblemKind, str] = {
    "failed": "; fix it, then {command}:execute {again}",
    "stopped": "; {command}:execute {again}",
    "rollback failed": "; fix it, then {command}:rollback,{name} {again}; or {command}:forget,{name} if its changes are"
    " undone",
    "rollback stopped": "; {command}:rollback,{name} {again}; or {command}:forget,{name} if its changes are undone",
    "badly named": "its name does not match MIGRATIONS_FILE_PATTERN; rename it, for example to 012_add_tags.py, or to a"
    " name that starts with _ if it is not a migration",
    "unreadable": "; fix it, rename it or remove it",
    "changed": "its code is not the one that was executed; restore the old file, or {command}:accept,{name} to take the"
    " new one as executed",
    "missing": "it is registered, but there is no such file; bring the file back, or delete its record, which changes"
    " no data: {command}:forget,{name}",
    "out of order": "{command}:execute runs it after {last}, which has a higher number and is registered; if it must"
    " not run, {command}:ignore,{name} counts it as done",
    "same number": "it has the number of {others}, which {are} registered, and {command}:execute runs it after that; if"
    " the order matters, give it another number",
}
"""What follows the name and the kind: the fact and the next step. One that begins with ; is only the next step."""

LEFT_BEHIND: dict[str | None, str] = {"verify": "what up() changed stays", "before_each": "it had not begun"}
"""What a failure outside of ``up()`` and ``down()`` leaves in the database, by the phase."""

VERIFY_FAILED = "; check the data, then {command}:execute runs up() again"

RENAMED = (
    "it is registered, but there is no such file, and {new} has the same code; if you renamed it,"
    " {command}:accept,{new} keeps its history; if not, bring {name} back"
)


class Contents(NamedTuple):
    """What the contents of the files show, by the names of migrations.

    ``renamed`` maps a registered name without a file to the unregistered file with the same code, ``unreadable``
    maps a name to the reason why it cannot be read as a file.
    """

    changed: Sequence[str] = ()
    renamed: Mapping[str, str] = {}
    unreadable: Mapping[str, str] = {}


class Problem(NamedTuple):
    """Something that a person should know: its ``kind``, and as ``text`` a sentence with the next step.

    ``name`` is a migration, or the collection with a document that is not one of ours; None for the whole database.
    """

    kind: ProblemKind
    name: str | None
    text: str

    @property
    def is_unfinished(self) -> bool:
        return self.kind in (*UNFINISHED, "half restored")


@dataclass(frozen=True)
class Status:
    """The state of one directory and one database; ``database`` and ``server`` say which.

    ``last_events`` are the last events in the log, by migration. ``holder`` is the run that has the lock, or died with
    it. ``foreign`` are the documents in our collections that are not ours. ``changed``, ``renamed`` and ``unreadable``
    are as in ``Contents``. ``progress`` says how far the running and the unfinished migrations are, if they work in
    batches.
    """

    inventory: Inventory
    last_events: Mapping[str, Event] = field(default_factory=dict)
    holder: Holder | None = None
    changed: Sequence[str] = ()
    foreign: Sequence[ForeignDocument] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    server: str = ""
    progress: Mapping[str, Progress] = field(default_factory=dict)

    def count(self, state: State) -> int:
        return sum(record.state == state for record in self.inventory.records.values())

    @property
    def last_executed(self) -> Record | None:
        """The migration executed last, among those whose time is known."""
        executed = (record for record in self.inventory.records.values() if record.state == "executed" and record.at)
        return max(executed, key=lambda record: (record.at, record.name), default=None)

    @property
    def running(self) -> str | None:
        """The migration that the holder of the lock is in, or was in when it died."""
        return self.holder.migration(self.inventory.records) if self.holder else None

    @property
    def running_now(self) -> str | None:
        """The migration that the holder of the lock is in, unless its process has ended."""
        return self.running if self.holder and self.holder.is_at_work else None

    @property
    def doing(self) -> str:
        """What the running migration waits for, or what the server is doing for it; empty if it is nothing special."""
        return self.holder.doing if self.holder and self.holder.held else ""

    @property
    def running_sentence(self) -> str:
        """How far the running migration is and what it waits for, as far as that is known."""
        progress = self.progress.get(self.running or "")
        if progress and self.doing:
            return progress.while_waiting(self.doing)
        return str(progress or (f"{self.running}: {self.doing}" if self.running and self.doing else ""))

    @property
    def request(self) -> Request | None:
        """What another terminal has asked of the run last."""
        return self.holder.request if self.holder and self.holder.held else None

    @property
    def request_sentence(self) -> str:
        """Who has asked what of the run, and what it was asked before that."""
        if not self.holder or not self.request:
            return ""
        before = f"; before that, {self.holder.previous_request}" if self.holder.previous_request else ""
        return f"{self.request}{before}"

    @property
    def is_rolling_back(self) -> bool:
        return self.holder is not None and self.holder.subtask == "rollback"

    @property
    def running_since(self) -> datetime | None:
        """When the holder of the lock began with the migration: when it took the lock, or ended the one before."""
        if self.holder is None or self.holder.since is None:
            return None
        before = itertools.takewhile(lambda name: name != self.running, self.holder.migrations)
        ended = self.last_events if self.is_rolling_back else self.inventory.records
        moments = [ended[name].at for name in before if name in ended]
        return max([self.holder.since, *filter(None, moments)])

    @property
    def lock_sentences(self) -> list[str]:
        """What is running and how far it is, or who holds the lock and until when."""
        holder = self.holder
        if not holder or not holder.held:
            return []
        if self.running_now:
            doing = "rolling back" if self.is_rolling_back else "running"
            since = f" since {local_time(self.running_since)}" if self.running_since else ""
            process = f" (process {holder.pid})" if holder.pid else ""
            line = f"{self.running_now}: {doing}{since}, by {holder.by}{process}"
            return [line, *filter(None, [self.running_sentence, self.request_sentence, str(holder.pace or "")])]
        prospect = holder.prospect(f"{self.inventory.command}:unlock")
        return [f"Locked by {holder.description(self.inventory.records)}: {prospect}."]

    @property
    def unregistered(self) -> list[Migration]:
        """The unregistered files, without the one that is running."""
        return [migration for migration in self.inventory.unregistered if migration.name != self.running_now]

    @property
    def running_or_unfinished(self) -> list[str]:
        """The names of the migrations that are running now or have not ended well, in order."""
        suspects = {self.running, *self.last_events}
        names = [name for name in self.inventory.names if name in suspects]
        return [name for name in names if name == self.running or self.unfinished_kind(name)]

    def unfinished_kind(self, name: str) -> Unfinished | None:
        """How the last attempt failed or was interrupted; None if it ended well, or is running."""
        if self.holder and name == self.running:
            return None if self.holder.is_at_work else "interrupted"
        event, record = self.last_events.get(name), self.inventory.records.get(name)
        if event is None:
            return None
        # A commit whose reply was lost may be logged as failed although the migration is registered.
        ended_well = record and (event.event == "failed" or record.at is None or record.at >= event.at)
        return None if ended_well else next((kind for kind in UNFINISHED if kind == event.event), None)

    def interrupted_sentence(self, name: str) -> str:
        """The sentence for a migration in which a run died, with both possible next steps."""
        again, done = ("rollback", "forget") if name in self.inventory.records else ("execute", "ignore")
        command, progress = self.inventory.command, self.progress.get(name)
        so_far = f" {progress.documents} are done, in whole batches." if progress else ""
        runs = "continues from there" if progress else "runs it again"
        return (
            f"{name} was interrupted: it may be half applied, or still be running behind a broken network.{so_far}"
            f" Check the data; then {command}:{again},{name} {runs}, or {command}:{done},{name} counts it as done."
        )

    def failure_sentence(self, name: str) -> str:
        """What the log says about a migration that failed to run or to be rolled back; empty for any other."""
        kind = self.unfinished_kind(name)
        if kind is None or kind == "interrupted":
            return ""
        event, progress = self.last_events[name], self.progress.get(name)
        if progress:
            left_behind = f"{progress.documents} are done"
        elif event.transaction:
            left_behind = "nothing of it stays, its transaction was undone"
        else:
            left_behind = LEFT_BEHIND.get(event.phase, "what it had changed stays")
        return f"{name}: {_how_it_ended(kind, event)}; {left_behind}"

    def attempt_sentence(self, name: str) -> str:
        """What the log says about a migration that is about to run again; empty if it has not failed."""
        failure = self.failure_sentence(name)
        # Whether a walk continues is known only when the file asks for it, and said then.
        return failure if not failure or name in self.progress else f"{failure}; it runs again from the start"

    def undo_sentence(self, name: str) -> str:
        """How to take back what an unregistered migration has done; empty if it has done nothing."""
        kind, command = self.unfinished_kind(name), self.inventory.command
        if name == self.running_now:
            return f"It is running, {command} shows how far it is."
        if kind is None:
            return ""
        if kind != "interrupted" and self.last_events[name].transaction:
            return "Nothing of it stays: its transaction was undone."
        ended = "failed" if kind == "failed" else f"was {kind}"
        return (
            f"It {ended}. To take back what it did before that, run its down(): {command}:ignore,{name} (it counts as"
            f" done), then {command}:rollback,{name}."
        )

    @property
    def problems(self) -> list[Problem]:
        """All problems, first those that stop ``execute``."""
        inventory = self.inventory
        return [
            *self._restore_problem(),
            *self._unfinished_problems(),
            *self._problems_of("badly named", inventory.badly_named),
            *[
                Problem("unreadable", name, f"{name}: unreadable, {why}{self._sentence('unreadable', name)}")
                for name, why in self.unreadable.items()
            ],
            *self._problems_of("changed", self.changed),
            *self._problems_of("missing", inventory.missing),
            *self._problems_of("out of order", self._pending(inventory.out_of_order)),
            *self._problems_of("same number", self._pending(inventory.same_number)),
            *(self._foreign_problem(document) for document in self.foreign),
        ]

    @property
    def lasting_problems(self) -> list[Problem]:
        """The problems that are still there after ``execute``."""
        problems = [problem for problem in self.problems if problem.kind not in SETTLED_BY_EXECUTE]
        # A rollback that was interrupted has left its migration registered.
        registered = [problem for problem in self._unfinished_problems() if problem.name in self.inventory.records]
        return [*(problem for problem in registered if problem not in problems), *problems]

    def left_in_copy(self, names: Sequence[str]) -> list[str]:
        """A sentence for each of these migrations that has not ended well, about a copy of the database."""
        unfinished = [problem.text.rstrip(".") for problem in self._unfinished_problems() if problem.name in names]
        return [f"{text}. The copy contains what it left behind." for text in unfinished]

    def _restore_problem(self) -> list[Problem]:
        text = self.inventory.restore_problem
        is_running = self.holder and self.holder.held and self.holder.subtask == "dbrestore"
        return [Problem("half restored", None, text)] if text and not is_running else []

    def _pending(self, names: Iterable[str]) -> list[str]:
        """The unregistered names among these for which a person may still choose what becomes of them."""
        # One that is running has been decided on; one that is renamed has its own sentence.
        return [name for name in names if name != self.running_now and name not in self.renamed.values()]

    def _problems_of(self, kind: ProblemKind, names: Sequence[str]) -> list[Problem]:
        return [Problem(kind, name, f"{name}: {kind}, {self._sentence(kind, name)}") for name in names]

    def _sentence(self, kind: ProblemKind, name: str) -> str:
        inventory, new = self.inventory, self.renamed.get(name) if kind == "missing" else None
        others, last = inventory.same_number.get(name, ()), inventory.last_registered_file
        event = self.last_events.get(name) if kind == "failed" else None
        verify_failed = VERIFY_FAILED if event and event.phase == "verify" and not event.transaction else None
        return (verify_failed or (RENAMED if new else SENTENCES[kind])).format(
            command=inventory.command,
            name=name,
            new=new,
            again=self._again(name),
            last=last.name if last else "",
            others=join_with_and(others),
            are="is" if len(others) == 1 else "are",
        )

    def _again(self, name: str) -> str:
        """What the next attempt will do."""
        progress = self.progress.get(name)
        if progress and progress.rejected:
            return f"tries again what {self.inventory.command}:rejected,{name} shows"
        return "continues from there" if progress else "runs it again"

    def _unfinished_problems(self) -> list[Problem]:
        problems = []
        suspects = {self.running, *self.last_events}
        # In the order of the files. A migration that failed, was given up and deleted is no problem any more.
        files = [migration.name for migration in self.inventory.files]
        for name in dict.fromkeys(name for name in (*files, *self.inventory.records) if name in suspects):
            kind = self.unfinished_kind(name)
            if kind:
                failure = self.failure_sentence(name)
                text = f"{failure}{self._sentence(kind, name)}" if failure else self.interrupted_sentence(name)
                problems.append(Problem(kind, name, text))
        return problems

    def _foreign_problem(self, found: ForeignDocument) -> Problem:
        next_step = found.next_step.format(command=self.inventory.command)
        fact = f"{found.collection}: not one of ours: the document with _id {found.id} ({found.why})"
        return Problem("not ours", found.collection, f"{fact}; {next_step}")

    def kinds_by_name(self) -> dict[str, list[ProblemKind]]:
        """The kinds of problems of each name that has any."""
        kinds: dict[str, list[ProblemKind]] = defaultdict(list)
        for problem in self.problems:
            if problem.name:
                kinds[problem.name].append(problem.kind)
        return kinds


def _how_it_ended(kind: Unfinished, event: Event) -> str:
    """``failed on 2026-01-31 12:00:00 UTC by ann@web1 (KeyError: 'a')``"""
    error, when = shorten(event.error or "reason unknown", MAX_ERROR_LENGTH), f"on {local_time(event.at)}"
    by = f" by {event.by}" if event.by else ""
    if not kind.endswith("stopped"):
        what = f"{event.phase}() failed" if event.phase else kind
        return f"{what} {when}{by} ({error})"
    who = stopper(error)
    if event.by and who not in SIGNALS.values():  # another person may have asked for it
        by = f" in the run of {event.by}"
    return f"{kind} by {who} {when}{by}"
