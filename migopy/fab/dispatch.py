"""Subtasks: how a method becomes one, how the Fabric task finds it, and how its command line is written."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Callable, Mapping, Sequence

from ..errors import MigopyException, MigrationFailed, StopTaskExecution, UnknownSubtask
from ..settings import Settings, checked
from ..terminal.messages import ColorsLogger
from ..terminal.options import nearest
from ..terminal.signals import ended_in_order
from ..terminal.streams import outlive_readers, say
from ..terminal.texts import masked
from ..terminal.tracebacks import team_traceback
from .door import commands, crawl, env, output
from .syntax import WRITTEN, as_text, fab_command, option_text, parameter_name, parse, usage
from .task import Manager, default, help_lines, names

ALIASES = {"status": "show_status"}


def create_task(manager_class: type[Manager]) -> Callable[..., Any]:
    """Make the function that Fabric runs as the task.

    A plain function, not a ``fabric.tasks.Task``: one such object in a fabfile makes Fabric pass over the team's
    plain functions (``fabric.main.extract_tasks``).
    """

    def migrations(*options: object, **named: object) -> Any:
        return run(manager_class, *as_text(options, named))

    # Fabric's task() takes the name from here; FAB_TASK may be 'db.migrations' for a task in a module of the fabfile.
    # It may be of the wrong type too, which a subtask says in a sentence; the fabfile's other tasks go on.
    migrations.__name__ = migrations.__qualname__ = str(manager_class.FAB_TASK).rpartition(".")[2]
    # fab -d of Fabric3 asks with inspect.getargspec(), which refuses a function with annotations.
    migrations.__annotations__ = {}
    lines = [f"{command} - {line}" for command, line in help_lines(manager_class)]
    migrations.__doc__ = "\n".join(["Mongo migrations (migopy)", "", *lines])
    return migrations


def run(manager_class: type[Manager], options: list[str], named: dict[str, str]) -> Any:
    """Run one subtask, and turn what went wrong into a red line and an exit code; nothing below this exits."""
    outlive_readers()
    try:
        with ended_in_order():
            subtask, options, named = parse(options, named)
            checked("FAB_TASK", manager_class.FAB_TASK)
            manager_class.task_hook(subtask, option_text(options, named))
            name_misspelt(manager_class)
            manager = manager_class()
            try:
                Settings.read(manager)
                return call(manager, subtask, options, named)
            finally:
                manager.close()
                outlive_readers()  # migrations may have put other streams in place
    except StopTaskExecution:
        return None
    except MigopyException as error:
        return fail(error, manager_class.logger)


def call(manager: Manager, subtask: str | None, options: list[str], named: dict[str, str]) -> Any:
    """Call the method of the subtask. Raises ``UnknownSubtask`` when there is none, or it takes other options."""
    name = find(type(manager), subtask)
    method = getattr(manager, name)
    try:
        bound = inspect.signature(method).bind(*options, **{parameter_name(name): named[name] for name in named})
    except TypeError as error:
        fab_task = manager.FAB_TASK
        raise UnknownSubtask(f"fab {fab_task}:{name}: {fault(error)}. Write {usage(fab_task, name, method)}.") from None
    return method(*bound.args, **bound.kwargs)


def fault(error: TypeError) -> str:
    """What ``Signature.bind()`` says of wrong options, in the words of a command line."""
    text, unknown, option = str(error).partition("got an unexpected keyword argument ")
    if unknown:
        return f"there is no option {option}"
    for option, word in WRITTEN.items():
        text = text.replace(f"'{option}'", word)
    return text


def find(manager_class: type[Manager], subtask: str | None) -> str:
    """The name of the method that is meant. Raises ``UnknownSubtask`` when there is none."""
    known = names(manager_class)
    for name in (subtask or default(manager_class), ALIASES.get(subtask or "")):
        if name in known:
            return name
    wanted = f"no subtask {subtask!r}" if subtask else "no default subtask"
    near = nearest(subtask or "", known)
    hint = f", did you mean {near}? There are: " if near else "; there are: "
    raise UnknownSubtask(f"fab {manager_class.FAB_TASK} has {wanted}{hint}{', '.join(known)}.")


@functools.lru_cache(maxsize=None)
def name_misspelt(manager_class: type[Manager]) -> None:
    """Say which attributes of the team's class look like settings and are none; once in a process.

    Silent where the same class body sets the one that it looks like.
    """
    classes = {cls: {name for name in vars(cls) if name.isupper()} for cls in manager_class.__mro__}
    settings = {name for cls, found in classes.items() if _is_ours(cls) for name in found}
    for cls, found in classes.items():
        for name in sorted(found - settings):
            near = nearest(name, settings)
            if near and near not in found:
                manager_class.logger.red(f"{cls.__name__}.{name} is no setting of migopy: did you mean {near}?")


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == __package__.partition(".")[0]


def refuse_as_task(manager_class: type[Manager], options: Sequence[object], named: Mapping[str, object]) -> None:
    """Fabric lists a fabfile's classes as tasks, and ``fab Migrations`` makes an object: say what to type instead."""
    if env.get("command") and crawl(env.command, commands) is manager_class:
        subtask, texts, pairs = parse(*as_text(options, named))
        meant = fab_command(manager_class.FAB_TASK, subtask, option_text(texts, pairs))
        sentence = f"{env.command} is the class that the task was made from, nothing was done. Write {meant}."
        fail(UnknownSubtask(sentence), manager_class.logger)


def fail(error: MigopyException, logger: ColorsLogger) -> MigopyException:
    """Show the error and end ``fab``, unless the fabfile asked for something else.

    Of the team's own code the traceback too, and below it the sentence again: the last line is the one that is read.
    As Fabric's ``error()`` and ``abort()`` do: with ``settings(warn_only=True)`` fab goes on, and the error is what the
    task returns; ``env.abort_exception`` is raised instead of ``SystemExit``.
    """
    logger.red(str(error))
    if isinstance(error, MigrationFailed) and error.__cause__:
        say(masked(team_traceback(error.__cause__, whole=output.debug)))
        logger.red(str(error))
    if env.warn_only:
        return error
    if env.abort_exception:
        raise env.abort_exception(masked(str(error))) from error
    raise SystemExit(error.exit_code) from error
