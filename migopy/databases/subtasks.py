"""One subtask for many databases."""

from __future__ import annotations

import functools
import json
import shlex
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from ..errors import MigopyException, UnknownSubtask
from ..fab import env
from ..fab.dispatch import bind, call, method_name
from ..fab.syntax import option_text
from ..terminal import ColorsLogger, show
from ..terminal.messages import require_yes
from ..terminal.options import is_yes
from ..terminal.signature import signature
from ..terminal.wording import SHOWN_NAMES, plural, some
from .choice import STATES, Target, all_targets, choose, in_words, look_which_exist, states
from .managers import Managers
from .overview import lock_text, show_documents, show_groups, worst
from .pool import Pool, has_worked
from .workers import Done, Subtask, Worker, serve

READING = ("show_status", "plan", "check", "history")
"""They show the databases that are in one state together."""

OF_ALL = ("execute", "ignore", "dbdump", *READING)
"""They mean all databases if ``databases=`` is left out."""

RUNNING = ("execute", "ignore", "rollback")
"""They tell in a document what they did."""

REGISTERING = ("execute", "ignore")
"""They would make a database that was dropped meanwhile."""

LISTING = ("kept", "rejected")
"""They say nothing of a database where there is nothing to list."""

OPERATING = ("pause", "resume", "pace", "stop")
"""They change nothing in a database but its run, so that none is tried first."""

QUESTIONS = {
    "dbrestore": "Replace the collections of {databases} with those of a dump?",
    "unlock": "Free the lock in {databases}? A run that still works there will lose it and register nothing more.",
    "kept": "Delete what is kept for rollbacks in {databases}?",
    "rejected": "Leave the documents that were set aside in {databases} as they are?",
}
"""What is asked once for all databases, in place of the question that the subtask has for each."""

SHOWN_LOCKS = 20
"""How many locks people are shown before they are asked."""

OF_ONE = ("create", "rehearse", "sample")
"""They need one database, which stands for all."""

BAD = ("failed", "locked", "not begun")
"""The results that make the exit code of the whole differ from 0."""


def run(manager_class: type[Any], subtask: str | None, options: list[str], named: Mapping[str, str]) -> Any:
    """Run a subtask in the databases that ``databases=`` means."""
    name, named = method_name(manager_class, subtask), dict(named)
    command = Command(manager_class.FAB_TASK, name, options, dict(named))
    wanted = named.pop("databases", None)
    if name == "help":
        return call(manager_class(), name, options, named)
    goes_on = name not in (*READING, *OF_ONE) and is_yes("go_on", named.pop("go_on", None))
    bind(manager_class(), name, options, named)  # a mistake is told once, not for each database
    if wanted == "" or (wanted is None and name not in (*OF_ALL, *OF_ONE)):
        running = ", or databases=running for those in which a run is at work" if name in OPERATING else ""
        raise UnknownSubtask(
            f"Nothing was done: in which databases? Add databases=NAME to fab {manager_class.FAB_TASK}:{name}, or a"
            f" pattern such as databases=tenant_*, or databases=all{running}."
        )
    manager_class.read(manager_class)  # raises for a wrong setting
    databases = Databases(manager_class, wanted)
    if name in OF_ONE:
        return databases.in_one(name, options, named)
    if name in READING:
        return databases.read(name, options, named)
    return databases.work(command, named, goes_on=goes_on)


class Command(NamedTuple):
    """What was typed."""

    task: str
    subtask: str
    options: list[str]
    named: dict[str, str]

    def text(self, **others: str) -> str:
        """The command line, for a shell; ``others`` replace options."""
        options = option_text(self.options, {**self.named, **others})
        word = f"{self.task}:{self.subtask}" + (f",{options}" if options else "")
        return f"fab {shlex.quote(word)}"


class Databases:
    """The databases that one command means."""

    def __init__(self, manager_class: type[Any], wanted: str | None) -> None:
        self._class = manager_class
        self._wanted = wanted

    def in_one(self, name: str, options: list[str], named: dict[str, str]) -> Any:
        """Run a subtask in the database that stands for all."""
        targets: list[Target] | None = None
        if self._wanted in STATES:  # before this process has a client: the workers are forked from it
            with self._pool(STATUS, goes_on=True, tries_one=False) as pool:
                targets = self._choose(pool)
        with Managers(self._class) as managers:
            if targets is None:
                targets = self._named(all_targets(self._class, managers.client))
            if not targets:
                self._class.logger.green(f"{name} in 0 databases: nothing to do")
                return None
            if name == "create" or len(targets) == 1:
                return call(managers.manager(targets[0]), name, options, named)
            from .representative import find_representative, find_waiting  # only these pay for what it imports

            asked = bind(managers.manager(targets[0]), name, options, named).arguments
            is_tried = name == "rehearse"
            waiting = find_waiting(managers, targets, asked.get("spec_migr"), asked.get("to")) if is_tried else {}
            readable = [target for target, other in waiting.items() if not other.trouble]
            chosen = find_representative(managers, readable or targets)
            self._class.logger.white(chosen.sentence)
            manager = managers.manager(chosen.target)
            manager.other_databases = [waiting[target] for target in waiting if target != chosen.target]
            return call(manager, name, options, named)

    def read(self, name: str, options: list[str], named: dict[str, str]) -> None:
        """Show what a reading subtask says."""
        as_json = is_yes("json", named.pop("json", None))
        subtask = Subtask(name, options, named, is_silent=True)
        results, _ = self._run(subtask, goes_on=True, tries_one=False)
        if as_json:
            return show_documents(results)
        with Managers(self._class) as managers:
            show_groups(managers, results, subtask, self._class.logger)

    def work(self, command: Command, named: dict[str, str], *, goes_on: bool) -> None:
        """Run a subtask that changes something in each database."""
        name, is_operating = command.subtask, command.subtask in OPERATING
        takes_json = "json" in signature(getattr(self._class, name)).parameters
        as_json = takes_json and is_yes("json", named.pop("json", None))
        has_document = as_json or (takes_json and name in RUNNING)
        asks = _asks(name, named)
        # Who has answered for all is not asked again by the process of each.
        answered = {**named, "force": "yes"} if asks else named
        subtask = Subtask(name, command.options, answered, has_document, is_quiet=name in LISTING, waits=is_operating)
        done, targets = self._run(
            subtask,
            goes_on=goes_on or is_operating,
            tries_one=not is_operating,
            shows_stdout=not as_json,
            ask=functools.partial(self._ask, name, named.get("force")) if asks else list,
        )
        rows = _rows(targets, done)
        error = _error(command, rows, self._class.logger)
        if as_json:
            facts = {"subtask": name, "ok": error is None, "error": str(error) if error else None}
            show(json.dumps({**facts, "databases": rows}, indent=2))
        if error:
            raise error

    def _run(
        self,
        subtask: Subtask,
        *,
        goes_on: bool,
        tries_one: bool,
        shows_stdout: bool = True,
        ask: Callable[[list[Target]], list[Target]] = list,
    ) -> tuple[list[Done], list[Target]]:
        """Run it in the databases that are meant. Returns how it went in each, and which these are.

        ``ask`` returns those to which a person says yes.
        """
        with self._pool(subtask, goes_on=goes_on, tries_one=tries_one, shows_stdout=shows_stdout) as pool:
            targets = ask(self._choose(pool))
            return _run_in(targets, pool, subtask), targets

    def _pool(self, subtask: Subtask, *, goes_on: bool, tries_one: bool, shows_stdout: bool = True) -> Pool:
        list_targets = functools.partial(_list_targets, self._class, subtask)
        start = functools.partial(serve, manager_class=self._class, subtask=subtask, list_targets=list_targets)
        make_worker = functools.partial(Worker, start, shows_stdout=shows_stdout)
        at_once, logger = self._class.DATABASES_AT_ONCE, self._class.logger
        return Pool(make_worker, at_once, logger, goes_on=goes_on, tries_one=tries_one)

    def _choose(self, pool: Pool) -> list[Target]:
        """The databases that are meant, of those that a worker lists."""
        targets = pool.list_targets()
        if isinstance(targets, Done):
            raise SystemExit(targets.code)
        if self._wanted not in STATES or self._wanted in [target.name for target in targets]:
            return self._named(targets)
        return [status.target for status in self._statuses(targets) if self._wanted in states(status.document)]

    def _statuses(self, targets: Sequence[Target]) -> list[Done]:
        """What ``show_status`` says of each, in the order of the databases."""
        with self._pool(STATUS, goes_on=True, tries_one=False) as pool:
            return _run_in(targets, pool, STATUS)

    def _ask(self, name: str, force: str | None, targets: list[Target]) -> list[Target]:
        """The databases to which a person, or ``force``, says yes. Raises ``WrongState`` for no."""
        if is_yes("force", force):
            return targets
        if name == "unlock":
            targets = self._locked(targets)
        if targets:
            question = QUESTIONS[name].format(databases=in_words(targets))
            require_yes(question, force, may_ask=not env.abort_on_prompts)
        return targets

    def _locked(self, targets: Sequence[Target]) -> list[Target]:
        """Those with a lock, and those whose status cannot be read. Shows who holds it, and why it cannot."""
        found = [status for status in self._statuses(targets) if not status.document or status.document["lock"]]
        for status in found[:SHOWN_LOCKS]:
            text = lock_text(status.document["lock"]) if status.document else status.error
            self._class.logger.white_bold(f"{status.target.name}: {text}")
        return [status.target for status in found]

    def _named(self, targets: list[Target]) -> list[Target]:
        """Those whose names or patterns ``databases=`` has; all without it. A database may be named all."""
        if self._wanted is None or (self._wanted == "all" and "all" not in [target.name for target in targets]):
            return targets
        return choose(targets, self._wanted)


def _run_in(targets: Sequence[Target], pool: Pool, subtask: Subtask) -> list[Done]:
    """How it went in each, in the order of the databases. A silent subtask raises the signal that has stopped it."""
    pool.run(targets)
    if pool.interrupt and subtask.is_silent:
        raise pool.interrupt
    order = {target: place for place, target in enumerate(targets)}
    return sorted(pool.done, key=lambda result: order[result.target])


def _asks(name: str, named: Mapping[str, str]) -> bool:
    """Whether a person has to be asked: kept and rejected only read unless they drop."""
    return name in QUESTIONS and (name not in LISTING or "drop" in named or "older" in named)


STATUS = Subtask("show_status", [], {}, is_silent=True)


def _list_targets(manager_class: type[Any], subtask: Subtask, managers: Managers) -> list[Target]:
    targets = all_targets(manager_class, managers.client)
    return look_which_exist(targets, managers.client) if subtask.name in REGISTERING else targets


def _rows(targets: Sequence[Target], done: Sequence[Done]) -> list[dict[str, Any]]:
    by_target = {result.target: result for result in done}
    return [_row(target, by_target.get(target)) for target in targets]


def _row(target: Target, result: Done | None) -> dict[str, Any]:
    if result is None:
        return {"name": target.name, "result": "not begun", "code": None, "error": None}
    word = "done" if has_worked(result) else "nothing to do"
    if result.code:
        word = "locked" if result.is_locked else "failed"
    return {"name": target.name, "result": word, "code": result.code, "error": result.error, **result.document}


def _error(command: Command, rows: Sequence[Mapping[str, Any]], logger: ColorsLogger) -> MigopyException | None:
    """Say how many databases ended in which way, or return it as the error that it is."""
    by_word: dict[str, list[str]] = {}
    for row in rows:
        by_word.setdefault(row["result"], []).append(row["name"])
    counts = [
        f"{len(by_word[word]):,} {word}" + (f" ({some(by_word[word])})" if word in BAD else "")
        for word in ("done", "nothing to do", *BAD)
        if word in by_word
    ]
    text = f"{command.subtask} in {plural(len(rows), 'database')}: {', '.join(counts) or 'nothing to do'}"
    if not any(word in by_word for word in BAD):
        logger.green(text)
        return None
    failed = by_word.get("failed", [])
    only_failed = _only_failed(command, failed) if len(failed) < len(rows) else ""
    next_step = "" if command.subtask in OPERATING else f". {command.text()} continues{only_failed}"
    error = MigopyException(f"{text}{next_step}.")
    error.exit_code = worst(row["code"] for row in rows)
    return error


def _only_failed(command: Command, failed: Sequence[str]) -> str:
    """The command for those that failed, if a person can type it."""
    if not failed or len(failed) > SHOWN_NAMES or any(set(name) & set(" ,") for name in failed):
        return ""
    return f"; {command.text(databases=' '.join(failed))} only where it failed"
