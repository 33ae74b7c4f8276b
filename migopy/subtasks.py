"""Subtasks: how a method becomes one, how the Fabric task finds it, and how its command line is written."""

from __future__ import annotations

import inspect
import keyword
import shlex
from typing import Any, Callable, Protocol, TypeVar, overload

from fabric.state import env, output

from .console import ColorsLogger, outlive_readers, say
from .errors import MigopyException, MigrationFailed, StopTaskExecution, UnknownSubtask
from .signals import ended_in_order
from .texts import masked
from .trace import team_traceback

Method = TypeVar("Method", bound=Callable[..., Any])


class Manager(Protocol):
    """What a task needs of the class that it is made from."""

    FAB_TASK: str
    logger: ColorsLogger

    @classmethod
    def task_hook(cls, subtask: str | None, option: str | None) -> None: ...

    def close(self) -> None: ...


@overload
def task(method: Method) -> Method: ...
@overload
def task(*, default: bool = False) -> Callable[[Method], Method]: ...
def task(method: Method | None = None, *, default: bool = False) -> Method | Callable[[Method], Method]:
    """Make a method of a ``MigrationsManager`` a subtask: ``fab migrations:NAME``.

    ``default=True`` makes it the one that plain ``fab migrations`` runs. The first paragraph of its docstring is its
    line in ``fab migrations:help``.
    """

    def mark(method: Method) -> Method:
        method.is_subtask = True  # type: ignore[attr-defined]
        method.is_default_subtask = default  # type: ignore[attr-defined]
        return method

    return mark(method) if method else mark


def names(manager_class: type) -> list[str]:
    """The subtasks in the order of their definition, migopy's own first, then those of the team."""
    defined = dict.fromkeys(name for cls in reversed(manager_class.__mro__) for name in vars(cls))
    return [name for name in defined if hasattr(getattr(manager_class, name, None), "is_subtask")]


def default(manager_class: type) -> str | None:
    """The subtask of plain ``fab migrations``: the one that the most derived class declares."""
    for cls in manager_class.__mro__:
        for name, method in vars(cls).items():
            if getattr(method, "is_default_subtask", False) and name in names(manager_class):
                return name
    return None


def help_line(method: Callable[..., Any]) -> str:
    """The first paragraph of the docstring on one line; empty without a docstring."""
    return " ".join((inspect.getdoc(method) or "").partition("\n\n")[0].split())


def create_task(manager_class: type[Manager]) -> Callable[..., Any]:
    """Make the function that Fabric runs as the task.

    A plain function, not a ``fabric.tasks.Task``: one such object in a fabfile makes Fabric pass over the team's
    plain functions (``fabric.main.extract_tasks``).
    """

    def migrations(*options: str, **named: str) -> Any:
        return run(manager_class, list(options), named)

    # Fabric's task() takes the name from here; FAB_TASK may be 'db.migrations' for a task in a module of the fabfile.
    migrations.__name__ = migrations.__qualname__ = manager_class.FAB_TASK.rpartition(".")[2]
    # fab -d of Fabric3 asks with inspect.getargspec(), which refuses a function with annotations.
    migrations.__annotations__ = {}
    lines = [f"{command} - {line}" for command, line in help_lines(manager_class)]
    migrations.__doc__ = "\n".join(["Mongo migrations (migopy)", "", *lines])
    return migrations


def help_lines(manager_class: type[Manager]) -> list[tuple[str, str]]:
    """Command and description of every subtask that has a docstring."""
    lines = [(name, help_line(getattr(manager_class, name))) for name in names(manager_class)]
    return [(f"fab {manager_class.FAB_TASK}:{name}", line) for name, line in lines if line]


def run(manager_class: type[Manager], options: list[str], named: dict[str, str]) -> Any:
    """Run one subtask, and turn what went wrong into a red line and an exit code; nothing below this exits."""
    outlive_readers()
    try:
        with ended_in_order():
            subtask, options, named = parse(options, named)
            manager_class.task_hook(subtask, option_text(options, named))
            manager = manager_class()
            try:
                return call(manager, subtask, options, named)
            finally:
                manager.close()
    except StopTaskExecution:
        return None
    except MigopyException as error:
        return fail(error, manager_class.logger)


def parse(options: list[str], named: dict[str, str]) -> tuple[str | None, list[str], dict[str, str]]:
    """Tell the subtask from its options; ``subtask=`` and ``spec_migr=`` may be written out, as in 1.0.

    Empty options at the end count as none: ``fab migrations:execute,`` is ``fab migrations:execute``.
    """
    named = dict(named)
    options = ([named.pop("subtask")] if "subtask" in named else []) + options
    if "spec_migr" in named:
        options[1:1] = [named.pop("spec_migr")]
    while options and not options[-1]:
        options.pop()
    return (options[0] or None if options else None), options[1:], named


def call(manager: Manager, subtask: str | None, options: list[str], named: dict[str, str]) -> Any:
    """Call the method of the subtask. Raises ``UnknownSubtask`` when there is none, or it takes other options."""
    manager_class = type(manager)
    known = names(manager_class)
    name = subtask or default(manager_class)
    if name not in known:
        wanted = f"no subtask {name!r}" if name else "no default subtask"
        raise UnknownSubtask(f"fab {manager_class.FAB_TASK} has {wanted}; there are: {', '.join(known)}.")
    method = getattr(manager, name)
    try:
        bound = inspect.signature(method).bind(*options, **{parameter_name(name): named[name] for name in named})
    except TypeError as error:
        raise UnknownSubtask(
            f"fab {manager_class.FAB_TASK}:{name}: {error}. Write {usage(manager_class.FAB_TASK, name, method)}."
        ) from None
    return method(*bound.args, **bound.kwargs)


def parameter_name(option: str) -> str:
    """No parameter can be called as a keyword of Python is: ``from=NAME`` goes to ``from_``."""
    return f"{option}_" if keyword.iskeyword(option) else option


def usage(fab_task: str, name: str, method: Callable[..., Any]) -> str:
    """How the command is written, what may be left out in brackets: ``fab migrations:execute[,spec_migr][,to=...]``."""
    written = f"fab {fab_task}:{name}"
    for position, parameter in enumerate(inspect.signature(method).parameters.values()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            written += "[,...]"
        elif parameter.default is parameter.empty:
            written += f",{parameter.name}"
        else:
            option = parameter.name.rstrip("_")
            written += f"[,{option}]" if position == 0 else f"[,{option}=...]"
    return written


def option_text(options: list[str], named: dict[str, str]) -> str | None:
    """The options as they are written on the fab command line, for ``task_hook``; None without any.

    Fabric's ``parse_arguments`` knows ``\\,`` and ``\\=`` but no way to write a backslash before a comma, so a value
    that ends in one stands last.
    """
    pairs = [escaped(value) for value in options]
    pairs += [f"{escaped(name)}={escaped(value)}" for name, value in named.items()]
    positional_last = sorted(pairs, key=lambda pair: pair.endswith("\\"))
    return ",".join(positional_last) if pairs else None


def escaped(value: str) -> str:
    return value.replace(",", r"\,").replace("=", r"\=")


def fab_command(fab_task: str, subtask: str | None, option: str | None) -> str:
    """The command line, the task one shell word: ``fab migrations:execute,1_first.py``."""
    word = fab_task + (f":{escaped(subtask or '')}" if subtask or option else "") + (f",{option}" if option else "")
    # Fabric's run() puts the line into double quotes and escapes only ", $ and ` there (_shell_escape), so a
    # backslash of ours must not stand before one of them, or before another backslash: '\''$x' instead of '\$x'.
    return "fab " + shlex.quote(word).replace("\\", "\\''")


def fail(error: MigopyException, logger: ColorsLogger) -> None:
    """Show the error and end ``fab``, unless the fabfile asked for something else.

    Of the team's own code the traceback too, and below it the sentence again: the last line is the one that is read.
    As Fabric's ``error()`` and ``abort()`` do: with ``settings(warn_only=True)`` the task returns None, and
    ``env.abort_exception`` is raised instead of ``SystemExit``.
    """
    logger.red(str(error))
    if isinstance(error, MigrationFailed) and error.__cause__:
        say(masked(team_traceback(error.__cause__, whole=output.debug)))
        logger.red(str(error))
    if env.warn_only:
        return
    if env.abort_exception:
        raise env.abort_exception(masked(str(error))) from error
    raise SystemExit(error.exit_code) from error
