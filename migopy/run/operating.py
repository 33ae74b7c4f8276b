"""Asking the run that holds the lock, perhaps elsewhere, to pause, to resume, to stop or to change its pace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Callable

from ..errors import UnknownSubtask, WrongState
from ..terminal.options import is_yes, positive_number, require_exactly_one

if TYPE_CHECKING:
    from ..store.history import EventKind
    from ..store.lock import Holder
    from ..store.requests import RequestKind
    from .workspace import Workspace

POLL_SECONDS = 0.2
"""Between two looks at whether the run has done what it was asked."""

RUNS = ("execute", "rollback")
"""The subtasks that can be asked to do something."""


EVENTS: dict[RequestKind, EventKind] = {
    "pause": "pause requested",
    "resume": "resume requested",
    "stop": "stop requested",
}


class Operator:
    """Asks things of the run that holds the lock. ``say`` shows what it has asked."""

    def __init__(self, workspace: Workspace, say: Callable[[str], None]) -> None:
        self._workspace = workspace
        self._lock = workspace.lock
        self._say = say

    def pause(self, because: str) -> str:
        """Pause the run, and return what it says when it waits. Raises ``WrongState`` if it does not."""
        asked = self._ask("pause", because)
        command = self._workspace.settings.command

        def has_paused(holder: Holder) -> bool:
            return bool(holder.request) and holder.doing == holder.request.doing  # type: ignore[union-attr]

        holder = self._wait(asked, has_paused)
        if holder is None:
            raise WrongState("The run ended before it paused.")
        if not has_paused(holder):
            raise WrongState(
                f"The run has not paused yet: {self._when(holder)}. {command('show_status')} shows when it has;"
                f" {command('resume')} takes the request back."
            )
        return f"The run is {holder.doing} and keeps its lock. {command('resume')} continues it."

    def resume(self, because: str) -> str:
        """Let a paused run continue. Raises ``WrongState`` if nobody has paused it."""
        holder = self._holder("resume")
        if holder.request is None or holder.request.what == "resume":
            raise WrongState(f"Nothing was done: {self._workspace.description(holder)} is not paused.")
        self._ask("resume", because, holder)
        return "The run resumes within 3 seconds."

    def pace(self, full: str | None, documents: str | None) -> str:
        """Set how many documents a second the run may change, or lift that."""
        command = self._workspace.settings.command
        usages = [command("pace,documents=N"), command("pace,full")]
        require_exactly_one("How many documents a second?", usages, full, documents)
        if full and full.isdecimal():
            raise UnknownSubtask(f"Nothing was done. Write {command(f'pace,documents={full}')}.")
        is_full = is_yes("pace", full, "full")
        pace = None if is_full else positive_number("documents", documents)
        holder = self._holder("slow down")
        registered = self._workspace.history.records()
        name = holder.migration(registered)
        pending = holder.migrations[holder.migrations.index(name) :] if name else ()
        if pending and not set(pending) & set(holder.batches):
            raise WrongState(f"Nothing was done: {name} does not work in batches, so it has no pace.", migration=name)
        before = self._lock.set_pace(holder, pace)
        if before is None:
            raise WrongState("The run has ended in the meantime, so there is no pace to set.")
        words = "full" if pace is None else f"{pace:,} documents a second"
        self._workspace.history.log("pace requested", name, because=words)
        if before.pace:
            self._say(f"Before that, {before.pace}; the last request counts")
        return f"The pace of {holder.description(registered)} is {words}, within 3 seconds."

    def stop(self, because: str) -> str:
        """Stop the run, and return when it has ended. Raises ``WrongState`` if it goes on for long."""
        asked = self._ask("stop", because)
        holder = self._wait(asked, lambda holder: False)
        if holder:
            raise WrongState(
                f"The run has not stopped yet: {self._when(holder)}. {self._workspace.settings.command('show_status')}"
                " shows when it has."
            )
        return f"The run has ended. {self._workspace.settings.task} shows how far it came."

    def _holder(self, what: str) -> Holder:
        """The run that can be asked. Raises ``WrongState`` if there is none."""
        holder = self._lock.holder()
        if holder is None or not holder.held:
            raise WrongState(f"No run holds the lock, so there is nothing to {what}.")
        if holder.subtask not in RUNS:
            raise WrongState(
                f"Nothing was done: the lock is held by {self._workspace.description(holder)}, and only execute and"
                f" rollback can {what}."
            )
        return holder

    def _ask(self, what: RequestKind, because: str, holder: Holder | None = None) -> Holder:
        """Write the request into the lock and into the log."""
        holder = holder or self._holder(what)
        registered = self._workspace.history.records()
        name = holder.migration(registered)
        if what != "resume" and name and name not in holder.batches:
            if name == holder.migrations[-1]:
                raise WrongState(
                    f"Nothing was done: {name} does not work in batches and is the last migration of its run, so the"
                    f" run cannot {what}.",
                    migration=name,
                )
            self._say(f"{name} does not work in batches: the run can only {what} before the next migration.")
        asked = self._lock.ask(holder, what, because)
        if asked is None:
            raise WrongState(f"The run has ended in the meantime, so there is nothing to {what}.")
        self._workspace.history.log(EVENTS[what], name, because=because or None)
        self._say(f"Asked {holder.description(registered)} to {what}")
        if asked.previous_request:
            self._say(f"Before that, {asked.previous_request}; the last request counts")
        return asked

    def _wait(self, asked: Holder, is_done: Callable[[Holder], bool]) -> Holder | None:
        """The run when that is done, or after ``LOCK_WAIT``; None if it has ended. Raises ``WrongState``."""
        until = time.monotonic() + self._workspace.settings.LOCK_WAIT
        while True:
            holder = self._lock.holder()
            if holder is None or not holder.held or holder.token != asked.token:
                return None
            if holder.request and holder.request != asked.request:
                raise WrongState(f"{holder.request} in the meantime, and the last request counts.")
            if is_done(holder) or time.monotonic() >= until:
                return holder
            time.sleep(POLL_SECONDS)

    def _when(self, holder: Holder) -> str:
        """When the run will do what it was asked."""
        name = holder.migration(self._workspace.history.records())
        if name is None:
            return "it will before its first migration"
        return f"it will after the {'batch' if name in holder.batches else 'migration'} under way ({name})"
