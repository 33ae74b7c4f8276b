"""Subtasks: how a method becomes one, how the Fabric task finds it, and how its command line is written."""

from __future__ import annotations

import functools
import inspect
import keyword
import shlex
from typing import Any, Callable, Mapping, Protocol, Sequence, TypeVar, overload

from ..errors import MigopyException, MigrationFailed, StopTaskExecution, UnknownSubtask
from ..terminal.messages import ColorsLogger, outlive_readers, say
from ..terminal.options import nearest
from ..terminal.signals import ended_in_order
from ..terminal.texts import masked
from ..terminal.tracebacks import team_traceback
from .door import commands, crawl, env, output

Method = TypeVar("Method", bound=Callable[..., Any])

ALIASES = {"status": "show_status"}

WRITTEN = {
    "spec_migr": "NAME",
    "name": "NAME",
    "dump_folder": "DUMP",
    "words": "WORDS",
    "to": "to=NAME",
    "last": "last=N",
    "pending": "pending=ok",
    "documents": "documents=N",
    "keep": "keep=yes",
    "force": "force=yes",
    "from_": "from=NAME",
    "json": "json=yes",
}
"""How the options of our subtasks are written, as in the README; those of the team by the names of their parameters."""


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

    def migrations(*options: object, **named: object) -> Any:
        return run(manager_class, *as_text(options, named))

    # Fabric's task() takes the name from here; FAB_TASK may be 'db.migrations' for a task in a module of the fabfile.
    migrations.__name__ = migrations.__qualname__ = manager_class.FAB_TASK.rpartition(".")[2]
    # fab -d of Fabric3 asks with inspect.getargspec(), which refuses a function with annotations.
    migrations.__annotations__ = {}
    lines = [f"{command} - {line}" for command, line in help_lines(manager_class)]
    migrations.__doc__ = "\n".join(["Mongo migrations (migopy)", "", *lines])
    return migrations


def as_text(options: Sequence[object], named: Mapping[str, object]) -> tuple[list[str], dict[str, str]]:
    """What the command line would give for a call in Python: ``execute(migrations, 'execute', to=1)``.

    True is yes; None and False are left out, those before another option are empty then.
    """
    texts = ["" if _is_left_out(value) else _text(value) for value in options]
    while texts and _is_left_out(options[len(texts) - 1]):
        texts.pop()
    return texts, {name: _text(value) for name, value in named.items() if not _is_left_out(value)}


def _is_left_out(value: object) -> bool:
    return value is None or value is False


def _text(value: object) -> str:
    return "yes" if value is True else str(value)


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
            name_misspelt(manager_class)
            manager = manager_class()
            try:
                return call(manager, subtask, options, named)
            finally:
                manager.close()
                outlive_readers()  # migrations may have put other streams in place
    except StopTaskExecution:
        return None
    except MigopyException as error:
        return fail(error, manager_class.logger)


def parse(options: list[str], named: dict[str, str]) -> tuple[str | None, list[str], dict[str, str]]:
    """Tell the subtask from its options; ``subtask=`` and ``spec_migr=`` may be written out, as in 1.0.

    An empty subtask is none, ``fab migrations:`` is ``fab migrations``. An empty option is one: what it means is for
    the subtask to say.
    """
    named = dict(named)
    options = ([named.pop("subtask")] if "subtask" in named else []) + options
    if "spec_migr" in named:
        options[1:1] = [named.pop("spec_migr")]
    return (options[0] or None if options else None), options[1:], named


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


def parameter_name(option: str) -> str:
    """No parameter can be called as a keyword of Python is: ``from=NAME`` goes to ``from_``."""
    return f"{option}_" if keyword.iskeyword(option) else option


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


def usage(fab_task: str, name: str, method: Callable[..., Any]) -> str:
    """How the command is written, what may be left out in brackets: ``fab migrations:execute[,NAME][,to=NAME]``."""
    written = f"fab {fab_task}:{name}"
    for position, parameter in enumerate(inspect.signature(method).parameters.values()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            written += "[,...]"
            continue
        option = parameter.name.rstrip("_")
        is_needed = parameter.default is parameter.empty
        plain = option if is_needed or position == 0 else f"{option}=..."
        word = WRITTEN.get(parameter.name, plain)
        written += f",{word}" if is_needed else f"[,{word}]"
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
    word = fab_task
    if subtask or option is not None:
        word += f":{escaped(subtask or '')}"
    if option is not None:
        word += f",{option}"
    # Fabric's run() puts the line into double quotes and escapes only ", $ and ` there (_shell_escape), so a
    # backslash of ours must not stand before one of them, or before another backslash: '\''$x' instead of '\$x'.
    return "fab " + shlex.quote(word).replace("\\", "\\''")


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
