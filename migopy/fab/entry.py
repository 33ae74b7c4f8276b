"""What a fabfile needs when Fabric loads it: the task to be. The rest of this package is imported when it runs."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

from .door import commands, crawl, env
from .task import Manager, help_lines


def create_task(manager_class: type[Manager]) -> Callable[..., Any]:
    """Make the function that Fabric runs as the task."""
    if env.get("command") and crawl(env.command, commands) == manager_class.create_task:
        _dispatch().refuse_without_parentheses(manager_class)

    # Not a fabric.tasks.Task: if a fabfile has such an object, Fabric ignores the plain functions of the fabfile.
    def migrations(*options: object, **named: object) -> Any:
        return _dispatch().run(manager_class, options, named)

    # Fabric's task() reads the name. FAB_TASK may be 'db.migrations' for a task in a module of the fabfile.
    # It may also have a wrong type, which must not stop the other tasks of the fabfile.
    migrations.__name__ = migrations.__qualname__ = str(manager_class.FAB_TASK).rpartition(".")[2]
    # fab -d of Fabric3 calls inspect.getargspec(), which refuses a function with annotations.
    migrations.__annotations__ = {}
    lines = [f"{command} - {line}" for command, line in help_lines(manager_class)]
    migrations.__doc__ = "\n".join(["Mongo migrations (migopy)", "", *lines])
    return migrations


def refuse_as_task(manager_class: type[Manager], options: Sequence[object], named: Mapping[str, object]) -> None:
    """End ``fab Migrations``. Fabric lists the classes of a fabfile as tasks, and makes an object of this one."""
    if env.get("command") and crawl(env.command, commands) is manager_class:
        _dispatch().refuse_as_task(manager_class, options, named)


def fab_command(fab_task: str, subtask: str | None, option: str | None) -> str:
    """The command line ``fab migrations:execute,1_first.py``, its task one word for a shell."""
    from . import syntax

    return syntax.fab_command(fab_task, subtask, option)


def _dispatch() -> Any:
    """The other tasks of a fabfile do not pay for it."""
    from . import dispatch

    return dispatch
