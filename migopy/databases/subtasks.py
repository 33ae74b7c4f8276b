"""One subtask for many databases."""

from __future__ import annotations

import functools
import inspect
import json
from typing import Any, Mapping, Sequence

from ..errors import MigopyException, UnknownSubtask
from ..fab.dispatch import call, method_name
from ..terminal import ColorsLogger, show
from ..terminal.options import is_yes
from ..terminal.wording import plural
from .choice import STATES, Target, all_targets, choose, some, states
from .managers import Managers
from .overview import most_filled, show_documents, show_groups
from .pool import LOCKED, Pool, has_worked
from .workers import Done, Subtask, Worker, serve

READING = ("show_status", "plan", "check", "history")
"""They show the databases that are in one state together."""

OF_ALL = ("execute", "ignore", "dbdump", *READING)
"""They mean all databases if ``databases=`` is left out."""

BAD = ("failed", "locked", "not begun")
"""The results that make the exit code of the whole differ from 0."""

OF_ONE = ("create", "rehearse", "sample")
"""They need one database, which stands for all."""


def run(manager_class: type[Any], subtask: str | None, options: list[str], named: Mapping[str, str]) -> Any:
    """Run a subtask in the databases that ``databases=`` means."""
    name, named = method_name(manager_class, subtask), dict(named)
    wanted = named.pop("databases", None)
    if name == "help":
        return call(manager_class(), name, options, named)
    if wanted == "" or (wanted is None and name not in (*OF_ALL, *OF_ONE)):
        raise UnknownSubtask(
            f"Nothing was done: in which databases? Add databases=NAME to fab {manager_class.FAB_TASK}:{name}, or a"
            " pattern such as databases=tenant_*, or databases=all."
        )
    manager_class.read(manager_class)  # raises for a wrong setting
    databases = Databases(manager_class, wanted)
    if name in OF_ONE:
        return databases.in_one(name, options, named)
    if name in READING:
        return databases.read(name, options, named)
    return databases.work(name, options, named)


class Databases:
    """The databases that one command means."""

    def __init__(self, manager_class: type[Any], wanted: str | None) -> None:
        self._class = manager_class
        self._wanted = wanted

    def in_one(self, name: str, options: list[str], named: dict[str, str]) -> Any:
        """Run a subtask in the database that stands for all."""
        with Managers(self._class) as managers:
            targets = all_targets(self._class, managers.client)
            targets = choose(targets, self._wanted) if self._wanted else targets
            target = targets[0] if name == "create" or len(targets) == 1 else most_filled(managers, targets)
            if name != "create" and len(targets) > 1:
                managers.logger.white(f"{target.name} has the most collections; it stands for all databases.")
            return call(managers.manager(target), name, options, named)

    def read(self, name: str, options: list[str], named: dict[str, str]) -> None:
        """Show what a reading subtask says."""
        as_json = is_yes("json", named.pop("json", None))
        subtask = Subtask(name, options, named, is_silent=True)
        results, _ = self._run(subtask, goes_on=True, tries_one=False)
        if as_json:
            return show_documents(results)
        with Managers(self._class) as managers:
            show_groups(managers, results, subtask)

    def work(self, name: str, options: list[str], named: dict[str, str]) -> None:
        """Run a subtask that changes something in each database."""
        goes_on, as_json = is_yes("go_on", named.pop("go_on", None)), is_yes("json", named.pop("json", None))
        has_document = "json" in inspect.signature(getattr(self._class, name)).parameters
        if as_json and not has_document:
            raise UnknownSubtask(f"fab {self._class.FAB_TASK}:{name}: there is no option 'json'.")
        subtask = Subtask(name, options, named, has_document)
        done, targets = self._run(subtask, goes_on=goes_on, tries_one=True, shows_stdout=not as_json)
        rows = _rows(targets, done)
        error = _error(f"fab {self._class.FAB_TASK}:{name}", name, rows, self._class.logger)
        if as_json:
            facts = {"subtask": name, "ok": error is None, "error": str(error) if error else None}
            show(json.dumps({**facts, "databases": rows}, indent=2))
        if error:
            raise error

    def _run(
        self, subtask: Subtask, *, goes_on: bool, tries_one: bool, shows_stdout: bool = True
    ) -> tuple[list[Done], list[Target]]:
        """Run it in the databases that are meant. Returns how it went in each, and which these are."""
        list_targets = functools.partial(_list_targets, self._class)
        start = functools.partial(serve, manager_class=self._class, subtask=subtask, list_targets=list_targets)
        make_worker = functools.partial(Worker, start, shows_stdout=shows_stdout)
        at_once, logger = self._class.DATABASES_AT_ONCE, self._class.logger
        with Pool(make_worker, at_once, logger, goes_on=goes_on, tries_one=tries_one) as pool:
            targets = pool.list_targets()
            if isinstance(targets, Done):
                raise SystemExit(targets.code)
            targets = self._choose(targets)
            pool.run(targets)
        order = {target: place for place, target in enumerate(targets)}
        return sorted(pool.done, key=lambda result: order[result.target]), targets

    def _choose(self, targets: list[Target]) -> list[Target]:
        if self._wanted in (None, "all"):
            return targets
        if self._wanted not in STATES:
            return choose(targets, str(self._wanted))
        statuses, _ = Databases(self._class, None)._run(STATUS, goes_on=True, tries_one=False)
        return [status.target for status in statuses if self._wanted in states(status.document)]


STATUS = Subtask("show_status", [], {}, is_silent=True)


def _list_targets(manager_class: type[Any], managers: Managers) -> list[Target]:
    return all_targets(manager_class, managers.client)


def _rows(targets: Sequence[Target], done: Sequence[Done]) -> list[dict[str, Any]]:
    by_target = {result.target: result for result in done}
    return [_row(target, by_target.get(target)) for target in targets]


def _row(target: Target, result: Done | None) -> dict[str, Any]:
    if result is None:
        return {"name": target.name, "result": "not begun", "code": None}
    word = "done" if has_worked(result) else "nothing to do"
    if result.code:
        word = "locked" if result.code == LOCKED else "failed"
    return {"name": target.name, "result": word, "code": result.code, **result.document}


def _error(command: str, name: str, rows: Sequence[Mapping[str, Any]], logger: ColorsLogger) -> MigopyException | None:
    """Say how many databases ended in which way, or return it as the error that it is."""
    by_word: dict[str, list[str]] = {}
    for row in rows:
        by_word.setdefault(row["result"], []).append(row["name"])
    counts = [
        f"{len(by_word[word]):,} {word}" + (f" ({some(by_word[word])})" if word in BAD else "")
        for word in ("done", "nothing to do", *BAD)
        if word in by_word
    ]
    text = f"{name} in {plural(len(rows), 'database')}: {', '.join(counts) or 'nothing to do'}"
    bad = [word for word in BAD if word in by_word]
    if not bad:
        logger.green(text)
        return None
    only_failed = f"; {command},databases=failed only those that failed" if "failed" in bad else ""
    error = MigopyException(f"{text}. {command} continues{only_failed}.")
    error.exit_code = LOCKED if bad == ["locked"] else 1
    return error
