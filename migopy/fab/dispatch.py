"""What the task does: it finds the subtask, calls it, and turns its failure into an exit code."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Callable, Mapping, Sequence

from ..errors import MigopyException, MigrationFailed, StopTaskExecution, UnknownSubtask
from ..settings import KINDS, Settings, check_setting
from ..terminal.messages import ColorsLogger, failure_method
from ..terminal.options import closest_word
from ..terminal.signals import handle_signals
from ..terminal.signature import signature
from ..terminal.streams import ignore_missing_readers, say
from ..terminal.texts import MAX_ERROR_LENGTH, mask, shorten, summary
from .door import commands, crawl, env, output
from .remote import remote_runs
from .syntax import NOTATION, command_line_options, fab_command, option_text, parameter_name, parse, usage
from .task import Manager, default_subtask, subtask_names

ALIASES = {"status": "show_status"}


def run(manager_class: type[Manager], given: Sequence[object], named_options: Mapping[str, object]) -> Any:
    """Run one subtask. A ``MigopyException`` becomes a red line and an exit code here, and nowhere else."""
    ignore_missing_readers()
    try:
        with handle_signals():
            subtask, options, named = parse(*command_line_options(given, named_options))
            check_setting("FAB_TASK", manager_class.FAB_TASK)
            with remote_runs():
                manager_class.task_hook(subtask, option_text(options, named))
            warn_of_misspelt_settings(manager_class)
            if check_setting("MONGO_DATABASES", manager_class.MONGO_DATABASES) is not None:
                return manager_class.run_in_databases(subtask, options, named)
            manager = manager_class()
            try:
                Settings.read(manager)
                return call(manager, subtask, options, named)
            finally:
                manager.close()
                ignore_missing_readers()  # migrations may have replaced the streams
    except StopTaskExecution:
        return None
    except MigopyException as error:
        return fail(error, manager_class)


def call(manager: Manager, subtask: str | None, options: list[str], named: dict[str, str]) -> Any:
    """Call the method of the subtask. Raises ``UnknownSubtask`` if it does not exist or does not take the options."""
    name = method_name(type(manager), subtask)
    bound = bind(manager, name, options, named)
    return getattr(manager, name)(*bound.args, **bound.kwargs)


def bind(manager: Manager, name: str, options: list[str], named: Mapping[str, str]) -> inspect.BoundArguments:
    """The arguments of the method. Raises ``UnknownSubtask`` if it does not take the options."""
    accepted = signature(getattr(manager, name))
    try:
        return accepted.bind(*options, **{parameter_name(name): named[name] for name in named})
    except TypeError as error:
        fab_task = manager.FAB_TASK
        wrong = wrong_options(accepted, options, named, error)
        raise UnknownSubtask(f"fab {fab_task}:{name}: {wrong}. Write {usage_of(manager, name)}.") from None


def usage_of(manager: Manager, name: str) -> str:
    """What to write for a subtask, in many databases too."""
    text = usage(manager.FAB_TASK, name, getattr(manager, name))
    return text if manager.MONGO_DATABASES is None or name == "help" else f"{text}[,databases=NAMES]"


PYTHON_WORDS = {
    "too many positional arguments": "too many options (a comma begins another one; write \\, for a comma in a value)",
    "missing a required argument:": "missing",
    "missing a required keyword-only argument:": "missing",
    "multiple values for argument": "more than one",
}
"""What ``Signature.bind()`` says, and the same for people who write a command line."""


def wrong_options(
    accepted: inspect.Signature, options: Sequence[str], named: Mapping[str, str], error: TypeError
) -> str:
    """Why a method does not take these options: the error of ``Signature.bind()`` in the words of a command line."""
    if "databases" in named:
        return "databases= needs MONGO_DATABASES"
    kinds = {each.kind for each in accepted.parameters.values()}
    unknown = [name for name in named if parameter_name(name) not in accepted.parameters]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        return f"there is no option {unknown[0]!r}"
    if options and kinds <= {inspect.Parameter.KEYWORD_ONLY}:
        return f"{options[0]!r} is no option of it"
    text = str(error)
    for python, ours in PYTHON_WORDS.items():
        text = text.replace(python, ours)
    for parameter, notation in NOTATION.items():
        text = text.replace(f"'{parameter}'", notation)
    return text


def method_name(manager_class: type[Manager], subtask: str | None) -> str:
    """The method of the subtask. Raises ``UnknownSubtask`` if it does not exist."""
    known = subtask_names(manager_class)
    for name in (subtask or default_subtask(manager_class), ALIASES.get(subtask or "")):
        if name in known:
            return name
    wanted = f"no subtask {subtask!r}" if subtask else "no default subtask"
    similar = closest_word(subtask or "", known)
    hint = f" Did you mean {similar}?" if similar else ""
    raise UnknownSubtask(f"fab {manager_class.FAB_TASK} has {wanted}.{hint} The subtasks are {', '.join(known)}.")


@functools.lru_cache(maxsize=None)
def warn_of_misspelt_settings(manager_class: type[Manager]) -> None:
    """Name the attributes of the team's class that look like settings but are not. Cached, to warn once."""
    classes = {cls: {name for name in vars(cls) if name.isupper()} for cls in manager_class.__mro__}
    settings = {name for cls, names in classes.items() if is_ours(cls) for name in names}
    for cls, names in classes.items():
        for name in sorted(names - settings):
            similar = closest_word(name, settings)
            if similar and similar not in names:  # a class that sets the similar one too means both
                warning = f"{cls.__name__}.{name} is not a setting of migopy. Did you mean {similar}?"
                _logger(manager_class).red(warning)


def is_ours(thing: type | Callable[..., Any]) -> bool:
    """Whether a class or a method is migopy's own, and not the team's."""
    return thing.__module__.partition(".")[0] == __package__.partition(".")[0]


def refuse_as_task(manager_class: type[Manager], options: Sequence[object], named: Mapping[str, object]) -> None:
    """End ``fab Migrations`` with the command that was meant, or with the line that the fabfile lacks."""
    try:
        task = check_setting("FAB_TASK", manager_class.FAB_TASK)
        subtask, texts, pairs = parse(*command_line_options(options, named))
        command = fab_command(task, subtask, option_text(texts, pairs))
        step = f"Write {command}."
        if crawl(task, commands) in (None, manager_class):
            line = f"{task.rpartition('.')[2]} = {manager_class.__name__}.create_task()"
            step = f"Add {line} to the fabfile, then write {command}."
        raise UnknownSubtask(f"Nothing was done: {env.command} is a class, not the task. {step}")
    except MigopyException as error:
        fail(error, manager_class)


def refuse_without_parentheses(manager_class: type[Manager]) -> None:
    """End the task of a fabfile that names ``create_task`` and does not call it."""
    line = f"{env.command.rpartition('.')[2]} = {manager_class.__name__}.create_task()"
    sentence = f"Nothing was done: {env.command} is not a task yet. Write {line} in the fabfile."
    fail(UnknownSubtask(sentence), manager_class)


def fail(error: MigopyException, manager_class: type[Manager]) -> MigopyException:
    """Print the error and end ``fab``. With ``settings(warn_only=True)`` return the error instead."""
    logger, text = _logger(manager_class), str(error)
    if isinstance(error, MigrationFailed) and error.__cause__:
        from ..terminal.tracebacks import team_traceback  # only a failure needs it

        logger.red(f"{error.migration or 'The migration'} failed:")
        traceback = mask(team_traceback(error.__cause__, whole=output.debug))
        say(traceback)
        reason = summary(error.__cause__)
        if reason.partition(": ")[2] in traceback:  # then a long one need not stand twice
            text = text.replace(reason, shorten(reason, MAX_ERROR_LENGTH))
    failure_method(logger)(text)  # below the traceback, because people read the last line
    if env.warn_only:
        return error
    if env.abort_exception:  # set by a team, as for Fabric's own abort()
        raise env.abort_exception(mask(str(error))) from error
    raise SystemExit(error.exit_code) from error


def _logger(manager_class: type[Manager]) -> ColorsLogger:
    """The team's logger, or ours if theirs cannot be used. A wrong logger is an error to print, too."""
    return manager_class.logger if KINDS["logger"].accepts(manager_class.logger) else ColorsLogger()
